package plugin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/test/wait"
)

// newLimitingHost is a host with cgroups; these tests need a machine that has them.
func newLimitingHost(t *testing.T) *host {
	t.Helper()
	h := newHost(t)
	h.groups = cgroup.Open(filepath.Base(h.root.Path()))
	t.Cleanup(h.groups.Close)
	t.Log("this machine has: ", h.groups)
	if !h.groups.Complete() {
		t.Skip("not tried: it takes root, and cgroups to write")
	}
	return h
}

// limitOf reads a file of the cgroup that a process is in.
func limitOf(t *testing.T, pid int, name string) string {
	t.Helper()
	cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(cgroups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, mount := range []string{fields[1], ""} {
			if content, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", mount, fields[2], name)); err == nil {
				return strings.TrimSpace(string(content))
			}
		}
	}
	return ""
}

func TestAPluginIsLimitedAndEndsWithAllThatItStarted(t *testing.T) {
	h := newLimitingHost(t)
	limited := script("limited", `setsid env -i sleep 1000 >/dev/null 2>&1 & echo "it is $!" >&2`)
	limited.Sandbox = config.Sandbox{Mode: config.On, Memory: 256 * config.MiB, CPU: 1.5}
	i := h.start(limited)
	if got := limitOf(t, i.PID(), "pids.max"); got != strconv.Itoa(plugin.DefaultPids) {
		t.Errorf("pids.max is %q", got)
	}
	if v1, v2 := limitOf(t, i.PID(), "memory.limit_in_bytes"), limitOf(t, i.PID(), "memory.max"); v1+v2 != "268435456" {
		t.Errorf("its memory is limited to %q", v1+v2)
	}
	if v1, v2 := limitOf(t, i.PID(), "cpu.cfs_quota_us"), limitOf(t, i.PID(), "cpu.max"); v1 != "150000" && v2 != "150000 100000" {
		t.Errorf("its processors are limited to %q, %q", v1, v2)
	}
	if missing := i.Sandbox().Missing; strings.Contains(strings.Join(missing, " "), "not limited") {
		t.Errorf("missing are %q", missing)
	}
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	plugins, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", i.PID()))
	if err != nil || strings.TrimSpace(string(plugins)) == strings.TrimSpace(string(own)) {
		t.Errorf("out of memory it ends no sooner than the host: %s, %s, %v", own, plugins, err)
	}
	_, said, _ := strings.Cut(h.log.line(t, "it is ")["msg"].(string), "it is ")
	child, err := strconv.Atoi(said)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	wait.Until(t, "its child is gone", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		return err != nil || strings.Contains(string(stat), ") Z")
	})
	left, err := filepath.Glob("/sys/fs/cgroup/*/agenthost-" + filepath.Base(h.root.Path()) + "/limited-*")
	if err != nil || len(left) > 0 {
		t.Errorf("its cgroups are left: %v, %v", left, err)
	}
}

func TestAPluginThatNeedsMoreMemoryThanItMaySaysSo(t *testing.T) {
	h := newLimitingHost(t)
	greedy := script("greedy", `x=$(head -c 100m /dev/zero | tr '\0' x)`)
	greedy.Sandbox = config.Sandbox{Mode: config.On, Memory: 64 * config.MiB}
	h.wantFailure(greedy, "", "it was killed by the kernel for want of memory (OOM, SIGKILL): it reached its memory limit of 64MiB (sandbox.memory)")
}

func TestLimitsThatCannotBeAreMissing(t *testing.T) {
	h := newHost(t) // without cgroups
	limited := spec("limited", "good")
	start := func() (missing string, limit uint64, watched bool) {
		t.Helper()
		i := h.start(limited)
		limit, watched = i.MemoryLimit()
		if err := i.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		return strings.Join(i.Sandbox().Missing, " "), limit, watched
	}
	if missing, limit, watched := start(); strings.Contains(missing, "not limited") || limit != 0 || watched {
		t.Errorf("nobody has asked for a limit; missing are %q, it has %d, watched: %v", missing, limit, watched)
	}
	limited.Sandbox.CPU = 1
	const want = "sandbox.cpu is not limited: the host makes no cgroups"
	if missing, _, _ := start(); !strings.Contains(missing, want) {
		t.Errorf("missing are %q", missing)
	}
	limited.Sandbox.Require = true
	h.wantFailure(limited, plugin.StepLaunch, want)
}

// Where no cgroup holds it the host watches, which is no sandbox: a plugin can be faster.
func TestALimitOfMemoryIsHeldByTheCgroupOrElseWatched(t *testing.T) {
	limited := script("limited", `:`)
	limited.Sandbox = config.Sandbox{Mode: config.On, Memory: 256 * config.MiB}
	h := newHost(t) // without cgroups
	i := h.start(limited)
	if limit, watched := i.MemoryLimit(); limit != 256<<20 || !watched || strings.Contains(strings.Join(i.Sandbox().Missing, " "), "memory") {
		t.Errorf("without cgroups its limit is %d, watched: %v; missing are %q", limit, watched, i.Sandbox().Missing)
	}
	if took, err := i.Memory(0); err != nil || took < 1<<20 || took > 256<<20 {
		t.Errorf("it takes %d bytes (%v)", took, err)
	}
	if err := i.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	limited.Sandbox.Require = true
	h.wantFailure(limited, plugin.StepLaunch, "sandbox.memory is not limited: the host makes no cgroups")

	held := newLimitingHost(t)
	i = held.start(limited)
	if limit, watched := i.MemoryLimit(); limit != 256<<20 || watched {
		t.Errorf("in a cgroup its limit is %d, watched: %v", limit, watched)
	}
}
