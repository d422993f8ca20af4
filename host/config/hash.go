package config

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

const (
	// hashRounds make it dear to guess a value of the configuration by its hash, which is shown to strangers.
	hashRounds = 200_000
	// hashBytes is enough to tell configurations apart.
	hashBytes = 6
)

// Hash stands for all that the keys say: two configurations with equal values have the same, wherever they were read from. The
// contents of files behind keys are no part of it, nor are run_dir and state_dir where they are only the default, which each user has
// another of.
func (c *Config) Hash() string {
	hashed := *c
	if !c.isSet("run_dir") {
		hashed.RunDir = ""
	}
	if !c.isSet("state_dir") {
		hashed.StateDir = ""
	}
	if !c.isSet("artifacts", "dir") {
		hashed.Artifacts.Dir = ""
	}
	values, err := json.Marshal(&hashed)
	if err != nil {
		return "" // a plugin's own configuration has a number in it that is none
	}
	return hardToGuess(string(values), "agenthost configuration")
}

// FilesHash stands for what files hold, byte for byte, whether or not it is a configuration. Empty where one of them cannot be read.
func FilesHash(files []string) string {
	var all strings.Builder
	for _, file := range readFiles(files) {
		if file.err != nil {
			return ""
		}
		fmt.Fprintf(&all, "%d:%s", len(file.bytes), file.bytes)
	}
	return hardToGuess(all.String(), "agenthost configuration's files")
}

func hardToGuess(text, what string) string {
	hash, err := pbkdf2.Key(sha256.New, text, []byte(what), hashRounds, hashBytes)
	if err != nil {
		return "" // where FIPS forbids it
	}
	return hex.EncodeToString(hash)
}
