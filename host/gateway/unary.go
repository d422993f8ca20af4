package gateway

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/tracing"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// unary makes the handler of a method with one request and one answer.
func (g *Gateway) unary(m method) grpc.MethodHandler {
	m.inFlight = g.metrics.inFlight.WithLabelValues(m.name)
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		observed := g.metrics.begin(m)
		ctx, note := noting(ctx, g.tracer.Begin(ctx, m.served))
		observed.trace = note.trace
		var response *frame
		end, err := g.memory.begin(ctx)
		if err == nil {
			defer end()
			response, err = g.forward(ctx, m, decode, observed)
		}
		g.callLog.tell(ctx, m.name, note, observed.plugin, observed.taskType, observed.end(err), err)
		note.trace.End(err)
		if err != nil {
			return nil, g.fit(err, observed)
		}
		return response, nil
	}
}

func (g *Gateway) forward(ctx context.Context, m method, decode func(any) error, observed *observation) (*frame, error) {
	request, err := g.receive(ctx, &m, decode)
	if err != nil {
		return nil, err
	}
	if m.creates { // a creation may outlive its caller: its request is left to the garbage collector
		defer request.hold()()
	} else {
		defer request.free()
	}
	c, err := g.plan(ctx, m, request)
	if err != nil {
		return nil, err
	}
	observed.routed(c.route, c.info)

	answer, err := g.answer(ctx, c)
	observed.hidden = c.hidden
	err = c.naming(err)
	g.noteCall(c, answer, err)
	if err == nil && m.creates {
		err = c.naming(g.seal(c, answer))
	}
	return answer, err
}

func (g *Gateway) answer(ctx context.Context, c *routedCall) (*frame, error) {
	if c.method.polls {
		if answer := g.knownStatus(c); answer != nil { // before anything is prepared for the plugin
			return answer, nil
		}
	}
	ctx = g.outgoing(ctx, c.info, c.trace)
	switch {
	case c.method.creates:
		return g.create(ctx, c)
	case c.method.polls:
		return g.poll(ctx, c)
	case c.method.deletes:
		return g.delete(ctx, c)
	}
	if err := g.limits.of(c.route).acquireRate(ctx, c, 0); err != nil {
		return nil, err
	}
	if err := g.needJob(ctx, c); err != nil {
		return nil, err
	}
	asking, cancel := withWordsTime(ctx)
	defer cancel()
	got, err := g.ask(asking, c)
	if tooLarge(err) {
		err = status.Error(codes.ResourceExhausted, c.overlong())
	}
	return deliver(ctx, got), err
}

// reply is how a call to a plugin went, besides its error.
type reply struct {
	message         *frame
	header, trailer metadata.MD
	// sent says that the request may have reached the plugin, which it has not where there was no connection. answered says
	// that the plugin itself gave the answer or the error: then at least a content-type came with it, while nothing comes from
	// a connection that broke.
	sent, answered bool
	// generation is that of the instance that was asked, and pin its lease's.
	generation string
	pin        bool
	// meta is the plugin's own name for a job that it has made, where Flyte gets it in an envelope, and pinned says that it is so for the
	// generation. named is what Flyte gets.
	meta   []byte
	pinned bool
	named  jobs.Meta
	// came is what the call came to, for the tally of the generation.
	came outcome
}

// cutShort says that an error may be the connection's, which broke between a plugin's headers and its answer: they leave in frames of
// their own, and a process may be killed between the two. A plugin's own UNAVAILABLE after headers looks the same: what tells the two
// apart is whether the process has ended.
func (r *reply) cutShort(err error) bool {
	return status.Code(err) == codes.Unavailable && len(r.header) > 0 && len(r.trailer) == 0
}

// deliver hands the caller what came with an answer, and returns the answer.
func deliver(ctx context.Context, got reply) *frame {
	if header := bounded(passed(got.header), maxHeader); len(header) > 0 {
		_ = grpc.SetHeader(ctx, header) // fails only after the answer is sent
	}
	if trailer := bounded(passed(got.trailer), maxTrailer); len(trailer) > 0 {
		_ = grpc.SetTrailer(ctx, trailer)
	}
	return got.message
}

// ask makes the call and, where that can do no harm, repeats it on the plugin's next instance when the one that had it
// died: a poll that fails counts against the task for the rest of its life, and a creation that fails costs the user an
// attempt.
func (g *Gateway) ask(ctx context.Context, c *routedCall) (reply, error) {
	got, err := g.askUntold(ctx, c)
	got.came.tell()
	return got, err
}

// askUntold is ask for those who look into the answer before they tell what the call came to.
func (g *Gateway) askUntold(ctx context.Context, c *routedCall) (reply, error) {
	deaths := 0 // of the plugin, by this creation perhaps
	for sent := false; ; {
		lease, err := g.acquire(ctx, c)
		if err != nil {
			return reply{sent: sent}, err
		}
		if g.moved(c) {
			lease.Release()
			continue
		}
		if err := g.turnedAway(c); err != nil {
			lease.Release()
			return reply{sent: sent}, err
		}
		got, err := g.invoke(ctx, lease, c)
		got.sent = got.sent || sent
		notTaken := err != nil && len(got.trailer.Get(pluginv1.NotTakenTrailer)) > 0
		cutShort := got.cutShort(err)
		ended := (!got.answered || notTaken || cutShort) && diedWith(ctx, lease)
		if ended && cutShort {
			got.answered = false
		}
		// On a machine that has much to do, the news of its end may come later than the end of its connection.
		broken := ended || !got.answered && status.Code(err) == codes.Unavailable && ctx.Err() == nil && !c.staleIfError
		lease.Release()
		switch {
		case err == nil:
			return got, nil
		case !got.sent && broken:
			got.came.tell()
			c.logTo(g.log).Info("repeating a call for which there was no connection", "plugin", c.route.Target.Plugin(), "method", c.method.name)
		case notTaken && ctx.Err() == nil: // it is the host that stops it
			c.logTo(g.log).Info("repeating a call that a plugin did not take because it was stopping", "plugin", c.route.Target.Plugin(), "method", c.method.name)
			if c.local != nil {
				c.local.notSent()
			}
		case broken && (c.method.repeatable || c.method.creates && c.route.IdempotentCreate): // G4
			got.came.tell()
			c.logTo(g.log).Warn("repeating a call whose plugin died", "plugin", c.route.Target.Plugin(), "method", c.method.name, "task_type", c.route.Category.Name)
			sent = true
			if c.method.creates {
				if deaths++; deaths >= maxDeaths {
					return got, poisoned(c)
				}
				if deaths == 1 { // those who were there when it died are made one by one
					leave, err := g.suspect(ctx, c)
					if err != nil {
						return got, err
					}
					defer leave()
				}
			}
		case ended:
			return got, died(c)
		case !got.answered || late(ctx, err):
			return got, lost(ctx, lease, c, err)
		default:
			return got, err
		}
	}
}

// invoke makes the call on one instance.
func (g *Gateway) invoke(ctx context.Context, lease route.Lease, c *routedCall) (reply, error) {
	got := reply{message: &frame{}, generation: lease.Generation, pin: lease.Pin}
	if c.local != nil {
		if err := c.local.sending(); err != nil {
			return got, err
		}
	}
	room := &answerRoom{memory: g.memory, plugin: c.route.Target.Plugin()}
	var bounds grpc.CallOption = room
	cramped := false
	if _, admits := lease.Conn.(*plugin.Conn); !admits || !c.method.polls {
		share, size, err := g.memory.answer(ctx, room.plugin, c.method.answerSizes())
		if err != nil {
			return got, err
		}
		room.keep(share)
		cramped = size < c.method.answerSizes()[0]
		bounds = grpc.MaxCallRecvMsgSize(size)
	}
	c.note.ask(lease)
	answered := g.sending(c)
	var taker peer.Peer // nobody, where no connection took the call
	began := time.Now()
	ctx, try := c.trace.Try(ctx, c.method.asked, room.plugin, lease.Generation)
	err := lease.Conn.Invoke(ctx, c.method.target, c.request, got.message,
		withFrames, bounds, grpc.Header(&got.header), grpc.Trailer(&got.trailer), grpc.Peer(&taker))
	try.End(err)
	got.message.count(room.end())
	if tooLarge(err) {
		g.memory.refused.WithLabelValues("answer_size").Inc()
	}
	got.sent = taker.Addr != nil
	got.answered = err == nil || len(got.header)+len(got.trailer) > 0
	got.came = outcome{lease.Tally, c.method.kind(), c.judge(ctx, &got, cramped || room.none.Load(), err), time.Since(began)}
	answered(got.answered)
	if c.local != nil && !got.sent {
		c.local.notSent()
	}
	return got, err
}

// replyReserve is what is kept of a caller's deadline when a plugin is not there, so that the caller reads why instead of
// running into its deadline. The deadline comes as the time that was left when the call was sent: what the call took to
// get here has to fit in too.
func replyReserve(left time.Duration) time.Duration {
	return min(left/10, time.Second)
}

// waitWithoutDeadline bounds the wait for a plugin in calls without a deadline.
const waitWithoutDeadline = 60 * time.Second

// beforeDeadline is how long there is until just before the caller's deadline.
func beforeDeadline(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return waitWithoutDeadline
	}
	left := time.Until(deadline)
	return left - replyReserve(left)
}

// justBefore is a context that ends just before the caller's deadline, and after maxWait at the latest, if that is not zero.
func justBefore(ctx context.Context, maxWait time.Duration) (context.Context, context.CancelFunc) {
	left := beforeDeadline(ctx)
	if maxWait > 0 {
		left = min(left, maxWait)
	}
	return context.WithTimeout(ctx, left)
}

// acquire gets a connection to the call's plugin. While the plugin starts, or none of its servers can be reached, it
// waits: until just before the caller's deadline, and in polls that can be answered from memory for a moment.
func (g *Gateway) acquire(ctx context.Context, c *routedCall) (route.Lease, error) {
	target, want := c.route.Target, c.want
	want.Call = c.method.kind()
	if lease, ok := target.TryAcquire(want); ok {
		if lease.Reachable() {
			return lease, nil
		}
		lease.Release()
	}
	if !g.enabled.Has(guarantee.WaitsForPlugin) {
		return route.Lease{}, status.Errorf(codes.Unavailable, "plugin %q is not there", target.Plugin())
	}
	on := OnPlugin
	if _, removed := target.(*removedPlugin); removed {
		on = OnRemoved
	}
	ended := g.waits.begin(target.Plugin(), on)
	defer func() { ended() }()
	maxWait := time.Duration(0)
	if c.staleIfError {
		maxWait = pollMaxWait
	}
	waiting, cancel := justBefore(ctx, maxWait)
	defer cancel()
	waiting, stop := g.stalling(waiting, c)
	defer stop()
	over := c.trace.Wait(tracing.OnPlugin)
	lease, err := acquireReachable(waiting, target, want) // G3
	over()
	if _, removed := target.(*removedPlugin); err != nil && waiting.Err() == nil && c.want.New && !removed {
		stop() // awaitReturn watches the call itself
		ended()
		ok, gone := g.awaitReturn(ctx, c, c.info)
		switch {
		case gone != nil:
			return route.Lease{}, gone
		case ok && c.route.Target != target: // another is in its place
			return g.acquire(ctx, c)
		}
	}
	switch {
	case err == nil:
		g.record(c, guarantee.WaitsForPlugin) // G3
		return lease, nil
	case canceled(ctx):
		return route.Lease{}, status.FromContextError(ctx.Err()).Err()
	}
	if refusal, ok := status.FromError(context.Cause(waiting)); ok && refusal.Code() != codes.OK { // G17
		return route.Lease{}, refusal.Err()
	}
	return route.Lease{}, status.Error(codes.Unavailable, err.Error())
}

// maxDeaths is how often a plugin may die in the creation of one attempt: then that is taken for the cause.
const maxDeaths = 3

// poisoned is the error of such a creation.
func poisoned(c *routedCall) error {
	return &poisonedError{status.Newf(codes.Aborted, "plugin %q died %d times while it began this %s task, which is not sent again", c.route.Target.Plugin(), maxDeaths, c.route.Category)}
}

type poisonedError struct{ status *status.Status }

func (e *poisonedError) Error() string              { return e.status.Message() }
func (e *poisonedError) GRPCStatus() *status.Status { return e.status }
func (e *poisonedError) Is(target error) bool       { return target == errPoisoned }

// acquireReachable waits for an instance, and until it can be reached. An instance that ends meanwhile makes room for the next.
func acquireReachable(ctx context.Context, target route.Target, want route.Want) (route.Lease, error) {
	began := time.Now()
	for {
		lease, err := target.Acquire(ctx, want)
		if err != nil || lease.Reachable() {
			return lease, err
		}
		if err = lease.Remote.Reach(ctx); err == nil {
			return lease, nil
		}
		lease.Release()
		if ctx.Err() != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				lease.Tally.Tell(want.Call, route.OutcomeError, time.Since(began))
			}
			return route.Lease{}, err
		}
	}
}

// deathNotice is how long a broken connection may precede the news that the process has ended.
const deathNotice = time.Second

// diedWith says whether a call that got no answer lost it to the end of the plugin's process, which the host sees a
// moment after the connection broke.
func diedWith(ctx context.Context, lease route.Lease) bool {
	if ctx.Err() != nil {
		return false
	}
	timer := time.NewTimer(deathNotice)
	defer timer.Stop()
	select {
	case <-lease.Ended:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

func died(c *routedCall) error {
	return status.Errorf(codes.Unavailable, "plugin %q died while it answered %s for %s; it is being restarted", c.route.Target.Plugin(), c.method.name, c.route.Category)
}
