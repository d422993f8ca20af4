package pluginv1

import (
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

func TestFourPhasesEndAJob(t *testing.T) {
	ends := map[string]bool{"SUCCEEDED": true, "FAILED": true, "ABORTED": true, "RETRYABLE_FAILED": true}
	for phase := core.TaskExecution_UNDEFINED; phase <= PhaseRetryableFailed; phase++ {
		if name := PhaseName(phase); Terminal(phase) != ends[name] {
			t.Errorf("that %s ends a job is %t", name, Terminal(phase))
		}
	}
}
