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

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/lane"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// pollPatience is how long a poll waits for a plugin that is not there, or for its turn, before it is answered from
// memory. A poll that
// waits holds one of the few workers that Flyte polls all its jobs with, those of other plugins too.
const pollPatience = time.Second

// poll answers GetTask. Where the plugin's policy allows for stale answers it never fails: Flyte counts failed polls over
// the whole life of a task, forgives none, and gives up on the sixth.
func (g *Gateway) poll(ctx context.Context, t *trip) (*frame, error) {
	if interval := t.found.Policy.MinInterval; interval > 0 && g.kept.Has(guarantee.ThinnedPolls) {
		if last, ok := g.statuses.Last(t.job); ok && last.Age < interval {
			g.acted(t.found, guarantee.ThinnedPolls)
			return remembered(last), nil
		}
	}
	if answer, err := g.pollTurn(ctx, t); answer != nil || err != nil {
		return answer, err
	}
	if t.masked(g) && !g.polls.Begin(t.job) {
		last, _ := g.statuses.Last(t.job)
		return g.stale(ctx, t, last, errCrowded) // not the plugin's failure
	}
	answer, err := g.pollNow(ctx, t)
	if t.masked(g) {
		g.polls.End(t.job, err == nil)
	}
	switch {
	case err == nil || !t.masked(g) || errors.Is(ctx.Err(), context.Canceled):
		return answer, err
	case status.Code(err) == codes.NotFound: // an answer, which it is another guarantee's to put right
		return nil, err
	}
	return g.mask(ctx, t, err)
}

// errCrowded is why a poll is not passed on.
var errCrowded = status.Error(codes.ResourceExhausted, "earlier polls of this job are under way, and none of them was answered for a second")

// pollTurn waits for the poll's turn under the plugin's quota. Where that takes long, for the age of what is known, it
// answers from memory: then the poll is over. The older the status, the longer a poll waits for a new one, so that polls
// that come all at once use up the quota, and no job is left behind.
func (g *Gateway) pollTurn(ctx context.Context, t *trip) (*frame, error) {
	limit := g.limits.of(t.found)
	if limit.calls == nil {
		return nil, nil
	}
	last, ok := g.statuses.Last(t.job)
	patience, maxStale := time.Duration(0), t.found.Policy.MaxStale
	if ok && g.kept.Has(guarantee.ThinnedPolls) && (maxStale <= 0 || last.Age < maxStale) {
		patience = max(pollPatience, last.Age/10)
	}
	asking, cancel := g.asking(ctx, t)
	defer cancel()
	err := limit.turn(asking, t.found, patience)
	switch {
	case err == nil:
		return nil, nil
	case patience > 0 && ctx.Err() == nil:
		g.acted(t.found, guarantee.ThinnedPolls)
		return remembered(last), nil
	case t.masked(g): // not the plugin's failure, and nothing that could end the job
		return g.stale(ctx, t, last, err)
	}
	return nil, err
}

// pollNow asks the plugin, and remembers what it says.
func (g *Gateway) pollNow(ctx context.Context, t *trip) (*frame, error) {
	got, err := g.askShortly(ctx, t)
	if errors.Is(err, lane.ErrNotTaken) {
		asking, cancel := g.asking(ctx, t)
		defer cancel()
		got, err = g.ask(asking, t)
	}
	if err != nil {
		if got.answered && status.Code(err) == codes.NotFound && g.kept.Has(guarantee.UnknownJobs) {
			// A poll answered with an error is repeated until the task is stranded: a job that is gone has failed.
			g.acted(t.found, guarantee.UnknownJobs)
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

// asking is for asking a plugin: where there is an answer from memory it gets less time than the caller has, so that a
// plugin that hangs leaves time for that.
func (g *Gateway) asking(ctx context.Context, t *trip) (context.Context, context.CancelFunc) {
	if t.masked(g) {
		return justBefore(ctx, 0)
	}
	return ctx, func() {}
}

// askShortly asks by the short way, if there is an instance that has one.
func (g *Gateway) askShortly(ctx context.Context, t *trip) (reply, error) {
	lease, ok := t.found.Target.TryAcquire(t.want)
	if !ok {
		return reply{}, lane.ErrNotTaken
	}
	defer lease.Release()
	if lease.Polls == nil {
		return reply{}, lane.ErrNotTaken
	}
	var until time.Time
	if t.masked(g) {
		until = time.Now().Add(beforeDeadline(ctx))
	}
	answer, err := lease.Polls.Call(ctx, until, t.request.bytes())
	got := reply{message: &frame{}, generation: lease.Generation, pin: lease.Pin, sent: true, answered: answer != nil}
	if answer == nil {
		return got, err
	}
	if len(answer.Trailer.Get(pluginv1.NotTakenTrailer)) > 0 {
		return got, lane.ErrNotTaken
	}
	got.header, got.trailer = answer.Header, answer.Trailer
	got.message.set(answer.Message)
	return got, err
}

func (t *trip) masked(g *Gateway) bool {
	return t.found.Policy.MaxStale > 0 && g.kept.Has(guarantee.LastKnownStatus)
}

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
	if !g.kept.Has(guarantee.EndsUnreachable) {
		return nil, failure
	}
	g.acted(t.found, guarantee.EndsUnreachable)
	g.log.Warn("a job whose plugin could not be asked about it for too long is given up", "plugin", t.found.Target.Plugin(),
		"task_type", t.found.Category.Name, "failing_for", last.Failing, "max_stale", t.found.Policy.MaxStale, "code", status.Code(failure))
	known := "its status was never known"
	if last.Answer != nil {
		known = fmt.Sprintf("its last known status is %v old", rounded(last.Age))
	}
	answer := &frame{}
	answer.set(getAnswer(core.TaskExecution_FAILED, fmt.Sprintf("%s could not be asked about this job for %v, longer than the status.max_stale of %v, and %s: %s",
		t.who(), rounded(last.Failing), t.found.Policy.MaxStale, known, reason(failure))))
	return answer, nil
}

// stale answers with what is known, and says why it is no news.
func (g *Gateway) stale(ctx context.Context, t *trip, last jobs.Status, failure error) (*frame, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	g.acted(t.found, guarantee.LastKnownStatus)
	if last.Ended {
		return remembered(last), nil
	}
	why := fmt.Sprintf("%s could not be asked: %s", t.who(), reason(failure))
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

// who is the plugin of a trip, for people.
func (t *trip) who() string {
	if t.found.Target.Plugin() == "" {
		return "a plugin"
	}
	return fmt.Sprintf("plugin %q", t.found.Target.Plugin())
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
