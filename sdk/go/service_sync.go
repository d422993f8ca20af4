package agent

import (
	"errors"
	"io"
	"maps"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
)

// syncService is flyteidl.service.SyncAgentService.
type syncService struct{ server *Server }

var _ service.SyncAgentServiceServer = syncService{}

// ExecuteTaskSync answers with one message, the header with the resource and its outputs: FlytePropeller reads no more.
func (s syncService) ExecuteTaskSync(stream service.SyncAgentService_ExecuteTaskSyncServer) error {
	header, inputs, err := receiveTask(stream)
	if err != nil {
		return err
	}
	ctx := stream.Context()
	task := newTask(ctx, header.GetTemplate(), inputs, header.GetOutputPrefix(), header.GetTaskExecutionMetadata(), connectionOf(header))
	task.MaxDatasetSizeBytes = header.GetMaxDatasetSizeBytes()
	registered, err := s.server.registry.find(task.Category)
	if err != nil {
		return err
	}
	if registered.sync == nil {
		return FailedPrecondition("task category %q is served by the asynchronous agent %q: call AsyncAgentService.CreateTask",
			task.Category.Name, registered.name)
	}
	if err := s.server.ready(); err != nil {
		return err
	}
	var message *admin.Resource
	err = guard(registered, task.Category, "Execute", func() error {
		resource, err := registered.sync.Execute(ctx, task)
		if err != nil {
			return err
		}
		if resource != nil && !Terminal(resource.Phase) {
			return FailedPrecondition("a synchronous agent must end with a terminal phase, not %s: FlytePropeller cannot ask again", resource.Phase)
		}
		message, err = resource.message(task.OutputTypes())
		return err
	})
	if err != nil {
		return err
	}
	return stream.Send(&admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Header{
		Header: &admin.ExecuteTaskSyncResponseHeader{Resource: message},
	}})
}

// receiveTask reads the request's parts: a header, and inputs in any number of messages.
func receiveTask(stream service.SyncAgentService_ExecuteTaskSyncServer) (*admin.CreateRequestHeader, *core.LiteralMap, error) {
	var header *admin.CreateRequestHeader
	inputs := &core.LiteralMap{Literals: map[string]*core.Literal{}}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if sent := part.GetHeader(); sent != nil {
			header = sent
		}
		maps.Copy(inputs.Literals, part.GetInputs().GetLiterals())
	}
	if header == nil {
		return nil, nil, InvalidArgument("the call has no header: ExecuteTaskSync needs a header with the task's template first")
	}
	return header, inputs, nil
}
