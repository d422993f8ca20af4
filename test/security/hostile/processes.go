package hostile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// onProcesses are attempts on the host's process and on another plugin's.
var onProcesses = map[string]attempt{
	"host-environ":       func(w World) (string, error) { return environ(w.Host) },
	"host-secret":        func(w World) (string, error) { return variable(w.Host, w.SecretName) },
	"host-maps":          func(w World) (string, error) { return read(proc(w.Host, "maps")) },
	"host-memory":        func(w World) (string, error) { return memory(w.Host) },
	"host-vm-read":       func(w World) (string, error) { return vmRead(w.Host) },
	"host-vm-write":      func(w World) (string, error) { return vmWrite(w.Host) },
	"host-descriptors":   func(w World) (string, error) { return descriptors(w.Host) },
	"host-descriptor":    func(w World) (string, error) { return takeDescriptor(w.Host) },
	"host-files":         func(w World) (string, error) { return read(proc(w.Host, "root") + w.Config) },
	"host-ptrace":        func(w World) (string, error) { return trace(w.Host) },
	"host-perf":          func(w World) (string, error) { return perf(w.Host) },
	"host-stop":          func(w World) (string, error) { return stop(w.Host) },
	"host-signal":        func(w World) (string, error) { return signal(w.Host) },
	"host-kill":          func(w World) (string, error) { return kill(w.Host) },
	"host-limits":        func(w World) (string, error) { return limits(w.Host) },
	"host-priority":      func(w World) (string, error) { return priority(w.Host) },
	"host-affinity":      func(w World) (string, error) { return affinity(w.Host) },
	"host-oom-score":     func(w World) (string, error) { return oomScore(w.Host) },
	"victim-environ":     func(w World) (string, error) { return environ(w.Victim) },
	"victim-memory":      func(w World) (string, error) { return memory(w.Victim) },
	"victim-vm-read":     func(w World) (string, error) { return vmRead(w.Victim) },
	"victim-descriptors": func(w World) (string, error) { return descriptors(w.Victim) },
	"victim-ptrace":      func(w World) (string, error) { return trace(w.Victim) },
	"victim-stop":        func(w World) (string, error) { return stop(w.Victim) },
	"victim-kill":        func(w World) (string, error) { return kill(w.Victim) },
	"victim-limits":      func(w World) (string, error) { return limits(w.Victim) },
	"victim-priority":    func(w World) (string, error) { return priority(w.Victim) },
	"victim-oom-score":   func(w World) (string, error) { return oomScore(w.Victim) },
}

func proc(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

// read is the beginning of a file.
func read(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	begin := make([]byte, 64)
	n, err := file.Read(begin)
	if n == 0 && err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	return fmt.Sprintf("%s begins with %q", path, begin[:min(n, 12)]), nil
}

func environ(pid int) (string, error) { return read(proc(pid, "environ")) }

// variable looks for one variable, whose value is a secret: an environment that is empty, or has the value wiped, is no success.
func variable(pid int, name string) (string, error) {
	content, err := os.ReadFile(proc(pid, "environ"))
	if err != nil {
		return "", err
	}
	for entry := range bytes.SplitSeq(content, []byte{0}) {
		if value, found := bytes.CutPrefix(entry, []byte(name+"=")); found && len(bytes.Trim(value, "\x00*x ")) > 0 {
			return fmt.Sprintf("%s is in the environment, with %d bytes", name, len(value)), nil
		}
	}
	return "", fmt.Errorf("%s is not in the environment", name)
}

// text is an address in every program of Go's that is not position-independent. Where nothing is mapped, the answer is EFAULT, which
// only those get who may look.
const text = 0x400000

func memory(pid int) (string, error) {
	file, err := os.Open(proc(pid, "mem"))
	if err != nil {
		return "", err
	}
	defer file.Close()
	begin := make([]byte, 4)
	if _, err := file.ReadAt(begin, text); err != nil {
		return "", err
	}
	return fmt.Sprintf("read %q", begin), nil
}

func vmRead(pid int) (string, error) {
	begin := make([]byte, 4)
	local := []unix.Iovec{{Base: &begin[0]}}
	local[0].SetLen(len(begin))
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: text, Len: len(begin)}}, 0)
	if err != nil && err != unix.EFAULT {
		return "", os.NewSyscallError("process_vm_readv", err)
	}
	return fmt.Sprintf("read %q", begin), nil
}

// vmWrite writes where nothing can be written: being let in is enough.
func vmWrite(pid int) (string, error) {
	begin := []byte("none")
	local := []unix.Iovec{{Base: &begin[0]}}
	local[0].SetLen(len(begin))
	_, err := unix.ProcessVMWritev(pid, local, []unix.RemoteIovec{{Base: 0, Len: len(begin)}}, 0)
	if err != unix.EFAULT {
		return "", os.NewSyscallError("process_vm_writev", err)
	}
	return "was let in", nil
}

func descriptors(pid int) (string, error) {
	entries, err := os.ReadDir(proc(pid, "fd"))
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(proc(pid, "fd"), entry.Name())); err == nil {
			return fmt.Sprintf("sees %d descriptors, such as %s", len(entries), target), nil
		}
	}
	return "", fmt.Errorf("none of %d descriptors can be followed", len(entries))
}

func takeDescriptor(pid int) (string, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return "", os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	taken, err := unix.PidfdGetfd(fd, 2, 0)
	if err != nil {
		return "", os.NewSyscallError("pidfd_getfd", err)
	}
	return "has the process's standard error", unix.Close(taken)
}

// trace becomes its tracer without stopping it. It goes on when the tracer ends, which is next.
func trace(pid int) (string, error) {
	runtime.LockOSThread()
	if err := unix.PtraceSeize(pid); err != nil {
		return "", os.NewSyscallError("ptrace", err)
	}
	return "traces it", nil
}

func perf(pid int) (string, error) {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Bits: unix.PerfBitDisabled}
	attr.Size = unix.PERF_ATTR_SIZE_VER0
	fd, err := unix.PerfEventOpen(&attr, pid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return "", os.NewSyscallError("perf_event_open", err)
	}
	return "counts its time", unix.Close(fd)
}

// stop stops a process for a moment.
func stop(pid int) (string, error) {
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return "", os.NewSyscallError("kill", err)
	}
	time.Sleep(20 * time.Millisecond)
	return "stopped it", unix.Kill(pid, unix.SIGCONT)
}

func signal(pid int) (string, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return "", os.NewSyscallError("pidfd_open", err)
	}
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		return "", os.NewSyscallError("pidfd_send_signal", err)
	}
	return "may signal it", nil
}

func kill(pid int) (string, error) {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return "", os.NewSyscallError("kill", err)
	}
	return "killed it", nil
}

// limits sets a limit of another process's to what it is. The same call could set it to nothing.
func limits(pid int) (string, error) {
	var now unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &now); err != nil {
		return "", os.NewSyscallError("prlimit", err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &now, nil); err != nil {
		return "", os.NewSyscallError("prlimit", err)
	}
	return fmt.Sprintf("set the limit of its descriptors, which is %d", now.Cur), nil
}

// priority lowers a process's priority by a little, once.
func priority(pid int) (string, error) {
	now, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	if err != nil {
		return "", os.NewSyscallError("getpriority", err)
	}
	nice := 20 - now // the system call answers with that
	if err := unix.Setpriority(unix.PRIO_PROCESS, pid, max(nice, 1)); err != nil {
		return "", os.NewSyscallError("setpriority", err)
	}
	return "set its priority", nil
}

func affinity(pid int) (string, error) {
	var now unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &now); err != nil {
		return "", os.NewSyscallError("sched_getaffinity", err)
	}
	if err := unix.SchedSetaffinity(pid, &now); err != nil {
		return "", os.NewSyscallError("sched_setaffinity", err)
	}
	return "may choose its processors", nil
}

// oomScore writes what is there already.
func oomScore(pid int) (string, error) {
	path := proc(pid, "oom_score_adj")
	now, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, now, 0); err != nil {
		return "", err
	}
	return "set it to " + strings.TrimSpace(string(now)), nil
}
