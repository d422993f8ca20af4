package main

import (
	"fmt"
	"testing"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
)

// What a plan promises of a plugin is what the fleet does, which compares specs.
func TestAPlanReplacesExactlyWhatHasAnotherSpec(t *testing.T) {
	base := loadText(t, "command: [x]")
	for _, keys := range []string{
		"command: [y]", "command: [x, -v]", "dir: /", "env: {A: b}", "inherit_env: [A]", "secrets: {k: env:K}", "config: {k: 1}", "tls: off",
		"sha256: {/x: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}", "start_timeout: 1s", "stop_timeout: 1s",
		"drain_timeout: 1s", "instances: 2", "limits: {concurrency: 1, wait: 1s, rate: 1, burst: 2}", "status: {min_interval: 1s, max_stale: 1s}",
		"pin: always", "restart: {max_backoff: 1m, crash_loop: {failures: 9}}", "probation: 1s", "rollback: false", "rollout: {percent: 1}",
		"instances: 1", "env: {}", "config: {}", "inherit_env: []", "sha256: {}", "secrets: {}",
	} {
		if keys[:3] != "com" {
			keys = "command: [x], " + keys
		}
		next := loadText(t, keys)
		swapped := config.Plan(base, next)[0].Action == config.Swapped
		another := plugin.SpecOf("a", base.Plugins["a"]).Hash() != plugin.SpecOf("a", next.Plugins["a"]).Hash()
		if swapped != another {
			t.Errorf("%s: the plan says %v, but the specs differ: %t", keys, config.Plan(base, next), another)
		}
	}
}

func loadText(t *testing.T, keys string) *config.Config {
	t.Helper()
	file := writeFile(t, "host.yaml", fmt.Sprintf("plugins: {a: {%s}}\n", keys))
	settings, err := config.Load(config.Sources{Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	return settings
}
