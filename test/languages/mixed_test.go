package languages

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/tools/scaffold"
)

const (
	startLimit = 3 * time.Minute
	jobLimit   = 3 * time.Minute
	callLimit  = 30 * time.Second
)

// plugin configures a language's project.
func plugin(t *testing.T, language string) map[string]any {
	t.Helper()
	configured := map[string]any{
		"command": []string{filepath.Join(project(t, language), "bin", "greeter")}, "start_timeout": startLimit.String(),
		"sandbox": "on", // as it is without configuration
	}
	if takesConfig(language) {
		configured["config"] = map[string]any{"greeting": "Hello"}
	}
	return configured
}

var text = &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}

func template() *core.TaskTemplate {
	variables := func(name string) *core.VariableMap {
		return &core.VariableMap{Variables: map[string]*core.Variable{name: {Type: text}}}
	}
	return &core.TaskTemplate{
		Id:        &core.Identifier{Project: "languages", Domain: "development", Name: "greeter", Version: "v1"},
		Type:      "greeter",
		Interface: &core.TypedInterface{Inputs: variables("name"), Outputs: variables("greeting")},
	}
}

func inputs(name string) *core.LiteralMap {
	return &core.LiteralMap{Literals: map[string]*core.Literal{"name": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
		Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: name}}}}}}}}
}

func greeting(outputs *core.LiteralMap) string {
	return outputs.GetLiterals()["greeting"].GetScalar().GetPrimitive().GetStringValue()
}

// A job is what its metadata says, in whatever language the next version of its plugin is written.
func TestJobsPassFromLanguageToLanguage(t *testing.T) {
	languages := scaffold.Languages()
	h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"greeter": plugin(t, languages[0])}})
	conn, err := grpc.NewClient(h.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := service.NewAsyncAgentServiceClient(conn)
	category := &admin.TaskCategory{Name: "greeter"}

	jobs := map[string][]byte{} // by the name that they greet
	for i, language := range languages {
		if i > 0 {
			h.Reload(t, map[string]any{"greeter": plugin(t, language)})
		}
		for n := range 20 {
			name := fmt.Sprintf("%s %d", language, n)
			ctx, cancel := context.WithTimeout(t.Context(), callLimit)
			created, err := client.CreateTask(ctx, &admin.CreateTaskRequest{Template: template(), Inputs: inputs(name)})
			cancel()
			if err != nil {
				t.Fatalf("%s: %v", language, err)
			}
			jobs[name] = created.GetResourceMeta()
		}
		for name, meta := range jobs { // those of the languages before too
			ctx, cancel := context.WithTimeout(t.Context(), callLimit)
			got, err := client.GetTask(ctx, &admin.GetTaskRequest{TaskCategory: category, ResourceMeta: meta})
			cancel()
			if err != nil || got.GetResource().GetPhase() != core.TaskExecution_SUCCEEDED || greeting(got.GetResource().GetOutputs()) != "Hello, "+name {
				t.Errorf("%s says of the job of %q: %v, %v", language, name, got.GetResource(), err)
			}
		}
	}
}

// Plugins in every language serve behind one host while their processes are killed: each job ends as it should.
func TestAMixedHostLosesNothingWhenItsPluginsAreKilled(t *testing.T) {
	const each = 40
	plugins, routes := map[string]any{}, []map[string]any{}
	for _, language := range scaffold.Languages() {
		plugins[language] = plugin(t, language)
		routes = append(routes, map[string]any{"task": "greeter", "domain": language, "plugin": language})
	}
	// A plugin that takes seconds to start is in trouble meanwhile: its tasks are accepted, not refused.
	h := hosttest.Start(t, map[string]any{"plugins": plugins, "routes": routes, "create": map[string]any{"on_record": "on"}})
	p := propeller.Start(t.Context(), propeller.Options{
		Flyte: propeller.V1, Endpoint: h.Endpoint(), PollInterval: time.Second, Resync: 50 * time.Millisecond, Round: 20 * time.Millisecond, PollRate: -1,
	})
	defer p.Close()

	executions := map[string]*propeller.Execution{}
	kills, random := 0, rand.New(rand.NewPCG(1, 2)) //nolint:gosec // whom it kills need not be unpredictable
	for n := range each {
		for _, language := range scaffold.Languages() {
			name := fmt.Sprintf("%s-%d", language, n)
			executions[name] = p.Submit(propeller.Task{
				Template: template(), Inputs: inputs(name), Retries: 5,
				ExecutionID: &core.TaskExecutionIdentifier{TaskId: template().GetId(), NodeExecutionId: &core.NodeExecutionIdentifier{
					NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "languages", Domain: language, Name: name},
				}},
			})
		}
		if n%8 == 4 {
			kills += kill(t, h, random)
		}
	}
	if kills == 0 {
		t.Error("nothing was killed")
	}
	for name, execution := range executions {
		ctx, cancel := context.WithTimeout(t.Context(), jobLimit)
		result, err := execution.Wait(ctx)
		cancel()
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case result.Phase != propeller.Succeeded || greeting(result.Outputs) != "Hello, "+name:
			t.Errorf("%s ended as %s: %s; %v", name, result.Phase, result.Final.Reason, result.Outputs)
		case result.Attempts != 1 && !strings.HasPrefix(name, "flytekit-"):
			// Only flytekit's connectors cannot declare idempotent_create: a creation that a kill cuts off costs an attempt.
			t.Errorf("%s took %d attempts: %+v", name, result.Attempts, result.History)
		}
	}
}

// kill ends the process of one plugin that runs, and says how many that were.
func kill(t *testing.T, h *hosttest.Host, random *rand.Rand) int {
	t.Helper()
	running := processes(t, h)
	if len(running) == 0 {
		return 0
	}
	if err := syscall.Kill(-running[random.IntN(len(running))], syscall.SIGKILL); err != nil {
		return 0 // it has just ended
	}
	return 1
}

// processes are those of a host's plugins.
func processes(t *testing.T, h *hosttest.Host) []int {
	t.Helper()
	var status struct {
		Plugins []struct {
			PID int `json:"pid"`
		} `json:"plugins"`
	}
	if err := json.Unmarshal([]byte(h.Ask(t, "/status")), &status); err != nil {
		t.Fatal(err)
	}
	var running []int
	for _, one := range status.Plugins {
		if one.PID > 0 {
			running = append(running, one.PID)
		}
	}
	return running
}
