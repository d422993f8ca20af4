package cgroup_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/test/wait"
)

// open makes groups, and says what of them this machine has.
func open(t *testing.T) *cgroup.Groups {
	t.Helper()
	g := cgroup.Open(fmt.Sprintf("test-%d-%s", os.Getpid(), strings.ToLower(t.Name())))
	t.Cleanup(g.Close)
	t.Log("this machine has: ", g)
	if lacking := g.Lacking(cgroup.Limits{Memory: 1, Pids: 1, CPU: 1}); len(lacking) > 0 {
		t.Skipf("not tried: it takes root and writable cgroups: %q", lacking)
	}
	return g
}

func group(t *testing.T, g *cgroup.Groups, limits cgroup.Limits) *cgroup.Group {
	t.Helper()
	made, err := g.Make("x", limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { made.Kill(); made.Remove() })
	return made
}

// start starts a script in a group, on a thread that then leaves it.
func start(t *testing.T, in *cgroup.Group, script string) (cmd *exec.Cmd, says *bufio.Reader) {
	t.Helper()
	cmd = exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := ownCgroups(t)
	leave, err := in.Enter(cmd.SysProcAttr)
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Start()
	if left := leave(); left != nil || err != nil {
		t.Fatal(left, err)
	}
	if after := ownCgroups(t); after != before {
		t.Errorf("the thread was in\n%sand is in\n%s", before, after)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewReader(out)
}

func ownCgroups(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("/proc/thread-self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func line(t *testing.T, from *bufio.Reader) string {
	t.Helper()
	said, err := from.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", said, err)
	}
	return strings.TrimSpace(said)
}

func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// directories are those of a host's groups, in all hierarchies.
func directories(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/%s", "/sys/fs/cgroup/*/%s", "/sys/fs/cgroup/*/*/%s", "/sys/fs/cgroup/*/*/*/%s"} {
		some, err := filepath.Glob(fmt.Sprintf(pattern, name))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, some...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func TestAProcessIsInItsGroupFromItsFirstInstantAndNobodyElseIs(t *testing.T) {
	g := open(t)
	in := group(t, g, cgroup.Limits{Memory: 256 << 20, Pids: 20, CPU: 0.5})
	other := group(t, g, cgroup.Limits{Pids: 20})
	// The first that it does is to say where it is: nothing has moved it.
	cmd, says := start(t, in, `cat /proc/self/cgroup | grep -c "agenthost-host-test-.*/x-1$"; setsid env -i sleep 1000 >/dev/null & echo $!; wait`)
	if got := line(t, says); got == "0" {
		t.Error("it began in no cgroup of its own")
	} else {
		t.Logf("it is in those of %s hierarchies", got)
	}
	child, err := strconv.Atoi(line(t, says))
	if err != nil {
		t.Fatal(err)
	}
	if !in.Has(cmd.Process.Pid) || !in.Has(child) || in.Has(os.Getpid()) || other.Has(child) {
		t.Errorf("the group has its process: %v, its child: %v, the host: %v; another has the child: %v",
			in.Has(cmd.Process.Pid), in.Has(child), in.Has(os.Getpid()), other.Has(child))
	}
	in.Kill()
	wait.Until(t, "both are gone", func() bool { return gone(cmd.Process.Pid) && gone(child) })
	if got := in.Reached().String(); got != "" {
		t.Errorf("nothing was reached, but %s", got)
	}
}

func TestProcessesAreLimited(t *testing.T) {
	in := group(t, open(t), cgroup.Limits{Pids: 10})
	_, says := start(t, in, `i=0; while [ $i -lt 30 ]; do sleep 1000 >/dev/null 2>&1 & i=$((i+1)); done 2>/dev/null; echo done; wait`)
	_, _ = says.ReadString('\n') // a shell that cannot fork ends, or goes on
	wait.Until(t, "a fork was refused", func() bool { return in.Reached().Pids > 0 })
	if got := in.Reached().String(); got != "it reached its limit of 10 processes and threads (sandbox.pids)" {
		t.Errorf("it says %q", got)
	}
}

func TestMemoryIsLimitedAndToldOf(t *testing.T) {
	in := group(t, open(t), cgroup.Limits{Memory: 32 << 20})
	cmd, _ := start(t, in, `head -c 64m /dev/zero | tail -c 64m | wc -c`)
	_ = cmd.Wait() // the shell may survive its child
	if in.OOMKills() == 0 {
		t.Error("no kill is counted")
	}
	if got := in.Reached().String(); got != "it reached its memory limit of 32MiB (sandbox.memory)" {
		t.Errorf("it says %q", got)
	}
}

func TestProcessorsAreLimited(t *testing.T) {
	in := group(t, open(t), cgroup.Limits{CPU: 0.05})
	cmd, _ := start(t, in, `while :; do :; done`)
	wait.Until(t, "the kernel has held it back", func() bool {
		for _, path := range directories(t, "agenthost-host-test-*/x-1") {
			stat, _ := os.ReadFile(filepath.Join(path, "cpu.stat")) // not in each
			for field := range strings.Lines(string(stat)) {
				var n int
				if count, _ := fmt.Sscanf(field, "nr_throttled %d", &n); count == 1 && n > 2 {
					return true
				}
			}
		}
		return gone(cmd.Process.Pid)
	})
}

func TestAHostsGroupsGoWithItOrWithTheNext(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host := exec.Command(self)
	host.Env = append(os.Environ(), asHost+"=1")
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	var name string
	var child int
	if _, err := fmt.Fscan(out, &name, &child); err != nil {
		t.Fatal(err)
	}
	next := open(t)
	if gone(child) || len(directories(t, name)) == 0 {
		t.Error("a host's groups were removed while it lives")
	}
	_ = host.Process.Kill()
	_ = host.Wait()
	if gone(child) {
		t.Error("the child ended by itself")
	}
	next.Close()
	if left := directories(t, fmt.Sprintf("agenthost-host-test-%d-*", os.Getpid())); len(left) > 0 {
		t.Errorf("a host that closes its groups leaves %v", left)
	}
	open(t)
	wait.Until(t, "what the dead host left is gone", func() bool { return gone(child) })
	wait.Until(t, "its groups are gone with the next start", func() bool {
		cgroup.Open(fmt.Sprintf("test-%d-again", os.Getpid())).Close()
		return len(directories(t, name)) == 0
	})
}

// Others may name theirs for agenthost, too.
func TestTheCgroupsOfOthersStay(t *testing.T) {
	open(t)
	own := directories(t, fmt.Sprintf("agenthost-host-test-%d-*", os.Getpid()))
	if len(own) == 0 {
		t.Fatal("the host has no cgroup")
	}
	for _, path := range own {
		other := filepath.Join(filepath.Dir(path), fmt.Sprintf("agenthost-test-%d", os.Getpid()))
		if err := os.Mkdir(other, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(other)
	}
	cgroup.Open(fmt.Sprintf("test-%d-other", os.Getpid())).Close()
	if left := directories(t, fmt.Sprintf("agenthost-test-%d", os.Getpid())); len(left) != len(own) {
		t.Errorf("of %d cgroups of somebody else's %v are left", len(own), left)
	}
}

// asHost makes the test binary a host with one process, which is killed.
const asHost = "CGROUP_TEST_HOST"

func actAsHost() {
	id := fmt.Sprintf("test-%d-dead", os.Getpid())
	in, err := cgroup.Open(id).Make("x", cgroup.Limits{Pids: 10})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	runtime.LockOSThread()
	cmd := exec.Command("/usr/bin/env", "-i", "setsid", "sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	leave, err := in.Enter(cmd.SysProcAttr)
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		err = leave()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("agenthost-host-"+id, cmd.Process.Pid)
	select {}
}

func TestWhereNothingIsDelegatedNothingIsDoneAndSaidSo(t *testing.T) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	other := exec.Command("/proc/self/fd/3")
	other.ExtraFiles = []*os.File{self}
	other.Env = []string{asOrdinary + "=1"}
	if os.Getuid() == 0 {
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	other.Dir = "/"
	out, err := other.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"groups none: /sys/fs/cgroup", "not delegated", "made <nil> <nil>", "sandbox.pids is not limited: ", "sandbox.memory is not limited: "} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// asOrdinary makes the test binary a host without rights.
const asOrdinary = "CGROUP_TEST_ORDINARY"

func actAsOrdinary() {
	g := cgroup.Open("test-ordinary")
	fmt.Println("groups", g)
	limits := cgroup.Limits{Memory: 1 << 20, Pids: 10}
	made, err := g.Make("x", limits)
	fmt.Println("made", made, err)
	fmt.Println(strings.Join(g.Lacking(limits), "\n"))
	leave, err := made.Enter(nil)
	if err != nil || leave() != nil || made.Has(1) || made.Reached().String() != "" {
		fmt.Println("nothing is not nothing")
		os.Exit(1)
	}
	made.Kill()
	made.Remove()
	g.Close()
}

// asFiltered makes the test binary a host that may not call clone3, as a service with RestrictNamespaces= may not.
const asFiltered = "CGROUP_TEST_FILTERED"

func actAsFiltered() {
	filter := seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionErrno | seccomp.Action(syscall.ENOSYS), Names: []string{"clone3"}}},
	}}
	if err := seccomp.LoadFilter(filter); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	g := cgroup.Open("test-filtered")
	defer g.Close()
	fmt.Println("groups", g)
	made, err := g.Make("x", cgroup.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer made.Remove()
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	runtime.LockOSThread()
	leave, err := made.Enter(cmd.SysProcAttr)
	if err == nil {
		err = cmd.Run()
	}
	if err == nil {
		err = leave()
	}
	fmt.Println("started", err)
}

// A plugin without a cgroup is better than none.
func TestAHostWithoutClone3StartsProcessesAllTheSame(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	filtered := exec.Command(program)
	filtered.Env = append(os.Environ(), asFiltered+"=1")
	out, err := filtered.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "started <nil>") {
		t.Fatalf("%v: %s", err, out)
	}
	unfiltered := cgroup.Open("test-unfiltered")
	defer unfiltered.Close()
	if has2 := strings.Contains(unfiltered.String(), "kill"); has2 && strings.Contains(string(out), "kill") {
		t.Errorf("it believes in cgroups of version 2: %s", out)
	}
}

// The one must not take the other's for those of a dead one while it makes them.
func TestHostsThatStartTogetherAllGetTheirGroups(t *testing.T) {
	want := open(t).String()
	for round := range 20 {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				g := cgroup.Open(fmt.Sprintf("test-%d-together-%d-%d", os.Getpid(), round, i))
				defer g.Close()
				if got := g.String(); got != want {
					t.Errorf("one has %s; want %s", got, want)
				}
			})
		}
		all.Wait()
	}
	if left := directories(t, fmt.Sprintf("agenthost-host-test-%d-together-*", os.Getpid())); len(left) > 0 {
		t.Errorf("they leave %v", left)
	}
}
