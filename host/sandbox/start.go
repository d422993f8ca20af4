package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// launcherName is what the launcher is called by the one who starts it, and how it knows itself.
const launcherName = "agenthost-sandbox"

// The launcher's descriptors.
const (
	policyFD = 3 + iota
	reportFD
)

// order is what the launcher is told.
type order struct {
	Policy Policy
	Path   string
	Args   []string
	Env    []string
	Parent int
}

// report is what it answers. A program that runs has answered before.
type report struct {
	Granted Granted
	Failed  *failure `json:",omitempty"`
}

type failure struct {
	// Exec says that the kernel did not start the program, for the reason that Errno is.
	Exec  bool          `json:",omitempty"`
	Errno syscall.Errno `json:",omitempty"`
	Text  string        `json:",omitempty"`
}

// ExecError is why the kernel did not start the program itself.
type ExecError struct{ Errno syscall.Errno }

func (e *ExecError) Error() string { return e.Errno.Error() }
func (e *ExecError) Unwrap() error { return e.Errno }

// Launch is a program on its way.
type Launch struct{ report *os.File }

// Start starts the command, whose environment and attributes count as in cmd.Start, on its way under the policy. The command's own
// files (ExtraFiles) must be empty. An error is about the launcher; Wait tells of the program.
func Start(cmd *exec.Cmd, policy Policy) (*Launch, error) {
	told, err := json.Marshal(order{Policy: policy, Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Parent: os.Getpid()})
	if err != nil {
		return nil, err
	}
	orders, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orders.Close()
	answer, report, err := os.Pipe()
	if err != nil {
		tell.Close()
		return nil, err
	}
	defer report.Close()
	cmd.Path, cmd.Args, cmd.Env = "/proc/self/exe", []string{launcherName}, []string{}
	cmd.ExtraFiles = []*os.File{orders, report}
	if err := cmd.Start(); err != nil {
		tell.Close()
		answer.Close()
		return nil, err
	}
	go func() {
		_, _ = tell.Write(told) // fails where the launcher has ended, of which the report tells
		_ = tell.Close()
	}()
	return &Launch{answer}, nil
}

// Wait returns when the program runs, or an error when it does not: an [ExecError] where the kernel refused it. A launcher that
// somebody kills says nothing, and is like a program that has ended at once. It is to be called once.
func (l *Launch) Wait() (Granted, error) {
	defer l.report.Close()
	var said report
	answers := json.NewDecoder(l.report)
	for {
		// One says what was granted; another follows where the kernel then refuses the program.
		if err := answers.Decode(&said); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return Granted{}, fmt.Errorf("the sandbox's launcher: %w", err)
		}
	}
	switch failed := said.Failed; {
	case failed == nil:
		return said.Granted, nil
	case failed.Exec:
		return said.Granted, &ExecError{failed.Errno}
	default:
		return said.Granted, errors.New(failed.Text)
	}
}
