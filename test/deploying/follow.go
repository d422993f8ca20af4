package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// stepLimit is how long one command may take, makeLimit one that builds.
const (
	stepLimit = 3 * time.Minute
	makeLimit = time.Hour
)

// place is where commands run: a shell's command line, before the script, the folder in which the next begins, and variables.
type place struct {
	shell []string
	dir   string
	env   []string
}

// run runs a script and returns what it printed on both outputs, in order. Where the next one begins is where this one ended.
func (p *place) run(ctx context.Context, script string) (string, error) {
	limit := stepLimit
	if strings.HasPrefix(script, "make ") {
		limit = makeLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took more than %v", limit))
	defer cancel()
	const end = "\x00"
	whole := fmt.Sprintf("cd %s\n%s\nprintf '\\0%%s' \"$PWD\"", quoted(p.dir), script)
	cmd := exec.CommandContext(ctx, p.shell[0], append(p.shell[1:], "-euo", "pipefail", "-c", whole)...)
	cmd.Env = append(os.Environ(), p.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second // of what it left behind that holds its outputs
	err := cmd.Run()
	said, dir, ended := strings.Cut(out.String(), end)
	if ended {
		p.dir = dir
	}
	if err != nil {
		return said, fmt.Errorf("%w\n%s", errors.Join(err, context.Cause(ctx)), said)
	}
	return said, nil
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// unseen is a warning that is the place's own: its kernel may have hierarchies of cgroups that only the machine around it has mounted.
var unseen = regexp.MustCompile(`(?m)^agenthost: warning: cannot read the memory limit of the host's cgroup: .*mount found\n`)

// follow runs a step and holds it to the page.
func (p *place) follow(ctx context.Context, s step) error {
	out, err := p.run(ctx, s.command)
	if err == nil {
		err = printed(unseen.ReplaceAllString(out, ""), s.prints)
	}
	if err != nil {
		return fmt.Errorf("%v: %w", s, err)
	}
	return nil
}

// tried counts what was done, and says so line by line.
type tried struct{ steps, cases int }

func (t *tried) step(s step, took time.Duration) {
	t.steps++
	first, _, more := strings.Cut(s.command, "\n")
	if more {
		first += " …"
	}
	fmt.Printf("ok: %6.2f s  %s\n", took.Seconds(), first)
}

// try runs what the page promises without a command for it.
func (t *tried) try(promise string, do func() error) error {
	began := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", promise, err)
	}
	t.cases++
	fmt.Printf("ok: %6.2f s  %s\n", time.Since(began).Seconds(), promise)
	return nil
}

// until waits for a condition of a machine.
func until(ctx context.Context, what string, within time.Duration, holds func() bool) error {
	deadline := time.Now().Add(within)
	for !holds() {
		if time.Now().After(deadline) {
			return fmt.Errorf("%v have passed, and not %s", within, what)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
