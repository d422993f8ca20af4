package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/history"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/tools/adminclient"
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
		Plugins: plugins, Ready: func() bool { return ready }, WatchError: func() string { return "" }, Metrics: prometheus.NewRegistry(),
		Events: func(ctx context.Context, _ history.Query) iter.Seq[history.Event] {
			return func(func(history.Event) bool) { <-ctx.Done() }
		},
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
	agenthost(t, "status", "-c", bad).expect(t, exitFailed, "", "--admin host:port says another address")
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

func aSwap() admin.Status {
	started := time.Now().Add(-time.Minute)
	process := func(pid, inFlight int) admin.InstanceStatus {
		return admin.InstanceStatus{State: "running", PID: pid, Started: &started, UptimeSeconds: 60, InFlight: inFlight, MemoryBytes: 5 << 20, CPUSeconds: 0.5}
	}
	return admin.Status{
		Host: admin.HostStatus{Version: "1.2.3", Ready: true, ConfigError: "host.yaml:1: x: unknown key", ConfigWatchError: "no inotify"},
		Plugins: []admin.PluginStatus{
			{Name: "one", State: "running", PID: 11, Generations: []admin.GenerationStatus{
				{ID: "0000aaaa", State: "running", Current: true, Percent: 100, Instances: []admin.InstanceStatus{process(11, 0)}},
			}},
			{Name: "two", State: "running", PID: 21, InFlight: 5, Generations: []admin.GenerationStatus{
				{ID: "1111bbbb", State: "running", Current: true, Percent: 100, Instances: []admin.InstanceStatus{process(21, 2), {State: "restarting", Restarts: 4}}},
			}},
			{Name: "three", State: "running", PID: 31, Reason: "old", SwapError: "no handshake", Generations: []admin.GenerationStatus{
				{ID: "2222cccc", State: "running", Percent: 10, Version: "0.2.0", Instances: []admin.InstanceStatus{process(32, 1)}},
				{ID: "3333dddd", State: "running", Current: true, Percent: 90, Version: "0.1.0", Instances: []admin.InstanceStatus{process(31, 7)}, Reason: "old"},
				{ID: "4444eeee", State: "draining", Instances: []admin.InstanceStatus{process(30, 1)}, Reason: "swapped"},
			}},
		},
	}
}

func TestStatusShowsGenerationsAndInstancesWhereThereAreSeveral(t *testing.T) {
	got := renderStatus(aSwap(), nil)
	var found []string
	for line := range strings.SplitSeq(got, "\n") {
		found = append(found, strings.Join(strings.Fields(strings.ReplaceAll(line, "│", " ")), " "))
	}
	want := []string{
		"THE CONFIGURATION HAS MISTAKES, the last sound one is in effect: host.yaml:1: x: unknown key",
		"CHANGES OF THE CONFIGURATION ARE SEEN LATE: no inotify",
		"one running - 11 0s 0 0 0 MiB 0.0s -",
		"two running - 21 0s 0 5 0 MiB 0.0s -",
		"1111bbbb current running -",
		"instance 1 running 21 1m0s 0 2 5 MiB 0.5s",
		"instance 2 restarting - - 4 0 - -",
		"three running - 31 0s 0 0 0 MiB 0.0s -",
		"2222cccc canary, 10% of new jobs running 0.2.0 32 1m0s 0 1 5 MiB 0.5s",
		"3333dddd current, 90% of new jobs running 0.1.0 31 1m0s 0 7 5 MiB 0.5s",
		"4444eeee draining - 30 1m0s 0 1 5 MiB 0.5s",
		"three DOES NOT RUN AS CONFIGURED: no handshake",
		"three runs now; before: old",
		"three generation 4444eeee is draining: swapped",
	}
	next := 0
	for _, line := range found {
		if next < len(want) && line == want[next] {
			next++
		}
	}
	if next < len(want) {
		t.Errorf("%q is missing, or not in its place, in:\n%s", want[next], strings.Join(found, "\n"))
	}
	if strings.Contains(got, "0000aaaa") {
		t.Errorf("a single process is shown twice:\n%s", got)
	}
}

func TestStatusWatchShowsEventsAsTheyHappen(t *testing.T) {
	more := make(chan admin.Event)
	address := adminHost(t, map[string]http.HandlerFunc{
		"GET /status": func(w http.ResponseWriter, _ *http.Request) { sendLines(t, w, aSwap()) },
		"GET /events": func(w http.ResponseWriter, r *http.Request) {
			sendLines(t, w, admin.Event{Time: noon, Plugin: "two", Generation: "1111bbbb", State: "restarting", Was: "running", Seconds: 60, Cause: "exited with code 3"})
			for {
				select {
				case e := <-more:
					sendLines(t, w, e)
				case <-r.Context().Done():
					return
				}
			}
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	out := &watched{more: make(chan struct{}, 1)}
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"status", "--admin", address, "--watch", "--interval", "1h"}, strings.NewReader(""), out, out)
	}()
	out.await(t, "12:00:00.000  two 1111bbbb  restarting, was running for 1m0s: exited with code 3\n", 1)
	more <- admin.Event{Time: noon, Plugin: "two", State: "running"}
	out.await(t, "12:00:00.000  two  running\n", 1)
	out.await(t, "PLUGIN", 1)
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("code %d", got)
	}
}

func TestStatusWatchFindsTheEventsOfAHostThatCameBack(t *testing.T) {
	lines := make(chan string, 100)
	var connections atomic.Int32
	address := adminHost(t, map[string]http.HandlerFunc{"GET /events": func(w http.ResponseWriter, _ *http.Request) {
		if n := connections.Add(1); n != 2 { // the second time the host is starting
			sendLines(t, w, admin.Event{Time: noon, Plugin: "a", State: fmt.Sprint("state", n)})
			return // and away again
		}
		http.Error(w, "not yet", http.StatusServiceUnavailable)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		followEvents(ctx, adminclient.Client{Address: address}, time.Millisecond, func(e admin.Event) {
			select {
			case lines <- e.State:
			default:
			}
		})
	}()
	if first, second := <-lines, <-lines; first != "state1" || second != "state3" {
		t.Errorf("got %s, %s", first, second)
	}
	cancel()
	<-ended
}

func TestTheLatestEventsStay(t *testing.T) {
	var lines []string
	for i := range 100 {
		lines = lastOf(append(lines, fmt.Sprint(i)), 3)
	}
	if got := strings.Join(lines, " "); got != "97 98 99" {
		t.Errorf("got %s", got)
	}
}

func TestStatusSaysInWordsWhatWaitsDrainsAndIsStartedNext(t *testing.T) {
	soon, then := time.Now().Add(30*time.Second+500*time.Millisecond), time.Now().Add(-time.Hour)
	shown := renderStatus(admin.Status{
		Host: admin.HostStatus{Ready: true, Waiting: []admin.Waiting{{On: "start", Calls: 1, OldestSeconds: 2}}},
		Plugins: []admin.PluginStatus{
			{
				Name: "duckdb", State: "unresponsive", Reason: `plugin "duckdb" does not answer since 2026-01-02T03:04:05Z: health checks have no answer`,
				Waiting:     []admin.Waiting{{On: "concurrency", Calls: 3, OldestSeconds: 75}, {On: "tide", Calls: 1}},
				Generations: []admin.GenerationStatus{{ID: "aa", Role: "current", Current: true}, {ID: "bb", Role: "draining", InFlight: 1}, {ID: "cc", Role: "draining"}},
			},
			{Name: "hello", State: "crash-looping", NextStart: &soon},
			{Name: "old", State: "draining", Removed: true, InFlight: 2},
			{Name: "well", State: "running", Reason: "exited with code 3", ReasonAt: &then},
		},
		Removed: []admin.RemovedStatus{{Plugin: "older", Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), TaskTypes: []string{"a", "b"}}},
	}, nil)
	for _, line := range []string{
		"1 call waits until it is known what the plugins serve, the oldest for 2s\n",
		"duckdb: 3 calls wait for limits.concurrency, the oldest for 1m15s\n",
		"duckdb: 1 call waits for tide, the oldest for 0s\n",
		"duckdb generation bb drains: 1 call under way\n",
		`duckdb is unresponsive: plugin "duckdb" does not answer since 2026-01-02T03:04:05Z`,
		"hello is started again in 30s\n",
		"old was taken out of the configuration, and goes when its processes are gone: 2 calls under way\n",
		"well runs now; before (1h0m ago): exited with code 3\n",
		"older was taken out of the configuration; calls that begin a, b wait for it until 03:04:05\n",
	} {
		if !strings.Contains(shown, line) {
			t.Errorf("it does not say %q:\n%s", line, shown)
		}
	}
	if strings.Contains(shown, "generation cc drains") {
		t.Errorf("it tells of what has no calls:\n%s", shown)
	}
}
