package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/proto/agentclient"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// drainChecks are about the word that the process is being replaced, on a process of their own.
func drainChecks() []*Check {
	return []*Check{
		{
			Name:   "drain/answers",
			Reason: "the host says so once when it begins to drain a process, and waits for the answer for a second at most",
			Advice: "answer PluginService/Drain at once, and hand over what you do besides calls meanwhile; or do not serve it",
			run: onDrain(func(seen *drained) (string, error) {
				return fmt.Sprintf("after %v", seen.took.Round(time.Millisecond)), seen.answered
			}),
		},
		{
			Name:   "drain/calls",
			Reason: "a call that was begun before Drain may arrive after it, and costs somebody an attempt where it is refused",
			Advice: "go on as before after Drain: it is Shutdown that ends calls and the process",
			run: onDrain(func(seen *drained) (string, error) {
				return fmt.Sprintf("%d calls across it and after it", seen.called), seen.calls
			}),
		},
		{
			Name:   "drain/shutdown",
			Reason: "Shutdown follows when the calls under way have ended: a process that has stopped its server, or waits for itself, is killed",
			Advice: "leave the server of plugin.GRPCController running, and end on Shutdown as without Drain",
			run: onDrain(func(seen *drained) (string, error) {
				return fmt.Sprintf("it ended after %v", seen.endTook.Round(time.Millisecond)), seen.end
			}),
		},
	}
}

// onDrain is a check that looks at what came of the one Drain, where it is served.
func onDrain(look func(*drained) (string, error)) func(context.Context, *kit) (string, error) {
	return func(ctx context.Context, k *kit) (string, error) {
		seen, err := k.drain(ctx)
		if err != nil {
			return "", err
		}
		if seen.unserved() {
			return "", seen.answered
		}
		return look(seen)
	}
}

// drained is what came of a Drain.
type drained struct {
	answered error // why the answer is not as it should be
	took     time.Duration
	calls    error // what was not answered as before
	called   int   // how many calls were made after it
	end      error // why it did not end as it should
	endTook  time.Duration
}

// drain tells a process of its own, under load, that it is being replaced, and then asks it to stop, once: three checks look at what
// comes of it.
func (k *kit) drain(ctx context.Context) (*drained, error) {
	if k.drainSeen != nil {
		return k.drainSeen, nil
	}
	if end, err := k.stop(ctx); err != nil {
		return nil, err
	} else if end.detail == "" {
		return nil, &blocked{"stop/shutdown", end.err}
	}
	i, err := k.fresh(ctx, k.asTheHost())
	if err != nil {
		return nil, err
	}
	defer i.kill()
	seen := &drained{}
	if err := k.drainUnderLoad(ctx, i, seen); err != nil {
		return nil, err
	}
	if seen.unserved() {
		k.drainSeen = seen
		return seen, nil
	}
	if seen.calls == nil {
		seen.calls = k.jobAfterDrain(ctx, i)
	}
	if i.diedUnasked(true) { // one that ends itself may take a moment
		seen.calls = failed("after Drain, and before Shutdown, it %s", i.obituary())
		seen.end = &blocked{"drain/calls", seen.calls}
	} else {
		began := time.Now()
		if seen.end = k.askToStop(ctx, i); seen.end == nil && !i.awaitEnd(ctx, k.options.StopTimeout) {
			seen.end = failed("after Drain it still runs %v after Shutdown", k.options.StopTimeout)
		}
		seen.endTook = time.Since(began)
	}
	if ctx.Err() == nil {
		k.drainSeen = seen
	}
	return seen, nil
}

// drainUnderLoad makes calls before Drain, across it and after it, and sees whether each that gets something gets what one got before.
func (k *kit) drainUnderLoad(ctx context.Context, i *instance, seen *drained) error {
	l, err := k.loadOn(ctx, i)
	if err != nil {
		return err
	}
	before, across, after := newTally(), newTally(), newTally()
	k.callAll(ctx, l, before)
	if err := before.lost(); err != nil {
		return failed("of the calls before Drain, %v", err)
	}
	stop := k.keepCalling(ctx, l, across)
	seen.took, seen.answered = k.tellDrain(ctx, i)
	stop()
	if seen.unserved() {
		return nil
	}
	k.callAll(ctx, l, after)
	seen.called = across.total() + after.total()
	seen.calls = errors.Join(across.beyond(before, "under way at Drain"), after.beyond(before, "made after Drain"))
	return nil
}

// tellDrain says that the process is being replaced, in the time that the host gives it.
func (k *kit) tellDrain(ctx context.Context, i *instance) (took time.Duration, wrong error) {
	telling, cancel := k.call(ctx)
	defer cancel()
	began := time.Now()
	_, err := pluginv1.NewPluginServiceClient(i.conn).Drain(telling, &pluginv1.DrainRequest{Timeout: durationpb.New(config.DefaultPlugin().DrainTimeout)})
	took = time.Since(began)
	switch {
	case status.Code(err) == codes.Unimplemented:
		return took, skipped("it serves no Drain, which is optional")
	case status.Code(err) == codes.DeadlineExceeded:
		return took, warned("it has not answered after %v; the host goes on after %v", took.Round(time.Millisecond), plugin.DrainWait)
	case err != nil:
		return took, failed("Drain fails: %s", describeError(err))
	case took > plugin.DrainWait:
		return took, warned("it answers after %v; the host goes on after %v", took.Round(time.Millisecond), plugin.DrainWait)
	}
	return took, nil
}

// unserved says that there is no Drain to look at.
func (d *drained) unserved() bool {
	var found *finding
	return errors.As(d.answered, &found) && found.status == Skipped
}

// jobAfterDrain makes a sample's call or job after Drain. How the job goes on is for the next process to see.
func (k *kit) jobAfterDrain(ctx context.Context, i *instance) error {
	for _, isSync := range []bool{false, true} {
		samples, err := k.samplesOf(ctx, isSync)
		if err != nil || k.failedBefore("tasks/completes") || k.failedBefore("sync/") {
			continue // there is none, or it fails without Drain
		}
		request, err := k.request(samples[0])
		if err != nil {
			return err
		}
		if isSync {
			calling, cancel := k.call(ctx)
			_, err := callerOn(i.conn).sync(calling, request)
			cancel()
			if err != nil {
				return failed("%s: ExecuteTaskSync after Drain fails: %s", samples[0].name, describeError(err))
			}
			continue
		}
		meta, err := k.createJob(ctx, callerOn(i.conn), request)
		if err != nil {
			return failed("%s: CreateTask after Drain fails: %s", samples[0].name, describeError(err))
		}
		if err := k.deleteJob(ctx, i, samples[0], agentclient.Job{Category: samples[0].category(), Meta: meta}, "DeleteTask after Drain"); err != nil {
			return err
		}
	}
	return nil
}
