package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

// inContainer makes a program the first process of a namespace of its own, as an image's entry point is.
func (p *program) inContainer() {
	p.cmd.Args = append([]string{"sh", "-c", `mount -t proc proc /proc && exec "$@"`, "sh"}, append([]string{p.cmd.Path}, p.cmd.Args[1:]...)...)
	p.cmd.Path = "/bin/sh"
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		p.cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		p.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		p.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
}

// children are the states of a process's children, by their ids.
func children(t *testing.T, parent int) map[int]string {
	t.Helper()
	states := map[int]string{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		if fields := strings.Fields(string(rest)); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path))) // the pattern says that it is a number
			states[pid] = fields[0]
		}
	}
	return states
}

func TestAsTheFirstProcessOfAContainerNothingStaysAZombie(t *testing.T) {
	left := filepath.Join(t.TempDir(), "left")
	// Each round leaves two processes without a parent, one of them in a session of its own.
	const leaves = `(while true; do (sleep 0.01; echo >>"$0") & (setsid sh -c "sleep 0.01; echo >>$0" &); wait; sleep 0.02; done) & exec "$@"`
	command := append([]string{"sh", "-c", leaves, left}, badplugin.Command("good")...)
	p := newProgram(t, "serve", "-c", pluginsFile(t, map[string][]string{"echo": command}))
	p.cmd.Env = append(p.cmd.Env, "AGENTHOST_PLUGINS__ECHO__SANDBOX={write: ["+filepath.Dir(left)+"]}")
	p.inContainer()
	p.start(t)
	p.stderr.await(t, "agenthost is ready", 1)
	addresses := readyLine.FindStringSubmatch(p.stderr.String())
	host := &served{p, addresses[1], addresses[2]}

	wait.Until(t, "50 processes were left behind and have ended", func() bool {
		content, _ := os.ReadFile(left) // there is none at first
		return len(content) >= 50
	})
	first := p.cmd.Process.Pid
	wait.Until(t, "none of them is a zombie", func() bool {
		zombies := 0
		for _, state := range children(t, first) {
			if state == "Z" {
				zombies++
			}
		}
		return zombies < 3 // one may have ended just now
	})
	if status := host.status(t); status.State != "running" || status.Restarts != 0 {
		t.Errorf("the plugin is %+v", status)
	}

	// Whom the host waits for itself is still the host's: it learns how its plugin ended.
	agenthost(t, "status", "--admin", host.admin).expect(t, 0, "running", "")
	before := host.status(t).PID
	kill(t, findInside(t, first, before))
	wait.Until(t, "the plugin was started again", func() bool { s := host.status(t); return s.State == "running" && s.PID != before })
	if reason := host.status(t).Reason; !strings.Contains(reason, "was killed by SIGKILL") {
		t.Errorf("the host says of it: %q", reason)
	}

	agenthost(t, "upgrade", "--admin", host.admin).expect(t, exitFailed, "", "serves on: this host is the program of a container: replace the container")
	if code := host.signal(t, syscall.SIGTERM); code != 0 || !strings.Contains(p.stderr.String(), "agenthost has stopped") {
		t.Errorf("on SIGTERM it ended with %d", code)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// findInside is the id by which the test knows the process that has another one in the container.
func findInside(t *testing.T, first, inside int) int {
	t.Helper()
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		t.Fatal(err)
	}
	statuses, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range statuses {
		if of, err := os.Readlink(filepath.Dir(path) + "/ns/pid"); err != nil || of != namespace {
			continue
		}
		status, _ := os.ReadFile(path) // it may have ended meanwhile
		_, ids, _ := strings.Cut(string(status), "\nNSpid:")
		ids, _, _ = strings.Cut(ids, "\n")
		if fields := strings.Fields(ids); len(fields) > 0 && fields[len(fields)-1] == strconv.Itoa(inside) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	t.Fatalf("there is no process %d in the container", inside)
	return 0
}

func TestTheFirstProcessEndsAsAnyOther(t *testing.T) {
	p := newProgram(t, "serve", "-c", "/nowhere.yaml")
	p.inContainer()
	p.start(t)
	_ = p.cmd.Wait() // the code is what counts
	if code := p.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(p.stderr.String(), "/nowhere.yaml") {
		t.Errorf("it ended with %d:\n%s", code, p.stderr)
	}
}

// A plugin's child that hides: in a session of its own, with an environment that names nothing, its parents gone.
func TestNothingOfAPluginOutlivesItOrTheHost(t *testing.T) {
	const alone = "as process 1, without cgroups"
	for name, how := range map[string]func(*program){
		alone: func(p *program) {
			p.inContainer()
			p.cmd.Args[2] = "mount -t tmpfs none /sys/fs/cgroup && " + p.cmd.Args[2]
		},
		"as any other, with cgroups where there are any": func(*program) {},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			const hide = `echo "$(setsid env -i /bin/sh -c 'sleep 1000 >/dev/null 2>&1 & echo $!')" >"$0/left"; exec "$@"`
			command := append([]string{"sh", "-c", hide, folder}, badplugin.Command("good")...)
			p := newProgram(t, "serve", "--set", "plugins.echo.sandbox=off", "-c", pluginsFile(t, map[string][]string{"echo": command}))
			how(p)
			p.start(t)
			p.stderr.await(t, "agenthost is ready", 1)
			addresses := readyLine.FindStringSubmatch(p.stderr.String())
			host := &served{p, addresses[1], addresses[2]}
			seen := func(inside int) int { // by the test
				if name == alone {
					return findInside(t, p.cmd.Process.Pid, inside)
				}
				return inside
			}
			hidden := func() int {
				content, err := os.ReadFile(filepath.Join(folder, "left"))
				if err != nil {
					t.Fatal(err)
				}
				pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
				if err != nil {
					t.Fatal(err)
				}
				return seen(pid)
			}
			if name == alone && !strings.Contains(p.stderr.String(), "plugins are not limited by cgroups as they could be") {
				t.Errorf("it has cgroups, or says nothing of having none:\n%s", p.stderr)
			}
			first, plugin := hidden(), host.status(t).PID
			kill(t, seen(plugin))
			wait.Until(t, "the plugin was started again", func() bool { s := host.status(t); return s.State == "running" && s.PID != plugin })
			if runs(first) {
				t.Error("the hidden process outlived its plugin")
			}
			if name == alone && !strings.Contains(p.stderr.String(), "processes were killed that no plugin alive answers for") {
				t.Errorf("nobody is told:\n%s", p.stderr)
			}
			second := hidden()
			if !runs(second) || second == first {
				t.Fatalf("the second hidden process, %d, does not run", second)
			}
			if code := host.signal(t, syscall.SIGTERM); code != 0 {
				t.Errorf("the host ended with %d:\n%s", code, p.stderr)
			}
			if runs(second) {
				t.Error("the hidden process outlived the host")
			}
		})
	}
}

// runs tells whether there is a process that has not ended.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}
