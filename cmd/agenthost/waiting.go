package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/tools/terminal"
)

// waitingEvery is how often a line says what is waited for, where nobody sees one that is rewritten.
const waitingEvery = 10 * time.Second

// shownWaits is how many plugins are named that are waited for.
const shownWaits = 4

// waitingLine shows what is waited for: in one line that is rewritten on a terminal, in a line now and then elsewhere. Nil shows nothing.
type waitingLine struct {
	out     io.Writer
	inPlace bool

	mu    sync.Mutex
	shown bool // there is a line to take away
	told  time.Time
}

func newWaitingLine(out io.Writer) *waitingLine {
	return &waitingLine{out: out, inPlace: isTerminal(out), told: time.Now()}
}

// waitingLineFor is that of a command: none, where a program reads its result.
func waitingLineFor(cmd *cobra.Command, output string) *waitingLine {
	if isData(output) {
		return nil
	}
	return newWaitingLine(cmd.ErrOrStderr())
}

// show tells of what is waited for.
func (w *waitingLine) show(waits admin.Waits) { w.tell(waitingText(waits)) }

func (w *waitingLine) tell(line string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.inPlace:
		terminal.Control(w.out, "\r"+terminal.Clean(fitting(w.out, line))+"\x1b[K")
		w.shown = true
	case time.Since(w.told) >= waitingEvery:
		fmt.Fprintln(w.out, line)
		w.told = time.Now()
	}
}

// clear takes the line away, before something else is written.
func (w *waitingLine) clear() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shown {
		terminal.Control(w.out, "\r\x1b[K")
		w.shown = false
	}
}

// during keeps telling of one thing that takes its time, until stop is called.
func (w *waitingLine) during(what string, limit time.Duration) (stop func()) {
	began, ended := time.Now(), make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				w.tell(terminal.Line(what) + ", " + spent(time.Since(began).Seconds(), limit.Seconds()))
			case <-ended:
				w.clear()
				return
			}
		}
	})
	return func() {
		close(ended)
		telling.Wait()
	}
}

// waitingText is such as: waiting for duckdb (starting), hello (pulling 3 MiB of 9 MiB), 12s of up to 1m0s.
func waitingText(waits admin.Waits) string {
	var names []string
	for _, p := range waits.Plugins[:min(len(waits.Plugins), shownWaits)] {
		doing := p.State
		if p.Pulling != "" {
			doing = "pulling " + p.Pulling
		}
		names = append(names, fmt.Sprintf("%s (%s)", terminal.Line(p.Name), terminal.Line(doing)))
	}
	if more := len(waits.Plugins) - shownWaits; more > 0 {
		names = append(names, countPlugins(more)+" more")
	}
	if len(names) == 0 {
		names = []string{"the new host"}
	}
	return "waiting for " + strings.Join(names, ", ") + ", " + spent(waits.Seconds, waits.LimitSeconds)
}

// spent is how long something has taken, and of how long.
func spent(seconds, limit float64) string {
	text := uptime(seconds)
	if limit > 0 {
		text += " of up to " + uptime(limit)
	}
	return text
}

// fitting cuts a line to the width of a terminal.
func fitting(out io.Writer, line string) string {
	if file, ok := terminal.Behind(out).(interface{ Fd() uintptr }); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 1 {
			if runes := []rune(line); len(runes) >= width {
				return string(runes[:width-2]) + "…"
			}
		}
	}
	return line
}
