package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/internal/throttle"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/tracing"
)

// AccessLog says of which calls the log tells.
type AccessLog struct {
	// Off leaves the log without any.
	Off bool
	// Slow is how long a call may take without being told of. Zero: as long as it likes.
	Slow time.Duration
}

// accessLog writes a line for each call that was refused, that failed, or that took long: who made it and what became of it. Nothing
// of requests and answers is in it, and it stays within a rate, whoever calls.
type accessLog struct {
	AccessLog
	log                   *slog.Logger
	refused, failed, slow *throttle.Throttle
}

const (
	// accessInterval and accessBurst bound the lines of each kind. A flood over a day makes some 25 MB.
	accessInterval = time.Second
	accessBurst    = 50
	// maxNamed is how much of a name is told that a caller gives, in bytes.
	maxNamed = 128
)

func newAccessLog(options AccessLog, log *slog.Logger) *accessLog {
	kind := func() *throttle.Throttle { return throttle.New(accessInterval, accessBurst) }
	return &accessLog{AccessLog: options, log: log, refused: kind(), failed: kind(), slow: kind()}
}

// noted is what is to be known of a call in the end and the metrics have not.
type noted struct {
	// caller says what the caller is known as, empty where he is not; nil where nobody asks.
	caller interface{ Identity() string }
	// taskType is what he says.
	taskType string
	// applied are the guarantees that have saved the call, a guarantee.Set: what goes on without the caller may add to them.
	applied atomic.Uint32
	// trace is what a collector is told of the call.
	trace *tracing.Call
	// asked is the instance that was asked last.
	asked atomic.Pointer[route.Instance]
}

// ask notes that an instance is asked.
func (n *noted) ask(lease route.Lease) {
	switch {
	case n == nil:
	case lease.Instance != nil:
		n.asked.Store(lease.Instance)
	default:
		n.asked.Store(&route.Instance{Generation: lease.Generation})
	}
}

// save notes that guarantees have saved the call. A call that nobody has made has no note.
func (n *noted) save(applied guarantee.Set) {
	if n != nil && applied != 0 {
		n.applied.Or(uint32(applied))
	}
}

type notedKey struct{}

// noting is a context in which there is a note of the call.
func noting(ctx context.Context, trace *tracing.Call) (context.Context, *noted) {
	note := &noted{trace: trace}
	return context.WithValue(ctx, notedKey{}, note), note
}

// noteOf is the note of the call; never nil.
func noteOf(ctx context.Context) *noted {
	if note, ok := ctx.Value(notedKey{}).(*noted); ok {
		return note
	}
	return &noted{}
}

// tell writes the line of a call, if it is one to tell of.
func (a *accessLog) tell(ctx context.Context, method string, note *noted, plugin, taskType string, took time.Duration, err error) {
	if a.Off {
		return
	}
	code := status.Code(err)
	outcome, kind := "failed", a.failed
	switch code {
	case codes.OK:
		outcome, kind = "slow", a.slow
		if a.Slow <= 0 || took < a.Slow {
			return
		}
	case codes.Canceled: // the caller went away
		return
	case codes.PermissionDenied, codes.Unauthenticated, codes.ResourceExhausted, codes.InvalidArgument, codes.Unimplemented, codes.NotFound, codes.FailedPrecondition:
		if plugin == "" || code == codes.PermissionDenied || code == codes.Unauthenticated { // else it is the plugin's answer
			outcome, kind = "refused", a.refused
		}
	}
	leftOut, ok := kind.Allow()
	if !ok {
		return
	}
	if taskType == "" {
		taskType = note.taskType
	}
	attributes := []slog.Attr{slog.String("outcome", outcome), slog.String("method", cut(method, maxNamed)), slog.String("code", code.String())}
	if from, ok := peer.FromContext(ctx); ok {
		attributes = append(attributes, slog.String("caller", from.Addr.String()))
	}
	identity := ""
	if note.caller != nil {
		identity = note.caller.Identity()
	}
	for _, named := range [][2]string{{"identity", identity}, {"task_type", taskType}, {"plugin", plugin}} {
		if named[1] != "" {
			attributes = append(attributes, slog.String(named[0], cut(named[1], maxNamed)))
		}
	}
	attributes = append(attributes, slog.Duration("took", took.Round(time.Millisecond)))
	attributes = append(attributes, note.trace.IDs(ctx)...)
	if leftOut > 0 {
		attributes = append(attributes, slog.Int64("left_out", leftOut))
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "call", attributes...)
}

// unknown answers what is no method of this server, as grpc would.
func (g *Gateway) unknown(_ any, caller grpc.ServerStream) error {
	began := time.Now()
	method, _ := grpc.MethodFromServerStream(caller)
	err := status.Errorf(codes.Unimplemented, "this host has no method %s", cut(method, maxNamed))
	g.callLog.tell(caller.Context(), method, &noted{}, "", "", time.Since(began), err)
	return err
}
