package taskrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/proto/nearest"
)

// Flyte is a generation of Flyte. Their messages are the same on the wire, so v1's types serve for both; their services
// have different names, and Flyte 2 has no sync agents.
type Flyte int

// The generations.
const (
	Flyte1 Flyte = 1
	Flyte2 Flyte = 2
)

// client makes the calls of one generation of Flyte.
type client struct {
	conn  grpc.ClientConnInterface
	flyte Flyte
}

func (c client) async(method string) string {
	if c.flyte == Flyte2 {
		return "/flyteidl2.connector.AsyncConnectorService/" + method
	}
	return "/flyteidl.service.AsyncAgentService/" + method
}

func (c client) list(ctx context.Context) ([]*admin.Agent, error) {
	method := "/flyteidl.service.AgentMetadataService/ListAgents"
	if c.flyte == Flyte2 {
		method = "/flyteidl2.connector.ConnectorMetadataService/ListConnectors"
	}
	var answer admin.ListAgentsResponse
	if err := c.conn.Invoke(ctx, method, &admin.ListAgentsRequest{}, &answer); err != nil {
		return nil, err
	}
	return answer.GetAgents(), nil
}

func (c client) create(ctx context.Context, request *admin.CreateTaskRequest) ([]byte, error) {
	var answer admin.CreateTaskResponse
	if err := c.conn.Invoke(ctx, c.async("CreateTask"), request, &answer); err != nil {
		return nil, err
	}
	return answer.GetResourceMeta(), nil
}

func (c client) get(ctx context.Context, job job) (*admin.Resource, error) {
	request := &admin.GetTaskRequest{TaskCategory: job.category, ResourceMeta: job.meta}
	if c.flyte == Flyte1 { // Flyte 2 does not have the field
		request.TaskType = job.category.GetName()
	}
	var answer admin.GetTaskResponse
	if err := c.conn.Invoke(ctx, c.async("GetTask"), request, &answer); err != nil {
		return nil, err
	}
	return answer.GetResource(), nil
}

func (c client) delete(ctx context.Context, job job) error {
	request := &admin.DeleteTaskRequest{TaskCategory: job.category, ResourceMeta: job.meta}
	if c.flyte == Flyte1 {
		request.TaskType = job.category.GetName()
	}
	return c.conn.Invoke(ctx, c.async("DeleteTask"), request, &admin.DeleteTaskResponse{})
}

// logs reads log lines from token on, until the server has no more now, and gives the token for the next time.
func (c client) logs(ctx context.Context, job job, token string, line func(*admin.GetTaskLogsResponseBody)) (next string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, c.async("GetTaskLogs"))
	if err != nil {
		return token, err
	}
	request := &admin.GetTaskLogsRequest{TaskCategory: job.category, ResourceMeta: job.meta, Token: token}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) { // EOF: the reason comes from RecvMsg
		return token, err
	}
	if err := stream.CloseSend(); err != nil {
		return token, err
	}
	for {
		var part admin.GetTaskLogsResponse
		if err := stream.RecvMsg(&part); errors.Is(err, io.EOF) {
			return token, nil
		} else if err != nil {
			return token, err
		}
		if header := part.GetHeader(); header.GetToken() != "" {
			token = header.GetToken()
		}
		if body := part.GetBody(); body != nil {
			line(body)
		}
	}
}

// sync makes the one call of a sync agent. As FlytePropeller does, it reads the header; unlike it, also outputs that come
// as a part of their own.
func (c client) sync(ctx context.Context, request *admin.CreateTaskRequest) (*admin.Resource, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/flyteidl.service.SyncAgentService/ExecuteTaskSync")
	if err != nil {
		return nil, err
	}
	for _, part := range []*admin.ExecuteTaskSyncRequest{
		{Part: &admin.ExecuteTaskSyncRequest_Header{Header: &admin.CreateRequestHeader{
			Template: request.GetTemplate(), OutputPrefix: request.GetOutputPrefix(), TaskExecutionMetadata: request.GetTaskExecutionMetadata(),
		}}},
		{Part: &admin.ExecuteTaskSyncRequest_Inputs{Inputs: request.GetInputs()}},
	} {
		if err := stream.SendMsg(part); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	var resource *admin.Resource
	for {
		var part admin.ExecuteTaskSyncResponse
		if err := stream.RecvMsg(&part); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if header := part.GetHeader(); header != nil {
			resource = header.GetResource()
		} else if outputs := part.GetOutputs(); outputs != nil && resource != nil {
			resource.Outputs = outputs
		}
	}
	if resource == nil {
		return nil, errors.New("the agent ended the call without an answer")
	}
	return resource, nil
}

// Find says which agent serves a task category, and whether it is a sync one: the exact version, or else the highest.
func Find(agents []*admin.Agent, name string, version int32) (category *admin.TaskCategory, isSync bool, err error) {
	var known []string
	for _, agent := range agents {
		served := agent.GetSupportedTaskCategories()
		if len(served) == 0 {
			for _, taskType := range agent.GetSupportedTaskTypes() {
				served = append(served, &admin.TaskCategory{Name: taskType})
			}
		}
		for _, c := range served {
			known = append(known, c.GetName())
			if c.GetName() != name {
				continue
			}
			if category == nil || category.GetVersion() != version && (c.GetVersion() == version || c.GetVersion() > category.GetVersion()) {
				category, isSync = c, agent.GetIsSync()
			}
		}
	}
	if category != nil {
		return &admin.TaskCategory{Name: name, Version: version}, isSync, nil
	}
	slices.Sort(known)
	known = slices.Compact(known)
	if len(known) == 0 {
		return nil, false, fmt.Errorf("no agent serves task type %q: none serves any", name)
	}
	message := fmt.Sprintf("no agent serves task type %q; there are %s", name, strings.Join(known, ", "))
	if meant := nearest.Name(name, known); meant != "" {
		message += fmt.Sprintf("; did you mean %s?", meant)
	}
	return nil, false, errors.New(message)
}

// TaskTypes lists the task types that are served, for completion.
func TaskTypes(ctx context.Context, conn grpc.ClientConnInterface, flyte Flyte) ([]string, error) {
	agents, err := client{conn, flyte}.list(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, agent := range agents {
		for _, c := range agent.GetSupportedTaskCategories() {
			names = append(names, c.GetName())
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// transient says that asking again may help.
func transient(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted:
		return true
	}
	return false
}

// plain is an RPC's error as a person wants it: the message, led by the code.
func plain(err error) error {
	s, ok := status.FromError(err)
	if !ok || s.Code() == codes.OK {
		return err
	}
	return &rpcError{s}
}

type rpcError struct{ status *status.Status }

func (e *rpcError) Error() string              { return fmt.Sprintf("%s: %s", e.status.Code(), e.status.Message()) }
func (e *rpcError) GRPCStatus() *status.Status { return e.status }
