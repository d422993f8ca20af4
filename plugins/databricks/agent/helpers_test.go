package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/plugins/databricks/agent"
	"github.com/agenthost/agenthost/plugins/databricks/fakejobs"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The credentials of the tests. No output of the plugin may have any of them.
const (
	adasToken    = "dapi-of-ada-7b1f"
	bobsToken    = "dapi-of-bob-93cc"
	robotsSecret = "secret-of-robot-5e0a"
)

var workspaceOptions = fakejobs.Options{
	Tokens:     map[string]string{adasToken: "ada", bobsToken: "bob"},
	Principals: map[string]string{"robot": robotsSecret},
}

// secret gives the plugin a secret, as the host does.
func secret(t *testing.T, name, value string) {
	t.Helper()
	t.Setenv("_FSEC_"+strings.ToUpper(name), value)
}

// serve serves the agent in process, on a workspace of its own, with Ada's token unless it has another.
func serve(t *testing.T, config map[string]any) (*agenttest.Client, *fakejobs.Workspace) {
	t.Helper()
	return serveOn(t, fakejobs.Start(t, workspaceOptions), config)
}

func serveOn(t *testing.T, workspace *fakejobs.Workspace, config map[string]any) (*agenttest.Client, *fakejobs.Workspace) {
	t.Helper()
	client := agenttest.Run(t, agent.Options()...)
	configure(t, client, workspace, config)
	return client, workspace
}

func configure(t *testing.T, client *agenttest.Client, workspace *fakejobs.Workspace, config map[string]any) {
	t.Helper()
	block := map[string]any{"instance": workspace.Host, "ca_file": workspace.Authority}
	maps.Copy(block, config)
	if wrong := client.Configure(block); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

// task is a task on an existing cluster. Its run's name is what a workspace scripts its life by.
func task(runName string, more map[string]any) agenttest.Task {
	custom := map[string]any{"databricksConf": map[string]any{"run_name": runName, "existing_cluster_id": "0923-164208-meows279"}}
	maps.Copy(custom, more)
	return agenttest.Task{Type: agent.TaskType, Custom: custom, Change: func(request *admin.CreateTaskRequest) {
		request.Template.Target = &core.TaskTemplate_Container{Container: &core.Container{
			Image: "example.com/flytekit:v1", Args: []string{"pyflyte-execute", "--inputs", "s3://bucket/inputs.pb"},
		}}
	}}
}

func create(t *testing.T, client *agenttest.Client, task agenttest.Task) *agenttest.Job {
	t.Helper()
	job, err := client.Create(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func get(t *testing.T, job *agenttest.Job) *agenttest.Result {
	t.Helper()
	result, err := job.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func execution(project, name string, attempt uint32) *core.TaskExecutionIdentifier {
	return &core.TaskExecutionIdentifier{
		TaskId: &core.Identifier{Name: "t"}, RetryAttempt: attempt,
		NodeExecutionId: &core.NodeExecutionIdentifier{
			NodeId: "n", ExecutionId: &core.WorkflowExecutionIdentifier{Project: project, Domain: "production", Name: name},
		},
	}
}

// metaOf is what Flyte keeps of a job.
func metaOf(t *testing.T, job *agenttest.Job) map[string]any {
	t.Helper()
	var meta map[string]any
	if err := json.Unmarshal(job.Meta, &meta); err != nil {
		t.Fatal(err)
	}
	return meta
}

func runOf(t *testing.T, job *agenttest.Job) int64 {
	t.Helper()
	id, err := strconv.ParseInt(fmt.Sprint(metaOf(t, job)["run_id"]), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", job.Meta, err)
	}
	return id
}

// owner is who the workspace says has made the last submission.
func owner(workspace *fakejobs.Workspace) string {
	user := ""
	for _, request := range workspace.Requests() {
		if strings.HasSuffix(request.Path, "/submit") {
			user = request.User
		}
	}
	return user
}

func wantCode(t *testing.T, err error, code codes.Code, parts ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("got %v, not %s", err, code)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}

// wantRefused says that the task has become a job that FAILED with a reason.
func wantRefused(t *testing.T, job *agenttest.Job, code string, parts ...string) {
	t.Helper()
	result := get(t, job)
	if result.Phase != sdk.PhaseFailed || result.Resource.GetAgentError().GetCode() != code {
		t.Fatalf("%s %s: %s", result.Phase, result.Resource.GetAgentError().GetCode(), result.Message)
	}
	for _, part := range parts {
		if !strings.Contains(result.Message, part) {
			t.Errorf("the message does not say %q: %s", part, result.Message)
		}
	}
}

// noSecretIn looks for the tests' credentials.
func noSecretIn(t *testing.T, where, text string) {
	t.Helper()
	for _, hidden := range []string{adasToken, bobsToken, robotsSecret} {
		if strings.Contains(text, hidden) {
			t.Errorf("%s has a secret in it: %s", where, text)
		}
	}
}

// python runs a script of ../flytekit with flytekit's plugin for Databricks, and returns what it prints.
func python(t *testing.T, input string, script string, args ...string) []byte {
	t.Helper()
	run := func(command *exec.Cmd) []byte {
		var said bytes.Buffer
		command.Stderr = &said
		printed, err := command.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, said.String())
		}
		return printed
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	programs := strings.TrimSpace(string(run(exec.CommandContext(ctx, filepath.Join("..", "..", "..", "scripts", "venv"), "spark"))))
	command := exec.CommandContext(ctx, filepath.Join(programs, "python"), append([]string{filepath.Join("..", "flytekit", script)}, args...)...)
	command.Stdin = strings.NewReader(input)
	// A home of its own: flytekit reads configuration from there, and writes to it.
	command.Env = append(os.Environ(), "HOME="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	return run(command)
}
