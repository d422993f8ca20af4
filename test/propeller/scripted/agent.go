// Package scripted is an agent server that answers by a script, call by call, and remembers what it was asked: the other side of
// the recordings in folder traces. It speaks both generations of Flyte, and reads no more of a request than it must, so that what
// it remembers are the bytes as they crossed the wire.
package scripted

import (
	"context"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/test/propeller/traces"
)

// Script is what the agent answers. The last reply of a method repeats; a method without replies succeeds with nothing.
type Script struct {
	Create, Get, Sync, Delete []traces.Reply
	// ResourceMeta is what CreateTask answers.
	ResourceMeta []byte
	// Agents are listed to discovery. Default: the agents of the recordings.
	Agents []*admin.Agent
}

// Of is the script that a trace was recorded with.
func Of(trace traces.Trace) Script {
	meta := trace.ResourceMeta
	if meta == nil {
		meta = []byte(trace.Name)
	}
	return Script{
		Create: trace.CreateReplies, Get: trace.GetReplies, Sync: trace.SyncReplies, Delete: trace.DeleteReplies,
		ResourceMeta: meta,
	}
}

// Call is one RPC as the agent saw it.
type Call struct {
	At           time.Time
	Method       string        // without its service, in Flyte 1's name for it
	Service      string        // in full
	DeadlineLeft time.Duration // zero: it had none
	ConnectionNo int           // from 1
	Header       metadata.MD
	Frames       [][]byte
	Reply        traces.Reply
}

// Agent is the server. Make it with New.
type Agent struct {
	server *grpc.Server

	mu        sync.Mutex
	script    Script
	served    map[string]int // replies given, by method
	calls     []Call
	listed    []Call
	listError codes.Code
	opened    int
	closed    int
}

// New makes a server that waits to Serve.
func New(script Script, options ...grpc.ServerOption) *Agent {
	if script.Agents == nil {
		script.Agents = RecordedAgents()
	}
	a := &Agent{script: script, served: map[string]int{}}
	a.server = grpc.NewServer(append(options,
		grpc.ForceServerCodecV2(frames{}), grpc.UnknownServiceHandler(a.serve), grpc.StatsHandler(connections{a}),
		grpc.MaxRecvMsgSize(64<<20))...)
	return a
}

// Serve serves until Stop.
func (a *Agent) Serve(listener net.Listener) error { return a.server.Serve(listener) }

// Stop cuts every connection.
func (a *Agent) Stop() { a.server.Stop() }

// Calls are those of tasks, in the order of their arrival.
func (a *Agent) Calls() []Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// Listed are the calls of discovery.
func (a *Agent) Listed() []Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.listed)
}

// Connections counts those ever opened, and those of them that were closed.
func (a *Agent) Connections() (opened, closed int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.opened, a.closed
}

// List changes what discovery finds: these agents, or an error.
func (a *Agent) List(agents []*admin.Agent, failure codes.Code) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.script.Agents, a.listError = agents, failure
}

// RecordedAgents are those that were listed when the traces were recorded.
func RecordedAgents() []*admin.Agent {
	agent := func(name string, sync bool, version int32) *admin.Agent {
		return &admin.Agent{
			Name: name, IsSync: sync, SupportedTaskCategories: []*admin.TaskCategory{{Name: name, Version: version}},
		}
	}
	return []*admin.Agent{
		agent("multi", false, 1), agent("multi", false, 2), agent("syncy", true, 0), agent("asyncy", false, 0), agent("latetype", false, 0),
	}
}

// serve answers any method of either generation.
func (a *Agent) serve(_ any, stream grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(stream)
	service, method := path.Split(strings.TrimPrefix(full, "/"))
	call := Call{At: time.Now(), Method: method, Service: strings.TrimSuffix(service, "/")}
	if method == "ListConnectors" {
		call.Method = "ListAgents"
	}
	ctx := stream.Context()
	if deadline, ok := ctx.Deadline(); ok {
		call.DeadlineLeft = time.Until(deadline)
	}
	call.ConnectionNo, _ = ctx.Value(connectionNo{}).(int)
	call.Header, _ = metadata.FromIncomingContext(ctx)
	for {
		var frame []byte
		err := stream.RecvMsg(&frame)
		if err == io.EOF { //nolint:errorlint // what RecvMsg gives at the end is io.EOF itself
			break
		}
		if err != nil {
			return err
		}
		call.Frames = append(call.Frames, frame)
	}
	answers, err := a.answer(ctx, call)
	if err != nil {
		return err
	}
	for _, answer := range answers {
		wire, err := proto.Marshal(answer)
		if err != nil {
			return err
		}
		if err := stream.SendMsg(&wire); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) answer(ctx context.Context, call Call) ([]proto.Message, error) {
	if call.Method == "ListAgents" {
		return a.list(call)
	}
	reply := a.take(call)
	if wait := reply.Sleep.Duration(); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if reply.GRPCCode != "" {
		return nil, scriptedError(reply.GRPCCode)
	}
	switch call.Method {
	case "CreateTask":
		return []proto.Message{&admin.CreateTaskResponse{ResourceMeta: a.script.ResourceMeta}}, nil
	case "GetTask":
		return []proto.Message{&admin.GetTaskResponse{Resource: resourceOf(reply)}}, nil
	case "DeleteTask":
		return []proto.Message{&admin.DeleteTaskResponse{}}, nil
	case "ExecuteTaskSync":
		return syncAnswer(reply), nil
	}
	return nil, status.Errorf(codes.Unimplemented, "the script has no %s", call.Method)
}

func (a *Agent) list(call Call) ([]proto.Message, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listed = append(a.listed, call)
	if a.listError != codes.OK {
		return nil, status.Errorf(a.listError, "scripted %v", a.listError)
	}
	return []proto.Message{&admin.ListAgentsResponse{Agents: a.script.Agents}}, nil
}

// take notes the call and gives the next reply of its method.
func (a *Agent) take(call Call) traces.Reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	replies := map[string][]traces.Reply{
		"CreateTask": a.script.Create, "GetTask": a.script.Get, "DeleteTask": a.script.Delete, "ExecuteTaskSync": a.script.Sync,
	}[call.Method]
	if len(replies) > 0 {
		call.Reply = replies[min(a.served[call.Method], len(replies)-1)]
	}
	a.served[call.Method]++
	a.calls = append(a.calls, call)
	return call.Reply
}

func scriptedError(name string) error {
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(`"` + name + `"`)); err != nil {
		return status.Errorf(codes.Internal, "the script has a bad code: %v", err)
	}
	return status.Errorf(code, "scripted %s", name)
}

func syncAnswer(reply traces.Reply) []proto.Message {
	resource := resourceOf(reply)
	outputs := resource.Outputs
	if reply.OutputsInASecondMessage {
		resource.Outputs = nil
	}
	answer := []proto.Message{&admin.ExecuteTaskSyncResponse{
		Res: &admin.ExecuteTaskSyncResponse_Header{Header: &admin.ExecuteTaskSyncResponseHeader{Resource: resource}},
	}}
	if reply.OutputsInASecondMessage {
		answer = append(answer, &admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Outputs{Outputs: outputs}})
	}
	return answer
}

// resourceOf is the Resource that the recorded server answered, to the byte: its size is in a recorded error.
func resourceOf(reply traces.Reply) *admin.Resource {
	if reply.EmptyResource {
		return &admin.Resource{}
	}
	resource := &admin.Resource{
		Phase:      phaseOf(reply.Phase),
		Message:    reply.Message,
		LogLinks:   []*core.TaskLog{{Uri: "https://example.com/job", Name: "Console", MessageFormat: core.TaskLog_JSON}},
		CustomInfo: &structpb.Struct{Fields: map[string]*structpb.Value{"bytes": structpb.NewNumberValue(12)}},
	}
	if reply.AgentError != nil {
		resource.AgentError = &admin.AgentError{Code: reply.AgentError.Code, Kind: admin.AgentError_Kind(reply.AgentError.Kind)}
	}
	if reply.Outputs {
		value := &core.Primitive{Value: &core.Primitive_Integer{Integer: 42}}
		if reply.OutputBytes > 0 {
			value.Value = &core.Primitive_StringValue{StringValue: strings.Repeat("x", reply.OutputBytes)}
		}
		resource.Outputs = &core.LiteralMap{Literals: map[string]*core.Literal{
			"o0": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: value}}}},
		}}
	}
	return resource
}

func phaseOf(name string) core.TaskExecution_Phase {
	switch name {
	case "":
		return core.TaskExecution_UNDEFINED
	case pluginv1.PhaseName(pluginv1.PhaseRetryableFailed): // newer than the Go types
		return pluginv1.PhaseRetryableFailed
	}
	phase, ok := core.TaskExecution_Phase_value[name]
	if !ok {
		panic(fmt.Sprintf("scripted: there is no phase %q", name))
	}
	return core.TaskExecution_Phase(phase)
}

// connections numbers and counts connections.
type connections struct{ agent *Agent }

type connectionNo struct{}

func (c connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	c.agent.mu.Lock()
	defer c.agent.mu.Unlock()
	c.agent.opened++
	return context.WithValue(ctx, connectionNo{}, c.agent.opened)
}

func (c connections) HandleConn(_ context.Context, event stats.ConnStats) {
	if _, ended := event.(*stats.ConnEnd); ended {
		c.agent.mu.Lock()
		defer c.agent.mu.Unlock()
		c.agent.closed++
	}
}

func (connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (connections) HandleRPC(context.Context, stats.RPCStats)                       {}
