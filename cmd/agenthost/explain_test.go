package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/explain"
)

func TestAMetaIsReadAsPeopleHaveIt(t *testing.T) {
	enveloped := append([]byte("\xffagenthost\x01"), 0, 1, 2, 250, 251, 252, 253)
	raw := filepath.Join(t.TempDir(), "meta")
	text := raw + ".txt"
	for path, content := range map[string][]byte{raw: enveloped, text: []byte(base64.StdEncoding.EncodeToString(enveloped) + "\n")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for promise, given := range map[string]string{
		"a file":                   raw,
		"a file of base64":         text,
		"base64":                   base64.StdEncoding.EncodeToString(enveloped),
		"base64 without padding":   base64.RawStdEncoding.EncodeToString(enveloped),
		"base64 for URLs":          base64.URLEncoding.EncodeToString(enveloped),
		"that without padding":     base64.RawURLEncoding.EncodeToString(enveloped),
		"base64 that a mail broke": base64.StdEncoding.EncodeToString(enveloped)[:8] + "\n" + base64.StdEncoding.EncodeToString(enveloped)[8:],
		"hex":                      hex.EncodeToString(enveloped),
		"hex in capitals":          strings.ToUpper(hex.EncodeToString(enveloped)),
		"hex that says so":         "0x" + hex.EncodeToString(enveloped),
		"hex of PostgreSQL":        `\x` + hex.EncodeToString(enveloped),
	} {
		if got, err := readMeta(given, nil); err != nil || !bytes.Equal(got, enveloped) {
			t.Errorf("%s: %q, %v", promise, got, err)
		}
	}
	for in, want := range map[string]string{
		"job 1": "job 1", "am9iIDE=": "am9iIDE=", // a plugin's own bytes may look like base64
		string(enveloped): string(enveloped), base64.StdEncoding.EncodeToString(enveloped): string(enveloped),
	} {
		if got, err := readMeta("-", strings.NewReader(in)); err != nil || string(got) != want {
			t.Errorf("%q on the standard input: %q, %v", in, got, err)
		}
	}
	if got, err := readMeta("am9iIDE=", nil); err != nil || string(got) != "job 1" {
		t.Errorf("a plugin's own bytes in base64: %q, %v", got, err)
	}
	if _, err := readMeta("no such file!", nil); err == nil || !strings.Contains(err.Error(), "neither base64 nor hex") {
		t.Errorf("nothing of that: %v", err)
	}
	if _, err := readMeta("-", bytes.NewReader(make([]byte, explain.MaxMeta+1))); err == nil {
		t.Error("too much is read")
	}
}

func TestATaskIsNamedFromItsExecutionDown(t *testing.T) {
	two := uint32(2)
	for text, want := range map[string]explain.TaskQuestion{
		"f1":                      {Execution: "f1"},
		"shop/production/f1":      {Project: "shop", Domain: "production", Execution: "f1"},
		"shop/production/f1/n0":   {Project: "shop", Domain: "production", Execution: "f1", Node: "n0"},
		"shop/production/f1/n0/2": {Project: "shop", Domain: "production", Execution: "f1", Node: "n0", Retry: &two},
	} {
		got, err := parseTask(text)
		if err != nil || (got.Retry == nil) != (want.Retry == nil) || got.Retry != nil && *got.Retry != *want.Retry {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if got.Retry, want.Retry = nil, nil; got != want {
			t.Errorf("%s: %+v", text, got)
		}
	}
	for _, wrong := range []string{"", "shop/f1", "shop//f1", "shop/production/f1/n0/new", "a/b/c/d/1/e", "shop/production/f1/n0/-1"} {
		if got, err := parseTask(wrong); err == nil {
			t.Errorf("%q is read as %+v", wrong, got)
		}
	}
}

func TestWithoutAHostTheBytesOfAMetaSayWhatTheyCan(t *testing.T) {
	// A pinned job of plugin hello, signed with a key that is nowhere.
	meta := "/2FnZW50aG9zdAEFaGVsbG8CZzEFam9iIDEAAAAA"
	agenthost(t, "explain", "--meta", base64.StdEncoding.EncodeToString([]byte("job 1")), "--offline").expect(t, 0, "an agent's own bytes, without an envelope", "")
	agenthost(t, "explain", "--meta", base64.StdEncoding.EncodeToString([]byte("job 1")), "--admin", "127.0.0.1:1").expect(t, 0, "an agent's own bytes", "by the bytes alone")
	agenthost(t, "explain", "--meta", meta, "--offline", "-o", "json").expect(t, 0, `"form": "bare"`, "") // its checksum is wrong
	agenthost(t, "explain", "--type", "x", "--offline").expect(t, exitUsage, "", "--offline is for --meta")
	agenthost(t, "explain").expect(t, exitUsage, "", "say one of --type, --meta and --task")
	agenthost(t, "explain", "--task", "a/b", "--admin", "127.0.0.1:1").expect(t, exitUsage, "", "expected PROJECT/DOMAIN/EXECUTION")
	agenthost(t, "explain", "--task", "f1", "--replicas", "dns:///").expect(t, exitUsage, "", "--replicas dns:///: expected")
}
