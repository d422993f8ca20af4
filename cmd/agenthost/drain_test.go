package main

import (
	"context"
	"net/http"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// serveDelayed is a host that has a probe and a delay.
func serveDelayed(t *testing.T, delay string) (host *served, probe string) {
	t.Helper()
	p := startAgenthost(t, "serve", "-c", pluginsFile(t, map[string][]string{"echo": badplugin.Command("good")}),
		"--set", "listen.probe=127.0.0.1:0", "--set", "drain_delay="+delay)
	p.stderr.await(t, "agenthost is ready", 1)
	addresses := readyLine.FindStringSubmatch(p.stderr.String())
	return &served{p, addresses[1], addresses[2]}, probeOf(t, p)
}

// health is what a new connection to an address hears.
func health(ctx context.Context, address string) (healthpb.HealthCheckResponse_ServingStatus, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return answer.GetStatus(), err
}

// A host that is to stop is not ready at once, in every form, and serves whoever connects all the same, until somebody has no time.
func TestDuringTheDrainDelayAHostIsNotReadyAndServes(t *testing.T) {
	host, probe := serveDelayed(t, "10m")
	if err := host.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{host.grpc, probe} {
		wait.Until(t, "health says so", func() bool {
			status, err := health(t.Context(), address)
			if err != nil {
				t.Fatalf("%s: %v", address, err)
			}
			return status == healthpb.HealthCheckResponse_NOT_SERVING
		})
	}
	for _, url := range []string{"http://" + probe + "/readyz", "http://" + host.admin + "/readyz"} {
		answer, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		if answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %s", url, answer.Status)
		}
	}
	for _, generation := range []propeller.Flyte{propeller.V1, propeller.V2} {
		result := finish(t, flyte(t, generation, host.grpc).Submit(echoTask(t, "echo_task", badplugin.Script{Polls: 2})))
		if result.Phase != propeller.Succeeded || result.Attempts != 1 {
			t.Errorf("flyte %v: %s in %d attempts, %+v", generation, result.Phase, result.Attempts, result.Final)
		}
	}
	agenthost(t, "status", "--admin", host.admin).expect(t, 0, "NOT READY", "")
	if code := host.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, host.stderr)
	}
	host.stderr.await(t, "drain_delay is cut short", 1)
}

// A client as kube-proxy and Flyte's resolver make one: it connects anew for each call, to a host that was ready a moment ago.
func TestNoCallFailsWhoseCallerLooksAtReadinessFirst(t *testing.T) {
	const seen = 500 * time.Millisecond // until the last caller has heard of it
	host, _ := serveDelayed(t, "2s")
	ended := make(chan int, 1)
	calls := 0
	var notReady time.Time
	for notReady.IsZero() || time.Since(notReady) < seen {
		status, err := health(t.Context(), host.grpc)
		if err != nil {
			t.Fatalf("call %d: %v", calls, err)
		}
		if status != healthpb.HealthCheckResponse_SERVING && notReady.IsZero() {
			notReady = time.Now()
		}
		if calls++; calls == 20 {
			go func() { ended <- host.signal(t, syscall.SIGTERM) }()
		}
	}
	if code := <-ended; code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, host.stderr)
	}
	if calls < 21 {
		t.Errorf("only %d calls", calls)
	}
}

// Whoever was never told that a host is ready does not call it.
func TestAHostThatIsNotReadyStopsWithoutADelay(t *testing.T) {
	p := startAgenthost(t, "serve", "-c", pluginsFile(t, map[string][]string{"silent": badplugin.Command("silent")}), "--set", "drain_delay=10m")
	p.stderr.await(t, "agenthost is starting", 1)
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, p.stderr)
	}
}
