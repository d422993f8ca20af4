package e2e_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	agentadmin "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/hosttest"
)

// rollout is a host whose plugin is being rolled out, from version 1 to version 2.
type rollout struct {
	host  *hosttest.Host
	tasks service.AsyncAgentServiceClient
}

// rollOut begins the rollout of a version 2 that does what a script says.
func rollOut(t *testing.T, script string, settings map[string]any) *rollout {
	t.Helper()
	version := func(version, script string) map[string]any {
		return map[string]any{"echo": map[string]any{"command": badplugin.Command("good", "-version", version, "-script", script), "rollout": settings}}
	}
	r := &rollout{host: hosttest.Start(t, map[string]any{"plugins": version("1", "{}")})}
	conn, err := grpc.NewClient(r.host.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r.tasks = service.NewAsyncAgentServiceClient(conn)
	r.host.Reload(t, version("2", script))
	return r
}

// status is that of the plugin.
func (r *rollout) status(t *testing.T) admin.PluginStatus {
	t.Helper()
	var status admin.Status
	if err := json.Unmarshal([]byte(r.host.Ask(t, "/status")), &status); err != nil {
		t.Fatal(err)
	}
	return status.Plugins[0]
}

// task makes a job and polls it a few times, as Flyte does: no poll may fail, whatever the plugin does.
func (r *rollout) task(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	made, err := r.tasks.CreateTask(ctx, &agentadmin.CreateTaskRequest{Template: &core.TaskTemplate{Type: "echo_task"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := r.tasks.GetTask(ctx, &agentadmin.GetTaskRequest{TaskCategory: &agentadmin.TaskCategory{Name: "echo_task"}, ResourceMeta: made.GetResourceMeta()})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// until makes tasks until a state is reached.
func (r *rollout) until(t *testing.T, what string, holds func(admin.PluginStatus) bool) admin.PluginStatus {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		status := r.status(t)
		if holds(status) {
			return status
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s: %+v", what, status)
		}
		r.task(t)
	}
}

func withdrawn(s admin.PluginStatus) bool { return s.Rollout == nil && s.SwapError != "" }

// A canary that is worse goes by itself, though not one of its failures has come to Flyte.
func TestACanaryThatIsWorseIsWithdrawn(t *testing.T) {
	steps := []map[string]any{{"percent": 50, "pause": "1h"}}
	for name, c := range map[string]struct {
		script string
		rule   map[string]any
		why    string
	}{
		"by errors that memory hides": {`{"get_errors": 1000000, "get_error": "INTERNAL"}`, map[string]any{"error_rate": 0.05, "min_calls": 20}, "failed by its fault"},
		"by its time":                 {`{"get_delay": "200ms"}`, map[string]any{"latency_p99": 2, "min_calls": 20}, "99 of 100 take up to"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rollOut(t, c.script, map[string]any{"steps": steps, "abort_if": c.rule})
			status := r.until(t, "the canary is withdrawn", withdrawn)
			if status.Version != "1" || !strings.Contains(status.SwapError, "is withdrawn in step 1 of 1, 50 % of new jobs") || !strings.Contains(status.SwapError, c.why) {
				t.Errorf("version %s serves, because: %s", status.Version, status.SwapError)
			}
			if metrics := r.host.Ask(t, "/metrics"); !strings.Contains(metrics, `agenthost_rollout_aborts_total{plugin="echo"} 1`) || strings.Contains(metrics, "agenthost_rollout_step{") {
				t.Error("the metrics do not tell of it")
			}
			r.host.Reload(t, map[string]any{"echo": map[string]any{
				"command": badplugin.Command("good", "-version", "2", "-script", c.script), "rollout": map[string]any{"steps": steps}, "probation": "5s",
			}})
			if status := r.status(t); status.Rollout != nil || status.Version != "1" {
				t.Errorf("what was withdrawn is tried again: %+v", status.Generations)
			}
			r.until(t, "what was withdrawn is gone", func(s admin.PluginStatus) bool { return len(s.Generations) == 1 && s.Version == "1" })
		})
	}
}

func TestACanaryThatIsGoodBecomesTheCurrentGenerationStepByStep(t *testing.T) {
	t.Parallel()
	r := rollOut(t, "{}", map[string]any{
		"steps": []map[string]any{{"percent": 30, "pause": "1s"}, {"percent": 60, "pause": "1s"}}, "abort_if": map[string]any{"min_calls": 20},
	})
	r.until(t, "the second step", func(s admin.PluginStatus) bool {
		return s.Rollout != nil && s.Rollout.Step.Number == 2 && s.Rollout.Percent == 60
	})
	status := r.until(t, "the end", func(s admin.PluginStatus) bool { return s.Rollout == nil && len(s.Generations) == 1 })
	if status.Version != "2" || status.SwapError != "" {
		t.Errorf("version %s serves, because: %s", status.Version, status.SwapError)
	}
}

// Where nobody knows enough to judge, nobody judges, until somebody does.
func TestACanaryWithTooFewCallsWaitsForThemOrForAnOperator(t *testing.T) {
	t.Parallel()
	r := rollOut(t, `{"get_errors": 1000000}`, map[string]any{
		"steps": []map[string]any{{"percent": 50, "pause": "10ms"}}, "abort_if": map[string]any{"min_calls": 1000000},
	})
	status := r.until(t, "it has calls", func(s admin.PluginStatus) bool { return s.Rollout != nil && s.Rollout.Canary.Calls.Errors > 20 })
	if waits := status.Rollout.Step.WaitsFor; !strings.HasSuffix(waits, " of 1000000 calls") {
		t.Errorf("it waits for %q", waits)
	}
	shown, err := exec.Command(hosttest.Program("agenthost"), "status", "--admin", r.host.Admin()).CombinedOutput()
	if err != nil || !strings.Contains(string(shown), "too few calls to tell") {
		t.Errorf("%v: %s", err, shown)
	}
	if out, err := exec.Command(hosttest.Program("agenthost"), "promote", "echo", "--admin", r.host.Admin()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if status := r.status(t); status.Version != "2" || status.Rollout != nil {
		t.Errorf("promoted, it is %+v", status)
	}
}
