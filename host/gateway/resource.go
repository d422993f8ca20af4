package gateway

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agenthost/agenthost/host/guarantee"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/proto/fields"
)

const (
	responseResource = 1 // GetTaskResponse, and ExecuteTaskSyncResponseHeader too

	syncResponseHeader  = 1 // ExecuteTaskSyncResponse; one or the other
	syncResponseOutputs = 2

	resourceState      = 1 // Resource; deprecated
	resourceOutputs    = 2
	resourceMessage    = 3
	resourcePhase      = 5
	resourceAgentError = 7

	agentErrorCode = 1 // AgentError
	agentErrorKind = 3
)

const (
	// maxMessage is how much of a message Flyte gets, in bytes. It keeps messages in a custom resource of Kubernetes, and
	// some too many have wedged whole workflows.
	maxMessage = 16 << 10
	// maxAnswer is the largest answer that Flyte's clients take, in bytes: grpc's default, which neither generation raises.
	maxAnswer = 4 << 20
)

// resource is what the host reads of a Resource, which says how a job is doing.
type resource struct {
	raw        []byte // as the plugin sent it
	phase      core.TaskExecution_Phase
	hasState   bool
	state      admin.State
	message    string
	outputs    []byte // a LiteralMap
	hasOutputs bool
	errorCode  string
	errorKind  admin.AgentError_Kind
	hasError   bool
	// unfit says that no Flyte could have taken it: it had no phase, or was too large.
	unfit bool
}

func readResource(raw []byte) (resource, error) {
	r := resource{raw: raw}
	err := fields.Each(raw, func(number fields.Number, value fields.Value) error {
		switch number {
		case resourcePhase:
			value.Int32((*int32)(&r.phase))
		case resourceState:
			r.hasState = value.Int32((*int32)(&r.state)) || r.hasState
		case resourceMessage:
			value.Text(&r.message)
		case resourceOutputs:
			if value.Kind == protowire.BytesType {
				r.outputs, r.hasOutputs = append(r.outputs[:len(r.outputs):len(r.outputs)], value.Bytes...), true
			}
		case resourceAgentError:
			r.hasError = true
			return fields.Each(value.Bytes, func(number fields.Number, value fields.Value) error {
				switch number {
				case agentErrorCode:
					value.Text(&r.errorCode)
				case agentErrorKind:
					value.Int32((*int32)(&r.errorKind))
				}
				return nil
			})
		}
		return nil
	})
	return r, err
}

// normalize corrects what Flyte cannot handle, as far as guarantees are enabled, and returns those that changed anything.
func (r *resource) normalize(pluginName string, enabled guarantee.Set) (applied guarantee.Set) {
	switch {
	case r.phase != core.TaskExecution_UNDEFINED || !enabled.Has(guarantee.BothFlytes):
	case r.hasState: // agents from before phases answer with a state, which Flyte 2 does not know
		r.phase = phaseOfState(r.state)
		applied |= guarantee.SetOf(guarantee.BothFlytes) // G12
	default: // Flyte 1 tries again, Flyte 2 gives up after four of these
		r.phase, r.unfit = pluginv1.PhaseRetryableFailed, true
		r.message = join(r.message, fmt.Sprintf("plugin %q answered with neither a phase nor a state", pluginName))
		applied |= guarantee.SetOf(guarantee.BothFlytes) // G12
	}
	if r.phase == core.TaskExecution_ABORTED && enabled.Has(guarantee.BothFlytes) { // of which Flyte drops the message
		r.phase = core.TaskExecution_FAILED
		r.message = join(fmt.Sprintf("the job was aborted, says plugin %q", pluginName), r.message)
		applied |= guarantee.SetOf(guarantee.BothFlytes) // G12
	}
	// Flyte reads an agent's error on sync calls only, and its kind never: a failure that may be retried has to be a phase.
	if r.phase == core.TaskExecution_FAILED && r.hasError && enabled.Has(guarantee.RetryableErrors) {
		if r.errorKind == admin.AgentError_RECOVERABLE {
			r.phase = pluginv1.PhaseRetryableFailed
			applied |= guarantee.SetOf(guarantee.RetryableErrors) // G8
		}
		if r.errorCode != "" {
			r.message = join(r.errorCode, r.message)
			applied |= guarantee.SetOf(guarantee.RetryableErrors) // G8
		}
	}
	if enabled.Has(guarantee.SizeLimits) && r.fit(pluginName) { // G10
		applied |= guarantee.SetOf(guarantee.SizeLimits)
	}
	return applied
}

// fit cuts what Flyte cannot take. It says whether there was anything.
func (r *resource) fit(pluginName string) bool {
	tooLong := len(r.message) > maxMessage
	r.message = cut(r.message, maxMessage)
	if len(r.raw) <= maxAnswer-maxMessage || !r.hasOutputs {
		return tooLong
	}
	// Flyte could not read the answer, not now and not at any later poll.
	r.message = cut(fmt.Sprintf("the job ended %s, but its inline outputs of %d bytes are more than the %d MiB that Flyte takes in an answer: the agent has to write them under output_prefix; plugin %q",
		pluginv1.PhaseName(r.phase), len(r.outputs), maxAnswer>>20, pluginName), maxMessage)
	r.phase, r.outputs, r.hasOutputs, r.unfit = core.TaskExecution_FAILED, nil, false, true
	return true
}

// append appends the resource to a message that has one.
func (r *resource) append(to []byte) []byte { return fields.Append(to, responseResource, r.bytes()) }

// bytes is the resource as a message. Whatever the host does not read stays as the plugin sent it.
func (r *resource) bytes() []byte {
	out := make([]byte, 0, len(r.message)+len(r.outputs)+64)
	_ = fields.EachRaw(r.raw, func(number fields.Number, kind protowire.Type, raw []byte) { // it has been read once without an error
		written := number == resourcePhase && kind == protowire.VarintType ||
			(number == resourceMessage || number == resourceOutputs) && kind == protowire.BytesType
		if !written {
			out = append(out, raw...)
		}
	})
	if r.hasOutputs {
		out = fields.Append(out, resourceOutputs, r.outputs)
	}
	if r.message != "" {
		out = fields.Append(out, resourceMessage, r.message)
	}
	return fields.AppendVarint(out, resourcePhase, uint64(r.phase))
}

// normalized is an answer that Flyte can take.
type normalized struct {
	message []byte
	applied guarantee.Set // that changed anything
	ended   bool          // the job has, by this answer
	unfit   bool          // it was an answer of a plugin that is at fault
}

// normalizeGet normalizes a GetTaskResponse.
func normalizeGet(message []byte, pluginName string, enabled guarantee.Set) (normalized, error) {
	raw, rest, err := fields.Take(message, responseResource)
	if err != nil {
		return normalized{}, err
	}
	r, err := readResource(raw)
	if err != nil {
		return normalized{}, err
	}
	applied := r.normalize(pluginName, enabled)
	if applied != 0 {
		message = r.append(rest)
	}
	return normalized{message, applied, pluginv1.Terminal(r.phase), r.unfit}, nil
}

// explained is a GetTaskResponse with an explanation before its message.
func explained(message []byte, explanation string) ([]byte, error) {
	raw, rest, err := fields.Take(message, responseResource)
	if err != nil {
		return nil, err
	}
	r, err := readResource(raw)
	if err != nil {
		return nil, err
	}
	r.message = cut(join(explanation, r.message), maxMessage)
	return r.append(rest), nil
}

// getAnswer is a GetTaskResponse of the host's own.
func getAnswer(phase core.TaskExecution_Phase, message string) []byte {
	return fields.Append(nil, responseResource, resourceOf(phase, message))
}

// resourceOf is a Resource of the host's own.
func resourceOf(phase core.TaskExecution_Phase, message string) []byte {
	r := resource{phase: phase, message: cut(message, maxMessage)}
	return r.bytes()
}

// mergeSync makes one ExecuteTaskSyncResponse of all that a plugin sent: FlytePropeller reads exactly one message, the
// first, which must be the header with everything in it; and a phase that is not terminal costs it a worker for good.
func mergeSync(messages [][]byte, pluginName string, enabled guarantee.Set) (normalized, error) {
	var header, outputs []byte
	hasHeader, hasOutputs := false, false
	for _, message := range messages {
		err := fields.Each(message, func(number fields.Number, value fields.Value) error {
			switch {
			case value.Kind != protowire.BytesType:
			case number == syncResponseHeader:
				header, hasHeader = append(header, value.Bytes...), true
			case number == syncResponseOutputs:
				outputs, hasOutputs = append(outputs, value.Bytes...), true
			}
			return nil
		})
		if err != nil {
			return normalized{}, err
		}
	}
	if !hasHeader {
		return normalized{}, errNoHeader
	}
	raw, rest, err := fields.Take(header, responseResource)
	if err != nil {
		return normalized{}, err
	}
	if hasOutputs { // first of all: what is too much together may be little in each part
		raw = fields.Append(bytes.Clone(raw), resourceOutputs, outputs)
	}
	r, err := readResource(raw)
	if err != nil {
		return normalized{}, err
	}
	applied := r.normalize(pluginName, enabled)
	if hasOutputs {
		applied |= guarantee.SetOf(guarantee.OneSyncAnswer) // G9
	}
	if !pluginv1.Terminal(r.phase) {
		r.message = join(fmt.Sprintf("plugin %q answered a sync call with phase %s, which is not the end of a job", pluginName, pluginv1.PhaseName(r.phase)), r.message)
		r.phase, r.unfit = core.TaskExecution_FAILED, true
		applied |= guarantee.SetOf(guarantee.OneSyncAnswer) // G9
	}
	if len(messages) > 1 {
		applied |= guarantee.SetOf(guarantee.OneSyncAnswer) // G9
	}
	if applied == 0 {
		return normalized{messages[0], 0, true, r.unfit}, nil
	}
	header = r.append(rest)
	return normalized{fields.Append(nil, syncResponseHeader, header), applied, true, r.unfit}, nil
}

// cut shortens text to limit bytes, keeping the head and the tail: an error's cause stands at one of the two.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	mark := fmt.Sprintf(" … (%d bytes cut) … ", len(text)-limit)
	half := (limit - len(mark)) / 2
	head, tail := text[:half], text[len(text)-half:]
	for len(head) > 0 && !utf8.RuneStart(text[len(head)]) {
		head = head[:len(head)-1]
	}
	for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
		tail = tail[1:]
	}
	return head + mark + tail
}

// join puts two texts together, of which either may be empty.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ": " + b
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
		return pluginv1.PhaseRetryableFailed
	}
}
