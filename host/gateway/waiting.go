package gateway

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/route"
)

// WaitsOn is what a call waits for.
type WaitsOn string

// What a call may wait for.
const (
	// OnConcurrency and OnRate: its plugin's limits let it pass.
	OnConcurrency WaitsOn = "concurrency"
	OnRate        WaitsOn = "rate"
	// OnPlugin: an instance of its plugin that takes calls: it starts, restarts, or none of its servers can be reached.
	OnPlugin WaitsOn = "plugin"
	// OnRemoved: a plugin for its task type, whose last one was taken out of the configuration a short while ago.
	OnRemoved WaitsOn = "removed"
	// OnStart: the host knows what its plugins serve.
	OnStart WaitsOn = "start"
	// OnGate: no other creation is under way that its plugin may have died of.
	OnGate WaitsOn = "gate"
	// OnJob: the creation of the job that it is about, or makes too, ends.
	OnJob WaitsOn = "job"
	// OnRetry: the pause is over after which its job is tried to be made again.
	OnRetry WaitsOn = "retry"
	// OnMemory: there is room within limits.memory for its request, of which the plugin is not known yet, or for its answer.
	OnMemory WaitsOn = "memory"
)

// EveryWait is all of them.
var EveryWait = []WaitsOn{OnConcurrency, OnRate, OnPlugin, OnRemoved, OnStart, OnGate, OnJob, OnRetry, OnMemory}

// Waiting is how many calls wait for one thing.
type Waiting struct {
	// Plugin is the plugin of these calls; empty where it is not known.
	Plugin string
	On     WaitsOn
	Calls  int
	// Oldest is since when the one waits that has for longest.
	Oldest time.Time
}

// waits are the calls that wait now. The zero value is that none does.
type waits struct {
	mu  sync.Mutex
	all map[*waitingCall]struct{}
}

type waitingCall struct {
	plugin string
	on     WaitsOn
	since  time.Time
}

// begin notes that a call waits, and that it does not any more.
func (w *waits) begin(plugin string, on WaitsOn) (end func()) {
	c := &waitingCall{plugin, on, time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[*waitingCall]struct{}{}
	}
	w.all[c] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, c)
	}
}

// Waiting says which calls wait, and for what, by plugin and in the order of EveryWait.
func (g *Gateway) Waiting() []Waiting { return g.waits.list() }

func (w *waits) list() []Waiting {
	type key struct {
		plugin string
		on     WaitsOn
	}
	sums := map[key]Waiting{}
	w.mu.Lock()
	for c := range w.all {
		k := key{c.plugin, c.on}
		sum, ok := sums[k]
		if !ok || c.since.Before(sum.Oldest) {
			sum.Oldest = c.since
		}
		sum.Plugin, sum.On = c.plugin, c.on
		sum.Calls++
		sums[k] = sum
	}
	w.mu.Unlock()
	list := []Waiting{}
	for _, sum := range sums {
		list = append(list, sum)
	}
	slices.SortFunc(list, func(a, b Waiting) int {
		return cmp.Or(cmp.Compare(a.Plugin, b.Plugin), cmp.Compare(slices.Index(EveryWait, a.On), slices.Index(EveryWait, b.On)))
	})
	return list
}

// InEffect is what holds calls to a plugin back, as it is in effect. Zero: no limit.
type InEffect struct {
	Plugin string
	// Concurrency is how many calls of CreateTask and ExecuteTaskSync may be under way, UnderWay how many are, and Wait how long one may wait for its
	// place.
	Concurrency, UnderWay int
	Wait                  time.Duration
	// Rate is how many calls of any kind may be sent in a second, Burst how many at once.
	Rate  float64
	Burst int
}

// Limits says it of each plugin in the route table that has limits, by name.
func (g *Gateway) Limits() []InEffect {
	all := map[string]InEffect{}
	g.routes.Table().Each(func(r route.Route) {
		policy, name := r.Policy, r.Target.Plugin()
		if policy.Concurrency <= 0 && policy.Rate <= 0 {
			return
		}
		if _, known := all[name]; known {
			return
		}
		limit := InEffect{Plugin: name, Concurrency: policy.Concurrency, Rate: policy.Rate}
		if policy.Concurrency > 0 {
			limit.Wait, limit.UnderWay = policy.Wait, int(g.limits.of(r).underWay.Load())
		}
		if policy.Rate > 0 {
			limit.Burst = max(policy.Burst, 1)
		}
		all[name] = limit
	})
	list := []InEffect{}
	for _, limit := range all {
		list = append(list, limit)
	}
	slices.SortFunc(list, func(a, b InEffect) int { return cmp.Compare(a.Plugin, b.Plugin) })
	return list
}
