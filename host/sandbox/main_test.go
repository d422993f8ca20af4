package sandbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/sandbox"
)

// probe is this test's program where others may start it, too.
var probe string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		try(os.Args[2], os.Args[3:])
		os.Exit(0)
	}
	folder, err := os.MkdirTemp("", "probe")
	if err == nil {
		probe = filepath.Join(folder, "probe")
		err = errors.Join(os.Chmod(folder, 0o755), copyFile(probe, "/proc/self/exe"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

func copyFile(to, from string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// try is the test's program as a sandboxed one: it tries one thing and says what came of it.
func try(what string, args []string) {
	err := attempts[what](args)
	switch {
	case err == nil:
		fmt.Println("done")
	case isRefused(err):
		fmt.Println("refused")
	default:
		fmt.Println("failed:", err)
	}
}

func isRefused(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EAFNOSUPPORT) ||
		errors.Is(err, unix.EOPNOTSUPP)
}

func called(number uintptr, args ...uintptr) error {
	var all [6]uintptr
	copy(all[:], args)
	if _, _, errno := unix.Syscall6(number, all[0], all[1], all[2], all[3], all[4], all[5]); errno != 0 {
		return errno
	}
	return nil
}

func loopback(port string) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: number(port), Addr: [4]byte{127, 0, 0, 1}}
}

// attempts are what a program may try. Each gives the error of the kernel.
var attempts = map[string]func(args []string) error{
	"read":    func(args []string) error { _, err := os.ReadFile(args[0]); return err },
	"list":    func(args []string) error { _, err := os.ReadDir(args[0]); return err },
	"link":    func(args []string) error { _, err := os.Readlink(args[0]); return err },
	"write":   func(args []string) error { return os.WriteFile(args[0], []byte("x"), 0o600) },
	"cut":     func(args []string) error { return os.Truncate(args[0], 0) },
	"remove":  func(args []string) error { return os.Remove(args[0]) },
	"mkdir":   func(args []string) error { return os.Mkdir(args[0], 0o700) },
	"symlink": func(args []string) error { return os.Symlink("/etc/passwd", args[0]) },
	"rename":  func(args []string) error { return os.Rename(args[0], args[1]) },
	"execute": func(args []string) error { return exec.Command(args[0], args[1:]...).Run() },
	"connect": func(args []string) error {
		conn, err := net.DialTimeout(args[0], args[1], 5*time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	},
	"protocol": func([]string) error { // of streams, and not TCP
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
		return err
	},
	"fast open": func(args []string) error { // connect by sending, to where it may connect
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, loopback(args[0]))
	},
	"listen": func(args []string) error {
		if args[0] == "udp" {
			conn, err := net.ListenPacket(args[0], args[1])
			if err == nil {
				conn.Close()
			}
			return err
		}
		listener, err := net.Listen(args[0], args[1])
		if err == nil {
			listener.Close()
		}
		return err
	},
	"signal": func(args []string) error { return unix.Kill(number(args[0]), unix.SIGCONT) },
	"signal a child": func([]string) error {
		child := exec.Command("/bin/sleep", "1000")
		if err := child.Start(); err != nil {
			return err
		}
		defer child.Wait() // it was killed
		return child.Process.Kill()
	},
	"trace": func(args []string) error { runtime.LockOSThread(); return unix.PtraceAttach(number(args[0])) },
	"read memory": func(args []string) error {
		local := make([]byte, 8)
		_, err := unix.ProcessVMReadv(number(args[0]), []unix.Iovec{{Base: &local[0], Len: 8}}, []unix.RemoteIovec{{Base: 0x1000, Len: 8}}, 0)
		return err
	},
	"limit": func(args []string) error {
		var now unix.Rlimit // what it is, so that nothing changes
		return errors.Join(unix.Prlimit(number(args[0]), unix.RLIMIT_CORE, nil, &now), unix.Prlimit(number(args[0]), unix.RLIMIT_CORE, &now, nil))
	},
	"priority": func(args []string) error { return unix.Setpriority(unix.PRIO_PROCESS, number(args[0]), 1) },
	"steal a descriptor": func(args []string) error {
		pidfd, err := unix.PidfdOpen(number(args[0]), 0)
		if err != nil {
			return err
		}
		_, err = unix.PidfdGetfd(pidfd, 0, 0)
		return err
	},
	"socket": func(args []string) error {
		_, err := unix.Socket(number(args[0]), unix.SOCK_RAW, unix.IPPROTO_ICMP)
		return err
	},
	"mount":       func([]string) error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") },
	"unshare":     func(args []string) error { return called(unix.SYS_UNSHARE, uintptr(number(args[0]))) },
	"clone":       func(args []string) error { return cloned(uintptr(number(args[0]))) },
	"setns":       func([]string) error { return called(unix.SYS_SETNS, 0, 0) },
	"chroot":      func([]string) error { return unix.Chroot("/") },
	"bpf":         func([]string) error { return called(unix.SYS_BPF, 0, 0, 0) },
	"keyctl":      func([]string) error { return called(unix.SYS_KEYCTL, 0, 0, 0) },
	"perf":        func([]string) error { return called(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0, 0, 0) },
	"io_uring":    func([]string) error { return called(unix.SYS_IO_URING_SETUP, 1, 0) },
	"userfaultfd": func([]string) error { return called(unix.SYS_USERFAULTFD, 0) },
	"kexec":       func([]string) error { return called(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0) },
	"module":      func([]string) error { return called(unix.SYS_INIT_MODULE, 0, 0, 0) },
	"reboot":      func([]string) error { return called(unix.SYS_REBOOT, 0, 0, 0, 0) },
	"clock":       func([]string) error { return called(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, 0) },
	"syslog":      func([]string) error { return called(unix.SYS_SYSLOG, 3, 0, 0) },
	"open by handle": func([]string) error {
		return called(unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(99), 0, 0)
	},
	"a call of the future": func([]string) error { return called(0xfff) },
	"personality":          func([]string) error { return called(unix.SYS_PERSONALITY, 0x0040000) },
	"become root":          func([]string) error { return called(unix.SYS_SETRESUID, 0, 0, 0) },
	"become another":       func([]string) error { return called(unix.SYS_SETRESUID, 12345, 12345, 12345) },
	"status": func(args []string) error { // what the kernel says of the process
		status, err := os.ReadFile("/proc/self/status")
		for line := range strings.Lines(string(status)) {
			for _, name := range args {
				if strings.HasPrefix(line, name+":") {
					fmt.Print(line)
				}
			}
		}
		return err
	},
	"limits": func([]string) error {
		for _, resource := range []int{unix.RLIMIT_CORE, unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE} {
			var limit unix.Rlimit
			if err := unix.Getrlimit(resource, &limit); err != nil {
				return err
			}
			fmt.Print(limit.Max, " ")
		}
		return nil
	},
	"descriptors": func([]string) error {
		entries, err := os.ReadDir("/proc/self/fd")
		for _, entry := range entries {
			target, _ := os.Readlink("/proc/self/fd/" + entry.Name())
			fmt.Println(entry.Name(), target)
		}
		return err
	},
	// On a machine whose kernel has no Landlock, or whose container forbids it, what is granted of a sandbox, which may be required.
	"start without Landlock": func(args []string) error {
		runtime.LockOSThread()
		err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{{Names: []string{"landlock_create_ruleset"}, Action: seccomp.ActionErrno}},
		}})
		if err != nil {
			return err
		}
		program := &exec.Cmd{Path: "/bin/cat", Args: []string{"cat", args[0]}, Stdout: os.Stdout}
		launch, err := sandbox.Start(program, sandbox.Policy{Require: args[1] == "require"})
		if err != nil {
			return err
		}
		granted, err := launch.Wait()
		fmt.Println(granted, err)
		_ = program.Wait() // it may have been refused, which is said
		return nil
	},
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

// cloned makes a child with the flags, which ends at once.
func cloned(flags uintptr) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	var status unix.WaitStatus
	_, err := unix.Wait4(int(pid), &status, 0, nil)
	return err
}

// world is the surroundings of a program: whose it is, and what it is given.
type world struct {
	t      *testing.T
	policy *sandbox.Policy // nil: no sandbox
	uid    uint32          // whom the host is
	env    []string
}

func (w world) command(what string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	var out bytes.Buffer
	cmd := &exec.Cmd{
		Path: probe, Args: append([]string{probe, "probe", what}, args...), Env: append([]string{"PATH=/usr/bin:/bin"}, w.env...), Stdout: &out, Stderr: &out,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	if w.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: w.uid, Gid: w.uid}
	}
	return cmd, &out
}

// tries has the program try something, and gives what it says.
func (w world) tries(what string, args ...string) string {
	w.t.Helper()
	cmd, out := w.command(what, args...)
	if w.policy == nil {
		if err := cmd.Run(); err != nil {
			w.t.Fatalf("%s: %v\n%s", what, err, out)
		}
		return strings.TrimSpace(out.String())
	}
	launch, err := sandbox.Start(cmd, *w.policy)
	if err != nil {
		w.t.Fatal(err)
	}
	_, startErr := launch.Wait()
	if err := cmd.Wait(); startErr == nil && err != nil {
		w.t.Fatalf("%s: %v\n%s", what, err, out)
	}
	if startErr != nil {
		w.t.Fatalf("%s: %v\n%s", what, startErr, out)
	}
	return strings.TrimSpace(out.String())
}
