package process_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/test/wait"
)

func TestAProcessSaysHowItEnded(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0":        "exited with code 0",
		"exit 3":        "exited with code 3",
		"kill -SEGV $$": "was killed by SIGSEGV",
	} {
		exit := awaitEnd(t, shell(t, script))
		if exit.String() != want || exit.Ours {
			t.Errorf("%s: %v (ours: %v), want %s", script, exit, exit.Ours, want)
		}
	}
	p := shell(t, "sleep 1000")
	p.Kill(t.Context())
	if exit := awaitEnd(t, p); exit.Signal != unix.SIGKILL || !exit.Ours {
		t.Errorf("a killed one: %+v", exit)
	}
}

func TestNothingOfTheEnvironmentIsInherited(t *testing.T) {
	t.Setenv("HOST_SECRET", "visible")
	p := process.New(process.Config{Name: "env", Command: []string{"/usr/bin/env"}, Env: []string{"ONLY=this"}})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, p)
	if got := p.LastOutput(); !slices.Equal(got, []string{"ONLY=this"}) {
		t.Errorf("it saw %q", got)
	}
	bare := process.New(process.Config{Name: "env", Command: []string{"/usr/bin/env"}})
	if err := bare.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, bare)
	if got := bare.LastOutput(); len(got) != 0 {
		t.Errorf("with no environment it saw %q", got)
	}
}

func TestProgramsAreFoundInTheProcessesOwnPathAndDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "agent"), []byte("#!/bin/sh\necho found\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, config := range []process.Config{
		{Command: []string{"agent"}, Env: []string{"PATH=/nowhere:" + dir}},
		{Command: []string{"./agent"}, Dir: dir},
		{Command: []string{filepath.Join(dir, "agent")}},
	} {
		p := process.New(config)
		if err := p.Start(t.Context()); err != nil {
			t.Errorf("%+v: %v", config, err)
			continue
		}
		awaitEnd(t, p)
		if got := p.LastOutput(); !slices.Equal(got, []string{"found"}) {
			t.Errorf("%+v: %q", config, got)
		}
	}
	if err := process.New(process.Config{Command: []string{"agent"}, Env: []string{"PATH=."}, Dir: dir}).Start(t.Context()); err == nil {
		t.Error("a relative PATH entry was followed")
	}
}

func TestAProcessThatIsKilledBeforeItsStartDoesNotLive(t *testing.T) {
	p := process.New(process.Config{Name: "late", Command: []string{"sh", "-c", "sleep 1000"}, Env: []string{"PATH=" + os.Getenv("PATH")}})
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exit := awaitEnd(t, p); exit.Signal != unix.SIGKILL {
		t.Errorf("it %v", exit)
	}
}

// The parent-death signal fires when the thread that forked ends. A process must not die with a mere thread.
func TestAProcessOutlivesTheThreadThatStartedIt(t *testing.T) {
	p := process.New(process.Config{Name: "survivor", Command: []string{"sleep", "1000"}, Env: []string{"PATH=" + os.Getenv("PATH")}})
	thread := make(chan int)
	go onMortalThread(func() {
		if err := p.Start(context.Background()); err != nil {
			t.Error(err)
		}
		thread <- unix.Gettid()
	})
	tid := <-thread
	t.Cleanup(func() { p.Kill(context.Background()); <-p.Done() })
	wait.Until(t, "the thread has ended", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid))
		return os.IsNotExist(err)
	})
	if gone(p.PID()) {
		t.Errorf("the process ended with the thread: %v", awaitEnd(t, p))
	}
}

// onMortalThread runs do on a thread that ends with it. The first thread of a process never does.
func onMortalThread(do func()) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if unix.Gettid() != unix.Getpid() {
		do()
		return
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		onMortalThread(do)
	}()
	<-done
}

func TestTheProcessDiesWithItsHost(t *testing.T) {
	_, child, _ := killedHost(t, "sleep", "1000")
	wait.Until(t, "the child is gone", func() bool { return gone(child) })
}

// The kernel offers nothing for the children of a child: see the package comment. What the host's death leaves, the next
// host on the same base finds.
func TestTheNextHostRemovesWhatAKilledHostLeft(t *testing.T) {
	base, child, dir := killedHost(t, "sh", "-c", `setsid sleep 1000 <&- >&- 2>&- & echo $! >"$RUN_DIR/grandchild"; wait`)
	wait.Until(t, "the child is gone", func() bool { return gone(child) })
	grandchild := readPID(t, filepath.Join(dir, "grandchild"))
	if gone(grandchild) {
		t.Log("the grandchild is gone already") // allowed, but not what this is about
	}
	root, err := process.OpenRunRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "the grandchild is gone", func() bool { return gone(grandchild) })
	if _, err := os.Stat(filepath.Dir(dir)); !os.IsNotExist(err) {
		t.Errorf("the dead host's root is still there: %v", err)
	}
	if err := root.Close(); err != nil {
		t.Error(err)
	}
}

// killedHost runs a host with one child until both are there, and kills it.
func killedHost(t *testing.T, command ...string) (base string, child int, dir string) {
	t.Helper()
	base = shortDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host := exec.Command(self, command...)
	host.Env = append(os.Environ(), "PROCESS_TEST_HOST="+base)
	stdout, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error:") {
		t.Fatalf("the host said %q, %v", line, err)
	}
	if _, err := fmt.Sscan(line, &child, &dir); err != nil {
		t.Fatal(err)
	}
	if len(command) > 1 && command[0] == "sh" {
		readPID(t, filepath.Join(dir, "grandchild"))
	}
	if gone(child) {
		t.Fatal("the child ended by itself")
	}
	host.Process.Kill()
	host.Wait()
	return base, child, dir
}

func readPID(t *testing.T, path string) int {
	t.Helper()
	var pid int
	wait.Until(t, "there is a pid in "+path, func() bool {
		raw, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(raw)))
		return err == nil
	})
	return pid
}

func TestStopTakesWhatItNeeds(t *testing.T) {
	obey := func(p **process.Process) func(context.Context) error {
		return func(context.Context) error { return syscall.Kill((*p).PID(), syscall.SIGUSR1) }
	}
	hang := func(**process.Process) func(context.Context) error {
		return func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	}
	refuse := func(**process.Process) func(context.Context) error {
		return func(context.Context) error { return context.DeadlineExceeded }
	}
	const (
		ample  = 20 * time.Second // for what ends before any of it is over
		short  = 2 * time.Second  // for what waits for the end of a part of it
		within = 4 * time.Second  // either, on a busy machine
	)
	for _, test := range []struct {
		name    string
		script  string
		polite  func(**process.Process) func(context.Context) error
		timeout time.Duration
		want    process.Ending
	}{
		{"asked", `trap 'exit 0' USR1; echo ready; while :; do sleep 0.01; done`, obey, ample, process.Asked},
		{"does not answer", `echo ready; sleep 1000`, hang, short, process.Terminated},
		{"refuses", `echo ready; sleep 1000`, refuse, ample, process.Terminated},
		{"cannot be asked", `echo ready; sleep 1000`, nil, ample, process.Terminated},
		{"ignores everything", `trap '' TERM INT HUP USR1; echo ready; while :; do sleep 0.01; done`, obey, short, process.Killed},
		{"stopped", `echo ready; kill -STOP $$`, hang, short, process.Terminated},
		{"stopped, ignores everything", `trap '' TERM; echo ready; kill -STOP $$; while :; do sleep 0.01; done`, nil, short, process.Killed},
		{"has ended", `echo ready`, hang, ample, process.AlreadyEnded},
		{"has no time", `echo ready; sleep 1000`, obey, 0, process.Killed},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := shell(t, test.script)
			says(t, p, "ready")
			if test.want == process.AlreadyEnded {
				awaitEnd(t, p)
			}
			var polite func(context.Context) error
			if test.polite != nil {
				polite = test.polite(&p)
			}
			ctx := t.Context()
			if test.timeout > 0 {
				limited, cancel := context.WithTimeout(ctx, test.timeout)
				defer cancel()
				ctx = limited
			}
			began := time.Now()
			if got := p.Stop(ctx, polite); got != test.want {
				t.Errorf("it %v, want: it %v", got, test.want)
			}
			if took := time.Since(began); took > within {
				t.Errorf("it took %v, promised were %v", took, within)
			}
			select {
			case <-p.Done():
			default:
				t.Error("Done is open")
			}
		})
	}
}

func TestStopOfWhatWasNeverStartedIsNothing(t *testing.T) {
	if got := process.New(process.Config{}).Stop(t.Context(), nil); got != process.AlreadyEnded {
		t.Errorf("it %v", got)
	}
}

func TestTheGroupDiesWithItsLeader(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *process.Process){
		"stopped":       func(t *testing.T, p *process.Process) { p.Stop(t.Context(), nil) },
		"leader killed": func(t *testing.T, p *process.Process) { kill(t, p.PID(), syscall.SIGKILL) },
	} {
		t.Run(name, func(t *testing.T) {
			p := shell(t, `(trap '' TERM HUP; exec sleep 1000) & echo "$!"; wait`)
			var child int
			wait.Until(t, "the child's pid is known", func() bool {
				last := p.LastOutput()
				if len(last) == 0 {
					return false
				}
				var err error
				child, err = strconv.Atoi(last[0])
				return err == nil
			})
			end(t, p)
			awaitEnd(t, p)
			wait.Until(t, "the child is gone", func() bool { return gone(child) })
		})
	}
}

// A child that left the group keeps the pipes open, and can be reached by its environment only.
func TestAChildThatLeftTheGroupHoldsNothingUp(t *testing.T) {
	root, _ := runRoot(t)
	dir, err := root.Make()
	if err != nil {
		t.Fatal(err)
	}
	p := shell(t, `setsid sleep 1000 & echo $! >"$RUN_DIR/pid"; echo ready; wait`, "RUN_DIR="+dir.Path())
	says(t, p, "ready")
	child := readPID(t, filepath.Join(dir.Path(), "pid"))
	wait.Until(t, "the child leads a session of its own", func() bool {
		session, err := unix.Getsid(child)
		return err == nil && session == child
	})
	began := time.Now()
	p.Stop(t.Context(), nil)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if err := dir.Remove(); err != nil {
		t.Error(err)
	}
	wait.Until(t, "the child is gone", func() bool { return gone(child) })
	if _, err := os.Stat(dir.Path()); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestUsageIsThatOfTheGroup(t *testing.T) {
	p := shell(t, `i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000 & echo ready; wait`)
	says(t, p, "ready")
	usage, err := p.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if usage.Processes != 2 || usage.RSS == 0 || usage.CPUSeconds <= 0 || usage.CPUSeconds > 60 {
		t.Errorf("usage %+v", usage)
	}
	p.Kill(t.Context())
	awaitEnd(t, p)
	if usage, err := p.Usage(); err == nil {
		t.Errorf("after the end: %+v", usage)
	}
}

func TestAGroupThatIsKeptOutlivesItsLeader(t *testing.T) {
	p := process.New(process.Config{
		Name: "script", Command: []string{"/bin/sh", "-c", `sleep 60 >/dev/null 2>&1 & echo $!; exit 0`}, KeepGroup: true,
	})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, p)
	child, err := strconv.Atoi(p.LastOutput()[0])
	if err != nil {
		t.Fatal(err)
	}
	if gone(child) {
		t.Error("the child was killed with its leader")
	}
	kill(t, child, syscall.SIGKILL)
	wait.Until(t, "the child is gone", func() bool { return gone(child) })
}

func TestMemoryIsThatOfAllThatAProcessHasStarted(t *testing.T) {
	p := shell(t, `setsid sh -c 'x=$(head -c 40m /dev/zero | tr "\\0" x); sleep 1000 & echo ready; wait' & wait`)
	says(t, p, "ready")
	usage, err := p.Usage()
	if err != nil || usage.Processes != 3 || usage.RSS < 40<<20 {
		t.Errorf("%+v, %v", usage, err)
	}
	memory, err := p.Memory(0)
	if err != nil || memory < 40<<20 || memory > usage.RSS {
		t.Errorf("it takes %d bytes of the %d that are resident: %v", memory, usage.RSS, err)
	}
	if resident, err := p.Memory(1 << 40); err != nil || resident < memory {
		t.Errorf("without a look at what is shared it is %d, less than %d (%v)", resident, memory, err)
	}
}

func TestMemoryThatProcessesShareCountsOnce(t *testing.T) {
	p := process.New(process.Config{Name: "python", Env: []string{"PATH=" + os.Getenv("PATH")}, Command: []string{"python3", "-c", `
import mmap, os, time
private, shared = b"x" * (64 << 20), mmap.mmap(-1, 32 << 20)
shared.write(b"x" * (32 << 20))
for _ in range(3):
    os.fork()
for at in range(0, 32 << 20, 4096):
    shared[at]
print("ready", flush=True)
time.sleep(1000)`}})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill(context.Background())
		<-p.Done()
	})
	says(t, p, "ready")
	wait.Until(t, "all have what they share", func() bool {
		usage, err := p.Usage()
		return err == nil && usage.Processes == 8 && usage.RSS > 8*90<<20
	})
	if memory, err := p.Memory(0); err != nil || memory < 96<<20 || memory > 160<<20 {
		t.Errorf("eight processes that share 96 MiB take %d MiB (%v)", memory>>20, err)
	}
}

func TestAnEndForWantOfMemoryIsNamedAsSuch(t *testing.T) {
	reached := cgroup.Reached{OOMKills: 1, Memory: "64MiB"}
	for want, exit := range map[string]process.Exit{
		"was killed by the kernel for want of memory (OOM, SIGKILL): it reached its memory limit of 64MiB (sandbox.memory)": {Code: -1, Signal: unix.SIGKILL, OOM: true, Reached: reached},
		"was killed by the kernel for want of memory (OOM, SIGKILL): its container or the machine was out of memory":        {Code: -1, Signal: unix.SIGKILL, OOM: true, Reached: cgroup.Reached{OOMKills: 1}},
		"was killed by SIGKILL, probably by the kernel for want of memory (OOM): it counted such a kill just then":          {Code: -1, Signal: unix.SIGKILL, Probably: true},
		"exited with code 3: the kernel killed what it had started for want of memory (OOM): it reached its memory limit of 64MiB (sandbox.memory)": {
			Code: 3, OOM: true, Reached: reached,
		},
		"was killed by SIGKILL": {Code: -1, Signal: unix.SIGKILL},
		"was killed by SIGTERM": {Code: -1, Signal: unix.SIGTERM, Ours: true, OOM: true, Reached: reached},
		"exited with code 0":    {OOM: true, Reached: reached},
	} {
		if got := exit.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
