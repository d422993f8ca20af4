package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// asFirstProcess is what the first process of a container does: it runs this program again as its child, passes signals
// on to it, and reaps whatever processes end. The kernel gives it every process whose parent has ended, such as what a
// plugin leaves behind, and each that nobody reaps stays a zombie. The host itself could not reap them: it does not know
// which processes are somebody's own, waited for by a library perhaps, and which are nobody's.
//
// It returns the exit code of the child.
func asFirstProcess() (code int, err error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	child := &exec.Cmd{
		Path: program, Args: os.Args, Env: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		// In a group of its own a key such as Ctrl-C reaches the child once: from the terminal, not from here too.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		child.SysProcAttr.Foreground, child.SysProcAttr.Ctty = true, int(os.Stdin.Fd())
	}
	if err := child.Start(); err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			switch s {
			case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE: // about this process
			default:
				_ = child.Process.Signal(s) // it may have ended
			}
		}
	}()
	return reapUntil(child.Process.Pid)
}

// reapUntil reaps processes until the one with this id has ended, and gives its exit code as a shell does.
func reapUntil(pid int) (code int, err error) {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("cannot wait for process %d: %w", pid, err)
		case ended == pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case ended == pid && status.Exited():
			return status.ExitStatus(), nil
		}
	}
}
