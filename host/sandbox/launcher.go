package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsyscall "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// A child that Start has started goes no further than here. Packages are initialised on the process's first thread, which is the
// one that a restriction has to be on: an exec ends the others.
func init() {
	if len(os.Args) != 1 || os.Args[0] != launcherName {
		return
	}
	unix.CloseOnExec(policyFD)
	unix.CloseOnExec(reportFD)
	said := launch()
	answer := os.NewFile(reportFD, "report")
	_ = json.NewEncoder(answer).Encode(said) // whoever would read it has gone
	os.Exit(127)
}

// launch becomes the program, or returns why it could not.
func launch() report {
	var o order
	text, err := io.ReadAll(os.NewFile(policyFD, "policy"))
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		return report{Failed: &failure{Text: fmt.Sprintf("sandbox: the policy could not be read: %v", err)}}
	}
	granted, err := o.apply()
	said := report{Granted: granted}
	if err != nil {
		said.Failed = &failure{Text: fmt.Sprintf("sandbox: %v", err)}
		return said
	}
	// The answer precedes the exec, and a failure of that follows in another: the last one counts.
	return o.exec(said)
}

// exec writes what was granted and becomes the program.
func (o order) exec(said report) report {
	text, err := json.Marshal(said)
	if err != nil {
		said.Failed = &failure{Text: err.Error()}
		return said
	}
	if _, err := unix.Write(reportFD, text); err != nil {
		said.Failed = &failure{Text: fmt.Sprintf("sandbox: nobody waits for the program: %v", err)}
		return said
	}
	err = syscall.Exec(o.Path, o.Args, o.Env)
	said.Failed = &failure{Exec: true, Text: err.Error()}
	errors.As(err, &said.Failed.Errno)
	return said
}

// apply restricts this thread, for good. Each step may need what the ones after it take away.
func (o order) apply() (Granted, error) {
	granted := Machine()
	if o.Policy.Require && granted.Degraded() {
		return granted, fmt.Errorf("it is required, and this machine cannot grant it: %s", strings.Join(granted.Missing, "; "))
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"closing what it inherited", closeOthers},
		{"its limits", o.Policy.limit},
		{"its files and ports", func() error {
			return o.Policy.restrict(granted.Landlock, func() error { return o.unprivileged(&granted) })
		}},
		{"its end with the host", o.dieWithParent},
		{"its system calls", func() error { return o.filter(&granted) }},
	} {
		if err := step.do(); err != nil {
			return granted, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return granted, nil
}

// closeOthers keeps from the program what this process has inherited and nobody meant for it.
func closeOthers() error {
	err := unix.CloseRange(reportFD+1, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) { // before Linux 5.11, or a container's filter of old
		return nil
	}
	return err
}

func (p Policy) limit() error {
	for resource, value := range map[int]uint64{unix.RLIMIT_NOFILE: p.OpenFiles, unix.RLIMIT_FSIZE: p.FileSize} {
		if value == 0 {
			continue
		}
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return err
		}
		value = min(value, now.Max)
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
			return err
		}
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // a core dump would put secrets on the disk
}

// restrict opens what the policy names, which the user may not be able to, then lets become change the user, and enters Landlock's
// domain.
func (p Policy) restrict(abi int, become func() error) error {
	ruleset := -1
	if abi > 0 {
		var err error
		if ruleset, err = p.ruleset(abi); err != nil {
			return err
		}
		defer unix.Close(ruleset)
	}
	if err := become(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if ruleset < 0 {
		return nil
	}
	return llsyscall.LandlockRestrictSelf(ruleset, 0)
}

// ruleset is the policy in Landlock's terms.
func (p Policy) ruleset(abi int) (int, error) {
	rules, err := p.fileRules(abi)
	if err != nil {
		return -1, err
	}
	wanted := landlock.V9
	if p.ConnectAny {
		wanted.HandledAccessNet &^= llsyscall.AccessNetConnectTCP
	} else {
		for _, port := range p.Connect {
			rules = append(rules, landlock.ConnectTCP(port))
		}
	}
	rules = append(rules, landlock.BindTCP(0))
	for _, port := range p.Bind {
		rules = append(rules, landlock.BindTCP(port))
	}
	ruleset, _, err := wanted.BestEffort().NewRulesetFD(rules...)
	return ruleset, err
}

// unprivileged changes the user and gives up capabilities.
func (o order) unprivileged(granted *Granted) error {
	keep := filesOnly
	if user := o.Policy.User; user != nil {
		// The bare calls: only this thread becomes the program.
		gid, uid := uintptr(user.GID), uintptr(user.UID)
		for _, call := range [][4]uintptr{
			{unix.SYS_SETGROUPS, 0, 0, 0},
			{unix.SYS_SETRESGID, gid, gid, gid},
			{unix.SYS_SETRESUID, uid, uid, uid},
		} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				return fmt.Errorf("becoming user %d: %w", user.UID, errno)
			}
		}
		granted.UID = user.UID
	}
	if granted.UID != 0 {
		keep = nil
	}
	if err := dropCapabilities(keep); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	if enter := o.Policy.Enter; enter != "" {
		if err := unix.Access(enter, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("user %d cannot use %s: %w: every folder above it must let others pass (chmod o+x)", granted.UID, enter, err)
		}
	}
	return nil
}

// dieWithParent asks for the signal once more, since a change of the user has cleared it, and looks whether it would have come
// meanwhile.
func (o order) dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if os.Getppid() != o.Parent {
		return errors.New("the host has ended")
	}
	return nil
}

// filter filters this thread's system calls, where it may be done.
func (o order) filter(granted *Granted) error {
	if !granted.Seccomp {
		return nil
	}
	err := loadFilter()
	if err == nil {
		return nil
	}
	granted.Seccomp = false
	granted.Missing = missing(*granted)
	if o.Policy.Require {
		return err
	}
	return nil
}
