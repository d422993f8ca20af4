package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/internal/deadline"
	"github.com/agenthost/agenthost/host/jobs"
)

// pollMaxWait is how long a poll waits for a plugin that is not there, or for the rate limit, before it is answered from
// memory. A poll that waits holds one of the few workers that Flyte polls all its jobs with, those of other plugins too.
const pollMaxWait = time.Second

// knownStatus answers GetTask without the plugin, where the job is none, or its last status is fresh; nil otherwise.
func (g *Gateway) knownStatus(c *routedCall) *frame {
	if answer := c.recordedStatus(); answer != nil {
		c.ended = c.record.End != nil
		return newFrame(answer)
	}
	if last, ok := g.freshStatus(c); ok {
		g.record(c, guarantee.ThinnedPolls) // G14
		return newFrame(last.Answer)
	}
	return nil
}

// poll answers GetTask by asking the plugin. Where the plugin's policy allows stale answers it never fails: Flyte counts failed polls over the
// whole life of a task, forgives none, and gives up on the sixth.
func (g *Gateway) poll(ctx context.Context, c *routedCall) (*frame, error) {
	asking, cancel := c.reserveReply(ctx)
	defer cancel()

	// 1. The poll waits until it may be passed on. Where it may not, memory answers.
	if answer, err := g.admit(asking, c); answer != nil || err != nil {
		return answer, err
	}

	// 2. The plugin is asked.
	got, ended, err := g.askStatus(asking, c)
	if c.staleIfError {
		g.polls.End(c.job, err == nil) // which admit has begun
	}

	// 3. What came of it is recorded, and answered: with the last known status where it was an error.
	switch {
	case err == nil:
		c.ended = ended
		if c.remembersStatus() {
			g.remember(c, got.message.bytes(), ended)
		}
		if ended && c.record != nil {
			g.forgetRecord(c.record)
		}
		return deliver(ctx, got), nil
	case !c.staleIfError:
		deliver(ctx, got)
		return nil, err
	case canceled(ctx), status.Code(err) == codes.NotFound: // an answer, which it is another guarantee's to put right
		return nil, err
	}
	c.hidden = err
	last := g.statuses.Failed(c.job, c.failurePause())
	if !last.Ended && last.Failing >= c.route.Policy.MaxStale {
		return g.endJob(c, last, err)
	}
	return g.answerStale(ctx, c, last, err)
}

// remember keeps what the plugin has said of the job. An end answers in the plugin's stead for ever, so it is kept only under a
// name that no other job has.
func (g *Gateway) remember(c *routedCall, answer []byte, ended bool) {
	if ended && !c.named() {
		g.statuses.Forget(c.job)
		return
	}
	g.statuses.Answered(c.job, answer, ended)
}

// failurePause is how far apart two failed polls of one job are at most, where jobs may have one name.
func (c *routedCall) failurePause() time.Duration {
	if c.named() {
		return 0
	}
	return max(5*time.Minute, c.route.Policy.MaxStale/2)
}

// freshStatus is the last status of a job that is younger than the plugin's min_interval.
func (g *Gateway) freshStatus(c *routedCall) (jobs.Status, bool) {
	interval := c.route.Policy.MinInterval
	if interval <= 0 || !g.enabled.Has(guarantee.ThinnedPolls) {
		return jobs.Status{}, false
	}
	last, ok := g.statuses.Last(c.job)
	return last, ok && last.Age < interval
}

// reserveReply is the context for asking the plugin: where memory may answer in its stead it ends just before the caller's
// deadline, so that a plugin that hangs leaves time for that.
func (c *routedCall) reserveReply(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.staleIfError {
		return deadline.With(ctx, time.Now().Add(beforeDeadline(ctx)))
	}
	return withWordsTime(ctx)
}

// admit waits until the rate limit lets the poll pass, and keeps polls of one job from piling up at the plugin. Where it
// returns an answer or an error, the poll is over; none of these is the plugin's failure, and could end the job.
//
// The older the last status, the longer a poll waits for a new one. So polls that come all at once use up the quota, and no
// job is left behind.
func (g *Gateway) admit(ctx context.Context, c *routedCall) (*frame, error) {
	if limit := g.limits.of(c.route); limit.rate != nil {
		last, known := g.statuses.Last(c.job)
		maxWait, maxStale := time.Duration(0), c.route.Policy.MaxStale
		if known && g.enabled.Has(guarantee.ThinnedPolls) && (maxStale <= 0 || last.Age < maxStale) {
			maxWait = max(pollMaxWait, last.Age/10)
		}
		err := limit.acquireRate(ctx, c, maxWait)
		switch {
		case err == nil:
		case maxWait > 0 && !canceled(ctx):
			g.record(c, guarantee.ThinnedPolls) // G14
			return newFrame(last.Answer), nil
		case c.staleIfError:
			return g.answerStale(ctx, c, last, err)
		default:
			return nil, err
		}
	}
	if c.staleIfError && !g.polls.Begin(c.job) {
		last, _ := g.statuses.Last(c.job)
		c.hidden = errCrowded
		return g.answerStale(ctx, c, last, errCrowded)
	}
	return nil, nil
}

// errCrowded is why a poll is not passed on.
var errCrowded = status.Error(codes.ResourceExhausted, "earlier polls of this job are under way, and none of them was answered for a second")

// askStatus asks the plugin, and puts right in its answer what Flyte cannot handle. ended says that the job has ended by it.
func (g *Gateway) askStatus(ctx context.Context, c *routedCall) (got reply, ended bool, err error) {
	if c.record != nil {
		answer, ended, err := g.locate(ctx, c) // G15
		if err != nil || answer != nil {
			return reply{message: newFrame(answer)}, ended, err
		}
	}
	got, err = g.askUntold(ctx, c)
	came := got.came
	defer came.tell()
	switch {
	case err == nil:
	case got.answered && status.Code(err) == codes.NotFound && g.enabled.Has(guarantee.UnknownJobs):
		// A poll answered with an error is repeated until the task is stranded: a job that is gone has failed.
		g.record(c, guarantee.UnknownJobs) // G7
		got.message.set(getAnswer(core.TaskExecution_FAILED,
			fmt.Sprintf("plugin %q does not know this job: %s", c.route.Target.Plugin(), status.Convert(err).Message())))
		return got, true, nil
	case tooLarge(err) && g.enabled.Has(guarantee.SizeLimits):
		// It would be as large at every later poll.
		g.record(c, guarantee.SizeLimits) // G10
		got.message.set(getAnswer(core.TaskExecution_FAILED, c.overlong()+": the agent has to write outputs under output_prefix"))
		return got, true, nil
	default:
		return got, false, err
	}
	answer, err := normalizeGet(got.message.bytes(), c.route.Target.Plugin(), g.enabled)
	if err != nil {
		came.fault()
		got.message.free()
		return reply{}, false, noAnswer(c, err)
	}
	if answer.unfit {
		came.fault()
	}
	if answer.applied != 0 {
		got.message.set(answer.message)
		g.recordAll(c, answer.applied)
	}
	return got, answer.ended, nil
}

// answerStale answers with the last known status, and says why there is no newer one. An end that is known is never taken
// back.
func (g *Gateway) answerStale(ctx context.Context, c *routedCall, last jobs.Status, failure error) (*frame, error) {
	if canceled(ctx) {
		return nil, status.FromContextError(context.Canceled).Err()
	}
	g.record(c, guarantee.LastKnownStatus) // G5
	if last.Ended {
		return newFrame(last.Answer), nil
	}
	why := fmt.Sprintf("%s could not be asked: %s", c.describePlugin(), reason(failure))
	if last.Answer == nil {
		return newFrame(getAnswer(core.TaskExecution_RUNNING, "status not known yet; "+why)), nil
	}
	message, err := explained(last.Answer, fmt.Sprintf("status of %v ago; %s", rounded(last.Age), why))
	if err != nil {
		return nil, noAnswer(c, err)
	}
	return newFrame(message), nil
}

// endJob ends a job that could not be polled for longer than max_stale.
//
// The time runs from the first failure after the last answer, not from that answer: it may be long ago because nobody
// asked, and that is no reason to end a job.
func (g *Gateway) endJob(c *routedCall, last jobs.Status, failure error) (*frame, error) {
	if !g.enabled.Has(guarantee.EndsUnreachable) {
		return nil, failure
	}
	g.record(c, guarantee.EndsUnreachable) // G6
	c.ended = true
	c.logTo(g.log).Warn("a job whose plugin could not be asked about it for too long is given up", "plugin", c.route.Target.Plugin(),
		"task_type", c.route.Category.Name, "failing_for", last.Failing, "max_stale", c.route.Policy.MaxStale, "code", status.Code(failure))
	known := "its status was never known"
	if last.Answer != nil {
		known = "its last known status is older than that"
	}
	return newFrame(getAnswer(core.TaskExecution_FAILED, fmt.Sprintf("%s could not be asked about this job for longer than the status.max_stale of %v, and %s: %s",
		c.describePlugin(), c.route.Policy.MaxStale, known, reason(failure)))), nil
}

// canceled says that the caller has gone.
func canceled(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

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
