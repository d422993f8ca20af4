package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/test/bench/contender"
	"github.com/agenthost/agenthost/test/bench/load"
	"github.com/agenthost/agenthost/test/bench/report"
	"github.com/agenthost/agenthost/test/wait"
)

// grows is a row of how a quantity of the host grows with another: the exponent of the power by which it does.
type grows struct {
	series, x, y string
	// points are by what they are of, for the series of one measurement.
	points func(context.Context, *lab) (map[string][]report.Point, error)
}

func (grows) plan(*lab) {}

func (g grows) measure(ctx context.Context, l *lab) (figure, error) {
	all, err := g.points(ctx, l)
	if err != nil {
		return figure{}, err
	}
	points := all[g.y]
	exponent := steepest(points)
	l.result.Series = append(l.result.Series, report.Series{Name: g.series, X: g.x, Y: g.y, Points: points, Exponent: exponent})
	for _, point := range points {
		l.tell(fmt.Sprintf("%-20s %s %s: %s %s", g.series, report.Number(point.X), g.x, report.Number(point.Y), g.y))
	}
	return figure{Spread: report.Exactly(exponent), series: g.series}, nil
}

// steepest is the exponent of the power of X by which Y grows where it grows most, from one point to the next. A fit of all would not
// show what begins to grow faster than it did.
func steepest(points []report.Point) float64 {
	const least = 1e-3 // of what was too little to be measured
	found := math.Inf(-1)
	for i, to := range points[1:] {
		from := points[i]
		found = max(found, math.Log(max(to.Y, least)/max(from.Y, least))/math.Log(to.X/from.X))
	}
	return found
}

const (
	startCPU       = "s of the host's processor time until they are ready"
	idleCPU        = "ms of the host's processor time a second, idle"
	residentMemory = "MiB of the host's memory"
	pollCPU        = "s of the host's processor time for a poll of each"
	liveMemory     = "MiB of the host's live data for them"
	callCPU        = "µs of the host's processor time for a CreateTask"
	callersCPU     = "ms of the host's processor time for a GetTask of each"
	peakMemory     = "MiB of the host's memory, at most"
)

func growthOfPlugins(ctx context.Context, l *lab) (map[string][]report.Point, error) {
	return once(l, "growth of plugins", func() (map[string][]report.Point, error) {
		found := map[string][]report.Point{}
		for round := range l.growth.rounds {
			for _, count := range l.growth.plugins {
				l.say("growth: %d plugins, round %d of %d", count, round+1, l.growth.rounds)
				if err := l.growPlugins(ctx, count, found); err != nil {
					return nil, err
				}
			}
		}
		return medians(found), nil
	})
}

func (l *lab) growPlugins(ctx context.Context, count int, found map[string][]report.Point) error {
	host, err := l.host(ctx, l.greeters(count, 1))
	if err != nil {
		return err
	}
	defer host.Stop()
	starting, err := load.CPU(host.Process)
	if err != nil {
		return err
	}
	memory, err := l.resident(ctx, host)
	if err != nil {
		return err
	}
	before, err := load.CPU(host.Process)
	if err != nil {
		return err
	}
	idle := 4 * l.growth.length
	wait.For(ctx, idle)
	after, err := load.CPU(host.Process)
	if err != nil {
		return err
	}
	add(found, startCPU, count, starting)
	add(found, idleCPU, count, (after-before)/idle.Seconds()*1e3)
	add(found, residentMemory, count, memory)
	return ctx.Err()
}

func growthOfJobs(ctx context.Context, l *lab) (map[string][]report.Point, error) {
	return once(l, "growth of jobs", func() (map[string][]report.Point, error) {
		all, err := l.manyJobs(ctx)
		if err != nil {
			return nil, err
		}
		found := map[string][]report.Point{}
		for _, one := range all {
			add(found, pollCPU, one.jobs, one.cpu*float64(one.jobs)/1e6)
			add(found, liveMemory, one.jobs, one.live)
		}
		return found, nil
	})
}

func growthOfMessages(ctx context.Context, l *lab) (map[string][]report.Point, error) {
	return once(l, "growth of messages", func() (map[string][]report.Point, error) {
		found := map[string][]report.Point{}
		for round := range l.growth.rounds {
			for _, size := range l.growth.messages {
				l.say("growth: messages of %d KiB, round %d of %d", size/kib, round+1, l.growth.rounds)
				cpu, memory, err := l.grow(ctx, 4, 1, func(conns []grpc.ClientConnInterface) (load.Call, error) {
					create, next := service.NewAsyncAgentServiceClient(conns[0]), attempts(taskTypeOf(0), size)
					return func(ctx context.Context) error {
						_, err := create.CreateTask(ctx, next().creation())
						return err
					}, nil
				})
				if err != nil {
					return nil, err
				}
				add(found, callCPU, size/kib, cpu)
				add(found, peakMemory, size/kib, memory)
			}
		}
		return medians(found), nil
	})
}

func growthOfCallers(ctx context.Context, l *lab) (map[string][]report.Point, error) {
	return once(l, "growth of callers", func() (map[string][]report.Point, error) {
		found := map[string][]report.Point{}
		for round := range l.growth.rounds {
			for _, callers := range l.growth.callers {
				l.say("growth: %d calls at once, round %d of %d", callers, round+1, l.growth.rounds)
				const onEach = 500
				cpu, memory, err := l.grow(ctx, callers, (callers+onEach-1)/onEach, func(conns []grpc.ClientConnInterface) (load.Call, error) {
					return pollsOver(ctx, conns)
				})
				if err != nil {
					return nil, err
				}
				add(found, callersCPU, callers, cpu*float64(callers)/1e3)
				add(found, peakMemory, callers, memory)
			}
		}
		return medians(found), nil
	})
}

// pollsOver polls a job over each connection in turn.
func pollsOver(ctx context.Context, conns []grpc.ClientConnInterface) (load.Call, error) {
	var next atomic.Uint64
	polls := make([]load.Call, len(conns))
	for i, conn := range conns {
		var err error
		if polls[i], err = getOf(ctx, conn, attempt{taskType: taskTypeOf(0), name: "bench"}); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) error { return polls[next.Add(1)%uint64(len(polls))](ctx) }, nil
}

// grow calls a host of its own over so many connections, and returns its processor time a call, in microseconds, and the most memory
// that it took, in MiB.
func (l *lab) grow(ctx context.Context, callers, connections int, client func([]grpc.ClientConnInterface) (load.Call, error)) (cpu, memory float64, err error) {
	host, err := l.host(ctx, l.greeters(1, 1), func(o *contender.HostOptions) {
		// No caller gets more than what it leaves to others.
		o.Settings["limits"] = map[string]any{"calls": 8 * slices.Max(l.growth.callers)}
	})
	if err != nil {
		return 0, 0, err
	}
	defer host.Stop()
	var conns []grpc.ClientConnInterface
	for range connections {
		conn, err := host.Dial()
		if err != nil {
			return 0, 0, err
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	call, err := client(conns)
	if err != nil {
		return 0, 0, err
	}
	if _, err := load.Closed(ctx, call, callers, l.growth.length/5); err != nil { // warms up
		return 0, 0, err
	}
	before, err := load.CPU(host.Process)
	if err != nil {
		return 0, 0, err
	}
	round, err := load.Closed(ctx, call, callers, l.growth.length)
	if err != nil {
		return 0, 0, err
	}
	after, err := load.CPU(host.Process)
	if err != nil {
		return 0, 0, err
	}
	memory, err = load.Peak(host.Process)
	return (after - before) / float64(round.Calls) * 1e6, memory, err
}

func add(found map[string][]report.Point, what string, x int, y float64) {
	found[what] = append(found[what], report.Point{X: float64(x), Y: y})
}

// medians makes one point of those of several rounds, the points as they came in the first.
func medians(rounds map[string][]report.Point) map[string][]report.Point {
	found := map[string][]report.Point{}
	for what, points := range rounds {
		values := map[float64][]float64{}
		for _, p := range points {
			if values[p.X] == nil {
				found[what] = append(found[what], p)
			}
			values[p.X] = append(values[p.X], p.Y)
		}
		for i, p := range found[what] {
			found[what][i].Y = report.Median(values[p.X])
		}
	}
	return found
}
