package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/agenthost/agenthost/test/bench/contender"
	"github.com/agenthost/agenthost/test/bench/load"
)

// languages measures the hello agent in each language: how long it takes to start, what it takes in memory, and how many
// polls it answers. The folders are those of the hello agents, each with its verify.yaml, which says how it is started.
func (l *lab) languages(ctx context.Context, folders []string, to io.Writer) error {
	fmt.Fprintln(to, "| hello agent | start | memory idle | memory after the load | polls a second, 1 caller | 64 callers |")
	fmt.Fprintln(to, "|---|---|---|---|---|---|")
	for _, folder := range folders {
		line, err := l.helloIn(ctx, folder)
		if err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
		fmt.Fprintln(to, line)
	}
	fmt.Fprintf(to, "languages ok: %d hello agents\n", len(folders))
	return nil
}

func (l *lab) helloIn(ctx context.Context, folder string) (line string, err error) {
	spec, err := helloSpec(folder)
	if err != nil {
		return "", err
	}
	began := time.Now()
	running, err := contender.Straight(ctx, l.folder(), spec)
	if err != nil {
		return "", fmt.Errorf("%w: run `make verify-plugins` first, which builds it", err)
	}
	start := time.Since(began)
	defer running.Stop()
	processes, err := running.Answering()
	if err != nil {
		return "", err
	}
	idle, err := load.Resident(processes[0])
	if err != nil {
		return "", err
	}
	poll, err := prepareGet(ctx, running.Conn)
	if err != nil {
		return "", err
	}
	var rates []float64
	for _, callers := range []int{1, 64} {
		if _, err := load.Closed(ctx, poll, callers, l.length); err != nil { // warms up, which a JVM takes long for
			return "", err
		}
		round, err := load.Closed(ctx, poll, callers, 2*l.length)
		if err != nil {
			return "", err
		}
		rates = append(rates, round.PerSecond())
	}
	busy, err := load.Resident(processes[0])
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("| %s | %d ms | %.0f MiB | %.0f MiB | %.0f | %.0f |", folder, start.Milliseconds(), idle, busy, rates[0], rates[1]), nil
}
