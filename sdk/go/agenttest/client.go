package agenttest

import (
	"context"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	agent "github.com/agenthost/agenthost/sdk/go"
)

// Client talks to a plugin as the host does. Its methods may be called concurrently.
type Client struct {
	t          testing.TB
	conn       *grpc.ClientConn
	configured chan struct{}
	output     *output
	stop       func(context.Context) error
}

// Run serves agents in process, over a real gRPC connection, until the test ends. The options are those of agent.Serve.
func Run(t testing.TB, options ...agent.Option) *Client {
	t.Helper()
	return nil
}

// Command starts a built plugin as the host does, as a go-plugin subprocess with mutual TLS, and stops it when the test
// ends. Its log goes to the test's.
func Command(t testing.TB, path string, args ...string) *Client {
	t.Helper()
	return nil
}

// Build compiles the main package in a folder, such as ".", and returns the path of the program. It is removed when the
// test ends.
func Build(t testing.TB, folder string) string {
	t.Helper()
	return ""
}

// Configure hands over a `config:` block, a map or a struct, and returns what the plugin says is wrong with it. A plugin
// takes configuration once; if a test does not call Configure, the first call for a task does, with an empty block.
func (c *Client) Configure(config any) []agent.ConfigError { return nil }

// Describe returns what the plugin says of itself.
func (c *Client) Describe() *pluginv1.DescribeResponse { return nil }

// Agents returns what the plugin lists.
func (c *Client) Agents() []*admin.Agent { return nil }

// Conn is the connection, for calls that the client has no method for.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// Output returns what the plugin's process has written to its log so far; in process it is empty.
func (c *Client) Output() string { return "" }

// Stop stops the plugin now, as the host does, instead of at the test's end: calls in flight end, agents are closed.
func (c *Client) Stop() error { return nil }

// Create starts a job.
func (c *Client) Create(ctx context.Context, task Task) (*Job, error) { return nil, nil }

// Job returns a handle on a job by its metadata, such as that of an older version of the plugin.
func (c *Client) Job(category agent.Category, meta []byte) *Job { return nil }

// Execute runs a task on a sync agent.
func (c *Client) Execute(ctx context.Context, task Task) (*Result, error) { return nil, nil }

// RunTask creates a task, or executes it if its agent is synchronous, waits for a terminal phase, deletes the job, and
// fails the test if anything but the task itself goes wrong.
func (c *Client) RunTask(ctx context.Context, task Task) *Result { return nil }

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

// Get asks once how the job is.
func (j *Job) Get(ctx context.Context) (*Result, error) { return nil, nil }

// Wait polls until the job has reached a terminal phase or ctx ends.
func (j *Job) Wait(ctx context.Context) (*Result, error) { return nil, nil }

// Delete ends the job.
func (j *Job) Delete(ctx context.Context) error { return nil }

// Logs reads the job's log to its end, and returns the lines and the token of the next page.
func (j *Job) Logs(ctx context.Context, query agent.LogQuery) ([]agent.LogLine, string, error) {
	return nil, "", nil
}

// Metrics returns the job's metrics.
func (j *Job) Metrics(ctx context.Context, query agent.MetricsQuery) ([]*core.ExecutionMetricResult, error) {
	return nil, nil
}

// Result is what the plugin said of a job.
type Result struct {
	Phase   agent.Phase
	Message string
	// Outputs are the outputs as the Go values that are natural for them.
	Outputs map[string]any
	// Resource is the answer as it came.
	Resource *admin.Resource
}

// Output reads one output as a T, or fails the test.
func Output[T any](t testing.TB, result *Result, name string) T {
	t.Helper()
	var value T
	return value
}
