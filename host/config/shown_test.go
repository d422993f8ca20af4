package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/host/config"
)

// shown is what is shown of plugin p of a file.
func shown(t *testing.T, text string) (string, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "host.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, k := range load(t, config.Sources{Files: []string{path}, Flags: map[string]any{"plugins.p.env.FROM_FLAG": "hunter2"}}).Shown("p") {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s=%s %s", k.Key, k.Value, strings.TrimPrefix(k.Origin, path))))
	}
	return path, lines
}

func TestWhatIsShownOfAPluginHoldsNoSecret(t *testing.T) {
	_, got := shown(t, `
plugins:
  p:
    command: [/bin/p, --token=hunter2, "${hunter2}"]
    dir: /hunter2
    env: {B: hunter2, A: "5"}
    inherit_env: [HUNTER2]
    secrets: {db: "file:///hunter2"}
    sandbox: {require: true, connect: [443, 5432], memory: 64MiB, read: [/hunter2], user: "70000-70999", preset: go}
    config: {password: hunter2, nested: {hunter2: hunter2}, port: 2222}
    tls: "on"
    limits: {concurrency: 5, rate: 2.5}
    status: {max_stale: 90s}
    rollback: false
    rollout: {steps: [{percent: 5, pause: 10m}, {percent: 50, pause: 1h}], abort_if: {error_rate: 0.05}}
    task_types: [hunter2]
  other: {command: [x], env: {X: hunter2}}
`)
	want := []string{
		"command= :4", "dir= :5", "env.A= :6", "env.B= :6", "env.FROM_FLAG= command line", "inherit_env= :7", "secrets.db= :8",
		"sandbox.require=true :9", "sandbox.preset=go :9", "sandbox.read= :9", "sandbox.connect=443 5432 :9", "sandbox.user= :9", "sandbox.memory=64MiB :9",
		"config.nested= :10", "config.password= :10", "config.port= :10", "tls=on :11", "task_types= :16", "limits.concurrency=5 :12", "limits.rate=2.5 :12",
		"status.max_stale=1m30s :13", "rollback=false :14",
		"rollout.steps.0.percent=5 :15", "rollout.steps.0.pause=10m :15", "rollout.steps.1.percent=50 :15", "rollout.steps.1.pause=1h :15", "rollout.abort_if.error_rate=0.05 :15",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(strings.ToLower(strings.Join(got, "\n")), "hunter2") {
		t.Error("a value is shown that may be a secret")
	}
}

func TestNothingIsShownOfAPluginThatThereIsNot(t *testing.T) {
	if got := config.Default().Shown("p"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
