package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agenthost/agenthost/host/admin"
)

func TestWhatIsWaitedForIsNamedWithItsTime(t *testing.T) {
	of := func(n int) (waits admin.Waits) {
		for _, name := range []string{"a", "b", "c", "d", "e", "f"}[:n] {
			waits.Plugins = append(waits.Plugins, admin.WaitedFor{Name: name, State: "starting"})
		}
		waits.Seconds = 12.4
		return waits
	}
	pulling := of(1)
	pulling.LimitSeconds, pulling.Plugins[0].Pulling = 60, "3 MiB of 9 MiB"
	for want, waits := range map[string]admin.Waits{
		"waiting for the new host, 12s":                                                           of(0),
		"waiting for a (pulling 3 MiB of 9 MiB), 12s of up to 1m0s":                               pulling,
		"waiting for a (starting), b (starting), c (starting), d (starting), 2 plugins more, 12s": of(6),
	} {
		if got := waitingText(waits); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
}

func TestWhereNobodyWatchesALineComesNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := newWaitingLine(&out)
		stop := w.during("starting slow", time.Minute)
		time.Sleep(35*time.Second + time.Millisecond)
		stop()
		const want = "starting slow, 10s of up to 1m0s\nstarting slow, 20s of up to 1m0s\nstarting slow, 30s of up to 1m0s\n"
		if out.String() != want {
			t.Errorf("it says %q", out.String())
		}
		var none *waitingLine
		none.show(admin.Waits{})
		none.clear()
	})
}

func TestOnATerminalTheLineIsRewrittenAndTakenAway(t *testing.T) {
	var out bytes.Buffer
	w := &waitingLine{out: &out, inPlace: true}
	w.clear()
	w.show(admin.Waits{Seconds: 1, Plugins: []admin.WaitedFor{{Name: "a\x1b[2J", State: "starting"}}})
	w.show(admin.Waits{Seconds: 2})
	w.clear()
	w.clear()
	const want = "\rwaiting for a\\u001b[2J (starting), 1s\x1b[K\rwaiting for the new host, 2s\x1b[K\r\x1b[K"
	if out.String() != want {
		t.Errorf("it writes %q, want %q", out.String(), want)
	}
}

func TestAReloadIsNotDisturbedByWhatIsWaitedFor(t *testing.T) {
	address := adminHost(t, map[string]http.HandlerFunc{"POST /reload": func(w http.ResponseWriter, _ *http.Request) {
		sendLines(t, w, admin.ReloadLine{Waits: &admin.Waits{Seconds: 1}}, admin.ReloadLine{Report: &admin.ReloadReport{}})
	}})
	got := agenthost(t, "reload", "--admin", address, "-o", "json")
	var report admin.ReloadReport
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.code != 0 || got.stderr != "" {
		t.Errorf("%v: %+v", err, got)
	}
	if got := agenthost(t, "reload", "--admin", address); got.code != 0 || !strings.Contains(got.stdout, "reloaded") || strings.Contains(got.stdout+got.stderr, "waiting") {
		t.Errorf("after a second: %+v", got)
	}
}

func TestASparklineShowsTheLastMinute(t *testing.T) {
	for want, values := range map[string][]float64{"-": nil, "▁▁ 0.0": {0, 0}, "▁▂▅█ 8.0": {0, 0.1, 4, 8}, "█▁ 0.0": {2, 0}} {
		if got := sparkline(values); got != want {
			t.Errorf("%v is drawn as %s, want %s", values, got, want)
		}
	}
	got := renderStatus(admin.Status{Plugins: []admin.PluginStatus{{Name: "a"}}}, map[string][]float64{"a": {1, 2}})
	if !strings.Contains(got, "CALLS/S") || !strings.Contains(got, "▅█ 2.0") {
		t.Errorf("the status is\n%s", got)
	}
}
