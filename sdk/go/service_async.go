package agent

import (
	"context"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// asyncService is flyteidl.service.AsyncAgentService.
type asyncService struct{ server *Server }

var _ service.AsyncAgentServiceServer = asyncService{}

func (s asyncService) CreateTask(ctx context.Context, request *admin.CreateTaskRequest) (*admin.CreateTaskResponse, error) {
	task := newTask(ctx, request.GetTemplate(), request.GetInputs(), request.GetOutputPrefix(), request.GetTaskExecutionMetadata(), connectionOf(request))
	registered, err := s.find(task.Category)
	if err != nil {
		return nil, err
	}
	response := &admin.CreateTaskResponse{}
	switch {
	case asks(ctx, pluginv1.FindOnlyHeader):
		return response, guard(registered, task.Category, "Find", func() (err error) {
			response.ResourceMeta, err = registered.async.find(ctx, task)
			return err
		})
	case asks(ctx, pluginv1.AbandonHeader):
		return response, guard(registered, task.Category, "Abandon", func() error {
			return registered.async.abandon(ctx, task)
		})
	}
	return response, guard(registered, task.Category, "Create", func() (err error) {
		response.ResourceMeta, err = registered.async.create(ctx, task)
		return err
	})
}

// asks says whether a call's metadata has a key, whatever its value: what asks for less than a creation must not make a job.
func asks(ctx context.Context, key string) bool {
	return len(metadata.ValueFromIncomingContext(ctx, key)) > 0
}

func (s asyncService) GetTask(ctx context.Context, request *admin.GetTaskRequest) (*admin.GetTaskResponse, error) {
	job := jobOf(request)
	job.OutputPrefix = lastString(request.ProtoReflect().GetUnknown(), getOutputPrefixField)
	registered, err := s.find(job.Category)
	if err != nil {
		return nil, err
	}
	response := &admin.GetTaskResponse{}
	return response, guard(registered, job.Category, "Get", func() error {
		resource, err := registered.async.get(ctx, job)
		if err != nil {
			return err
		}
		response.Resource, err = resource.polled()
		return err
	})
}

func (s asyncService) DeleteTask(ctx context.Context, request *admin.DeleteTaskRequest) (*admin.DeleteTaskResponse, error) {
	job := jobOf(request)
	registered, err := s.find(job.Category)
	if err != nil {
		return nil, err
	}
	return &admin.DeleteTaskResponse{}, guard(registered, job.Category, "Delete", func() error {
		return registered.async.delete(ctx, job)
	})
}

func (s asyncService) GetTaskMetrics(ctx context.Context, request *admin.GetTaskMetricsRequest) (*admin.GetTaskMetricsResponse, error) {
	job := jobOf(request)
	registered, err := s.find(job.Category)
	if err != nil {
		return nil, err
	}
	query, err := metricsQueryOf(request)
	if err != nil {
		return nil, err
	}
	response := &admin.GetTaskMetricsResponse{}
	return response, guard(registered, job.Category, "Metrics", func() (err error) {
		response.Results, err = registered.async.metrics(ctx, job, query)
		return err
	})
}

func metricsQueryOf(request *admin.GetTaskMetricsRequest) (MetricsQuery, error) {
	query := MetricsQuery{Queries: request.GetQueries()}
	if step := request.GetStep(); step != nil {
		query.Step = step.AsDuration()
		if !proto.Equal(durationpb.New(query.Step), step) { // Go's durations end at 292 years
			return query, InvalidArgument("the step of %d s is none that can be taken", step.GetSeconds())
		}
	}
	var err error
	if query.Start, err = timeOf("start", request.GetStartTime()); err != nil {
		return query, err
	}
	query.End, err = timeOf("end", request.GetEndTime())
	return query, err
}

// timeOf is the zero time of none.
func timeOf(name string, stamp *timestamppb.Timestamp) (time.Time, error) {
	if stamp == nil {
		return time.Time{}, nil
	}
	if err := stamp.CheckValid(); err != nil {
		return time.Time{}, InvalidArgument("the %s is no time: %w", name, err)
	}
	return stamp.AsTime(), nil
}

func (s asyncService) GetTaskLogs(request *admin.GetTaskLogsRequest, stream service.AsyncAgentService_GetTaskLogsServer) error {
	job := jobOf(request)
	registered, err := s.find(job.Category)
	if err != nil {
		return err
	}
	out := &LogStream{send: func(part *logPart) error {
		message, err := part.message()
		if err != nil {
			return err
		}
		return stream.Send(message)
	}}
	return guard(registered, job.Category, "Logs", func() error {
		query := LogQuery{Lines: request.GetLines(), Token: request.GetToken()}
		return registered.async.logs(stream.Context(), job, query, out)
	})
}

// find returns the asynchronous agent for a category.
func (s asyncService) find(category Category) (*registration, error) {
	registered, err := s.server.registry.find(category)
	if err != nil {
		return nil, err
	}
	if registered.async == nil {
		return nil, FailedPrecondition("task category %q is served by the synchronous agent %q: call SyncAgentService.ExecuteTaskSync",
			category.Name, registered.name)
	}
	return registered, s.server.ready()
}

// jobRequest is what the requests about a job have in common.
type jobRequest interface {
	proto.Message
	GetTaskType() string
	GetResourceMeta() []byte
	GetTaskCategory() *admin.TaskCategory
}

func jobOf(request jobRequest) Job[[]byte] {
	category := Category{Name: request.GetTaskCategory().GetName(), Version: request.GetTaskCategory().GetVersion()}
	if category.Name == "" {
		category = Category{Name: request.GetTaskType()}
	}
	return Job[[]byte]{Meta: request.GetResourceMeta(), Category: category, Connection: connectionOf(request)}
}

func newTask(ctx context.Context, template *core.TaskTemplate, inputs *core.LiteralMap, outputPrefix string,
	meta *admin.TaskExecutionMetadata, connection *Connection,
) *Task {
	task := &Task{
		Category: Category{Name: template.GetType(), Version: template.GetTaskTypeVersion()},
		Template: template, Inputs: inputs, OutputPrefix: outputPrefix, Metadata: meta,
		ExecutionID: meta.GetTaskExecutionId(), Connection: connection,
	}
	if template == nil {
		task.Template = &core.TaskTemplate{}
	}
	if inputs == nil {
		task.Inputs = &core.LiteralMap{}
	}
	if meta == nil {
		task.Metadata = &admin.TaskExecutionMetadata{}
	}
	if sent := metadata.ValueFromIncomingContext(ctx, pluginv1.IdempotencyKeyHeader); len(sent) > 0 && sent[0] != "" {
		task.IdempotencyKey = sent[0]
	} else {
		task.IdempotencyKey = pluginv1.IdempotencyKey(task.ExecutionID, outputPrefix)
	}
	return task
}

func (p *logPart) message() (*admin.GetTaskLogsResponse, error) {
	if p.lines == nil {
		header := &admin.GetTaskLogsResponseHeader{Token: p.token}
		return &admin.GetTaskLogsResponse{Part: &admin.GetTaskLogsResponse_Header{Header: header}}, nil
	}
	body := &admin.GetTaskLogsResponseBody{}
	for _, line := range p.lines {
		body.Results = append(body.Results, line.Message)
	}
	structured, err := structuredLines(p.lines)
	if err != nil {
		return nil, err
	}
	body.ProtoReflect().SetUnknown(structured)
	return &admin.GetTaskLogsResponse{Part: &admin.GetTaskLogsResponse_Body{Body: body}}, nil
}
