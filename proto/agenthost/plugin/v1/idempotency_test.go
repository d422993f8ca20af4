package pluginv1

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

// golden is a case of testdata/idempotency_keys.json, which the tests of all SDKs read.
type golden struct {
	Name         string
	Execution    *core.WorkflowExecutionIdentifier
	Node         string
	Task         *core.Identifier
	RetryAttempt uint32 `json:"retry_attempt"`
	OutputPrefix string `json:"output_prefix"`
	Key          string
}

func (g golden) id() *core.TaskExecutionIdentifier {
	return &core.TaskExecutionIdentifier{
		TaskId:          g.Task,
		NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: g.Node, ExecutionId: g.Execution},
		RetryAttempt:    g.RetryAttempt,
	}
}

func goldens(t *testing.T) []golden {
	t.Helper()
	data, err := os.ReadFile("testdata/idempotency_keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []golden
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// The keys were computed with Python's hashlib over the documented layout. The SDKs and hosts of other versions make the
// same ones.
func TestIdempotencyKeysAreThoseOfTheContract(t *testing.T) {
	seen := map[string]string{}
	for _, c := range goldens(t) {
		key := IdempotencyKey(c.id(), c.OutputPrefix)
		if key != c.Key {
			t.Errorf("%s: key = %q, want %q", c.Name, key, c.Key)
		}
		if other, taken := seen[key]; taken {
			t.Errorf("%s and %s have the same key", c.Name, other)
		}
		seen[key] = c.Name
	}
	if len(seen) < 12 {
		t.Errorf("there are %d cases", len(seen))
	}
}

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
	seen := map[string]string{IdempotencyKey(attempt(changes["nothing"]), "another output prefix"): "output prefix"}
	for name, change := range changes {
		key := IdempotencyKey(attempt(change), "s3://b/p")
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
		for _, key := range []string{IdempotencyKey(id, "s3://b/p"), FormerIdempotencyKey(id)} {
			if key != "" {
				t.Errorf("%s: key = %q, want none", name, key)
			}
		}
	}
}

// Jobs that were made under a former key are looked for by it. The constant was computed with Python's hashlib.
func TestTheFormerKeyLeavesTheOutputPrefixOut(t *testing.T) {
	const want = "a6860e8c0cb70438863d3a099990c260ef9650bbc803000647512dbf25bf5cb4"
	id := attempt(func(*core.TaskExecutionIdentifier) {})
	if got := FormerIdempotencyKey(id); got != want || got == IdempotencyKey(id, "") {
		t.Errorf("the former key is %s", got)
	}
}
