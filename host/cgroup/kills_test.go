package cgroup

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhichEndsArePutDownToTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kills := uint64(7)
		k := &Kills{count: func() uint64 { return kills }}
		k.Look()
		sleep := func(d time.Duration) {
			for ; d > 0; d -= time.Second / 4 {
				time.Sleep(time.Second / 4)
				k.Look()
			}
		}
		want := func(what string, want bool) {
			t.Helper()
			if got := k.Claim(); got != want {
				t.Errorf("%s: %v", what, got)
			}
		}
		want("what was counted before is nobody's", false)
		kills++
		sleep(time.Second)
		want("a kill was counted just now", true)
		want("and was another's", false)
		kills += 2
		want("the first of two", true)
		want("the second", true)
		want("a third", false)
		sleep(time.Minute)
		want("they are long over", false)
		kills++
		sleep(time.Minute)
		want("one of a process that is none of the host's", false)
		if len(k.looks) > 10 || len(k.claimed) > 0 {
			t.Errorf("%d looks and %d claims are remembered", len(k.looks), len(k.claimed))
		}
	})
	if (*Kills)(nil).Claim() {
		t.Error("nobody knows of a kill")
	}
}

func TestKillsAreReadOfBothVersionsAndOfTheMachine(t *testing.T) {
	write := func(name, content string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	unified := write("memory.events", "low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 1\n")
	if got := (&Group{v2: unified}).Reached(); got.OOMKills != 3 || got.Memory != "" || got.String() != "its container or the machine was out of memory" {
		t.Errorf("version 2: %+v, %s", got, got)
	}
	if got := (&Group{v2: unified, limits: Limits{Memory: 64 << 20}}).Reached(); got.String() != "it reached its memory limit of 64MiB (sandbox.memory)" {
		t.Errorf("with a limit: %+v, %s", got, got)
	}
	if got := oomKills(write("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")); got != 2 {
		t.Errorf("version 1: %d", got)
	}
	if got := oomKillsOfMachine(filepath.Join(write("vmstat", "nr_free_pages 12\noom_kill 5\n"), "vmstat")); got != 5 {
		t.Errorf("the machine: %d", got)
	}
	if got := WatchKills(&Container{path: unified}).count(); got != 3 {
		t.Errorf("the container: %d", got)
	}
	if got := (*Group)(nil).OOMKills() + oomKills(t.TempDir()); got != 0 {
		t.Errorf("without a cgroup: %d", got)
	}
}
