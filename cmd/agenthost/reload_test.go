package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
)

// adminHost is an admin address with the given answers, by method and path.
func adminHost(t *testing.T, handlers map[string]http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, handler := range handlers {
		mux.HandleFunc(pattern, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	return server.Listener.Addr().String()
}

// sendLines answers with lines of JSON, each on its way before the next.
func sendLines(t *testing.T, w http.ResponseWriter, lines ...any) {
	encoder := json.NewEncoder(w)
	for _, line := range lines {
		if err := encoder.Encode(line); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)

func aPlan() []config.Change {
	return []config.Change{
		{Action: config.NeedsRestart, Keys: []string{"listen.grpc"}},
		{Plugin: "duckdb", Action: config.Swapped, Keys: []string{"command", "secrets.token"}, Files: []string{"/etc/token"}},
		{Plugin: "hello", Action: config.Unchanged},
		{Plugin: "openai", Action: config.Added},
	}
}

func reloadHost(t *testing.T, lines ...any) string {
	return adminHost(t, map[string]http.HandlerFunc{"POST /reload": func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			t.Errorf("query %q, want none", r.URL.RawQuery)
		}
		sendLines(t, w, lines...)
	}})
}

func TestReloadTellsWhatChangedWhatStartedAndWhatFailed(t *testing.T) {
	address := reloadHost(t,
		admin.ReloadLine{Plan: aPlan()},
		admin.ReloadLine{Event: &admin.Event{Time: noon, Plugin: "duckdb", Generation: "3fa1b2", State: "starting", Cause: "the configuration\nchanged"}},
		admin.ReloadLine{Event: &admin.Event{Time: noon.Add(1500 * time.Millisecond), Plugin: "duckdb", Generation: "3fa1b2", State: "running", Was: "starting", Seconds: 1.5}},
		admin.ReloadLine{Report: &admin.ReloadReport{Plan: aPlan(), Plugins: []admin.PluginReload{
			{Name: "duckdb", Action: "swapped", State: "running", Seconds: 1.5},
			{Name: "hello", Action: "unchanged", State: "running"},
			{Name: "openai", Action: "started", State: "restarting", Error: "handshake: it printed nothing", Seconds: 61},
		}}},
	)
	got := agenthost(t, "reload", "--admin", address)
	wantOut := `host: needs restart: listen.grpc
duckdb: swapped: command, secrets.token (new content in /etc/token)
openai: added
1 plugin unchanged
12:00:00.000  duckdb 3fa1b2  starting: the configuration changed
12:00:01.500  duckdb 3fa1b2  running, was starting for 1.5s
duckdb: swapped after 1.5s, now running
reloaded: 1 swapped, 1 unchanged, 1 FAILED
`
	wantErr := "agenthost: openai: FAILED after 1m1s: handshake: it printed nothing\n  openai is restarting\n"
	if got.code != exitFailed || got.stdout != wantOut || got.stderr != wantErr {
		t.Errorf("code %d\nstdout:\n%s\nstderr:\n%s", got.code, got.stdout, got.stderr)
	}
}

func TestReloadThatWorkedEndsWithSuccess(t *testing.T) {
	address := reloadHost(t, admin.ReloadLine{Report: &admin.ReloadReport{
		Plan:    []config.Change{{Plugin: "a", Action: config.Updated, Keys: []string{"limits.rate"}}},
		Plugins: []admin.PluginReload{{Name: "a", Action: "updated", State: "running", Seconds: 0.0012}},
	}})
	got := agenthost(t, "reload", "--admin", address)
	if want := "a: updated: limits.rate\na: updated after 1ms, now running\nreloaded: 1 updated\n"; got.code != 0 || got.stdout != want || got.stderr != "" {
		t.Errorf("got %+v", got)
	}
}

func TestReloadShowsEventsWhileTheyHappen(t *testing.T) {
	shown := make(chan struct{})
	address := adminHost(t, map[string]http.HandlerFunc{"POST /reload": func(w http.ResponseWriter, r *http.Request) {
		sendLines(t, w, admin.ReloadLine{Event: &admin.Event{Time: noon, Plugin: "a", State: "starting"}})
		select {
		case <-shown: // the event is out before the reload is done
		case <-r.Context().Done():
		}
		sendLines(t, w, admin.ReloadLine{Report: &admin.ReloadReport{}})
	}})
	out := &watched{more: make(chan struct{}, 1)}
	code := make(chan int)
	go func() {
		code <- run(t.Context(), []string{"reload", "--admin", address}, strings.NewReader(""), out, out)
	}()
	out.await(t, "a  starting", 1)
	close(shown)
	if got := <-code; got != 0 {
		t.Errorf("code %d: %s", got, out)
	}
}

func TestReloadAsJSONIsTheReportAlone(t *testing.T) {
	report := admin.ReloadReport{Plan: aPlan(), Plugins: []admin.PluginReload{{Name: "a", Action: "swapped", Error: "no", Seconds: 1}}}
	address := reloadHost(t, admin.ReloadLine{Plan: aPlan()}, admin.ReloadLine{Event: &admin.Event{Plugin: "a"}}, admin.ReloadLine{Report: &report})
	got := agenthost(t, "reload", "--admin", address, "-o", "json")
	var read admin.ReloadReport
	if err := json.Unmarshal([]byte(got.stdout), &read); err != nil || got.code != exitFailed || got.stderr != "" || len(read.Plan) != 4 || read.Plugins[0].Error != "no" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestADryRunShowsThePlanAndDoesNothing(t *testing.T) {
	plan := aPlan()
	address := adminHost(t, map[string]http.HandlerFunc{"POST /reload": func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "dry_run=1" {
			t.Errorf("query %q: this would not be dry", r.URL.RawQuery)
		}
		sendLines(t, w, admin.ReloadLine{Report: &admin.ReloadReport{Plan: plan}})
	}})
	got := agenthost(t, "reload", "--admin", address, "--dry-run")
	got.expect(t, 0, "duckdb: swapped: command, secrets.token (new content in /etc/token)\nopenai: added\n1 plugin unchanged\n", "")
	if strings.Contains(got.stdout, "reloaded") {
		t.Errorf("it says that it reloaded:\n%s", got.stdout)
	}
	plan = []config.Change{{Plugin: "a", Action: config.Unchanged}, {Plugin: "b", Action: config.Unchanged}}
	agenthost(t, "reload", "--admin", address, "--dry-run").expect(t, 0, "2 plugins unchanged\nnothing would change\n", "")
}

func TestReloadOfABadConfigurationShowsEveryMistake(t *testing.T) {
	errs := config.Errors{
		{Source: "host.yaml", Line: 2, Key: "plugins.a.comand", Message: "unknown key; did you mean command?"},
		{Source: "host.yaml", Line: 3, Key: "log.level", Message: "expected info"},
	}
	address := reloadHost(t, admin.ReloadLine{Report: &admin.ReloadReport{Error: errs.Error(), Errors: errs}})
	got := agenthost(t, "reload", "--admin", address)
	got.expect(t, exitFailed, "", "agenthost: the host changed nothing: 2 errors in the configuration:\n  host.yaml:2: plugins.a.comand: unknown key; did you mean command?\n")
	if got.stdout != "" {
		t.Errorf("stdout: %s", got.stdout)
	}
}

func TestReloadThatBreaksOffIsAFailure(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"it closed the connection": func(w http.ResponseWriter, _ *http.Request) {
			sendLines(t, w, admin.ReloadLine{Plan: aPlan()})
		},
		"unexpected EOF": func(w http.ResponseWriter, _ *http.Request) {
			sendLines(t, w, admin.ReloadLine{Plan: aPlan()})
			panic(http.ErrAbortHandler)
		},
		"the host's answer is not understood": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			address := adminHost(t, map[string]http.HandlerFunc{"POST /reload": handler})
			agenthost(t, "reload", "--admin", address).expect(t, exitFailed, "", "broke off while it reloaded: "+name)
		})
	}
}

func TestReloadOfNobodySaysWhatToDo(t *testing.T) {
	agenthost(t, "reload", "--admin", adminHost(t, nil)).expect(t, exitFailed, "", "too old for this")
	busy := adminHost(t, map[string]http.HandlerFunc{"POST /reload": func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the host is stopping", http.StatusServiceUnavailable)
	}})
	agenthost(t, "reload", "--admin", busy).expect(t, exitFailed, "", "refuses (503 Service Unavailable): the host is stopping")
}

func TestAnInterruptedReloadSaysThatTheHostGoesOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := adminHost(t, map[string]http.HandlerFunc{"POST /reload": func(w http.ResponseWriter, r *http.Request) {
		sendLines(t, w, admin.ReloadLine{Plan: aPlan()})
		cancel()
		<-r.Context().Done()
	}})
	agenthostIn(t, ctx, "", "reload", "--admin", address).expect(t, exitInterrupted, "", "what the host has begun it will end")
}
