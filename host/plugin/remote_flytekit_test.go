package plugin_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/test/hosttest"
)

// What runs with `pyflyte serve connector` today is a remote plugin as it is: it is connected to again and again, and
// answers sync and async calls and Kubernetes' own question for its health all the while.
func TestAFlytekitConnectorServerIsARemotePluginAsItIs(t *testing.T) {
	address := serveFlytekit(t)
	spec := plugin.Spec{Name: "flytekit", Address: []string{address}, StartTimeout: maxWait}
	var remote *plugin.Remote
	for range 12 { // more often than the server has threads
		if remote != nil {
			remote.Stop(t.Context())
		}
		remote = connectTo(t, spec, quick)
	}
	agents := map[string]plugin.Agent{}
	for _, agent := range remote.Manifest().Agents {
		agents[agent.Name] = agent
	}
	if agent, ok := agents["Sensor"]; !ok || agent.Sync || agent.Categories[0].Name != "sensor" {
		t.Errorf("the agents are %v", agents)
	}
	if agent, ok := agents["Webhook Connector"]; !ok || !agent.Sync || agent.Categories[0].Name != "webhook" {
		t.Errorf("the agents are %v", agents)
	}

	t.Run("sync", func(t *testing.T) { callWebhook(t, remote) })
	t.Run("async", func(t *testing.T) { senseFile(t, remote) })
	t.Run("health", func(t *testing.T) {
		kubelet, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer kubelet.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		answer, err := healthpb.NewHealthClient(kubelet).Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("answered %v, %v", answer, err)
		}
	})
	if remote.Err() != nil {
		t.Error(remote.Err())
	}
}

// callWebhook has flytekit's webhook agent post to a server of the test.
func callWebhook(t *testing.T, remote *plugin.Remote) {
	posted := make(chan string, 1)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		body.ReadFrom(r.Body)
		posted <- r.Method + " " + body.String()
		w.Write([]byte("thank you"))
	}))
	defer hook.Close()

	ctx, cancel := context.WithTimeout(t.Context(), maxWait)
	defer cancel()
	stream, err := service.NewSyncAgentServiceClient(remote.Conn()).ExecuteTaskSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	header := &admin.CreateRequestHeader{Template: flytekitTask(t, "webhook", map[string]any{
		"url": hook.URL, "method": "POST", "headers": map[string]any{"Content-Type": "application/json"},
		"data": map[string]any{"text": "hello"}, "show_data": false, "show_url": false, "timeout_sec": 10,
	})}
	if err := stream.Send(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: header}}); err != nil {
		t.Fatal(err)
	}
	inputs := &admin.ExecuteTaskSyncRequest_Inputs{Inputs: &core.LiteralMap{}}
	if err := stream.Send(&admin.ExecuteTaskSyncRequest{Part: inputs}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	resource := answer.GetHeader().GetResource()
	if resource.GetPhase() != core.TaskExecution_SUCCEEDED || resource.GetOutputs().GetLiterals()["info"] == nil {
		t.Errorf("answered %v", resource)
	}
	if got := <-posted; strings.ReplaceAll(got, " ", "") != `POST{"text":"hello"}` {
		t.Errorf("the hook got %s", got)
	}
}

// senseFile has flytekit's sensor agent wait for a file.
func senseFile(t *testing.T, remote *plugin.Remote) {
	agent := service.NewAsyncAgentServiceClient(remote.Conn())
	ctx, cancel := context.WithTimeout(t.Context(), maxWait)
	defer cancel()
	path := filepath.Join(t.TempDir(), "awaited")
	template := flytekitTask(t, "sensor", map[string]any{
		"sensor_module": "flytekit.sensor.file_sensor", "sensor_name": "FileSensor", "sensor_config": nil,
	})
	template.Interface = &core.TypedInterface{Inputs: &core.VariableMap{Variables: map[string]*core.Variable{
		"path": {Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}},
	}}}
	created, err := agent.CreateTask(ctx, &admin.CreateTaskRequest{
		Template: template, Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"path": text(path)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	phase := func() core.TaskExecution_Phase {
		got, err := agent.GetTask(ctx, &admin.GetTaskRequest{
			ResourceMeta: created.GetResourceMeta(), TaskType: "sensor", TaskCategory: &admin.TaskCategory{Name: "sensor"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return got.GetResource().GetPhase()
	}
	if got := phase(); got != core.TaskExecution_RUNNING {
		t.Errorf("before there is a file: %v", got)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := phase(); got != core.TaskExecution_SUCCEEDED {
		t.Errorf("now that there is one: %v", got)
	}
	if _, err := agent.CreateTask(ctx, &admin.CreateTaskRequest{Template: flytekitTask(t, "nonsense", nil)}); status.Code(err) != codes.NotFound {
		t.Errorf("a task type that it does not know: %v", err)
	}
}

func flytekitTask(t *testing.T, kind string, custom map[string]any) *core.TaskTemplate {
	t.Helper()
	fields, err := structpb.NewStruct(custom)
	if err != nil {
		t.Fatal(err)
	}
	return &core.TaskTemplate{
		Id:   &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "p", Domain: "d", Name: "n", Version: "v"},
		Type: kind, Custom: fields, Interface: &core.TypedInterface{},
		Metadata: &core.TaskMetadata{Runtime: &core.RuntimeMetadata{Type: core.RuntimeMetadata_FLYTE_SDK, Version: "1.16.0", Flavor: "python"}},
	}
}

// serveFlytekit runs `pyflyte serve connector` and returns its address once somebody listens there.
func serveFlytekit(t *testing.T) string {
	t.Helper()
	python := flytekitPython(t)
	address, metrics := hosttest.FreeAddress(t), hosttest.FreeAddress(t)
	var output bytes.Buffer
	command := exec.Command(filepath.Join(filepath.Dir(python), "pyflyte"), "serve", "connector",
		"--port", port(t, address), "--prometheus_port", port(t, metrics), "--worker", "4")
	command.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "HOME="+t.TempDir())
	command.Dir = t.TempDir()
	command.Stdout, command.Stderr = &output, &output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		<-ended
		if t.Failed() {
			t.Logf("flytekit printed:\n%s", &output)
		}
	})
	deadline := time.After(2 * time.Minute)
	for {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("pyflyte serve connector ended: %v", err)
		case <-deadline:
			t.Fatal("pyflyte serve connector does not listen")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// flytekitPython returns a Python with flytekit, and what its connector server needs beside it.
func flytekitPython(t *testing.T) string {
	t.Helper()
	return filepath.Join(strings.TrimSpace(run(t, filepath.Join("..", "..", "scripts", "venv"), "flytekit")), "python")
}

// run runs a command and gives what it printed on stdout.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	command := exec.CommandContext(ctx, name, args...)
	command.Stderr = &stderr
	command.WaitDelay = time.Second
	stdout, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, &stderr)
	}
	return string(stdout)
}
