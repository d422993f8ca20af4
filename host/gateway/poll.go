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

// pollMaxWait is how long a poll waits for a plugin that is not there, or for the rate limit, before it is answered from
// memory. A poll that
// waits holds one of the few workers that Flyte polls all its jobs with, those of other plugins too.
const pollMaxWait = time.Second

// poll answers GetTask. Where the plugin's policy allows for stale answers it never fails: Flyte counts failed polls over
// the whole life of a task, forgives none, and gives up on the sixth.
func (g *Gateway) poll(ctx context.Context, c *routedCall) (*frame, error) {
	if interval := c.route.Policy.MinInterval; interval > 0 && g.enabled.Has(guarantee.ThinnedPolls) {
		if last, ok := g.statuses.Last(c.job); ok && last.Age < interval {
			g.record(c.route, guarantee.ThinnedPolls)
			return remembered(last), nil
		}
	}
	if answer, err := g.pollTurn(ctx, c); answer != nil || err != nil {
		return answer, err
	}
	if c.masked(g) && !g.polls.Begin(c.job) {
		last, _ := g.statuses.Last(c.job)
		return g.stale(ctx, c, last, errCrowded) // not the plugin's failure
	}
	answer, err := g.pollNow(ctx, c)
	if c.masked(g) {
		g.polls.End(c.job, err == nil)
	}
	switch {
	case err == nil || !c.masked(g) || errors.Is(ctx.Err(), context.Canceled):
		return answer, err
	case status.Code(err) == codes.NotFound: // an answer, which it is another guarantee's to put right
		return nil, err
	}
	return g.mask(ctx, c, err)
}

// errCrowded is why a poll is not passed on.
var errCrowded = status.Error(codes.ResourceExhausted, "earlier polls of this job are under way, and none of them was answered for a second")

// pollTurn waits for the poll's turn under the plugin's quota. Where that takes long, for the age of what is known, it
// answers from memory: then the poll is over. The older the status, the longer a poll waits for a new one, so that polls
// that come all at once use up the quota, and no job is left behind.
func (g *Gateway) pollTurn(ctx context.Context, c *routedCall) (*frame, error) {
	limit := g.limits.of(c.route)
	if limit.rate == nil {
		return nil, nil
	}
	last, ok := g.statuses.Last(c.job)
	maxWait, maxStale := time.Duration(0), c.route.Policy.MaxStale
	if ok && g.enabled.Has(guarantee.ThinnedPolls) && (maxStale <= 0 || last.Age < maxStale) {
		maxWait = max(pollMaxWait, last.Age/10)
	}
	asking, cancel := g.asking(ctx, c)
	defer cancel()
	err := limit.acquireRate(asking, c.route, maxWait)
	switch {
	case err == nil:
		return nil, nil
	case maxWait > 0 && ctx.Err() == nil:
		g.record(c.route, guarantee.ThinnedPolls)
		return remembered(last), nil
	case c.masked(g): // not the plugin's failure, and nothing that could end the job
		return g.stale(ctx, c, last, err)
	}
	return nil, err
}

// pollNow asks the plugin, and remembers what it says.
func (g *Gateway) pollNow(ctx context.Context, c *routedCall) (*frame, error) {
	got, err := g.askShortly(ctx, c)
	if errors.Is(err, lane.ErrNotTaken) {
		asking, cancel := g.asking(ctx, c)
		defer cancel()
		got, err = g.ask(asking, c)
	}
	if err != nil {
		if got.answered && status.Code(err) == codes.NotFound && g.enabled.Has(guarantee.UnknownJobs) {
			// A poll answered with an error is repeated until the task is stranded: a job that is gone has failed.
			g.record(c.route, guarantee.UnknownJobs)
			got.message.set(getAnswer(core.TaskExecution_FAILED,
				fmt.Sprintf("plugin %q does not know this job: %s", c.route.Target.Plugin(), status.Convert(err).Message())))
			g.remember(c, got.message.bytes(), true)
			return deliver(ctx, got), nil
		}
		if !c.masked(g) {
			deliver(ctx, got)
		}
		return nil, err
	}
	settled, applied, ended, err := normalizeGet(got.message.bytes(), c.route.Target.Plugin(), g.enabled)
	if err != nil {
		got.message.free()
		return nil, noAnswer(c, err)
	}
	if applied != 0 {
		got.message.set(settled)
		g.recordAll(c.route, applied)
	}
	g.remember(c, settled, ended)
	return deliver(ctx, got), nil
}

// asking is for asking a plugin: where there is an answer from memory it gets less time than the caller has, so that a
// plugin that hangs leaves time for that.
func (g *Gateway) asking(ctx context.Context, c *routedCall) (context.Context, context.CancelFunc) {
	if c.masked(g) {
		return justBefore(ctx, 0)
	}
	return ctx, func() {}
}

// askShortly asks by the short way, if there is an instance that has one.
func (g *Gateway) askShortly(ctx context.Context, c *routedCall) (reply, error) {
	lease, ok := c.route.Target.TryAcquire(c.want)
	if !ok {
		return reply{}, lane.ErrNotTaken
	}
	defer lease.Release()
	if lease.Polls == nil {
		return reply{}, lane.ErrNotTaken
	}
	var until time.Time
	if c.masked(g) {
		until = time.Now().Add(beforeDeadline(ctx))
	}
	answer, err := lease.Polls.Call(ctx, until, c.request.bytes())
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

func (c *routedCall) masked(g *Gateway) bool {
	return c.route.Policy.MaxStale > 0 && g.enabled.Has(guarantee.LastKnownStatus)
}

func (g *Gateway) remember(c *routedCall, answer []byte, ended bool) {
	if c.remembersStatus() {
		g.statuses.Answered(c.job, answer, ended)
	}
}

// mask answers a poll that failed: with what is known, for as long as that may stand; then with the end of the job. An
// end that is known is never taken back.
//
// The time runs from the first failure after the last answer, not from that answer: it may be long ago because nobody
// asked, and that is no reason to end a job.
func (g *Gateway) mask(ctx context.Context, c *routedCall, failure error) (*frame, error) {
	last := g.statuses.Failed(c.job)
	if last.Ended || last.Failing < c.route.Policy.MaxStale {
		return g.stale(ctx, c, last, failure)
	}
	if !g.enabled.Has(guarantee.EndsUnreachable) {
		return nil, failure
	}
	g.record(c.route, guarantee.EndsUnreachable)
	g.log.Warn("a job whose plugin could not be asked about it for too long is given up", "plugin", c.route.Target.Plugin(),
		"task_type", c.route.Category.Name, "failing_for", last.Failing, "max_stale", c.route.Policy.MaxStale, "code", status.Code(failure))
	known := "its status was never known"
	if last.Answer != nil {
		known = fmt.Sprintf("its last known status is %v old", rounded(last.Age))
	}
	answer := &frame{}
	answer.set(getAnswer(core.TaskExecution_FAILED, fmt.Sprintf("%s could not be asked about this job for %v, longer than the status.max_stale of %v, and %s: %s",
		c.describePlugin(), rounded(last.Failing), c.route.Policy.MaxStale, known, reason(failure))))
	return answer, nil
}

// stale answers with what is known, and says why it is no news.
func (g *Gateway) stale(ctx context.Context, c *routedCall, last jobs.Status, failure error) (*frame, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	g.record(c.route, guarantee.LastKnownStatus)
	if last.Ended {
		return remembered(last), nil
	}
	why := fmt.Sprintf("%s could not be asked: %s", c.describePlugin(), reason(failure))
	answer := &frame{}
	if last.Answer == nil {
		answer.set(getAnswer(core.TaskExecution_RUNNING, "status not known yet; "+why))
		return answer, nil
	}
	message, err := explained(last.Answer, fmt.Sprintf("status of %v ago; %s", rounded(last.Age), why))
	if err != nil {
		return nil, noAnswer(c, err)
	}
	answer.set(message)
	return answer, nil
}

// remembered is an answer as it was.
func remembered(last jobs.Status) *frame {
	return &frame{buffers: mem.BufferSlice{mem.SliceBuffer(last.Answer)}}
}

// describePlugin names the plugin of a call, for messages.
func (c *routedCall) describePlugin() string {
	if c.route.Target.Plugin() == "" {
		return "a plugin"
	}
	return fmt.Sprintf("plugin %q", c.route.Target.Plugin())
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
