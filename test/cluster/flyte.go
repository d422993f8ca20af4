package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/agenthost/agenthost/proto/agentclient"
)

// port is Flyte's, of every release.
const port = "8000"

// callLimit is Flyte's default timeout of a call.
const callLimit = 10 * time.Second

// endpointsResolver resolves k8s:///SERVICE.NAMESPACE:PORT as Flyte's resolver does: it watches the Endpoints of that name, and joins the
// addresses of ready pods with the port of the target. Readiness is all that it knows.
type endpointsResolver struct {
	ctx    context.Context //nolint:containedctx // a resolver has no other way to end with the run
	client kubernetes.Interface
}

func (endpointsResolver) Scheme() string { return "k8s" }

func (b endpointsResolver) Build(target resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	host, port, err := net.SplitHostPort(target.Endpoint())
	if err != nil {
		return nil, err
	}
	name, namespace, _ := strings.Cut(host, ".")
	ctx, cancel := context.WithCancel(b.ctx)
	w := &endpointsWatch{cancel: cancel}
	w.done.Go(func() {
		for ctx.Err() == nil {
			if err := w.follow(ctx, b.client, namespace, name, port, conn); err != nil && ctx.Err() == nil {
				conn.ReportError(err)
			}
		}
	})
	return w, nil
}

type endpointsWatch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (w *endpointsWatch) ResolveNow(resolver.ResolveNowOptions) {}

func (w *endpointsWatch) Close() {
	w.cancel()
	w.done.Wait()
}

// follow hands on the addresses until the watch ends.
func (w *endpointsWatch) follow(ctx context.Context, client kubernetes.Interface, namespace, name, port string, conn resolver.ClientConn) error {
	watch, err := client.CoreV1().Endpoints(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name}) // what Flyte watches
	if err != nil {
		return err
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		endpoints, ok := event.Object.(*corev1.Endpoints) //nolint:staticcheck // likewise
		if !ok {
			continue
		}
		var state resolver.State
		for _, subset := range endpoints.Subsets {
			for _, address := range subset.Addresses {
				state.Addresses = append(state.Addresses, resolver.Address{Addr: net.JoinHostPort(address.IP, port)})
			}
		}
		_ = conn.UpdateState(state) // it complains of no addresses, which is what there is to say
	}
	return nil
}

// byEndpoints is a connection as Flyte's to an endpoint k8s:///…, which the pods share.
func (c *cell) byEndpoints() *grpc.ClientConn {
	return c.dial("k8s:///"+serviceName+"."+c.namespace+":"+port, grpc.WithResolvers(c.flyte),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
}

// address is that of the Service.
func (c *cell) address() string {
	found, err := c.client.CoreV1().Services(c.namespace).Get(c.ctx, serviceName, metav1.GetOptions{})
	c.must(err)
	return net.JoinHostPort(found.Spec.ClusterIP, port)
}

// byService is a connection to the Service's address, which leads to one pod for as long as it lasts.
func (c *cell) byService() *grpc.ClientConn { return c.dial("passthrough:///" + c.address()) }

// toPod is a connection to one pod.
func (c *cell) toPod(pod corev1.Pod) *grpc.ClientConn {
	return c.dial("passthrough:///" + net.JoinHostPort(pod.Status.PodIP, port))
}

func (c *cell) dial(target string, options ...grpc.DialOption) *grpc.ClientConn {
	conn, err := grpc.NewClient(target, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	c.must(err)
	c.cleanup(func() { conn.Close() })
	return conn
}

// freshly connects anew for each call, as Flyte's discovery does.
type freshly struct{ target string }

func (f freshly) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	conn, err := grpc.NewClient(f.target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Invoke(ctx, method, args, reply, options...)
}

func (f freshly) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.ErrUnsupported
}

// task is what a job is made of.
type task struct {
	template *core.TaskTemplate
	inputs   *core.LiteralMap
}

// query is a task for duckdb.
func query(sql string) task {
	return task{template: &core.TaskTemplate{
		Type: "duckdb_query",
		Interface: &core.TypedInterface{Outputs: &core.VariableMap{Variables: map[string]*core.Variable{
			"answer": {Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_INTEGER}}},
		}}},
		Target: &core.TaskTemplate_Sql{Sql: &core.Sql{Statement: sql, Dialect: core.Sql_ANSI}},
	}}
}

// job is one that was made.
type job struct {
	agentclient.Job
	task      string // its name, and that of the execution
	outputs   string
	createdAt time.Time
}

// begin makes a job, as Flyte's first attempt of a task of that name.
func begin(ctx context.Context, conn grpc.ClientConnInterface, name string, t task) (job, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	template := t.template
	if template.GetId() == nil {
		template.Id = &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "cluster", Domain: "development", Name: template.GetType(), Version: "1"}
	}
	j := job{task: name, outputs: "/var/lib/agenthost/outputs/" + name, createdAt: time.Now()}
	j.Category = &admin.TaskCategory{Name: template.GetType()}
	j.OutputPrefix = j.outputs
	meta, err := agentclient.Client{Conn: conn, Flyte: agentclient.Flyte1}.Create(ctx, &admin.CreateTaskRequest{
		Template: template, Inputs: t.inputs, OutputPrefix: j.outputs,
		TaskExecutionMetadata: &admin.TaskExecutionMetadata{TaskExecutionId: &core.TaskExecutionIdentifier{
			TaskId: template.GetId(),
			NodeExecutionId: &core.NodeExecutionIdentifier{
				NodeId:      "n0",
				ExecutionId: &core.WorkflowExecutionIdentifier{Project: "cluster", Domain: "development", Name: name},
			},
		}},
	})
	j.Meta = meta
	if err != nil {
		return j, fmt.Errorf("CreateTask of %s: %w", name, err)
	}
	return j, nil
}

// begin is begin, in the case.
func (c *cell) begin(conn grpc.ClientConnInterface, name string, t task) job {
	made, err := begin(c.ctx, conn, name, t)
	c.must(err)
	return made
}

// get polls a job once.
func get(ctx context.Context, conn grpc.ClientConnInterface, j job) (*admin.Resource, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return agentclient.Client{Conn: conn, Flyte: agentclient.Flyte1}.Get(ctx, j.Job)
}

// end polls a job until it is over. Polls may fail as often as Flyte allows in a task's life; those of one resync count once.
func (c *cell) end(conn grpc.ClientConnInterface, j job) *admin.Resource {
	var last *admin.Resource
	failures, counted := 0, time.Time{}
	c.until("the job of "+j.task+" is over", func() (string, bool) {
		resource, err := get(c.ctx, conn, j)
		if err != nil {
			if time.Since(counted) > resync {
				failures, counted = failures+1, time.Now()
			}
			c.check(failures <= allowedFailures, "Flyte has given %s up after %d failed polls, the last: %v", j.task, failures, err)
			return err.Error(), false
		}
		last = resource
		return resource.GetPhase().String() + " " + resource.GetMessage(), isOver(resource.GetPhase())
	})
	return last
}

// allowedFailures is how many failed polls a task survives in Flyte.
const allowedFailures = 5

// resync is the shortest pause between two polls of a job that Flyte takes.
const resync = 5 * time.Second

// succeed waits until a job has succeeded.
func (c *cell) succeed(conn grpc.ClientConnInterface, j job) *admin.Resource {
	resource := c.end(conn, j)
	c.check(resource.GetPhase() == core.TaskExecution_SUCCEEDED, "%s ended as %s: %s", j.task, resource.GetPhase(), resource.GetMessage())
	return resource
}

// retryable is a phase that the messages of this version of flyteidl do not name.
const retryable core.TaskExecution_Phase = 8

func isOver(phase core.TaskExecution_Phase) bool {
	switch phase {
	case core.TaskExecution_SUCCEEDED, core.TaskExecution_FAILED, core.TaskExecution_ABORTED, retryable:
		return true
	default:
		return false
	}
}

// answers runs a small query through a connection, and looks at its answer.
func (c *cell) answers(conn grpc.ClientConnInterface, name string) {
	resource := c.succeed(conn, c.begin(conn, name, query("select 6 * 7 as answer")))
	answer := resource.GetOutputs().GetLiterals()["answer"].GetScalar().GetPrimitive().GetInteger()
	c.check(answer == 42, "the answer of %s is %d", name, answer)
}

// polling is polls and creations that go on while something happens.
type polling struct {
	stop func()

	mu       sync.Mutex
	calls    map[string]int // by client
	failures []string
}

// poll has clients call again and again until it is stopped: each a call of its own every so often, which says what went wrong.
func (c *cell) poll(clients map[string]func(ctx context.Context) error) *polling {
	const pause = 40 * time.Millisecond
	ctx, cancel := context.WithCancel(c.ctx)
	p := &polling{calls: map[string]int{}}
	var running sync.WaitGroup
	began := time.Now()
	for name, call := range clients {
		running.Go(func() {
			again := time.NewTicker(pause)
			defer again.Stop()
			for {
				err := call(ctx)
				if ctx.Err() != nil {
					return
				}
				p.mu.Lock()
				p.calls[name]++
				if err != nil {
					p.failures = append(p.failures, fmt.Sprintf("%s after %.1f s: %v", name, time.Since(began).Seconds(), err))
				}
				p.mu.Unlock()
				select {
				case <-again.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	p.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	c.cleanup(p.stop)
	return p
}

// polls makes the call of a client that polls a job, which must not fail.
func polls(conn grpc.ClientConnInterface, j job) func(context.Context) error {
	return func(ctx context.Context) error {
		resource, err := get(ctx, conn, j)
		if phase := resource.GetPhase(); err == nil && (isOver(phase) || phase == core.TaskExecution_UNDEFINED) && phase != core.TaskExecution_SUCCEEDED {
			err = fmt.Errorf("%s is %s: %s", j.task, resource.GetPhase(), resource.GetMessage())
		}
		return err
	}
}

// lists makes the call of a client that discovers agents, which must find a type.
func lists(conn grpc.ClientConnInterface, taskType string) func(context.Context) error {
	return func(ctx context.Context) error {
		agents, err := listed(ctx, conn)
		if err == nil && !agents[taskType] {
			err = fmt.Errorf("%s is not listed: %v", taskType, agents)
		}
		return err
	}
}

// listed are the task types that discovery finds.
func listed(ctx context.Context, conn grpc.ClientConnInterface) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	agents, err := agentclient.Client{Conn: conn, Flyte: agentclient.Flyte1}.List(ctx)
	types := map[string]bool{}
	for _, agent := range agents {
		for _, category := range agent.GetSupportedTaskCategories() {
			types[category.GetName()] = true
		}
	}
	return types, err
}

// over stops the polling and holds that no call failed.
func (c *cell) over(p *polling) (calls int) {
	p.stop()
	for name, count := range p.calls {
		c.check(count > 0, "%s made no call", name)
		calls += count
	}
	c.check(len(p.failures) == 0, "%d of %d calls failed: %s", len(p.failures), calls, strings.Join(p.failures[:min(10, len(p.failures))], "\n"))
	return calls
}
