package series

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// Every is how far apart points are.
	Every = 5 * time.Second
	// Keep is how long one is kept.
	Keep = time.Hour
	// MaxPlugins is how many plugins are remembered; of more, those that come first by name. A point takes 28 bytes: with an hour of
	// 500 plugins that is 11 MB, and 22 MB is the most.
	MaxPlugins = 1000

	maxPoints = int(Keep / Every)
	// step is how many points there is room made for at once, so that a young host takes little.
	step = maxPoints / 12
)

// Gauge is what a plugin has at a moment.
type Gauge struct {
	Plugin      string
	MemoryBytes uint64
	InFlight    int
}

// point is what happened in one step, and what there was at its end.
type point struct {
	calls, failed uint32
	// took is how long the step was, in milliseconds: more than Every where the host was held up.
	took uint32
	// mean and p95 are times of calls, in microseconds, memory is in KiB.
	mean, p95, memory, inFlight uint32
}

// line is the points of one plugin, as a ring.
type line struct {
	points []point
	next   int // where the next goes once there are maxPoints
	last   counts
	seen   time.Time
}

func (l *line) add(p point) {
	if len(l.points) < maxPoints {
		if len(l.points) == cap(l.points) { // append would make room for more than the ring holds
			grown := make([]point, len(l.points), min(len(l.points)+step, maxPoints))
			copy(grown, l.points)
			l.points = grown
		}
		l.points = append(l.points, p)
		return
	}
	l.points[l.next] = p
	l.next = (l.next + 1) % maxPoints
}

// newest are the last n points, in their order.
func (l *line) newest(n int) []point {
	n = min(n, len(l.points))
	all := make([]point, 0, n)
	for i := len(l.points) - n; i < len(l.points); i++ {
		all = append(all, l.points[(l.next+i)%len(l.points)])
	}
	return all
}

// Recorder samples plugins. Its methods may be called at any time from anywhere.
type Recorder struct {
	tallies *Tallies

	mu    sync.Mutex
	lines map[string]*line
	total line // of all calls, also those that no plugin serves
	last  time.Time
	taken chan struct{} // closed with the next sample
}

// NewRecorder returns a recorder of these tallies that has no point yet.
func NewRecorder(tallies *Tallies) *Recorder {
	return &Recorder{tallies: tallies, lines: map[string]*line{}, taken: make(chan struct{})}
}

// Run takes a sample of the plugins that there are, over and over until ctx ends.
func (r *Recorder) Run(ctx context.Context, plugins func() []Gauge) {
	ticker := time.NewTicker(Every)
	defer ticker.Stop()
	r.baseline(plugins())
	for {
		select {
		case <-ticker.C:
			r.Sample(time.Now(), plugins())
		case <-ctx.Done():
			return
		}
	}
}

// baseline is what the first sample is compared with.
func (r *Recorder) baseline(plugins []Gauge) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.total.last = time.Now(), r.tallies.sum()
	for _, g := range plugins {
		r.lineOf(g.Plugin)
	}
}

// lineOf is a plugin's line; nil where there are too many.
func (r *Recorder) lineOf(plugin string) *line {
	l := r.lines[plugin]
	if l == nil && len(r.lines) < MaxPlugins {
		l = &line{last: r.tallies.Of(plugin).counts()}
		r.lines[plugin] = l
	}
	return l
}

// Sample takes a sample of the plugins that there are.
func (r *Recorder) Sample(now time.Time, plugins []Gauge) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all Gauge
	for _, g := range plugins {
		all.MemoryBytes += g.MemoryBytes
		all.InFlight += g.InFlight
	}
	took := Every
	if !r.last.IsZero() {
		took = max(now.Sub(r.last), time.Millisecond)
	}
	r.total.step(r.tallies.sum(), all, took)
	for _, g := range plugins {
		l := r.lineOf(g.Plugin)
		if l == nil || l.seen.Equal(now) { // one of a former life that drains still, beside the new one
			continue
		}
		l.step(r.tallies.Of(g.Plugin).counts(), g, took)
		l.seen = now
	}
	for name, l := range r.lines {
		if !l.seen.Equal(now) { // it is gone: there are no holes in a line
			delete(r.lines, name)
		}
	}
	r.last = now
	close(r.taken)
	r.taken = make(chan struct{})
}

// step adds what came since the last step, which took so long.
func (l *line) step(counted counts, g Gauge, took time.Duration) {
	came := counted.since(l.last)
	l.last = counted
	l.add(point{
		calls: uint32(came.calls()), failed: uint32(came.failed), took: uint32(min(took.Milliseconds(), 1<<32-1)), mean: micros(came.mean()), p95: micros(came.p95()),
		memory: uint32(g.MemoryBytes >> 10), inFlight: uint32(g.InFlight),
	})
}

func perSecond(n, millis uint32) float64 { return float64(n) / (float64(millis) / 1000) }

func micros(d time.Duration) uint32 { return uint32(min(d.Microseconds(), 1<<32-1)) }

// Taken is closed when the next sample has been taken.
func (r *Recorder) Taken() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}

// Series is what GET /series answers: the last hour of plugins in steps.
type Series struct {
	// How long a step is.
	EverySeconds float64 `json:"every_seconds"`
	// When the last step ended.
	Until time.Time `json:"until"`
	// The plugins, by name.
	Plugins []PluginSeries `json:"plugins"`
}

// PluginSeries is one plugin's steps. All lists are as long, the oldest step first; a plugin that is new has fewer.
type PluginSeries struct {
	// The name that the configuration gives it.
	Name string `json:"name"`
	// Calls about it that ended, per second.
	Calls []float64 `json:"calls_per_second"`
	// How many of these failed, per second; also those whose failure a guarantee kept from Flyte.
	Errors []float64 `json:"errors_per_second"`
	// How long a call took on average, in seconds, waiting included; 0 where there was none.
	Mean []float64 `json:"mean_seconds"`
	// What 95 of 100 calls took no longer than, in seconds, as far as classes tell of which each is twice as wide as the one before.
	P95 []float64 `json:"p95_seconds"`
	// Resident memory at the end of the step.
	Memory []float64 `json:"memory_bytes"`
	// Calls that it was answering at the end of the step.
	InFlight []float64 `json:"in_flight"`
}

// Last is the last steps, at most so many, of those plugins that are wanted; nil: of all.
func (r *Recorder) Last(steps int, wanted func(plugin string) bool) Series {
	r.mu.Lock()
	defer r.mu.Unlock()
	series := Series{EverySeconds: Every.Seconds(), Until: r.last, Plugins: []PluginSeries{}}
	for name, l := range r.lines {
		if wanted == nil || wanted(name) {
			series.Plugins = append(series.Plugins, plugin(name, l.newest(steps)))
		}
	}
	slices.SortFunc(series.Plugins, func(a, b PluginSeries) int { return strings.Compare(a.Name, b.Name) })
	return series
}

// Total is the last steps of all calls together, at most so many.
func (r *Recorder) Total(steps int) PluginSeries {
	r.mu.Lock()
	defer r.mu.Unlock()
	return plugin("", r.total.newest(steps))
}

func plugin(name string, points []point) PluginSeries {
	n := len(points)
	all := make([]float64, 6*n)
	list := func(i int) []float64 { return all[i*n : (i+1)*n : (i+1)*n] }
	p := PluginSeries{Name: name, Calls: list(0), Errors: list(1), Mean: list(2), P95: list(3), Memory: list(4), InFlight: list(5)}
	for i, point := range points {
		p.Calls[i], p.Errors[i] = perSecond(point.calls, point.took), perSecond(point.failed, point.took)
		p.Mean[i], p.P95[i] = float64(point.mean)/1e6, float64(point.p95)/1e6
		p.Memory[i], p.InFlight[i] = float64(point.memory)*1024, float64(point.inFlight)
	}
	return p
}
