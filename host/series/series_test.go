package series

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gauges are what a recorder samples. Its test sets them while it runs, and a sleep in a bubble orders nothing between the two.
type gauges struct{ atomic.Pointer[[]Gauge] }

func (g *gauges) set(now ...Gauge) { g.Store(&now) }

// recording runs a recorder in a bubble; the test ends it.
func recording(t *testing.T, plugins ...Gauge) (*gauges, *Tallies, *Recorder) {
	tallies, g := &Tallies{}, &gauges{}
	g.set(plugins...)
	r := NewRecorder(tallies)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, func() []Gauge { return *g.Load() })
	}()
	t.Cleanup(func() { stop(); <-ended })
	synctest.Wait()
	return g, tallies, r
}

func TestAStepTellsWhatItsCallsCameTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plugins, tallies, r := recording(t, Gauge{Plugin: "a", MemoryBytes: 3 << 20, InFlight: 2}, Gauge{Plugin: "b"})
		for i := range 10 {
			tallies.Of("a").Add(20*time.Millisecond, i == 0)
		}
		taken := r.Taken()
		time.Sleep(Every)
		<-taken
		tallies.Of("a").Add(time.Hour, false)
		plugins.set(Gauge{Plugin: "a", MemoryBytes: 3 << 20}, Gauge{Plugin: "b"})
		time.Sleep(Every)
		synctest.Wait()

		all := r.Last(100, nil)
		if len(all.Plugins) != 2 || all.Plugins[0].Name != "a" || all.Plugins[1].Name != "b" || all.EverySeconds != 5 || !all.Until.Equal(time.Now()) {
			t.Fatalf("%+v", all)
		}
		a := all.Plugins[0]
		for what, lists := range map[string][2][]float64{
			"calls": {a.Calls, {2, .2}}, "errors": {a.Errors, {.2, 0}}, "memory": {a.Memory, {3 << 20, 3 << 20}}, "in flight": {a.InFlight, {2, 0}},
		} {
			if !slices.Equal(lists[0], lists[1]) {
				t.Errorf("%s: %v, want %v", what, lists[0], lists[1])
			}
		}
		if a.Mean[0] != .02 || a.P95[0] < .01 || a.P95[0] > .04 || a.Mean[1] != 3600 {
			t.Errorf("times: %v, %v", a.Mean, a.P95)
		}
		tallies.Of("").Add(time.Millisecond, true) // no plugin serves it
		time.Sleep(Every)
		synctest.Wait()
		if total := r.Total(9); !slices.Equal(total.Calls, []float64{2, .2, .2}) || !slices.Equal(total.Errors, []float64{.2, 0, .2}) || total.InFlight[0] != 2 {
			t.Errorf("in total: %+v", total)
		}
		if one := r.Last(2, func(plugin string) bool { return plugin == "a" }); len(one.Plugins) != 1 || !slices.Equal(one.Plugins[0].Calls, []float64{.2, 0}) {
			t.Errorf("the last steps of a: %+v", one)
		}
	})
}

func TestWhatWasCountedBeforeAPluginIsSeenIsInNoStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plugins, tallies, r := recording(t)
		tallies.Of("late").Add(time.Millisecond, false)
		plugins.set(Gauge{Plugin: "late"})
		time.Sleep(Every)
		synctest.Wait()
		if got := r.Last(9, nil).Plugins; len(got) != 1 || !slices.Equal(got[0].Calls, []float64{0}) {
			t.Errorf("%+v", got)
		}
	})
}

func TestAStepThatTookLongerSaysNoHigherRate(t *testing.T) {
	tallies := &Tallies{}
	r := NewRecorder(tallies)
	now := time.Now()
	r.Sample(now, []Gauge{{Plugin: "a"}})
	for range 100 {
		tallies.Of("a").Add(time.Millisecond, true)
	}
	r.Sample(now.Add(4*Every), []Gauge{{Plugin: "a"}})
	if a := r.Last(1, nil).Plugins[0]; a.Calls[0] != 5 || a.Errors[0] != 5 || r.Total(1).Calls[0] != 5 {
		t.Errorf("of 100 calls in 20 s: %+v", a)
	}
}

func TestAnHourIsKeptOfPluginsThatThereAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, stays, drains := Gauge{Plugin: "gone"}, Gauge{Plugin: "stays"}, Gauge{Plugin: "stays", InFlight: 7} // the last is a former life
		plugins, _, r := recording(t, gone, stays, drains)
		for i := range maxPoints + 10 {
			stays.InFlight = i
			if i < maxPoints {
				plugins.set(gone, stays, drains)
			} else {
				plugins.set(stays, drains)
			}
			time.Sleep(Every)
			synctest.Wait()
		}
		got := r.Last(2*maxPoints, nil).Plugins
		if len(got) != 1 || got[0].Name != "stays" || len(got[0].InFlight) != maxPoints || cap(r.lines["stays"].points) != maxPoints {
			t.Fatalf("%d plugins, the first with %d points and room for %d", len(got), len(got[0].InFlight), cap(r.lines["stays"].points))
		}
		if !slices.IsSorted(got[0].InFlight) || got[0].InFlight[maxPoints-1] != float64(maxPoints+9) {
			t.Errorf("the oldest is not first: %v … %v", got[0].InFlight[:3], got[0].InFlight[maxPoints-3:])
		}
	})
}

func TestPluginsAreBounded(t *testing.T) {
	r := NewRecorder(&Tallies{})
	var plugins []Gauge
	for i := range MaxPlugins + 100 {
		plugins = append(plugins, Gauge{Plugin: fmt.Sprint(i)})
	}
	r.Sample(time.Now(), plugins)
	if got := len(r.Last(1, nil).Plugins); got != MaxPlugins {
		t.Errorf("%d plugins", got)
	}
}

func TestTheTimeOfMostCallsIsFoundWithinItsClass(t *testing.T) {
	for _, took := range []time.Duration{0, time.Microsecond, 256 * time.Microsecond, 257 * time.Microsecond, 3 * time.Millisecond, 800 * time.Millisecond, 40 * time.Second} {
		tally := &Tally{}
		for range 99 {
			tally.Add(took, false)
		}
		tally.Add(time.Hour, false)
		if got := tally.counts().p95(); got > max(2*took, firstBucket) || got < took/2 {
			t.Errorf("%v: %v", took, got)
		}
	}
	if got := (counts{}).p95(); got != 0 {
		t.Errorf("no calls: %v", got)
	}
}

// BenchmarkSample is what a step of 500 plugins costs, and how much an hour of them takes.
func BenchmarkSample(b *testing.B) {
	r := NewRecorder(&Tallies{})
	var plugins []Gauge
	for i := range 500 {
		plugins = append(plugins, Gauge{Plugin: fmt.Sprintf("plugin-%d", i)})
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	now := time.Now()
	for i := range maxPoints {
		r.Sample(now.Add(time.Duration(i)*Every), plugins)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for i := 0; b.Loop(); i++ {
		r.Sample(now.Add(Keep+time.Duration(i)*Every), plugins)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
}

func BenchmarkAdd(b *testing.B) {
	tally := &Tally{}
	for b.Loop() {
		tally.Add(time.Millisecond, false)
	}
}
