package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/route"
)

// unary makes the handler of a method with one request and one answer.
func (g *Gateway) unary(m method) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		observed := g.metrics.begin(m)
		response, err := g.forward(ctx, m, decode, observed)
		observed.end(err)
		if err != nil {
			return nil, err
		}
		return response, nil
	}
}

func (g *Gateway) forward(ctx context.Context, m method, decode func(any) error, observed *observation) (*frame, error) {
	request := &frame{}
	if err := decode(request); err != nil {
		return nil, err
	}
	defer request.free()

	header, found, err := g.route(m, request.bytes())
	if err != nil {
		return nil, err
	}
	observed.routed(found, header)
	if m.generation == flyte2 && found.ByTaskType && !m.creates && !header.hasTaskType {
		request.set(withTaskType(request.bytes(), header.category.Name))
	}

	return g.ask(outgoing(ctx, header), m, found, request)
}

// ask forwards the request and, where that can do no harm, repeats it on the plugin's next instance when the one that
// had it died: a poll that fails counts against the task for the rest of its life, and a creation that fails costs the
// user an attempt.
func (g *Gateway) ask(ctx context.Context, m method, found route.Route, request *frame) (*frame, error) {
	for {
		lease, err := acquire(ctx, found, route.Want{New: m.creates})
		if err != nil {
			return nil, err
		}
		response, answered, err := invoke(ctx, lease, m, request)
		switch {
		case err == nil && m.polls:
			err = settle(response, found)
		case err != nil && answered:
			err = forgotten(response, m, found, err)
		}
		ended := !answered && diedWith(ctx, lease)
		lease.Release()
		switch {
		case err == nil:
			return response, nil
		case ended && (m.repeatable || m.creates && found.IdempotentCreate):
			g.log.Warn("repeating a call whose plugin died", "plugin", found.Target.Plugin(), "method", m.name, "task_type", found.Category.Name)
		case ended:
			return nil, died(m, found)
		default:
			return nil, err
		}
	}
}

// invoke makes the call. answered says that the plugin itself gave the answer or the error: then at least a
// content-type came with it, while nothing comes from a connection that broke.
func invoke(ctx context.Context, lease route.Lease, m method, request *frame) (response *frame, answered bool, err error) {
	var header, trailer metadata.MD
	response = &frame{}
	err = lease.Conn.Invoke(ctx, m.target, request, response,
		grpc.ForceCodecV2(frameCodec), grpc.Header(&header), grpc.Trailer(&trailer))
	if header := passed(header); len(header) > 0 {
		_ = grpc.SetHeader(ctx, header) // fails only after the answer is sent
	}
	if trailer := passed(trailer); len(trailer) > 0 {
		_ = grpc.SetTrailer(ctx, trailer)
	}
	return response, err == nil || len(header)+len(trailer) > 0, err
}

// settle puts right what Flyte would trip over in an answer to GetTask.
func settle(response *frame, found route.Route) error {
	settled, changed, err := settleGet(response.bytes(), found.Target.Plugin())
	if err != nil {
		response.free()
		return noAnswer("GetTask", found, err)
	}
	if changed {
		response.set(settled)
	}
	return nil
}

// noAnswer is an answer that is none.
func noAnswer(method string, found route.Route, err error) error {
	return status.Errorf(codes.Internal, "plugin %q gave an answer to %s for %s that cannot be passed on: %v", found.Target.Plugin(), method, found.Category, err)
}

// forgotten turns a plugin's NOT_FOUND into what Flyte can live with. A poll answered with an error is repeated until the
// task is stranded, so a job that is gone has failed. And Flyte 2 deletes every job, long forgotten ones too, and retries
// without bound: gone is what it asked for.
func forgotten(response *frame, m method, found route.Route, err error) error {
	if status.Code(err) != codes.NotFound {
		return err
	}
	switch {
	case m.polls:
		response.set(getAnswer(core.TaskExecution_FAILED, fmt.Sprintf("plugin %q does not know this job: %s", found.Target.Plugin(), status.Convert(err).Message())))
		return nil
	case m.deletes:
		response.set(nil)
		return nil
	}
	return err
}

// route reads a request and finds who answers it.
func (g *Gateway) route(m method, message []byte) (call, route.Route, error) {
	header, err := m.read(message)
	if err != nil {
		return call{}, route.Route{}, status.Errorf(codes.InvalidArgument, "this %s cannot be routed: %v", m.name, err)
	}
	found, ok := g.routes.Table().Lookup(header.category)
	if !ok {
		return call{}, route.Route{}, status.Errorf(codes.NotFound, "no plugin of this host serves task category %s; ListAgents names those it serves", header.category)
	}
	if sync := m.target == pluginSync+m.name; sync != found.Sync {
		kind, use := "an async", "CreateTask, GetTask and DeleteTask"
		if found.Sync {
			kind, use = "a sync", "ExecuteTaskSync"
		}
		return call{}, route.Route{}, status.Errorf(codes.FailedPrecondition, "%s was called for task category %s, which is served by %s agent (plugin %q): use %s",
			m.name, header.category, kind, found.Target.Plugin(), use)
	}
	return header, found, nil
}

// spare is what is kept of a caller's deadline when a plugin is not there, so that the caller reads why instead of
// running into its deadline.
func spare(left time.Duration) time.Duration {
	return min(left/10, 500*time.Millisecond)
}

// waitWithoutDeadline bounds the wait for a plugin in calls without a deadline.
const waitWithoutDeadline = 60 * time.Second

// acquire gets a connection to the route's plugin, waiting while it starts until just before the caller's deadline.
func acquire(ctx context.Context, found route.Route, want route.Want) (route.Lease, error) {
	if lease, ok := found.Target.TryAcquire(want); ok {
		return lease, nil
	}
	deadline, ok := ctx.Deadline()
	if ok {
		deadline = deadline.Add(-spare(time.Until(deadline)))
	} else {
		deadline = time.Now().Add(waitWithoutDeadline)
	}
	waiting, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	lease, err := found.Target.Acquire(waiting, want)
	switch {
	case err == nil:
		return lease, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return route.Lease{}, status.FromContextError(ctx.Err()).Err()
	default:
		return route.Lease{}, status.Error(codes.Unavailable, err.Error())
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

func died(m method, found route.Route) error {
	return status.Errorf(codes.Unavailable, "plugin %q died while it answered %s for %s; it is being restarted", found.Target.Plugin(), m.name, found.Category)
}
