package propeller

import (
	"fmt"
	"slices"
	"time"
)

// maxSystemFailures is how many errors of the plugin in a row an action survives.
const maxSystemFailures = 3

// action is a task in Flyte 2: a TaskAction, and the executor's reconciler over it.
type action struct {
	execution *Execution
	attempt   *attempt
	state     state

	// reported is the action's status as others see it.
	reported PhaseInfo
	status   Action
	// finished is when it ended; zero before.
	finished time.Time
}

func (t *action) round(p *process) bool {
	switch {
	case t.status.Deleting:
		return t.finalize(p)
	case !t.finished.IsZero():
		if time.Since(t.finished) >= p.opts.DeleteAfter {
			t.status.Deleting = true
			t.execution.record(t.attempt.number, PhaseInfo{Phase: ActionDeleted})
		}
	case !t.routed(p):
		t.reported.Reason = fmt.Sprintf("no plugin found for task type %[1]q: no plugin registered for task type %[1]q and no default plugin available",
			t.execution.task.Template.GetType())
		t.condition("Failed", "True", "PluginNotFound")
		t.condition("Progressing", "False", "PluginNotFound")
		t.report()
		t.end(PhaseInfo{Phase: PermanentFailure, Reason: t.reported.Reason, Kind: KindSystem})
	case !t.status.Finalizer:
		t.status.Finalizer = true
		t.report()
	default:
		t.work(p)
	}
	return false
}

// abort deletes the action; the next round sends DeleteTask.
func (t *action) abort() (<-chan struct{}, error) {
	t.status.Deleting = true
	return t.execution.gone, nil
}

// work runs the plugin, and decides what its phase means.
func (t *action) work(p *process) {
	next, info, err := p.handle(p.ctx, t.attempt, t.state)
	if p.ctx.Err() != nil {
		return // killed before it could write anything down
	}
	if err != nil {
		t.systemError(err)
		return
	}
	t.state = next
	t.status.SystemFailures = 0
	t.status.Attempts = max(t.status.Attempts, 1)
	if info.Phase == RetryableFailure {
		if t.status.Attempts <= t.execution.task.Retries {
			_ = p.abort(p.ctx, t.state) // an error is only logged
			t.status.Attempts++
			t.attempt, t.state = t.attempt.next(), state{}
			info = PhaseInfo{Phase: Queued}
		} else {
			info.Phase = PermanentFailure
		}
	}
	t.become(info)
}

// systemError counts an error of the plugin. Too many in a row end the action, whatever its retries.
func (t *action) systemError(err error) {
	t.status.SystemFailures++
	if t.status.SystemFailures <= maxSystemFailures {
		t.report()
		return
	}
	t.become(PhaseInfo{
		Phase: PermanentFailure, Code: CodeTooManySystemErrors, Kind: KindSystem,
		Reason: fmt.Sprintf("plugin %q failed with system error %d times: %v", "connector-service", t.status.SystemFailures, err),
	})
}

// become takes a phase of the plugin's into the status. Only a final phase shows a reason.
func (t *action) become(info PhaseInfo) {
	t.reported = PhaseInfo{Phase: info.Phase, Info: info.Info}
	switch info.Phase {
	case Queued, WaitingForResources:
		t.condition("Progressing", "True", "Queued")
	case Initializing:
		t.condition("Progressing", "True", "Initializing")
	case Running:
		t.condition("Progressing", "True", "Executing")
	case Succeeded:
		t.reported.Reason = "TaskAction completed successfully"
		t.condition("Progressing", "False", "Completed")
		t.condition("Succeeded", "True", "Completed")
	case PermanentFailure:
		t.reported.Reason, t.reported.Code, t.reported.Kind = info.Reason, info.Code, info.Kind
		t.condition("Progressing", "False", "PermanentFailure")
		t.condition("Failed", "True", "PermanentFailure")
	}
	t.report()
	if info.Phase.terminal() {
		t.end(t.reported)
	}
}

// finalize deletes the job, round after round until that succeeds, and then lets the action go.
func (t *action) finalize(p *process) bool {
	if t.status.Finalizer && t.routed(p) {
		err := p.abort(p.ctx, t.state)
		if p.ctx.Err() != nil {
			return false
		}
		if err != nil {
			t.report()
			return false
		}
	}
	t.status.Finalizer = false
	t.execution.record(t.attempt.number, PhaseInfo{Phase: ActionGone})
	t.end(PhaseInfo{Phase: Aborted})
	return true
}

// routed tells whether the operator sends the task's type to connectors. Discovery has no say in it.
func (t *action) routed(p *process) bool {
	return p.opts.TaskTypes == nil || slices.Contains(p.opts.TaskTypes, t.execution.task.Template.GetType())
}

func (t *action) end(info PhaseInfo) {
	if t.finished.IsZero() {
		t.finished = time.Now()
		t.execution.finish(t.attempt, info, nil)
	}
}

func (t *action) report() {
	info, status := t.reported, t.status
	status.Conditions = slices.Clone(status.Conditions)
	info.Action = &status
	t.execution.record(t.attempt.number, info)
}

// condition sets one condition of the status, in its place or behind the others.
func (t *action) condition(kind, value, reason string) {
	text := kind + "=" + value + "/" + reason
	for i, condition := range t.status.Conditions {
		if len(condition) > len(kind) && condition[:len(kind)+1] == kind+"=" {
			t.status.Conditions[i] = text
			return
		}
	}
	t.status.Conditions = append(t.status.Conditions, text)
}
