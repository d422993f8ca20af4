package gateway

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/tracing"
	"github.com/agenthost/agenthost/proto/fields"
)

// createWithoutDeadline bounds a creation whose caller set no deadline, since it does not end with its caller.
const createWithoutDeadline = 10 * time.Minute

// create answers CreateTask. All calls for one attempt get the first answer: Flyte asks again when it restarted before it
// had written the answer down, and each job costs its user.
//
// The call to the plugin therefore belongs to the attempt, not to the caller who happened to come first. It has that
// caller's deadline, but does not end when he goes away, not even when nobody is left: by then the plugin may have made
// the job, and only its answer tells how it is called. Whoever comes later finds it in memory.
//
// A plugin that may not be able to make the job now, but will be, gives the caller a record in the place of the job
// (onrecord.go): then the creation belongs to the host, and goes on for as long as it takes.
//
// An attempt is what Flyte names it by (execution, node, task, retry) and where its outputs go, which tells apart the uses
// of one subworkflow and two Flytes whose executions have equal names: the idempotency key. The plugin is no part of it: an
// attempt that was made by one plugin is not made again by the one that has taken over its category since.
func (g *Gateway) create(ctx context.Context, c *routedCall) (*frame, error) {
	if c.info.attempt == "" || !g.enabled.Has(guarantee.CreatesOnce) { // G4
		making, cancel := withWordsTime(ctx)
		defer cancel()
		got, err := g.createNow(making, c)
		c.made = got.named
		return deliver(ctx, got), err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(createWithoutDeadline)
	}
	background := context.WithoutCancel(ctx)
	var own reply // once the creation has ended
	for {
		end := c.request.hold()
		n, begun := g.creates.Begin(c.attemptID(), pendingOf(background, c), func(n *jobs.Creation) jobs.Outcome { // G4
			defer end()
			making := *c
			making.creation = n
			making.trace = c.trace.Work(tracing.MakeJob)
			outcome, got := g.make(background, &making, deadline)
			making.trace.End(outcome.Err)
			outcome.Trace = c.trace.Reference()
			g.noteLate(&making, n, outcome)
			own = reply{header: got.header, trailer: got.trailer}
			return outcome
		})
		if !begun {
			end()
			c.linkTo(n)
		}
		joined := func() {}
		if !begun {
			joined = g.waits.begin(c.route.Target.Plugin(), OnJob)
		}
		answer, err := g.awaitCreation(ctx, c, n)
		joined()
		switch {
		case ctx.Err() != nil:
			return nil, status.FromContextError(ctx.Err()).Err()
		case err == nil && !begun:
			g.record(c, guarantee.CreatesOnce) // G4
			return newFrame(answer), nil
		case err == nil:
			select {
			case <-n.Done():
				own.message = newFrame(answer)
				return deliver(ctx, own), nil
			default:
				return newFrame(answer), nil
			}
		case begun, !isDone(n), !n.Outcome().Harmless:
			return nil, err
		}
		// Nothing can have been made: who waited tries again, one at a time.
	}
}

func isDone(n *jobs.Creation) bool {
	select {
	case <-n.Done():
		return true
	default:
		return false
	}
}

// onRecord says whether somebody has taken a record in the place of the creation's end, or may at any moment.
func onRecord(n *jobs.Creation) bool {
	select {
	case <-n.Offered():
		return true
	default:
		_, accepted := n.Accepted()
		return accepted
	}
}

// awaitCreation waits for a creation's end, until just before the caller's deadline, or for a record to take in its place.
func (g *Gateway) awaitCreation(ctx context.Context, c *routedCall, n *jobs.Creation) ([]byte, error) {
	offering := time.NewTimer(beforeDeadline(ctx))
	defer offering.Stop()
	select {
	case <-n.Done():
	case <-n.Offered():
	case <-ctx.Done():
	case <-offering.C:
		if ctx.Err() == nil { // else nobody is there to take it
			g.offer(c, n)
		}
	}
	if !isDone(n) {
		if meta := n.Accept(time.Now()); meta != nil && ctx.Err() == nil {
			g.record(c, guarantee.OnRecord) // G15
			return fields.Append(nil, createdMeta, meta), nil
		}
		if !endsInTime(ctx, n) {
			g.leave(n, c)
			return nil, tooLate(c, n)
		}
	}
	outcome := n.Outcome()
	if ctx.Err() != nil {
		g.leave(n, c)
	} else {
		n.Claim()
	}
	refused := refusal{}
	switch {
	case errors.As(outcome.Err, &refused):
		return nil, refused.error
	case errors.Is(outcome.Err, jobs.ErrAbandoned):
		_, why := g.endOf(c, outcome.Err)
		return nil, status.Error(codes.Aborted, why)
	}
	c.made = outcome.Name
	return outcome.Answer, outcome.Err
}

// endsInTime waits for a creation's end, and says whether it came while there was enough time left to tell the caller why there is
// no answer.
func endsInTime(ctx context.Context, n *jobs.Creation) bool {
	var lastMoment <-chan time.Time // never, where there is no deadline
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		timer := time.NewTimer(left - wordsTime(left))
		defer timer.Stop()
		lastMoment = timer.C
	}
	select {
	case <-n.Done():
		return true
	case <-lastMoment:
	case <-ctx.Done():
	}
	return false
}

// tooLate is what a caller hears whose deadline comes before the answer.
func tooLate(c *routedCall, n *jobs.Creation) error {
	if waits := n.Waits(); waits != "" {
		return status.Errorf(codes.Unavailable, "the job of this %s task was not made in time: %s", c.route.Category, waits)
	}
	if trouble, ok := silent(c.route.Target); ok {
		return status.Errorf(codes.DeadlineExceeded, "%s; it did not answer CreateTask for %s in time", trouble.Reason, c.route.Category)
	}
	return status.Errorf(codes.DeadlineExceeded, "%s did not answer CreateTask for %s in time", c.describePlugin(), c.route.Category)
}

// make has the plugin make the job of an attempt, and says how that ended.
func (g *Gateway) make(ctx context.Context, c *routedCall, deadline time.Time) (jobs.Outcome, reply) {
	record, accept := g.mayRecord(c), g.mayAccept(c)
	unlessAccepted := deadline
	if !record && !accept {
		unlessAccepted = time.Time{} // it ends by its deadline
	}
	detached, end, err := g.detach(ctx, c.creation, unlessAccepted)
	if err != nil {
		return jobs.Outcome{Err: err, Harmless: true}, reply{}
	}
	defer end()
	switch {
	case record:
		return g.onRecord(detached, c)
	case accept:
		return g.makeLocal(detached, c, deadline)
	}
	bounded, cancel := context.WithDeadline(detached, deadline)
	defer cancel()
	if c.route.Sync {
		return g.makeSync(bounded, c), reply{}
	}
	got, err := g.createNow(bounded, c)
	if err != nil {
		return notMade(c, got, err), got
	}
	outcome := g.made(c, got)
	got.message.free()
	return outcome, got
}

// notMade is the outcome of a creation that failed. What an idempotent plugin may have made, it will find again; another one would
// make it again. What killed the plugin is not sent again in either case.
func notMade(c *routedCall, got reply, err error) jobs.Outcome {
	if errors.Is(err, errUnnamed) {
		return jobs.Outcome{Err: err, Unknown: true}
	}
	lost := got.sent && !got.answered
	again := c.route.IdempotentCreate && !errors.Is(err, errPoisoned)
	return jobs.Outcome{Err: err, Harmless: !got.sent || lost && again, Unknown: lost && !again} // G4
}

// made is the outcome of a creation that the plugin has answered.
func (g *Gateway) made(c *routedCall, got reply) jobs.Outcome {
	message := got.message.keep()
	meta, _, err := fields.Take(message, createdMeta)
	if err != nil {
		return jobs.Outcome{Err: noAnswer(c, err)}
	}
	outcome := jobs.Outcome{Made: jobs.Made{Answer: message, Meta: meta, Name: got.named, Job: c.creationID(got.named)}}
	if got.meta != nil {
		outcome.Meta = got.meta
	}
	if got.pinned {
		outcome.Generation = got.generation
	}
	return outcome
}

// createNow has the plugin make the job.
func (g *Gateway) createNow(ctx context.Context, c *routedCall) (reply, error) {
	limit := g.limits.of(c.route)
	passed := g.limiting(c, limit)
	release, err := limit.acquireSlot(ctx, c)
	if err == nil {
		defer release()
		err = limit.acquireRate(ctx, c, 0)
	}
	passed()
	if err != nil {
		return reply{}, err
	}
	got, err := g.askUntold(ctx, c)
	var message, meta []byte
	if err == nil {
		message = got.message.bytes()
		if meta, _, err = fields.Take(message, createdMeta); err != nil {
			got.came.fault()
			err = noAnswer(c, err)
		}
	}
	got.came.tell()
	if tooLarge(err) {
		return got, g.unnamed(ctx, c)
	}
	if err != nil {
		return got, err
	}
	got.pinned = (c.route.Pinned || got.pin) && g.enabled.Has(guarantee.Pinning)
	// A meta that looks like an envelope is put into one, so that what the plugin gets back is what it gave: it may be a
	// host itself.
	if got.pinned || record.Envelope(meta) { // G11
		got.meta = append([]byte{}, meta...)
		meta = envelope{plugin: c.route.Target.Plugin(), generation: got.generation, meta: meta}.seal(g.keys()) // G11
		if message, err = fields.Set(message, createdMeta, meta); err != nil {
			return got, noAnswer(c, err)
		}
		got.message.set(message)
	}
	got.named = jobs.MetaOf(meta)
	if c.remembersStatus() {
		g.statuses.Forget(c.statusID(got.named)) // of an earlier job that had this name
		g.statuses.Forget(c.statusIDWith("", got.named))
	}
	return got, nil
}

// unnamed sees to a job whose name was too long to be read: nobody can poll it. Whoever asks for the attempt again is told the same,
// and no second job is made; the job is given up where the plugin finds it by its key, and told of where it does not.
func (g *Gateway) unnamed(ctx context.Context, c *routedCall) error {
	failure := &unnamedError{status.New(codes.Aborted, c.overlong()+": its job cannot be polled")}
	about := []any{"plugin", c.route.Target.Plugin(), "task_type", c.route.Category.Name, "execution", c.info.execution, "node", c.info.node}
	if !findable(c.route) {
		c.logTo(g.log).Error("a job may go on that nobody can poll or delete: the answer to its CreateTask was too large to be read", about...)
		return failure
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orphanTimeout)
	defer cancel()
	if err := g.abandon(ctx, c); err != nil {
		c.logTo(g.log).Error("a job may go on that nobody can poll or delete: the answer to its CreateTask was too large to be read, and it could not be given up", append(about, "error", err)...)
		return failure
	}
	c.logTo(g.log).Warn("a job is given up: the answer to its CreateTask was too large to be read", about...)
	return failure
}

// errUnnamed is how such a creation ends.
var errUnnamed = errors.New("its job has no name")

type unnamedError struct{ status *status.Status }

func (e *unnamedError) Error() string              { return e.status.Message() }
func (e *unnamedError) GRPCStatus() *status.Status { return e.status }
func (e *unnamedError) Is(target error) bool       { return target == errUnnamed }

// detach makes the context of a creation that does not end with its caller, but with the gateway, and by a deadline (zero: none)
// unless somebody has accepted a record of it by then.
func (g *Gateway) detach(caller context.Context, n *jobs.Creation, deadline time.Time) (ctx context.Context, end func(), err error) {
	g.closing.Lock()
	defer g.closing.Unlock()
	if g.ctx.Err() != nil {
		return nil, nil, errStopping
	}
	g.detached.Add(1)
	ctx, cancel := context.WithCancelCause(caller)
	stop := context.AfterFunc(g.ctx, func() { cancel(errStopping) })
	n.OnStop(cancel)
	if !deadline.IsZero() {
		expiry := time.AfterFunc(time.Until(deadline), func() {
			if _, accepted := n.Accepted(); !accepted {
				cancel(context.DeadlineExceeded)
			}
		})
		afterG := stop
		stop = func() bool { expiry.Stop(); return afterG() }
	}
	return ctx, func() {
		stop()
		cancel(nil)
		g.detached.Done()
	}, nil
}

var errStopping = status.Error(codes.Unavailable, "the host is stopping")

// noAnswer is an answer that is none.
func noAnswer(c *routedCall, err error) error {
	return status.Errorf(codes.Internal, "plugin %q gave an answer to %s for %s that cannot be passed on: %v", c.route.Target.Plugin(), c.method.name, c.route.Category, err)
}
