package gateway

import (
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	responseResource = 1 // GetTaskResponse

	resourceState   = 1 // Resource; deprecated
	resourceMessage = 3
	resourcePhase   = 5
)

// phaseRetryableFailed is TaskExecution.RETRYABLE_FAILED, which the newest flyteidl for Go does not have yet.
const phaseRetryableFailed = core.TaskExecution_Phase(8)

// definePhase makes sure that an answer to GetTask has a phase. Agents from before phases answer with a state, which
// Flyte 2 does not know; and an answer with neither is an error that Flyte 2 gives up on after four. The answer is
// returned as it is where it has a phase; otherwise one is appended, which protobuf merges into the resource.
func definePhase(message []byte, pluginName string) ([]byte, error) {
	var phase, state int32
	hasState := false
	err := eachField(message, func(number protowire.Number, value field) error {
		if number != responseResource {
			return nil
		}
		return eachField(value.bytes, func(number protowire.Number, value field) error {
			switch number {
			case resourcePhase:
				value.int32(&phase)
			case resourceState:
				hasState = value.int32(&state) || hasState
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	if phase != int32(core.TaskExecution_UNDEFINED) {
		return message, nil
	}

	var added []byte
	if hasState {
		phase = int32(phaseOfState(admin.State(state)))
	} else {
		phase = int32(phaseRetryableFailed)
		added = protowire.AppendTag(added, resourceMessage, protowire.BytesType)
		added = protowire.AppendString(added, fmt.Sprintf("plugin %q answered GetTask with neither a phase nor a state", pluginName))
	}
	added = protowire.AppendTag(added, resourcePhase, protowire.VarintType)
	added = protowire.AppendVarint(added, uint64(phase))

	out := make([]byte, 0, len(message)+len(added)+8)
	out = append(out, message...)
	out = protowire.AppendTag(out, responseResource, protowire.BytesType)
	return protowire.AppendBytes(out, added), nil
}

// phaseOfState is FlytePropeller 1's own reading of the deprecated states.
func phaseOfState(state admin.State) core.TaskExecution_Phase {
	switch state {
	case admin.State_PENDING:
		return core.TaskExecution_INITIALIZING
	case admin.State_RUNNING:
		return core.TaskExecution_RUNNING
	case admin.State_SUCCEEDED:
		return core.TaskExecution_SUCCEEDED
	case admin.State_PERMANENT_FAILURE:
		return core.TaskExecution_FAILED
	default:
		return phaseRetryableFailed
	}
}
