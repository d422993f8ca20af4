package verify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/proto/agentclient"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/sdk/go/literal"
	"github.com/agenthost/agenthost/tools/taskrun"
)

// sample is a sample task, ready to run.
type sample struct {
	name   string
	task   *taskrun.Task
	phase  core.TaskExecution_Phase
	expect map[string]any

	finished *finishedJob // once it was run
	broken   error        // why it cannot be
}

func readSamples(tasks []Task) ([]*sample, error) {
	var samples []*sample
	for n, t := range tasks {
		options, err := t.options()
		if err == nil {
			var task *taskrun.Task
			if task, err = taskrun.NewTask(options); err == nil {
				s := &sample{name: t.Name, task: task, phase: core.TaskExecution_SUCCEEDED, expect: t.Expect.Outputs}
				if s.name == "" {
					s.name = task.Template.GetType()
				}
				s.phase, err = parsePhase(t.Expect.Phase)
				samples = append(samples, s)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("sample task %d %s: %w", n+1, t.Name, err)
		}
	}
	return samples, nil
}

func parsePhase(name string) (core.TaskExecution_Phase, error) {
	switch name {
	case "", "SUCCEEDED":
		return core.TaskExecution_SUCCEEDED, nil
	case "FAILED":
		return core.TaskExecution_FAILED, nil
	case "ABORTED":
		return core.TaskExecution_ABORTED, nil
	case "RETRYABLE_FAILED":
		return pluginv1.PhaseRetryableFailed, nil
	}
	return 0, fmt.Errorf("expect: phase: %q is not a terminal phase: SUCCEEDED, FAILED, RETRYABLE_FAILED or ABORTED", name)
}

// request is a new attempt at a sample task, with an idempotency key and an output prefix of its own.
func (k *kit) request(s *sample) (*admin.CreateTaskRequest, error) {
	k.outputs++
	prefix := filepath.Join(k.work, "outputs", strconv.Itoa(k.outputs))
	if err := os.MkdirAll(prefix, 0o700); err != nil {
		return nil, err
	}
	return &admin.CreateTaskRequest{
		Inputs: s.task.Inputs, Template: s.task.Template, OutputPrefix: prefix,
		TaskExecutionMetadata: taskrun.ExecutionMetadata(s.task.Template, taskrun.Options{}),
	}, nil
}

// samplesOf are the sample tasks of one kind of agents.
func (k *kit) samplesOf(ctx context.Context, isSync bool) ([]*sample, error) {
	listed, err := k.agents(ctx)
	if err != nil {
		return nil, err
	}
	var samples []*sample
	for _, s := range k.samples {
		_, serves, err := taskrun.Find(listed, s.task.Template.GetType(), s.task.Template.GetTaskTypeVersion())
		if err != nil {
			return nil, &blocked{"agents/list", failed("sample task %s: %v", s.name, err)}
		}
		if serves == isSync {
			samples = append(samples, s)
		}
	}
	if len(samples) > 0 {
		return samples, nil
	}
	if kinds, err := k.kinds(ctx); err != nil || !kinds[isSync] {
		return nil, errors.Join(err, skipped("it has no %s agents", kindName(isSync)))
	}
	return nil, skipped("no sample task for an %s agent: give one with --task", kindName(isSync))
}

func (s *sample) category() *admin.TaskCategory {
	return &admin.TaskCategory{Name: s.task.Template.GetType(), Version: s.task.Template.GetTaskTypeVersion()}
}

// finishedJob is a job that has come to its end.
type finishedJob struct {
	job      agentclient.Job
	request  *admin.CreateTaskRequest
	resource *admin.Resource
	phases   []string // seen on the way, without repetitions
	took     time.Duration
}

// finish runs a sample task to its end, once: the checks that look at a finished job share it.
func (k *kit) finish(ctx context.Context, s *sample) (*finishedJob, error) {
	if s.broken != nil {
		return nil, &blocked{"tasks/completes", s.broken}
	}
	if s.finished != nil {
		return s.finished, nil
	}
	i, err := k.at(ctx, ready)
	if err != nil {
		return nil, err
	}
	request, err := k.request(s)
	if err != nil {
		return nil, err
	}
	if s.finished, err = k.complete(ctx, callerOn(i.conn), s, request, nil); err != nil {
		s.finished, s.broken = nil, err
		return nil, &blocked{"tasks/completes", err}
	}
	return s.finished, nil
}

// finished is a finished job of a sample task, and a process to make calls on it to.
func (k *kit) finished(ctx context.Context, s *sample) (*finishedJob, *instance, error) {
	finished, err := k.finish(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	i, err := k.at(ctx, ready)
	return finished, i, err
}

// started is a new job of a sample task that is known to complete, the process that made it and the request for it.
func (k *kit) started(ctx context.Context, s *sample) (*instance, *admin.CreateTaskRequest, agentclient.Job, error) {
	_, i, err := k.finished(ctx, s)
	if err != nil {
		return nil, nil, agentclient.Job{}, err
	}
	request, err := k.request(s)
	if err != nil {
		return nil, nil, agentclient.Job{}, err
	}
	meta, err := k.createJob(ctx, callerOn(i.conn), request)
	if err != nil {
		return nil, nil, agentclient.Job{}, failed("%s: CreateTask fails: %s", s.name, describeError(err))
	}
	return i, request, agentclient.Job{Category: s.category(), Meta: meta}, nil
}

// complete makes a job and follows it to the end that is expected of it: as Flyte 2 does if there is a connection to send.
func (k *kit) complete(ctx context.Context, c caller, s *sample, request *admin.CreateTaskRequest, connection *agentclient.Connection) (*finishedJob, error) {
	began := time.Now()
	connection.AddTo(request)
	meta, err := k.createJob(ctx, c, request)
	if err != nil {
		return nil, failed("%s: CreateTask fails: %s", s.name, describeError(err))
	}
	finished := &finishedJob{job: agentclient.Job{Category: s.category(), Meta: meta, CategoryOnly: connection != nil, Connection: connection}, request: request}
	if finished.resource, finished.phases, err = k.follow(ctx, c, finished.job, k.taskTimeout()); err == nil {
		err = s.endsAsExpected(finished.resource)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	finished.took = time.Since(began)
	return finished, nil
}

func (k *kit) createJob(ctx context.Context, c caller, request *admin.CreateTaskRequest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, k.options.CallTimeout)
	defer cancel()
	return c.create(ctx, request)
}

// The wait between two polls grows from the first to the second.
const (
	firstPoll = 10 * time.Millisecond
	slowPoll  = time.Second
)

// usualTaskTimeout and leastRestartTimeout are for where nobody says how long a sample task may take.
const (
	usualTaskTimeout    = 5 * time.Minute
	leastRestartTimeout = time.Minute
)

func (k *kit) taskTimeout() time.Duration {
	return cmp.Or(k.options.TaskTimeout, time.Duration(k.subject.TaskTimeout), usualTaskTimeout)
}

// restartTimeout is how long a job may take that was begun by a process that was killed.
func (k *kit) restartTimeout(s *sample) time.Duration {
	return cmp.Or(k.options.TaskTimeout, time.Duration(k.subject.TaskTimeout), min(usualTaskTimeout, max(10*s.finished.took, leastRestartTimeout)))
}

// follow polls a job to its end.
func (k *kit) follow(ctx context.Context, c caller, j agentclient.Job, limit time.Duration) (*admin.Resource, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var phases []string
	for wait := firstPoll; ; wait = min(2*wait, slowPoll) {
		polling, cancel := k.call(ctx)
		resource, err := c.Get(polling, j)
		cancel()
		if err != nil {
			return nil, phases, failed("GetTask fails: %s", describeError(err))
		}
		phase, ended := taskrun.PhaseOf(resource)
		if name := pluginv1.PhaseName(phase); len(phases) == 0 || phases[len(phases)-1] != name {
			phases = append(phases, name)
		}
		switch {
		case ended:
			return resource, phases, nil
		case phase == core.TaskExecution_UNDEFINED:
			return nil, phases, advise(failed("GetTask answers without a phase, which Flyte takes for a failure"), "set Resource.phase in every answer")
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, phases, failed("it is still %s after %v, the limit of --task-timeout", pluginv1.PhaseName(phase), limit)
		}
	}
}

func (s *sample) endsAsExpected(resource *admin.Resource) error {
	if phase, _ := taskrun.PhaseOf(resource); phase != s.phase {
		return advise(failed("it ends %s and not %s: %s", pluginv1.PhaseName(phase), pluginv1.PhaseName(s.phase), shorten(orNothing(resource.GetMessage()))),
			"correct the plugin, or what the sample task expects")
	}
	return nil
}

func orNothing(text string) string {
	if text == "" {
		return "no message"
	}
	return text
}

// checkOutputs compares what came out with what the task declares and what is expected.
func (s *sample) checkOutputs(resource *admin.Resource, prefix string) (string, error) {
	outputs := resource.GetOutputs()
	declared := sortedKeys(s.task.Template.GetInterface().GetOutputs().GetVariables())
	if outputs == nil && len(declared) > 0 {
		var err error
		if outputs, err = taskrun.ReadOutputs(prefix); err != nil {
			return "", failed("%s: %v", s.name, err)
		}
	}
	for _, name := range declared {
		if outputs.GetLiterals()[name] == nil {
			return "", failed("%s: output %s is declared and is not there; there are: %s", s.name, name, strings.Join(sortedKeys(outputs.GetLiterals()), ", "))
		}
	}
	for _, name := range sortedKeys(s.expect) {
		got, err := plain(outputs.GetLiterals()[name])
		if err != nil {
			return "", failed("%s: output %s cannot be read: %v", s.name, name, err)
		}
		if want := normal(s.expect[name]); !reflect.DeepEqual(got, want) {
			return "", failed("%s: output %s is %s and not %s", s.name, name, inJSON(got), inJSON(want))
		}
	}
	return strings.Join(slices.Sorted(slices.Values(declared)), ", "), nil
}

// plain is a literal as JSON has it.
func plain(l *core.Literal) (any, error) {
	if l == nil {
		return nil, errors.New("it is not there")
	}
	value, err := literal.Decode[any](l)
	if err != nil {
		return nil, err
	}
	return normal(value), nil
}

// textKeys gives dicts whose keys are not all texts keys that are.
func textKeys(value any) any {
	switch v := value.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = textKeys(v[i])
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key := range v {
			object[key] = textKeys(v[key])
		}
		return object
	case map[any]any:
		object := make(map[string]any, len(v))
		for key := range v {
			object[fmt.Sprint(key)] = textKeys(v[key])
		}
		if len(object) == len(v) {
			return object
		}
	}
	return value
}

// normal is a value as it comes back from JSON, so that values of different origins compare.
func normal(value any) any {
	encoded, err := json.Marshal(textKeys(value))
	if err != nil {
		return fmt.Sprint(value)
	}
	var back any
	if json.Unmarshal(encoded, &back) != nil {
		return string(encoded)
	}
	return back
}

func inJSON(value any) string {
	encoded, _ := json.Marshal(value) // it came from JSON
	return shorten(string(encoded))
}
