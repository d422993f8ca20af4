package verify

import (
	"context"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/tools/taskrun"
)

// syncChecks are about the one call of a sync agent, where there is a sample task for it.
func syncChecks() []*Check {
	return []*Check{
		{
			Name:   "sync/one-message",
			Reason: "FlytePropeller reads exactly one message, the header with the resource, and nothing after it",
			Advice: "answer ExecuteTaskSync with one header that holds the resource and its outputs, and end the call",
			run: onSamplesOf(true, func(ctx context.Context, k *kit, s *sample) (string, error) {
				_, _, err := k.execute(ctx, s)
				return "", err
			}),
		},
		{
			Name:   "sync/terminal",
			Reason: "FlytePropeller cannot ask a sync agent again: a phase that is no end kills one of its workers for good",
			Advice: "wait for the end within the call, and answer with SUCCEEDED, FAILED, RETRYABLE_FAILED or ABORTED",
			run: onSamplesOf(true, func(ctx context.Context, k *kit, s *sample) (string, error) {
				resource, _, err := k.execute(ctx, s)
				if err != nil {
					return "", err
				}
				phase, ended := taskrun.PhaseOf(resource)
				if !ended {
					return "", failed("%s: it answers with phase %s, which is not an end", s.name, pluginv1.PhaseName(phase))
				}
				return pluginv1.PhaseName(phase), nil
			}),
		},
		{
			Name:   "sync/outputs",
			Reason: "FlytePropeller fails a task that succeeded without the outputs it declares",
			Advice: "put every declared output into Resource.outputs",
			run: onSamplesOf(true, func(ctx context.Context, k *kit, s *sample) (string, error) {
				resource, request, err := k.execute(ctx, s)
				if err != nil {
					return "", err
				}
				if _, ended := taskrun.PhaseOf(resource); !ended {
					return "", &blocked{"sync/terminal", failed("%s does not end", s.name)}
				}
				if err := s.endsAsExpected(resource); err != nil || s.phase != core.TaskExecution_SUCCEEDED {
					return "", err
				}
				return s.checkOutputs(resource, request.GetOutputPrefix())
			}),
		},
	}
}

// execute makes a sync call and takes its answer apart.
func (k *kit) execute(ctx context.Context, s *sample) (*admin.Resource, *admin.CreateTaskRequest, error) {
	i, err := k.at(ctx, ready)
	if err != nil {
		return nil, nil, err
	}
	request, err := k.request(s)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, k.taskTimeout())
	defer cancel()
	parts, err := callerOn(i.conn).sync(ctx, request)
	switch {
	case err != nil:
		err = failed("%s: ExecuteTaskSync fails: %s", s.name, describeError(err))
	case len(parts) == 0:
		err = failed("%s: ExecuteTaskSync ends without an answer", s.name)
	case parts[0].GetHeader().GetResource() == nil:
		err = failed("%s: the first message of the answer is not a header with a resource", s.name)
	case len(parts) > 1:
		err = failed("%s: the answer has %d messages, of which FlytePropeller reads one", s.name, len(parts))
	}
	if err != nil {
		return nil, nil, &blocked{"sync/one-message", err}
	}
	return parts[0].GetHeader().GetResource(), request, nil
}
