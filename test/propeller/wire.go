package propeller

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // so that calls say, as Flyte's do, that they take gzip
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/proto/flyteidl2"
)

// Call is one RPC about a task.
type Call struct {
	// Method is the RPC's name in Flyte 1, as GetTask.
	Method string
	// Attempt is the attempt that it belonged to, from 0.
	Attempt int
	// Started and Took are its time.
	Started time.Time
	Took    time.Duration
	// Code is its outcome, Err the error that is not OK.
	Code codes.Code
	Err  error
	// Meta is the resource_meta that CreateTask was answered with, and that GetTask and DeleteTask sent.
	Meta []byte
	// From is this side's address of the connection that the call was sent on; "" where there was none, and for ExecuteTaskSync.
	From string
}

// The methods' names, as the model and its recordings use them for both generations.
const (
	createTask      = "CreateTask"
	getTask         = "GetTask"
	deleteTask      = "DeleteTask"
	executeTaskSync = "ExecuteTaskSync"
	listAgents      = "ListAgents"
)

// paths are the methods on the wire. A message of Flyte 1 is, field by field, one of Flyte 2, so that its types serve both.
var paths = map[Flyte]map[string]string{
	V1: {
		createTask:      "/flyteidl.service.AsyncAgentService/CreateTask",
		getTask:         "/flyteidl.service.AsyncAgentService/GetTask",
		deleteTask:      "/flyteidl.service.AsyncAgentService/DeleteTask",
		executeTaskSync: "/flyteidl.service.SyncAgentService/ExecuteTaskSync",
		listAgents:      "/flyteidl.service.AgentMetadataService/ListAgents",
	},
	V2: {
		createTask: flyteidl2.MethodCreateTask,
		getTask:    flyteidl2.MethodGetTask,
		deleteTask: flyteidl2.MethodDeleteTask,
		listAgents: flyteidl2.MethodListConnectors,
	},
}

// wire holds the connections of one process, one for each endpoint, dialled when it starts and kept.
type wire struct {
	opts  *Options
	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func newWire(opts *Options) *wire {
	return &wire{opts: opts, conns: map[string]*grpc.ClientConn{}}
}

func (w *wire) to(endpoint string) *grpc.ClientConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	conn, ok := w.conns[endpoint]
	if !ok {
		conn = dial(w.opts, endpoint)
		w.conns[endpoint] = conn
	}
	return conn
}

func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		_ = conn.Close() // it only says that it was closed before
	}
}

// invoke makes one unary call, and notes it with the task.
func (w *wire) invoke(ctx context.Context, endpoint, method string, a *attempt, request, response proto.Message) error {
	ctx, cancel := withDeadline(ctx, w.opts, method)
	defer cancel()
	started := time.Now()
	var ends peer.Peer
	err := w.to(endpoint).Invoke(ctx, paths[w.opts.Flyte][method], request, response, grpc.Peer(&ends))
	a.called(method, started, ends, err, metaOf(request, response))
	return err
}

func metaOf(messages ...proto.Message) []byte {
	for _, message := range messages {
		if has, ok := message.(interface{ GetResourceMeta() []byte }); ok {
			return has.GetResourceMeta()
		}
	}
	return nil
}

// executeSync makes one sync call: it sends the header and the inputs, and reads one message of the answer, whatever follows.
func (w *wire) executeSync(ctx context.Context, endpoint string, a *attempt, header *admin.CreateRequestHeader) (*admin.ExecuteTaskSyncResponse, error) {
	ctx, cancel := withDeadline(ctx, w.opts, executeTaskSync)
	defer cancel()
	started := time.Now()
	response, err := func() (*admin.ExecuteTaskSyncResponse, error) {
		stream, err := w.to(endpoint).NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, paths[w.opts.Flyte][executeTaskSync])
		if err != nil {
			return nil, fmt.Errorf("failed to execute task from connector with %w", err)
		}
		err = stream.SendMsg(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: header}})
		if err != nil {
			return nil, fmt.Errorf("failed to send headerProto with error: %w", err)
		}
		err = stream.SendMsg(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Inputs{Inputs: a.execution.task.Inputs}})
		if err != nil {
			return nil, fmt.Errorf("failed to send inputsProto with error: %w", err)
		}
		if err := stream.CloseSend(); err != nil {
			return nil, err
		}
		response := &admin.ExecuteTaskSyncResponse{}
		if err := stream.RecvMsg(response); err != nil {
			return nil, fmt.Errorf("failed to receive stream from server %w", err)
		}
		return response, nil
	}()
	a.called(executeTaskSync, started, peer.Peer{}, err, nil)
	return response, err
}

func (a *attempt) called(method string, started time.Time, ends peer.Peer, err error, meta []byte) {
	call := Call{Method: method, Attempt: a.number, Started: started, Took: time.Since(started), Code: status.Code(err), Err: err, Meta: meta}
	if ends.LocalAddr != nil {
		call.From = ends.LocalAddr.String()
	}
	a.execution.note(call)
}

// dial opens a connection as Flyte does: round robin over the endpoint's addresses, grpc-go's default limit of 4 MiB for an
// answer, no retries. Flyte 2 pings every 30 s, here also while no call is under way.
func dial(opts *Options, endpoint string) *grpc.ClientConn {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transportCredentials(opts.TLS)),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin":{}}]}`),
	}
	if opts.Flyte == V2 {
		options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}))
	}
	if opts.Dial != nil {
		options = append(options, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return opts.Dial(ctx, address)
		}))
	}
	conn, err := grpc.NewClient("passthrough:///"+endpoint, options...)
	if err != nil {
		panic(fmt.Sprintf("propeller: dial %s: %v", endpoint, err)) // only options that no one could use make NewClient fail
	}
	conn.Connect()
	return conn
}

func transportCredentials(config *tls.Config) credentials.TransportCredentials {
	if config == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(config)
}

func withDeadline(ctx context.Context, opts *Options, method string) (context.Context, context.CancelFunc) {
	timeout, ok := opts.Timeouts[method]
	if !ok {
		timeout = opts.Timeout
	}
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
