package gateway

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agentServer is an agent on a socket of its own. It keeps what came, frame by frame, and answers as told.
type agentServer struct {
	conn   grpc.ClientConnInterface
	server *grpc.Server
	answer func(received *received, stream grpc.ServerStream) error

	name string // "echo" if empty
	// forgetful agents do not keep what came.
	forgetful bool

	tally route.Tally

	mu       sync.Mutex
	received []*received
	wanted   []route.Want  // by the gateway, call by call
	watched  route.Watched // of its leases
}

// received is one call as the agent saw it.
type received struct {
	method   string
	metadata metadata.MD
	context  context.Context
	frames   [][]byte
}

// answering returns an answer that is one message.
func answering(message proto.Message) func(*received, grpc.ServerStream) error {
	return func(_ *received, stream grpc.ServerStream) error { return stream.SendMsg(frameOf(message)) }
}

func startAgent(t testing.TB, answer func(*received, grpc.ServerStream) error) *agentServer {
	t.Helper()
	a := &agentServer{answer: answer}
	a.server = grpc.NewServer(grpc.ForceServerCodecV2(frameCodec), grpc.MaxRecvMsgSize(1<<30), grpc.UnknownServiceHandler(a.handle))
	address := serveOn(t, a.server)
	plain := dial(t, address, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30))) // as go-plugin's is
	conn := plugin.NewConn(plain, slog.New(slog.DiscardHandler))
	t.Cleanup(conn.Close)
	a.conn = conn
	return a
}

func (a *agentServer) handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	md, _ := metadata.FromIncomingContext(stream.Context())
	call := &received{method: method, metadata: md, context: stream.Context()}
	for {
		message := &frame{}
		err := stream.RecvMsg(message)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		call.frames = append(call.frames, append([]byte{}, message.bytes()...))
		message.free()
	}
	a.mu.Lock()
	if !a.forgetful {
		a.received = append(a.received, call)
	}
	a.mu.Unlock()
	return a.answer(call, stream)
}

// only returns the one call that came.
func (a *agentServer) only(t *testing.T) *received {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.received) != 1 {
		t.Fatalf("the agent got %d calls, want 1", len(a.received))
	}
	return a.received[0]
}

// calls counts the calls of a method that came.
func (a *agentServer) calls(method string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	count := 0
	for _, call := range a.received {
		if strings.HasSuffix(call.method, "/"+method) {
			count++
		}
	}
	return count
}

// claims makes a claim of the agent for categories.
func (a *agentServer) claims(policy route.Policy, agents ...plugin.Agent) route.Claim {
	return route.Claim{Target: a, Policy: policy, Manifest: plugin.Manifest{Agents: agents}}
}

// Plugin, TryAcquire, Acquire and Trouble make an agentServer a route.Target that is always there.
func (a *agentServer) Plugin() string {
	if a.name != "" {
		return a.name
	}
	return "echo"
}

func (a *agentServer) TryAcquire(want route.Want) (route.Lease, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.forgetful {
		a.wanted = append(a.wanted, want)
	}
	return route.Lease{Generation: "generation of " + a.Plugin(), Tally: &a.tally, Watched: a.watched, Conn: a.conn, Ended: make(chan struct{}), Release: func() {}}, true
}

func (a *agentServer) Acquire(context.Context, route.Want) (route.Lease, error) {
	panic("it is always there")
}

func (a *agentServer) Trouble() (route.Trouble, bool) { return route.Trouble{}, false }

func manifestOf(agents ...plugin.Agent) plugin.Manifest { return plugin.Manifest{Agents: agents} }

// asyncAgent and syncAgent are manifests with one category.
func asyncAgent(name string) plugin.Agent {
	return plugin.Agent{Name: name + " agent", Categories: []plugin.Category{{Name: name}}}
}

func syncAgent(name string) plugin.Agent {
	a := asyncAgent(name)
	a.Sync = true
	return a
}

// front is a gateway on a socket, with a connection to it such as FlytePropeller's.
type front struct {
	gateway  *Gateway
	routes   *route.Current
	registry *prometheus.Registry
	address  string
	conn     *grpc.ClientConn
}

func startGateway(t *testing.T, target route.Target, agents ...plugin.Agent) *front {
	t.Helper()
	return startClaims(t, nil, route.Claim{Target: target, Manifest: plugin.Manifest{Agents: agents}})
}

// startClaims is a gateway in front of any plugins, without some of its guarantees.
func startClaims(t testing.TB, without []guarantee.ID, claims ...route.Claim) *front {
	t.Helper()
	return startWith(t, Options{Without: guarantee.SetOf(without...)}, claims...)
}

// startWith is startClaims with options, in which what every gateway needs is filled in.
func startWith(t testing.TB, options Options, claims ...route.Claim) *front {
	t.Helper()
	f := &front{routes: &route.Current{}, registry: prometheus.NewRegistry()}
	f.publish(t, claims...)
	options.Routes, options.MaxMessageSize, options.Metrics = f.routes, cmp.Or(options.MaxMessageSize, 64<<20), f.registry
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Creation.Keys == nil {
		options.Creation.Keys = func() *record.Keys { return sharedKeys }
	}
	f.gateway = New(options)
	f.gateway.SetReady(true)
	t.Cleanup(func() { f.gateway.Shutdown(t.Context()) }) // whose context has ended by then: at once
	f.address = serveOn(t, f.gateway.Server())
	f.conn = dial(t, f.address)
	return f
}

// sharedKeys are those of all gateways that do not say otherwise, as if they were replicas.
var sharedKeys = mustKeys(record.NewKey())

func mustKeys(text []byte) *record.Keys {
	keys, err := record.ParseKeys(text)
	if err != nil {
		panic(err)
	}
	return keys
}

// publish replaces the route table.
func (f *front) publish(t testing.TB, claims ...route.Claim) {
	t.Helper()
	f.publishBy(t, nil, claims...)
}

// publishBy is publish with rules.
func (f *front) publishBy(t testing.TB, rules route.Rules, claims ...route.Claim) {
	t.Helper()
	table, conflicts := rules.Table(claims...)
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	f.routes.Publish(table)
}

// recorded is how often a guarantee has saved a call.
func (f *front) recorded(t *testing.T, g guarantee.ID) int { return recordedIn(t, f.registry, g) }

func recordedIn(t *testing.T, registry *prometheus.Registry, g guarantee.ID) int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, family := range families {
		if family.GetName() != "agenthost_guarantee_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "guarantee" && label.GetValue() == g.String() {
					count += int(metric.GetCounter().GetValue())
				}
			}
		}
	}
	return count
}

// call sends a message to one of the gateway's methods and returns the answer's bytes.
func (f *front) call(ctx context.Context, method string, message proto.Message, options ...grpc.CallOption) ([]byte, error) {
	return f.callRaw(ctx, method, frameOf(message).bytes(), options...)
}

func (f *front) callRaw(ctx context.Context, method string, message []byte, options ...grpc.CallOption) ([]byte, error) {
	request, response := &frame{}, &frame{}
	request.set(message)
	err := f.conn.Invoke(ctx, method, request, response, append(options, grpc.ForceCodecV2(frameCodec))...)
	return append([]byte{}, response.bytes()...), err
}

func frameOf(message proto.Message) *frame {
	encoded, err := proto.Marshal(message)
	if err != nil {
		panic(err)
	}
	f := &frame{}
	f.set(encoded)
	return f
}

func serveOn(t testing.TB, server *grpc.Server) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return listener.Addr().String()
}

func dial(t testing.TB, address string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// nearlyFlytesDeadline is a deadline of half the length of Flyte's own. An answer that has to come before it has the last tenth for
// its way, which is too little on a busy machine where the deadline is much shorter.
func nearlyFlytesDeadline(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(soon(t), 5*time.Second)
}
