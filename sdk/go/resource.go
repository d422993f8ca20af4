package agent

import (
	"errors"
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Phase is how far a task is.
type Phase = core.TaskExecution_Phase

// The phases of a task. PhaseSucceeded, PhaseAborted, PhaseFailed and PhaseRetryableFailed are terminal.
const (
	PhaseQueued              Phase = core.TaskExecution_QUEUED
	PhaseWaitingForResources Phase = core.TaskExecution_WAITING_FOR_RESOURCES
	PhaseInitializing        Phase = core.TaskExecution_INITIALIZING
	PhaseRunning             Phase = core.TaskExecution_RUNNING
	PhaseSucceeded           Phase = core.TaskExecution_SUCCEEDED
	PhaseAborted             Phase = core.TaskExecution_ABORTED
	PhaseFailed              Phase = core.TaskExecution_FAILED
	// PhaseRetryableFailed spends one of the retries that the task's author allowed. Flyte knows it since 1.16.
	PhaseRetryableFailed Phase = pluginv1.PhaseRetryableFailed
)

// Terminal says whether a phase is final.
func Terminal(phase Phase) bool { return pluginv1.Terminal(phase) }

// Outputs are a task's outputs by name, as Go values: what package literal can encode.
type Outputs map[string]any

// Resource is how a job is. Make one with Running, Succeeded, Failed and so on.
type Resource struct {
	Phase Phase
	// Message is shown to the user. Flyte 1 shows it for failures only.
	Message string
	// Outputs are the outputs of a succeeded task. Nil: the job has written outputs.pb below the output prefix itself.
	Outputs Outputs
	// OutputTypes are the types that the outputs are encoded as. A sync agent's outputs take the task's own; an async
	// agent that needs them keeps Task.OutputTypes in its metadata. Outputs that are declared but missing, or not declared, are
	// errors. Without types each output takes what is natural.
	OutputTypes OutputTypes
	// Links are shown with the task.
	Links []Link
	// CustomInfo is kept with the task execution: anything that JSON can hold. Whole numbers that a float cannot hold become text.
	CustomInfo map[string]any
	// Error says whose fault a failure is. Flyte shows its code with the message.
	Error *Error
}

// Link leads to a page about the job.
type Link struct {
	Name string
	URI  string
	// ShowWhilePending shows the link before the task runs, HideOnceFinished takes it away afterwards.
	ShowWhilePending, HideOnceFinished bool
}

// Queued says that the job waits for its turn.
func Queued(message string) *Resource { return &Resource{Phase: PhaseQueued, Message: message} }

// WaitingForResources says that the job waits for capacity or quota.
func WaitingForResources(message string) *Resource {
	return &Resource{Phase: PhaseWaitingForResources, Message: message}
}

// Initializing says that the job is being set up.
func Initializing(message string) *Resource {
	return &Resource{Phase: PhaseInitializing, Message: message}
}

// Running says that the job runs, and how far it is.
func Running(message string) *Resource { return &Resource{Phase: PhaseRunning, Message: message} }

// Succeeded says that the job is done. Nil outputs mean that the job wrote outputs.pb itself, or that the task has none;
// Outputs{} means that there are none.
func Succeeded(outputs Outputs) *Resource {
	return &Resource{Phase: PhaseSucceeded, Outputs: outputs}
}

// Aborted says that somebody ended the job from outside.
func Aborted(message string) *Resource { return &Resource{Phase: PhaseAborted, Message: message} }

// Failed says that the job went wrong and would go wrong again. If err is or wraps an *Error, its code is shown.
func Failed(err error) *Resource { return failed(PhaseFailed, err) }

// Failedf is Failed with a formatted message; %w works.
func Failedf(format string, args ...any) *Resource { return Failed(fmt.Errorf(format, args...)) }

// RetryableFailed says that the job went wrong and a repetition may help. It spends one of the task's retries.
func RetryableFailed(err error) *Resource { return failed(PhaseRetryableFailed, err) }

// RetryableFailedf is RetryableFailed with a formatted message; %w works.
func RetryableFailedf(format string, args ...any) *Resource {
	return RetryableFailed(fmt.Errorf(format, args...))
}

// WithMessage sets the message.
func (r *Resource) WithMessage(message string) *Resource {
	r.Message = message
	return r
}

// WithLink adds a link.
func (r *Resource) WithLink(name, uri string) *Resource {
	r.Links = append(r.Links, Link{Name: name, URI: uri})
	return r
}

// WithInfo sets a key of the custom info.
func (r *Resource) WithInfo(key string, value any) *Resource {
	if r.CustomInfo == nil {
		r.CustomInfo = map[string]any{}
	}
	r.CustomInfo[key] = value
	return r
}

// WithProgress says how far the job is: a fraction from 0 to 1, and in words, such as "4 of 10 files". The message becomes
// "40%: 4 of 10 files", and the custom info has the fraction as "progress".
func (r *Resource) WithProgress(fraction float64, text string) *Resource {
	if !(fraction > 0) { // NaN, too
		fraction = 0
	}
	fraction = min(fraction, 1)
	r.Message = fmt.Sprintf("%d%%", int(fraction*100+1e-9))
	if text != "" {
		r.Message += ": " + text
	}
	return r.WithInfo("progress", fraction)
}

// WithOutputTypes sets the types that the outputs are encoded as.
func (r *Resource) WithOutputTypes(types OutputTypes) *Resource {
	r.OutputTypes = types
	return r
}

func failed(phase Phase, err error) *Resource {
	if err == nil {
		err = errors.New("the agent gave no reason")
	}
	resource := &Resource{Phase: phase, Message: err.Error()}
	errors.As(err, &resource.Error)
	return resource
}
