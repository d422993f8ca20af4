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
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/record"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/proto/fields"
)

// mayRunSync says whether a CreateTask for a sync agent is run all the same: Flyte sends one for up to 10 s after a discovery
// that failed, since it has forgotten which agents are sync.
func (g *Gateway) mayRunSync(c *routedCall) bool {
	return c.route.Sync && g.creation.Load().OnRecord && g.enabled.Has(guarantee.OnRecord) && g.keys() != nil // G15
}

// makeSync runs a sync task, and makes its end the job: a record that every later poll is answered from.
func (g *Gateway) makeSync(ctx context.Context, c *routedCall) jobs.Outcome {
	end, sent, err := g.runSync(ctx, c)
	if err != nil {
		return jobs.Outcome{Err: err, Harmless: !sent, Unknown: sent}
	}
	return g.ended(c, end)
}

// ended is the outcome of a creation whose task has ended, by its Resource.
func (g *Gateway) ended(c *routedCall, end []byte) jobs.Outcome {
	r := record.Record{Plugin: c.route.Target.Plugin(), Accepted: time.Now(), End: end}
	sealed := r.Seal(g.keys())
	if len(sealed) > g.creation.Load().RecordMax {
		r.End = resourceOf(pluginv1.PhaseRetryableFailed, fmt.Sprintf(
			"Flyte sent this task of the sync agent of %s as CreateTask, and its end takes %d bytes, more than the create.record_max of %d that can be kept for polls",
			c.describePlugin(), len(sealed), g.creation.Load().RecordMax))
		sealed = r.Seal(g.keys())
	}
	g.record(c, guarantee.OnRecord) // G15
	return jobs.Outcome{Made: jobs.Made{Answer: fields.Append(nil, createdMeta, sealed), Job: c.creationID(jobs.MetaOf(sealed)), End: r.End}}
}

// runSync makes the call that Flyte should have made, and returns the Resource of its answer.
func (g *Gateway) runSync(ctx context.Context, c *routedCall) (end []byte, sent bool, err error) {
	limit := g.limits.of(c.route)
	release, err := limit.acquireSlot(ctx, c)
	if err != nil {
		return nil, false, err
	}
	defer release()
	if err := limit.acquireRate(ctx, c, 0); err != nil {
		return nil, false, err
	}
	header, inputs, err := syncMessages(c.request.bytes())
	if err != nil {
		return nil, false, status.Errorf(codes.InvalidArgument, "this %s cannot be read: %v", c.method.name, err)
	}
	call := *c
	call.method = method{name: "ExecuteTaskSync", target: pluginSync + "ExecuteTaskSync", sync: true, asked: askedSync}
	call.creation = nil
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lease, agent, err := g.open(ctx, &call)
	if err != nil {
		return nil, false, err
	}
	defer lease.Release()
	defer func() { call.answer.Release() }()
	began := time.Now()
	answered := false
	defer func() {
		lease.Tally.Tell(call.method.kind(), call.judgeStream(ctx, lease, agent, answered, err), time.Since(began))
	}()
	defer func() { call.try.End(err) }()
	for _, message := range [][]byte{header, inputs} {
		if err := agent.SendMsg(newFrame(message)); err != nil {
			break // the error comes out of RecvMsg
		}
	}
	_ = agent.CloseSend()
	messages, free, err := receiveAll(agent, call.mostAnswer)
	defer free()
	if tooLarge(err) && g.enabled.Has(guarantee.SizeLimits) {
		answered = true
		return g.endOverlong(&call), true, nil
	}
	if err != nil {
		if len(agent.Trailer()) == 0 && diedWith(ctx, lease) {
			err = died(&call)
		}
		return nil, true, err
	}
	answered = true
	whole, err := mergeSync(messages, c.route.Target.Plugin(), g.enabled)
	if call.unfit = err != nil || whole.unfit; err != nil {
		return nil, true, noAnswer(&call, err)
	}
	g.recordAll(c, whole.applied)
	part, _, err := fields.Take(whole.message, syncResponseHeader)
	if err == nil {
		end, _, err = fields.Take(part, responseResource)
	}
	if call.unfit = call.unfit || err != nil; err != nil {
		return nil, true, noAnswer(&call, err)
	}
	return end, true, nil
}

// headerConnection is a field of CreateRequestHeader.
const headerConnection = 5

// syncMessages makes the two messages of an ExecuteTaskSync call of a CreateTaskRequest.
func syncMessages(create []byte) (header, inputs []byte, err error) {
	to := map[fields.Number]fields.Number{
		createTemplate: headerTemplate, createOutputPrefix: headerOutputPrefix, createMetadata: headerMetadata, createConnection: headerConnection,
	}
	var part, literals []byte
	err = fields.Each(create, func(number fields.Number, value fields.Value) error {
		switch field, ok := to[number]; {
		case ok:
			part = fields.Append(part, field, value.Bytes)
		case number == createInputs:
			literals = append(literals, value.Bytes...)
		}
		return nil
	})
	return fields.Append(nil, syncHeader, part), fields.Append(nil, syncInputs, literals), err
}

// recordedStatus is the status of a job whose end is on record; nil where the plugin has to be asked.
func (c *routedCall) recordedStatus() []byte {
	switch {
	case c.record == nil:
		return nil
	case errors.Is(c.unreadable, record.ErrNewer):
		return getAnswer(core.TaskExecution_RUNNING, "the task is in the hands of a newer host, which this one does not understand: "+c.unreadable.Error())
	case c.record.End != nil:
		return fields.Append(nil, responseResource, c.record.End)
	}
	return nil
}
