package agenttest_test

import (
	"context"
	"fmt"
	"testing"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/sdk/go/internal/intest"
)

// A whole test: the plugin in process, one task through it, and its output as a Go value.
func Example() {
	intest.Run(func(t testing.TB) { // func TestCounts(t *testing.T) { …
		client := agenttest.Run(t, agent.Async("countdown", newCountdown()))
		result := client.RunTask(context.Background(), agenttest.Task{Type: "countdown", Inputs: map[string]any{"gets": 3}})
		fmt.Println(result.Phase, agenttest.Output[int](t, result, "n"))
	})
	// Output: SUCCEEDED 7
}

// The calls of a job one by one, as Flyte makes them.
func ExampleClient_Create() {
	intest.Run(func(t testing.TB) {
		ctx := context.Background()
		client := agenttest.Run(t, agent.Async("countdown", newCountdown()))
		job, err := client.Create(ctx, agenttest.Task{Type: "countdown", Inputs: map[string]any{"gets": 1}, IdempotencyKey: "attempt-1"})
		if err != nil {
			t.Fatalf("CreateTask: %v", err)
		}
		fmt.Printf("%s\n", job.Meta)
		for range 2 {
			result, err := job.Get(ctx)
			if err != nil {
				t.Fatalf("GetTask: %v", err)
			}
			fmt.Printf("%s %q\n", result.Phase, result.Message)
		}
		fmt.Println(job.Delete(ctx), job.Delete(ctx)) // Flyte repeats deletions
	})
	// Output:
	// {"ID":"attempt-1"}
	// RUNNING "1 to go"
	// SUCCEEDED ""
	// <nil> <nil>
}

// A job that an older version of the plugin made has to be found by the new one.
func ExampleClient_Job() {
	intest.Run(func(t testing.TB) {
		agents := newCountdown()
		agents.left["attempt-1"] = 0
		client := agenttest.Run(t, agent.Async("countdown", agents))
		result, err := client.Job(agent.Category{Name: "countdown"}, []byte(`{"ID": "attempt-1", "since": "1.0"}`)).Get(context.Background())
		if err != nil {
			t.Fatalf("GetTask: %v", err)
		}
		fmt.Println(result.Phase)
	})
	// Output: SUCCEEDED
}

// Command runs the built program as the host does, which shows what is wrong with its handshake, its log or its stop.
func ExampleCommand() {
	var t *testing.T // a test's
	client := agenttest.Command(t, agenttest.Build(t, "."))
	client.RunTask(t.Context(), agenttest.Task{Type: "countdown", Inputs: map[string]any{"gets": 0}})
	if err := client.Stop(); err != nil {
		t.Error(err)
	}
}
