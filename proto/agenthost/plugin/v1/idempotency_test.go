package pluginv1

import (
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

func attempt(change func(*core.TaskExecutionIdentifier)) *core.TaskExecutionIdentifier {
	id := &core.TaskExecutionIdentifier{
		TaskId: &core.Identifier{Project: "flytesnacks", Domain: "development", Name: "etl.query", Version: "v1"},
		NodeExecutionId: &core.NodeExecutionIdentifier{
			NodeId:      "n0",
			ExecutionId: &core.WorkflowExecutionIdentifier{Project: "flytesnacks", Domain: "development", Name: "f3a"},
		},
		RetryAttempt: 2,
	}
	change(id)
	return id
}

// The constant was computed with Python's hashlib over the documented layout. The other SDKs and hosts of other
// versions make the same key, so it must never change.
func TestIdempotencyKeyOfAnAttemptNeverChanges(t *testing.T) {
	const want = "a6860e8c0cb70438863d3a099990c260ef9650bbc803000647512dbf25bf5cb4"
	if got := IdempotencyKey(attempt(func(*core.TaskExecutionIdentifier) {})); got != want {
		t.Errorf("key = %s, want %s", got, want)
	}
}

func TestIdempotencyKeyDiffersWhenAnyPartOfTheAttemptDiffers(t *testing.T) {
	changes := map[string]func(*core.TaskExecutionIdentifier){
		"nothing":           func(*core.TaskExecutionIdentifier) {},
		"execution project": func(id *core.TaskExecutionIdentifier) { id.NodeExecutionId.ExecutionId.Project = "x" },
		"execution domain":  func(id *core.TaskExecutionIdentifier) { id.NodeExecutionId.ExecutionId.Domain = "x" },
		"execution name":    func(id *core.TaskExecutionIdentifier) { id.NodeExecutionId.ExecutionId.Name = "x" },
		"node":              func(id *core.TaskExecutionIdentifier) { id.NodeExecutionId.NodeId = "x" },
		"task project":      func(id *core.TaskExecutionIdentifier) { id.TaskId.Project = "x" },
		"task domain":       func(id *core.TaskExecutionIdentifier) { id.TaskId.Domain = "x" },
		"task name":         func(id *core.TaskExecutionIdentifier) { id.TaskId.Name = "x" },
		"task version":      func(id *core.TaskExecutionIdentifier) { id.TaskId.Version = "x" },
		"no task":           func(id *core.TaskExecutionIdentifier) { id.TaskId = nil },
		"retry attempt":     func(id *core.TaskExecutionIdentifier) { id.RetryAttempt = 3 },
		"a moved border": func(id *core.TaskExecutionIdentifier) {
			id.NodeExecutionId.ExecutionId.Project, id.NodeExecutionId.ExecutionId.Domain = "flytesnacksd", "evelopment"
		},
	}
	seen := map[string]string{}
	for name, change := range changes {
		key := IdempotencyKey(attempt(change))
		if len(key) != 64 {
			t.Errorf("%s: key %q is not 64 hex digits", name, key)
		}
		if other, taken := seen[key]; taken {
			t.Errorf("%s and %s have the same key", name, other)
		}
		seen[key] = name
	}
}

func TestIdempotencyKeyIsEmptyWithoutAnExecution(t *testing.T) {
	for name, id := range map[string]*core.TaskExecutionIdentifier{
		"nil":               nil,
		"empty":             {},
		"no execution":      attempt(func(id *core.TaskExecutionIdentifier) { id.NodeExecutionId = nil }),
		"no execution name": attempt(func(id *core.TaskExecutionIdentifier) { id.NodeExecutionId.ExecutionId.Name = "" }),
	} {
		if key := IdempotencyKey(id); key != "" {
			t.Errorf("%s: key = %q, want none", name, key)
		}
	}
}
