package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"syscall"

	"github.com/agenthost/agenthost/test/bench/contender"
	"github.com/agenthost/agenthost/test/bench/load"
	"github.com/agenthost/agenthost/test/bench/report"
)

// fleet is how long a host with so many plugins takes for each of these, in seconds.
type fleet struct {
	ready  float64
	one    []float64 // reloads of one plugin
	all    float64   // the reload of all
	status []float64
	// own and allOwn are the processor time that the plugins themselves had taken when it was ready, and after the reload of all.
	own, allOwn float64
}

// fleets are a host with one plugin and one with as many as the scale has.
func (l *lab) fleets(ctx context.Context) ([2]fleet, error) {
	return once(l, "fleets", func() (found [2]fleet, err error) {
		for i, count := range []int{1, l.fleet} {
			if found[i], err = l.fleetOf(ctx, count); err != nil {
				return found, err
			}
		}
		return found, nil
	})
}

func (l *lab) fleetOf(ctx context.Context, count int) (f fleet, err error) {
	l.say("%d plugins: start", count)
	plugins := l.greeters(count, 1)
	host, err := l.host(ctx, plugins)
	if err != nil {
		return f, err
	}
	defer host.Stop()
	f.ready = host.Ready.Seconds()
	if f.own, err = ownCPU(host); err != nil {
		return f, err
	}
	if err := allServe(ctx, host, count); err != nil {
		return f, err
	}
	l.say("%d plugins: /status", count)
	for range 2 * l.rounds {
		_, took, err := host.Status(ctx)
		if err != nil {
			return f, err
		}
		f.status = append(f.status, took.Seconds())
	}
	l.say("%d plugins: reload of one", count)
	for round := range l.rounds {
		plugins = maps.Clone(plugins)
		plugins[taskTypeOf(0)] = l.generation(0, 2+round)
		took, err := host.Reload(ctx, plugins)
		if err != nil {
			return f, err
		}
		f.one = append(f.one, took.Seconds())
	}
	l.say("%d plugins: reload of all", count)
	took, err := host.Reload(ctx, l.greeters(count, 2+l.rounds))
	if err != nil {
		return f, err
	}
	f.all = took.Seconds()
	if f.allOwn, err = ownCPU(host); err != nil {
		return f, err
	}
	return f, allServe(ctx, host, count)
}

// ownCPU is the processor time that a host's plugins have taken, but for those that end meanwhile, as a generation before does.
func ownCPU(host *contender.Host) (seconds float64, err error) {
	running, err := host.Answering()
	if err != nil {
		return 0, err
	}
	for _, one := range running {
		taken, err := load.CPU(one)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return 0, err
		}
		seconds += taken
	}
	return seconds, nil
}

// allServe fails unless all of a host's plugins run.
func allServe(ctx context.Context, host *contender.Host, count int) error {
	status, _, err := host.Status(ctx)
	if err != nil {
		return err
	}
	running := 0
	for _, one := range status.Plugins {
		if one.State == "running" {
			running++
		} else {
			err = fmt.Errorf("plugin %s is %s: %s", one.Name, one.State, one.Reason)
		}
	}
	if err == nil && running != count {
		err = fmt.Errorf("%d of %d plugins run", running, count)
	}
	return err
}

// fleetRow is a row of what the fleets took.
func fleetRow(of func(alone, fleet fleet) figure) by {
	return func(ctx context.Context, l *lab) (figure, error) {
		found, err := l.fleets(ctx)
		if err != nil {
			return figure{}, err
		}
		row := of(found[0], found[1])
		row.detail["plugins"] = float64(l.fleet)
		return row, nil
	}
}

var (
	fleetStart = fleetRow(func(_, f fleet) figure {
		return figure{Spread: report.Exactly(f.ready / f.own), detail: map[string]float64{
			"until ready, s": f.ready, "the plugins' own processor time, s": f.own,
		}}
	})
	fleetReloadAll = fleetRow(func(_, f fleet) figure {
		return figure{Spread: report.Exactly(f.all / f.allOwn), detail: map[string]float64{
			"reload, s": f.all, "the new plugins' own processor time, s": f.allOwn,
		}}
	})
	fleetReloadOne = fleetRow(func(alone, f fleet) figure {
		return figure{Spread: over(f.one, report.Median(alone.one)), detail: map[string]float64{
			"reload, s": report.Median(f.one), "with one plugin in all, s": report.Median(alone.one),
		}}
	})
	fleetStatus = fleetRow(func(alone, f fleet) figure {
		return figure{Spread: over(f.status, report.Median(alone.status)), detail: map[string]float64{
			"/status, s": report.Median(f.status), "with one plugin in all, s": report.Median(alone.status),
		}}
	})
)

// over is the spread of values as multiples of another.
func over(values []float64, of float64) report.Spread {
	multiples := make([]float64, len(values))
	for i, value := range values {
		multiples[i] = value / of
	}
	return report.SpreadOf(multiples)
}
