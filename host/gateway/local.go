package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/record"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/proto/fields"
)

// A plugin that cannot find its jobs would make a second one where nobody knows whether it has made the first. The host accepts
// its tasks for itself alone, and only while they were provably never sent, or the plugin makes one job however often they are:
// what it means to do is on the disk before it does it (record.Intents). Its successor with the same state directory goes on;
// other hosts can do nothing for such a task.

// errUnsure is how a creation ends of which nobody knows whether it made a job.
var errUnsure = errors.New("nobody knows whether it has made one: its answer to CreateTask was lost")

// mayAccept says whether the creation can be accepted for this host alone.
func (g *Gateway) mayAccept(c *routedCall) bool {
	creation := g.creation.Load()
	return creation.OnRecord && creation.Local && g.intents != nil && g.enabled.Has(guarantee.OnRecord) && // G15
		c.info.attempt != "" && !c.route.Sync && g.keys() != nil
}

// localCreation is the intent of a creation that this host alone can make good.
type localCreation struct {
	gateway *Gateway
	call    *routedCall
	id      string

	mu            sync.Mutex
	record        []byte
	offered, sent bool
	stopped       bool // it must not be sent any more
}

func (g *Gateway) newLocal(c *routedCall) *localCreation {
	return &localCreation{gateway: g, call: c, id: hex.EncodeToString(c.creation.ID[:])}
}

// offer accepts the task, unless it was sent to a plugin that must not get it twice.
func (l *localCreation) offer() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.offered || l.stopped || l.sent && !l.call.route.IdempotentCreate {
		return l.offered
	}
	stage := record.Accepted
	if l.sent {
		stage = record.Sent
	}
	g, c := l.gateway, l.call
	if len(c.request.bytes()) > maxRecorded {
		return false
	}
	request, err := withoutConnection(c.request.bytes())
	if err != nil {
		return false
	}
	r := record.Record{Plugin: c.route.Target.Plugin(), Accepted: time.Now(), Trace: c.trace.Reference()}
	envelope := r
	envelope.Host, envelope.Intent = g.intents.Host(), l.id
	r.Request = request
	l.record = r.Seal(g.keys())
	sealed := envelope.Seal(g.keys())
	if !g.budget.take(c.execution(), c.creation.ID, len(sealed), g.creation.Load().RecordMaxPerExecution) {
		return false
	}
	if err := l.put(record.Intent{Stage: stage}); err != nil {
		g.log.Error("a task cannot be accepted", "plugin", c.route.Target.Plugin(), "error", err)
		g.budget.release(c.execution(), c.creation.ID)
		return false
	}
	l.offered = true
	c.creation.Offer(sealed)
	return true
}

func (l *localCreation) put(intent record.Intent) error {
	intent.Record = l.record
	return l.gateway.intents.Put(l.id, intent)
}

// sending notes that the task is about to be sent. Where that cannot be noted it must not be.
func (l *localCreation) sending() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return status.FromContextError(context.Canceled).Err()
	}
	l.sent = true
	if !l.offered {
		return nil
	}
	if err := l.put(record.Intent{Stage: record.Sent}); err != nil {
		l.sent = false
		return status.Errorf(codes.Unavailable, "the host cannot note that it begins a task: %v", err)
	}
	return nil
}

// notSent takes sending back.
func (l *localCreation) notSent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = false
	if l.offered {
		_ = l.put(record.Intent{Stage: record.Accepted}) // if that fails, it counts as sent: the task ends, and makes no second job
	}
}

// isOffered says whether the task is accepted, or may be at any moment.
func (l *localCreation) isOffered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offered
}

// done notes how the creation ended.
func (l *localCreation) done(outcome jobs.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.offered || l.stopped {
		return
	}
	if _, accepted := l.call.creation.Accepted(); !accepted { // somebody was answered, or nobody is there
		l.gateway.forgetIntent(l.id)
		return
	}
	intent := record.Intent{Stage: record.Done, Meta: outcome.Meta, Generation: outcome.Generation}
	switch {
	case errors.Is(outcome.Err, errUnsure):
		return // as its file says
	case outcome.Err != nil && outcome.Harmless:
		return // another host goes on, or a later poll
	case outcome.Err != nil:
		intent.End = resourceOf(l.gateway.endOf(l.call, outcome.Err))
	}
	if err := l.put(intent); err != nil {
		l.gateway.log.Error("a job that this host alone knows of is not on the disk", "plugin", l.call.route.Target.Plugin(), "error", err)
	}
}

// makeLocal makes the job of an attempt whose plugin cannot find it: within its caller's deadline or, once the task is accepted,
// however long it takes until it can be sent. It is sent once, unless the plugin makes one job however often it is.
func (g *Gateway) makeLocal(ctx context.Context, c *routedCall, deadline time.Time) (outcome jobs.Outcome, got reply) {
	if c.local == nil {
		c.local = g.newLocal(c)
	}
	c.creation.Attach(c.local)
	defer func() { c.local.done(outcome) }()
	if _, accepted := c.creation.Accepted(); accepted {
		deadline = time.Time{}
	}
	pause := backoff.ExponentialBackOff{InitialInterval: 250 * time.Millisecond, Multiplier: 2, MaxInterval: 5 * time.Second}
	pause.Reset()
	for {
		changed := g.routes.Changed()
		if g.overdue(c.creation) {
			return jobs.Outcome{Err: g.waitedTooLong(c)}, reply{}
		}
		limited, cancel := context.WithTimeout(ctx, g.creation.Load().Timeout)
		if !deadline.IsZero() {
			cancel()
			limited, cancel = context.WithDeadline(ctx, deadline)
		}
		got, err := g.createNow(limited, c)
		cancel()
		lost := got.sent && !got.answered
		switch {
		case err == nil:
			outcome := g.made(c, got)
			got.message.free()
			return outcome, got
		case errors.Is(err, errPoisoned), errors.Is(err, errUnnamed):
			return jobs.Outcome{Err: err, Unknown: true}, got
		case !c.local.isOffered():
			return notMade(c, got, err), got
		case ctx.Err() != nil && !lost:
			return g.cutOff(ctx, err, got), got
		case lost && !c.route.IdempotentCreate:
			return jobs.Outcome{Err: errUnsure}, got
		case got.answered:
			return jobs.Outcome{Err: refusal{err}}, got
		}
		deadline = time.Time{}
		c.creation.Wait(reason(err))
		paused := g.waits.begin(c.route.Target.Plugin(), OnRetry)
		select {
		case <-time.After(pause.NextBackOff()):
		case <-changed:
		case <-ctx.Done():
			paused()
			return g.cutOff(ctx, context.Cause(ctx), reply{}), reply{}
		}
		paused()
		g.reroute(c)
	}
}

// waitedTooLong is the end of a task that has no job.
func (g *Gateway) waitedTooLong(c *routedCall) error {
	waited := c.creation.Waits()
	if waited == "" {
		waited = "nothing is known of why"
	}
	return fmt.Errorf("%w, %v: %s", errOverdue, g.creation.Load().MaxWait, waited)
}

// beginLocal finds the creation of a task that one host alone can make good, and goes on with it where that is this one. The
// error is errElsewhere where it is not.
func (g *Gateway) beginLocal(ctx context.Context, c *routedCall) (*jobs.Creation, error) {
	var id jobs.ID
	if decoded, err := hex.DecodeString(c.record.Intent); err != nil || len(decoded) != len(id) || copy(id[:], decoded) != len(id) {
		return nil, status.Errorf(codes.Internal, "the record of a task does not name it: %q", c.record.Intent)
	}
	if n := g.creates.Lookup(id); n != nil {
		c.linkTo(n)
		return n, nil
	}
	if g.intents == nil {
		return nil, errElsewhere
	}
	intent, err := g.intents.Get(c.record.Intent)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errElsewhere
	case err != nil:
		return nil, status.Errorf(codes.Unavailable, "what the host has accepted cannot be read: %v", err)
	}
	making, err := g.callOfIntent(ctx, c, intent)
	if err != nil {
		return nil, err
	}
	asked := *making
	n, _ := g.creates.Begin(id, pendingOf(making.background, &asked), func(n *jobs.Creation) jobs.Outcome {
		making.creation = n
		n.AcceptedAt(c.record.Accepted)
		switch {
		case intent.End != nil:
			return jobs.Outcome{Made: jobs.Made{End: intent.End}}
		case intent.Stage >= record.Done:
			return jobs.Outcome{Made: jobs.Made{Meta: intent.Meta, Generation: intent.Generation, Job: making.creationID(jobs.MetaOf(intent.Meta))}}
		case intent.Stage == record.Sent && !making.route.IdempotentCreate:
			return jobs.Outcome{Err: errUnsure}
		}
		detached, end, err := g.detach(making.background, n, time.Time{})
		if err != nil {
			return jobs.Outcome{Err: err, Harmless: true}
		}
		defer end()
		n.Wait("it was accepted by an earlier host, and has no job yet")
		making.trace = g.tracer.Resume(making.trace, c.record.Trace)
		making.local = &localCreation{gateway: g, call: making, id: c.record.Intent, record: intent.Record, offered: true, sent: intent.Stage == record.Sent}
		outcome, _ := g.makeLocal(detached, making, time.Time{})
		making.trace.End(outcome.Err)
		g.noteLate(making, n, outcome)
		return outcome
	})
	return n, nil
}

// errElsewhere says that another host has accepted the task, and that nothing is known of it here.
var errElsewhere = errors.New("it was accepted by another host, which alone can make its job")

// callOfIntent is callOf for a task whose request is in its intent.
func (g *Gateway) callOfIntent(ctx context.Context, c *routedCall, intent record.Intent) (*routedCall, error) {
	opened, err := record.Open(g.keys(), intent.Record)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "what the host has accepted cannot be read: %v", err)
	}
	about := *c
	about.record = &opened
	return g.callOf(ctx, &about)
}

// deleteLocal answers DeleteTask for such a task.
func (g *Gateway) deleteLocal(ctx context.Context, c *routedCall) (reply, error) {
	n, err := g.beginLocal(ctx, c)
	switch {
	case errors.Is(err, errElsewhere):
		if time.Since(c.record.Accepted) > g.creation.Load().MaxWait {
			return reply{message: &frame{}}, nil // it has ended RETRYABLE_FAILED, or will
		}
		return reply{}, status.Errorf(codes.Unavailable, "the task cannot be deleted here: %v", err)
	case err != nil:
		return reply{}, err
	}
	if !isDone(n) && g.stopUnsent(n) {
		return reply{message: &frame{}}, nil
	}
	select { // it is being sent: only its answer tells how the job is called
	case <-n.Done():
	case <-ctx.Done():
		return reply{}, status.Errorf(codes.Unavailable, "the task's job is just being made by %s", c.describePlugin())
	}
	outcome := n.Outcome()
	switch {
	case outcome.Err != nil && outcome.Harmless:
		return reply{}, outcome.Err
	case errors.Is(outcome.Err, errUnsure):
		c.logTo(g.log).Warn("a task is deleted of which nobody knows whether it has a job: if it has, that goes on", "plugin", c.route.Target.Plugin(), "task_type", c.info.category.Name)
		fallthrough
	case outcome.Err != nil, outcome.End != nil:
		g.creates.Abandon(n.ID)
		g.forgetIntent(c.record.Intent)
		return reply{message: &frame{}}, nil //nolint:nilerr // what has no job is deleted
	}
	deleting := *c
	deleting.record = nil
	deleting.want.Generation = outcome.Generation
	message, err := fields.Set(c.request.bytes(), jobMeta, outcome.Meta)
	if err != nil {
		return reply{}, err
	}
	deleting.request = newFrame(slices.Clone(message))
	got, err := g.ask(ctx, &deleting)
	if err == nil || got.answered && status.Code(err) == codes.NotFound {
		g.creates.Abandon(n.ID)
		g.forgetIntent(c.record.Intent)
	}
	return got, err
}

// stopUnsent gives a creation up that this host alone can make good and has not sent, and says whether that is so.
func (g *Gateway) stopUnsent(n *jobs.Creation) bool {
	local, ok := n.Attached().(*localCreation)
	if !ok {
		return false
	}
	local.mu.Lock()
	defer local.mu.Unlock()
	if local.sent {
		return false
	}
	local.stopped = true
	g.creates.Abandon(n.ID)
	g.forgetIntent(local.id)
	return true
}

func (g *Gateway) forgetIntent(id string) {
	if err := g.intents.Remove(id); err != nil {
		g.log.Warn("the intent of a task stays that is not needed any more", "error", err)
	}
}

// elsewhere is what a poll is told of a task that another host has accepted.
func (g *Gateway) elsewhere(c *routedCall) (answer []byte, ended bool) {
	if time.Since(c.record.Accepted) <= g.creation.Load().MaxWait {
		return getAnswer(core.TaskExecution_QUEUED, "the task is accepted: "+errElsewhere.Error()), false
	}
	return getAnswer(pluginv1.PhaseRetryableFailed, fmt.Sprintf("the host that accepted the task is gone, or has not said within %v what became of it", g.creation.Load().MaxWait)), true
}

// endIntent notes that Flyte has been told the end of a job.
func (g *Gateway) endIntent(r *record.Record) {
	if g.intents == nil {
		return
	}
	intent, err := g.intents.Get(r.Intent)
	if err != nil || intent.Stage == record.Ended {
		return
	}
	intent.Stage = record.Ended
	if err := g.intents.Put(r.Intent, intent); err != nil {
		g.log.Warn("the end of a task is not noted", "error", err)
	}
	if opened, err := record.Open(g.keys(), intent.Record); err == nil {
		g.releaseRoom(&opened)
	}
}
