package gateway

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/proto/fields"
)

// stream makes the handler of a method whose answer, and for sync calls whose request, is a stream. answer passes the
// plugin's answer on.
func (g *Gateway) stream(m method, answer answerer) grpc.StreamHandler {
	m.inFlight = g.metrics.inFlight.WithLabelValues(m.name)
	return func(_ any, caller grpc.ServerStream) error {
		observed := g.metrics.begin(m)
		ctx, note := noting(caller.Context(), g.tracer.Begin(caller.Context(), m.served))
		observed.trace = note.trace
		end, err := g.memory.begin(ctx)
		if err == nil {
			err = g.forwardStream(ctx, caller, m, answer, observed)
			end()
		}
		g.callLog.tell(ctx, m.name, note, observed.plugin, observed.taskType, observed.end(err), err)
		note.trace.End(err)
		return g.fit(err, observed)
	}
}

// answerer passes a plugin's answer on. answered says that the plugin gave any.
type answerer func(caller grpc.ServerStream, agent grpc.ClientStream, c *routedCall) (answered bool, err error)

func (g *Gateway) forwardStream(ctx context.Context, caller grpc.ServerStream, m method, answer answerer, observed *observation) error {
	first, err := g.first(caller, &m)
	if err != nil {
		return noFirstMessage(m, err)
	}
	defer first.free()
	c, err := g.plan(ctx, m, first)
	if err != nil {
		return err
	}
	observed.routed(c.route, c.info)
	err = c.naming(g.answerStream(caller, first, c, answer))
	c.ended = m.sync && err == nil
	g.noteCall(c, nil, err)
	return err
}

func (g *Gateway) answerStream(caller grpc.ServerStream, first *frame, c *routedCall, answer answerer) error {
	limit := g.limits.of(c.route)
	if c.method.sync {
		release, err := limit.acquireSlot(caller.Context(), c)
		if err != nil {
			return err
		}
		defer release()
	}
	if err := limit.acquireRate(caller.Context(), c, 0); err != nil {
		return err
	}
	if err := g.needJob(caller.Context(), c); err != nil {
		return err
	}
	asking, enough := withWordsTime(g.outgoing(caller.Context(), c.info, c.trace))
	defer enough()
	ctx, cancel := context.WithCancelCause(asking)
	defer cancel(nil) // ends the pump's receiver on the plugin's side when the answer is over
	lease, agent, err := g.open(ctx, c)
	if err != nil {
		return err
	}
	defer lease.Release()
	defer func() { c.answer.Release() }()
	began := time.Now()

	go g.passRequests(caller, agent, c, first.share(), func(later *frame) bool {
		if c.judged && secondTask(c.method, later) {
			cancel(errSecondTask)
		}
		return ctx.Err() == nil
	})
	answered, err := answer(caller, agent, c)
	c.try.End(err)
	lease.Tally.Tell(c.method.kind(), c.judgeStream(ctx, lease, agent, answered, err), time.Since(began))
	if err != nil && errors.Is(context.Cause(ctx), errSecondTask) {
		return errSecondTask
	}
	trailer := agent.Trailer()
	silent := err != nil && !answered && len(trailer) == 0
	caller.SetTrailer(bounded(passed(trailer), maxTrailer))
	switch {
	case silent && diedWith(ctx, lease):
		return died(c)
	case silent || err != nil && late(ctx, err):
		return lost(ctx, lease, c, err)
	}
	return err
}

// open opens the call to the plugin. Where there was no connection after all it tries again: nothing was sent yet.
func (g *Gateway) open(ctx context.Context, c *routedCall) (_ route.Lease, agent grpc.ClientStream, _ error) {
	desc := &grpc.StreamDesc{StreamName: c.method.name, ServerStreams: true, ClientStreams: true}
	share, size, err := g.memory.answer(ctx, c.route.Target.Plugin(), c.method.answerSizes())
	if err != nil {
		return route.Lease{}, nil, err
	}
	c.answer, c.mostAnswer = share, size
	defer func() {
		if agent == nil {
			share.Release()
		}
	}()
	for {
		lease, err := g.acquire(ctx, c)
		if err != nil {
			return route.Lease{}, nil, err
		}
		if g.moved(c) {
			lease.Release()
			continue
		}
		c.note.ask(lease)
		began := time.Now()
		asking, try := c.trace.Try(ctx, c.method.asked, c.route.Target.Plugin(), lease.Generation)
		agent, err = lease.Conn.NewStream(asking, desc, c.method.target, withFrames, grpc.MaxCallRecvMsgSize(size))
		if err == nil {
			c.try = try
			return lease, agent, nil
		}
		try.End(err)
		agent = nil
		lease.Tally.Tell(c.method.kind(), c.judge(ctx, &reply{}, false, err), time.Since(began))
		ended := diedWith(ctx, lease)
		lease.Release()
		if ctx.Err() != nil || !ended && status.Code(err) != codes.Unavailable {
			return route.Lease{}, nil, lost(ctx, lease, c, err)
		}
		c.logTo(g.log).Info("repeating a call for which there was no connection", "plugin", c.route.Target.Plugin(), "method", c.method.name)
	}
}

// relay passes an answer on frame by frame, as it comes.
func (g *Gateway) relay(caller grpc.ServerStream, agent grpc.ClientStream, c *routedCall) (answered bool, err error) {
	for first := true; ; first = false {
		message := &frame{}
		err := agent.RecvMsg(message)
		if first {
			if err := passHeader(caller, agent); err != nil {
				return true, err
			}
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if tooLarge(err) {
			return true, g.overlongError(c)
		}
		if err != nil {
			return false, err
		}
		err = caller.SendMsg(message)
		message.free()
		if err != nil {
			return true, err
		}
	}
}

// gather collects the whole answer to a sync call and passes it on as the one message that FlytePropeller reads.
func (g *Gateway) gather(caller grpc.ServerStream, agent grpc.ClientStream, c *routedCall) (answered bool, err error) {
	messages, free, err := receiveAll(agent, c.mostAnswer)
	defer free()
	overlong := tooLarge(err) && g.enabled.Has(guarantee.SizeLimits)
	if err != nil && !overlong {
		return false, err
	}
	if err := passHeader(caller, agent); err != nil {
		return true, err
	}
	var merged []byte
	if overlong {
		merged = fields.Append(nil, syncResponseHeader, fields.Append(nil, responseResource, g.endOverlong(c))) // G10
	} else {
		whole, err := mergeSync(messages, c.route.Target.Plugin(), g.enabled) // G9
		if c.unfit = err != nil || whole.unfit; err != nil {
			return true, noAnswer(c, err)
		}
		merged = whole.message
		g.recordAll(c, whole.applied)
	}
	answer := newFrame(merged)
	defer answer.free()
	answer.count(c.answer)
	return true, caller.SendMsg(answer)
}

// receiveAll receives all messages of an answer, of at most so many bytes together. They are there until free.
func receiveAll(agent grpc.ClientStream, most int) (messages [][]byte, free func(), err error) {
	var frames []*frame
	free = func() {
		for _, message := range frames {
			message.free()
		}
	}
	for total := 0; ; {
		message := &frame{}
		err := agent.RecvMsg(message)
		if errors.Is(err, io.EOF) {
			return messages, free, nil
		}
		if err != nil {
			return nil, free, err
		}
		if total += message.buffers.Len(); total > most {
			message.free()
			return nil, free, status.Errorf(codes.ResourceExhausted, "grpc: received messages larger than max (%d vs. %d)", total, most)
		}
		frames, messages = append(frames, message), append(messages, message.bytes())
	}
}

// endOverlong is the Resource of a task whose answer was too large to be read.
func (g *Gateway) endOverlong(c *routedCall) []byte {
	g.record(c, guarantee.SizeLimits) // G10
	g.memory.refused.WithLabelValues("answer_size").Inc()
	c.unfit = !c.cramped()
	return resourceOf(core.TaskExecution_FAILED, c.overlong()+": the agent has to write outputs under output_prefix")
}

// overlongError is the error of a call whose answer says nothing of a job's end.
func (g *Gateway) overlongError(c *routedCall) error {
	g.memory.refused.WithLabelValues("answer_size").Inc()
	c.unfit = !c.cramped()
	return status.Error(codes.ResourceExhausted, c.overlong())
}

// passHeader passes on the header of the plugin's answer, if it has come so far.
func passHeader(caller grpc.ServerStream, agent grpc.ClientStream) error {
	header, err := agent.Header()
	if err != nil {
		return nil //nolint:nilerr // the same error comes out of RecvMsg, which says more
	}
	return caller.SetHeader(bounded(passed(header), maxHeader))
}

// passRequests sends the first frame and what follows it, if it passes, to the plugin. An error needs no handling here: one of the
// caller's ends the context of the call, one of the plugin's comes out of the other direction.
func (g *Gateway) passRequests(caller grpc.ServerStream, agent grpc.ClientStream, c *routedCall, first *frame, pass func(later *frame) bool) {
	err := agent.SendMsg(first)
	first.free()
	for err == nil {
		message := &frame{}
		if err = g.next(caller, &c.method, message); err == nil {
			if !pass(message) {
				message.free()
				return
			}
			err = agent.SendMsg(message)
		}
		message.free()
	}
	if errors.Is(err, io.EOF) {
		_ = agent.CloseSend()
	}
}

// first receives the first message of a call; the only one, where its client streams none.
func (g *Gateway) first(caller grpc.ServerStream, m *method) (*frame, error) {
	if !m.sync {
		return g.receive(caller.Context(), m, caller.RecvMsg)
	}
	message := &frame{}
	return message, g.next(caller, m, message)
}

// next receives a message of a call whose client streams them.
func (g *Gateway) next(caller grpc.ServerStream, m *method, message *frame) error {
	if stream, ok := grpc.ServerTransportStreamFromContext(caller.Context()).(incoming); ok {
		return g.receiveNext(caller.Context(), m, stream, message)
	}
	return caller.RecvMsg(message)
}

func noFirstMessage(m method, err error) error {
	if errors.Is(err, io.EOF) {
		return status.Errorf(codes.InvalidArgument, "this %s ended before its first message", m.name)
	}
	return err // which grpc has told the caller already, in its own words
}
