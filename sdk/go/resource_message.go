package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

// badOutputs is the code of a job whose outputs do not fit.
const badOutputs = "BadOutputs"

// polled is what a poll is answered with. Outputs that do not fit would not at the next one either: the job has failed, and an error would
// only have it polled on.
func (r *Resource) polled() (*admin.Resource, error) {
	message, err := r.message(nil)
	if unfit := (*outputsError)(nil); errors.As(err, &unfit) {
		return Failed(SystemError(badOutputs, unfit)).message(nil)
	}
	return message, err
}

// outputsError is an error about outputs.
type outputsError struct{ error }

func (e *outputsError) Unwrap() error { return e.error }

// message writes the resource for the wire. declared are the task's output types, where the call knows them.
func (r *Resource) message(declared OutputTypes) (*admin.Resource, error) {
	if r == nil {
		return nil, errors.New("it returned neither a resource nor an error")
	}
	if r.Phase == core.TaskExecution_UNDEFINED {
		return nil, errors.New("it returned a resource without a phase: use agent.Running, agent.Succeeded, …")
	}
	message := &admin.Resource{Phase: r.Phase, Message: r.Message}
	if r.Outputs != nil {
		types := r.OutputTypes
		if types == nil {
			types = declared
		}
		outputs, err := encodeOutputs(r.Outputs, types)
		if err != nil {
			return nil, &outputsError{err}
		}
		message.Outputs = outputs
	}
	for _, link := range r.Links {
		message.LogLinks = append(message.LogLinks, &core.TaskLog{
			Name: link.Name, Uri: link.URI, ShowWhilePending: link.ShowWhilePending, HideOnceFinished: link.HideOnceFinished,
		})
	}
	if r.CustomInfo != nil {
		info, err := structOf(r.CustomInfo)
		if err != nil {
			return nil, fmt.Errorf("the custom info: %w", err)
		}
		message.CustomInfo = info
	}
	if r.Error != nil {
		message.AgentError = &admin.AgentError{Code: r.Error.Code, Origin: r.Error.Origin}
		if r.Phase == PhaseRetryableFailed {
			message.AgentError.Kind = admin.AgentError_RECOVERABLE
		}
	}
	return message, nil
}

func encodeOutputs(outputs Outputs, types OutputTypes) (*core.LiteralMap, error) {
	for name := range types {
		if _, given := outputs[name]; !given {
			return nil, fmt.Errorf("output %s is declared but missing", name)
		}
	}
	encoded := &core.LiteralMap{Literals: make(map[string]*core.Literal, len(outputs))}
	for name, value := range outputs {
		declared, known := types[name]
		if len(types) > 0 && !known {
			return nil, fmt.Errorf("output %s is not one that the task declares: %s", name, strings.Join(slices.Sorted(maps.Keys(types)), ", "))
		}
		l, err := literal.Encode(value, declared)
		var at *literal.Error
		switch {
		case errors.As(err, &at):
			return nil, fmt.Errorf("output %s%s: %s", name, at.Path, at.Problem)
		case err != nil:
			return nil, fmt.Errorf("output %s: %w", name, err)
		}
		encoded.Literals[name] = l
	}
	return encoded, nil
}

// structOf goes through JSON, so that structs and all kinds of numbers are welcome. A whole number that no float holds, which
// is the only number that a Struct has, becomes text.
func structOf(value map[string]any) (*structpb.Struct, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var plain map[string]any
	if err := decoder.Decode(&plain); err != nil {
		return nil, err
	}
	return structpb.NewStruct(floats(plain).(map[string]any))
}

func floats(plain any) any {
	switch value := plain.(type) {
	case json.Number:
		float, err := value.Float64()
		if err != nil || !strings.ContainsAny(value.String(), ".eE") && strconv.FormatFloat(float, 'f', -1, 64) != value.String() {
			return value.String()
		}
		return float
	case []any:
		for i := range value {
			value[i] = floats(value[i])
		}
	case map[string]any:
		for name := range value {
			value[name] = floats(value[name])
		}
	}
	return plain
}
