package gateway

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/wait"
)

// removedOf is a plugin that was taken out, for a while.
func removedOf(name string, grace time.Duration, agents ...plugin.Agent) []route.Removed {
	now := time.Now()
	return []route.Removed{{Plugin: name, Manifest: manifestOf(agents...), At: now, Until: now.Add(grace)}}
}

// Three attempts that hear NOT_FOUND at once are gone within a second, and a plugin may be out of the file by mistake.
func TestANewTaskWaitsForAPluginThatWasJustRemoved(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, f *front) error{
		"CreateTask": func(ctx context.Context, f *front) error {
			_, err := f.call(ctx, async1+"CreateTask", create("x"))
			return err
		},
		"ExecuteTaskSync": func(ctx context.Context, f *front) error {
			_, err := f.sync(ctx, syncRequest())
			return err
		},
	} {
		served, answer := asyncAgent("x"), answering(&admin.CreateTaskResponse{})
		if name == "ExecuteTaskSync" {
			served, answer = syncAgent("x"), answering(syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_SUCCEEDED}))
		}
		agent := startAgent(t, answer)
		f := startClaims(t, nil)
		table, _ := route.Rules(nil).TableAfter(removedOf("echo", time.Minute, served))
		f.routes.Publish(table)

		ctx, cancel := context.WithTimeout(soon(t), 300*time.Millisecond)
		err := call(ctx, f)
		cancel()
		if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != `plugin "echo" was taken out of the configuration` {
			t.Errorf("%s: until its deadline it hears %v", name, err)
		}

		answered := make(chan error, 1)
		waiting := soon(t)
		go func() { answered <- call(waiting, f) }()
		wait.Until(t, "the call waits", func() bool { return f.underWay(name) == 1 })
		f.publish(t, agent.claims(route.Policy{}, asyncAgent("another")))
		f.publish(t, agent.claims(route.Policy{}, served))
		if err := <-answered; err != nil {
			t.Errorf("%s: when it is back: %v", name, err)
		}

		table, _ = route.Rules(nil).TableAfter(removedOf("echo", 0, served))
		f.routes.Publish(table)
		if err := call(soon(t), f); status.Code(err) != codes.NotFound {
			t.Errorf("%s: long after the removal it hears %v", name, err)
		}
	}
}

// A creation that waits for a plugin goes on with the one that comes into its place.
func TestANewTaskThatWaitsForAPluginSurvivesItsRemoval(t *testing.T) {
	going := leaving{restarting{err: errors.New(`plugin "restarting" is draining: it was taken out of the configuration`)}, make(chan struct{})}
	f := startGateway(t, going, asyncAgent("x"))
	answered := f.removeWhileACallWaits(t, going)
	agent := startAgent(t, answering(&admin.CreateTaskResponse{}))
	f.publish(t, agent.claims(route.Policy{}, asyncAgent("x")))
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// It may hear of the removal only when another is in the place already.
func TestANewTaskThatHearsLateOfARemovalGoesToThePluginInThePlace(t *testing.T) {
	going := leaving{restarting{err: errors.New(`plugin "restarting" is draining: it was taken out of the configuration`)}, make(chan struct{})}
	f := startGateway(t, going, asyncAgent("x"))
	answered := make(chan error, 1)
	waiting := soon(t)
	go func() {
		_, err := f.call(waiting, async1+"CreateTask", create("x"))
		answered <- err
	}()
	wait.Until(t, "the call waits", func() bool { return len(f.gateway.Waiting()) == 1 })
	agent := startAgent(t, answering(&admin.CreateTaskResponse{}))
	f.publish(t, agent.claims(route.Policy{}, asyncAgent("x")))
	close(going.gone)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// The call has one seat among those that wait, although it has waited for two plugins, one after the other.
func TestANewTaskThatWaitsForAPluginWaitsOnceItIsRemoved(t *testing.T) {
	going := leaving{restarting{err: errors.New(`plugin "restarting" died`)}, make(chan struct{})}
	f := startGateway(t, justNow{going, time.Now()}, asyncAgent("x"))
	answered := f.removeWhileACallWaits(t, going)
	gate := f.gateway.gates.of(route.Route{Target: going})
	seats := func() int {
		gate.mu.Lock()
		defer gate.mu.Unlock()
		return gate.waiting
	}
	wait.Until(t, "it is one of those that wait for a plugin in trouble", func() bool { return seats() > 0 })
	if n := seats(); n != 1 {
		t.Errorf("it has %d seats", n)
	}
	agent := startAgent(t, answering(&admin.CreateTaskResponse{}))
	f.publish(t, agent.claims(route.Policy{}, asyncAgent("x")))
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if n := seats(); n != 0 {
		t.Errorf("%d seats are left", n)
	}
}

// removeWhileACallWaits has a CreateTask call wait for a plugin that is then removed. The call's error comes when it has ended.
func (f *front) removeWhileACallWaits(t *testing.T, going leaving) (answered chan error) {
	t.Helper()
	answered = make(chan error, 1)
	waiting := soon(t)
	go func() {
		_, err := f.call(waiting, async1+"CreateTask", create("x"))
		answered <- err
	}()
	wait.Until(t, "the call waits", func() bool { return len(f.gateway.Waiting()) == 1 })
	table, _ := route.Rules(nil).TableAfter(removedOf("restarting", time.Minute, asyncAgent("x")))
	f.routes.Publish(table)
	close(going.gone)
	return answered
}

// justNow is a plugin whose trouble has just begun.
type justNow struct {
	leaving
	since time.Time
}

func (j justNow) Trouble() (route.Trouble, bool) {
	return route.Trouble{Reason: j.err.Error(), Since: j.since}, true
}

// leaving is a plugin that is removed while calls wait for it.
type leaving struct {
	restarting
	gone chan struct{}
}

func (l leaving) Acquire(ctx context.Context, _ route.Want) (route.Lease, error) {
	select {
	case <-l.gone:
	case <-ctx.Done():
	}
	return route.Lease{}, l.err
}

// underWay is how many calls of a method are.
func (f *front) underWay(method string) int {
	return int(testutil.ToFloat64(f.gateway.metrics.inFlight.WithLabelValues(method)))
}
