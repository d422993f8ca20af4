package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/plugins/bigquery/agent"
	"github.com/agenthost/agenthost/plugins/bigquery/bqtest"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// maxWait bounds what a test waits for on a slow machine.
const maxWait = 5 * time.Minute

var dataset = &core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{StructuredDatasetType: &core.StructuredDatasetType{}}}

// results is the output of a BigQueryTask that has one.
var results = sdk.OutputTypes{"results": dataset}

// quick retries without the pauses that a real service wants.
var quick = map[string]any{"attempts": 5, "first_pause": "1ms", "longest_pause": "5ms"}

// serve serves the agent in process, before a proxy of its own.
func serve(t *testing.T, config map[string]any) (*agenttest.Client, *bqtest.Proxy) {
	t.Helper()
	proxy := bqtest.NewProxy(t, emulator)
	client := agenttest.Run(t, agent.Options()...)
	configure(t, client, proxy, config)
	return client, proxy
}

func configure(t *testing.T, client *agenttest.Client, proxy *bqtest.Proxy, config map[string]any) {
	t.Helper()
	block := map[string]any{"endpoint": proxy.URL, "anonymous": true, "retry": quick}
	maps.Copy(block, config)
	if wrong := client.Configure(block); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

// task is a task as flytekit would make it, with more in its custom part.
func task(sql string, custom map[string]any) agenttest.Task {
	whole := map[string]any{"ProjectID": "warehouse", "Location": "EU", "Domain": "development"}
	maps.Copy(whole, custom)
	return agenttest.Task{Type: agent.TaskType, SQL: sql, Custom: whole, OutputTypes: results}
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

func metaOf(t *testing.T, job *agenttest.Job) map[string]any {
	t.Helper()
	var meta map[string]any
	if err := json.Unmarshal(job.Meta, &meta); err != nil {
		t.Fatalf("the metadata %q is no JSON: %v", job.Meta, err)
	}
	return meta
}

func info(result *agenttest.Result) map[string]any { return result.Resource.GetCustomInfo().AsMap() }

// compiled is the folder of the tasks that flytekit has compiled, once for all tests.
var compiled = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "bigquery-compiled-*")
	if err != nil {
		return "", err
	}
	_, err = python("compile.py", folder)
	return folder, err
})

// python runs a script of the folder flytekit, and gives what it prints.
func python(script string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	home, err := os.MkdirTemp("", "bigquery-home-*") // flytekit reads configuration from there
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	command := exec.CommandContext(ctx, emulator.Python, append([]string{filepath.Join("flytekit", script)}, args...)...)
	command.Env = append(os.Environ(), "HOME="+home, "PYTHONDONTWRITEBYTECODE=1")
	var said bytes.Buffer
	command.Stderr = &said
	printed, err := command.Output()
	if err != nil {
		return nil, &pythonError{script, err, said.String()}
	}
	return printed, nil
}

type pythonError struct {
	script string
	err    error
	said   string
}

func (e *pythonError) Error() string { return e.script + ": " + e.err.Error() + "\n" + e.said }

// flytekitTask is a task that flytekit has compiled, with its inputs.
func flytekitTask(t *testing.T, name string) agenttest.Task {
	t.Helper()
	folder, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	return agenttest.Task{Type: agent.TaskType, Change: func(request *admin.CreateTaskRequest) {
		request.Template = readProto(t, filepath.Join(folder, name, "template.pb"), &core.TaskTemplate{})
		request.Inputs = readProto(t, filepath.Join(folder, name, "inputs.pb"), &core.LiteralMap{})
	}}
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

// rows reads the result of a finished query from the emulator.
func rows(t *testing.T, project, job string) []any {
	t.Helper()
	found, err := emulator.Rows(t.Context(), project, job)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// boundedContext has the deadline that FlytePropeller gives its calls, generously.
func boundedContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
