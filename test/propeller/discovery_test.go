package propeller

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/test/propeller/scripted"
	"github.com/agenthost/agenthost/test/propeller/traces"
)

func TestFlyte1KeepsOnlyTheLastListedVersionOfATypeAndFlyte2All(t *testing.T) {
	multi := func(version int32) Entry { return Entry{Name: "multi", Version: version, Endpoint: "default"} }
	asyncy, late := Entry{Name: "asyncy", Endpoint: "default"}, Entry{Name: "latetype", Endpoint: "default"}
	for flyte, want := range map[Flyte][]Entry{
		V1: {asyncy, late, multi(2), {Name: "syncy", Sync: true, Endpoint: "default"}},
		V2: {asyncy, late, multi(1), multi(2), {Name: "syncy", Endpoint: "default"}}, // which it takes for an async one
	} {
		synctest.Test(t, func(t *testing.T) {
			_, dial := serve(t, scripted.Script{})
			p := Start(t.Context(), Options{Flyte: flyte, Endpoint: "default", Dial: dial})
			defer p.Close()
			if diff := cmp.Diff(want, p.Registry()); diff != "" {
				t.Errorf("Flyte %d (-want +got):\n%s", flyte, diff)
			}
		})
	}
}

func TestFlyte1ReadsTheDeprecatedListOfTypesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dial := serve(t, scripted.Script{Agents: []*admin.Agent{{Name: "old", IsSync: true, SupportedTaskTypes: []string{"a", "b"}}}})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", TaskTypes: []string{"static"}, Dial: dial})
		defer p.Close()
		want := []Entry{
			{Name: "a", Sync: true, Endpoint: "default"}, {Name: "b", Sync: true, Endpoint: "default"}, {Name: "static", Endpoint: "default"},
		}
		if diff := cmp.Diff(want, p.Registry()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestFlyte1DialsAnewForEachPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent, dial := serve(t, scripted.Script{})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", PollInterval: time.Second, Dial: dial})
		time.Sleep(3500 * time.Millisecond)
		p.Close()
		synctest.Wait()
		listed := agent.Listed()
		if len(listed) != 5 { // at start, at once again, and after 1, 2 and 3 seconds
			t.Fatalf("%d polls", len(listed))
		}
		for i, call := range listed {
			if call.ConnectionNo != i+1 {
				t.Errorf("poll %d came on connection %d", i, call.ConnectionNo)
			}
		}
		if opened, closed := agent.Connections(); opened != 5 || closed != 5 {
			t.Errorf("%d connections opened, %d closed", opened, closed)
		}
	})
}

func TestATypeThatVanishesTakesTasksInFlightToTheContainerPlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent, dial := serve(t, scripted.Script{Get: []traces.Reply{{Phase: "RUNNING"}}})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", PollInterval: 10 * time.Second, Round: time.Second, Dial: dial})
		defer p.Close()
		execution := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy"}})
		time.Sleep(15 * time.Second)
		agent.List(nil, codes.Unavailable) // one failed poll is enough
		time.Sleep(7 * time.Second)

		result, err := execution.Wait(t.Context())
		if err != nil || result.Phase != FellToContainer {
			t.Fatalf("%v, %v", result.Phase, err)
		}
		for _, call := range result.Calls {
			if call.Method == deleteTask {
				t.Error("the job was deleted: Flyte forgets it")
			}
		}
		if status := p.Discovery(); status.Failures != 1 || status.Last == nil || len(p.Registry()) != 0 {
			t.Errorf("%+v, registry %v", status, p.Registry())
		}
		agent.List(scripted.RecordedAgents(), codes.OK)
		time.Sleep(10 * time.Second)
		if len(p.Registry()) == 0 {
			t.Error("the types did not come back with the next poll")
		}
	})
}

func TestATypeThatDiscoveryDoesNotKnowNeverReachesAnAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent, dial := serve(t, scripted.Script{})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", Dial: dial})
		defer p.Close()
		result, err := p.Submit(Task{Template: &core.TaskTemplate{Type: "unheard-of"}}).Wait(t.Context())
		if err != nil || result.Phase != FellToContainer || len(agent.Calls()) != 0 {
			t.Errorf("%v, %v, calls %v", result.Phase, err, agent.Calls())
		}
	})
}

func TestAnUnlistedVersionGoesToTheDefaultEndpoint(t *testing.T) {
	for _, flyte := range []Flyte{V1, V2} {
		synctest.Test(t, func(t *testing.T) {
			byDefault, dialDefault := serve(t, scripted.Script{Agents: []*admin.Agent{}, Get: []traces.Reply{{Phase: "SUCCEEDED"}}})
			other, dialOther := serve(t, scripted.Script{Get: []traces.Reply{{Phase: "SUCCEEDED"}}})
			dial := func(ctx context.Context, endpoint string) (net.Conn, error) {
				if endpoint == "other" {
					return dialOther(ctx, endpoint)
				}
				return dialDefault(ctx, endpoint)
			}
			p := Start(t.Context(), Options{
				Flyte: flyte, Endpoint: "default", Connectors: map[string]string{"x": "other"}, Round: time.Second, Dial: dial,
			})
			defer p.Close()
			submit := func(version int32) {
				p.Submit(Task{Template: &core.TaskTemplate{Type: "multi", TaskTypeVersion: version, Custom: customOf(traces.Trace{})}})
				time.Sleep(5 * time.Second)
			}
			submit(2)
			if len(byDefault.Calls()) != 0 || len(other.Calls()) == 0 {
				t.Errorf("Flyte %d: a listed version made %d calls to the default, %d to the other", flyte, len(byDefault.Calls()), len(other.Calls()))
			}
			submit(7)
			if calls := byDefault.Calls(); len(calls) == 0 || calls[0].Method != createTask {
				t.Errorf("Flyte %d: an unlisted version made calls %v to the default", flyte, calls)
			}
		})
	}
}
