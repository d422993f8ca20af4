package agent

import (
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/chaos/ledger"
)

// misbehaviour is what the plugin can do wrong.
type misbehaviour struct {
	// stdout and stderr are the host's pipes. The SDK keeps the former from programs, because of what is done to it here.
	stdout, stderr *os.File
}

// newMisbehaviour looks for the pipes. It has to be called before the SDK serves, which makes more of them.
func newMisbehaviour() *misbehaviour {
	return &misbehaviour{stdout: realStdout(), stderr: os.Stderr}
}

// realStdout is where the SDK has put standard output away: the one pipe here that no child would inherit. Others come from
// whoever started the host.
func realStdout() *os.File {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return os.Stdout
	}
	for _, entry := range entries {
		path := filepath.Join("/proc/self/fd", entry.Name())
		link, err := os.Readlink(path)
		if err != nil || !strings.HasPrefix(link, "pipe:") {
			continue
		}
		descriptor, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(descriptor), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			continue
		}
		if pipe, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			return pipe
		}
	}
	return os.Stdout
}

// obey does what the ledger says. Some of it does not return.
func (m *misbehaviour) obey(do ledger.Do) {
	switch do {
	case ledger.Exit:
		os.Exit(7)
	case ledger.Panic:
		go panic("the ledger says panic") // in a goroutine of its own: the SDK saves calls from panicking
		select {}
	case ledger.Hang:
		select {}
	case ledger.Garbage:
		_, _ = m.stdout.Write(garbage()) // whoever reads it may have had enough
	case ledger.Logs:
		_, _ = m.stderr.WriteString(strings.Join(badplugin.BadLogs, "\n") + "\n" + strings.Repeat("x", 1<<20) + "\n")
	case ledger.Fork:
		m.fork(false)
	case ledger.ForkAway:
		m.fork(true)
	}
}

func garbage() []byte {
	all := make([]byte, 1<<10)
	for i := range all {
		all[i] = byte(i * 7)
	}
	return append(bytes.Repeat(all, 64), '\n')
}

// fork starts a child that holds the pipes, and leaves it behind.
func (m *misbehaviour) fork(away bool) {
	child := exec.Command("/proc/self/exe", HoldMarker)
	child.Stdout, child.Stderr = m.stdout, m.stderr
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: away}
	if err := child.Start(); err != nil {
		panic(err) // the fault that was asked for did not happen
	}
	os.Exit(8)
}

// hold is the child's life.
func hold() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	select {}
}
