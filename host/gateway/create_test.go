package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// maker is an agent that makes numbered jobs, each when it is told to.
type maker struct {
	*agentServer
	made    atomic.Int32
	reached chan struct{} // one for each call that arrived
	proceed chan struct{} // closed, or one for each call that may end
}

func startMaker(t *testing.T) *maker {
	m := &maker{reached: make(chan struct{}, 1000), proceed: make(chan struct{}, 1000)}
	m.agentServer = startAgent(t, func(call *received, stream grpc.ServerStream) error {
		m.reached <- struct{}{}
		select {
		case <-m.proceed:
		case <-call.context.Done():
			return call.context.Err()
		}
		stream.SetTrailer(metadata.Pairs("agent-trailer", "t"))
		return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: fmt.Append(nil, "job ", m.made.Add(1))}))
	})
	return m
}

func TestConcurrentCallsForOneAttemptMakeOneJob(t *testing.T) {
	agent := startMaker(t)
	f := startClaims(t, nil, agent.claims(route.Policy{}, asyncAgent("x")))
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if meta := f.create(t, attempt("x", 0)); string(meta) != "job 1" {
				t.Errorf("got %q", meta)
			}
		})
	}
	<-agent.reached
	close(agent.proceed)
	all.Wait()
	if meta := f.create(t, attempt("x", 0)); string(meta) != "job 1" {
		t.Errorf("a late repetition got %q", meta)
	}
	if n := agent.calls("CreateTask"); n != 1 {
		t.Errorf("%d calls reached the plugin", n)
	}
	if n := f.recorded(t, guarantee.CreatesOnce); n != 50 {
		t.Errorf("50 repetitions were counted as %d", n)
	}
}

func TestDifferentAttemptsAreDifferentJobs(t *testing.T) {
	agent := startMaker(t)
	close(agent.proceed)
	f := startClaims(t, nil, agent.claims(route.Policy{}, asyncAgent("x"), asyncAgent("y")))
	elsewhere := attempt("x", 0) // the same names, in another Flyte
	elsewhere.OutputPrefix = "gs://another"
	for i, request := range []*admin.CreateTaskRequest{attempt("x", 0), attempt("x", 1), attempt("y", 0), elsewhere, create("x"), create("x")} {
		if meta, want := f.create(t, request), fmt.Sprint("job ", i+1); string(meta) != want {
			t.Errorf("request %d got %q, want %q", i, meta, want)
		}
	}
}

func TestAnAttemptIsNotMadeAgainByThePluginThatTakesOver(t *testing.T) {
	first, second := startMaker(t), startMaker(t)
	first.name, second.name = "first", "second"
	close(first.proceed)
	f := startClaims(t, nil, first.claims(route.Policy{}, asyncAgent("x")))
	f.create(t, attempt("x", 0))
	f.publish(t, second.claims(route.Policy{}, asyncAgent("x")))
	if meta := f.create(t, attempt("x", 0)); string(meta) != "job 1" || second.calls("CreateTask") != 0 {
		t.Errorf("got %q, and the other plugin %d calls", meta, second.calls("CreateTask"))
	}
}

func TestACallerWhoGoesAwayDoesNotTakeTheCreationWithHim(t *testing.T) {
	agent := startMaker(t)
	f := startClaims(t, nil, agent.claims(route.Policy{}, asyncAgent("x")))
	ctx, leave := context.WithCancel(soon(t))
	go func() {
		<-agent.reached
		leave()
	}()
	if _, err := f.call(ctx, async1+"CreateTask", attempt("x", 0)); status.Code(err) != codes.Canceled {
		t.Fatalf("got %v", err)
	}
	// Nobody waits any more. The next caller finds the creation under way, or its answer.
	agent.proceed <- struct{}{}
	if meta := f.create(t, attempt("x", 0)); string(meta) != "job 1" || agent.calls("CreateTask") != 1 {
		t.Errorf("got %q after %d calls", meta, agent.calls("CreateTask"))
	}
}

func TestACreationEndsByItsFirstCallersDeadline(t *testing.T) {
	ended := make(chan struct{})
	agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
		defer close(ended)
		return hang(call, stream)
	})
	f := startClaims(t, nil, agent.claims(route.Policy{}, asyncAgent("x")))
	ctx, cancel := context.WithTimeout(soon(t), 200*time.Millisecond)
	defer cancel()
	if _, err := f.call(ctx, async1+"CreateTask", attempt("x", 0)); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	select {
	case <-ended:
	case <-soon(t).Done():
		t.Error("the plugin still works on it")
	}
}

func TestAFailedCreationIsTriedAgainByTheNextCall(t *testing.T) {
	agent := startAgent(t, script(failing(codes.ResourceExhausted), answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")})))
	f := startClaims(t, nil, agent.claims(route.Policy{}, asyncAgent("x")))
	if _, err := f.call(soon(t), async1+"CreateTask", attempt("x", 0)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
	if meta := f.create(t, attempt("x", 0)); string(meta) != "job 1" {
		t.Errorf("got %q", meta)
	}
}

func TestAnAttemptWhoseJobWasDeletedGetsAnother(t *testing.T) {
	agent := startMaker(t)
	close(agent.proceed)
	claim := agent.claims(usual, asyncAgent("x"))
	claim.Pinned = true
	f := startClaims(t, nil, claim)
	meta := f.create(t, attempt("x", 0))
	if again := f.create(t, attempt("x", 0)); string(again) != string(meta) {
		t.Fatalf("a repetition got %q, the first call %q", again, meta)
	}
	agent.answer = answering(&admin.DeleteTaskResponse{})
	if _, err := f.call(soon(t), async2+"DeleteTask", &admin.DeleteTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}}); err != nil {
		t.Fatal(err)
	}
	agent.answer = answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job 2")})
	if again, ok := open(f.create(t, attempt("x", 0)), sharedKeys); !ok || string(again.meta) != "job 2" {
		t.Errorf("after its deletion: %+v, %v", again, ok)
	}
}

func TestACreationWhosePluginDiesIsRepeatedWhereThePluginSaysItMayBe(t *testing.T) {
	for _, c := range []struct {
		capabilities []string
		code         codes.Code
	}{{[]string{pluginv1.CapabilityIdempotentCreate}, codes.OK}, {nil, codes.Unavailable}} {
		dying, ended := dyingAgent(t)
		healthy := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}))
		var released sync.WaitGroup
		target := restarting{leases: make(chan route.Lease, 2), err: errors.New("it is restarting")}
		target.leases <- leaseOn(dying, ended, &released)
		target.leases <- leaseOn(healthy, nil, &released)
		f := startClaims(t, nil, route.Claim{Target: target, Manifest: plugin.Manifest{Capabilities: c.capabilities, Agents: []plugin.Agent{asyncAgent("x")}}})
		if _, err := f.call(soon(t), async1+"CreateTask", attempt("x", 0)); status.Code(err) != c.code {
			t.Errorf("capabilities %q: got %v", c.capabilities, err)
		}
		if got, want := healthy.calls("CreateTask"), len(c.capabilities); got != want {
			t.Errorf("capabilities %q: %d creations after the crash", c.capabilities, got)
		} else if got > 0 && dying.only(t).metadata.Get(pluginv1.IdempotencyKeyHeader)[0] != healthy.only(t).metadata.Get(pluginv1.IdempotencyKeyHeader)[0] {
			t.Error("it was repeated under another key")
		}
		for len(target.leases) > 0 {
			(<-target.leases).Release()
		}
		released.Wait()
	}
}

// A caller who waited for one with a shorter deadline goes on where that one gave up, as long as the plugin was not reached.
func TestALaterCallerWaitsLongerForAPluginThatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := restarting{leases: make(chan route.Lease), err: errors.New("it is starting")}
		table, _ := route.NewTable(route.Claim{Target: target, Manifest: plugin.Manifest{Agents: []plugin.Agent{asyncAgent("x")}}})
		routes := &route.Current{}
		routes.Publish(table)
		g := New(Options{Routes: routes, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		defer g.Shutdown(t.Context())
		ask := func(timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			request := frameOf(attempt("x", 0))
			call, err := g.plan(t.Context(), method{name: "CreateTask", creates: true, read: readCreate}, request)
			if err != nil {
				return err
			}
			_, err = g.create(ctx, call)
			return err
		}
		var all sync.WaitGroup
		var impatient, patient error
		all.Go(func() { impatient = ask(5 * time.Second) })
		all.Go(func() {
			time.Sleep(time.Second)
			patient = ask(time.Minute)
		})
		time.Sleep(10 * time.Second)
		target.leases <- route.Lease{Conn: answeringConn{}, Release: func() {}}
		all.Wait()
		if status.Code(impatient) != codes.Unavailable || patient != nil {
			t.Errorf("the first caller got %v, the second %v", impatient, patient)
		}
	})
}

// answeringConn is a connection on which every call succeeds with nothing.
type answeringConn struct{ grpc.ClientConnInterface }

func (answeringConn) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return nil }

func TestShutdownEndsCreationsWhoseCallersHaveGone(t *testing.T) {
	agent := startMaker(t) // never told to proceed
	f := startClaims(t, nil, agent.claims(route.Policy{}, asyncAgent("x")))
	ctx, leave := context.WithCancel(soon(t))
	go func() {
		<-agent.reached
		leave()
	}()
	if _, err := f.call(ctx, async1+"CreateTask", attempt("x", 0)); status.Code(err) != codes.Canceled {
		t.Fatalf("got %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.gateway.Shutdown(soon(t))
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("it waits for an answer that nobody waits for")
	}
}

func TestACallThatAStoppingPluginDidNotTakeIsMadeAgainWhateverItIs(t *testing.T) {
	for _, method := range []string{"CreateTask", "GetTask", "DeleteTask"} {
		stopping := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
			stream.SetTrailer(metadata.Pairs(pluginv1.NotTakenTrailer, "1"))
			return status.Error(codes.Unavailable, "plugin echo is stopping")
		})
		healthy := startAgent(t, answering(running))
		ended := make(chan struct{})
		close(ended)
		var released sync.WaitGroup
		target := restarting{leases: make(chan route.Lease, 2)}
		target.leases <- leaseOn(stopping, ended, &released)
		target.leases <- leaseOn(healthy, nil, &released)
		f := startGateway(t, target, asyncAgent("x"))
		request := proto.Message(get("x"))
		if method == "CreateTask" {
			request = create("x")
		}
		if _, err := f.call(soon(t), async1+method, request); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		healthy.only(t)
		released.Wait()
	}
}

// The plugin may have made the job before it died, and would make a second one: Flyte has to take another attempt.
func TestACreationThatMayHaveMadeAJobIsNotBegunAgain(t *testing.T) {
	dying, ended := dyingAgent(t)
	healthy := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("second")}))
	var released sync.WaitGroup
	target := restarting{leases: make(chan route.Lease, 2)}
	target.leases <- leaseOn(dying, ended, &released)
	target.leases <- leaseOn(healthy, nil, &released)
	f := startGateway(t, target, asyncAgent("x"))
	request := create("x")
	request.TaskExecutionMetadata = &admin.TaskExecutionMetadata{TaskExecutionId: &core.TaskExecutionIdentifier{
		NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: "e"}}}}
	for range 2 {
		if _, err := f.call(soon(t), async1+"CreateTask", request); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "died") {
			t.Errorf("got %v", err)
		}
	}
	request.TaskExecutionMetadata.TaskExecutionId.RetryAttempt = 1
	if _, err := f.call(soon(t), async1+"CreateTask", request); err != nil {
		t.Errorf("the next attempt: %v", err)
	}
	released.Wait()
}

// Headers leave before the answer does: a process that is killed between the two has not answered.
func TestACreationIsRepeatedWhosePluginDiesAfterItsHeaders(t *testing.T) {
	ended := make(chan struct{})
	var dying *agentServer
	dying = startAgent(t, func(call *received, stream grpc.ServerStream) error {
		if err := stream.SendHeader(metadata.Pairs("begun", "1")); err != nil {
			return err
		}
		time.AfterFunc(50*time.Millisecond, dying.server.Stop) // when the headers have left
		<-call.context.Done()
		close(ended)
		return nil
	})
	healthy := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}))
	var released sync.WaitGroup
	target := restarting{leases: make(chan route.Lease, 2), err: errors.New("it is restarting")}
	target.leases <- leaseOn(dying, ended, &released)
	target.leases <- leaseOn(healthy, nil, &released)
	f := startClaims(t, nil, route.Claim{Target: target, Manifest: plugin.Manifest{
		Capabilities: []string{pluginv1.CapabilityIdempotentCreate}, Agents: []plugin.Agent{asyncAgent("x")}}})
	if _, err := f.call(soon(t), async1+"CreateTask", attempt("x", 0)); err != nil {
		t.Errorf("the caller got %v", err)
	}
	for len(target.leases) > 0 {
		(<-target.leases).Release()
	}
	released.Wait()
}
