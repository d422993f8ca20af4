package page

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/history"
	"github.com/agenthost/agenthost/host/series"
	"github.com/agenthost/agenthost/test/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shownHost is a host that there is not, and its page.
type shownHost struct {
	*Page
	recorder *series.Recorder
	tallies  *series.Tallies

	mu     sync.Mutex
	status admin.Status
}

func newHost(plugins ...admin.PluginStatus) *shownHost {
	h := &shownHost{tallies: &series.Tallies{}}
	h.recorder = series.NewRecorder(h.tallies)
	h.status = admin.Status{Host: admin.HostStatus{Version: "1", Admin: "127.0.0.1:9090", Ready: true, Started: time.Now()}, Plugins: plugins}
	h.Page = New(Options{
		Status: func() admin.Status {
			h.mu.Lock()
			defer h.mu.Unlock()
			status := h.status
			status.Plugins = append([]admin.PluginStatus{}, status.Plugins...)
			return status
		},
		Series: h.recorder, Pending: func() map[string]int { return map[string]int{"a": 3} },
	})
	return h
}

// change changes what the host is doing, which is told as an event.
func (h *shownHost) change(change func(*admin.Status)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.status)
	h.happened.add(history.Event{})
}

func running(name string) admin.PluginStatus {
	return admin.PluginStatus{
		Name: name, State: "running", Since: time.Now(), Version: "1.2.3", Categories: []admin.Category{{Name: name + "_type"}},
		Generations: []admin.GenerationStatus{{ID: "0123456789ab", State: "running", Current: true, Percent: 100, Instances: []admin.InstanceStatus{{State: "running", PID: 7}}}},
	}
}

func (h *shownHost) get(t *testing.T, path string) (int, string) {
	t.Helper()
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer.Code, answer.Body.String()
}

func TestEveryStateHasAShape(t *testing.T) {
	_, text := newHost().get(t, "/")
	for _, state := range fleet.States {
		if !strings.Contains(text, `<symbol id="s-`+slug(string(state))+`"`) {
			t.Errorf("%s has no shape: layout.html draws them", state)
		}
	}
}

func TestWhatPluginsSayIsText(t *testing.T) {
	const script = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	p := running("a")
	p.Reason, p.Version, p.SDK, p.SwapError = script, script, script, script
	p.State = "crash-looping"
	p.Categories = []admin.Category{{Name: script}}
	p.NotServed = []admin.NotServed{{Name: script, Reason: script}}
	p.Generations[0].Version, p.Generations[0].Reason = script, script
	p.ChangedFiles, p.SecretErrors = []string{script}, []string{script}
	h := newHost(p)
	h.status.Host.ConfigError, h.status.Host.NotReady = script, script
	for _, path := range []string{"/", "/?q=" + url.QueryEscape(script), "/?state=" + url.QueryEscape(script), "/ui/plugins/a", "/ui/plugins/" + url.PathEscape(strings.ReplaceAll(script, "/", ""))} {
		_, text := h.get(t, path)
		if strings.Contains(text, "<script>alert") || strings.Contains(text, "<img") {
			t.Errorf("%s has what a plugin says as its own", path)
		}
		if !strings.Contains(text, "&lt;img src=x onerror=alert(1)&gt;") {
			t.Errorf("%s does not say it", path)
		}
	}
}

func TestEveryAnswerKeepsTheBrowserToTheHost(t *testing.T) {
	h := newHost(running("a"))
	for _, path := range []string{"/", "/ui/plugins/a", "/ui/plugins/none", "/?page=x", "/ui/assets/page.js?v=" + assetVersion, "/ui/assets/page.css"} {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		policy := answer.Header().Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy has no %s: %s", path, part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || answer.Header().Get("X-Frame-Options") != "DENY" || answer.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, answer.Header())
		}
		text := answer.Body.String()
		for _, wrong := range []string{" style=", " onclick=", "javascript:", "https://", "http://"} {
			if strings.Contains(text, wrong) && !strings.HasPrefix(path, "/ui/assets") {
				t.Errorf("%s has %q", path, wrong)
			}
		}
	}
}

func many(n int) []admin.PluginStatus {
	var all []admin.PluginStatus
	for i := range n {
		p := running(fmt.Sprintf("a-plugin-with-a-name-%03d", i))
		if i%50 == 7 {
			p.State, p.Reason = "crash-looping", strings.Repeat("it ended with exit code 1 ", 100)
		}
		for g := range 3 {
			oldest := time.Now().Add(-time.Duration(i) * time.Minute)
			p.Jobs = append(p.Jobs, admin.JobsStatus{Generation: fmt.Sprintf("%012d", g), Running: 1_000 - 333*g, Oldest: &oldest, Saved: map[string]int{"G5": i, "G12": 7, "G14": 99}})
		}
		all = append(all, p)
	}
	return all
}

// busy has all plugins called, with figures that are all different, for ten minutes.
func (h *shownHost) busy() {
	var gauges []series.Gauge
	for _, p := range h.status.Plugins {
		gauges = append(gauges, series.Gauge{Plugin: p.Name, MemoryBytes: 123 << 20, InFlight: 3})
	}
	at := time.Now()
	for i := range stepsShown {
		for n, g := range gauges {
			for j := range 1 + (n*7919+i*i*31)%17 {
				h.tallies.Of(g.Plugin).Add(time.Duration(1+(i*37+n)%900)*time.Millisecond, j == 3)
			}
		}
		h.recorder.Sample(at.Add(time.Duration(i)*series.Every), gauges)
	}
}

func TestAPageOf500PluginsIsSmallAndHasAllOfThemInPages(t *testing.T) {
	h := newHost(many(500)...)
	h.busy()
	seen := map[string]bool{}
	path, pages := "/", 0
	for path != "" {
		code, text := h.get(t, path)
		if code != http.StatusOK || len(text) > 200<<10 {
			t.Fatalf("%s: %d, %d bytes", path, code, len(text))
		}
		pages++
		for _, p := range h.status.Plugins {
			if strings.Contains(text, `<tr id="p-`+p.Name+`">`) {
				seen[p.Name] = true
			}
		}
		_, next, _ := strings.Cut(text, `<a rel="next" href="`)
		path, _, _ = strings.Cut(next, `"`)
		path = strings.ReplaceAll(path, "&amp;", "&")
		t.Logf("page %d: %d bytes", pages, len(text))
	}
	if len(seen) != 500 || pages != 10 {
		t.Errorf("%d plugins on %d pages", len(seen), pages)
	}
	_, text := h.get(t, "/?state=trouble&q=NAME-05")
	if strings.Count(text, `<tr id="p-`) != 1 || !strings.Contains(text, "name-057") {
		t.Errorf("those in trouble with 05 in their names: %d", strings.Count(text, `<tr id="p-`))
	}
}

func TestAddressesThatLeadNowhereAreNotFound(t *testing.T) {
	h := newHost(running("a"))
	for _, path := range []string{"/?page=0", "/?page=-1", "/?page=x", "/?page=99999999999999999999", "/?q=" + strings.Repeat("a", 101), "/ui/plugins/none", "/ui/plugins/" + strings.Repeat("a", 101)} {
		if code, _ := h.get(t, path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, text := h.get(t, "/?page=1000000"); code != http.StatusOK || strings.Contains(text, `<tr id="p-`) {
		t.Errorf("a page beyond the last: %d", code)
	}
}

// looker is a browser that is told of changes.
type looker struct {
	changes chan [2]string
	ended   chan struct{}
}

// look looks at a page from what it is now.
func look(t *testing.T, server *httptest.Server, path string) *looker {
	t.Helper()
	response, err := server.Client().Get(server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var whole strings.Builder
	if _, err := bufio.NewReader(response.Body).WriteTo(&whole); err != nil {
		t.Fatal(err)
	}
	_, since, _ := strings.Cut(whole.String(), `data-since="`)
	since, _, _ = strings.Cut(since, `"`)
	l, code := lookSince(t, server, path, since)
	if code != http.StatusOK {
		t.Fatalf("%s: %d", path, code)
	}
	return l
}

func lookSince(t *testing.T, server *httptest.Server, path, since string) (*looker, int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/ui/live?since="+since+"&of="+url.QueryEscape(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request) //nolint:bodyclose // the goroutine closes it
	if err != nil {
		t.Fatal(err)
	}
	l := &looker{changes: make(chan [2]string, 1000), ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var changes [][2]string
				if json.Unmarshal([]byte(data), &changes) != nil {
					return
				}
				for _, c := range changes {
					l.changes <- c
				}
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-l.ended })
	return l, response.StatusCode
}

func (l *looker) until(t *testing.T, id, text string) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case c := <-l.changes:
			if c[0] == id && strings.Contains(c[1], text) {
				return
			}
		case <-timeout:
			t.Fatalf("%s does not become %q", id, text)
		}
	}
}

func TestWhatChangesIsToldToWhoLooksAndNothingElse(t *testing.T) {
	h := newHost(running("a"), running("b"))
	server := httptest.NewServer(h)
	t.Cleanup(server.Close) // after those who look
	first, second, other := look(t, server, "/"), look(t, server, "/"), look(t, server, "/ui/plugins/b")
	h.change(func(s *admin.Status) { s.Plugins[0].State = "restarting" })
	for _, l := range []*looker{first, second} {
		l.until(t, "p-a", "restarting")
	}
	h.change(func(s *admin.Status) { s.Plugins[1].Version = "9.9.9" })
	for _, l := range []*looker{first, second} {
		l.until(t, "p-b", "9.9.9")
	}
	other.until(t, "state", "9.9.9")
	for _, l := range []*looker{first, second, other} {
		for len(l.changes) > 0 {
			if c := <-l.changes; c[0] == "host" || c[0] == "p-a" || c[0] == "categories" {
				t.Errorf("told of what has not changed: %s", c[0])
			}
		}
	}
	h.change(func(s *admin.Status) { s.Plugins = s.Plugins[:1] })
	first.until(t, "plugins", "p-a")
}

func TestWhoComesBackIsToldWhatHeMissed(t *testing.T) {
	h := newHost(running("a"))
	server := httptest.NewServer(h)
	t.Cleanup(server.Close) // after those who look
	_, text := h.get(t, "/")
	_, since, _ := strings.Cut(text, `data-since="`)
	since, _, _ = strings.Cut(since, `"`)
	h.change(func(s *admin.Status) { s.Plugins[0].State = "stopped" })
	wait.Until(t, "the page has it", func() bool { _, text := h.get(t, "/"); return strings.Contains(text, "stopped") })
	l, _ := lookSince(t, server, "/", since)
	l.until(t, "p-a", "stopped")
	l, _ = lookSince(t, server, "/", "1") // of another life of the host
	l.until(t, "host", "Ready")
}

func TestViewersAndViewsAreBounded(t *testing.T) {
	h := newHost(running("a"))
	server := httptest.NewServer(h)
	t.Cleanup(server.Close) // after those who look
	for range maxViewers {
		look(t, server, "/")
	}
	if _, code := lookSince(t, server, "/", "1"); code != http.StatusServiceUnavailable {
		t.Errorf("one more: %d", code)
	}
	for i := range 10 * maxViews {
		h.get(t, fmt.Sprintf("/?q=%d", i))
	}
	h.live.mu.Lock()
	defer h.live.mu.Unlock()
	if len(h.live.views) > maxViews || h.live.views["/"] == nil {
		t.Errorf("%d views, that which is looked at: %v", len(h.live.views), h.live.views["/"] != nil)
	}
}

// stuck is a browser that reads nothing.
type stuck struct {
	http.ResponseWriter
	deadline chan time.Time
}

func (s *stuck) SetWriteDeadline(at time.Time) error { s.deadline <- at; return nil }

func (s *stuck) Write([]byte) (int, error) {
	return 0, fmt.Errorf("i/o timeout at %v", <-s.deadline)
}

func TestASlowReaderHoldsNobodyUp(t *testing.T) {
	h := newHost(running("a"))
	server := httptest.NewServer(h)
	t.Cleanup(server.Close) // after those who look
	slow := &stuck{httptest.NewRecorder(), make(chan time.Time)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.ServeHTTP(slow, httptest.NewRequest(http.MethodGet, "/ui/live?of=/&since=1", nil))
	}()
	l := look(t, server, "/")
	h.change(func(s *admin.Status) { s.Plugins[0].State = "stopped" })
	l.until(t, "p-a", "stopped")
	at := <-slow.deadline // it has a deadline,
	slow.deadline <- at   // which passes
	<-ended
}

func TestLookingCostsAShareOfTheTime(t *testing.T) {
	now := time.Now()
	b := newBudget(now)
	spent := time.Duration(0)
	for at := now; at.Before(now.Add(time.Hour)); {
		b.spend(20 * time.Millisecond)
		spent += 20 * time.Millisecond
		at = at.Add(max(gather, b.wait(at)))
	}
	if most := costBurst + time.Duration(float64(time.Hour)*costShare) + 40*time.Millisecond; spent > most {
		t.Errorf("%v an hour, more than %v", spent, most)
	}
	if b := newBudget(now); b.wait(now) != 0 {
		t.Error("the first has to wait")
	}
}

func TestAChangeIsToldSoonWhereLookingTakesLongByTheClockAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(running("a"))
		quick := h.options.Status
		h.options.Status = func() admin.Status {
			time.Sleep(50 * time.Millisecond) // others have the processors
			return quick()
		}
		v, err := h.live.view(&url.URL{Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		one, ok := h.live.join(v, 0)
		if !ok {
			t.Fatal("nobody may look")
		}
		defer h.live.leave(one)
		for i := range 20 {
			state := []fleet.State{fleet.Draining, fleet.Restarting}[i%2]
			time.Sleep(time.Second)
			h.change(func(s *admin.Status) { s.Plugins[0].State = string(state) })
			changed := time.Now()
			for told := ""; !strings.Contains(told, string(state)); told = h.live.news(one) {
				<-one.wake
			}
			if took := time.Since(changed); took > time.Second {
				t.Fatalf("change %d was told after %v", i, took)
			}
		}
	})
}

func TestWhatHasHappenedIsATimelineAndAList(t *testing.T) {
	h := newHost(running("a"), running("b"))
	now := time.Now()
	for i, e := range []history.Event{
		{State: "swapped", Plugin: "a", Time: now.Add(-2 * time.Hour)}, {State: "swapped", Plugin: "a", Generation: "0123456789"}, {State: "swapped", Plugin: "b"}, {State: "crash-looping", Plugin: "b", Cause: "<b>no</b>"},
		{State: "running", Plugin: "b"}, {State: history.Asked("restart"), Plugin: "b", By: "token ci"},
		{State: history.Reloaded, By: "SIGHUP", Changes: []config.Change{{Plugin: "a", Action: config.Swapped, Keys: []string{"env.X"}}, {Plugin: "b", Action: config.Unchanged}}},
	} {
		if e.Time.IsZero() {
			e.Time = now.Add(time.Duration(i-10) * time.Minute)
		}
		h.happened.add(e)
	}
	_, text := h.get(t, "/")
	for _, want := range []string{"last hour: swap 2, crash 1, operator 1, host 1", "by token ci", "&lt;b&gt;no&lt;/b&gt;", "env.X"} {
		if !strings.Contains(text, want) {
			t.Errorf("the overview has no %q", want)
		}
	}
	_, text = h.get(t, "/ui/plugins/a")
	for _, want := range []string{"last hour: swap 1, host 1", "env.X", "by SIGHUP"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page of a has no %q", want)
		}
	}
	if strings.Contains(text, "crash-looping</span>") {
		t.Error("the page of a has what happened to b")
	}
	for range 3 * maxHappened {
		h.happened.add(history.Event{Time: now})
	}
	if n := len(h.happened.now()); n != maxHappened || len(h.happened.events) > 2*maxHappened {
		t.Errorf("%d events", n)
	}
}

func TestACanaryIsComparedWithTheCurrentGeneration(t *testing.T) {
	p := running("a")
	p.Rollout = &admin.RolloutStatus{
		Percent: 10, Since: time.Now(), Canary: admin.RolloutSide{Generation: "canary", Calls: admin.CallStatus{Calls: 10}}, Current: admin.RolloutSide{Generation: "current", Calls: admin.CallStatus{Calls: 100}},
	}
	h := newHost(p)
	if _, text := h.get(t, "/ui/plugins/a"); !strings.Contains(text, "Too few calls to tell: the canary has had 10") {
		t.Error("it is told of few calls")
	}
	p.Rollout.Canary.Calls = admin.CallStatus{Calls: 1000, Errors: 50, ErrorRate: .05, P50Seconds: .2}
	p.Rollout.Current.Calls = admin.CallStatus{Calls: 9000, Errors: 90, ErrorRate: .01, P50Seconds: .1}
	if _, text := newHost(p).get(t, "/ui/plugins/a"); !strings.Contains(text, "4 points more errors than the current generation, and its median call takes 2 × as long") {
		t.Error("the difference is not told")
	}
}

func TestWhatWaitsIsToldWithWhatItWaitsFor(t *testing.T) {
	p := running("a")
	p.Waiting = []admin.Waiting{{On: "concurrency", Calls: 7, OldestSeconds: 63}}
	h := newHost(p)
	_, overview := h.get(t, "/")
	_, own := h.get(t, "/ui/plugins/a")
	if !strings.Contains(overview, "7 wait") || !strings.Contains(own, "a place within limits.concurrency") {
		t.Error("it is not told")
	}
}

func TestJobsAreToldByPluginAndGeneration(t *testing.T) {
	a, b := running("a"), running("b")
	oldest := time.Now().Add(-3 * time.Hour).Truncate(time.Second)
	a.Jobs = []admin.JobsStatus{{Generation: "0123456789ab", Running: 999_000, Oldest: &oldest, Saved: map[string]int{"G5": 17}}, {Generation: "former generation", Saved: map[string]int{"G14": 2}}}
	b.Jobs = []admin.JobsStatus{{Generation: "ba9876543210", Running: 1_000}}
	h := newHost(a, b, running("c"))
	_, all := h.get(t, "/")
	for _, want := range []string{`<td><code>01234567</code></td><td class="number">` + count(999_000) + `</td>`, iso(oldest), `title="last known status">G5 17<`, count(1_000_000) + " in all"} {
		if !strings.Contains(all, want) {
			t.Errorf("the overview has no %q", want)
		}
	}
	if strings.Contains(all, "G14 2") {
		t.Error("the overview has a generation without jobs that run")
	}
	_, own := h.get(t, "/ui/plugins/a")
	for _, want := range []string{`<th scope="row"><code>01234567</code></th><td class="number">` + count(999_000) + `</td>`, `title="thinned polls">G14 2<`, count(999_000) + " in all"} {
		if !strings.Contains(own, want) {
			t.Errorf("the page of a has no %q", want)
		}
	}
	if _, other := h.get(t, "/ui/plugins/c"); strings.Contains(other, "Jobs that run") {
		t.Error("jobs are shown of a plugin that has none")
	}
}

func TestThePageOfAPluginHasItsConfiguration(t *testing.T) {
	h := newHost(running("a"))
	h.options.Keys = func(plugin string) []config.ShownKey {
		keys := []config.ShownKey{{Key: plugin + ".wait", Value: "30s", Origin: "host.yaml:12"}, {Key: "env.<b>", Origin: "command line"}}
		for i := range keysShown {
			keys = append(keys, config.ShownKey{Key: fmt.Sprint("key", i)})
		}
		return keys
	}
	_, text := h.get(t, "/ui/plugins/a")
	for _, want := range []string{`<code>a.wait</code></th><td><code>30s</code></td><td class="low said">host.yaml:12<`, `<code>env.&lt;b&gt;</code></th><td><span class="dim">set</span>`, "and 2 more"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

func TestFiguresAreShort(t *testing.T) {
	for got, want := range map[string]string{
		inBytes(0): "0", inBytes(1 << 20): "1 MiB", inBytes(1536 << 20): "1.5 GiB", inRate(0.24): "0.2/s", inRate(12345.6): "12\u202f346/s", inSeconds(0): "–",
		inSeconds(.0005): "500 µs", inSeconds(.0123): "12 ms", inSeconds(1.5): "1.5 s", inSeconds(600): "10 min", count(1234567): "1\u202f234\u202f567", count(-1): "-1",
		forHowLong(time.Second): "now", forHowLong(90 * time.Second): "90 s", forHowLong(3 * time.Hour): "3 h", forHowLong(72 * time.Hour): "3 d", cut(3, "abcd"): "abc…", cut(3, "abé"): "ab…",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAChartHasItsFiguresAsText(t *testing.T) {
	c := spark("calls", []float64{1, 2, 9, 3}, []float64{0, 0, 1, 0}, inRate)
	if c.Label != "calls: now 3/s, at most 9/s in 10 minutes" || c.Line == "" || c.Second == "" {
		t.Errorf("%+v", c)
	}
	if c := spark("calls", nil, nil, inRate); c.Line != "" || !strings.Contains(c.Label, "nothing is known yet") {
		t.Errorf("%+v", c)
	}
	if level := wide("x", make([]float64, stepsShown), nil, inRate); strings.Count(level.Line, "L") != 1 {
		t.Errorf("a level line is %s", level.Line)
	}
}

// BenchmarkLooking is what a host of 500 busy plugins spends on those who look, for a minute of six looks: one of them, and with each
// more.
func BenchmarkLooking(b *testing.B) {
	for _, viewers := range []int{1, maxViewers} {
		b.Run(fmt.Sprintf("%d viewers", viewers), func(b *testing.B) {
			h := newHost(many(500)...)
			h.busy()
			var looking []*viewer
			for i := range viewers {
				at, err := url.Parse(fmt.Sprintf("/?page=%d", 1+i%2)) // half of them at another page
				if err != nil {
					b.Fatal(err)
				}
				v, err := h.live.view(at)
				if err != nil {
					b.Fatal(err)
				}
				one := &viewer{of: v, wake: make(chan struct{}, 1)}
				h.live.viewers[one] = struct{}{}
				looking = append(looking, one)
			}
			gauges := make([]series.Gauge, 0, 500)
			for _, p := range h.status.Plugins {
				gauges = append(gauges, series.Gauge{Plugin: p.Name, MemoryBytes: 123 << 20})
			}
			sent, at := 0, time.Now()
			for n := 0; b.Loop(); n++ {
				for step := range 12 / samplesTold {
					b.StopTimer()
					for i, g := range gauges {
						for j := range 1 + (i*7919+n*step*31)%17 {
							h.tallies.Of(g.Plugin).Add(time.Duration(1+(step*37+i)%900)*time.Millisecond, j == 3)
						}
					}
					at = at.Add(series.Every)
					h.recorder.Sample(at, gauges)
					b.StartTimer()
					h.live.tick()
					for _, one := range looking {
						sent += len(h.live.news(one))
					}
				}
			}
			perMinute := b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric(1e3*perMinute/float64(viewers), "ms/minute/viewer")
			b.ReportMetric(float64(sent)/float64(b.N*viewers*12/samplesTold)/1024, "KiB/look/viewer")
		})
	}
}
