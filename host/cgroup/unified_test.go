package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What version 2 is told, in files, for machines whose controllers are all version 1's.
func TestVersion2IsToldItsLimits(t *testing.T) {
	above := t.TempDir()
	file := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(above, path), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(above, "agenthost-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	file("cgroup.controllers", "cpuset cpu memory pids\n")
	g := &Groups{name: "agenthost-1", v1: map[string]string{}, v2: above, lack: map[string]string{}}
	for _, controller := range []string{memory, pids, cpu} {
		if lack := g.enable(controller, ""); lack != "" {
			t.Error(lack)
		}
		for _, path := range []string{above, filepath.Join(above, "agenthost-1")} {
			if got, err := os.ReadFile(filepath.Join(path, "cgroup.subtree_control")); err != nil || string(got) != "+"+controller {
				t.Errorf("%s enables %q, %v", path, got, err)
			}
		}
	}
	made, err := g.Make("x", Limits{Memory: 64 << 20, Pids: 100, CPU: 1.5})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"memory.max": "67108864", "pids.max": "100", "cpu.max": "150000 100000", "memory.oom.group": "1"} {
		if got, err := os.ReadFile(filepath.Join(made.v2, name)); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %q, want %q: %v", name, got, want, err)
		}
	}
	file("agenthost-1/x-1/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 1\n")
	file("agenthost-1/x-1/pids.events", "max 7\n")
	if got := made.Reached().String(); got != "it reached its memory limit of 64MiB (sandbox.memory), and it reached its limit of 100 processes and threads (sandbox.pids)" {
		t.Errorf("it says %q", got)
	}
	file("cgroup.controllers", "cpu pids\n")
	if got := g.enable(memory, ""); got != above+" has no controller memory" {
		t.Errorf("without the controller: %q", got)
	}
}

func TestVersion2sUseIsWithoutTheCacheOfFiles(t *testing.T) {
	c := container2
	c.path = t.TempDir()
	for file, content := range map[string]string{
		"memory.current": "1000\n",
		"memory.stat":    "anon 500\nfile 450\nshmem 50\ninactive_anon 550\ninactive_file 300\nactive_file 100\n",
	} {
		if err := os.WriteFile(filepath.Join(c.path, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if used, err := c.Used(); err != nil || used != 600 {
		t.Errorf("%d, %v", used, err)
	}
}
