package propeller

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// resource is what Flyte keeps of an agent's answer.
type resource struct {
	answer *admin.Resource
	// code is that of the agent's error. Only sync calls keep it: polls drop agent_error.
	code string
	// state is the deprecated one, 0 (RETRYABLE_FAILURE) where it is not read: in sync calls.
	state    admin.State
	endpoint string
}

func asyncResource(answer *admin.Resource) *resource {
	return &resource{answer: answer, state: answer.GetState()} // deprecated, and read by Flyte 1
}

func syncResource(answer *admin.Resource) *resource {
	return &resource{answer: answer, code: answer.GetAgentError().GetCode()}
}

// terminal tells whether the cache polls no more. Flyte 1 forgets RETRYABLE_FAILED here: the polls end when a round has seen it.
func (r *resource) terminal(flyte Flyte) bool {
	switch r.answer.GetPhase() {
	case core.TaskExecution_SUCCEEDED, core.TaskExecution_FAILED, core.TaskExecution_ABORTED:
		return true
	case pluginv1.PhaseRetryableFailed:
		return flyte == V2
	}
	return false
}

// status makes a phase of an agent's answer. It is asked again at every round.
func (p *process) status(ctx context.Context, a *attempt, r *resource) (PhaseInfo, error) {
	info := &Info{Logs: r.answer.GetLogLinks(), CustomInfo: r.answer.GetCustomInfo(), Endpoint: r.endpoint}
	message := r.answer.GetMessage()
	code := r.code
	if code == "" {
		code = CodeTaskFailed
	}
	switch phase := r.answer.GetPhase(); phase {
	case core.TaskExecution_QUEUED:
		return PhaseInfo{Phase: Queued, Reason: message, Info: info}, nil
	case core.TaskExecution_WAITING_FOR_RESOURCES:
		return PhaseInfo{Phase: WaitingForResources, Reason: message, Info: info}, nil
	case core.TaskExecution_INITIALIZING:
		return PhaseInfo{Phase: Initializing, Reason: message, Info: info}, nil
	case core.TaskExecution_RUNNING:
		return PhaseInfo{Phase: Running, Info: info}, nil
	case core.TaskExecution_SUCCEEDED:
		return p.success(ctx, a, r, info)
	case core.TaskExecution_ABORTED:
		return userFailure(PermanentFailure, code, "failed to run the job with aborted phase.", info), nil
	case core.TaskExecution_FAILED:
		return userFailure(PermanentFailure, code, "failed to run the job: "+message, info), nil
	case pluginv1.PhaseRetryableFailed:
		return userFailure(RetryableFailure, code, "failed to run the job: "+message, info), nil
	default:
		if p.opts.Flyte == V2 || phase != core.TaskExecution_UNDEFINED {
			return PhaseInfo{}, fmt.Errorf("[SystemError] unknown execution phase [%v].", phase) //nolint:revive,staticcheck // Flyte's words
		}
	}
	// Flyte 1 takes the deprecated state for an undefined phase. Its zero is a retryable failure: an empty answer costs an attempt.
	switch r.state {
	case admin.State_PENDING:
		return PhaseInfo{Phase: Initializing, Reason: message, Info: info}, nil
	case admin.State_RUNNING:
		return PhaseInfo{Phase: Running, Info: info}, nil
	case admin.State_PERMANENT_FAILURE:
		return userFailure(PermanentFailure, CodeTaskFailed, "failed to run the job.\n"+message, info), nil
	case admin.State_RETRYABLE_FAILURE:
		return userFailure(RetryableFailure, CodeTaskFailed, "failed to run the job.\n"+message, info), nil
	case admin.State_SUCCEEDED:
		return p.success(ctx, a, r, info)
	}
	return PhaseInfo{}, fmt.Errorf("[SystemError] unknown execution state [%v].", r.state) //nolint:revive,staticcheck // Flyte's words
}

// success takes the outputs, if the task declares any: those in the answer, or else those in a file under its output prefix. Flyte 1's
// plugin only remembers which; Flyte 2's writes them, and fails where there is no file.
func (p *process) success(ctx context.Context, a *attempt, r *resource, info *Info) (PhaseInfo, error) {
	if len(a.execution.task.Template.GetInterface().GetOutputs().GetVariables()) > 0 {
		a.inline = r.answer.GetOutputs()
		if p.opts.Flyte == V2 {
			if err := a.takeOutputs(ctx, p.opts.Store); err != nil {
				return PhaseInfo{}, err
			}
		}
	}
	return PhaseInfo{Phase: Succeeded, Info: info}, nil
}

// takeOutputs writes inline outputs to outputs.pb, or reads that file.
func (a *attempt) takeOutputs(ctx context.Context, store Store) error {
	file := a.outputPrefix + "/outputs.pb"
	if a.inline != nil {
		data, err := proto.Marshal(a.inline)
		if err != nil {
			return fmt.Errorf("marshal the outputs: %w", err)
		}
		if err := store.Write(ctx, file, data); err != nil {
			return err
		}
		a.outputs = a.inline
		return nil
	}
	data, err := store.Read(ctx, file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("failed to read data from dataDir [%v]. Error: path:%v: %w", file, file, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	outputs := &core.LiteralMap{}
	if err := proto.Unmarshal(data, outputs); err != nil {
		return fmt.Errorf("%s is not a LiteralMap: %w", file, err)
	}
	a.outputs = outputs
	return nil
}
