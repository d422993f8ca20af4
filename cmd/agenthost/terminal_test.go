package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/test/badplugin"
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

func TestOnATerminalTheLatestEventsStayBelowTheTable(t *testing.T) {
	t.Setenv("TERM", "xterm")
	address := adminHost(t, map[string]http.HandlerFunc{
		"GET /status": func(w http.ResponseWriter, _ *http.Request) { sendLines(t, w, aSwap()) },
		"GET /events": func(w http.ResponseWriter, r *http.Request) {
			for i := range 2 * shownEvents {
				sendLines(t, w, admin.Event{Time: noon, Plugin: "two", State: fmt.Sprintf("state%d.", i)})
			}
			<-r.Context().Done()
		},
	})
	other, tty := openTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"status", "--admin", address, "--watch", "--interval", "1h"}, strings.NewReader(""), tty, tty)
		tty.Close()
	}()
	last := fmt.Sprintf("state%d.", 2*shownEvents-1)
	var shown strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := other.Read(buffer)
		shown.Write(buffer[:n])
		if err != nil { // the program has closed its side
			break
		}
		// The screen is whole when what is left of the one before is cleared.
		if at := strings.LastIndex(shown.String(), last); at >= 0 && strings.Contains(shown.String()[at:], "\x1b[J") {
			cancel()
		}
	}
	if got := <-code; got != 0 {
		t.Errorf("code %d", got)
	}
	screens := strings.Split(shown.String(), "\x1b[H")
	screen := screens[len(screens)-1]
	table, first := strings.Index(screen, "PLUGIN"), strings.Index(screen, fmt.Sprintf("state%d.", shownEvents))
	if table < 0 || first < table || strings.Index(screen, last) < first || strings.Contains(screen, fmt.Sprintf("state%d.", shownEvents-1)) {
		t.Errorf("want the table, and below it the last %d events, in order:\n%q", shownEvents, screen)
	}
}
