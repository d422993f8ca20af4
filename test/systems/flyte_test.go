package systems

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
)

const (
	// taskLimit bounds one task. A venv that has to be made takes longer, and has toolLimit.
	taskLimit  = 3 * time.Minute
	toolLimit  = 8 * time.Minute
	startLimit = 3 * time.Minute
)

// startHost runs a host with these plugins, as in a configuration, until the test ends.
func startHost(t *testing.T, plugins map[string]any) *hosttest.Host {
	t.Helper()
	return hosttest.Start(t, map[string]any{"plugins": patient(plugins)})
}

// patient lets plugins take their time to start: those in Python and Java need it on a machine that has much to do.
func patient(plugins map[string]any) map[string]any {
	for _, plugin := range plugins {
		plugin.(map[string]any)["start_timeout"] = startLimit.String() //nolint:forcetypeassert // they are ours
	}
	return plugins
}

// task is one that flytekit has compiled.
type task struct {
	Name string `json:"name"`
	// Fails is a part of the message that it must fail with; empty where it must succeed.
	Fails string `json:"fails"`

	template *core.TaskTemplate
	inputs   *core.LiteralMap
}

// compile compiles the tasks of flytekit/<system>.py.
func compile(t *testing.T, programs, system string) []task {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "compiled")
	command := exec.Command(filepath.Join(programs, "python"), "flytekit/compile.py", system, dir)
	command.Env = append(os.Environ(), "HOME="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1")
	tool(t, command)
	content, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var tasks []task
	if err := json.Unmarshal(content, &tasks); err != nil || len(tasks) == 0 {
		t.Fatalf("cases.json has %d tasks: %v", len(tasks), err)
	}
	for i := range tasks {
		folder := filepath.Join(dir, tasks[i].Name)
		tasks[i].template, tasks[i].inputs = &core.TaskTemplate{}, &core.LiteralMap{}
		for file, into := range map[string]proto.Message{"template.pb": tasks[i].template, "inputs.pb": tasks[i].inputs} {
			content, err := os.ReadFile(filepath.Join(folder, file))
			if err == nil {
				err = proto.Unmarshal(content, into)
			}
			if err != nil {
				t.Fatalf("%s of %s: %v", file, tasks[i].Name, err)
			}
		}
	}
	return tasks
}

// succeeding are the tasks that are to succeed.
func succeeding(tasks []task) []task {
	return slices.DeleteFunc(slices.Clone(tasks), func(k task) bool { return k.Fails != "" })
}

// venv makes an environment, and gives the folder of its programs.
func venv(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(tool(t, exec.Command(hosttest.Root("scripts", "venv"), name)))
}

// tool runs a program and gives what it prints.
func tool(t *testing.T, command *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	command.Stderr = &stderr
	command.WaitDelay = time.Second
	killer := time.AfterFunc(toolLimit, func() { command.Process.Kill() })
	defer killer.Stop()
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, stderr.String())
	}
	return string(out)
}

// startFlyte runs a Flyte against the host until the test ends.
func startFlyte(t *testing.T, flyte propeller.Flyte, h *hosttest.Host) *propeller.Propeller {
	t.Helper()
	return startFlyteThatPolls(t, flyte, h, 100*time.Millisecond)
}

// startFlyteThatPolls is startFlyte where each job is polled so often.
func startFlyteThatPolls(t *testing.T, flyte propeller.Flyte, h *hosttest.Host, every time.Duration) *propeller.Propeller {
	t.Helper()
	p := propeller.Start(t.Context(), propeller.Options{
		Flyte: flyte, Endpoint: h.Endpoint(),
		PollInterval: time.Second, Resync: every, Round: 50 * time.Millisecond, PollRate: -1,
	})
	t.Cleanup(p.Close)
	return p
}

// submit begins a task under a name that makes it an execution of its own.
func (k task) submit(p *propeller.Propeller, execution, outputs string) *propeller.Execution {
	return p.Submit(propeller.Task{
		Template: k.template, Inputs: k.inputs, OutputPrefix: outputs,
		ExecutionID: &core.TaskExecutionIdentifier{
			TaskId: k.template.GetId(),
			NodeExecutionId: &core.NodeExecutionIdentifier{
				NodeId:      "n0",
				ExecutionId: &core.WorkflowExecutionIdentifier{Project: "systems", Domain: "development", Name: execution},
			},
		},
	})
}

// end waits for an execution's end, which must be the one that its task is to have.
func (k task) end(t *testing.T, execution *propeller.Execution) propeller.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), taskLimit)
	defer cancel()
	result, err := execution.Wait(ctx)
	if err != nil {
		t.Fatalf("%s: %v; its calls: %v", k.Name, err, result.Calls)
	}
	switch {
	case k.Fails == "" && result.Phase != propeller.Succeeded:
		t.Errorf("%s ended as %s: %s", k.Name, result.Phase, result.Final.Reason)
	case k.Fails != "" && (result.Phase == propeller.Succeeded || !strings.Contains(result.Final.Reason, k.Fails)):
		t.Errorf("%s ended as %s: %q; it should have failed, saying %q", k.Name, result.Phase, result.Final.Reason, k.Fails)
	}
	return result
}

// run runs tasks at once and gives how each ended.
func runTasks(t *testing.T, h *hosttest.Host, flyte propeller.Flyte, tasks []task) map[string]propeller.Result {
	t.Helper()
	p := startFlyte(t, flyte, h)
	outputs := t.TempDir()
	executions := map[string]*propeller.Execution{}
	for _, k := range tasks {
		executions[k.Name] = k.submit(p, fmt.Sprintf("flyte%d-%s", flyte, k.Name), filepath.Join(outputs, k.Name))
	}
	results := map[string]propeller.Result{}
	for _, k := range tasks {
		results[k.Name] = k.end(t, executions[k.Name])
	}
	return results
}

// one gives a map with copies of plugins: a configuration is written to.
func one(name string, plugin map[string]any) map[string]any {
	return map[string]any{name: maps.Clone(plugin)}
}

// sorted gives a map's keys in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
