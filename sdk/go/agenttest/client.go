package agenttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/agenthost/agenthost/proto/agentclient"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	agent "github.com/agenthost/agenthost/sdk/go"
)

// Client talks to a plugin as the host does. Its methods may be called concurrently.
type Client struct {
	t      testing.TB
	conn   *grpc.ClientConn
	output *output
	pid    int

	configured sync.Once
	stopped    sync.Once
	stop       func(context.Context) error
	stopErr    error
	attempts   atomic.Int64
}

func newClient(t testing.TB, conn *grpc.ClientConn, stop func(context.Context) error) *Client {
	c := &Client{t: t, conn: conn, stop: stop, output: &output{}}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Errorf("agenttest: stopping the plugin: %v", err)
		}
	})
	return c
}

func callOptions() grpc.DialOption {
	return grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32))
}

func (c *Client) calls() agentclient.Client { return agentclient.Client{Conn: c.conn} }

// Conn is the connection, for calls that the client has no method for.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// Output returns what the plugin's process has written to its log so far; in process it is empty.
func (c *Client) Output() string { return c.output.String() }

// PID is the plugin's process id; 0 in process.
func (c *Client) PID() int { return c.pid }

// Stop stops the plugin now, as the host does, instead of at the test's end: calls in flight end, agents are closed.
func (c *Client) Stop() error {
	c.stopped.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), maxWait)
		defer cancel()
		c.stopErr = c.stop(ctx)
	})
	return c.stopErr
}

// Configure hands over a `config:` block, a map, a struct or JSON text, and returns what the plugin says is wrong with it;
// it fails the test when the call itself fails. A plugin takes configuration once; if a test does not call Configure, its
// first task does, with an empty block.
func (c *Client) Configure(config any) []agent.ConfigError {
	c.t.Helper()
	c.configured.Do(func() {})
	errs, err := c.configure(config)
	if err != nil {
		c.t.Fatalf("agenttest: Configure: %v", err)
	}
	return errs
}

func (c *Client) configure(config any) ([]agent.ConfigError, error) {
	block, isText := config.(string)
	if !isText {
		data, err := json.Marshal(config)
		if err != nil {
			return nil, err
		}
		block = string(data)
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	response, err := pluginv1.NewPluginServiceClient(c.conn).Configure(ctx, &pluginv1.ConfigureRequest{Config: block})
	var errs []agent.ConfigError
	for _, e := range response.GetErrors() {
		errs = append(errs, agent.ConfigError{Key: e.GetKey(), Message: e.GetMessage()})
	}
	return errs, err
}

// ensureConfigured hands over the empty block, once, if no test did.
func (c *Client) ensureConfigured() (err error) {
	c.configured.Do(func() {
		var errs []agent.ConfigError
		if errs, err = c.configure("{}"); len(errs) > 0 {
			err = fmt.Errorf("the plugin refuses an empty configuration, call Configure first: %v", errs)
		}
	})
	return err
}

// Describe returns what the plugin says of itself, or fails the test.
func (c *Client) Describe() *pluginv1.DescribeResponse {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	response, err := pluginv1.NewPluginServiceClient(c.conn).Describe(ctx, &pluginv1.DescribeRequest{})
	if err != nil {
		c.t.Fatalf("agenttest: Describe: %v", err)
	}
	return response
}

// Replace tells the plugin that its process is being replaced, as the host does before it lets the calls under way end, or
// fails the test.
func (c *Client) Replace() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	if _, err := pluginv1.NewPluginServiceClient(c.conn).Drain(ctx, &pluginv1.DrainRequest{Timeout: durationpb.New(maxWait)}); err != nil {
		c.t.Fatalf("agenttest: Drain: %v", err)
	}
}

// Metrics returns the plugin's own metrics in Prometheus' text format, or fails the test.
func (c *Client) Metrics() string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	response, err := pluginv1.NewPluginServiceClient(c.conn).Metrics(ctx, &pluginv1.MetricsRequest{})
	if err != nil {
		c.t.Fatalf("agenttest: Metrics: %v", err)
	}
	return string(response.GetText())
}

// Agents returns what the plugin lists, or fails the test.
func (c *Client) Agents() []*admin.Agent {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	agents, err := c.calls().List(ctx)
	if err != nil {
		c.t.Fatalf("agenttest: ListAgents: %v", err)
	}
	return agents
}

// Create starts a job.
func (c *Client) Create(ctx context.Context, task Task) (*Job, error) {
	if err := c.ensureConfigured(); err != nil {
		return nil, err
	}
	return c.create(withKey(ctx, task), task)
}

// Find returns the job that was made for a task's attempt, and makes none: NOT_FOUND where there is none, ABORTED where the
// attempt was abandoned. The agent must be an agent.Finder.
func (c *Client) Find(ctx context.Context, task Task) (*Job, error) {
	if err := c.ensureConfigured(); err != nil {
		return nil, err
	}
	return c.create(metadata.AppendToOutgoingContext(withKey(ctx, task), pluginv1.FindOnlyHeader, "1"), task)
}

// Abandon gives a task's attempt up. The agent must be an agent.Finder.
func (c *Client) Abandon(ctx context.Context, task Task) error {
	if err := c.ensureConfigured(); err != nil {
		return err
	}
	_, err := c.create(metadata.AppendToOutgoingContext(withKey(ctx, task), pluginv1.AbandonHeader, "1"), task)
	return err
}

func (c *Client) create(ctx context.Context, task Task) (*Job, error) {
	request, err := c.createRequest(task)
	if err != nil {
		return nil, err
	}
	meta, err := c.calls().Create(ctx, request)
	if err != nil {
		return nil, err
	}
	return &Job{
		client: c, Category: agent.Category{Name: task.Type, Version: task.Version}, Meta: meta,
		OutputPrefix: request.GetOutputPrefix(), Connection: task.Connection,
	}, nil
}

// Execute runs a task on a sync agent.
func (c *Client) Execute(ctx context.Context, task Task) (*Result, error) {
	if err := c.ensureConfigured(); err != nil {
		return nil, err
	}
	request, err := c.createRequest(task)
	if err != nil {
		return nil, err
	}
	next, stop := iter.Pull2(c.calls().Sync(withKey(ctx, task), request))
	defer stop()
	part, err, answered := next() // Flyte reads no more than one message
	switch {
	case err != nil:
		return nil, err
	case !answered:
		return nil, errors.New("the plugin ended the call without an answer")
	}
	return newResult(part.GetHeader().GetResource())
}

// RunTask creates a task, or executes it if its agent is synchronous, waits for a terminal phase, deletes the job, and
// fails the test if a call fails. A task that fails is a result.
func (c *Client) RunTask(ctx context.Context, task Task) *Result {
	c.t.Helper()
	result, err := c.runTask(ctx, task)
	if err != nil {
		c.t.Fatalf("agenttest: running a %s task: %v", task.Type, err)
	}
	return result
}

func (c *Client) runTask(ctx context.Context, task Task) (*Result, error) {
	for _, listed := range c.Agents() {
		for _, category := range listed.GetSupportedTaskCategories() {
			if category.GetName() == task.Type && listed.GetIsSync() {
				return c.Execute(ctx, task)
			}
		}
	}
	job, err := c.Create(ctx, task)
	if err != nil {
		return nil, err
	}
	result, err := job.Wait(ctx)
	return result, errors.Join(err, job.Delete(ctx))
}

// Job returns a handle on a job by its metadata, such as that of an older version of the plugin.
func (c *Client) Job(category agent.Category, meta []byte) *Job {
	return &Job{client: c, Category: category, Meta: meta}
}

// Job is a job that Create started.
type Job struct {
	client *Client
	// Category is what calls for the job are routed by.
	Category agent.Category
	// Meta is what the plugin returned from Create.
	Meta []byte
	// OutputPrefix is sent with Get.
	OutputPrefix string
	// Connection is sent with Get and Delete.
	Connection *Connection
}

func (j *Job) named() agentclient.Job {
	return agentclient.Job{
		Category: j.category(), Meta: j.Meta, CategoryOnly: true, OutputPrefix: j.OutputPrefix, Connection: j.Connection,
	}
}

func (j *Job) category() *admin.TaskCategory {
	return &admin.TaskCategory{Name: j.Category.Name, Version: j.Category.Version}
}

// Get asks once how the job is.
func (j *Job) Get(ctx context.Context) (*Result, error) {
	if err := j.client.ensureConfigured(); err != nil {
		return nil, err
	}
	resource, err := j.client.calls().Get(ctx, j.named())
	if err != nil {
		return nil, err
	}
	return newResult(resource)
}

// Wait asks until the job has reached a terminal phase or ctx ends.
func (j *Job) Wait(ctx context.Context) (*Result, error) {
	pause := time.Millisecond
	for {
		result, err := j.Get(ctx)
		if err != nil || agent.Terminal(result.Phase) {
			return result, err
		}
		select {
		case <-ctx.Done():
			return result, fmt.Errorf("the job is still %s (%s): %w", result.Phase, result.Message, ctx.Err())
		case <-time.After(pause):
			pause = min(2*pause, 200*time.Millisecond)
		}
	}
}

// Delete ends the job.
func (j *Job) Delete(ctx context.Context) error {
	if err := j.client.ensureConfigured(); err != nil {
		return err
	}
	return j.client.calls().Delete(ctx, j.named())
}

// Logs reads the job's log to its end, and returns the lines and the token of the next page.
func (j *Job) Logs(ctx context.Context, query agent.LogQuery) (lines []agent.LogLine, token string, err error) {
	err = j.FollowLogs(ctx, query, func(sent []agent.LogLine, next string) bool {
		lines = append(lines, sent...)
		if next != "" {
			token = next
		}
		return true
	})
	return lines, token, err
}

// FollowLogs calls take with the lines, or with the token of the next page, as they come, until take says false or the
// log ends.
func (j *Job) FollowLogs(ctx context.Context, query agent.LogQuery, take func(lines []agent.LogLine, token string) bool) error {
	if err := j.client.ensureConfigured(); err != nil {
		return err
	}
	for part, err := range j.client.calls().Logs(ctx, j.named(), query.Lines, query.Token) {
		if err != nil {
			return err
		}
		lines, err := logLines(part.GetBody())
		if err != nil {
			return err
		}
		if !take(lines, part.GetHeader().GetToken()) {
			return nil
		}
	}
	return nil
}

// Metrics returns the job's metrics.
func (j *Job) Metrics(ctx context.Context, query agent.MetricsQuery) ([]*core.ExecutionMetricResult, error) {
	if err := j.client.ensureConfigured(); err != nil {
		return nil, err
	}
	request := &admin.GetTaskMetricsRequest{ResourceMeta: j.Meta, TaskCategory: j.category(), Queries: query.Queries}
	setRange(request, query)
	response, err := service.NewAsyncAgentServiceClient(j.client.conn).GetTaskMetrics(ctx, request)
	return response.GetResults(), err
}

// Result is what the plugin said of a job.
type Result struct {
	Phase   agent.Phase
	Message string
	// Outputs are the outputs as the Go values that are natural for them; nil when there was no answer about outputs.
	Outputs map[string]any
	// Resource is the answer as it came.
	Resource *admin.Resource
}

func newResult(resource *admin.Resource) (*Result, error) {
	if resource == nil {
		return nil, errors.New("the plugin answered without a resource")
	}
	result := &Result{Phase: resource.GetPhase(), Message: resource.GetMessage(), Resource: resource}
	if resource.GetOutputs() != nil {
		result.Outputs = map[string]any{}
	}
	for name, l := range resource.GetOutputs().GetLiterals() {
		value, err := agent.Decode[any](l)
		if err != nil {
			return result, fmt.Errorf("output %s: %w", name, err)
		}
		result.Outputs[name] = value
	}
	return result, nil
}

// Output reads one output as a T, or fails the test, saying how the task ended.
func Output[T any](t testing.TB, result *Result, name string) T {
	t.Helper()
	l, ok := result.Resource.GetOutputs().GetLiterals()[name]
	if !ok {
		t.Fatalf("there is no output %s: the task is %s %s, with outputs %v", name, result.Phase, result.Message, result.Outputs)
	}
	value, err := agent.Decode[T](l)
	if err != nil {
		t.Fatalf("output %s: %v", name, err)
	}
	return value
}
