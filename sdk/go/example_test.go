package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/sdk/go/internal/intest"
)

// query is what Flyte keeps of a job between the calls, as JSON.
type query struct {
	ID string `json:"id"`
}

// warehouse runs the jobs of a service that knows them by their ids. A real one is outside of the process.
type warehouse struct{ rows *sync.Map } // calls come concurrently

func (w warehouse) Create(_ context.Context, task *agent.Task) (query, error) {
	rows, err := agent.Input[int](task, "rows")
	if err != nil {
		return query{}, err
	}
	id := "flyte-" + task.IdempotencyKey[:12] // a repeated call finds the job that the first one made
	w.rows.LoadOrStore(id, rows)
	return query{ID: id}, nil
}

func (w warehouse) Get(_ context.Context, job agent.Job[query]) (*agent.Resource, error) {
	rows, ok := w.rows.Load(job.Meta.ID)
	if !ok {
		return nil, agent.NotFound("the warehouse has no query %s", job.Meta.ID)
	}
	if rows.(int) < 0 {
		return agent.Failed(agent.UserError("BadRows", fmt.Errorf("%d rows are less than none", rows))), nil
	}
	return agent.Succeeded(agent.Outputs{"rows": rows}), nil
}

func (w warehouse) Delete(_ context.Context, job agent.Job[query]) error {
	w.rows.Delete(job.Meta.ID) // fine if it is gone
	return nil
}

// greeter does its work within one call.
type greeter struct{}

func (greeter) Execute(_ context.Context, task *agent.Task) (*agent.Resource, error) {
	name, err := agent.Input[string](task, "name")
	if err != nil {
		return nil, err
	}
	return agent.Succeeded(agent.Outputs{"greeting": "Hello, " + name}), nil
}

// The main of a plugin is one call. Started by hand instead of by a host, the program says what it is for.
func Example() {
	agent.Serve(
		agent.Plugin{Name: "warehouse", Version: "1.0.0"},
		agent.Async("warehouse_query", warehouse{rows: &sync.Map{}}),
		agent.Sync("greeting", greeter{}),
		agent.IdempotentCreate(),
	)
}

// An asynchronous agent begins a job, says how it is, and ends it.
func ExampleAsync() {
	intest.Run(func(t testing.TB) { // in a test of yours, t is its *testing.T
		client := agenttest.Run(t, agent.Async("warehouse_query", warehouse{rows: &sync.Map{}}))
		for _, rows := range []int{3, -1} {
			result := client.RunTask(context.Background(), agenttest.Task{Type: "warehouse_query", Inputs: map[string]any{"rows": rows}})
			fmt.Printf("%s %v %q\n", result.Phase, result.Outputs, result.Message)
		}
	})
	// Output:
	// SUCCEEDED map[rows:3] ""
	// FAILED map[] "-1 rows are less than none"
}

// A synchronous agent answers with how the task ended.
func ExampleSync() {
	intest.Run(func(t testing.TB) {
		client := agenttest.Run(t, agent.Sync("greeting", greeter{}))
		result := client.RunTask(context.Background(), agenttest.Task{Type: "greeting", Inputs: map[string]any{"name": "Ada"}})
		fmt.Println(result.Phase, result.Outputs["greeting"])
	})
	// Output: SUCCEEDED Hello, Ada
}

// The `config:` block of the host's file becomes a struct. What is wrong with it is told by key, all at once.
func ExampleConfigure() {
	type settings struct {
		Region string         `json:"region" jsonschema:"required,enum=eu,enum=us"`
		Grace  agent.Duration `json:"grace,omitempty"`
	}
	withSettings := func() agent.Option {
		return agent.Configure(func(_ context.Context, s settings) error {
			fmt.Printf("queries run in %s, and get %s to end\n", s.Region, s.Grace)
			return nil
		})
	}
	intest.Run(func(t testing.TB) {
		client := agenttest.Run(t, agent.Sync("greeting", greeter{}), withSettings())
		for _, wrong := range client.Configure(map[string]any{"region": "moon", "graze": "30s"}) {
			fmt.Println(wrong.Key)
		}
	})
	intest.Run(func(t testing.TB) {
		client := agenttest.Run(t, agent.Sync("greeting", greeter{}), withSettings())
		fmt.Println(len(client.Configure(`{"region": "eu", "grace": "30s"}`)), "errors")
	})
	// Unordered output:
	// graze
	// region
	// queries run in eu, and get 30s to end
	// 0 errors
}

// An input is read as the type that is asked for, or else the error says what is there.
func ExampleInput() {
	intest.Run(func(t testing.TB) {
		client := agenttest.Run(t, agent.Sync("greeting", greeter{}))
		_, err := client.Execute(context.Background(), agenttest.Task{Type: "greeting", Inputs: map[string]any{"name": 7}})
		fmt.Println(status.Code(err) == codes.InvalidArgument)
		fmt.Println(status.Convert(err).Message())
	})
	// Output:
	// true
	// agent greeting: Execute: input name: an integer cannot be read as string
}

// A failed job is a resource. An error says that the call failed, and keeps its code.
func ExampleFailed() {
	failed := agent.Failed(agent.UserError("BadSQL", errors.New("there is no table flights")))
	fmt.Println(failed.Phase, failed.Error.Code, failed.Message)

	again := agent.RetryableFailedf("the warehouse lost the query").WithLink("Console", "https://warehouse.example.com/q/1")
	fmt.Println(again.Phase == agent.PhaseRetryableFailed, agent.Terminal(again.Phase), again.Links[0].URI)
	// Output:
	// FAILED BadSQL there is no table flights
	// true true https://warehouse.example.com/q/1
}

// A secret comes from the host's `secrets:`, and shows itself only where it is revealed.
func ExampleSecret() {
	os.Setenv("_FSEC_API_KEY", "s3cr3t") // the host writes a file into FLYTE_SECRETS_DEFAULT_DIR instead
	defer os.Unsetenv("_FSEC_API_KEY")

	key, err := agent.Secret("api_key")
	fmt.Println(key, key.Reveal(), err)
	// Output: [secret] s3cr3t <nil>
}
