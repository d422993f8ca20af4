package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
)

// taskLimit bounds one task, and pythonLimit one run of Python; a venv that has to be made takes most of it.
const (
	taskLimit   = 2 * time.Minute
	pythonLimit = 5 * time.Minute
)

// flytekitCase is what flytekit/compile.py says of a case in cases.json.
type flytekitCase struct {
	Name string `json:"name"`
	// Fails is a part of the message that the task must fail with; empty when it must succeed.
	Fails string `json:"fails"`
}

// What users write with flytekit runs through the host for both generations of Flyte, and flytekit can read what comes
// out, down to the types of a table's columns. The cases are in flytekit/cases.py.
func TestRealFlytekitTasksRunThroughTheHost(t *testing.T) {
	python := flytekitPython(t)
	compiled := filepath.Join(t.TempDir(), "compiled")
	python.run(t, nil, "compile.py", compiled)
	var cases []flytekitCase
	readJSON(t, filepath.Join(compiled, "cases.json"), &cases)
	if len(cases) < 10 {
		t.Fatalf("compile.py wrote %d cases only", len(cases))
	}
	h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"duckdb": duckdb(t), "hello": hosttest.Plugin("hello")}})

	for name, flyte := range map[string]propeller.Flyte{"Flyte 1": propeller.V1, "Flyte 2": propeller.V2} {
		t.Run(name, func(t *testing.T) {
			p := propeller.Start(t.Context(), propeller.Options{
				Flyte:        flyte,
				Endpoint:     h.Endpoint(),
				PollInterval: time.Second,
				Resync:       100 * time.Millisecond,
				Round:        50 * time.Millisecond,
				PollRate:     -1,
			})
			defer p.Close()

			work := t.TempDir()
			outputs := filepath.Join(work, "outputs")
			if err := os.Mkdir(outputs, 0o700); err != nil {
				t.Fatal(err)
			}
			executions := map[string]*propeller.Execution{}
			for _, c := range cases {
				template := readProto(t, filepath.Join(compiled, c.Name, "template.pb"), &core.TaskTemplate{})
				executions[c.Name] = p.Submit(propeller.Task{
					Template:     template,
					Inputs:       readProto(t, filepath.Join(compiled, c.Name, "inputs.pb"), &core.LiteralMap{}),
					OutputPrefix: filepath.Join(work, "prefix", c.Name),
					// An execution of this Flyte's own: another with the same id would be the same job to the host.
					ExecutionID: &core.TaskExecutionIdentifier{
						TaskId: template.GetId(),
						NodeExecutionId: &core.NodeExecutionIdentifier{
							NodeId: "n0",
							ExecutionId: &core.WorkflowExecutionIdentifier{
								Project: "e2e", Domain: "development", Name: fmt.Sprintf("flyte%d-%s", flyte, c.Name),
							},
						},
					},
				})
			}

			for name, execution := range executions {
				if result := ended(t, execution); result.Phase == propeller.Succeeded {
					writeProto(t, filepath.Join(outputs, name+".pb"), result.Outputs)
				}
			}
			var verdicts map[string]string
			python.run(t, &verdicts, "read.py", compiled, outputs)
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) {
					result := ended(t, executions[c.Name])
					if c.Fails != "" {
						if result.Phase == propeller.Succeeded || !strings.Contains(result.Final.Reason, c.Fails) {
							t.Errorf("ended as %s, saying %q; it should have failed, saying %q", result.Phase, result.Final.Reason, c.Fails)
						}
						return
					}
					if result.Phase != propeller.Succeeded {
						t.Fatalf("ended as %s: %s", result.Phase, result.Final.Reason)
					}
					verdict, read := verdicts[c.Name]
					if !read {
						t.Fatal("read.py has no verdict on it")
					}
					if verdict != "" {
						t.Error(verdict)
					}
				})
			}
		})
	}
}

// A DuckDBQuery that is called in Python runs on the host that AGENTHOST_ADDRESS names.
func TestAFlytekitWorkflowRunsInPythonOnAHost(t *testing.T) {
	python := flytekitPython(t)
	h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"duckdb": duckdb(t)}})
	python.env = append(python.env, "AGENTHOST_ADDRESS="+h.Endpoint())
	var found struct {
		Airlines []string `json:"airlines"`
		Error    string   `json:"error"`
	}
	python.run(t, &found, "local.py")
	want := []string{"United Air Lines Inc.", "JetBlue Airways", "ExpressJet Airlines Inc."}
	if diff := cmp.Diff(want, found.Airlines); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(found.Error, "no_such_column") {
		t.Errorf("a failed query raised %q; it should name no_such_column", found.Error)
	}
}

// duckdb configures the plugin of that name, with a state of its own.
func duckdb(t *testing.T) map[string]any {
	plugin := hosttest.Plugin("duckdb")
	plugin["config"] = map[string]any{"state_dir": t.TempDir()}
	return plugin
}

// ended waits for an execution's end.
func ended(t *testing.T, execution *propeller.Execution) propeller.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), taskLimit)
	defer cancel()
	result, err := execution.Wait(ctx)
	if err != nil {
		t.Fatalf("%v; its calls: %v", err, result.Calls)
	}
	return result
}

// flytekit is a Python with flytekit in it.
type flytekit struct {
	interpreter string
	env         []string
}

func flytekitPython(t *testing.T) *flytekit {
	t.Helper()
	venv := exec.Command(hosttest.Root("scripts", "venv"), "flytekit")
	return &flytekit{
		interpreter: filepath.Join(strings.TrimSpace(string(output(t, venv))), "python"),
		// A home of its own: flytekit reads configuration from there, and writes to it.
		env: append(os.Environ(), "HOME="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1"),
	}
}

// run runs one of the scripts beside this file, and reads the JSON that it prints into result, unless that is nil.
func (f *flytekit) run(t *testing.T, result any, script string, args ...string) {
	t.Helper()
	command := exec.Command(f.interpreter, append([]string{filepath.Join("flytekit", script)}, args...)...)
	command.Env = f.env
	printed := output(t, command)
	if result == nil {
		return
	}
	if err := json.Unmarshal(printed, result); err != nil {
		t.Fatalf("%s printed no JSON: %v\n%s", script, err, printed)
	}
}

// output runs a command and gives its stdout. A command that fails fails the test, with its stderr.
func output(t *testing.T, command *exec.Cmd) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	// So that what it started does not hold the pipes for ever after it was killed.
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(pythonLimit, func() { command.Process.Kill() })
	defer killer.Stop()
	if err := command.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, stderr.Bytes())
	}
	return stdout.Bytes()
}

func readJSON(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func readProto[M proto.Message](t *testing.T, file string, into M) M {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return into
}

func writeProto(t *testing.T, file string, message proto.Message) {
	t.Helper()
	content, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
