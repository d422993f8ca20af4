package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/plugin"
)

// serveStatus runs the host's own admin server over plugins in the given states, and gives its address.
func serveStatus(t *testing.T, ready bool, plugins func() []fleet.Status) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := admin.New(admin.Options{
		Version: "1.2.3", GRPC: "0.0.0.0:8000", Admin: listener.Addr().String(),
		Plugins: plugins, Ready: func() bool { return ready }, Metrics: prometheus.NewRegistry(),
	})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return listener.Addr().String()
}

func twoPlugins() []fleet.Status {
	return []fleet.Status{
		{
			Name: "duckdb", State: fleet.Running, Reason: errors.New("exited with code 3"), Restarts: 2, PID: 4242, InFlight: 7,
			Started: time.Now().Add(-90 * time.Minute), MemoryBytes: 100 << 20, CPUSeconds: 1.25,
			Manifest: &plugin.Manifest{Version: "0.1.0", Agents: []plugin.Agent{
				{Categories: []plugin.Category{{Name: "duckdb_query"}, {Name: "duckdb_query", Version: 2}}},
				{Sync: true, Categories: []plugin.Category{{Name: "duckdb_sync"}}},
			}},
		},
		{Name: "hello", State: fleet.CrashLooping, Reason: errors.New("handshake: it printed nothing")},
	}
}

func TestStatusShowsEachPlugin(t *testing.T) {
	address := serveStatus(t, true, twoPlugins)
	got := agenthost(t, "status", "--admin", address)
	for _, want := range []string{
		"agenthost 1.2.3  ready  pid ", "grpc 0.0.0.0:8000",
		"PLUGIN", "TASK TYPES", "4242", "1h30m", "100 MiB", "1.2s", "duckdb_query, duckdb_query v2, duckdb_sync (sync)",
		"duckdb runs now; before: exited with code 3", "hello is crash-looping: handshake: it printed nothing",
	} {
		got.expect(t, 0, want, "")
	}
}

func TestStatusOfAHostThatIsNotReadySaysSo(t *testing.T) {
	address := serveStatus(t, false, func() []fleet.Status { return nil })
	got := agenthost(t, "status", "--admin", address)
	got.expect(t, 0, "NOT READY", "")
	got.expect(t, 0, "no plugins are configured", "")
}

func TestStatusAsJSONIsTheHostsOwnAnswer(t *testing.T) {
	address := serveStatus(t, true, twoPlugins)
	got := agenthost(t, "status", "--admin", address, "-o", "json")
	var status admin.Status
	if err := json.Unmarshal([]byte(got.stdout), &status); err != nil || len(status.Plugins) != 2 || status.Plugins[0].InFlight != 7 {
		t.Errorf("got %+v, %v", status, err)
	}
}

func TestStatusAsksWhereTheConfigurationSays(t *testing.T) {
	address := serveStatus(t, true, twoPlugins)
	_, port, _ := net.SplitHostPort(address)
	file := writeFile(t, "host.yaml", "listen: {admin: \"0.0.0.0:"+port+"\"}\nplugins: {a: {command: [a]}}\n")
	agenthost(t, "status", "-c", file).expect(t, 0, "duckdb", "")

	off := writeFile(t, "off.yaml", "listen: {admin: \"\"}\n")
	agenthost(t, "status", "-c", off).expect(t, exitFailed, "", "turns the admin address off")
	bad := writeFile(t, "bad.yaml", "listne: {}\n")
	agenthost(t, "status", "-c", bad).expect(t, exitFailed, "", "can be given with --admin")
}

func TestStatusOfNobodySaysWhatToDo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	agenthost(t, "status", "--admin", address).expect(t, exitFailed, "", "no host answers at "+address+": connect: connection refused\nIs it running")

	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	agenthost(t, "status", "--admin", other.Listener.Addr().String()).expect(t, exitFailed, "", "is not the admin address of an agenthost")
	http.DefaultClient.CloseIdleConnections()
}

// watched is a writer that can be waited on.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// await waits until the text has what it should, or fails the test after a while.
func (w *watched) await(t *testing.T, want string, times int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for strings.Count(w.String(), want) < times {
		select {
		case <-w.more:
		case <-deadline:
			t.Fatalf("%q did not appear %d times in:\n%s", want, times, w.String())
		}
	}
}

func TestStatusWatchLooksAgainUntilInterrupted(t *testing.T) {
	address := serveStatus(t, true, twoPlugins)
	ctx, cancel := context.WithCancel(t.Context())
	out := &watched{more: make(chan struct{}, 1)}
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"status", "--admin", address, "--watch", "--interval", "100ms"}, strings.NewReader(""), out, out)
	}()
	out.await(t, "4242", 3)
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("code %d", got)
	}
}
