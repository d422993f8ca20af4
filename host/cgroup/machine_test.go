package cgroup_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// memoryDir is a cgroup with the memory controller that a test made.
type memoryDir struct{ path, file string }

func (m memoryDir) limit(t *testing.T, inner string, bytes int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.path, inner, m.file), []byte(strconv.Itoa(bytes)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// memoryCgroup makes one, in whichever version this machine has the controller.
func memoryCgroup(t *testing.T) memoryDir {
	t.Helper()
	m := memoryDir{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}
	if controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil && strings.Contains(string(controllers), "memory") {
		m = memoryDir{"/sys/fs/cgroup", "memory.max"}
		enable(t, m.path)
	}
	path, err := os.MkdirTemp(m.path, "agenthost-test-")
	if err != nil {
		t.Skipf("not tried: it takes root and a writable hierarchy of cgroups with the memory controller: %v", err)
	}
	t.Cleanup(func() { os.Remove(path) })
	t.Logf("the memory controller is that of %s", m.path)
	m.path = path
	if m.file == "memory.max" {
		enable(t, path)
	}
	return m
}

func enable(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte("+memory"), 0o644); err != nil {
		t.Fatal(err)
	}
}
