package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/badplugin"
)

// openTerminal makes a pseudo-terminal: what is written to tty, a program's terminal, can be read from the other side.
func openTerminal(t *testing.T) (other, tty *os.File) {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	if err := unix.IoctlSetPointerInt(int(other.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(other.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 40}); err != nil {
		t.Fatal(err)
	}
	return other, tty
}

func TestOnATerminalProgressIsOneLineThatIsRewrittenAndThenGone(t *testing.T) {
	other, tty := openTerminal(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	line := append([]string{"task", "run", "-t", "echo_task", "--custom", "polls=4", "--custom", "message=done", "-i", "n=3", "--"}, badplugin.Command("good")...)
	cmd := exec.Command(self, line...)
	cmd.Env = append(os.Environ(), actAsAgenthost+"=1", "TERM=xterm")
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	screen := make(chan string)
	go func() {
		all, _ := io.ReadAll(other) // ends with an error once the program has closed its side
		screen <- string(all)
	}()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	got := <-screen
	if !strings.Contains(got, "\r") || !strings.Contains(got, "  RUNNING  poll 2 of 4\x1b[K") || !strings.Contains(got, "\r\x1b[KSUCCEEDED after ") {
		t.Errorf("got %q", got)
	}
	for rewritten := range strings.SplitSeq(got, "\r") {
		if shown := []rune(strings.TrimSuffix(rewritten, "\x1b[K")); strings.HasSuffix(rewritten, "\x1b[K") && len(shown) >= 40 {
			t.Errorf("%q does not fit the terminal, and would leave lines behind", rewritten)
		}
	}
	if stdout.String() != "n = 3\n" {
		t.Errorf("stdout is %q", stdout.String())
	}
}
