package gateway

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/test/callservice"
)

// Flyte 2 repeats a deletion that fails, and keeps the task's record meanwhile. The plugin may be back by then; if not, the
// record must go one day.
func TestADeletionThatNoPluginServesFailsForAWhileAndIsThenDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged strings.Builder
		g := New(Options{Routes: &route.Current{}, Log: slog.New(slog.NewTextHandler(&logged, nil)), Metrics: prometheus.NewRegistry()})
		defer g.Shutdown(t.Context())
		began := time.Now()
		for {
			request := &admin.DeleteTaskRequest{ResourceMeta: []byte("job 1"), TaskCategory: &admin.TaskCategory{Name: "x"}}
			call, err := g.plan(t.Context(), method{name: "DeleteTask", deletes: true, read: readJob(getTaskCategory)}, frameOf(request))
			if err != nil {
				t.Fatal(err)
			}
			if _, err = g.delete(t.Context(), call); err == nil {
				break
			}
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `no plugin of this host serves task category "x"`) {
				t.Fatalf("Flyte reads %v", err)
			}
			time.Sleep(30 * time.Second)
		}
		if took := time.Since(began); took != unservedMaxStale {
			t.Errorf("it was done after %v", took)
		}
		if !strings.Contains(logged.String(), "job 1") {
			t.Errorf("nobody is told of a job that may still run: %s", logged.String())
		}
	})
}

// An agent may give a later job the meta of an earlier one, whose deletion has failed here and went through at another host.
func TestADeletionIsNotDoneForTheFailuresOfAnEarlierJobWithItsMeta(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Routes: &route.Current{}, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		defer g.Shutdown(t.Context())
		for range 3 {
			call, err := g.plan(t.Context(), method{name: "DeleteTask", deletes: true, read: readJob(getTaskCategory)}, frameOf(get("x")))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.delete(t.Context(), call); status.Code(err) != codes.Unavailable {
				t.Errorf("of a deletion that comes for the first time Flyte reads %v", err)
			}
			time.Sleep(2 * time.Hour)
		}
	})
}

func TestADeletionReachesAPluginThatComesBack(t *testing.T) {
	agent := startAgent(t, answering(&admin.DeleteTaskResponse{}))
	f := startClaims(t, nil)
	if _, err := f.call(soon(t), async2+"DeleteTask", get("x")); status.Code(err) != codes.Unavailable {
		t.Errorf("while no plugin serves the job Flyte reads %v", err)
	}
	f.publish(t, agent.claims(usual, asyncAgent("x")))
	if _, err := f.call(soon(t), async2+"DeleteTask", get("x")); err != nil || agent.calls("DeleteTask") != 1 {
		t.Errorf("once one does: %v, and the plugin is called %d times", err, agent.calls("DeleteTask"))
	}
}

// A plugin that is configured and not there is another matter: it comes back, and the job must not be left running.
func TestADeletionIsNeverGivenUpWhileAPluginIsToServeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		routes := &route.Current{}
		target := restarting{leases: make(chan route.Lease), err: errors.New("it is restarting")}
		table, _ := route.NewTable(route.Claim{Target: target, Policy: usual, Manifest: manifestOf(asyncAgent("x"))})
		routes.Publish(table)
		g := New(Options{Routes: routes, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		defer g.Shutdown(t.Context())
		for began := time.Now(); time.Since(began) < 3*unservedMaxStale; {
			call, err := g.plan(t.Context(), method{name: "DeleteTask", deletes: true, read: readJob(getTaskCategory)}, frameOf(get("x")))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.delete(t.Context(), call); status.Code(err) != codes.Unavailable {
				t.Fatalf("Flyte reads %v", err)
			}
		}
	})
}

// What a plugin answers on the stream that many calls share is put right as an answer to a call by itself is, each time.
func TestAnErrorOnTheSharedStreamIsPutRightEveryTime(t *testing.T) {
	server := grpc.NewServer()
	pluginv1.RegisterCallServiceServer(server, &callservice.Server{
		Methods: []string{async1 + "DeleteTask"},
		Call: func(context.Context, string, []byte) ([]byte, error) {
			return nil, status.Error(codes.NotFound, "no such job")
		},
	})
	conn := plugin.NewConn(dial(t, serveOn(t, server)), slog.New(slog.DiscardHandler))
	t.Cleanup(conn.Close)
	if !conn.Shares(t.Context()) {
		t.Fatal("there is no stream")
	}
	agent := startAgent(t, answering(&admin.DeleteTaskResponse{}))
	agent.conn = conn
	f := startWith(t, Options{}, agent.claims(usual, asyncAgent("x")))
	for range 3 {
		if _, err := f.call(soon(t), async1+"DeleteTask", &admin.DeleteTaskRequest{TaskCategory: &admin.TaskCategory{Name: "x"}, ResourceMeta: []byte("gone")}); err != nil {
			t.Errorf("a job that is gone cannot be deleted: %v", err)
		}
	}
	if stats := conn.CallStats(); stats.Shared != 3 {
		t.Errorf("the calls went by themselves: %+v", stats)
	}
}
