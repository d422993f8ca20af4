package main

import (
	"context"
	"fmt"

	"github.com/agenthost/agenthost/test/bench/contender"
	"github.com/agenthost/agenthost/test/bench/load"
	"github.com/agenthost/agenthost/test/bench/report"
	"github.com/agenthost/agenthost/test/wait"
)

// greeters configures so many plugins, each with a task type of its own and an environment by which a reload tells them from those
// before.
func (l *lab) greeters(count, generation int) map[string]any {
	all := map[string]any{}
	for n := range count {
		all[taskTypeOf(n)] = l.generation(n, generation)
	}
	return all
}

func (l *lab) generation(n, generation int) map[string]any {
	return map[string]any{"command": l.greeter(taskTypeOf(n)), "env": map[string]string{"GENERATION": fmt.Sprint(generation)}}
}

func taskTypeOf(n int) string { return fmt.Sprintf("greet-%03d", n) }

// resident is a host's memory once it was left alone for a while.
func (l *lab) resident(ctx context.Context, host *contender.Host) (float64, error) {
	const looks = 5
	var seen []float64
	for range looks {
		wait.For(ctx, l.settle/looks)
		now, err := load.Resident(host.Process)
		if err != nil {
			return 0, err
		}
		seen = append(seen, now)
	}
	return report.Median(seen), ctx.Err()
}

// idleMemory is what hosts take, in MiB, by how many idle plugins they have.
func (l *lab) idleMemory(ctx context.Context) (map[int][]float64, error) {
	return once(l, "idle memory", func() (map[int][]float64, error) {
		found := map[int][]float64{}
		for range min(3, l.rounds) {
			for _, count := range []int{1, 1 + l.idle} {
				l.say("memory of a host with %d idle plugins", count)
				host, err := l.host(ctx, l.greeters(count, 1))
				if err != nil {
					return nil, err
				}
				memory, err := l.resident(ctx, host)
				host.Stop()
				if err != nil {
					return nil, err
				}
				found[count] = append(found[count], memory)
			}
		}
		return found, nil
	})
}

func memoryIdle(ctx context.Context, l *lab) (figure, error) {
	found, err := l.idleMemory(ctx)
	if err != nil {
		return figure{}, err
	}
	return figure{Spread: report.SpreadOf(found[1])}, nil
}

func memoryOfAPlugin(ctx context.Context, l *lab) (figure, error) {
	found, err := l.idleMemory(ctx)
	if err != nil {
		return figure{}, err
	}
	var each []float64
	for i, with := range found[1+l.idle] {
		each = append(each, (with-found[1][i])/float64(l.idle))
	}
	return figure{Spread: report.SpreadOf(each), detail: map[string]float64{
		"further plugins": float64(l.idle), "with them, MiB": report.Median(found[1+l.idle]),
	}}, nil
}

// memoryOfJobs is what a host's memory grows by for 100,000 jobs that were made and polled.
func memoryOfJobs(ctx context.Context, l *lab) (figure, error) {
	host, err := l.host(ctx, l.greeters(1, 1))
	if err != nil {
		return figure{}, err
	}
	defer host.Stop()
	made := newJobs(host.Conn, 1)
	// What serving takes is not what remembering does: buffers and goroutines are there before it begins.
	if err := made.makeAndPoll(ctx, l.jobs[0]); err != nil {
		return figure{}, err
	}
	before, live, err := l.both(ctx, host)
	if err != nil {
		return figure{}, err
	}
	l.say("memory of %d remembered jobs", l.remembered)
	if err := made.makeAndPoll(ctx, l.remembered); err != nil {
		return figure{}, err
	}
	after, liveAfter, err := l.both(ctx, host)
	if err != nil {
		return figure{}, err
	}
	of := 100_000 / float64(l.remembered)
	return figure{Spread: report.Exactly((after - before) * of), detail: map[string]float64{
		"jobs": float64(l.remembered), "resident before, MiB": before, "resident after, MiB": after,
		"live data of 100,000, MiB": (liveAfter - live) * of,
	}}, nil
}

// both is a host's resident memory, once it was left alone, and that of its live data.
func (l *lab) both(ctx context.Context, host *contender.Host) (resident, live float64, err error) {
	if live, err = host.Live(ctx); err == nil {
		resident, err = l.resident(ctx, host)
	}
	return resident, live, err
}
