package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/proto/flyteidl2"
)

// scenario is one thing that goes wrong with plugins. What it returns is what Flyte lost by it.
type scenario struct {
	guarantee guarantee.ID
	run       func(t *testing.T, without []guarantee.ID) (f *front, loss error)
}

// Each guarantee, seen by what happens with and without it: nothing is lost with it, something is without it, and the
// metric tells how often it was needed. (G13 stands in TestPingsWithoutCallsAreWelcome; gRPC
// answers pings by itself, so that nobody can count them.)
func TestEachGuaranteeSavesWhatIsLostWithoutIt(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.guarantee.String(), func(t *testing.T) {
			f, loss := s.run(t, nil)
			if loss != nil {
				t.Errorf("lost in spite of the guarantee: %v", loss)
			}
			if f.recorded(t, s.guarantee) == 0 {
				t.Error("it is not counted")
			}
			f, loss = s.run(t, []guarantee.ID{s.guarantee})
			if loss == nil {
				t.Error("nothing is lost without the guarantee: what does it do?")
			}
			t.Logf("without %s: %v", s.guarantee, loss)
			if n := f.recorded(t, s.guarantee); n > 0 {
				t.Errorf("it is off, and counted %d times", n)
			}
		})
	}
}

func scenarios() []scenario {
	return []scenario{
		{guarantee.StableDiscovery, func(t *testing.T, without []guarantee.ID) (*front, error) {
			away := restarting{leases: make(chan route.Lease)}
			f := startClaims(t, without, route.Claim{Target: away, Manifest: plugin.Manifest{Agents: []plugin.Agent{asyncAgent("x")}}})
			list, err := service.NewAgentMetadataServiceClient(f.conn).ListAgents(soon(t), &admin.ListAgentsRequest{})
			if err == nil && len(list.GetAgents()) == 0 {
				err = errors.New("the type of a plugin that restarts is gone, and its tasks go to the container plugin")
			}
			return f, err
		}},
		{guarantee.VersionRouting, func(t *testing.T, without []guarantee.ID) (*front, error) {
			f := startClaims(t, without, startAgent(t, answering(&admin.CreateTaskResponse{})).claims(route.Policy{}, asyncAgent("x")))
			request := create("x")
			request.Template.TaskTypeVersion = 7
			_, err := f.call(soon(t), async1+"CreateTask", request)
			return f, err
		}},
		{guarantee.WaitsForPlugin, func(t *testing.T, without []guarantee.ID) (*front, error) {
			var released sync.WaitGroup
			target := restarting{leases: make(chan route.Lease, 1)}
			target.leases <- leaseOn(startAgent(t, answering(&admin.CreateTaskResponse{})), nil, &released)
			f := startClaims(t, without, route.Claim{Target: target, Manifest: plugin.Manifest{Agents: []plugin.Agent{asyncAgent("x")}}})
			_, err := f.call(soon(t), async1+"CreateTask", create("x"))
			return f, err
		}},
		{guarantee.CreatesOnce, func(t *testing.T, without []guarantee.ID) (*front, error) {
			agent := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}))
			f := startClaims(t, without, agent.claims(route.Policy{}, asyncAgent("x")))
			for range 2 {
				if _, err := f.call(soon(t), async1+"CreateTask", attempt("x", 0)); err != nil {
					t.Error(err)
				}
			}
			if n := agent.calls("CreateTask"); n != 1 {
				return f, fmt.Errorf("%d jobs were made for one attempt", n)
			}
			return f, nil
		}},
		{guarantee.LastKnownStatus, func(t *testing.T, without []guarantee.ID) (*front, error) {
			f := startClaims(t, without, startAgent(t, failing(codes.Unavailable)).claims(route.Policy{MaxStale: time.Hour}, asyncAgent("x")))
			_, err := f.call(soon(t), async1+"GetTask", get("x"))
			return f, err
		}},
		{guarantee.EndsUnreachable, func(t *testing.T, without []guarantee.ID) (*front, error) {
			f := startClaims(t, without, startAgent(t, failing(codes.Unavailable)).claims(route.Policy{MaxStale: 50 * time.Millisecond}, asyncAgent("x")))
			for {
				got, err := f.poll(soon(t), get("x"))
				if err != nil || got.GetPhase() == core.TaskExecution_FAILED {
					return f, err
				}
			}
		}},
		{guarantee.UnknownJobs, func(t *testing.T, without []guarantee.ID) (*front, error) {
			f := startClaims(t, without, startAgent(t, failing(codes.NotFound)).claims(route.Policy{MaxStale: time.Hour}, asyncAgent("x")))
			_, pollErr := f.call(soon(t), async1+"GetTask", get("x"))
			_, deleteErr := f.call(soon(t), async2+"DeleteTask", get("x"))
			return f, errors.Join(pollErr, deleteErr)
		}},
		{guarantee.RetryableErrors, func(t *testing.T, without []guarantee.ID) (*front, error) {
			return polledWithout(t, without, &admin.Resource{
				Phase: core.TaskExecution_FAILED, AgentError: &admin.AgentError{Code: "Quota", Kind: admin.AgentError_RECOVERABLE},
			}, pluginv1.PhaseRetryableFailed)
		}},
		{guarantee.OneSyncAnswer, func(t *testing.T, without []guarantee.ID) (*front, error) {
			f := startClaims(t, without, startAgent(t, answering(syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_RUNNING}))).claims(route.Policy{}, syncAgent("s")))
			answers, err := f.sync(soon(t), &admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{
				Header: &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: "s"}}}})
			if err == nil && !pluginv1.Terminal(answers[0].GetHeader().GetResource().GetPhase()) {
				err = errors.New("a worker of FlytePropeller's is gone for good")
			}
			return f, err
		}},
		{guarantee.SizeLimits, func(t *testing.T, without []guarantee.ID) (*front, error) {
			return polledWithout(t, without, &admin.Resource{Phase: core.TaskExecution_SUCCEEDED, Outputs: text(strings.Repeat("x", 5<<20))}, core.TaskExecution_FAILED)
		}},
		{guarantee.Pinning, func(t *testing.T, without []guarantee.ID) (*front, error) {
			maker, successor := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")})), startAgent(t, failing(codes.NotFound))
			maker.name, successor.name = "maker", "successor"
			claim := maker.claims(route.Policy{}, asyncAgent("x"))
			claim.Pinned = true
			f := startClaims(t, without, claim)
			meta := f.create(t, create("x"))
			maker.answer = answering(running)
			f.publishBy(t, route.Rules{{Task: "x", Domain: "elsewhere", Plugin: "maker"}}, successor.claims(route.Policy{}, asyncAgent("x")),
				maker.claims(route.Policy{}, plugin.Agent{Name: "old", Categories: []plugin.Category{{Name: "x", Version: -1}}}))
			got, err := f.poll(soon(t), &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}})
			if err == nil && got.GetPhase() != core.TaskExecution_RUNNING {
				err = fmt.Errorf("a job was polled where it was not made: %v", got)
			}
			return f, err
		}},
		{guarantee.BothFlytes, func(t *testing.T, without []guarantee.ID) (*front, error) {
			f, err := polledWithout(t, without, &admin.Resource{State: admin.State_RUNNING}, core.TaskExecution_RUNNING)
			f.publish(t, startAgent(t, answering(running)).claims(route.Policy{}, syncAgent("s")))
			list := &admin.ListAgentsResponse{}
			if err := f.conn.Invoke(soon(t), flyteidl2.MethodListConnectors, &admin.ListAgentsRequest{}, list); err != nil {
				t.Error(err)
			}
			if len(list.GetAgents()) > 0 {
				err = errors.Join(err, errors.New("Flyte 2 sends CreateTask to a sync agent"))
			}
			return f, err
		}},
		{guarantee.ThinnedPolls, func(t *testing.T, without []guarantee.ID) (*front, error) {
			agent := startAgent(t, answering(running))
			f := startClaims(t, without, agent.claims(route.Policy{MinInterval: time.Hour}, asyncAgent("x")))
			for range 3 {
				if _, err := f.call(soon(t), async1+"GetTask", get("x")); err != nil {
					t.Error(err)
				}
			}
			if n := agent.calls("GetTask"); n != 1 {
				return f, fmt.Errorf("the external service was asked %d times", n)
			}
			return f, nil
		}},
	}
}

// polledWithout polls a job once, and tells if Flyte reads another phase than it should.
func polledWithout(t *testing.T, without []guarantee.ID, resource *admin.Resource, want core.TaskExecution_Phase) (*front, error) {
	t.Helper()
	f := startClaims(t, without, startAgent(t, answering(&admin.GetTaskResponse{Resource: resource})).claims(route.Policy{}, asyncAgent("x")))
	got, err := f.poll(soon(t), get("x"))
	if err == nil && got.GetPhase() != want {
		err = fmt.Errorf("Flyte reads %v", got)
	}
	return f, err
}

// poll is one poll of a job.
func (f *front) poll(ctx context.Context, request *admin.GetTaskRequest) (*admin.Resource, error) {
	raw, err := f.call(ctx, async1+"GetTask", request)
	if err != nil {
		return nil, err
	}
	response := &admin.GetTaskResponse{}
	err = proto.Unmarshal(raw, response)
	return response.GetResource(), err
}

// create makes a job and returns its resource_meta.
func (f *front) create(t *testing.T, request *admin.CreateTaskRequest) []byte {
	t.Helper()
	raw, err := f.call(soon(t), async1+"CreateTask", request)
	if err != nil {
		t.Fatal(err)
	}
	response := &admin.CreateTaskResponse{}
	if err := proto.Unmarshal(raw, response); err != nil {
		t.Fatal(err)
	}
	return response.GetResourceMeta()
}

// attempt is a request to create the job of an attempt.
func attempt(taskType string, retry uint32) *admin.CreateTaskRequest {
	request := create(taskType)
	request.OutputPrefix = fmt.Sprintf("s3://bucket/e/n0/%d", retry)
	request.TaskExecutionMetadata = &admin.TaskExecutionMetadata{TaskExecutionId: &core.TaskExecutionIdentifier{
		TaskId:          &core.Identifier{Name: "t"},
		NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: "e"}},
		RetryAttempt:    retry,
	}}
	return request
}

func failing(code codes.Code) func(*received, grpc.ServerStream) error {
	return func(*received, grpc.ServerStream) error { return status.Errorf(code, "scripted %v", code) }
}
