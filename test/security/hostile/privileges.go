package hostile

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// onPrivileges are attempts to become more than it was made.
var onPrivileges = map[string]attempt{
	"own-root":           becomeRoot,
	"own-capabilities":   capabilities,
	"own-set-user-id":    setUserID,
	"own-limits":         raiseLimit,
	"own-priority":       func(World) (string, error) { return done("setpriority", unix.Setpriority(unix.PRIO_PROCESS, 0, -10)) },
	"own-oom-score":      func(World) (string, error) { return lowerOOMScore() },
	"own-mount":          mount,
	"own-chroot":         func(w World) (string, error) { return done("chroot", unix.Chroot(w.Own)) },
	"own-namespaces":     func(World) (string, error) { return done("unshare", unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_NEWNET)) },
	"own-user-namespace": userNamespace,
	"own-device":         device,
	"own-bpf":            bpf,
	"own-keyring":        keyring,
	"own-userfaultfd":    func(World) (string, error) { return call("userfaultfd", unix.SYS_USERFAULTFD, 1, 0, 0) },
	"own-io-uring":       ioURing,
	"own-kernel-module":  kernelModule,
	"own-packet-socket":  func(World) (string, error) { return socket(unix.AF_PACKET, unix.SOCK_RAW) },
	"own-raw-socket":     func(World) (string, error) { return socket(unix.AF_INET, unix.SOCK_RAW) },
	"own-cgroup-leave":   leaveCgroup,
	"own-cgroup-raise":   raiseCgroup,
	"own-file-by-handle": fileByHandle,
}

// done is an attempt that was one call.
func done(name string, err error) (string, error) {
	if err != nil {
		return "", os.NewSyscallError(name, err)
	}
	return name + " worked", nil
}

// call is a system call that x/sys/unix has no function for.
func call(name string, number, a, b, c uintptr) (string, error) {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return "", os.NewSyscallError(name, errno)
	}
	return name + " worked", nil
}

func becomeRoot(World) (string, error) {
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		return "", os.NewSyscallError("setresuid", err)
	}
	return "is root", nil
}

func capabilities(World) (string, error) {
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return "", err
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if held, found := strings.CutPrefix(lines.Text(), "CapEff:\t"); found {
			if strings.Trim(held, "0") == "" {
				return "", errors.New("it has none")
			}
			return "has the capabilities " + held, nil
		}
	}
	return "", errors.New("/proc/self/status does not say")
}

// setUserID runs a program that would run as root.
func setUserID(w World) (string, error) {
	if w.SetUser == "" {
		return "", lack("only root can make a set-user-ID program")
	}
	if err := exec.Command(w.SetUser, whoMarker).Run(); err != nil {
		return "", fmt.Errorf("the program did not run as root: %w", err)
	}
	return "the program ran as root", nil
}

func raiseLimit(World) (string, error) {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		return "", os.NewSyscallError("getrlimit", err)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: now.Max + 1, Max: now.Max + 1}, nil); err != nil {
		return "", os.NewSyscallError("prlimit", err)
	}
	return fmt.Sprintf("raised its limit of descriptors beyond %d", now.Max), nil
}

// lowerOOMScore makes the kernel spare it, and not the host.
func lowerOOMScore() (string, error) {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-500"), 0); err != nil {
		return "", err
	}
	return "lowered it to -500", nil
}

func mount(w World) (string, error) {
	if err := unix.Mount("none", w.Own, "tmpfs", 0, "size=4k"); err != nil {
		return "", os.NewSyscallError("mount", err)
	}
	return "mounted a file system", unix.Unmount(w.Own, unix.MNT_DETACH)
}

// userNamespace runs a child in one, in which it would hold all capabilities.
func userNamespace(World) (string, error) {
	child, err := selfCommand(holdMarker)
	if err != nil {
		return "", err
	}
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	if err := child.Start(); err != nil {
		return "", err
	}
	_ = child.Process.Kill()
	_ = child.Wait() // which says that it was killed
	return "has a user namespace of its own", nil
}

func device(w World) (string, error) {
	path := filepath.Join(w.Own, "device")
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		return "", os.NewSyscallError("mknod", err)
	}
	return "made a device", os.Remove(path)
}

// bpf makes a map of one entry.
func bpf(World) (string, error) {
	attributes := [18]uint32{2 /* array */, 4, 4, 1}
	return call("bpf", unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes))
}

func keyring(World) (string, error) {
	_, err := unix.AddKey("user", "agenthost-hostile", []byte("none"), unix.KEY_SPEC_PROCESS_KEYRING)
	return done("add_key", err)
}

func ioURing(World) (string, error) {
	var parameters [30]uint32
	return call("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&parameters)), 0)
}

// kernelModule loads one that is not there: who may not is told so before anybody looks.
func kernelModule(World) (string, error) {
	_, err := call("finit_module", unix.SYS_FINIT_MODULE, ^uintptr(0), uintptr(unsafe.Pointer(&[1]byte{})), 0)
	if errors.Is(err, unix.EBADF) {
		return "may load modules", nil
	}
	return "", err
}

func socket(family, kind int) (string, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return "", os.NewSyscallError("socket", err)
	}
	return "has a raw socket", unix.Close(fd)
}

// fileByHandle opens the secret by its number on the disk, past every folder's permissions.
func fileByHandle(w World) (string, error) {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, w.SecretSource, 0)
	if err != nil {
		return "", os.NewSyscallError("name_to_handle_at", err)
	}
	dir, err := unix.Open(w.Own, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", os.NewSyscallError("open", err)
	}
	fd, err := unix.OpenByHandleAt(dir, handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return "", os.NewSyscallError("open_by_handle_at", err)
	}
	return "opened the secret", unix.Close(fd)
}

// cgroup is the folder of the process's own memory cgroup, its parent and the name of the limit in it.
func cgroup() (own, parent, limit string, err error) {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", "", "", err
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for _, version := range []struct{ controllers, root, limit string }{
			{"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"", "/sys/fs/cgroup", "memory.max"},
		} {
			own := filepath.Join(version.root, fields[len(fields)-1])
			if len(fields) != 3 || fields[1] != version.controllers || fields[2] == "/" {
				continue
			}
			if _, err := os.Stat(filepath.Join(own, version.limit)); err == nil {
				return own, filepath.Dir(own), version.limit, nil
			}
		}
	}
	return "", "", "", lack("the process is in no memory cgroup that it can see")
}

func leaveCgroup(World) (string, error) {
	_, parent, _, err := cgroup()
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(parent, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return "", err
	}
	return "is in " + parent, nil
}

func raiseCgroup(World) (string, error) {
	own, _, limit, err := cgroup()
	if err != nil {
		return "", err
	}
	path := filepath.Join(own, limit)
	now, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, now, 0); err != nil { // as it is: being let is enough
		return "", err
	}
	return "can set " + path, nil
}
