package propeller

import (
	"slices"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/types/known/structpb"
)

// Phase is what Flyte makes of a task, by Flyte's own names for it.
type Phase string

// The phases of a plugin.
const (
	None                Phase = "" // a Flyte 2 action before its first round
	Undefined           Phase = "PhaseUndefined"
	Queued              Phase = "PhaseQueued"
	WaitingForResources Phase = "PhaseWaitingForResources"
	Initializing        Phase = "PhaseInitializing"
	Running             Phase = "PhaseRunning"
	Succeeded           Phase = "PhaseSuccess"
	RetryableFailure    Phase = "PhaseRetryableFailure"
	PermanentFailure    Phase = "PhasePermanentFailure"
)

// What can become of a task besides.
const (
	// Aborted is a task that was aborted, and whose job the agent agreed to delete.
	Aborted Phase = "PhaseAborted"
	// FellToContainer is a task of Flyte 1 whose type discovery does not know (any more): it went to the container plugin, which
	// can do nothing with it. The job, if there is one, is forgotten. It is over.
	FellToContainer Phase = "(container plugin)"
	// ActionDeleted and ActionGone are the end of a Flyte 2 action: marked for deletion, and gone after DeleteTask succeeded.
	ActionDeleted Phase = "(TaskAction deleted)"
	ActionGone    Phase = "(TaskAction gone)"
	// Restarted marks a restart of the Flyte process.
	Restarted Phase = "(executor restarted: new plugin, empty cache)"
)

// Error codes and kinds that come from Flyte itself; others are the agent's.
const (
	CodeTaskFailed          = "TaskFailedWithError"
	CodeAutoRefreshFailed   = "AutoRefreshCacheFailed"
	CodeOutputsNotFound     = "OutputsNotFound"
	CodeTooManySystemErrors = "MaxSystemFailuresExceeded"
	KindUser                = "USER"
	KindSystem              = "SYSTEM"
)

// PhaseInfo is a phase and why.
type PhaseInfo struct {
	Phase Phase
	// Reason says why, for people; for a failure it is the error's message.
	Reason string
	// Code and Kind are those of a failure.
	Code, Kind string
	// HandleError is what the plugin returned instead of a phase; Phase is then Undefined.
	HandleError string
	// Info is what Flyte shows of the task.
	Info *Info
	// Action is the state of a Flyte 2 action.
	Action *Action
}

// Change is one change of a task's phase.
type Change struct {
	At      time.Time
	Attempt int // from 0
	PhaseInfo
}

// Info is what Flyte shows of a task besides its phase.
type Info struct {
	Logs       []*core.TaskLog
	CustomInfo *structpb.Struct
	Endpoint   string // Flyte 2 only: where the agent is
}

// Action is what Flyte 2's executor keeps about a task.
type Action struct {
	Attempts       int // from 1; 0 before the first round
	SystemFailures int // errors of the plugin in a row
	Conditions     []string
	Deleting       bool
	Finalizer      bool
}

// same tells whether nothing happened from one to the other that Flyte would report.
func (p PhaseInfo) same(other PhaseInfo) bool {
	return p.Phase == other.Phase && p.Reason == other.Reason && p.Code == other.Code && p.Kind == other.Kind &&
		p.HandleError == other.HandleError && p.Action.same(other.Action)
}

func (a *Action) same(other *Action) bool {
	if a == nil || other == nil {
		return a == other
	}
	return a.Attempts == other.Attempts && a.SystemFailures == other.SystemFailures && a.Deleting == other.Deleting &&
		a.Finalizer == other.Finalizer && slices.Equal(a.Conditions, other.Conditions)
}

// terminal tells whether a plugin is done when it reports the phase.
func (p Phase) terminal() bool {
	return p == Succeeded || p == PermanentFailure || p == RetryableFailure
}

func userFailure(phase Phase, code, reason string, info *Info) PhaseInfo {
	return PhaseInfo{Phase: phase, Reason: reason, Code: code, Kind: KindUser, Info: info}
}
