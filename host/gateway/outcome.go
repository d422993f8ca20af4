package gateway

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// outcome is what one call on one instance came to, whatever Flyte hears: a poll that is answered from memory because the plugin
// failed, and a call that is repeated because it died, are errors of the plugin's.
type outcome struct {
	tally  *route.Tally
	call   route.Call
	result route.Outcome
	took   time.Duration
}

// tell tells the generation. It does so once.
func (o *outcome) tell() {
	o.tally.Tell(o.call, o.result, o.took)
	o.tally = nil
}

// fault says that the answer was none that can be passed on.
func (o *outcome) fault() { o.result = route.OutcomeError }

// kind is what the method counts as.
func (m *method) kind() route.Call {
	switch {
	case m.creates:
		return route.CallCreate
	case m.polls:
		return route.CallPoll
	case m.deletes:
		return route.CallDelete
	case m.sync:
		return route.CallExecute
	}
	return route.CallOther
}

// judge says what a call on an instance came to. cramped says that the host had less room for the answer than it may have.
func (c *routedCall) judge(ctx context.Context, got *reply, cramped bool, err error) route.Outcome {
	code := status.Code(err)
	switch {
	case err == nil:
		return route.OutcomeOK
	case cramped && (tooLarge(err) || code == codes.ResourceExhausted && !got.answered):
		return route.OutcomeCanceled
	case canceled(ctx) && !errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return route.OutcomeCanceled
	case len(got.trailer.Get(pluginv1.NotTakenTrailer)) > 0: // the host is stopping it
		return route.OutcomeCanceled
	case !got.answered || tooLarge(err):
		return route.OutcomeError
	case code == codes.NotFound && c.method.polls && c.want.Generation != "" && c.want.Generation == got.generation:
		return route.OutcomeError // it does not know a job that it has made
	case code == codes.NotFound:
		return route.OutcomeRejected
	case c.method.polls, c.method.deletes: // there is nothing in the request but what the plugin itself has named
		return route.OutcomeError
	case code == codes.Unimplemented && c.method.kind() == route.CallOther: // not every agent has logs and metrics
		return route.OutcomeRejected
	}
	return outcomeOf(code)
}

// judgeStream is judge for an answer that is a stream, as far as it has come. answered says that the plugin gave one to its end, so
// that an error is another's.
func (c *routedCall) judgeStream(ctx context.Context, lease route.Lease, agent grpc.ClientStream, answered bool, err error) route.Outcome {
	switch {
	case c.unfit:
		return route.OutcomeError
	case answered && err != nil:
		return route.OutcomeCanceled
	case err == nil:
		return route.OutcomeOK
	}
	trailer := agent.Trailer()
	return c.judge(ctx, &reply{trailer: trailer, answered: len(trailer) > 0, generation: lease.Generation}, c.cramped(), err)
}

// cramped says that there was less room for an answer that is a stream than it may have.
func (c *routedCall) cramped() bool { return c.mostAnswer < c.method.answerSizes()[0] }

// outcomeOf says what an error stands for with which a plugin answers a user's request. Codes by which a server says that the request is at fault are
// answers of a sound agent. UNAUTHENTICATED is none: it is the plugin's own credentials that a system does not take, since
// nobody shows it any.
func outcomeOf(code codes.Code) route.Outcome {
	switch code {
	case codes.OK:
		return route.OutcomeOK
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.ResourceExhausted,
		codes.FailedPrecondition, codes.Aborted, codes.OutOfRange:
		return route.OutcomeRejected
	default: // CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED
		return route.OutcomeError
	}
}
