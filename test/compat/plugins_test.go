package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/proto/agentclient"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

const (
	startLimit = 3 * time.Minute
	callLimit  = 30 * time.Second
	pollers    = 4
)

// flyte makes the calls of Flyte's on a host.
type flyte struct{ agentclient.Client }

func flyteOf(t *testing.T, h *hosttest.Host, as credentials.TransportCredentials) flyte {
	t.Helper()
	conn, err := grpc.NewClient(h.Endpoint(), grpc.WithTransportCredentials(as))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return flyte{agentclient.Client{Conn: conn}}
}

var category = &admin.TaskCategory{Name: "hello"}

// begin creates the job that greets somebody.
func (f flyte) begin(t *testing.T, name string) agentclient.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	meta, err := f.Create(ctx, greets(name))
	if err != nil {
		t.Fatalf("CreateTask for %s: %v", name, err)
	}
	return agentclient.Job{Category: category, Meta: meta}
}

func greets(name string) *admin.CreateTaskRequest {
	text := &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}
	variable := func(name string) *core.VariableMap {
		return &core.VariableMap{Variables: map[string]*core.Variable{name: {Type: text}}}
	}
	id := &core.Identifier{Project: "compat", Domain: "development", Name: "hello", Version: "v1"}
	return &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{
			Id: id, Type: category.GetName(), Interface: &core.TypedInterface{Inputs: variable("name"), Outputs: variable("greeting")},
		},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"name": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
			Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: name}}}}}}}},
		OutputPrefix: "s3://compat/" + name,
		TaskExecutionMetadata: &admin.TaskExecutionMetadata{TaskExecutionId: &core.TaskExecutionIdentifier{
			TaskId: id, NodeExecutionId: &core.NodeExecutionIdentifier{
				NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "compat", Domain: "development", Name: name},
			},
		}},
	}
}

// poll asks for the job that greets somebody, which must have done so. It names no output prefix: the host answers from memory what
// has ended of a job that it can tell from others, and the plugin is to be asked each time.
func (f flyte) poll(ctx context.Context, j agentclient.Job, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	resource, err := f.Get(ctx, j)
	if err != nil {
		return err
	}
	said := resource.GetOutputs().GetLiterals()["greeting"].GetScalar().GetPrimitive().GetStringValue()
	if resource.GetPhase() != core.TaskExecution_SUCCEEDED || said != "Hello, "+name {
		return fmt.Errorf("the job of %s: %v", name, resource)
	}
	return nil
}

func (f flyte) end(t *testing.T, j agentclient.Job, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	if err := f.Delete(ctx, j); err != nil {
		t.Errorf("DeleteTask of the job of %s: %v", name, err)
	}
}

// polls are those of one job by several callers at once.
type polls struct {
	answered atomic.Int64
	wrong    atomic.Pointer[error]
	cancel   context.CancelFunc
	pollers  sync.WaitGroup
}

// keepPolling polls a job until stop, or until an answer is wrong.
func (f flyte) keepPolling(ctx context.Context, j agentclient.Job, name string) *polls {
	p := &polls{}
	ctx, p.cancel = context.WithCancel(ctx)
	for range pollers {
		p.pollers.Go(func() {
			for ctx.Err() == nil && p.wrong.Load() == nil {
				if err := f.poll(ctx, j, name); err == nil {
					p.answered.Add(1)
				} else if ctx.Err() == nil {
					p.wrong.Store(&err)
				}
			}
		})
	}
	return p
}

// more waits for further answers.
func (p *polls) more(t *testing.T) {
	t.Helper()
	const further = 50
	enough := p.answered.Load() + further
	wait.Until(t, fmt.Sprintf("%d further polls", further), func() bool { return p.wrong.Load() != nil || p.answered.Load() >= enough })
}

// stop gives what went wrong.
func (p *polls) stop() error {
	p.cancel()
	p.pollers.Wait()
	if wrong := p.wrong.Load(); wrong != nil {
		return *wrong
	}
	return nil
}

// processOf is the process of a host's only plugin that takes the calls; 0: there is none at the moment.
func processOf(t *testing.T, h *hosttest.Host) (pid int) {
	t.Helper()
	var status struct{ Plugins []struct{ PID int } }
	if err := json.Unmarshal([]byte(h.Ask(t, "/status")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Plugins) != 1 {
		t.Fatalf("the host has %d plugins", len(status.Plugins))
	}
	return status.Plugins[0].PID
}

// A plugin that was built with an earlier SDK is swapped for today's while its job is polled, under today's host and under the earlier one.
func TestAPluginOfAnEarlierSDKIsSwappedForTodays(t *testing.T) {
	tree := earlier(t)
	for host, program := range map[string]string{
		"today's host":     hosttest.Program("agenthost"),
		"the earlier host": filepath.Join(tree, "bin", "agenthost"),
	} {
		for _, language := range languages(t) {
			t.Run(host+"/"+language, func(t *testing.T) {
				t.Parallel()
				h := hosttest.StartProgram(t, program, map[string]any{"plugins": map[string]any{"hello": hello(t, tree, language)}})
				f := flyteOf(t, h, insecure.NewCredentials())
				before, was := f.begin(t, "Ada"), processOf(t, h)
				polled := f.keepPolling(t.Context(), before, "Ada")
				defer polled.stop() // where the test goes on, it has been stopped
				polled.more(t)
				h.Reload(t, map[string]any{"hello": hello(t, hosttest.Root(), language)})
				wait.Until(t, "today's plugin to take the calls", func() bool { is := processOf(t, h); return is != 0 && is != was })
				polled.more(t)
				after := f.begin(t, "Grace")
				if err := errors.Join(polled.stop(), f.poll(t.Context(), after, "Grace")); err != nil {
					t.Error(err)
				}
				f.end(t, before, "Ada")
				f.end(t, after, "Grace")
			})
		}
	}
}
