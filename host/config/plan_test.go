package config_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/host/config"
)

// plan loads two texts of one file and gives the lines of what changes between them.
func plan(t *testing.T, before, after string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "host.yaml")
	var configs []*config.Config
	for _, text := range []string{before, after} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		configs = append(configs, load(t, config.Sources{Files: []string{path}}))
	}
	return lines(config.Plan(configs[0], configs[1]))
}

func lines(changes []config.Change) []string {
	var lines []string
	for _, change := range changes {
		lines = append(lines, change.String())
	}
	return lines
}

func TestAPlanSaysWhatHappensToEachPlugin(t *testing.T) {
	before := `
plugins:
  gone: {command: [x]}
  same: {command: [x], env: {}, config: {a: {b: [1]}}}
  settings: {command: [x], limits: {rate: 1}, instances: 2}
  both: {command: [x], drain_timeout: 1s}
  deep: {command: [x], env: {A: one, B: two}, secrets: {k: env:K}, config: {a: {b: 1, c: 2}, d: 1}}
  moved: {command: [x]}
`
	after := `
plugins:
  fresh: {command: [x]}
  same: {command: [x], config: {a: {b: [1]}}}
  settings: {command: [x], limits: {rate: 2}, rollout: {percent: 10}}
  both: {command: [y], drain_timeout: 2s}
  deep: {command: [x], env: {A: one, C: two}, secrets: {k: env:L}, config: {a: {b: 1, c: 3}, d: {e: 1}}}
  moved: {address: ["h:1"]}
`
	want := []string{
		"both: swapped: command, drain_timeout",
		"deep: swapped: config.a.c, config.d, env.B, env.C, secrets.k",
		"fresh: added",
		"gone: removed",
		"moved: swapped: address, command",
		"same: unchanged",
		"settings: updated: instances, limits.burst, limits.rate, rollout.percent",
	}
	if diff := cmp.Diff(want, plan(t, before, after)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAPlanSaysWhatNeedsARestartOfTheHost(t *testing.T) {
	got := plan(t, "plugins: {a: {command: [x]}}\n", "listen: {grpc: \"127.0.0.1:1\"}\nlog: {level: debug}\nplugins: {a: {command: [x]}}\nroutes: [{task: t, plugin: a}]\n")
	want := []string{"host: updated: routes", "host: needs restart: listen.grpc, log.level", "a: unchanged"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAPlanOfTheSameTextIsThatNothingHappens(t *testing.T) {
	for _, line := range plan(t, everyKey, everyKey) {
		if !strings.HasSuffix(line, ": unchanged") {
			t.Error(line)
		}
	}
}

func TestAPlanNamesTheFileBehindASecret(t *testing.T) {
	folder := t.TempDir()
	secret := filepath.Join(folder, "token")
	replace(t, secret, "one")
	file := filepath.Join(folder, "host.yaml")
	replace(t, file, "plugins: {a: {command: [x], secrets: {token: file://./token}}, b: {command: [x]}}\n")
	sources := config.Sources{Files: []string{file}}
	current := load(t, sources)
	w := watch(t, sources, current, nil)
	replace(t, secret, "two")
	next, err := w.Peek(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a: swapped: secrets.token (new content in " + secret + ")", "b: unchanged"}
	if diff := cmp.Diff(want, lines(config.Plan(current, next))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
