package agenttest

import (
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	agent "github.com/agenthost/agenthost/sdk/go"
)

// Task is a task to run, in Go values. Only Type is needed.
type Task struct {
	// Type and Version are the task category.
	Type    string
	Version int32
	// Inputs are encoded as InputTypes says, or as is natural.
	Inputs map[string]any
	// InputTypes and OutputTypes make the task's interface.
	InputTypes, OutputTypes agent.OutputTypes
	// Custom becomes the template's custom part: a map, or a struct with json tags.
	Custom any
	// Config is the template's config.
	Config map[string]string
	// SQL becomes the template's sql.statement.
	SQL string
	// OutputPrefix defaults to a temporary folder of the test, without a scheme.
	OutputPrefix string
	// ExecutionID defaults to one that is new for every call.
	ExecutionID *core.TaskExecutionIdentifier
	// Connection is what Flyte 2 sends.
	Connection *Connection
	// Change is called last, for whatever is missing above.
	Change func(template *core.TaskTemplate)
}

// Connection is what Flyte 2 sends with a call, in clear.
type Connection struct {
	TaskType string
	Secrets  map[string]string
	Configs  map[string]string
}
