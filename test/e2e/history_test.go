package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	hostadmin "github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

// eventsOf are the events of a host, as its command gives them.
func eventsOf(t *testing.T, address string, args ...string) (events []hostadmin.Event) {
	t.Helper()
	command := exec.CommandContext(t.Context(), hosttest.Program("agenthost"), append([]string{"events", "--admin", address, "-o", "json"}, args...)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("agenthost events: %v\n%s", err, stderr.String())
	}
	for line := range bytes.Lines(out) {
		var e hostadmin.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		events = append(events, e)
	}
	return events
}

// awaitEvent waits for an event.
func awaitEvent(t *testing.T, address, what string, is func(hostadmin.Event) bool) (found hostadmin.Event) {
	t.Helper()
	wait.Until(t, what, func() bool {
		for _, e := range eventsOf(t, address) {
			if is(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// hasState says that an event is of a plugin (empty: the host) and has a state.
func hasState(plugin, state string) func(hostadmin.Event) bool {
	return func(e hostadmin.Event) bool { return e.Plugin == plugin && e.State == state }
}

func helloWith(settings map[string]any) map[string]any {
	entry := hosttest.Plugin("hello")
	for key, value := range settings {
		entry[key] = value
	}
	return map[string]any{"hello": entry}
}

func TestWhatHappenedIsKnownAfterTheHostWasKilled(t *testing.T) {
	h := hosttest.Start(t, map[string]any{"plugins": helloWith(nil)})
	first := h.PID()
	awaitEvent(t, h.Admin(), "hello is running", hasState("hello", "running"))
	h.Kill(t)
	h.Restart(t)

	var told []string
	for _, e := range eventsOf(t, h.Admin()) {
		if e.Plugin == "" {
			told = append(told, fmt.Sprint(e.State, " ", e.Host == first))
		}
	}
	const want = "host started true, host ready true, host lost true, host started false, host ready false"
	if got := strings.Join(told, ", "); got != want {
		t.Errorf("of the host it tells: %s", got)
	}
	if got := eventsOf(t, h.Admin(), "--plugin", "hello"); len(got) < 2 || got[0].Host != first {
		t.Errorf("of hello it tells %+v", got)
	}
	if got := eventsOf(t, h.Admin(), "--plugin", "nobody"); len(got) > 0 {
		t.Errorf("of nobody it tells %+v", got)
	}
}

func TestWhatHappenedIsKnownAfterAnUpgrade(t *testing.T) {
	u := startUpgradable(t)
	address, first := u.Admin(), u.PID()
	if _, worked := u.upgrade(t); !worked {
		t.FailNow()
	}
	next := hostPID(address)
	awaitEvent(t, address, "the old host has stopped", func(e hostadmin.Event) bool { return e.State == "host stopped" && e.Host == first })
	var told []string
	by := ""
	for _, e := range eventsOf(t, address) {
		if e.Plugin != "" || e.State == "host ready" || e.State == "host stopping" { // the two do this side by side
			continue
		}
		if e.State == "handed over" {
			by = e.By
		}
		told = append(told, fmt.Sprint(e.State, " by ", map[int]string{first: "first", next: "next"}[e.Host]))
	}
	for _, one := range []string{"host started by first", "upgrade asked for by first", "host started by next", "taken over by next", "handed over by first", "host stopped by first"} {
		if strings.Count(strings.Join(told, ", "), one) != 1 {
			t.Errorf("it does not tell once that %s: %s", one, strings.Join(told, ", "))
		}
	}
	if !strings.Contains(by, fmt.Sprintf("of user %d", os.Geteuid())) && !strings.Contains(by, "with token") {
		t.Errorf("the upgrade was asked for by %q", by)
	}
}

func TestTheHistorySaysWhoDidIt(t *testing.T) {
	const secret = "hunter2-of-the-environment"
	h := hosttest.Start(t, map[string]any{"plugins": helloWith(nil)})
	changed := func(plugin, key string) func(hostadmin.Event) bool {
		return func(e hostadmin.Event) bool {
			return e.State == "reloaded" && len(e.Changes) == 1 && e.Changes[0].Plugin == plugin && strings.Join(e.Changes[0].Keys, " ") == key
		}
	}

	h.Write(t, helloWith(map[string]any{"env": map[string]any{"PASSWORD": secret}}))
	if e := awaitEvent(t, h.Admin(), "the file is taken up", changed("hello", "env.PASSWORD")); e.By != "a changed file" {
		t.Errorf("it was %q", e.By)
	}

	if err := syscall.Kill(h.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if e := awaitEvent(t, h.Admin(), "SIGHUP is taken up", func(e hostadmin.Event) bool { return e.By == "SIGHUP" }); e.State != "reloaded" || e.Cause != "nothing has changed" {
		t.Errorf("of SIGHUP it tells %+v", e)
	}

	run := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), hosttest.Program("agenthost"), append(args, "--admin", h.Admin())...).CombinedOutput(); err != nil {
			t.Fatalf("agenthost %v: %v\n%s", args, err, out)
		}
	}
	run("reload")
	asked := func(state string) func(hostadmin.Event) bool {
		return func(e hostadmin.Event) bool { return e.State == state && strings.Contains(e.By, "of the host's user") }
	}
	awaitEvent(t, h.Admin(), "who has reloaded is known", asked("reloaded"))
	for _, operation := range []string{"restart", "stop", "start"} {
		run(operation, "hello")
		if e := awaitEvent(t, h.Admin(), "who did it is known", asked(operation+" asked for")); e.Plugin != "hello" {
			t.Errorf("of %s it tells %+v", operation, e)
		}
	}

	h.Write(t, map[string]any{"hello": map[string]any{"command": []string{hosttest.Program("hello")}, "env": map[string]any{"PASSWORD": secret}, "comand": secret}})
	refused := awaitEvent(t, h.Admin(), "the broken file is told of", hasState("", "reload refused"))
	if !strings.Contains(refused.Cause, "plugins.hello.comand") || !strings.Contains(refused.Cause, h.Config()) || refused.By != "a changed file" {
		t.Errorf("of the broken file it tells %+v", refused)
	}
	if all := h.Ask(t, "/events?since="+url.QueryEscape("1h")); strings.Contains(all, secret) {
		t.Errorf("the history holds a value:\n%s", all)
	}
}
