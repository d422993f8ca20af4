package propeller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"
)

// ErrClosed is why an execution ended that was not over when its Propeller was closed.
var ErrClosed = errors.New("the propeller was closed before the task was over")

// Task is what a user wants done. Only Template is required. The messages are only read, and may be shared by many tasks.
type Task struct {
	Template *core.TaskTemplate
	Inputs   *core.LiteralMap
	// ExecutionID says which task of which execution it is. Default: an execution of its own. The retry attempt is filled in.
	ExecutionID *core.TaskExecutionIdentifier
	// OutputPrefix is where outputs go: each attempt has a folder of its own below it (0, 1, …; in Flyte 2 1, 2, …). Default: in
	// memory.
	OutputPrefix string
	// OutputPrefixOf names the folder of an attempt itself, instead of OutputPrefix.
	OutputPrefixOf func(attempt int) string
	// Retries is how many attempts may follow the first.
	Retries int

	// What else is sent with a task. Namespace defaults to project-domain. Flyte 2 adds the label `attempt`.
	Namespace      string
	Labels         map[string]string
	Annotations    map[string]string
	Environment    map[string]string
	ServiceAccount string
	Identity       *core.Identity
	// InputPath is where a container would read its inputs, for args that ask for it.
	InputPath string
}

// Execution is a task on its way.
type Execution struct {
	propeller *Propeller
	task      Task
	driver    driver
	// turn is held by whoever works on the task: its round, or an abort.
	turn chan struct{}
	over chan struct{} // closed when the task's fate is known
	gone chan struct{} // closed when nothing follows any more

	mu      sync.Mutex
	history []Change
	calls   []Call
	result  Result
	err     error
}

// Result is what became of a task.
type Result struct {
	// Phase is Succeeded, PermanentFailure, Aborted or FellToContainer; in Flyte 1 also RetryableFailure, when no retry is left.
	Phase Phase
	// Final is the last change of phase, with its reason.
	Final PhaseInfo
	// Outputs are the task's, if it succeeded and declares any.
	Outputs *core.LiteralMap
	// Attempts is how many there were.
	Attempts int
	// History is every change of phase, and Calls every RPC, in order, up to now.
	History []Change
	Calls   []Call
}

// driver looks after a task from round to round: a node of Flyte 1, or an action of Flyte 2.
type driver interface {
	// round is one look at the task. It tells whether it was the last.
	round(*process) bool
	// abort ends the task, or begins to: what it returns is closed when it has ended.
	abort() (<-chan struct{}, error)
}

func newExecution(p *Propeller, task Task, number int) *Execution {
	if task.Template == nil {
		panic("propeller: a Task needs a Template")
	}
	if task.ExecutionID == nil {
		task.ExecutionID = &core.TaskExecutionIdentifier{
			TaskId: task.Template.GetId(),
			NodeExecutionId: &core.NodeExecutionIdentifier{
				NodeId: "n0",
				ExecutionId: &core.WorkflowExecutionIdentifier{
					Project: "flytesnacks", Domain: "development", Name: fmt.Sprintf("execution-%d", number),
				},
			},
		}
	}
	execution := task.ExecutionID.GetNodeExecutionId().GetExecutionId()
	if task.Namespace == "" {
		task.Namespace = execution.GetProject() + "-" + execution.GetDomain()
	}
	if task.OutputPrefix == "" {
		task.OutputPrefix = fmt.Sprintf("mem://propeller/%d/%s", number, execution.GetName())
	}
	e := &Execution{
		propeller: p, task: task,
		turn: make(chan struct{}, 1), over: make(chan struct{}), gone: make(chan struct{}),
	}
	first := &attempt{execution: e, id: fmt.Sprintf("%d-0", number)}
	first.outputPrefix = task.outputPrefix(p.opts.Flyte, 0)
	if p.opts.Flyte == V2 && !p.opts.pluginOnly {
		e.driver = &action{execution: e, attempt: first}
	} else {
		e.driver = &node{execution: e, attempt: first}
	}
	return e
}

// Wait waits until the task's fate is known. It fails with ctx's error, or with ErrClosed; the result then tells how far it came.
func (e *Execution) Wait(ctx context.Context) (Result, error) {
	select {
	case <-e.over:
	case <-ctx.Done():
		return e.snapshot(), fmt.Errorf("task %v: %w", e.task.ExecutionID.GetNodeExecutionId(), ctx.Err())
	}
	return e.snapshot(), e.err
}

// WaitGone waits until nothing follows any more: in Flyte 2, until the action is deleted and its job with it; in Flyte 1, until the
// round in which the task's fate was known or, after an abort, the next one.
func (e *Execution) WaitGone(ctx context.Context) error {
	select {
	case <-e.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("task %v: %w", e.task.ExecutionID.GetNodeExecutionId(), ctx.Err())
	}
}

// Abort ends the task. Flyte 1 sends DeleteTask once for each Abort, and Abort returns its error; the task is over when one has
// succeeded. Flyte 2 deletes the action, which repeats DeleteTask until it succeeds; Abort waits for that, or for ctx.
func (e *Execution) Abort(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
	case <-e.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	ended, err := e.driver.abort()
	<-e.turn
	if err != nil {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("abort of task %v: %w", e.task.ExecutionID.GetNodeExecutionId(), ctx.Err())
	}
}

// History is every change of phase so far.
func (e *Execution) History() []Change {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.history)
}

// Calls is every RPC so far.
func (e *Execution) Calls() []Call {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.calls)
}

func (e *Execution) snapshot() Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	result := e.result
	result.History, result.Calls = slices.Clone(e.history), slices.Clone(e.calls)
	return result
}

// run is the task's life: a round at once, and one after each pause.
func (e *Execution) run() {
	defer close(e.gone)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-e.propeller.ctx.Done():
			e.finish(nil, PhaseInfo{}, ErrClosed)
			return
		case <-timer.C:
		}
		select {
		case <-e.propeller.ctx.Done():
			e.finish(nil, PhaseInfo{}, ErrClosed)
			return
		case e.turn <- struct{}{}:
		}
		last := false
		e.propeller.turn(func(p *process) { last = e.driver.round(p) })
		<-e.turn
		if last {
			return
		}
		timer.Reset(e.propeller.opts.Round)
	}
}

// record notes a change of phase, if it is one.
func (e *Execution) record(attempt int, info PhaseInfo) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.history); n > 0 && e.history[n-1].Attempt == attempt && e.history[n-1].same(info) {
		return
	}
	e.history = append(e.history, Change{At: time.Now(), Attempt: attempt, PhaseInfo: info})
}

func (e *Execution) note(call Call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, call)
}

// finish settles the task's fate, once.
func (e *Execution) finish(last *attempt, info PhaseInfo, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-e.over:
		return
	default:
	}
	e.result.Phase, e.result.Final, e.err = info.Phase, info, err
	if last != nil {
		e.result.Outputs, e.result.Attempts = last.outputs, last.number+1
		e.propeller.objects.forget(e, last)
	}
	close(e.over)
}

// attempt is one try at a task.
type attempt struct {
	execution    *Execution
	number       int    // from 0, as it is sent
	id           string // Flyte's generated name
	outputPrefix string
	// inline are the outputs in the agent's answer; outputs those that were taken, inline or from the file. Both are the rounds'.
	inline  *core.LiteralMap
	outputs *core.LiteralMap
}

func (a *attempt) next() *attempt {
	number := a.number + 1
	return &attempt{
		execution: a.execution, number: number, id: a.id + "-" + strconv.Itoa(number),
		outputPrefix: a.execution.task.outputPrefix(a.execution.propeller.opts.Flyte, number),
	}
}

// metadata is what Flyte says of the attempt: no more than these fields.
func (a *attempt) metadata(flyte Flyte) *admin.TaskExecutionMetadata {
	task := &a.execution.task
	id, _ := proto.Clone(task.ExecutionID).(*core.TaskExecutionIdentifier)
	id.RetryAttempt = uint32(a.number) //nolint:gosec // a number of retries
	labels := task.Labels
	if flyte == V2 {
		labels = maps.Clone(labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels["attempt"] = strconv.Itoa(a.number + 1)
	}
	return &admin.TaskExecutionMetadata{
		TaskExecutionId: id, Namespace: task.Namespace, Labels: labels, Annotations: task.Annotations,
		K8SServiceAccount: task.ServiceAccount, EnvironmentVariables: task.Environment, Identity: task.Identity,
	}
}

func (t *Task) outputPrefix(flyte Flyte, attempt int) string {
	if t.OutputPrefixOf != nil {
		return t.OutputPrefixOf(attempt)
	}
	if flyte == V2 {
		attempt++
	}
	return t.OutputPrefix + "/" + strconv.Itoa(attempt)
}
