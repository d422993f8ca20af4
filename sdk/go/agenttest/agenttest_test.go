package agenttest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"go.uber.org/goleak"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// countdown is done after as many Gets as its input says.
type countdown struct {
	mu      sync.Mutex
	left    map[string]int
	deleted []string
}

type id struct{ ID string }

func (c *countdown) Create(_ context.Context, task *agent.Task) (id, error) {
	gets, err := agent.Input[int](task, "gets")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[task.IdempotencyKey] = gets
	return id{task.IdempotencyKey}, err
}

func (c *countdown) Get(_ context.Context, job agent.Job[id]) (*agent.Resource, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left, ok := c.left[job.Meta.ID]
	if !ok {
		return nil, agent.NotFound("no job %s", job.Meta.ID)
	}
	if left > 0 {
		c.left[job.Meta.ID]--
		return agent.Running(fmt.Sprintf("%d to go", left)), nil
	}
	return agent.Succeeded(agent.Outputs{"n": 7}), nil
}

func (c *countdown) Delete(_ context.Context, job agent.Job[id]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.left, job.Meta.ID)
	c.deleted = append(c.deleted, job.Meta.ID)
	return nil
}

func newCountdown() *countdown { return &countdown{left: map[string]int{}} }

// recorder is a testing.TB that notes failures instead of failing.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// failures runs a test and returns what it complains of.
func failures(t *testing.T, test func(tb testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	return strings.Join(r.failures, "\n")
}

func TestRunTaskPollsToTheEndAndDeletes(t *testing.T) {
	agents := newCountdown()
	client := agenttest.Run(t, agent.Async("countdown", agents))
	result := client.RunTask(t.Context(), agenttest.Task{Type: "countdown", Inputs: map[string]any{"gets": 3}})
	if n := agenttest.Output[int](t, result, "n"); n != 7 || len(agents.deleted) != 1 {
		t.Errorf("n = %d, deleted = %v", n, agents.deleted)
	}
}

func TestEveryTaskIsAnAttemptOfItsOwn(t *testing.T) {
	client := agenttest.Run(t, agent.Async("countdown", newCountdown()))
	seen := map[string]bool{}
	for range 3 {
		job, err := client.Create(t.Context(), agenttest.Task{Type: "countdown", Inputs: map[string]any{"gets": 0}})
		if err != nil {
			t.Fatal(err)
		}
		seen[string(job.Meta)] = true
	}
	if len(seen) != 3 {
		t.Errorf("3 tasks have %d idempotency keys", len(seen))
	}
}

func TestCallsWithOneExecutionIDAreOneAttemptUnlessTheirOutputPrefixesDiffer(t *testing.T) {
	id := &core.TaskExecutionIdentifier{NodeExecutionId: &core.NodeExecutionIdentifier{
		NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Name: "f1"},
	}}
	var metas []string
	for _, prefix := range []string{"", "", "s3://b/f1-n1-0-n0-0"} {
		client := agenttest.Run(t, agent.Async("countdown", newCountdown())) // a plugin each, as after a restart
		job, err := client.Create(t.Context(), agenttest.Task{Type: "countdown", Inputs: map[string]any{"gets": 0}, ExecutionID: id, OutputPrefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		metas = append(metas, string(job.Meta))
	}
	if metas[0] != metas[1] || metas[1] == metas[2] {
		t.Errorf("their jobs are %q", metas)
	}
}

func TestWaitEndsWithItsContextAndTellsThePhase(t *testing.T) {
	client := agenttest.Run(t, agent.Async("countdown", newCountdown()))
	job, err := client.Create(t.Context(), agenttest.Task{Type: "countdown", Inputs: map[string]any{"gets": 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := job.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(fmt.Sprint(err), "DeadlineExceeded") {
		t.Errorf("error = %v", err)
	}
}

func TestWhatGoesWrongFailsTheTestWithItsReason(t *testing.T) {
	for want, test := range map[string]func(tb testing.TB){
		`running a missing task`: func(tb testing.TB) {
			agenttest.Run(tb, agent.Async("countdown", newCountdown())).RunTask(t.Context(), agenttest.Task{Type: "missing"})
		},
		`there is no output m: the task is SUCCEEDED , with outputs map[n:7]`: func(tb testing.TB) {
			client := agenttest.Run(tb, agent.Async("countdown", newCountdown()))
			result := client.RunTask(t.Context(), agenttest.Task{Type: "countdown", Inputs: map[string]any{"gets": 0}})
			agenttest.Output[int](tb, result, "m")
		},
		`output n: an integer cannot be read as string`: func(tb testing.TB) {
			client := agenttest.Run(tb, agent.Async("countdown", newCountdown()))
			result := client.RunTask(t.Context(), agenttest.Task{Type: "countdown", Inputs: map[string]any{"gets": 0}})
			agenttest.Output[string](tb, result, "n")
		},
		`plugin test has no agent`:                   func(tb testing.TB) { agenttest.Run(tb) },
		`/bin/true does not start as a plugin`:       func(tb testing.TB) { agenttest.Command(tb, "/bin/true") },
		`/nowhere/plugin does not start as a plugin`: func(tb testing.TB) { agenttest.Command(tb, "/nowhere/plugin") },
		`agenttest: go build in `:                    func(tb testing.TB) { agenttest.Build(tb, t.TempDir()) },
		`the plugin refuses an empty configuration`: func(tb testing.TB) {
			type config struct {
				Region string `json:"region" jsonschema:"required"`
			}
			client := agenttest.Run(tb, agent.Async("countdown", newCountdown()),
				agent.Configure(func(context.Context, config) error { return nil }))
			client.RunTask(t.Context(), agenttest.Task{Type: "countdown"})
		},
	} {
		if got := failures(t, test); !strings.Contains(got, want) {
			t.Errorf("the test fails with %q, want %q", got, want)
		}
	}
}
