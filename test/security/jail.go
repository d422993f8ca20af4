package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The first arguments of the program's own processes: the first in a jail, which everything that is lost falls to, and the one that
// becomes a host.
const (
	firstMarker  = "agenthost-security-first"
	launchMarker = "agenthost-security-launch"
)

// jailVariable names the jail's folder to the processes in it, settingsVariable what the run is to do, and walledVariable says whether
// the jail has namespaces.
const (
	jailVariable     = "SECURITY_JAIL"
	settingsVariable = "SECURITY_SETTINGS"
	walledVariable   = "SECURITY_WALLED"
)

// leaveLimit is how long the run may take to leave when it is told to.
const leaveLimit = 20 * time.Second

// memoryLimit is what a host may use with all its plugins, tasksLimit the threads that all may have: beyond what any attempt goes for.
const (
	memoryLimit = 512 << 20
	tasksLimit  = 1000
	worldSize   = "64m"
)

// jail runs the program again where nothing can get out: for root in a PID, a mount and a network namespace of their own, where it may
// have some, and for others below a process that ends what is left. When it returns, every process is gone, and so is the jail's folder.
func jail(ctx context.Context, settings string, out io.Writer) error {
	dir, err := os.MkdirTemp("", "ah-sec-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // the plugins' users have to get in
		return err
	}
	groups, err := makeCgroups(filepath.Base(dir))
	if err != nil {
		return err
	}
	defer groups.remove()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var first *exec.Cmd
	for _, namespaces := range []uintptr{syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, 0} {
		if namespaces != 0 && os.Geteuid() != 0 {
			continue
		}
		first = exec.Command(self, firstMarker)
		first.Stdout, first.Stderr = out, os.Stderr
		first.Env = append(os.Environ(), jailVariable+"="+dir, settingsVariable+"="+settings, fmt.Sprintf("%s=%t", walledVariable, namespaces != 0))
		first.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: namespaces}
		if err = first.Start(); err == nil || !errors.Is(err, syscall.EPERM) { // which root in a container gets
			break
		}
	}
	if err != nil {
		return fmt.Errorf("a jail cannot be made: %w", err)
	}
	var ended error
	gone := make(chan struct{})
	go func() {
		ended = first.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return ended
	case <-ctx.Done():
	}
	_ = first.Process.Signal(syscall.SIGTERM)
	select {
	case <-gone:
	case <-time.After(leaveLimit + 5*time.Second):
		_ = first.Process.Kill() // with it all in its namespace
		<-gone
	}
	return ctx.Err()
}

// beFirst is the first process in the jail. It starts the run, waits for whatever has lost its parent, and leaves nothing behind.
func beFirst() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if walled() {
		if err := furnish(os.Getenv(jailVariable)); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	run := exec.Command(self)
	run.Stdout, run.Stderr = os.Stdout, os.Stderr
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := run.Start(); err != nil {
		return err
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-told
		_ = run.Process.Signal(syscall.SIGTERM)
		time.Sleep(leaveLimit)
		_ = run.Process.Kill()
	}()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("wait4", err)
		}
		if pid != run.Process.Pid {
			continue
		}
		endChildren()
		if code := status.ExitStatus(); code != 0 {
			os.Exit(max(code, 1))
		}
		return nil
	}
}

func walled() bool { return os.Getenv(walledVariable) == "true" }

// endChildren ends what is left below this process.
func endChildren() {
	for {
		children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
		if err != nil {
			return
		}
		for text := range strings.FieldsSeq(string(children)) {
			if pid, err := strconv.Atoi(text); err == nil {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return // there is none
		}
	}
}

// furnish makes the jail's namespaces fit to be lived in: /proc shows the jail's processes, the loopback is up, and the folder of the
// world is a small file system.
func furnish(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	world := filepath.Join(dir, worldName)
	if err := os.Mkdir(world, 0o755); err != nil { // the plugins' users have to get in
		return err
	}
	if err := unix.Mount("none", world, "tmpfs", unix.MS_NODEV, "mode=755,size="+worldSize); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return loopbackUp()
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request))
}

// reachable lets every user get to folders below others that are only root's, such as an interpreter in root's home: what is closed
// is covered, in this jail alone, by a folder that holds no more than them.
func reachable(dir string, folders ...string) error {
	if !walled() {
		return nil
	}
	aside, closed := map[string]string{}, map[string]bool{}
	for _, folder := range folders {
		cover, err := closedAbove(folder)
		if err != nil {
			return err
		}
		if cover == "" {
			continue
		}
		closed[cover] = true
		if aside[folder], err = os.MkdirTemp(dir, "aside-"); err != nil {
			return err
		}
		if err := unix.Mount(folder, aside[folder], "", unix.MS_BIND, ""); err != nil {
			return os.NewSyscallError("mount", err)
		}
	}
	for cover := range closed {
		if err := unix.Mount("none", cover, "tmpfs", 0, "mode=755,size=1m"); err != nil {
			return os.NewSyscallError("mount", err)
		}
	}
	for folder, from := range aside {
		if err := os.MkdirAll(folder, 0o755); err != nil { // every user has to get to it
			return err
		}
		if err := unix.Mount(from, folder, "", unix.MS_BIND, ""); err != nil {
			return os.NewSyscallError("mount", err)
		}
	}
	return nil
}

// closedAbove is the highest folder above another that only its user can pass; empty: there is none.
func closedAbove(folder string) (closed string, err error) {
	for parent := filepath.Dir(folder); parent != "/"; parent = filepath.Dir(parent) {
		about, err := os.Stat(parent)
		if err != nil {
			return "", err
		}
		if about.Mode().Perm()&0o001 == 0 {
			closed = parent
		}
	}
	return closed, nil
}

// launch becomes a host: in the jail's cgroups, with few descriptors, as another user.
func launch(arguments []string) error {
	uid, err := strconv.Atoi(arguments[0])
	if err != nil {
		return err
	}
	descriptors, err := strconv.ParseUint(arguments[1], 10, 64)
	if err != nil {
		return err
	}
	command := arguments[2:]
	if err := cgroupsOf(filepath.Base(os.Getenv(jailVariable))).enter(); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: descriptors, Max: descriptors}); err != nil {
		return os.NewSyscallError("setrlimit", err)
	}
	if uid != os.Geteuid() {
		err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(uid, uid, uid), syscall.Setresuid(uid, uid, uid))
		if err != nil {
			return err
		}
	}
	return unix.Exec(command[0], command, os.Environ())
}
