package gateway

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// syncRequest is a sync task's header, its inputs are empty.
func syncRequest() *admin.ExecuteTaskSyncRequest {
	return &admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{
		Header: &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: "x"}}}}
}

// goneAgent stands for a plugin whose process has just ended, and is leased all the same.
func goneAgent(t *testing.T) (agent *agentServer, ended chan struct{}) {
	agent, ended = startAgent(t, answering(running)), make(chan struct{})
	agent.server.Stop()
	close(ended)
	return agent, ended
}

// What was never sent may be sent: a creation that is not idempotent, too.
func TestACallThatFoundNoConnectionIsMadeAgainWhateverItIs(t *testing.T) {
	for name, call := range map[string]struct {
		agent plugin.Agent
		made  func(*front) error
	}{
		"CreateTask": {asyncAgent("x"), func(f *front) error {
			_, err := f.call(soon(t), async1+"CreateTask", create("x"))
			return err
		}},
		"ExecuteTaskSync": {syncAgent("x"), func(f *front) error {
			_, err := f.sync(soon(t), syncRequest())
			return err
		}},
	} {
		gone, ended := goneAgent(t)
		healthy := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
			if strings.HasPrefix(name, "Execute") {
				return stream.SendMsg(frameOf(syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_SUCCEEDED})))
			}
			return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: []byte("job")}))
		})
		var released sync.WaitGroup
		target := restarting{leases: make(chan route.Lease, 2)}
		target.leases <- leaseOn(gone, ended, &released)
		target.leases <- leaseOn(healthy, nil, &released)
		if err := call.made(startGateway(t, target, call.agent)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		released.Wait()
	}
}

// On a machine that has much to do, the host may learn late that a process has ended.
func TestACallWhoseConnectionBreaksIsRepeatedBeforeTheNewsThatThePluginDied(t *testing.T) {
	manifest := plugin.Manifest{Agents: []plugin.Agent{asyncAgent("x")}, Capabilities: []string{pluginv1.CapabilityIdempotentCreate}}
	for method, request := range map[string]proto.Message{
		"CreateTask": create("x"),
		"DeleteTask": &admin.DeleteTaskRequest{TaskCategory: &admin.TaskCategory{Name: "x"}, ResourceMeta: []byte("job")},
	} {
		dying, _ := dyingAgent(t)
		healthy := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job")}))
		var released sync.WaitGroup
		target := restarting{leases: make(chan route.Lease, 2)}
		target.leases <- leaseOn(dying, make(chan struct{}), &released) // never closed
		target.leases <- leaseOn(healthy, nil, &released)
		f := startClaims(t, nil, route.Claim{Target: target, Manifest: manifest})
		if _, err := f.call(soon(t), async1+method, request); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		released.Wait()
	}
}

// elsewhere is a plugin whose servers cannot be reached until back is closed.
type elsewhere struct {
	lease route.Lease
	back  chan struct{}
}

func (*elsewhere) Plugin() string { return "elsewhere" }

func (e *elsewhere) TryAcquire(route.Want) (route.Lease, bool) {
	lease := e.lease
	lease.Remote, lease.Release = e, func() {}
	return lease, true
}

func (e *elsewhere) Acquire(_ context.Context, want route.Want) (route.Lease, error) {
	lease, _ := e.TryAcquire(want)
	return lease, nil
}

func (e *elsewhere) Trouble() (route.Trouble, bool) {
	return route.Trouble{Reason: "plugin \"elsewhere\" cannot be reached: connection refused"}, !e.Reachable()
}

func (e *elsewhere) Reachable() bool {
	select {
	case <-e.back:
		return true
	default:
		return false
	}
}

func (e *elsewhere) Reach(ctx context.Context) error {
	select {
	case <-e.back:
		return nil
	case <-ctx.Done():
		return errors.New("plugin elsewhere: none of its servers can be reached: connection refused")
	}
}

func TestACreationWaitsForServersThatCannotBeReached(t *testing.T) {
	agent := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job")}))
	target := &elsewhere{lease: route.Lease{Conn: agent.conn}, back: make(chan struct{})}
	f := startGateway(t, target, asyncAgent("x"))

	ctx, cancel := nearlyFlytesDeadline(t)
	defer cancel()
	_, err := f.call(ctx, async1+"CreateTask", create("x"))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v: the caller should read why, not run into its deadline", err)
	}

	made := make(chan error)
	go func() {
		_, err := f.call(soon(t), async1+"CreateTask", create("x"))
		made <- err
	}()
	close(target.back)
	if err := <-made; err != nil {
		t.Errorf("its servers came back and the caller got %v", err)
	}
	if calls := agent.calls("CreateTask"); calls != 1 {
		t.Errorf("the agent got %d calls", calls)
	}
}

// A poll has an answer from memory, which is better than one that comes late.
func TestAPollDoesNotWaitLongForServersThatCannotBeReached(t *testing.T) {
	target := &elsewhere{back: make(chan struct{})}
	f := startClaims(t, nil, route.Claim{
		Target: target, Manifest: plugin.Manifest{Agents: []plugin.Agent{asyncAgent("x")}}, Policy: route.Policy{MaxStale: time.Minute},
	})
	ctx, cancel := context.WithTimeout(soon(t), 10*pollMaxWait)
	defer cancel()
	began := time.Now()
	answer, err := f.poll(ctx, get("x"))
	if err != nil || answer.GetPhase() != core.TaskExecution_RUNNING || !strings.Contains(answer.GetMessage(), "connection refused") {
		t.Errorf("got %v, %v", answer, err)
	}
	if took := time.Since(began); took > 5*pollMaxWait {
		t.Errorf("after %v", took)
	}
}
