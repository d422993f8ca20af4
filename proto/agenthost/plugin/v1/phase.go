package pluginv1

import "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

// PhaseRetryableFailed is core.TaskExecution.RETRYABLE_FAILED, which the newest flyteidl for Go does not have yet.
const PhaseRetryableFailed = core.TaskExecution_Phase(8)

// PhaseName is a phase's name in Flyte's schema.
func PhaseName(phase core.TaskExecution_Phase) string {
	if phase == PhaseRetryableFailed {
		return "RETRYABLE_FAILED"
	}
	return phase.String()
}

// Terminal says whether a job in this phase has ended.
func Terminal(phase core.TaskExecution_Phase) bool {
	switch phase {
	case core.TaskExecution_SUCCEEDED, core.TaskExecution_FAILED, core.TaskExecution_ABORTED, PhaseRetryableFailed:
		return true
	}
	return false
}
