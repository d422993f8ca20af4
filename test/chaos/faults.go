package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/agenthost/agenthost/test/chaos/agent"
	"github.com/agenthost/agenthost/test/chaos/ledger"
	"github.com/agenthost/agenthost/test/chaos/procs"
	"github.com/agenthost/agenthost/test/wait"
)

// fault is a kind of fault.
type fault struct {
	name string
	// weight is its share of the random faults.
	weight int
	// strike makes it happen. It reports false where there was nothing to strike.
	strike func(ctx context.Context, f *faults) bool
}

// random faults come at any time, several a second.
var random = []fault{
	// From outside, to a plugin's process.
	{"kill", 10, func(_ context.Context, f *faults) bool { return f.kill() }},
	{"stop", 6, func(ctx context.Context, f *faults) bool { return f.stop(ctx) }},
	{"freeze", 1, func(ctx context.Context, f *faults) bool { return f.freeze(ctx) }},
	// From inside, in the middle of a call.
	{"exit-create", 6, arm(ledger.Create, ledger.Exit, false)},
	{"exit-before-create", 3, arm(ledger.Create, ledger.Exit, true)},
	{"exit-get", 8, arm(ledger.Get, ledger.Exit, false)},
	{"exit-delete", 2, arm(ledger.Delete, ledger.Exit, false)},
	{"panic", 3, arm(ledger.Get, ledger.Panic, false)},
	{"exit-execute", 3, arm(ledger.Execute, ledger.Exit, false)},
	{"exit-before-execute", 2, arm(ledger.Execute, ledger.Exit, true)},
	{"hang-execute", 1, arm(ledger.Execute, ledger.Hang, false)},
	{"hang-create", 1, arm(ledger.Create, ledger.Hang, false)},
	{"hang-get", 3, arm(ledger.Get, ledger.Hang, false)},
	{"garbage", 4, arm(ledger.Get, ledger.Garbage, false)},
	{"logs", 4, arm(ledger.Get, ledger.Logs, false)},
	{"fork", 2, arm(ledger.Get, ledger.Fork, false)},
	{"fork-away", 2, arm(ledger.Get, ledger.ForkAway, false)},
	{"hang-start", 1, arm(ledger.Start, ledger.Hang, false)},
	{"exit-start", 3, arm(ledger.Start, ledger.Exit, false)},
	{"garbage-start", 2, arm(ledger.Start, ledger.Garbage, false)},
	// In the external service.
	{"slow", 3, func(_ context.Context, f *faults) bool { return f.slow() }},
	{"failing", 3, func(_ context.Context, f *faults) bool { return f.fail() }},
}

// edits of the configuration come every second.
var edits = []fault{
	{"swap", 60, func(_ context.Context, f *faults) bool { return f.edited(f.settings.swap(f.agent(), nil)) }},
	{"half-written", 10, func(_ context.Context, f *faults) bool {
		if !f.sound.TryLock() {
			return false
		}
		defer f.sound.Unlock()
		return f.edited(f.settings.swap(f.agent(), nil)) && f.edited(f.settings.halfWrite(time.Duration(f.draw(100))*time.Millisecond))
	}},
	{"slow-release", 5, func(_ context.Context, f *faults) bool {
		return f.edited(f.settings.swap(f.agent(), func(flags *agent.Flags) { flags.Slow = 1500 * time.Millisecond }))
	}},
	{"bad-release", 3, func(ctx context.Context, f *faults) bool { return f.release(ctx) }},
	{"broken", 12, func(ctx context.Context, f *faults) bool { return f.spoil(ctx) }},
	{"hangup", 5, func(_ context.Context, f *faults) bool { return f.hangUp() }},
	{"remove", 10, func(ctx context.Context, f *faults) bool { return f.remove(ctx) }},
}

// restarts are the kinds that come at set times.
var restarts = []string{"host-term", "host-kill", "flyte-restart"}

func kindNames() []string {
	var names []string
	for _, k := range slices.Concat(random, edits) {
		names = append(names, k.name)
	}
	return append(names, restarts...)
}

// perSecond is how many random faults there are in a second, on average.
const perSecond = 6

// faults brings them. Its counts are read when run has returned.
type faults struct {
	*chaos
	running sync.WaitGroup // faults that last
	// sound is held by whoever breaks the configuration file, and by whoever starts a host: none starts with a broken one, and
	// none should.
	sound sync.Mutex

	deaths, hungStarts apart

	mu     sync.Mutex
	random *rand.Rand
	counts map[string]int
	idle   map[string]int           // struck at nothing
	armed  map[string]*ledger.Fault // the last one, by agent and op
	err    error
}

func newFaults(c *chaos, random *rand.Rand) *faults {
	return &faults{chaos: c, random: random, counts: map[string]int{}, idle: map[string]int{},
		armed: map[string]*ledger.Fault{}, deaths: apart{least: betweenDeaths}, hungStarts: apart{least: betweenHungStarts}}
}

// run brings faults for a time, and puts right what lasts.
func (f *faults) run(ctx context.Context, length time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	f.running.Go(func() {
		for wait.For(ctx, time.Duration(f.exponential()*float64(time.Second)/perSecond)) {
			f.strike(ctx, random)
		}
	})
	f.running.Go(func() {
		for wait.For(ctx, time.Second) {
			f.strike(ctx, edits)
		}
	})
	f.running.Go(func() { f.restarts(ctx, length) })
	f.running.Wait()

	f.ledger.Disarm()
	for _, p := range procs.Marked(f.mark) {
		_ = syscall.Kill(p.PID, syscall.SIGCONT) // it may have ended
	}
	if err := f.settings.heal(); err != nil {
		return err
	}
	return f.err
}

// strike draws one of them and brings it.
func (f *faults) strike(ctx context.Context, from []fault) {
	sum := 0
	for _, k := range from {
		if f.wanted(k.name) {
			sum += k.weight
		}
	}
	if sum == 0 {
		return
	}
	chance := f.draw(sum)
	for _, k := range from {
		if !f.wanted(k.name) {
			continue
		}
		if chance -= k.weight; chance < 0 {
			f.count(k.name, k.strike(ctx, f))
			return
		}
	}
}

// restarts stops and kills the replicas in turn, and restarts the Flytes. One at a time, and the next only when the last is ready
// again, as a Deployment's rolling update goes. Clients stay where they went, so that each restart is that of a replica in use.
func (f *faults) restarts(ctx context.Context, length time.Duration) {
	type step struct {
		name string
		at   float64 // of the whole time
		do   func(context.Context) error
	}
	host := func(name string, at float64, number int, signal syscall.Signal) step {
		return step{name, at, func(ctx context.Context) error { return f.restartHost(ctx, number, signal) }}
	}
	flyte := func(at float64) step {
		return step{"flyte-restart", at, func(ctx context.Context) error { f.restartFlytes(ctx); return nil }}
	}
	began := time.Now()
	for _, next := range []step{
		flyte(0.1), // while jobs are created
		host("host-term", 0.2, 0, syscall.SIGTERM), host("host-kill", 0.35, 1, syscall.SIGKILL),
		flyte(0.5),
		host("host-term", 0.65, 0, syscall.SIGTERM), host("host-kill", 0.8, 1, syscall.SIGKILL),
	} {
		if !wait.For(ctx, time.Duration(next.at*float64(length))-time.Since(began)) {
			return
		}
		if !f.wanted(next.name) {
			continue
		}
		// The restart itself is not cut short by the end of the chaos.
		if err := next.do(context.WithoutCancel(ctx)); err != nil {
			f.fault(err)
			return
		}
		f.count(next.name, true)
	}
}

func (f *faults) restartHost(ctx context.Context, number int, signal syscall.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, hostLimit)
	defer cancel()
	host := f.hosts[number]
	f.scrape(ctx, host) // what it has counted dies with it
	killed := time.Now()
	if err := host.Signal(signal); err != nil {
		return err
	}
	if signal == syscall.SIGKILL {
		f.excuse(excuse{from: killed.Add(-50 * time.Millisecond), to: killed.Add(1500 * time.Millisecond), why: "a replica got SIGKILL"})
	}
	if err := host.Wait(ctx); err != nil && signal == syscall.SIGTERM {
		return fmt.Errorf("%s did not end well on SIGTERM: %w", host.Name, err)
	}
	f.sound.Lock()
	defer f.sound.Unlock()
	return host.Start(ctx)
}

// restartFlytes restarts them while calls are under way: for a moment the service makes jobs at once, and answers late.
func (f *faults) restartFlytes(ctx context.Context) {
	for _, a := range agents {
		f.ledger.SetWeather(a.name, ledger.Weather{Until: time.Now().Add(time.Second), Delay: time.Second, Late: true})
	}
	wait.For(ctx, 700*time.Millisecond)
	for _, p := range f.flytes {
		before := time.Now()
		p.Restart()
		f.excuse(excuse{from: before.Add(-50 * time.Millisecond), to: time.Now(), why: "Flyte was restarted"})
	}
}

// victim draws a plugin process of a host's; children that plugins left behind are none.
func (f *faults) victim() (procs.Process, bool) {
	marked := slices.DeleteFunc(procs.Marked(f.mark), func(p procs.Process) bool {
		return len(p.Arguments) < 2 || p.Arguments[1] != agent.Marker
	})
	if len(marked) == 0 {
		return procs.Process{}, false
	}
	return marked[f.draw(len(marked))], true
}

// kill ends a plugin.
func (f *faults) kill() bool {
	victim, ok := f.victim()
	name := victim.Argument("-agent")
	if !ok || !f.deaths.may(name) {
		return false
	}
	f.excuse(death(name, time.Now(), 0))
	return syscall.Kill(victim.PID, syscall.SIGKILL) == nil
}

// death excuses calls that were under way when a plugin was ended, or in the time after in which it was sure to end.
func death(agent string, at time.Time, within time.Duration) excuse {
	return excuse{agent: agent, from: at.Add(-50 * time.Millisecond), to: at.Add(50*time.Millisecond + within), why: "the plugin died in it", onlyDead: true}
}

// freezeNoticed is how long a host may take to notice that a plugin hangs: three health checks of ten seconds, ten apart.
const freezeNoticed = time.Minute

// freeze stops a plugin for good. It excuses calls until the host, or another fault, has ended the process, and no longer than the host
// may take for that.
func (f *faults) freeze(ctx context.Context) bool {
	victim, ok := f.victim()
	name := victim.Argument("-agent")
	if !ok || !f.deaths.may(name) || syscall.Kill(victim.PID, syscall.SIGSTOP) != nil {
		return false
	}
	frozen := time.Now()
	f.running.Go(func() {
		const look = 250 * time.Millisecond
		for f.runs(victim.PID) && time.Since(frozen) < freezeNoticed {
			if !wait.For(ctx, look) {
				break
			}
		}
		ended := time.Now()
		f.excuse(excuse{agent: name, from: frozen, to: ended, why: "the plugin was stopped for good", onlyLate: true, exceptPolls: true})
		f.excuse(death(name, ended.Add(-2*look), 2*look))
	})
	return true
}

// runs tells whether a plugin process is there; one that ended and waits to be reaped is not.
func (f *faults) runs(pid int) bool {
	return slices.ContainsFunc(procs.Marked(f.mark), func(p procs.Process) bool { return p.PID == pid })
}

// release brings out a release that cannot live. It dies again and again until another follows, after a while at the latest.
func (f *faults) release(ctx context.Context) bool {
	const lives, noticed = 500 * time.Millisecond, 8 * time.Second
	name := f.agent()
	f.excuse(death(name, time.Now(), noticed+3*time.Second))
	if !f.edited(f.settings.swap(name, func(flags *agent.Flags) { flags.Doomed = lives })) {
		return false
	}
	f.running.Go(func() {
		if wait.For(ctx, noticed) {
			f.edited(f.settings.heal())
		}
	})
	return true
}

// stop stops a plugin, and lets it go on after less time than a call has.
func (f *faults) stop(ctx context.Context) bool {
	victim, ok := f.victim()
	if !ok || syscall.Kill(victim.PID, syscall.SIGSTOP) != nil {
		return false
	}
	length := time.Duration(200+f.draw(2800)) * time.Millisecond
	f.running.Go(func() {
		wait.For(ctx, length)
		_ = syscall.Kill(victim.PID, syscall.SIGCONT) // it may have ended
	})
	return true
}

// arm makes a kind that the ledger brings about.
func arm(op ledger.Op, do ledger.Do, before bool) func(context.Context, *faults) bool {
	return func(_ context.Context, f *faults) bool {
		name := f.agentOf(op)
		// They are kept apart when a call takes them: they may be in store for long, and then meet one another.
		var may func() bool
		switch {
		case do.Deadly():
			may = func() bool { return f.deaths.may(name) }
		case op == ledger.Start && do == ledger.Hang:
			may = func() bool { return f.hungStarts.may(name) }
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		at := name + "/" + string(op)
		if last, ok := f.armed[at]; ok {
			select {
			case <-last.Dealt:
			default:
				return false // so that no call meets a row of them
			}
		}
		f.armed[at] = f.ledger.Arm(ledger.Fault{Agent: name, Op: op, Do: do, Before: before, May: may})
		return true
	}
}

// betweenDeaths is the least time between two faults that end processes of one plugin. A creation has ten seconds, in which the
// service may take four: one whose every repetition meets another death cannot be helped.
const betweenDeaths = 3 * time.Second

// betweenHungStarts is the least time between two starts of one plugin that hang: each costs start_timeout, and no server can start a plugin
// that never starts.
const betweenHungStarts = 12 * time.Second

// apart keeps faults of one kind at an agent apart.
type apart struct {
	least time.Duration
	mu    sync.Mutex
	last  map[string]time.Time
}

// may tells whether another may come now, which then has come.
func (a *apart) may(agent string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if last, ok := a.last[agent]; ok && now.Sub(last) < a.least {
		return false
	}
	if a.last == nil {
		a.last = map[string]time.Time{}
	}
	a.last[agent] = now
	return true
}

func (f *faults) slow() bool {
	f.ledger.SetWeather(f.agent(), ledger.Weather{
		Until: time.Now().Add(time.Duration(1+f.draw(3)) * time.Second), Delay: time.Duration(100+f.draw(1900)) * time.Millisecond,
		Late: f.draw(2) == 0,
	})
	return true
}

func (f *faults) fail() bool {
	f.ledger.SetWeather(f.agent(), ledger.Weather{Until: time.Now().Add(time.Duration(500+f.draw(2000)) * time.Millisecond), Failing: true})
	return true
}

// brokenFiles are configurations that no host may take.
var brokenFiles = []string{
	``,
	`{"plugins": {"alpha": {"command": ["/bin/tr`,
	`{"plugins": {"alpha": {"comand": ["/bin/true"]}}}`,
	`{"plugins": {"alpha": {"command": []}}}`,
	`{"plugins": {"alpha": {"command": ["/bin/true"], "start_timeout": "soon"}}}`,
	`plugins: [this is YAML`,
	"\x00\x01\x02",
}

// spoil breaks the configuration for less than a second.
func (f *faults) spoil(ctx context.Context) bool {
	content := brokenFiles[f.draw(len(brokenFiles))]
	length := time.Duration(100+f.draw(700)) * time.Millisecond
	if !f.sound.TryLock() {
		return false
	}
	defer f.sound.Unlock()
	ok := f.edited(f.settings.spoil(content))
	wait.For(ctx, length)
	return f.edited(f.settings.repair()) && ok
}

// hangUp sends a host SIGHUP, which has it read its configuration again. One that is still starting would end.
func (f *faults) hangUp() bool {
	host := f.hosts[f.draw(len(f.hosts))]
	_, _, ready := host.Ready()
	return ready && host.Signal(syscall.SIGHUP) == nil
}

// remove takes the removable plugin out of the configuration, for a shorter time than its jobs are patient.
func (f *faults) remove(ctx context.Context) bool {
	for _, a := range agents {
		if !a.removable {
			continue
		}
		removed := time.Now()
		back, err := f.settings.remove(a.name)
		if !f.edited(err) {
			return false
		}
		wait.For(ctx, time.Duration(500+f.draw(1500))*time.Millisecond)
		if !f.edited(back()) {
			return false
		}
		// Until it has started nobody knows what it serves, and the first start may be one that hangs. A real Flyte 2 loses an attempt
		// then as well: an operator who takes a plugin out says that it serves no new job. Polls are masked, and have no excuse.
		f.excuse(excuse{agent: a.name, from: removed, to: time.Now().Add(startTimeout + 3*time.Second), why: "the plugin was removed", exceptPolls: true})
	}
	return true
}

// agent draws one.
func (f *faults) agent() string { return agents[f.draw(len(agents))].name }

// agentOf draws one that makes a call.
func (f *faults) agentOf(op ledger.Op) string {
	for {
		drawn := agents[f.draw(len(agents))]
		if op == ledger.Start || (op == ledger.Execute) == (drawn.kind == synchronous) {
			return drawn.name
		}
	}
}

func (f *faults) edited(err error) bool {
	if err != nil {
		f.fault(err)
	}
	return err == nil
}

// fault keeps the first error of the chaos program itself.
func (f *faults) fault(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *faults) count(name string, struck bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if struck {
		f.counts[name]++
	} else {
		f.idle[name]++
	}
}

func (f *faults) draw(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.random.IntN(n)
}

func (f *faults) exponential() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.random.ExpFloat64()
}
