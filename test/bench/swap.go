package main

import (
	"context"
	"fmt"
	"time"

	"github.com/agenthost/agenthost/test/bench/load"
	"github.com/agenthost/agenthost/test/bench/report"
)

// swapCallers poll while a plugin is swapped.
const swapCallers = 64

// swapPause is by how much the longest call of a round with a swap takes longer than 99.9 % of those of the round before, without one.
func swapPause(ctx context.Context, l *lab) (figure, error) {
	configured := func(generation int) map[string]any {
		return map[string]any{"hello": map[string]any{"command": []string{l.hello()}, "env": map[string]any{"GENERATION": fmt.Sprint(generation)}}}
	}
	host, err := l.host(ctx, configured(0))
	if err != nil {
		return figure{}, err
	}
	defer host.Stop()
	poll, err := prepareGet(ctx, host.Conn)
	if err != nil {
		return figure{}, err
	}
	// A swap takes its time from the start of the new plugin to the end of the old one.
	length := 2 * l.length
	var beyond, longest, p999 []float64
	for swap := range l.rounds + 1 {
		l.say("swap %d of %d under %d callers", swap, l.rounds, swapCallers)
		calm, err := load.Closed(ctx, poll, swapCallers, length)
		if err != nil {
			return figure{}, err
		}
		reloaded := make(chan error, 1)
		timer := time.AfterFunc(length/10, func() {
			_, err := host.Reload(ctx, configured(swap+1))
			reloaded <- err
		})
		busy, err := load.Closed(ctx, poll, swapCallers, length)
		if err != nil {
			timer.Stop()
			return figure{}, err
		}
		if err := <-reloaded; err != nil {
			return figure{}, err
		}
		if swap == 0 { // warms up
			continue
		}
		millis := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
		longest, p999 = append(longest, millis(busy.Longest())), append(p999, millis(calm.Latency(99.9)))
		beyond = append(beyond, millis(busy.Longest()-calm.Latency(99.9)))
	}
	return figure{Spread: report.SpreadOf(beyond), detail: map[string]float64{
		"longest call with a swap, ms": report.Median(longest), "p99.9 without, ms": report.Median(p999),
	}}, nil
}
