package propeller

import (
	"context"
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/proto/fields"
)

// state is what Flyte writes down of an attempt between two rounds: all that survives a restart.
type state struct {
	phase pluginPhase
	// meta is how the job is found again; nil where there is none, as after a sync call.
	meta *resourceMeta
	// syncFailures counts failed polls. Nothing ever resets it.
	syncFailures int
	// lastError is that of the last failed poll.
	lastError string
}

type pluginPhase int

const (
	notStarted pluginPhase = iota
	tokenAcquired
	created
	succeeded
	failed
	systemFailure
)

func (p pluginPhase) terminal() bool { return p == succeeded || p == failed || p == systemFailure }

// resourceMeta is a job as CreateTask left it.
type resourceMeta struct {
	attempt      *attempt // to note calls; not part of what Flyte keeps
	category     *admin.TaskCategory
	outputPrefix string
	job          []byte // the agent's resource_meta
	connection   []byte // Flyte 2's Connection, secrets resolved, on the wire
}

// handle is one round of the plugin: what to write down, and what to report. An error means that nothing is to be written down.
func (p *process) handle(ctx context.Context, a *attempt, current state) (state, PhaseInfo, error) {
	switch current.phase {
	case notStarted:
		if p.opts.Flyte == V2 && !p.opts.pluginOnly {
			// Flyte 2's executor was recorded with its quota, which takes a round. Flyte 1 has the same, and an agent cannot see it.
			current.phase = tokenAcquired
			return current, PhaseInfo{Phase: Queued, Reason: "Allocation token required"}, nil
		}
		return p.launch(ctx, a, current)
	case tokenAcquired:
		return p.launch(ctx, a, current)
	case created:
		return p.monitor(ctx, a, current)
	}
	return current, PhaseInfo{}, fmt.Errorf("plugin phase %d is over", current.phase)
}

// launch creates the job. Whatever goes wrong is a retryable failure: one attempt of the user's.
func (p *process) launch(ctx context.Context, a *attempt, current state) (state, PhaseInfo, error) {
	meta, answer, err := p.create(ctx, a)
	if err != nil {
		return current, userFailure(RetryableFailure, CodeTaskFailed, err.Error(), nil), nil
	}
	if answer != nil {
		info, err := p.status(ctx, a, answer)
		if err != nil || info.Phase.terminal() {
			return current, info, err
		}
		// A sync answer that is not terminal: the task goes on as if there were a job, and the cache finds none.
	}
	current.meta, current.phase = meta, created
	p.cache.getOrCreate(p.ctx, a.id, item{state: current})
	return current, PhaseInfo{Phase: Queued, Reason: "launched"}, nil
}

// monitor reports what the cache knows of the job.
func (p *process) monitor(ctx context.Context, a *attempt, current state) (state, PhaseInfo, error) {
	cached := p.cache.getOrCreate(p.ctx, a.id, item{state: current})
	if cached.resource == nil {
		if cached.phase.terminal() {
			p.cache.deleteLater(a.id)
			return current, userFailure(PermanentFailure, CodeAutoRefreshFailed, cached.lastError, nil), nil
		}
		return current, PhaseInfo{Phase: Queued, Reason: "job submitted"}, nil
	}
	info, err := p.status(ctx, a, cached.resource)
	if err != nil {
		return current, PhaseInfo{}, err
	}
	next := cached.state
	switch info.Phase {
	case Succeeded:
		next.phase = succeeded
	case PermanentFailure, RetryableFailure:
		next.phase = failed
	default:
		next.phase = created
	}
	if next.phase.terminal() {
		p.cache.deleteLater(a.id)
	}
	return next, info, nil
}

// abort deletes the job, where there is one. The cache goes on polling it (read).
func (p *process) abort(ctx context.Context, current state) error {
	if current.meta == nil {
		return nil
	}
	meta := current.meta
	request := &admin.DeleteTaskRequest{ResourceMeta: meta.job, TaskCategory: meta.category}
	if p.opts.Flyte == V1 {
		request.TaskType = meta.category.GetName() // deprecated, and sent by Flyte 1 all the same
	} else {
		addUnknown(request, 5, meta.connection)
	}
	endpoint := p.discovery.resolve(meta.category).Endpoint
	if err := p.wire.invoke(ctx, endpoint, deleteTask, meta.attempt, request, &admin.DeleteTaskResponse{}); err != nil {
		return fmt.Errorf("failed to delete task from connector with %w", err)
	}
	return nil
}

// create makes the job: an async one, which gives a meta, or a sync one, which gives its answer.
func (p *process) create(ctx context.Context, a *attempt) (*resourceMeta, *resource, error) {
	template := a.template()
	metadata := a.metadata(p.opts.Flyte)
	category := &admin.TaskCategory{Name: template.GetType(), Version: template.GetTaskTypeVersion()}
	target := p.discovery.resolve(category)

	if target.Sync {
		answer, err := p.wire.executeSync(ctx, target.Endpoint, a, &admin.CreateRequestHeader{
			Template: template, OutputPrefix: a.outputPrefix, TaskExecutionMetadata: metadata,
		})
		if err != nil {
			return nil, nil, err
		}
		if answer.GetHeader() == nil {
			return nil, nil, fmt.Errorf("expected header in the response, but got none")
		}
		return nil, syncResource(answer.GetHeader().GetResource()), nil
	}

	request := &admin.CreateTaskRequest{
		Inputs: a.execution.task.Inputs, Template: template, OutputPrefix: a.outputPrefix, TaskExecutionMetadata: metadata,
	}
	var connection []byte
	if p.opts.Flyte == V2 {
		var err error
		if connection, err = connectionOf(ctx, p.opts, template.GetCustom(), metadata.GetLabels()); err != nil {
			return nil, nil, err
		}
		addUnknown(request, 5, connection)
	}
	response := &admin.CreateTaskResponse{}
	if err := p.wire.invoke(ctx, target.Endpoint, createTask, a, request, response); err != nil {
		return nil, nil, fmt.Errorf("failed to create task from connector with %w", err)
	}
	return &resourceMeta{
		attempt: a, category: category, outputPrefix: a.outputPrefix, job: response.GetResourceMeta(), connection: connection,
	}, nil, nil
}

// poll is what a cache worker does with an item.
func (p *process) poll(ctx context.Context, current item) item {
	if current.syncFailures > p.opts.MaxSyncFailures {
		current.phase = systemFailure
		return current
	}
	meta := current.meta
	request := &admin.GetTaskRequest{ResourceMeta: meta.job, TaskCategory: meta.category}
	if p.opts.Flyte == V1 {
		request.TaskType = meta.category.GetName() // deprecated, and sent by Flyte 1 all the same
	}
	if meta.outputPrefix != "" {
		addUnknown(request, 4, []byte(meta.outputPrefix)) // newer than the Go types
	}
	if p.opts.Flyte == V2 {
		addUnknown(request, 5, meta.connection)
	}
	target := p.discovery.resolve(meta.category)
	response := &admin.GetTaskResponse{}
	if err := p.wire.invoke(ctx, target.Endpoint, getTask, meta.attempt, request, response); err != nil {
		current.syncFailures++
		current.lastError = fmt.Errorf("failed to get task from connector with %w", err).Error()
		return current
	}
	current.resource = asyncResource(response.GetResource())
	if p.opts.Flyte == V2 {
		current.resource.endpoint = target.Endpoint
	}
	return current
}

// addUnknown adds a field that the Go types of flyteidl 1.14 do not have: a string, bytes or a message.
func addUnknown(message proto.Message, field fields.Number, value []byte) {
	reflected := message.ProtoReflect()
	reflected.SetUnknown(fields.Append(reflected.GetUnknown(), field, value))
}
