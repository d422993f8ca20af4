package propeller

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"
)

// argument is a placeholder in a container's args, as {{.outputPrefix}} or {{ $inputs.x }}, whatever its case.
var argument = regexp.MustCompile(`\{\{\s*[.$]([A-Za-z]+(?:\.[^}\s]+)?)\s*\}\}`)

// template is the task's, the args of its container rendered for this attempt. Placeholders that the model does not know stay.
func (a *attempt) template() *core.TaskTemplate {
	task := &a.execution.task
	if task.Template.GetContainer() == nil {
		return task.Template
	}
	rendered, _ := proto.Clone(task.Template).(*core.TaskTemplate)
	args := rendered.GetContainer().GetArgs()
	for i, arg := range args {
		args[i] = argument.ReplaceAllStringFunc(arg, func(placeholder string) string {
			name := argument.FindStringSubmatch(placeholder)[1]
			if value, ok := a.argument(name); ok {
				return value
			}
			return placeholder
		})
	}
	return rendered
}

func (a *attempt) argument(name string) (string, bool) {
	task := &a.execution.task
	switch strings.ToLower(name) {
	case "input":
		return task.InputPath, true
	case "inputprefix":
		return strings.TrimSuffix(task.InputPath, "/"+path.Base(task.InputPath)), true
	case "outputprefix", "rawoutputdataprefix":
		return a.outputPrefix, true
	}
	if kind, input, ok := strings.Cut(name, "."); ok && strings.EqualFold(kind, "inputs") {
		return text(task.Inputs.GetLiterals()[input].GetScalar().GetPrimitive())
	}
	return "", false
}

func text(value *core.Primitive) (string, bool) {
	switch value := value.GetValue().(type) {
	case *core.Primitive_Integer:
		return fmt.Sprint(value.Integer), true
	case *core.Primitive_FloatValue:
		return fmt.Sprint(value.FloatValue), true
	case *core.Primitive_Boolean:
		return fmt.Sprint(value.Boolean), true
	case *core.Primitive_StringValue:
		return value.StringValue, true
	}
	return "", false
}
