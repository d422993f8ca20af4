package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/test/bench/contender"
	"github.com/agenthost/agenthost/test/bench/load"
	"github.com/agenthost/agenthost/test/bench/report"
	"github.com/agenthost/agenthost/test/wait"
)

// jobCallers make jobs and poll them.
const jobCallers = 64

// jobs are distinct ones, which plugins take in turn.
type jobs struct {
	client  service.AsyncAgentServiceClient
	plugins int
	metas   [][]byte
}

func newJobs(conn grpc.ClientConnInterface, plugins int) *jobs {
	return &jobs{client: service.NewAsyncAgentServiceClient(conn), plugins: plugins}
}

func (j *jobs) attempt(n int) attempt {
	return attempt{taskType: taskTypeOf(n % j.plugins), name: fmt.Sprint("bench-", n), number: int64(n)} // by the name jobs differ
}

// make makes so many more.
func (j *jobs) make(ctx context.Context, count int) error {
	first := len(j.metas)
	j.metas = append(j.metas, make([][]byte, count)...)
	var next atomic.Int64
	_, err := load.Times(ctx, func(ctx context.Context) error {
		n := first + int(next.Add(1)) - 1
		return patiently(ctx, func() error {
			made, err := j.client.CreateTask(ctx, j.attempt(n).creation())
			j.metas[n] = made.GetResourceMeta()
			return err
		})
	}, jobCallers, int64(count))
	return err
}

// poll makes so many polls, of one job after the other, again and again.
func (j *jobs) poll(ctx context.Context, count int) error {
	var next atomic.Int64
	_, err := load.Times(ctx, func(ctx context.Context) error {
		n := int(next.Add(1)-1) % len(j.metas)
		return patiently(ctx, func() error {
			_, err := j.client.GetTask(ctx, j.attempt(n).poll(j.metas[n]))
			return err
		})
	}, jobCallers, int64(count))
	return err
}

// patiently makes a call again while it is answered UNAVAILABLE, as Flyte does: a million of them outlast the moment in which a
// plugin that got no processor is taken for one that does not answer.
func patiently(ctx context.Context, call func() error) error {
	for {
		err := call()
		if status.Code(err) != codes.Unavailable || !wait.For(ctx, time.Second) {
			return err
		}
	}
}

func (j *jobs) pollAll(ctx context.Context) error { return j.poll(ctx, len(j.metas)) }

// makeAndPoll makes jobs, and polls each once.
func (j *jobs) makeAndPoll(ctx context.Context, count int) error {
	if err := j.make(ctx, count); err != nil {
		return err
	}
	return j.pollAll(ctx)
}

// polled is what a host took for polls and jobs.
type polled struct {
	jobs     int
	cpu      float64 // microseconds of the host's a poll
	live     float64 // MiB of its live data
	resident float64 // MiB
}

// manyJobs has one host with many plugins remember more and more jobs, and polls them all: what it took for each number of them, beyond
// what it has without any.
func (l *lab) manyJobs(ctx context.Context) ([]polled, error) {
	return once(l, "many jobs", func() ([]polled, error) {
		host, err := l.host(ctx, l.greeters(l.jobPlugins, 1))
		if err != nil {
			return nil, err
		}
		defer host.Stop()
		return l.pollGrowing(ctx, host)
	})
}

func (l *lab) pollGrowing(ctx context.Context, host *contender.Host) (found []polled, err error) {
	all := newJobs(host.Conn, l.jobPlugins)
	resident, live, err := l.both(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, count := range l.jobs {
		l.say("%d jobs of %d plugins: made", count, l.jobPlugins)
		if err := all.make(ctx, count-len(all.metas)); err != nil {
			return nil, err
		}
		// Each is polled once before it is measured, as every poll but a job's first is one of a job that is remembered.
		if err := all.pollAll(ctx); err != nil {
			return nil, err
		}
		l.say("%d jobs of %d plugins: polled", count, l.jobPlugins)
		now, err := l.pollMeasured(ctx, host, all)
		if err != nil {
			return nil, err
		}
		now.live -= live
		now.resident -= resident
		found = append(found, now)
	}
	return found, nil
}

// pollMeasured polls as often as tells what a poll takes: a part of many jobs, few ones again and again.
func (l *lab) pollMeasured(ctx context.Context, host *contender.Host, all *jobs) (now polled, err error) {
	before, err := load.CPU(host.Process)
	if err != nil {
		return now, err
	}
	if err := all.poll(ctx, l.polls); err != nil {
		return now, err
	}
	after, err := load.CPU(host.Process)
	if err != nil {
		return now, err
	}
	now = polled{jobs: len(all.metas), cpu: (after - before) / float64(l.polls) * 1e6}
	now.resident, now.live, err = l.both(ctx, host)
	return now, err
}

func jobsCPU(ctx context.Context, l *lab) (figure, error) {
	found, err := l.manyJobs(ctx)
	if err != nil {
		return figure{}, err
	}
	few, many := found[0], found[len(found)-1]
	return figure{Spread: report.Exactly(many.cpu / few.cpu), detail: map[string]float64{
		"jobs": float64(many.jobs), "plugins": float64(l.jobPlugins), "host's processor time a poll, µs": many.cpu,
		"the same with few jobs, µs": few.cpu, "few jobs": float64(few.jobs),
	}}, nil
}

func jobsMemory(ctx context.Context, l *lab) (figure, error) {
	found, err := l.manyJobs(ctx)
	if err != nil {
		return figure{}, err
	}
	// A thousand take less than what garbage collection resolves.
	few, many := found[1], found[len(found)-1]
	// What so few jobs take that it cannot be told from nothing counts as a byte.
	bytes := func(of polled) float64 { return max(1, of.live*mib/float64(of.jobs)) }
	return figure{Spread: report.Exactly(bytes(many) / bytes(few)), detail: map[string]float64{
		"jobs": float64(many.jobs), "plugins": float64(l.jobPlugins), "live data a job, B": bytes(many),
		"the same with few jobs, B": bytes(few), "few jobs": float64(few.jobs), "resident for all jobs, MiB": many.resident,
	}}, nil
}
