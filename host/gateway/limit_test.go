package gateway

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/route"
)

func TestCreationsWaitForAPlaceAndNoMoreAreUnderWayThanAllowed(t *testing.T) {
	const allowed, asked = 3, 30
	var now, most atomic.Int32
	agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
		n := now.Add(1)
		defer now.Add(-1)
		for {
			was := most.Load()
			if n <= was || most.CompareAndSwap(was, n) {
				break
			}
		}
		return stream.SendMsg(frameOf(&admin.CreateTaskResponse{}))
	})
	f := startClaims(t, nil, agent.claims(route.Policy{Concurrency: allowed, Wait: time.Minute}, asyncAgent("x")))
	var all sync.WaitGroup
	for i := range asked {
		all.Go(func() {
			if _, err := f.call(soon(t), async1+"CreateTask", attempt("x", uint32(i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() > allowed || agent.calls("CreateTask") != asked {
		t.Errorf("%d of %d at once", most.Load(), agent.calls("CreateTask"))
	}
}

func TestACreationThatFindsNoSlotInItsTimeSaysWhy(t *testing.T) {
	agent := startMaker(t)
	f := startClaims(t, nil, agent.claims(route.Policy{Concurrency: 1, Wait: 50 * time.Millisecond}, asyncAgent("x")))
	var first sync.WaitGroup
	first.Go(func() { f.create(t, create("x")) })
	<-agent.reached
	if _, err := f.call(soon(t), async1+"CreateTask", create("x")); status.Code(err) != codes.ResourceExhausted ||
		!strings.Contains(err.Error(), "limits.concurrency") || !strings.Contains(err.Error(), `"echo"`) {
		t.Errorf("got %v", err)
	}
	// The caller's deadline comes before the limit's own, and still he reads why.
	f.publish(t, agent.claims(route.Policy{Concurrency: 1, Wait: time.Hour}, asyncAgent("x")))
	ctx, cancel := nearlyFlytesDeadline(t)
	defer cancel()
	if _, err := f.call(ctx, async1+"CreateTask", create("x")); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v: a new table must not give anybody a new quota", err)
	}
	// Polls and deletions are let through all the while.
	agent.answer = answering(running)
	for _, method := range []string{"GetTask", "DeleteTask"} {
		if _, err := f.call(soon(t), async1+method, get("x")); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	close(agent.proceed)
	first.Wait()
	if _, err := f.call(soon(t), async1+"CreateTask", create("x")); err != nil {
		t.Errorf("the slot is free, and the caller got %v", err)
	}
	want := `
# HELP agenthost_limited_total Calls that found a limit of their plugin reached (limit: concurrency or rate), and what became of them: waited, and then went to the plugin, or refused. A poll that is refused is answered from memory.
# TYPE agenthost_limited_total counter
agenthost_limited_total{limit="concurrency",outcome="refused",plugin="echo"} 2
`
	if err := testutil.GatherAndCompare(f.registry, strings.NewReader(want), "agenthost_limited_total"); err != nil {
		t.Error(err)
	}
}

func TestSyncCallsTakePlacesToo(t *testing.T) {
	reached, proceed := make(chan struct{}, 2), make(chan struct{})
	agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
		reached <- struct{}{}
		<-proceed
		return stream.SendMsg(frameOf(syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_SUCCEEDED})))
	})
	f := startClaims(t, nil, agent.claims(route.Policy{Concurrency: 1}, syncAgent("s")))
	request := &admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: "s"}}}}
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := f.sync(soon(t), request); err != nil {
			t.Error(err)
		}
	})
	<-reached
	if _, err := f.sync(soon(t), request); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
	close(proceed)
	first.Wait()
	if _, err := f.sync(soon(t), request); err != nil {
		t.Errorf("the slot is free, and the caller got %v", err)
	}
}

func TestAPluginGetsNoMoreCallsThanItsRateAllows(t *testing.T) {
	agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
		if strings.HasSuffix(call.method, "CreateTask") {
			return stream.SendMsg(frameOf(&admin.CreateTaskResponse{}))
		}
		return stream.SendMsg(frameOf(running))
	})
	const perSecond, burst = 20, 2
	policy := route.Policy{Rate: perSecond, Burst: burst, MaxStale: time.Hour}
	f := startClaims(t, nil, agent.claims(policy, asyncAgent("x")))
	began := time.Now()
	for range 5 {
		for _, method := range []string{"CreateTask", "DeleteTask"} {
			request := create("x")
			if _, err := f.call(soon(t), async1+method, map[string]proto.Message{"CreateTask": request, "DeleteTask": get("x")}[method]); err != nil {
				t.Error(err)
			}
		}
		if _, err := f.poll(soon(t), get("x")); err != nil {
			t.Error(err)
		}
		f.publish(t, agent.claims(policy, asyncAgent("x"))) // which gives nobody a fresh quota
	}
	agent.mu.Lock()
	calls := len(agent.received)
	agent.mu.Unlock()
	if most := burst + perSecond*time.Since(began).Seconds(); float64(calls) > most+1 {
		t.Errorf("%d calls, %.1f were allowed", calls, most)
	}
}

func TestAPollOverQuotaIsAnsweredFromMemoryWhereItWouldWaitLong(t *testing.T) {
	agent := startAgent(t, answering(running))
	// One call an hour: the second has no hope.
	f := startClaims(t, nil, agent.claims(route.Policy{Rate: 1.0 / 3600, MaxStale: 10 * time.Hour}, asyncAgent("x"), asyncAgent("y")))
	for range 5 {
		if got, err := f.poll(soon(t), get("x")); err != nil || got.GetMessage() != "half way" {
			t.Errorf("Flyte reads %v, %v", got, err)
		}
	}
	if n := f.recorded(t, guarantee.ThinnedPolls); n != 4 || agent.calls("GetTask") != 1 {
		t.Errorf("%d polls from memory, %d calls", n, agent.calls("GetTask"))
	}
	// Nothing is known of this one, and it is not the plugin that failed.
	if got, err := f.poll(soon(t), get("y")); err != nil || got.GetPhase() != core.TaskExecution_RUNNING || !strings.Contains(got.GetMessage(), "limits.rate") {
		t.Errorf("Flyte reads %v, %v", got, err)
	}
	if _, err := f.call(soon(t), async1+"DeleteTask", get("x")); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "limits.rate") {
		t.Errorf("a deletion that cannot wait for an hour got %v", err)
	}
}
