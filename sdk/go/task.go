package agent

import (
	"encoding/json"
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Task is what an agent is asked to run. It must not be changed.
type Task struct {
	// Category is what the call was routed by: the template's type and version.
	Category Category
	// Template is the task as it was registered: Template.GetSql().GetStatement(), Template.GetConfig(), … Never nil.
	Template *core.TaskTemplate
	// Inputs are the inputs as Flyte sent them, never nil; Input and DecodeInputs read them as Go values.
	Inputs *core.LiteralMap
	// OutputPrefix is the storage location for the attempt's outputs, such as "s3://bucket/metadata/…/0".
	OutputPrefix string
	// Metadata is what Flyte says of the execution: namespace, labels, environment variables, identity. Never nil.
	Metadata *admin.TaskExecutionMetadata
	// ExecutionID is Flyte's name of the attempt: execution, node, task and retry attempt. A node's id is that within its
	// workflow: the uses of one subworkflow share it, and IdempotencyKey tells them apart. Nil where the caller sent none.
	ExecutionID *core.TaskExecutionIdentifier
	// IdempotencyKey is the same for every call for one attempt and differs between attempts: 64 hex digits, good as
	// (part of) the name of an external job. Empty where the caller sent no execution id.
	IdempotencyKey string
	// MaxDatasetSizeBytes is the caller's limit on the size of inline datasets of a sync call; 0 for none.
	MaxDatasetSizeBytes int64
	// Connection is what Flyte 2 sends; nil elsewhere.
	Connection *Connection
}

// FormerIdempotencyKey is the key that hosts gave the attempt before keys had the output prefix in them: other attempts could have
// the same one. A job that is found by it is this attempt's only if its output prefix is, too; none is made under it.
func (t *Task) FormerIdempotencyKey() string { return pluginv1.FormerIdempotencyKey(t.ExecutionID) }

// Custom reads the template's custom part into a struct with json tags. Fields that the struct lacks are ignored, an
// absent custom part leaves the struct as it is.
func (t *Task) Custom(into any) error {
	custom := t.Template.GetCustom()
	if custom == nil {
		return nil
	}
	data, err := json.Marshal(custom.AsMap())
	if err != nil {
		return InvalidArgument("the custom part of the %s template cannot be read: %v", t.Category.Name, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return InvalidArgument("the custom part of the %s template does not fit: %s", t.Category.Name, describeJSONError(err))
	}
	return nil
}

// Secret returns a secret from the task's connection, or else the plugin's own secret of that name.
func (t *Task) Secret(key string) (SecretValue, error) { return t.Connection.secret(key) }

// OutputTypes returns the types that the task declares for its outputs.
func (t *Task) OutputTypes() OutputTypes {
	variables := t.Template.GetInterface().GetOutputs().GetVariables()
	types := make(OutputTypes, len(variables))
	for name, variable := range variables {
		types[name] = variable.GetType()
	}
	return types
}

// String names the task for logs, without its inputs.
func (t *Task) String() string {
	id := t.Template.GetId()
	return fmt.Sprintf("%s %s@%s", t.Category.Name, id.GetName(), id.GetVersion())
}
