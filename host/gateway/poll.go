package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/jobs"
)

// pollPatience is how long a poll waits for a plugin that is not there before it is answered from memory. A poll that
// waits holds one of the few workers that Flyte polls all its jobs with, those of other plugins too.
const pollPatience = time.Second

// poll answers GetTask. Where the plugin's policy allows for stale answers it never fails: Flyte counts failed polls over
// the whole life of a task, forgives none, and gives up on the sixth.
func (g *Gateway) poll(ctx context.Context, t *trip) (*frame, error) {
	if status, ok := g.thin(t); ok {
		return status, nil
	}
	if t.found.Policy.MaxStale <= 0 || !g.kept.has(masks) {
		if err := g.limits.of(t.found).turn(ctx, t.found); err != nil {
			return nil, err
		}
		return g.pollNow(ctx, ctx, t)
	}
	// The plugin gets less time than the caller has, so that a plugin that hangs leaves time for an answer.
	asking, cancel := justBefore(ctx, 0)
	defer cancel()
	if err := g.limits.of(t.found).turn(asking, t.found); err != nil {
		// Not the plugin's failure, and nothing that could end the job.
		last, _ := g.statuses.Last(t.job)
		return g.stale(ctx, t, last, err)
	}
	answer, err := g.pollNow(ctx, asking, t)
	if err == nil || errors.Is(ctx.Err(), context.Canceled) || !g.kept.has(forgets) && status.Code(err) == codes.NotFound {
		return answer, err
	}
	return g.mask(ctx, t, err)
}

// thin answers a poll from memory where the last answer may stand, or where the plugin's quota leaves nothing else.
func (g *Gateway) thin(t *trip) (*frame, bool) {
	policy := &t.found.Policy
	if policy.MinInterval <= 0 && policy.Rate <= 0 || !g.kept.has(thinned) {
		return nil, false
	}
	last, ok := g.statuses.Last(t.job)
	if !ok {
		return nil, false
	}
	// A quota that is always exhausted must not hide a job's end for ever.
	overQuota := policy.Rate > 0 && (policy.MaxStale <= 0 || last.Age < policy.MaxStale) && !g.limits.of(t.found).available()
	if last.Age >= policy.MinInterval && !overQuota {
		return nil, false
	}
	g.acted(t.found, thinned)
	return remembered(last), true
}

// pollNow asks the plugin, and remembers what it says.
func (g *Gateway) pollNow(ctx, asking context.Context, t *trip) (*frame, error) {
	got, err := g.ask(asking, t)
	if err != nil {
		if got.answered && status.Code(err) == codes.NotFound && g.kept.has(forgets) {
			// A poll answered with an error is repeated until the task is stranded: a job that is gone has failed.
			g.acted(t.found, forgets)
			got.message.set(getAnswer(core.TaskExecution_FAILED,
				fmt.Sprintf("plugin %q does not know this job: %s", t.found.Target.Plugin(), status.Convert(err).Message())))
			g.remember(t, got.message.bytes(), true)
			return deliver(ctx, got), nil
		}
		if !t.masked(g) {
			deliver(ctx, got)
		}
		return nil, err
	}
	settled, acted, ended, err := settleGet(got.message.bytes(), t.found.Target.Plugin(), g.kept)
	if err != nil {
		got.message.free()
		return nil, noAnswer(t, err)
	}
	if acted != 0 {
		got.message.set(settled)
		g.actedAll(t.found, acted)
	}
	g.remember(t, settled, ended)
	return deliver(ctx, got), nil
}

func (t *trip) masked(g *Gateway) bool { return t.found.Policy.MaxStale > 0 && g.kept.has(masks) }

func (g *Gateway) remember(t *trip, answer []byte, ended bool) {
	if t.remembered() {
		g.statuses.Answered(t.job, answer, ended)
	}
}

// mask answers a poll that failed: with what is known, for as long as that may stand; then with the end of the job. An
// end that is known is never taken back.
//
// The time runs from the first failure after the last answer, not from that answer: it may be long ago because nobody
// asked, and that is no reason to end a job.
func (g *Gateway) mask(ctx context.Context, t *trip, failure error) (*frame, error) {
	last := g.statuses.Failed(t.job)
	if last.Ended || last.Failing < t.found.Policy.MaxStale {
		return g.stale(ctx, t, last, failure)
	}
	if !g.kept.has(ends) {
		return nil, failure
	}
	g.acted(t.found, ends)
	g.log.Warn("a job whose plugin could not be asked about it for too long is given up", "plugin", t.found.Target.Plugin(),
		"task_type", t.found.Category.Name, "failing_for", last.Failing, "max_stale", t.found.Policy.MaxStale, "code", status.Code(failure))
	known := "its status was never known"
	if last.Answer != nil {
		known = fmt.Sprintf("its last known status is %v old", rounded(last.Age))
	}
	answer := &frame{}
	answer.set(getAnswer(core.TaskExecution_FAILED, fmt.Sprintf("plugin %q could not be asked about this job for %v, longer than its status.max_stale of %v, and %s: %s",
		t.found.Target.Plugin(), rounded(last.Failing), t.found.Policy.MaxStale, known, reason(failure))))
	return answer, nil
}

// stale answers with what is known, and says why it is no news.
func (g *Gateway) stale(ctx context.Context, t *trip, last jobs.Status, failure error) (*frame, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	g.acted(t.found, masks)
	if last.Ended {
		return remembered(last), nil
	}
	why := fmt.Sprintf("plugin %q could not be asked: %s", t.found.Target.Plugin(), reason(failure))
	answer := &frame{}
	if last.Answer == nil {
		answer.set(getAnswer(core.TaskExecution_RUNNING, "status not known yet; "+why))
		return answer, nil
	}
	message, err := explained(last.Answer, fmt.Sprintf("status of %v ago; %s", rounded(last.Age), why))
	if err != nil {
		return nil, noAnswer(t, err)
	}
	answer.set(message)
	return answer, nil
}

// remembered is an answer as it was.
func remembered(last jobs.Status) *frame {
	return &frame{buffers: mem.BufferSlice{mem.SliceBuffer(last.Answer)}}
}

// maxReason is how much of an error goes into a message, in bytes.
const maxReason = 2 << 10

func reason(err error) string {
	s := status.Convert(err)
	return cut(fmt.Sprintf("%s: %s", s.Code(), s.Message()), maxReason)
}

// rounded is a time for people.
func rounded(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second)
}
