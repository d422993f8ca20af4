package taskrun

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/proto/agentclient"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

const (
	// The wait between two polls grows from the first to the second: a quick query is not kept waiting, and a long one
	// not pestered.
	firstPoll = 50 * time.Millisecond
	slowPoll  = time.Second
	// callTimeout bounds each single call but the create and the sync call, as FlytePropeller does.
	callTimeout = 10 * time.Second
	// createTimeout and syncTimeout bound those two, where Options say nothing: both may take as long as the plugin needs.
	createTimeout = 10 * time.Minute
	syncTimeout   = time.Hour
	// maxPollFailures is how many polls may fail in a row before the job is given up. (FlytePropeller counts them over the
	// whole life of a task.)
	maxPollFailures = 5
	// deleteTimeout bounds the deletion of an interrupted job.
	deleteTimeout = 10 * time.Second
)

// Options say how a task is run.
type Options struct {
	// Flyte is the generation to speak; default agentclient.Flyte1.
	Flyte agentclient.Flyte
	// OutputPrefix is where the agent writes outputs.
	OutputPrefix string
	// Project and Domain are those of the execution.
	Project, Domain string
	// BeginTimeout bounds the call that begins the task, CreateTask or the one of a sync agent. Zero: 10 minutes, and an hour.
	BeginTimeout time.Duration
	// Watch, if set, hears of every change and of every passing second.
	Watch func(Progress)
	// Log, if set, gets the job's log lines, as far as the agent gives them, with their time and who wrote them.
	Log func(line string)
}

// Progress is a task at one moment.
type Progress struct {
	// Phase is the task's phase such as RUNNING, or CREATING and DELETING for the calls around its life.
	Phase string
	// Message is the agent's word on it; may be empty.
	Message string
	// Elapsed is the time since the task was started.
	Elapsed time.Duration
}

// ErrInterrupted is in the error of Run when ctx ended while the task ran. The job was deleted, or else the error says so.
var ErrInterrupted = errors.New("interrupted")

// Run runs a task to its end. A task that failed is no error: the Result says so. When ctx ends, the job is deleted.
func Run(ctx context.Context, conn grpc.ClientConnInterface, task *Task, options Options) (*Result, error) {
	if options.Flyte == 0 {
		options.Flyte = agentclient.Flyte1
	}
	if options.Watch == nil {
		options.Watch = func(Progress) {}
	}
	r := &run{client: agentclient.Client{Conn: conn, Flyte: options.Flyte}, task: task, options: options, began: time.Now()}
	return r.run(ctx)
}

type run struct {
	client  agentclient.Client
	task    *Task
	options Options
	began   time.Time
	logs    logFollower
}

func (r *run) run(ctx context.Context) (*Result, error) {
	name := r.task.Template.GetType()
	category, isSync, err := r.agent(ctx)
	if err != nil {
		return nil, err
	}
	request := &admin.CreateTaskRequest{
		Inputs: r.task.Inputs, Template: r.task.Template, OutputPrefix: r.options.OutputPrefix,
		TaskExecutionMetadata: ExecutionMetadata(r.task.Template, r.options),
	}
	if isSync {
		r.tell("RUNNING", "one call: the agent is a sync one")
		calling, cancel := context.WithTimeout(ctx, cmp.Or(r.options.BeginTimeout, syncTimeout))
		defer cancel()
		resource, err := r.sync(calling, request)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w; the call was cancelled", ErrInterrupted)
		}
		if err != nil {
			return nil, fmt.Errorf("running %s: %w%s", name, plain(err), late(err, ""))
		}
		return r.result(resource, true), nil
	}
	r.tell("CREATING", "")
	creating, cancel := context.WithTimeout(ctx, cmp.Or(r.options.BeginTimeout, createTimeout))
	defer cancel()
	meta, err := r.client.Create(creating, request)
	job := agentclient.Job{Category: category, Meta: meta}
	if ctx.Err() != nil {
		if err != nil {
			return nil, fmt.Errorf("%w while the job was being created; if the agent has made it all the same, nothing here knows its name", ErrInterrupted)
		}
		return nil, r.abandon(job)
	}
	if err != nil {
		return nil, fmt.Errorf("creating the job: %w%s", plain(err), late(err, "; CreateTask only begins a job, and polls ask how it is"))
	}
	return r.poll(ctx, job)
}

// late says what to do about a call that took longer than it may.
func late(err error, hint string) string {
	if status.Code(byOurClock(err)) != codes.DeadlineExceeded {
		return ""
	}
	return ": the agent has not answered in time" + hint + "; --begin-timeout lets it take longer"
}

func (r *run) agent(ctx context.Context) (*admin.TaskCategory, bool, error) {
	listing, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	agents, err := r.client.List(listing)
	if ctx.Err() != nil {
		return nil, false, ErrInterrupted
	}
	if err != nil {
		return nil, false, fmt.Errorf("asking which task types there are: %w", plain(err))
	}
	category, isSync, err := Find(agents, r.task.Template.GetType(), r.task.Template.GetTaskTypeVersion())
	if err != nil && r.options.Flyte == agentclient.Flyte2 {
		err = fmt.Errorf("%w (Flyte 2 is not shown sync agents)", err)
	}
	return category, isSync, err
}

// poll asks until the job has ended.
func (r *run) poll(ctx context.Context, job agentclient.Job) (*Result, error) {
	wait, failures := firstPoll, 0
	r.logs = logFollower{client: r.client, job: job, emit: r.options.Log}
	for {
		getting, cancel := context.WithTimeout(ctx, callTimeout)
		resource, err := r.client.Get(getting, job)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, r.abandon(job)
		case err != nil:
			failures++
			if failures >= maxPollFailures || !transient(err) {
				return nil, fmt.Errorf("asking for the job: %w; %w", plain(err), r.abandonFailed(job))
			}
			r.tell("UNKNOWN", "the agent does not answer: "+plain(err).Error())
		default:
			failures = 0
			if phase, ended := PhaseOf(resource); ended {
				r.logs.follow(ctx)
				return r.result(resource, false), nil
			} else if phase != core.TaskExecution_UNDEFINED {
				r.tell(phase.String(), resource.GetMessage())
			} else {
				return nil, fmt.Errorf("the agent answered without a phase, which Flyte takes for a failure; %w", r.abandonFailed(job))
			}
			r.logs.follow(ctx)
		}
		select {
		case <-time.After(wait):
			wait = min(wait*2, slowPoll)
		case <-ctx.Done():
			return nil, r.abandon(job)
		}
	}
}

// abandon deletes the job of an interrupted run.
func (r *run) abandon(job agentclient.Job) error {
	r.tell("DELETING", "interrupted")
	ctx, cancel := context.WithTimeout(context.Background(), deleteTimeout)
	defer cancel()
	if err := r.client.Delete(ctx, job); err != nil {
		return fmt.Errorf("%w; the job could not be deleted and may still run: %w", ErrInterrupted, plain(err))
	}
	return fmt.Errorf("%w; the job was deleted", ErrInterrupted)
}

// abandonFailed deletes a job of which nothing is heard any more.
func (r *run) abandonFailed(job agentclient.Job) error {
	ctx, cancel := context.WithTimeout(context.Background(), deleteTimeout)
	defer cancel()
	if err := r.client.Delete(ctx, job); err != nil {
		return errors.New("the job could not be deleted either and may still run")
	}
	return errors.New("the job was deleted")
}

func (r *run) tell(phase, message string) {
	r.options.Watch(Progress{Phase: phase, Message: message, Elapsed: time.Since(r.began)})
}

// PhaseOf reads the phase as FlytePropeller does: an agent that sets none may still set the deprecated state.
func PhaseOf(resource *admin.Resource) (phase core.TaskExecution_Phase, ended bool) {
	phase = resource.GetPhase()
	if phase == core.TaskExecution_UNDEFINED {
		switch resource.GetState() {
		case admin.State_PENDING:
			phase = core.TaskExecution_QUEUED
		case admin.State_RUNNING:
			phase = core.TaskExecution_RUNNING
		case admin.State_SUCCEEDED:
			phase = core.TaskExecution_SUCCEEDED
		case admin.State_PERMANENT_FAILURE:
			phase = core.TaskExecution_FAILED
		}
	}
	return phase, pluginv1.Terminal(phase)
}

// result reads the end of a task. An agent that gives no outputs in its answer has written them to the output prefix.
func (r *run) result(resource *admin.Resource, isSync bool) *Result {
	phase, ended := PhaseOf(resource)
	result := &Result{
		Phase: phase, Message: resource.GetMessage(), Sync: isSync, Elapsed: time.Since(r.began), OutputPrefix: r.options.OutputPrefix,
		Outputs: resource.GetOutputs(), CustomInfo: resource.GetCustomInfo(), Error: resource.GetAgentError(),
		declared: r.task.Template.GetInterface().GetOutputs(),
	}
	for _, link := range resource.GetLogLinks() {
		result.Links = append(result.Links, Link{Name: link.GetName(), URI: link.GetUri()})
	}
	if !ended {
		result.Message = strings.TrimSpace(fmt.Sprintf("the sync agent answered with phase %s, which is not an end and breaks FlytePropeller. %s", phase, result.Message))
		result.Phase = core.TaskExecution_FAILED
	}
	if phase == core.TaskExecution_SUCCEEDED && result.Outputs == nil && len(result.declared.GetVariables()) > 0 {
		outputs, err := ReadOutputs(r.options.OutputPrefix)
		if err != nil {
			result.Note = err.Error()
		}
		result.Outputs = outputs
	}
	return result
}

// ReadOutputs reads the outputs.pb that an agent left at the output prefix, where that is a local folder.
func ReadOutputs(prefix string) (*core.LiteralMap, error) {
	folder, ok := localPath(prefix)
	if !ok {
		return nil, fmt.Errorf("the agent gave no outputs in its answer; they should be at %s/outputs.pb", strings.TrimSuffix(prefix, "/"))
	}
	content, err := os.ReadFile(filepath.Join(folder, "outputs.pb"))
	if err != nil {
		return nil, fmt.Errorf("the agent gave no outputs, neither in its answer nor as a file: %w", err)
	}
	var outputs core.LiteralMap
	if err := proto.Unmarshal(content, &outputs); err != nil {
		return nil, fmt.Errorf("%s/outputs.pb is no LiteralMap: %w", folder, err)
	}
	return &outputs, nil
}

// localPath gives the path of a file:// URI or a plain path; false for anything remote.
func localPath(uri string) (string, bool) {
	if !strings.Contains(uri, "://") {
		return uri, true
	}
	parsed, err := url.Parse(uri)
	if err != nil || parsed.Scheme != "file" {
		return "", false
	}
	return parsed.Path, true
}

// ExecutionMetadata is what FlytePropeller sends of the execution around a task. The execution's name is new each time,
// so that two runs are two attempts for an agent that makes creates idempotent.
func ExecutionMetadata(template *core.TaskTemplate, options Options) *admin.TaskExecutionMetadata {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	name := "run-" + hex.EncodeToString(random)
	project, domain := template.GetId().GetProject(), template.GetId().GetDomain()
	if options.Project != "" {
		project = options.Project
	}
	if options.Domain != "" {
		domain = options.Domain
	}
	return &admin.TaskExecutionMetadata{
		TaskExecutionId: &core.TaskExecutionIdentifier{
			TaskId: template.GetId(),
			NodeExecutionId: &core.NodeExecutionIdentifier{
				NodeId:      "n0",
				ExecutionId: &core.WorkflowExecutionIdentifier{Project: project, Domain: domain, Name: name},
			},
		},
		Namespace:         project + "-" + domain,
		Labels:            map[string]string{"project": project, "domain": domain, "execution-id": name},
		Annotations:       map[string]string{},
		K8SServiceAccount: "default",
		EnvironmentVariables: map[string]string{
			"FLYTE_INTERNAL_EXECUTION_PROJECT": project,
			"FLYTE_INTERNAL_EXECUTION_DOMAIN":  domain,
			"FLYTE_INTERNAL_EXECUTION_ID":      name,
		},
	}
}

// logFollower emits each log line of a job once, across calls.
type logFollower struct {
	client agentclient.Client
	job    agentclient.Job
	emit   func(string)
	token  string
	// seen counts the lines for an agent without tokens, which starts from the beginning each time.
	seen int
	off  bool
}

// follow emits what is new. An agent that has no logs is not asked again.
func (f *logFollower) follow(ctx context.Context) {
	if f.emit == nil || f.off {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	skip := 0
	if f.token == "" {
		skip = f.seen
	}
	count := 0
	line := func(text string) {
		if count++; count > skip {
			f.emit(text)
			f.seen++
		}
	}
	var err error
	for part, failed := range f.client.Logs(ctx, f.job, 0, f.token) {
		if err = failed; err != nil {
			break
		}
		if next := part.GetHeader().GetToken(); next != "" {
			f.token = next
		}
		lines, malformed := agentclient.LogLines(part.GetBody())
		if err = malformed; err != nil {
			break
		}
		for _, found := range lines {
			line(shown(found))
		}
	}
	if status.Code(err) == codes.Unimplemented {
		f.off = true
		f.emit("(this agent gives no logs)")
	}
}

// shown is a log line as text: when, by whom, what, as far as it is known.
func shown(line agentclient.LogLine) string {
	var b strings.Builder
	if !line.Time.IsZero() {
		b.WriteString(line.Time.UTC().Format("2006-01-02T15:04:05.000Z  "))
	}
	if by := line.By(); by != "" {
		fmt.Fprintf(&b, "%-6s  ", by)
	}
	b.WriteString(line.Message)
	return b.String()
}
