package process_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/sandbox"
	"github.com/agenthost/agenthost/test/wait"
)

// sandboxed is a process in a sandbox that lets it connect, and nothing else.
func sandboxed(command ...string) *process.Process {
	return process.New(process.Config{
		Name: "sandboxed", Command: command, Env: []string{"PATH=" + os.Getenv("PATH")}, Sandbox: &sandbox.Policy{ConnectAny: true},
	})
}

func TestASandboxedProcessIsTheProgramItself(t *testing.T) {
	p := sandboxed("/bin/sleep", "1000")
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(context.Background()); <-p.Done() })
	program, err := os.Readlink("/proc/" + p.ID() + "/exe")
	if sleep, _ := filepath.EvalSymlinks("/bin/sleep"); err != nil || program != sleep {
		t.Errorf("it is %s, %v", program, err)
	}
	if group, err := unix.Getpgid(p.PID()); err != nil || group != p.PID() {
		t.Errorf("its group is %d, %v", group, err)
	}
	if granted := p.Granted(); granted == nil || !granted.Seccomp {
		t.Errorf("granted: %v", granted)
	}
}

// What somebody sees who named a program that cannot be started does not depend on the sandbox.
func TestAProgramThatCannotBeStartedSaysSoInTheSameWordsInASandbox(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"script": "#!/opt/no/python\n", "text": "hello\n", "data": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "data"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{dir + "/missing", dir + "/script", dir + "/text", dir + "/data", dir, "nowhere-in-path"} {
		config := process.Config{Name: "x", Command: []string{program}}
		plain := process.New(config).Start(t.Context())
		config.Sandbox = &sandbox.Policy{Program: []string{dir}}
		p := process.New(config)
		if err := p.Start(t.Context()); plain == nil || err == nil || err.Error() != plain.Error() || p.PID() != 0 {
			t.Errorf("%s: in a sandbox %v, without %v", program, err, plain)
		}
	}
	config := process.Config{Name: "x", Command: []string{dir + "/script"}, Sandbox: &sandbox.Policy{}}
	if err := os.WriteFile(dir+"/script", []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := process.New(config).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "its sandbox does not let it") {
		t.Errorf("a program that the sandbox hides: %v", err)
	}
}

func TestASandboxedProcessDiesWithItsHostWhoeverItRunsAs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it starts programs as another user, which takes root")
	}
	for _, uid := range []string{"0", "70001"} {
		host := exec.Command("/proc/self/exe")
		host.Env = append(os.Environ(), "PROCESS_TEST_SANDBOX="+uid)
		out, err := host.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := host.Start(); err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		child, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("the host says %q", line)
		}
		var stat syscall.Stat_t
		if err := syscall.Stat("/proc/"+strconv.Itoa(child), &stat); err != nil || strconv.Itoa(int(stat.Uid)) != uid {
			t.Errorf("it runs as %d, %v; want %s", stat.Uid, err, uid)
		}
		host.Process.Kill()
		host.Wait()
		wait.Until(t, "the child is gone", func() bool { return gone(child) })
	}
}

// actAsSandboxingHost is the test binary run again as a host that will be killed.
func actAsSandboxingHost(uid string) {
	id, _ := strconv.ParseUint(uid, 10, 32)
	policy := &sandbox.Policy{}
	if id != 0 {
		policy.User = &sandbox.User{UID: uint32(id), GID: uint32(id)}
	}
	p := process.New(process.Config{Name: "child", Command: []string{"/bin/sleep", "1000"}, Sandbox: policy})
	if err := p.Start(context.Background()); err != nil {
		os.Stdout.WriteString("error: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString(p.ID() + "\n")
	<-p.Done()
	os.Exit(1)
}

func TestADirectoryOfAnotherUserIsMadeAnewForThatUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it gives files away, which takes root")
	}
	root, base := runRoot(t)
	dir, err := root.Make()
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Give(70001, 70002); err != nil {
		t.Fatal(err)
	}
	if err := dir.Folder("secrets"); err != nil {
		t.Fatal(err)
	}
	if err := dir.Write("secrets/token", []byte("x")); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for path, want := range map[string]string{
			base: "0:0 711", root.Path(): "0:0 711", dir.Path(): "70001:70002 700", dir.Path() + "/secrets": "70001:70002 700", dir.Path() + "/secrets/token": "70001:70002 400",
		} {
			var stat syscall.Stat_t
			if err := syscall.Stat(path, &stat); err != nil {
				t.Errorf("%v", err)
			} else if got := strconv.Itoa(int(stat.Uid)) + ":" + strconv.Itoa(int(stat.Gid)) + " " + strconv.FormatUint(uint64(stat.Mode&0o777), 8); got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		}
	}
	check()
	for _, lost := range []string{dir.Path(), base} {
		if err := os.RemoveAll(lost); err != nil {
			t.Fatal(err)
		}
		if _, err := root.Keep(); err != nil {
			t.Fatal(err)
		}
		check()
	}
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := process.OpenRunRoot(base) // others may pass through the base
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// The directory is the process's to write. What the host does there again and again, as root perhaps, must not lead elsewhere.
func TestLinksInADirectoryLeadTheHostNowhere(t *testing.T) {
	root, _ := runRoot(t)
	dir, err := root.Make()
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Folder("secrets"); err != nil {
		t.Fatal(err)
	}
	if err := dir.Write("secrets/token", []byte("x")); err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	long := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(elsewhere, long, long); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir.Path() + "/secrets"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, dir.Path()+"/secrets"); err != nil {
		t.Fatal(err)
	}
	_, keepErr := root.Keep()
	entries, err := os.ReadDir(elsewhere)
	if err != nil || len(entries) > 0 {
		t.Errorf("the host put %v there, %v (%v)", entries, err, keepErr)
	}
	if info, err := os.Stat(elsewhere); err != nil || !info.ModTime().Equal(long) {
		t.Errorf("the host touched it: %v, %v", info.ModTime(), err)
	}
}

func TestTheHostHoldsNoMoreOfAProcessThanItNeeds(t *testing.T) {
	root, _ := runRoot(t)
	dir, err := root.Make()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(socket, &unix.SockaddrUnix{Name: filepath.Join(dir.Path(), strconv.Itoa(i))}); err != nil {
			t.Fatal(err)
		}
		unix.Close(socket)
	}
	before := descriptors(t)
	if err := dir.HoldSockets(); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Keep(); err != nil {
		t.Fatal(err)
	}
	if more := descriptors(t) - before; more < 1 || more > 10 {
		t.Errorf("it holds %d descriptors more", more)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
