package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/agenthost/agenthost/tools/taskrun"
	"github.com/agenthost/agenthost/tools/terminal"
)

// progressLines shows how a task goes: one line that is rewritten in place on a terminal, a line for each change
// elsewhere.
type progressLines struct {
	out     io.Writer
	inPlace bool
	quiet   bool

	mu     sync.Mutex
	latest taskrun.Progress // the last one heard of
	heard  time.Time
	last   string // what was written last, without the time
	once   sync.Once
	stop   chan struct{}
	ended  chan struct{}
}

func newProgressLines(out io.Writer, quiet bool) *progressLines {
	p := &progressLines{out: out, inPlace: isTerminal(out) && !quiet, quiet: quiet, stop: make(chan struct{}), ended: make(chan struct{})}
	if p.inPlace {
		go p.tick()
	} else {
		close(p.ended)
	}
	return p
}

// tick keeps the time on a terminal running between two polls.
func (p *progressLines) tick() {
	defer close(p.ended)
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.mu.Lock()
			if !p.heard.IsZero() {
				now := p.latest
				now.Elapsed += time.Since(p.heard)
				p.rewrite(now)
			}
			p.mu.Unlock()
		case <-p.stop:
			return
		}
	}
}

// show tells of progress.
func (p *progressLines) show(progress taskrun.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet {
		return
	}
	p.latest, p.heard = progress, time.Now()
	line := strings.TrimSpace(progress.Phase + "  " + oneLine(progress.Message))
	switch {
	case p.inPlace:
		p.rewrite(progress)
	case line != p.last:
		fmt.Fprintf(p.out, "%7s  %s\n", taskrun.Seconds(progress.Elapsed), line)
	}
	p.last = line
}

func (p *progressLines) rewrite(progress taskrun.Progress) {
	line := fmt.Sprintf("%7s  %s  %s", taskrun.Seconds(progress.Elapsed), progress.Phase, oneLine(progress.Message))
	if file, ok := terminal.Behind(p.out).(interface{ Fd() uintptr }); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 1 {
			if runes := []rune(line); len(runes) >= width {
				line = string(runes[:width-2]) + "…"
			}
		}
	}
	terminal.Control(p.out, "\r"+line+"\x1b[K")
}

// log writes one of the job's log lines above the progress line.
func (p *progressLines) log(line string) { p.above("    log  ", line) }

// printed writes a line that the plugin printed above the progress line.
func (p *progressLines) printed(line string) {
	if !p.quiet {
		p.above(" plugin  ", line)
	}
}

func (p *progressLines) above(by, line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inPlace {
		terminal.Control(p.out, "\r\x1b[K")
	}
	fmt.Fprintf(p.out, "%s%s\n", by, strings.ReplaceAll(line, "\n", "\n         "))
}

// end takes the progress line away. It may be called again.
func (p *progressLines) end() {
	p.once.Do(func() {
		close(p.stop)
		<-p.ended
		if p.inPlace {
			terminal.Control(p.out, "\r\x1b[K")
		}
	})
}

func oneLine(message string) string { return terminal.Line(message) }
