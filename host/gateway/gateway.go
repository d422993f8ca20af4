// Package gateway is the side of the host that Flyte sees: the agent services of both generations of Flyte, in front of
// all plugins.
//
// A call travels through it in five steps: read the few fields that say where it goes (request.go), look the task
// category up in the current route table (plan.go), get a connection to the plugin and wait for one while the plugin
// restarts (Target.Acquire), forward the frames as they came (unary.go, stream.go), and correct in the answer what Flyte
// cannot handle (resource.go). Discovery is answered from the route table alone (metadata.go).
//
// Around that stand the guarantees (package guarantee) that need a memory or a mark: one attempt makes one job (create.go), a
// poll always has an answer (poll.go), a job is polled where it was made (envelope.go). And the limits of what a plugin
// is sent (limit.go).
package gateway

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // callers may compress
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/agenthost/agenthost/host/access"
	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/internal/throttle"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/series"
	"github.com/agenthost/agenthost/host/tracing"
)

// Options configure a Gateway.
type Options struct {
	// Routes is where the fleet publishes route tables.
	Routes *route.Current
	// Synced is closed once the table has what the plugins of a start serve, Listed once it has at least what each of them served
	// before the start. Until then calls of unknown categories and discovery wait for them: an incomplete list would make
	// FlytePropeller forget types, and send their tasks elsewhere. Nil: there is no start to wait for.
	Synced, Listed <-chan struct{}
	// Whole says that discovery has no answer until Listed is closed; else a caller gets what there is by his deadline, unless that is nothing.
	Whole bool
	// MaxMessageSize is the largest frame accepted from Flyte, in bytes.
	MaxMessageSize int
	Log            *slog.Logger
	// Metrics receives the gateway's metrics.
	Metrics prometheus.Registerer
	// Creation says how tasks are accepted whose job cannot be made at once. The zero value accepts none.
	Creation Creation
	// Intents are what this host, or those before it with its state directory, have accepted for themselves alone. Nil: none.
	Intents *record.Intents
	// AccessLog says of which calls the log tells.
	AccessLog AccessLog
	// Access judges callers. Nil: everybody may do anything.
	Access *access.Guard
	// Credentials are the server's side of TLS. Nil: callers speak plain gRPC.
	Credentials credentials.TransportCredentials
	// MaxConnectionAge is how old a caller's connection gets before he has to connect anew, losing no call. 0: no limit.
	MaxConnectionAge time.Duration
	// Limits bound what others can make the host spend. Zero values are DefaultLimits'.
	Limits Limits
	// Tracer tells a collector of calls. Nil: there is none.
	Tracer *tracing.Tracer
	// Without are guarantees that are not kept. It is for tests, which show by it that what they find to hold holds because of
	// the guarantee.
	Without guarantee.Set
}

// Gateway serves Flyte's agent protocol.
type Gateway struct {
	routes  *route.Current
	log     *slog.Logger
	metrics *metrics
	server  *grpc.Server
	health  *health.Server
	enabled guarantee.Set
	synced  <-chan struct{}
	listed  <-chan struct{}
	whole   bool
	access  *access.Guard
	tracer  *tracing.Tracer

	statuses *jobs.Statuses
	polls    jobs.Polls
	creates  *jobs.Creates
	tasks    *jobs.Tasks
	running  *jobs.Running
	limits   limits
	waits    waits
	memory   *memory
	gates    gates
	creation atomic.Pointer[Creation]
	intents  *record.Intents
	budget   budget
	callLog  *accessLog
	unsigned *throttle.Throttle // what the log tells of envelopes that no host has signed
	// detached are the calls that may outlive their callers: at most until ctx ends. closing is held to begin one, or to
	// end ctx.
	detached sync.WaitGroup
	closing  sync.Mutex
	ctx      context.Context
	cancel   context.CancelFunc
}

const (
	// statusMemory is how much is remembered of the statuses of jobs, in bytes: about 100,000 jobs whose outputs are not
	// inline.
	statusMemory = 64 << 20
	// createMemory is how much is remembered of answers to CreateTask, in bytes, and createMemoryTime for how long. A Flyte
	// that asks again does so after its own restart, or at once.
	createMemory     = 12 << 20
	createMemoryTime = 15 * time.Minute
	// taskMemory is how much is remembered of the calls about tasks, in bytes, for who asks about one: about 20,000 tasks.
	taskMemory = 16 << 20
	// maxRunning is how many jobs are counted, of about 50 bytes each.
	maxRunning = 1 << 20
)

// keepaliveMinTime is how often callers may ping: Flyte 2 pings every 30 s and others every 10, with no call under way.
// grpc's default would answer the third such ping by closing the connection, and with it a user's attempt.
const keepaliveMinTime = 5 * time.Second

const (
	// streamWorkers is how many goroutines are kept for calls; more come and go with the calls. A new one for each call
	// spends a tenth of its time on growing its stack.
	streamWorkers = 128
	// windowSize is how much may be under way on a connection before it is read, in bytes. It is fixed because grpc's own
	// estimation pings along with every call, which on a local socket costs more than it finds out. The connection's bounds nothing:
	// grpc-go makes room again as soon as something has come.
	windowSize = 4 << 20
	// smallMessage is how much of a message may come before there is room for it, in bytes: gRPC's smallest window. Whatever is no
	// larger counts for nothing but one call (limits.calls).
	smallMessage = 64 << 10
	// maxHeaders bounds the headers of a call, in bytes, and unaccepted how long a connection may take until it can take calls.
	maxHeaders = 64 << 10
	unaccepted = 20 * time.Second
)

// DialOptions are for the connections to plugins: what Options are for those from Flyte.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithStaticStreamWindowSize(smallMessage),
		grpc.WithStaticConnWindowSize(windowSize),
		grpc.WithDisableRetry(), // the gateway knows what may be repeated
	}
}

// New returns a gateway that is not serving yet.
func New(options Options) *Gateway {
	g := &Gateway{
		routes:  options.Routes,
		whole:   options.Whole,
		log:     options.Log,
		metrics: newMetrics(options.Metrics),
		health:  health.NewServer(),
		enabled: guarantee.Every().Without(options.Without),

		statuses: jobs.NewStatuses(statusMemory),
		intents:  options.Intents,
		callLog:  newAccessLog(options.AccessLog, options.Log),
		unsigned: throttle.New(unsignedInterval, unsignedBurst),
		access:   options.Access,
		tracer:   options.Tracer,
		creates:  jobs.NewCreates(createMemory, createMemoryTime),
		tasks:    jobs.NewTasks(taskMemory),
		running:  jobs.NewRunning(maxRunning),
	}
	g.limits.limited, g.limits.waits = g.metrics.limited, &g.waits
	limits := options.Limits.orDefault()
	g.memory = newMemory(limits, options.MaxMessageSize, options.Metrics)
	g.memory.waits = &g.waits
	g.SetCreation(options.Creation)
	if g.synced = options.Synced; g.synced == nil {
		synced := make(chan struct{})
		close(synced)
		g.synced = synced
	}
	if g.listed = options.Listed; g.listed == nil {
		g.listed = g.synced
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	enforcement := keepalive.EnforcementPolicy{MinTime: keepaliveMinTime, PermitWithoutStream: true} // G13
	if !g.enabled.Has(guarantee.KeepalivePings) {
		enforcement = keepalive.EnforcementPolicy{}
	}
	serverOptions := []grpc.ServerOption{
		grpc.ForceServerCodecV2(frameCodec),
		grpc.MaxRecvMsgSize(smallMessage), // of what is not forwarded; see receive
		grpc.KeepaliveEnforcementPolicy(enforcement),
		grpc.WaitForHandlers(true),
		grpc.UnknownServiceHandler(g.unknown),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.StaticStreamWindowSize(smallMessage),
		grpc.StaticConnWindowSize(windowSize),
		grpc.MaxConcurrentStreams(uint32(limits.CallsPerConnection)),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.ConnectionTimeout(unaccepted),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: options.MaxConnectionAge, MaxConnectionIdle: limits.ConnectionIdle}),
		grpc.StreamInterceptor(g.reflecting),
	}
	if options.Credentials != nil {
		serverOptions = append(serverOptions, grpc.Creds(options.Credentials))
	}
	g.server = grpc.NewServer(serverOptions...)
	g.register()
	healthpb.RegisterHealthServer(g.server, g.health)
	registerReflection(g.server)
	g.SetReady(false)
	return g
}

// SetCreation changes how tasks are accepted from now on.
func (g *Gateway) SetCreation(creation Creation) { g.creation.Store(&creation) }

// Server is the gRPC server to serve listeners with, and to stop.
func (g *Gateway) Server() *grpc.Server { return g.server }

// Health is what answers grpc.health.v1, for another server to answer it too.
func (g *Gateway) Health() healthpb.HealthServer { return g.health }

// Tallies are what calls came to, by plugin; those that no plugin serves are counted under "".
func (g *Gateway) Tallies() *series.Tallies { return g.metrics.tallies }

// SetReady says whether Flyte may send work. It is what grpc.health.v1 answers for "" and for every service.
func (g *Gateway) SetReady(ready bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if ready {
		status = healthpb.HealthCheckResponse_SERVING
	}
	g.health.SetServingStatus("", status)
	for service := range g.server.GetServiceInfo() {
		g.health.SetServingStatus(service, status)
	}
}

// Shutdown turns health off, lets calls under way end, and cuts them off when ctx ends. Creations whose callers have gone
// are cut off when no call is under way.
func (g *Gateway) Shutdown(ctx context.Context) {
	g.health.Shutdown()
	defer func() {
		g.closing.Lock()
		g.cancel()
		g.closing.Unlock()
		g.detached.Wait()
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.server.GracefulStop()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		g.log.Warn("calls still under way at the end of shutdown_timeout are cut off")
		g.server.Stop()
		<-done
	}
}
