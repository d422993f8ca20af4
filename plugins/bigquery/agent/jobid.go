package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A job's id is agenthost-<key>, where the key is the host's for the attempt, so that the same attempt has the same id.
// Behind it, -<name> names the credentials that made the job, where those are not the default ones: Flyte's memory of a
// job has no other place for it that flytekit's agent would still read.
const prefix = "agenthost-"

var ours = regexp.MustCompile(`^` + prefix + `[0-9a-f]{64}(?:-(.+))?$`)

// jobID is the id for an attempt; a new one each time where the caller names no attempt.
func jobID(key, credential string) string {
	id := prefix + hexOf(key)
	if credential != "" {
		id += "-" + credential
	}
	return id
}

func hexOf(key string) string {
	raw, err := hex.DecodeString(key)
	switch {
	case key == "":
		raw = make([]byte, sha256.Size)
		_, _ = rand.Read(raw) // never fails
	case err != nil || len(raw) != sha256.Size:
		sum := sha256.Sum256([]byte(key))
		raw = sum[:]
	}
	return hex.EncodeToString(raw)
}

// credentialOf is the name of the credentials that made a job; empty for the default ones, and for jobs that flytekit's
// agent made.
func credentialOf(id string) string {
	if m := ours.FindStringSubmatch(id); m != nil {
		return m[1]
	}
	return ""
}

// BigQuery keeps no job for a dry run, so its answer is the id.
const dryRunPrefix = prefix + "dryrun-"

func dryRunID(bytes int64) string { return dryRunPrefix + strconv.FormatInt(bytes, 10) }

func dryRunBytes(id string) (int64, bool) {
	text, found := strings.CutPrefix(id, dryRunPrefix)
	if !found {
		return 0, false
	}
	bytes, err := strconv.ParseInt(text, 10, 64)
	return bytes, err == nil
}

// A task that can never run has no job either: its id says why, as no id of BigQuery's does. An error from Create would instead be
// repeated by Flyte for as many retries as the task has, to the same end.
const refusedPrefix = "refused: "

// mostRefusal bounds the reason: Flyte keeps metadata in a custom resource.
const mostRefusal = 4 << 10

func refusedID(reason string) string {
	if len(reason) > mostRefusal {
		end := mostRefusal
		for !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end] + "…"
	}
	return refusedPrefix + reason
}

func refusalOf(id string) (reason string, refused bool) { return strings.CutPrefix(id, refusedPrefix) }
