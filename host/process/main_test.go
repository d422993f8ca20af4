package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/test/wait"
)

func TestMain(m *testing.M) {
	if os.Getenv(adopter) != "" {
		actAsAdopter()
	}
	if base := os.Getenv("PROCESS_TEST_HOST"); base != "" {
		actAsHost(base)
	}
	if uid := os.Getenv("PROCESS_TEST_SANDBOX"); uid != "" {
		actAsSandboxingHost(uid)
	}
	goleak.VerifyTestMain(m)
}

// actAsHost is the test binary run again as a host that will be killed: it opens a run root, starts the command that
// its arguments are, and prints the pid and the run directory.
func actAsHost(base string) {
	root, err := process.OpenRunRoot(base)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	dir, err := root.Make()
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	p := process.New(process.Config{Name: "child", Command: os.Args[1:], Env: []string{"PATH=" + os.Getenv("PATH"), "RUN_DIR=" + dir.Path()}})
	if err := p.Start(context.Background()); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(p.PID(), dir.Path())
	<-p.Done()
	fmt.Println("error: the child ended:", p.Exit())
	os.Exit(1)
}

// maxWait is how long a test waits for what must happen; only a failing test takes that long.
const maxWait = 20 * time.Second

// shell is a process that runs a script, with extra environment. It is killed at the end of the test.
func shell(t *testing.T, script string, env ...string) *process.Process {
	t.Helper()
	p := process.New(process.Config{Name: "script", Command: []string{"sh", "-c", script}, Env: append(env, "PATH="+os.Getenv("PATH"))})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill(context.Background())
		<-p.Done()
	})
	return p
}

// says waits until a process has printed a line.
func says(t *testing.T, p *process.Process, line string) {
	t.Helper()
	wait.Until(t, fmt.Sprintf("it says %q", line), func() bool {
		return strings.Contains("\n"+strings.Join(p.LastOutput(), "\n")+"\n", "\n"+line+"\n")
	})
}

func awaitEnd(t *testing.T, p *process.Process) process.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		t.Fatalf("the process does not end: %v", err)
	}
	return p.Exit()
}

// gone says that there is no such process, or only what is left of one until its new parent takes notice.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return len(rest) > 0 && (rest[0] == 'Z' || rest[0] == 'X')
}

// runRoot is a run root on a base of its own, short enough for sockets.
func runRoot(t *testing.T) (*process.RunRoot, string) {
	t.Helper()
	base := shortDir(t)
	root, err := process.OpenRunRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	return root, base
}

// shortDir is the name of a directory that does not exist yet.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ah")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "r")
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}
