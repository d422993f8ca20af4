package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

// container is a cgroup with a limit of memory, in which a host and its plugins run as in a pod: they see it, and may not divide it.
type container struct {
	path    string
	program string // the host's, started in it
	limit   int
	v2      bool
}

// newContainer makes one, whose host always listens at the same address.
func newContainer(t *testing.T, limit int) container {
	t.Helper()
	c := container{limit: limit}
	above, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil && strings.Contains(string(controllers), "memory") {
		above, file, c.v2 = "/sys/fs/cgroup", "memory.max", true
		if err := os.WriteFile(filepath.Join(above, "cgroup.subtree_control"), []byte("+memory"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path, err := os.MkdirTemp(above, "agenthost-test-")
	if err != nil {
		t.Skipf("not tried: it takes root and a writable hierarchy of cgroups with the memory controller: %v", err)
	}
	c.path = path
	t.Cleanup(func() {
		wait.Until(t, "the container is empty", func() bool { return len(c.processes(t)) == 0 })
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(path, file), []byte(strconv.Itoa(limit)), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`#!/bin/sh
set -e
echo $$ >%[1]s/cgroup.procs
AGENTHOST_LISTEN__GRPC=%[2]s exec unshare --mount --propagation private sh -ec '
  grep -E " /sys/fs/cgroup(/[^ ]*)? cgroup2? " /proc/mounts | while read -r _ mount _; do mount -o remount,bind,ro "$mount"; done
  exec "$0" "$@"' %[3]s "$@"
`, path, address, hosttest.Program("agenthost"))
	c.program = filepath.Join(t.TempDir(), "agenthost")
	if err := os.WriteFile(c.program, []byte(script), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	return c
}

func (c container) processes(t *testing.T) (pids []int) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.path, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(string(content)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// killed says how many processes the kernel has killed in it, for the memory's sake.
func (c container) killed(t *testing.T) string {
	t.Helper()
	file := "memory.oom_control"
	if c.v2 {
		file = "memory.events"
	}
	content, err := os.ReadFile(filepath.Join(c.path, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if count, found := strings.CutPrefix(line, "oom_kill "); found {
			return strings.TrimSpace(count)
		}
	}
	t.Fatalf("%s has no oom_kill", file)
	return ""
}

// watchedPlugin is what a status says of a plugin's memory.
type watchedPlugin struct {
	Name           string `json:"name"`
	Reason         string `json:"reason"`
	MemoryRestarts int    `json:"memory_restarts"`
	MemoryLimitBy  string `json:"memory_limit_by"`
	Restarts       int    `json:"restarts"`
}

func watched(t *testing.T, h *hosttest.Host) map[string]watchedPlugin {
	t.Helper()
	var status struct{ Plugins []watchedPlugin }
	if err := json.Unmarshal([]byte(h.Ask(t, "/status")), &status); err != nil {
		t.Fatal(err)
	}
	all := map[string]watchedPlugin{}
	for _, p := range status.Plugins {
		all[p.Name] = p
	}
	return all
}

// leak makes calls to both plugins, of which one keeps 1 MiB of each.
func leak(t *testing.T, h *hosttest.Host, calls int) {
	t.Helper()
	client := dial(t, h.Endpoint())
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for n := range calls {
		<-pace.C
		for _, name := range []string{"echo_task", "hello"} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // Flyte's
			_, err := client.DeleteTask(ctx, &admin.DeleteTaskRequest{ResourceMeta: []byte(`{}`), TaskCategory: &admin.TaskCategory{Name: name}})
			cancel()
			if err != nil {
				t.Fatalf("call %d to %s: %v", n, name, err)
			}
		}
	}
}

func greedy(sandbox map[string]any) map[string]any {
	return map[string]any{
		"greedy": map[string]any{"command": badplugin.Command("leaks-memory", "-block", strconv.Itoa(1<<20)), "sandbox": sandbox},
		"hello":  hosttest.Plugin("hello"),
	}
}

func TestAPluginThatReachesItsMemoryLimitInAContainerIsReplacedWithoutALostCall(t *testing.T) {
	c := newContainer(t, 768<<20)
	h := hosttest.StartProgram(t, c.program, map[string]any{"plugins": greedy(map[string]any{"memory": "128MiB"})})
	before := watched(t, h)
	if by := before["greedy"].MemoryLimitBy; by != "watching" {
		t.Fatalf("its memory is held by %q", by)
	}
	leak(t, h, 400)
	after := watched(t, h)
	if got := after["greedy"]; got.MemoryRestarts < 2 || !strings.Contains(got.Reason, "was restarted: it used ") || !strings.Contains(got.Reason, "MiB of 128MiB (sandbox.memory)") {
		t.Errorf("afterwards: %+v", got)
	}
	if got := after["hello"]; got.Restarts != 0 {
		t.Errorf("the other plugin was restarted: %+v", got)
	}
	if !strings.Contains(h.Ask(t, "/metrics"), `agenthost_plugin_memory_restarts_total{plugin="greedy"} `+strconv.Itoa(after["greedy"].MemoryRestarts)) {
		t.Error("no metric tells of it")
	}
	if killed := c.killed(t); killed != "0" {
		t.Errorf("the kernel has killed %s processes", killed)
	}
}

func TestAPluginWithoutALimitIsRestartedBeforeItsContainerIsFull(t *testing.T) {
	c := newContainer(t, 384<<20)
	h := hosttest.StartProgram(t, c.program, map[string]any{"plugins": greedy(map[string]any{"mode": "on"})})
	leak(t, h, 600)
	after := watched(t, h)
	if got := after["greedy"]; got.MemoryRestarts < 1 || !strings.Contains(got.Reason, "the container uses ") || !strings.Contains(got.Reason, "MiB of 384MiB") {
		t.Errorf("afterwards: %+v", got)
	}
	if got := after["hello"]; got.Restarts != 0 {
		t.Errorf("the other plugin was restarted: %+v", got)
	}
	if killed := c.killed(t); killed != "0" {
		t.Errorf("the kernel has killed %s processes", killed)
	}
}

// What the kernel does with memory.oom.group: the host and all plugins end in one moment.
func TestAHostThatIsKilledWithAllItsPluginsLosesNoJob(t *testing.T) {
	const tasks = 10
	c := newContainer(t, 2048<<20)
	state := t.TempDir()
	h := hosttest.StartProgram(t, c.program, map[string]any{
		"state_dir": filepath.Join(state, "host"), "create": map[string]any{"on_record": "on"},
		"plugins": map[string]any{"duckdb": map[string]any{
			"command": []string{hosttest.Program("duckdb")}, "config": map[string]any{"state_dir": filepath.Join(state, "duckdb")},
			"sandbox": map[string]any{"write": []string{filepath.Join(state, "duckdb")}},
		}},
	})
	category := &admin.TaskCategory{Name: "duckdb_query"}
	var metas [][]byte
	maker := dial(t, h.Endpoint())
	for n := range tasks {
		task := sqlTask("select $n + count(*) - 200000000 as n from range(200000000)", n)
		ctx, cancel := context.WithTimeout(t.Context(), maxWait)
		created, err := maker.CreateTask(ctx, &admin.CreateTaskRequest{Template: task.Template, Inputs: task.Inputs, OutputPrefix: "/nowhere"})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		metas = append(metas, created.GetResourceMeta())
	}
	for len(c.processes(t)) > 0 {
		for _, pid := range c.processes(t) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // one may have ended with its host
		}
	}
	h.Kill(t)
	h.Restart(t)
	client := dial(t, h.Endpoint())
	for n, meta := range metas {
		wait.Until(t, fmt.Sprint("job ", n, " ends"), func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), maxWait)
			defer cancel()
			got, err := client.GetTask(ctx, &admin.GetTaskRequest{TaskCategory: category, ResourceMeta: meta})
			if err != nil {
				t.Fatalf("job %d: %v", n, err)
			}
			switch got.GetResource().GetPhase() {
			case core.TaskExecution_SUCCEEDED:
			case core.TaskExecution_FAILED, core.TaskExecution_ABORTED:
				t.Fatalf("job %d: %v", n, got)
			default:
				return false
			}
			if answer := got.GetResource().GetOutputs().GetLiterals()["n"].GetScalar().GetPrimitive().GetInteger(); answer != int64(n) {
				t.Errorf("job %d answers %d", n, answer)
			}
			return true
		})
	}
}
