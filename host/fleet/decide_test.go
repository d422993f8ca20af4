package fleet

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// story is a plugin of which only the decisions are real: what they have done is written down, and what the supervisor would
// see is told.
type story struct {
	fatal     func(string, ...any)
	wanted    wanted
	state     state
	now       time.Time
	conflicts func(claimCategories) bool // whether all that is claimed belongs to another plugin
	holds     bool                       // whether swaps wait for other plugins
	held      int                        // the generation that does
	memory    *plugin.Manifest           // what was remembered before the host was restarted
	steps     []string                   // since the last observation

	// What the steps have led to so far:
	live      []int          // generations that were started and not retired
	published state          // what calls see
	listed    bool           // the categories are in the table
	settings  config.Plugin  // those of the last claim
	timer     bool           // for a retry
	turns     map[string]int // what was done about the plugin's turn
	rolled    []string       // ids that were rolled back in this round
}

func newStory(fatal func(string, ...any)) *story {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &story{fatal: fatal, now: now, state: state{born: now}, conflicts: func(claimCategories) bool { return false }, turns: map[string]int{}}
}

// see tells the plugin of an observation, and of all that follow from it.
func (s *story) see(seen observation) {
	s.steps = nil
	for seen != nil {
		before := s.state
		var steps []step
		s.state, steps = decide(s.wanted, before, seen, s.now)
		seen = nil
		for _, next := range steps {
			if seen != nil {
				s.fatal("%T comes after a step that brings an observation", next)
			}
			seen = s.carryOut(next)
		}
		if s.state.outcome.round < before.outcome.round {
			s.fatal("the outcome of round %d comes after that of %d", s.state.outcome.round, before.outcome.round)
		}
	}
}

// carryOut does what act.go does, and holds the step to what has to be true of it whatever happens.
func (s *story) carryOut(next step) observation {
	told := ""
	tell := func(format string, args ...any) { told = fmt.Sprintf(format, args...) }
	defer func() { s.steps = append(s.steps, told) }()
	switch next := next.(type) {
	case startGeneration:
		tell("start %d:%s", next.generation, next.revision.id)
		if other := s.state.previous.id; slices.Contains(s.rolled, next.revision.id) && other != "" && !slices.Contains(s.state.rejected, other) {
			s.fatal("%s is started again in the round in which it was rejected", next.revision.id)
		}
		s.live = append(s.live, next.generation)
	case retireGeneration:
		tell("retire %d", next.generation)
		s.alive(next.generation)
		if seen := s.published; !seen.stopping && slices.Contains([]int{seen.current.number, seen.canary.number}, next.generation) {
			s.fatal("generation %d is retired while calls go to it", next.generation)
		}
		if s.live = slices.DeleteFunc(s.live, func(n int) bool { return n == next.generation }); s.held == next.generation {
			s.held = 0
		}
	case adjustGeneration:
		tell("adjust %d", next.generation)
		s.alive(next.generation)
	case publishView:
		tell("publish")
		s.published = s.state
		if p := s.state; p.outcome.Action == Unchanged && p.outcome.round == p.round && p.accepted && !reflect.DeepEqual(s.settings, p.current.settings) {
			s.fatal("round %d is said to be over while its settings are not in effect", p.round)
		}
	case emitEvent:
		tell("emit %s", strings.TrimSpace(fmt.Sprint(next.event.State, " ", next.event.Generation)))
		if next.event.State == EventRolledBack {
			s.rolled = append(s.rolled, next.event.Generation)
		}
	case logWarning:
		tell("warn")
	case claimCategories:
		tell("claim %d%s", next.generation, map[bool]string{true: " from memory"}[next.recalled])
		s.alive(next.generation)
		s.settings = next.settings
		if next.swap {
			s.held = 0
		}
		if s.holds && next.swap {
			s.held = next.generation
			return claimed{next, verdict{generation: next.generation, held: true}}
		}
		if s.conflicts(next) {
			s.listed = s.listed || !next.recalled // the claim stands, and waits
			return claimed{next, belongsToAnother(next.generation)}
		}
		s.listed = true
		return claimed{next, verdict{generation: next.generation}}
	case updateClaim:
		tell("update %d%s", next.claim.generation, map[bool]string{true: " pinned"}[next.claim.canary])
		if s.alive(next.claim.generation); !s.listed {
			s.fatal("an update of what was never claimed")
		}
		if s.settings = next.claim.settings; !next.claim.canary && s.published.canary.exists() {
			s.fatal("jobs of a canary that gets some are not pinned")
		}
	case withdrawClaim:
		tell("withdraw")
		if s.listed = false; !s.wanted.removed {
			s.fatal("the categories of a plugin that is wanted are withdrawn")
		}
		return left{}
	case awaitTurn, passTurn, skipTurn:
		tell("%s", map[string]string{"awaitTurn": "await turn", "passTurn": "pass turn", "skipTurn": "skip turn"}[kind(next)])
		s.turns[kind(next)]++
	case rememberManifest:
		tell("remember")
	case forgetManifest:
		tell("forget")
	case recallManifest:
		tell("recall")
		return recalled{s.memory}
	case scheduleRetry:
		tell("schedule retry")
		s.timer = true
	case cancelRetry:
		s.timer = false
		tell("cancel retry")
	case countRollback:
		tell("count rollback")
	case countAbort:
		tell("count abort")
	case awaitDrain:
		tell("drain")
		if len(s.live) > 0 {
			s.fatal("generations %v are never retired", s.live)
		}
		return drained{}
	default:
		s.fatal("an unknown step %T", next)
	}
	return nil
}

func belongsToAnother(generation int) verdict {
	return verdict{generation: generation, none: true, unserved: []route.Unserved{{Plugin: "this", Owner: "another"}}}
}

func kind(of step) string { return strings.TrimPrefix(fmt.Sprintf("%T", of), "fleet.") }

func (s *story) alive(generation int) {
	if !slices.Contains(s.live, generation) {
		s.fatal("generation %d does not live", generation)
	}
}

// An entry is what stands in the configuration: a spec, named by a letter, and settings.
type entry func(*config.Plugin)

func percent(n int) entry         { return func(p *config.Plugin) { p.Rollout.Percent = n } }
func instances(n int) entry       { return func(p *config.Plugin) { p.Instances = n } }
func noRollback(p *config.Plugin) { p.Rollback = false }

func configured(id string, more ...entry) revision {
	settings := config.DefaultPlugin()
	for _, set := range more {
		set(&settings)
	}
	return revision{id: id, spec: plugin.Spec{Name: "echo", StartTimeout: time.Minute}, settings: settings}
}

// serves is what the instances of a generation say of themselves: each spec serves a category of its own.
func serves(id string) plugin.Manifest {
	return plugin.Manifest{Agents: []plugin.Agent{asyncAgentOf("task_of_" + id)}}
}

// A chapter is something that happens.
type chapter func(*story)

func configure(id string, more ...entry) chapter {
	return func(s *story) {
		s.wanted = wanted{revision: configured(id, more...), round: s.wanted.round + 1}
		s.rolled = nil
		s.see(looked{})
	}
}

func up(generation, instance int) chapter {
	return func(s *story) { s.see(instanceUp{generation, instance, serves(s.idOf(generation))}) }
}

func (s *story) idOf(generation int) string {
	for _, m := range []member{s.state.current, s.state.canary, s.state.candidate} {
		if m.number == generation {
			return m.id
		}
	}
	return ""
}

var errDied = errors.New("it died")

func fails(generation int) chapter {
	return func(s *story) { s.see(instanceFailed{generation, errDied, false}) }
}

func crashLoops(generation int) chapter {
	return func(s *story) { s.see(instanceFailed{generation, errDied, true}) }
}

func refusesItsConfiguration(generation int) chapter {
	return func(s *story) {
		s.see(instanceFailed{generation, &plugin.StartError{Step: plugin.StepConfigure, Err: errDied}, false})
	}
}

func after(d time.Duration) chapter { return func(s *story) { s.now = s.now.Add(d); s.steps = nil } }

func retried(s *story) { s.timer = false; s.see(retryDue{}) }

func lookedAgain(s *story) { s.see(looked{}) }

func conflict(s *story) { s.conflicts = func(claimCategories) bool { return true } }

func remembered(s *story) { m := serves("old"); s.memory = &m }

// listed is a plugin of which is known from the start what it served.
func listed(s *story) {
	remembered(s)
	s.state.recalled, s.listed = s.memory, true
}

func holds(s *story) { s.holds = true }

// takesEffect is that of a claim which was held.
func takesEffect(s *story) {
	v := verdict{generation: s.held}
	if s.conflicts(claimCategories{generation: s.held, manifest: serves(s.idOf(s.held))}) {
		v = belongsToAnother(s.held)
	}
	s.held, s.listed = 0, s.listed || !v.none
	s.see(judged{v})
}

// loses and gains are about the task types of the current generation.
func loses(s *story) { s.see(judged{belongsToAnother(s.state.current.number)}) }

func gains(s *story) { s.see(judged{verdict{generation: s.state.current.number}}) }

// lists is an instance that comes up and lists categories of these.
func lists(generation int, ids ...string) chapter {
	return func(s *story) {
		var m plugin.Manifest
		for _, id := range ids {
			m.Agents = append(m.Agents, serves(id).Agents...)
		}
		s.see(instanceUp{generation, 0, m})
	}
}

// halts and restarts are what operators do.
func halts(s *story) {
	s.wanted.round++
	s.wanted.halted = true
	s.see(looked{})
}

func restarts(s *story) {
	s.wanted.round++
	s.wanted.edition++
	s.wanted.halted, s.wanted.atOnce = false, true
	s.rolled = nil
	s.see(looked{})
}

func removed(s *story) {
	s.wanted = wanted{round: s.wanted.round + 1, removed: true}
	s.see(looked{})
}

func hostStops(s *story) {
	s.wanted = wanted{round: s.wanted.round + 1, removed: true, hostStops: true}
	s.see(looked{})
}

// Generations have numbers from 1, specs have letters: "start 2:b" starts generation 2 from spec b.
func TestWhatIsDone(t *testing.T) {
	serving := []chapter{configure("a"), up(1, 0)}
	swappedTo := func(more ...chapter) []chapter {
		return append([]chapter{configure("a"), up(1, 0), configure("b"), up(2, 0)}, more...)
	}
	canaryOf := func(more ...chapter) []chapter {
		return append([]chapter{configure("a"), up(1, 0), configure("b", percent(10)), up(2, 0)}, more...)
	}
	then := func(before []chapter, more ...chapter) []chapter { return append(slices.Clone(before), more...) }
	const returns = "publish, count rollback, emit rolled back b"
	for promise, c := range map[string]struct {
		story []chapter
		want  string // the steps of the last chapter
		comes Action // the outcome of its round
	}{
		// The first start.
		"a plugin that is new is started": {[]chapter{configure("a")}, "cancel retry, start 1:a, publish", Started},
		"a plugin that is up claims its categories when it is its turn": {
			[]chapter{configure("a"), up(1, 0)}, "await turn, claim 1, publish, remember, pass turn", Started,
		},
		"one process that died holds up the others still":         {[]chapter{configure("a"), fails(1)}, "", Started},
		"a plugin that crash-loops holds up nobody":               {[]chapter{configure("a"), crashLoops(1)}, "await turn, recall, pass turn", Started},
		"a plugin that refuses its configuration holds up nobody": {[]chapter{configure("a"), refusesItsConfiguration(1)}, "await turn, recall, pass turn", Started},
		"a plugin that takes longer than start_timeout holds up nobody": {
			[]chapter{configure("a"), after(61 * time.Second), fails(1)}, "await turn, recall, pass turn", Started,
		},
		"of a plugin that does not start, what it last served is listed": {
			[]chapter{remembered, configure("a"), crashLoops(1)}, "await turn, recall, claim 1 from memory, warn, pass turn", Started,
		},
		"what a plugin last served is not listed if another one serves it": {
			[]chapter{remembered, conflict, configure("a"), crashLoops(1)}, "await turn, recall, claim 1 from memory, warn, pass turn", Started,
		},
		"what a plugin says counts, once it is up, for what it last served": {
			[]chapter{remembered, configure("a"), crashLoops(1), up(1, 0)}, "claim 1, publish, remember", Started,
		},
		"a plugin whose categories are listed from the first moment claims what it serves now": {
			[]chapter{listed, configure("a"), up(1, 0)}, "await turn, claim 1, publish, remember, pass turn", Started,
		},
		"what a plugin serves whose categories are listed from the first moment stays listed when it does not start": {
			[]chapter{listed, configure("a"), crashLoops(1)}, "await turn, recall, claim 1 from memory, warn, pass turn", Started,
		},
		"a plugin is refused when all that it lists is another's by now": {
			[]chapter{configure("a"), up(1, 0), loses}, "publish, remember, emit refused a", Started,
		},
		"a plugin that was refused serves when what it lists is its own": {
			[]chapter{conflict, configure("a"), up(1, 0), gains}, "publish, remember, emit running a", Started,
		},
		"a verdict on what is only remembered says nothing of the plugin": {
			[]chapter{listed, configure("a"), loses}, "", Started,
		},
		"a generation that was never up shares no jobs with its successor": {
			[]chapter{listed, configure("a"), configure("b", percent(10)), up(2, 0)}, "await turn, claim 2, publish, remember, retire 1, emit swapped b, pass turn", Swapped,
		},
		"a plugin that lists another's task types only is refused, and waits for them": {
			[]chapter{conflict, configure("a"), up(1, 0)}, "await turn, claim 1, publish, remember, emit refused a, pass turn", Started,
		},
		"a first configuration that is superseded before it is up takes its turn all the same": {
			[]chapter{configure("a"), configure("b"), up(2, 0)},
			"await turn, claim 2, publish, remember, retire 1, emit swapped b, pass turn", Swapped,
		},

		// Restarts.
		"an instance that comes back with the same agents changes nothing": {then(serving, fails(1), up(1, 0)), "", Started},

		"an instance that comes back and lists more claims nothing of that": {
			then(serving, fails(1), lists(1, "a", "x")), "claim 1, publish, remember, warn", Started,
		},
		"an instance that comes back and lists other things only keeps its claim": {
			then(serving, fails(1), lists(1, "x")), "claim 1, publish, remember, warn", Started,
		},
		"an instance that comes back and lists what the first did claims that again": {
			then(serving, fails(1), lists(1, "a", "x"), fails(1), up(1, 0)), "claim 1, publish, remember", Started,
		},

		// A swap.
		"a changed spec starts a candidate beside the current generation": {
			then(serving, configure("b")), "cancel retry, start 2:b, emit swapping b, publish, update 1", Started,
		},
		"when a candidate is ready calls go to it, and only then is the old generation retired": {
			then(serving, configure("b"), up(2, 0)), "claim 2, publish, remember, retire 1, emit swapped b", Swapped,
		},
		"a candidate is not ready before all its instances are":      {then(serving, configure("b", instances(2)), up(2, 1)), "", Started},
		"a candidate is swapped in when all its instances are ready": {then(serving, configure("b", instances(2)), up(2, 1), up(2, 0)), "claim 2, publish, remember, retire 1, emit swapped b", Swapped},
		"a candidate waits for no instances that are no longer wanted": {
			then(serving, configure("b", instances(2)), up(2, 0), configure("b")),
			"cancel retry, adjust 2, claim 2, publish, remember, retire 1, emit swapped b", Swapped,
		},
		"a candidate that is one for a canary, and waits no longer, gets its share once jobs are pinned": {
			then(serving, configure("b", instances(2)), up(2, 0), configure("b", percent(10))),
			"cancel retry, adjust 2, update 1 pinned, publish, emit canary b", Canary,
		},
		"a candidate's instances that are no longer wanted do not count": {then(serving, configure("b", instances(2)), up(2, 1), configure("b")), "cancel retry, adjust 2, publish, update 1", Started},
		"an equal spec with other settings leaves the process alone": {
			then(serving, configure("a", percent(20))), "cancel retry, adjust 1, update 1, publish", Unchanged,
		},
		"a newer spec supersedes a candidate": {
			then(serving, configure("b"), configure("c")), "cancel retry, retire 2, start 3:c, emit swapping c, publish, update 1", Started,
		},
		"the old spec back in the file drops a candidate": {
			then(serving, configure("b"), configure("a")), "cancel retry, adjust 1, update 1, publish, retire 2", Unchanged,
		},
		"a candidate that fails leaves the current generation serving, and is tried again": {
			then(serving, configure("b"), fails(2)), "publish, update 1, retire 2, schedule retry, emit swap failed b", Failed,
		},
		"a failed candidate is started again when its time has come":                 {then(serving, configure("b"), fails(2), retried), "start 3:b, emit swapping b, publish, update 1", Failed},
		"a failed candidate may succeed later":                                       {then(serving, configure("b"), fails(2), retried, up(3, 0)), "claim 3, publish, remember, retire 1, emit swapped b", Swapped},
		"a failed candidate is not started again before its time has come":           {then(serving, configure("b"), fails(2), lookedAgain), "", Failed},
		"a failed candidate is started again at once when the configuration changes": {then(serving, configure("b"), fails(2), configure("b")), "cancel retry, start 3:b, emit swapping b, publish, update 1", Failed},
		"against a conflict only another configuration helps": {
			then(serving, configure("b"), conflict, up(2, 0)), "claim 2, publish, update 1, retire 2, emit swap failed b", Failed,
		},
		"a candidate heals a plugin that was refused meanwhile": {
			then(serving, configure("b"), loses, up(2, 0)),
			"claim 2, publish, remember, retire 1, emit swapped b, emit running b", Swapped,
		},
		"a candidate that is ready waits for what comes of other plugins": {then(serving, holds, configure("b"), up(2, 0)), "claim 2, publish", Started},
		"it is swapped in when that is known": {
			then(serving, holds, configure("b"), up(2, 0), takesEffect), "publish, remember, retire 1, emit swapped b", Swapped,
		},
		"it is dropped when nothing is left for it": {
			then(serving, holds, configure("b"), up(2, 0), conflict, takesEffect), "publish, update 1, retire 2, emit swap failed b", Failed,
		},
		"another configuration supersedes it": {
			then(serving, holds, configure("b"), up(2, 0), configure("c")), "cancel retry, retire 2, start 3:c, emit swapping c, publish, update 1", Started,
		},
		"what takes effect of a generation that is gone is put right": {
			then(serving, holds, configure("b"), up(2, 0), configure("c"), func(s *story) { s.see(judged{verdict{generation: 2}}) }), "update 1", Started,
		},

		// A canary.
		"a candidate of a rollout becomes the canary, and jobs are pinned before it gets any": {
			then(serving, configure("b", percent(10)), up(2, 0)), "update 1 pinned, publish, emit canary b", Canary,
		},
		"another share of a canary is in effect at once": {canaryOf(configure("b", percent(50))), "cancel retry, adjust 2, update 1 pinned, publish", Canary},
		"a share of all jobs swaps a canary in": {
			canaryOf(configure("b")), "cancel retry, adjust 2, publish, claim 2, publish, remember, retire 1, emit swapped b", Swapped,
		},
		"the old spec back in the file withdraws a canary": {canaryOf(configure("a")), "cancel retry, adjust 1, update 1 pinned, publish, update 1, retire 2", Unchanged},
		"a newer canary takes the place of one":            {canaryOf(configure("c", percent(10)), up(3, 0)), "update 1 pinned, publish, retire 2, emit canary c", Canary},
		"a canary that fails once is left to start again":  {canaryOf(fails(2)), "", Canary},
		"a canary that crash-loops is withdrawn":           {canaryOf(crashLoops(2)), "publish, update 1, retire 2, count rollback, emit rolled back b", Canary},
		"a canary that was withdrawn is not tried again":   {canaryOf(crashLoops(2), configure("b", percent(20))), "cancel retry, adjust 1, update 1, publish", Unchanged},
		"a canary that was withdrawn is tried again after the configuration named another": {
			canaryOf(crashLoops(2), configure("a"), configure("b", percent(10))), "cancel retry, start 3:b, emit swapping b, publish, update 1", Unchanged,
		},

		// A rollback.
		"a generation that crash-loops within its probation is rolled back": {swappedTo(crashLoops(2)), "start 3:a, " + returns, Swapped},
		"in a rollback the generation before is swapped in":                 {swappedTo(crashLoops(2), up(3, 0)), "claim 3, publish, remember, retire 2, emit swapped a", Swapped},
		"what comes back in a rollback gets all calls, whatever its own rollout was": {
			[]chapter{configure("a", percent(10)), up(1, 0), configure("b"), up(2, 0), crashLoops(2), up(3, 0)},
			"claim 3, publish, remember, retire 2, emit swapped a", Swapped,
		},
		"what does not come back in a rollback is tried again":                 {swappedTo(crashLoops(2), fails(3), retried), "start 4:a, emit swapping a, publish, update 2", Failed},
		"what came back is not rolled back itself":                             {swappedTo(crashLoops(2), up(3, 0), crashLoops(3)), "", Swapped},
		"what was rejected is not tried again":                                 {swappedTo(crashLoops(2), up(3, 0), configure("b", percent(20))), "cancel retry, adjust 3, update 3, publish", Unchanged},
		"a generation that crash-loops after its probation is not rolled back": {swappedTo(after(time.Hour), crashLoops(2)), "", Swapped},
		"a generation that crashes once is not rolled back":                    {swappedTo(fails(2)), "", Swapped},
		"with rollback: false a generation is not rolled back": {
			then(serving, configure("b", noRollback), up(2, 0), crashLoops(2)), "", Swapped,
		},
		"what was rejected is not what a later rollback brings back": {
			swappedTo(crashLoops(2), up(3, 0), configure("c"), fails(4), crashLoops(3)), "", Failed,
		},
		"what does not come back is tried again, too, if a canary is withdrawn meanwhile": {
			swappedTo(configure("c", percent(10)), up(3, 0), crashLoops(2), crashLoops(3), fails(4), retried),
			"start 5:a, emit swapping a, publish, update 2", Failed,
		},
		"a rollout goes on after a rollback": {
			swappedTo(configure("c", percent(10)), up(3, 0), crashLoops(2), up(4, 0)),
			"claim 4, publish, remember, retire 2, retire 3, emit swapped a, start 5:c, emit swapping c, publish, update 4", Swapped,
		},

		// Operators.
		"a plugin that is stopped ends all its generations, and its categories stay listed": {
			canaryOf(halts), "cancel retry, publish, retire 1, retire 2, emit stopped a", Halted,
		},
		"a plugin that is stopped before it was up holds up nobody": {
			[]chapter{configure("a"), halts}, "cancel retry, skip turn, publish, retire 1, emit stopped a", Halted,
		},
		"a plugin that is stopped is left so by a look":            {then(serving, halts, lookedAgain), "publish", Halted},
		"what comes too late of a plugin that was stopped is none": {then(serving, halts, fails(1), up(1, 0)), "", Halted},
		"a plugin that was stopped is started by another configuration": {
			then(serving, halts, configure("b")), "cancel retry, start 2:b, publish", Started,
		},
		"a plugin that was stopped and is up again claims its categories": {
			then(serving, halts, configure("a"), up(2, 0)), "claim 2, publish, remember", Started,
		},
		"a restart starts a candidate of the same spec": {then(serving, restarts), "cancel retry, start 2:a, emit swapping a, publish, update 1", Started},
		"a restart swaps it in at once, whatever its rollout": {
			[]chapter{configure("a", percent(10)), up(1, 0), restarts, up(2, 0)}, "claim 2, publish, remember, retire 1, emit swapped a", Swapped,
		},
		"a restart does not end the probation of a swap": {swappedTo(restarts, up(3, 0), crashLoops(3)), "start 4:a, " + returns, Swapped},
		"a restart is no swap from which a crash loop is rolled back": {
			swappedTo(after(time.Hour), restarts, up(3, 0), crashLoops(3)), "", Swapped,
		},
		"a restart during a restart supersedes it": {
			then(serving, restarts, restarts), "cancel retry, retire 2, start 3:a, emit swapping a, publish, update 1", Started,
		},

		// The end.
		"a plugin that is removed is listed no longer, and drains": {
			then(serving, removed), "withdraw, forget, publish, retire 1, drain, publish, emit stopped", Removed,
		},
		"a plugin that is removed drains with all its generations": {
			canaryOf(configure("c"), removed), "withdraw, forget, publish, retire 1, retire 2, retire 3, drain, publish, emit stopped", Removed,
		},
		"a host that stops keeps its categories listed": {then(serving, hostStops), "publish, retire 1, drain, publish, emit stopped", Removed},
		"a plugin that is removed before it was up holds up nobody": {
			[]chapter{configure("a"), removed}, "skip turn, withdraw, forget, publish, retire 1, drain, publish, emit stopped", Removed,
		},
	} {
		t.Run(promise, func(t *testing.T) {
			s := newStory(t.Fatalf)
			for _, next := range c.story {
				next(s)
			}
			if got := strings.Join(s.steps, ", "); got != c.want || s.state.outcome.Action != c.comes {
				t.Errorf("it is %s, after:\n\t%s\nwant %s, after:\n\t%s", s.state.outcome.Action, got, c.comes, c.want)
			}
		})
	}
}

// The supervisor may see a report when a newer configuration is there but was not looked at: what the report leads to is what
// came of the older one.
func TestWhatComesOfARoundIsNotPutDownToTheNext(t *testing.T) {
	s := newStory(t.Fatalf)
	for _, next := range []chapter{configure("a"), up(1, 0), configure("b")} {
		next(s)
	}
	s.wanted = wanted{revision: configured("c"), round: s.wanted.round + 1}
	up(2, 0)(s)
	if got := s.state.outcome; got.Action != Swapped || got.round != s.wanted.round-1 {
		t.Errorf("in round %d, before it was looked at: %+v", s.wanted.round, got)
	}
	s.see(looked{})
	up(3, 0)(s)
	if got := s.state.outcome; got.Action != Swapped || got.Generation != "c" || got.round != s.wanted.round {
		t.Errorf("in round %d: %+v", s.wanted.round, got)
	}
}

// Whatever configurations, crashes, conflicts and pauses come in whatever order: the steps are ones that can be carried out
// (see story.carryOut), generations are neither lost nor forgotten, and when things go well at last each plugin is what the
// configuration wants, or has an outcome that says why not.
func TestWhateverHappensEndsWell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStory(t.Fatalf)
		bad := map[string]bool{}
		s.conflicts = func(c claimCategories) bool { return bad[c.manifest.Agents[0].Name] }
		s.holds = rapid.Bool().Draw(t, "swaps wait")
		switch rapid.IntRange(0, 2).Draw(t, "remembers") {
		case 1:
			remembered(s)
		case 2:
			listed(s)
		}
		draw := func(t *rapid.T) []entry {
			return []entry{
				percent(rapid.SampledFrom([]int{100, 10}).Draw(t, "percent")), instances(rapid.IntRange(1, 3).Draw(t, "instances")),
				func(p *config.Plugin) { p.Rollback = rapid.Bool().Draw(t, "rollback") },
			}
		}
		id := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		configure(id.Draw(t, "id"), draw(t)...)(s)
		member := func(t *rapid.T) member {
			m := rapid.SampledFrom([]member{s.state.current, s.state.canary, s.state.candidate}).Draw(t, "generation")
			if !m.exists() {
				t.Skip("there is none")
			}
			return m
		}
		t.Repeat(map[string]func(*rapid.T){
			"a configuration": func(t *rapid.T) { configure(id.Draw(t, "id"), draw(t)...)(s) },
			"a configuration that is not looked at yet": func(t *rapid.T) {
				s.wanted = wanted{revision: configured(id.Draw(t, "id"), draw(t)...), round: s.wanted.round + 1}
				s.rolled = nil
			},
			"a look":    func(*rapid.T) { lookedAgain(s) },
			"a stop":    func(*rapid.T) { halts(s) },
			"a restart": func(*rapid.T) { restarts(s) },
			"an instance is up": func(t *rapid.T) {
				m := member(t)
				instance := rapid.IntRange(0, m.instances()-1).Draw(t, "instance")
				if slices.Contains(m.up, instance) {
					t.Skip("it is")
				}
				up(m.number, instance)(s)
			},
			"other agents": func(t *rapid.T) { s.see(instanceUp{member(t).number, 0, serves(id.Draw(t, "id"))}) },
			"a failure":    func(t *rapid.T) { fails(member(t).number)(s) },
			"a crash loop": func(t *rapid.T) { crashLoops(member(t).number)(s) },
			"a late report": func(t *rapid.T) {
				s.see(instanceFailed{rapid.IntRange(0, s.state.started).Draw(t, "generation"), errDied, false})
			},
			"a pause": func(t *rapid.T) {
				s.now = s.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
			},
			"another plugin": func(t *rapid.T) { c := "task_of_" + id.Draw(t, "id"); bad[c] = !bad[c] },
			"what others do is known": func(t *rapid.T) {
				if s.held == 0 {
					t.Skip("nothing waits for it")
				}
				takesEffect(s)
			},
			"a late verdict": func(t *rapid.T) {
				generation := rapid.IntRange(1, s.state.started).Draw(t, "generation")
				if generation == s.state.candidate.number || generation == s.state.canary.number {
					t.Skip("it is no late one")
				}
				if s.see(judged{verdict{generation: generation}}); rapid.Bool().Draw(t, "none") {
					s.see(judged{belongsToAnother(generation)})
				}
			},
			"time to retry": func(t *rapid.T) {
				if !s.timer {
					t.Skip("nothing is retried")
				}
				retried(s)
			},
			"": func(t *rapid.T) { s.check(t.Fatalf) },
		})
		if rapid.Bool().Draw(t, "removed at last") {
			removed(s)
			if !s.state.stopped || s.listed || len(s.live) > 0 || s.turns["awaitTurn"]+s.turns["skipTurn"] != 1 {
				t.Fatalf("removed, it is %+v", s.state)
			}
			return
		}
		clear(bad)
		if s.wanted.halted {
			restarts(s)
		}
		lookedAgain(s)
		if s.state.refused != nil {
			gains(s)
		}
		s.goWell()
		s.check(t.Fatalf)
		if s.state.outcome.round != s.wanted.round {
			t.Fatalf("round %d has no outcome, the last is %+v", s.wanted.round, s.state.outcome)
		}
		is := &decision{state: s.state}
		switch wanted := s.wanted.id; {
		case is.refused != nil || is.outcome.Action == Failed && !is.retrying: // a conflict
		case slices.Contains(is.rejected, wanted):
			if !is.current.exists() || slices.Contains(is.rejected, is.current.id) && is.canFallBack() {
				t.Fatalf("%s is rejected, and it is %+v", wanted, is.state)
			}
		case is.current.id != wanted && is.canary.id != wanted:
			t.Fatalf("%s is wanted, and it is %+v", wanted, is.state)
		}
	})
}

// check holds the state to what is always true of it.
func (s *story) check(fatal func(string, ...any)) {
	var members []int
	for _, m := range []member{s.state.current, s.state.canary, s.state.candidate} {
		if m.exists() {
			members = append(members, m.number)
		}
	}
	slices.Sort(members)
	slices.Sort(s.live)
	switch {
	case !slices.Equal(members, s.live):
		fatal("generations %v live, and it knows of %v", s.live, members)
	case s.state.retrying != s.timer:
		fatal("it retries: %v, and there is a timer for it: %v", s.state.retrying, s.timer)
	case s.state.accepted && (!s.listed || !s.state.current.exists() || s.state.current.manifest == nil):
		fatal("it serves what is not listed: %+v", s.state)
	case s.turns["awaitTurn"] != s.turns["passTurn"] || s.turns["awaitTurn"]+s.turns["skipTurn"] > 1:
		fatal("turns %v", s.turns)
	case s.state.halted && len(members) > 0:
		fatal("an operator stopped it, and it has generations %v", members)
	case !s.state.current.exists() && s.state.round > 0 && !s.state.halted:
		fatal("there is no current generation: %+v", s.state)
	}
}

// goWell lets all instances come up, and all that is retried be retried, until nothing happens any more.
func (s *story) goWell() {
	for range 100 {
		switch next, instance := s.missing(); {
		case next.exists():
			up(next.number, instance)(s)
		case s.held != 0:
			takesEffect(s)
		case s.timer:
			retried(s)
		default:
			return
		}
	}
	s.fatal("it never comes to rest")
}

// missing finds an instance that is still to come up. Those of generations that were up once have come back before.
func (s *story) missing() (member, int) {
	if m := s.state.candidate; m.exists() {
		for instance := range m.instances() {
			if !slices.Contains(m.up, instance) {
				return m, instance
			}
		}
	}
	if m := s.state.current; m.exists() && m.manifest == nil {
		return m, 0
	}
	return member{}, 0
}
