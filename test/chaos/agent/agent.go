// Package agent is the chaos plugin: a real plugin, a subprocess of the host, written with the Go SDK. Its jobs are those of
// the ledger, and it does what the ledger tells it, in the middle of a call: exit, hang, print garbage, fork.
//
// The chaos program and its tests are their own plugin, by running their own binary again:
//
//	func main() {
//		agent.Main() // does not return in the plugin's process
//		…
//	}
//
//	command := agent.Command(agent.Flags{Agent: "alpha", Release: "r7", Idempotent: true})
package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/test/chaos/ledger"
)

// Marker is the first argument of a chaos plugin's command line, and HoldMarker that of the children that it forks.
const (
	Marker     = "agenthost-chaos-plugin"
	HoldMarker = "agenthost-chaos-child"
)

// LedgerVariable is the environment variable that says where the ledger is.
const LedgerVariable = "CHAOS_LEDGER"

// Flags say what kind of plugin it is to be.
type Flags struct {
	// Agent is its name, as the ledger knows it.
	Agent string
	// Type is its task type; "chaos_" with its name if empty.
	Type string
	// Sync makes it a sync agent, which is written without the SDK.
	Sync bool
	// Release names what was configured. It means nothing to the plugin, and makes another spec of it.
	Release string
	// Second makes it the second version of the program, which keeps more in a job's metadata than the first.
	Second bool
	// Idempotent makes it find the job that an earlier call for the same attempt made, and say so to the host. It finds and abandons
	// attempts then, too.
	Idempotent bool
	// Slow is how long it takes to start.
	Slow time.Duration
	// Doomed is how long it lives; 0: until it is stopped.
	Doomed time.Duration
}

// TaskType is the task type that a plugin for an agent serves, unless its flags say otherwise.
func TaskType(agent string) string { return "chaos_" + agent }

// TaskName is what the ledger calls the task on a node of an execution. Most executions have one node.
func TaskName(execution, node string) string {
	if node == "" || node == "n0" {
		return execution
	}
	return execution + "/" + node
}

// Command is the command line that makes the running program a plugin.
func Command(flags Flags) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err) // a program that does not know where it is cannot run itself
	}
	return []string{
		self, Marker, "-agent", flags.Agent, "-type", flags.Type, "-release", flags.Release,
		fmt.Sprintf("-sync=%t", flags.Sync), fmt.Sprintf("-second=%t", flags.Second), fmt.Sprintf("-idempotent=%t", flags.Idempotent),
		"-slow", flags.Slow.String(), "-doomed", flags.Doomed.String(),
	}
}

// Main makes this process a plugin, and ends it, if it was started by Command. Otherwise it does nothing.
func Main() {
	switch {
	case len(os.Args) < 2:
	case os.Args[1] == HoldMarker:
		hold()
	case os.Args[1] == Marker:
		var flags Flags
		set := flag.NewFlagSet(Marker, flag.ExitOnError)
		set.StringVar(&flags.Agent, "agent", "", "")
		set.StringVar(&flags.Type, "type", "", "")
		set.BoolVar(&flags.Sync, "sync", false, "")
		set.StringVar(&flags.Release, "release", "", "")
		set.BoolVar(&flags.Second, "second", false, "")
		set.BoolVar(&flags.Idempotent, "idempotent", false, "")
		set.DurationVar(&flags.Slow, "slow", 0, "")
		set.DurationVar(&flags.Doomed, "doomed", 0, "")
		_ = set.Parse(os.Args[2:]) // it exits
		if flags.Type == "" {
			flags.Type = TaskType(flags.Agent)
		}
		serve(flags)
		os.Exit(0)
	}
}

func serve(flags Flags) {
	client := ledger.Client{
		URL: os.Getenv(LedgerVariable), Agent: flags.Agent, Release: flags.Release, Plugin: os.Getpid(), Host: os.Getppid(),
	}
	misbehave := newMisbehaviour()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	answer, err := client.Call(ctx, ledger.Start, ledger.Request{})
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "the ledger cannot be reached:", err)
		os.Exit(1)
	}
	misbehave.obey(answer.Do)
	time.Sleep(flags.Slow)
	if flags.Doomed > 0 {
		time.AfterFunc(flags.Doomed, func() { os.Exit(1) })
	}
	if flags.Sync {
		serveSync(&syncAgent{flags: flags, client: client, misbehave: misbehave})
		return
	}
	version := "1.0.0"
	if flags.Second {
		version = "2.0.0"
	}
	jobs := &chaos{flags: flags, client: client, misbehave: misbehave}
	options := []sdk.Option{sdk.Async(flags.Type, jobs)}
	if flags.Idempotent {
		options = []sdk.Option{sdk.Async(flags.Type, finder{jobs}), sdk.IdempotentCreate()}
	}
	sdk.Serve(sdk.Plugin{Name: "chaos-" + flags.Agent, Version: version}, options...)
}

// chaos is the agent.
type chaos struct {
	flags     Flags
	client    ledger.Client
	misbehave *misbehaviour
}

// meta is what Flyte keeps of a job.
type meta struct {
	Job string `json:"job"`
	// Release is who made the job. Only the second version of the plugin knows this field: each must understand the other's.
	Release string `json:"release,omitempty"`
}

// Create makes a job.
func (c *chaos) Create(ctx context.Context, task *sdk.Task) (meta, error) {
	request := c.attempt(task)
	var err error
	if request.Number, err = sdk.Input[int64](task, "number"); err != nil {
		return meta{}, err
	}
	if request.Text, err = sdk.Input[string](task, "text"); err != nil {
		return meta{}, err
	}
	answer, err := insist(ctx, c.client, ledger.Create, request)
	c.misbehave.obey(answer.Do)
	switch {
	case errors.Is(err, ledger.ErrAbandoned):
		return meta{}, sdk.Abandoned("%w", err)
	case err != nil:
		return meta{}, err
	}
	return c.metaOf(answer), nil
}

// attempt is a request about the attempt of a task.
func (c *chaos) attempt(task *sdk.Task) ledger.Request {
	node := task.ExecutionID.GetNodeExecutionId()
	request := ledger.Request{Task: TaskName(node.GetExecutionId().GetName(), node.GetNodeId()), Attempt: int(task.ExecutionID.GetRetryAttempt())}
	if c.flags.Idempotent {
		request.Key = task.IdempotencyKey
	}
	return request
}

// metaOf is what Flyte is to keep of the job in an answer.
func (c *chaos) metaOf(answer ledger.Answer) meta {
	made := meta{Job: answer.Job}
	if c.flags.Second {
		made.Release = c.flags.Release
	}
	return made
}

// finder is the agent of the kind that is idempotent.
type finder struct{ *chaos }

// Find gives the attempt's job.
func (f finder) Find(ctx context.Context, task *sdk.Task) (meta, error) {
	answer, err := f.client.Call(ctx, ledger.Find, f.attempt(task))
	f.misbehave.obey(answer.Do)
	switch {
	case errors.Is(err, ledger.ErrGone):
		return meta{}, sdk.NotFound("%w", err)
	case errors.Is(err, ledger.ErrAbandoned):
		return meta{}, sdk.Abandoned("%w", err)
	case err != nil:
		return meta{}, sdk.Unavailable("%w", err)
	}
	return f.metaOf(answer), nil
}

// Abandon gives the attempt up.
func (f finder) Abandon(ctx context.Context, task *sdk.Task) error {
	answer, err := f.client.Call(ctx, ledger.Abandon, f.attempt(task))
	f.misbehave.obey(answer.Do)
	if err != nil {
		return sdk.Unavailable("%w", err)
	}
	return nil
}

// retryPause is how long the plugin waits before it asks a ledger again that refused to make a job.
const retryPause = 100 * time.Millisecond

// insist makes a call. A ledger that refuses for now is asked again, as a good agent does, until the caller's deadline: nothing was
// done, so that asking again is safe.
func insist(ctx context.Context, client ledger.Client, op ledger.Op, request ledger.Request) (ledger.Answer, error) {
	for {
		answer, err := client.Call(ctx, op, request)
		if !errors.Is(err, ledger.ErrWeather) {
			return answer, err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return answer, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// Get says how a job is.
func (c *chaos) Get(ctx context.Context, job sdk.Job[meta]) (*sdk.Resource, error) {
	answer, err := c.client.Call(ctx, ledger.Get, ledger.Request{Job: job.Meta.Job})
	c.misbehave.obey(answer.Do)
	switch {
	case errors.Is(err, ledger.ErrGone):
		return nil, sdk.NotFound("%w", err)
	case err != nil:
		return nil, sdk.Unavailable("%w", err)
	}
	switch answer.State {
	case ledger.Queued:
		return sdk.Queued("waits in the ledger"), nil
	case ledger.Running:
		return sdk.Running("runs in the ledger"), nil
	case ledger.Succeeded:
		return sdk.Succeeded(sdk.Outputs{"number": answer.Number, "text": answer.Text}), nil
	case ledger.Retryable:
		return sdk.RetryableFailedf("%s", answer.Message), nil
	case ledger.Cancelled:
		return sdk.Aborted("cancelled in the ledger"), nil
	}
	return sdk.Failedf("%s", answer.Message), nil
}

// Delete cancels a job. For one that is over the service says 404, and the agent says so too.
func (c *chaos) Delete(ctx context.Context, job sdk.Job[meta]) error {
	answer, err := c.client.Call(ctx, ledger.Delete, ledger.Request{Job: job.Meta.Job})
	c.misbehave.obey(answer.Do)
	switch {
	case errors.Is(err, ledger.ErrGone):
		return sdk.NotFound("%w", err)
	case err != nil:
		return sdk.Unavailable("%w", err)
	}
	return nil
}
