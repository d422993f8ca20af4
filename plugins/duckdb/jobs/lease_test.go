package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
)

// A process that renews its sign in time is never declared gone, however the clocks of others stand, and whenever they look. One that
// ends is, by whoever looks often enough.
func TestAProcessIsGoneOnlyAfterALeaseWithoutASign(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const lease = 20 * time.Second
		step := rapid.IntRange(0, 12_000)
		w := newWitness()
		// The witness's clock is off by years; only differences count.
		skew := time.Duration(rapid.Int64Range(-1e17, 1e17).Draw(t, "skew"))
		var now, arrived time.Duration
		beat := uint64(1)
		at := func(d time.Duration) time.Time { return time.Unix(0, 0).Add(d + skew) }
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += time.Duration(step.Draw(t, "pause")) * time.Millisecond
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				beat, arrived = beat+1, now
			case 2:
				w.blind("p")
			default:
				from := now
				now += time.Duration(step.Draw(t, "reading")/10) * time.Millisecond
				if gone := w.looked("p", sign{Process: "p", Beat: beat}, lease, at(from), at(now)); gone && from-arrived < lease {
					t.Fatalf("declared gone %s after its last sign", from-arrived)
				}
			}
		}
		limit := now + 2*lease
		for !w.looked("p", sign{Process: "p", Beat: beat}, lease, at(now), at(now)) {
			if now += lease / 8; now > limit {
				t.Fatalf("not gone %s after its end", now-arrived)
			}
		}
	})
}

// event is what happens to one of the processes, or is asked of it.
type event struct {
	after   time.Duration
	process int
	what    string
	job     string
}

var happenings = []string{"submit", "submit", "submit", "cancel", "abandon", "stop", "resume", "resume", "away", "lose", "crash", "close", "start"}

func events(t *rapid.T) []event {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event {
		return event{
			after:   time.Duration(rapid.IntRange(0, 15_000).Draw(t, "after")) * time.Millisecond,
			process: rapid.IntRange(0, 2).Draw(t, "process"),
			what:    rapid.SampledFrom(happenings).Draw(t, "what"),
			job:     fmt.Sprint("job", rapid.IntRange(0, 3).Draw(t, "job")),
		}
	}), 1, 25).Draw(t, "events")
}

// world is three processes with one store.
type world struct {
	t       *testing.T
	objects *memory
	stores  [3]*Store
	lines   [3]*line
	asked   sync.WaitGroup

	mu        sync.Mutex
	wrong     []string
	ends      map[string]Status
	submitted map[string]bool
	runs      map[string]bool
}

func (w *world) wrongf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

func (w *world) start(n int) {
	l := &line{Objects: w.objects}
	options := Options{Objects: l, Lease: 20 * time.Second, Concurrent: 4, Attempts: 100, Work: func(ctx context.Context, id string, _ []byte, report *Reporter) ([]byte, error) {
		run := fmt.Sprint(id, " run ", report.Run())
		w.mu.Lock()
		if w.runs[run] {
			w.wrong = append(w.wrong, run+" was begun twice")
		}
		w.runs[run] = true
		w.mu.Unlock()
		report.Progress(50, 1)
		select {
		case <-time.After(7 * time.Second):
			return []byte(run), nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}}
	store, err := Open(w.t.Context(), options)
	if err != nil {
		w.wrongf("process %d does not start: %v", n, err)
		return
	}
	w.stores[n], w.lines[n] = store, l
}

// halt ends a process: in good order, or as a crash does as far as others see it.
func (w *world) halt(n int, crash bool) {
	store, l := w.stores[n], w.lines[n]
	w.stores[n], w.lines[n] = nil, nil
	if crash {
		l.setAway()
		l.resumeAway()
	} else {
		l.resume()
	}
	store.Close()
}

// resumeAway has what waits fail.
func (l *line) resumeAway() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = true
	if l.cut != nil {
		close(l.cut)
		l.cut = nil
	}
}

// look polls a job at a process, and holds what it says to what was said before.
func (w *world) look(store *Store, id string) {
	w.mu.Lock()
	end, ended := w.ends[id] // before the poll began
	w.mu.Unlock()
	status, err := store.Status(w.t.Context(), id)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case ended && (end.State != status.State || string(end.Result) != string(status.Result)):
		w.wrong = append(w.wrong, fmt.Sprintf("%s was %s (%s), and is %s (%s)", id, end.State, end.Result, status.State, status.Result))
	case status.State.Ended():
		w.ends[id] = status
	}
}

func (w *world) apply(e event) {
	store, l := w.stores[e.process], w.lines[e.process]
	if store == nil {
		if e.what == "start" {
			w.start(e.process)
		}
		return
	}
	switch e.what {
	case "submit":
		w.asked.Go(func() {
			if store.Submit(w.t.Context(), e.job, []byte(e.job)) == nil {
				w.mu.Lock()
				w.submitted[e.job] = true
				w.mu.Unlock()
			}
		})
	case "cancel":
		w.asked.Go(func() {
			if store.Cancel(w.t.Context(), e.job) == nil {
				w.look(store, e.job)
			}
		})
	case "abandon":
		w.asked.Go(func() {
			if store.Abandon(w.t.Context(), e.job) == nil && !errors.Is(store.Find(w.t.Context(), e.job), ErrAbandoned) && l.whole() {
				w.wrongf("%s was abandoned, and is not", e.job)
			}
		})
	case "stop":
		l.stop()
	case "resume":
		l.resume()
	case "away":
		l.setAway()
	case "lose":
		l.loseAnswers(2)
	case "crash":
		w.halt(e.process, true)
	case "close":
		w.halt(e.process, false)
	}
}

func (l *line) whole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut == nil && !l.away
}

// Whatever happens to three processes that share a bucket: how a job has ended, all say alike and for ever; no two runs have one
// number; and once there is peace, each job that was promised ends.
func TestJobsInABucketEndOnceWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		schedule := events(rt)
		var wrong []string
		synctest.Test(t, func(t *testing.T) { wrong = live(t, schedule) })
		if len(wrong) > 0 {
			rt.Fatalf("%s", strings.Join(wrong, "\n"))
		}
	})
}

func live(t *testing.T, schedule []event) []string {
	w := &world{t: t, objects: newMemory(), ends: map[string]Status{}, submitted: map[string]bool{}, runs: map[string]bool{}}
	for n := range w.stores {
		w.start(n)
	}
	for _, e := range schedule {
		time.Sleep(e.after)
		for _, store := range w.stores {
			if store != nil {
				w.asked.Go(func() { w.look(store, e.job) })
			}
		}
		w.apply(e)
	}
	// Peace.
	for n := range w.stores {
		if w.stores[n] == nil {
			w.start(n)
		} else {
			w.lines[n].resume()
		}
	}
	w.asked.Wait()
	time.Sleep(5 * time.Minute)
	for id := range w.submitted {
		for _, store := range w.stores {
			w.look(store, id)
		}
		if _, ended := w.ends[id]; !ended {
			status, err := w.stores[0].Status(t.Context(), id)
			w.wrongf("%s was promised, and is %+v, %v", id, status, err)
		}
	}
	if open := w.objects.keys(openKey); len(open) > 0 {
		w.wrongf("still open: %v", open)
	}
	for n := range w.stores {
		w.halt(n, false)
	}
	return w.wrong
}

// What a job costs in a bucket is what README says.
func TestWhatAJobInABucketCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := newMemory()
		minute := func(ctx context.Context, _ string, _ []byte, _ *Reporter) ([]byte, error) {
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
			}
			return nil, nil
		}
		store, err := Open(t.Context(), Options{Objects: objects, Work: minute})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		objects.count()
		// Idle for a minute before the next pruning.
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if n := objects.count(); n["list"] != 5 || n["put"]+n["get"]+n["delete"] != 0 {
			t.Errorf("50 idle seconds cost %v", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		objects.count()
		if err := store.Submit(t.Context(), "a", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := objects.count(); n["put"] != 4 || n["get"] != 1 {
			t.Errorf("a job cost %v until it ran", n)
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if n := objects.count(); n["put"] > 13 || n["get"] > 1 || n["list"] > 31 {
			t.Errorf("59 s of its running cost %v", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := objects.count(); n["put"] > 2 || n["delete"] != 1 {
			t.Errorf("its end cost %v", n)
		}
	})
}

// A hundred jobs that wait at one process cost another no more than the list of them and one sign, each time it looks.
func TestOthersJobsCostNoRequestEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := newMemory()
		day := func(ctx context.Context, _ string, _ []byte, _ *Reporter) ([]byte, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		one, err := Open(t.Context(), Options{Objects: objects, Work: day})
		if err != nil {
			t.Fatal(err)
		}
		const many = 100
		for n := range many {
			if err := one.Submit(t.Context(), fmt.Sprint("job", n), nil); err != nil {
				t.Fatal(err)
			}
		}
		other, err := Open(t.Context(), Options{Objects: objects, Concurrent: many, Work: func(context.Context, string, []byte, *Reporter) ([]byte, error) { return nil, nil }})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		objects.count()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := objects.count(); n["get"] > 11 || n["list"] > 22 {
			t.Errorf("20 s cost %v", n)
		}
		// Let go of in good order, they are taken over at once.
		one.Close()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if open := objects.keys(openKey); len(open) > 0 {
			t.Errorf("%d wait still", len(open))
		}
	})
}

func TestAStoreThatIsAwayForAWhileCostsNoResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{Objects: newMemory()}
		store, err := Open(t.Context(), Options{Objects: l, Work: func(context.Context, string, []byte, *Reporter) ([]byte, error) {
			time.Sleep(10 * time.Second)
			return []byte("it"), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if err := store.Submit(t.Context(), "a", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		l.setAway()
		time.Sleep(time.Hour)
		if status, err := store.Status(t.Context(), "a"); !errors.Is(err, errAway) {
			t.Errorf("while the store is away its job is %+v, %v", status, err)
		}
		l.resume()
		time.Sleep(10 * time.Second)
		if status, err := store.Status(t.Context(), "a"); err != nil || string(status.Result) != "it" || status.Attempts != 1 {
			t.Errorf("then it is %+v, %v", status, err)
		}
	})
}

// ignorant is a store that takes conditions and does nothing about them.
type ignorant struct {
	*memory
	only string
}

func (i ignorant) Put(ctx context.Context, key string, data []byte, version string) (string, error) {
	if i.only == "" || i.only == version || version != "" && i.only != "" {
		version = "*"
	}
	return i.memory.Put(ctx, key, data, version)
}

func TestAStoreThatIgnoresConditionsIsRefused(t *testing.T) {
	for _, i := range []ignorant{{newMemory(), ""}, {newMemory(), "if-match"}} {
		_, err := Open(t.Context(), Options{Objects: i, Work: nil})
		if err == nil || !strings.Contains(err.Error(), "ignores the condition") {
			t.Errorf("got %v", err)
		}
	}
	away := &line{Objects: newMemory()}
	away.setAway()
	if _, err := Open(t.Context(), Options{Objects: away}); !errors.Is(err, errAway) {
		t.Errorf("a store that is away: %v", err)
	}
}

func TestFaultsAreForTheirOwnJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := Open(t.Context(), Options{Objects: newMemory(), Work: func(_ context.Context, id string, _ []byte, _ *Reporter) ([]byte, error) {
			if id == "bad" {
				return nil, fault.Final("wrong")
			}
			return nil, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		for id, want := range map[string]State{"bad": Failed, "good": Succeeded} {
			if err := store.Submit(t.Context(), id, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if status, err := store.Status(t.Context(), id); err != nil || status.State != want {
				t.Errorf("%s is %+v, %v", id, status, err)
			}
		}
	})
}
