package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	flyteadmin "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

// servePending runs the host's own admin server over accepted tasks, and gives its address.
func servePending(t *testing.T, pending func() []gateway.Pending, cancel func(context.Context, string) error) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), admin.TokenFileName(listener.Addr().(*net.TCPAddr).Port))
	if err := os.WriteFile(file, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens := func(context.Context) []admin.Token { return []admin.Token{{Name: "test", Secret: "0123456789abcdef"}} }
	server := admin.New(admin.Options{Metrics: prometheus.NewRegistry(), Pending: pending, CancelPending: cancel, Tokens: tokens, TokenFile: file})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return listener.Addr().String()
}

func TestPendingShowsTheTasksThatWaitAndGivesThemUp(t *testing.T) {
	tasks := []gateway.Pending{
		{ID: "5e1c", Plugin: "duckdb", TaskType: "duckdb_query", Project: "p", Domain: "d", Execution: "e1", Node: "n0", Retry: 2, Accepted: time.Now().Add(-90 * time.Second), Waits: "plugin \"duckdb\" is restarting"},
		{ID: "a4f0", Plugin: "echo", Accepted: time.Now()},
	}
	address := servePending(t, func() []gateway.Pending { return tasks }, func(_ context.Context, id string) error {
		if id != tasks[0].ID {
			return errors.New("no task " + id + " waits")
		}
		tasks = tasks[1:]
		return nil
	})
	shown := agenthost(t, "pending", "--admin", address)
	for _, want := range []string{"5e1c", "duckdb_query", "e1", "n0", "1m30s", "plugin \"duckdb\" is restarting", "2 accepted, without a job"} {
		shown.expect(t, 0, want, "")
	}
	agenthost(t, "pending", "--admin", address, "-o", "json").expect(t, 0, `"retry": 2`, "")
	agenthost(t, "__complete", "pending", "cancel", "--admin", address, "").expect(t, 0, "5e1c\tduckdb e1 n0", "")

	agenthost(t, "pending", "cancel", "--admin", address, "nobody").expect(t, exitFailed, "", "no task nobody waits")
	agenthost(t, "pending", "cancel", "--admin", address, "5e1c").expect(t, 0, "5e1c is given up", "")
	agenthost(t, "pending", "--admin", address).expect(t, 0, "1 accepted, without a job", "")
	tasks = nil
	agenthost(t, "pending", "--admin", address).expect(t, 0, "no accepted task waits for its job", "")
}

// How tasks are accepted is taken up by a host that runs, though nothing else has changed.
func TestAReloadSwitchesTheAcceptanceOfTasks(t *testing.T) {
	away, run := filepath.Join(t.TempDir(), "away"), shortDir(t)+"/r"
	command := append([]string{"/bin/sh", "-c", `test ! -e "$0" && exec "$@"`, away}, badplugin.Command("good", "-capabilities", "idempotent_create")...)
	configured := func(onRecord string) string {
		return fmt.Sprintf("listen: {grpc: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\nrun_dir: %s\ncreate: {on_record: %s}\n"+
			"plugins: {echo: {command: %s, restart: {initial_backoff: 10ms, max_backoff: 50ms}}}\n", run, onRecord, jsonList(command))
	}
	file := writeFile(t, "host.yaml", configured("off"))
	p := startAgenthost(t, "serve", "-c", file)
	p.stderr.await(t, "agenthost is ready", 1)
	addresses := readyLine.FindStringSubmatch(p.stderr.String())
	host := &served{p, addresses[1], addresses[2]}
	conn, err := grpc.NewClient(host.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	agent := service.NewAsyncAgentServiceClient(conn)
	begin := func(node string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		answer, err := agent.CreateTask(ctx, &flyteadmin.CreateTaskRequest{
			Template: &core.TaskTemplate{Type: "echo_task"}, OutputPrefix: "s3://b/" + node,
			TaskExecutionMetadata: &flyteadmin.TaskExecutionMetadata{TaskExecutionId: &core.TaskExecutionIdentifier{
				TaskId:          &core.Identifier{Project: "p", Domain: "d", Name: "t"},
				NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: node, ExecutionId: &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: "e"}},
			}},
		})
		return answer.GetResourceMeta(), err
	}

	if err := os.WriteFile(away, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kill(t, host.status(t).PID)
	if _, err := begin("n0"); err == nil || !strings.Contains(err.Error(), `plugin "echo"`) {
		t.Errorf("with on_record off: %v", err)
	}
	replaceFile(t, file, configured("on"))
	agenthost(t, "reload", "--admin", host.admin).expect(t, 0, "create.on_record", "")
	agenthost(t, "status", "--admin", host.admin).expect(t, 0, "create.keys is not set", "")
	meta, err := begin("n1")
	if err != nil {
		t.Fatalf("with on_record on: %v", err)
	}
	agenthost(t, "pending", "--admin", host.admin).expect(t, 0, "1 accepted, without a job", "")
	if metrics := host.get(t, "/metrics"); !strings.Contains(metrics, `agenthost_creations_on_record{plugin="echo"} 1`) {
		t.Error("the metric does not count it")
	}

	replaceFile(t, file, configured("off"))
	agenthost(t, "reload", "--admin", host.admin).expect(t, 0, "create.on_record", "")
	if _, err := begin("n2"); err == nil {
		t.Error("switched off again it accepts a task")
	}
	if err := os.Remove(away); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "the accepted task has ended", func() bool {
		answer, err := agent.GetTask(t.Context(), &flyteadmin.GetTaskRequest{TaskCategory: &flyteadmin.TaskCategory{Name: "echo_task"}, ResourceMeta: meta})
		if err != nil && status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
		return answer.GetResource().GetPhase() == core.TaskExecution_SUCCEEDED
	})
	agenthost(t, "pending", "--admin", host.admin).expect(t, 0, "no accepted task waits for its job", "")
	if code := host.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, p.stderr)
	}
}
