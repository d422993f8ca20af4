package gateway

import (
	"bytes"
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
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
// An attempt is what Flyte names it by (execution, node, task, retry) and where its outputs go, which tells apart the uses
// of one subworkflow and two Flytes whose executions have equal names: the idempotency key. The plugin is no part of it: an attempt that was made by one plugin is not made
// again by the one that has taken over its category since.
func (g *Gateway) create(ctx context.Context, c *routedCall) (*frame, error) {
	if c.info.attempt == "" || !g.enabled.Has(guarantee.CreatesOnce) { // G4
		got, err := g.createNow(ctx, c)
		return deliver(ctx, got), err
	}
	attempt := jobs.Identify(c.info.category.Name, c.info.attempt)
	var own reply
	answer, repeated, err := g.creates.Do(ctx, attempt, func() (jobs.Made, bool, error) { // G4
		detached, end, err := g.detach(ctx)
		if err != nil {
			return jobs.Made{}, true, err
		}
		defer end()
		got, err := g.createNow(detached, c)
		own = reply{header: got.header, trailer: got.trailer}
		if err != nil {
			// What an idempotent plugin may have made, it will find again. Another one would make it again.
			lost := got.sent && !got.answered
			return jobs.Made{Unknown: lost && !c.route.IdempotentCreate}, !got.sent || lost && c.route.IdempotentCreate, err // G4
		}
		defer got.message.free()
		message := bytes.Clone(got.message.bytes())
		meta, _, err := fields.Take(message, createdMeta)
		return jobs.Made{Answer: message, Job: c.creationID(meta)}, false, err
	})
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if err == nil && repeated {
		g.record(c.route, guarantee.CreatesOnce) // G4
	}
	own.message = newFrame(answer)
	return deliver(ctx, own), err
}

// createNow has the plugin make the job.
func (g *Gateway) createNow(ctx context.Context, c *routedCall) (reply, error) {
	limit := g.limits.of(c.route)
	release, err := limit.acquireSlot(ctx, c.route)
	if err != nil {
		return reply{}, err
	}
	defer release()
	if err := limit.acquireRate(ctx, c.route, 0); err != nil {
		return reply{}, err
	}
	got, err := g.ask(ctx, c)
	if err != nil {
		return got, err
	}
	message := got.message.bytes()
	meta, _, err := fields.Take(message, createdMeta)
	if err != nil {
		return got, noAnswer(c, err)
	}
	// A meta that looks like an envelope is put into one, so that what the plugin gets back is what it gave: it may be a
	// host itself.
	if (c.route.Pinned || got.pin) && g.enabled.Has(guarantee.Pinning) || sealed(meta) { // G11
		meta = envelope{plugin: c.route.Target.Plugin(), generation: got.generation, meta: meta}.seal() // G11
		if message, err = fields.Set(message, createdMeta, meta); err != nil {
			return got, noAnswer(c, err)
		}
		got.message.set(message)
	}
	if c.remembersStatus() {
		g.statuses.Forget(c.statusID(meta)) // of an earlier job that had this name
		g.statuses.Forget(c.statusIDWith("", meta))
	}
	return got, nil
}

// detach makes the context of a call that does not end with its caller, but by his deadline, and with the gateway.
func (g *Gateway) detach(caller context.Context) (ctx context.Context, end func(), err error) {
	g.closing.Lock()
	defer g.closing.Unlock()
	if g.ctx.Err() != nil {
		return nil, nil, status.Error(codes.Unavailable, "the host is stopping")
	}
	g.detached.Add(1)
	deadline, ok := caller.Deadline()
	if !ok {
		deadline = time.Now().Add(createWithoutDeadline)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(caller), deadline)
	stop := context.AfterFunc(g.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		g.detached.Done()
	}, nil
}

// noAnswer is an answer that is none.
func noAnswer(c *routedCall, err error) error {
	return status.Errorf(codes.Internal, "plugin %q gave an answer to %s for %s that cannot be passed on: %v", c.route.Target.Plugin(), c.method.name, c.route.Category, err)
}
