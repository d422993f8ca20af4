package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/route"
)

// calls is what some calls of one kind came to: of n each took so long, and so many of them failed or were rejected.
type calls struct {
	kind                route.Call
	n, errors, rejected int
	took                time.Duration
}

func countsOf(all ...calls) route.Counts {
	var tally route.Tally
	for _, c := range all {
		for i := range c.n {
			outcome := route.OutcomeOK
			switch {
			case i < c.errors:
				outcome = route.OutcomeError
			case i < c.errors+c.rejected:
				outcome = route.OutcomeRejected
			}
			tally.Tell(c.kind, outcome, c.took)
		}
	}
	return tally.Counts()
}

func steps(rule config.AbortIf, percents ...int) config.Rollout {
	rollout := config.Rollout{Percent: 100, AbortIf: rule}
	for _, percent := range percents {
		rollout.Steps = append(rollout.Steps, config.RolloutStep{Percent: percent, Pause: 10 * time.Minute})
	}
	return rollout
}

func TestWhatBecomesOfACanary(t *testing.T) {
	const ms = time.Millisecond
	rule := config.AbortIf{ErrorRate: 0.05, LatencyP99: 2, MinCalls: 100}
	polls := func(n, errors int, took time.Duration) calls { return calls{route.CallPoll, n, errors, 0, took} }
	good := countsOf(polls(1000, 2, 10*ms))
	for promise, c := range map[string]struct {
		rule            config.AbortIf
		lasted          time.Duration
		canary, current route.Counts
		want            assessment
		why             string
	}{
		"a good one waits until the pause is over":    {rule, 9 * time.Minute, countsOf(polls(200, 1, 10*ms)), good, stay, ""},
		"a good one goes on when it is":               {rule, 10 * time.Minute, countsOf(polls(200, 1, 10*ms)), good, promote, ""},
		"one with too few calls waits longer":         {rule, time.Hour, countsOf(polls(99, 0, 10*ms)), good, stay, ""},
		"one with too few calls is not judged":        {rule, time.Minute, countsOf(polls(99, 99, 10*ms)), good, stay, ""},
		"one that needs no calls goes on without":     {config.AbortIf{ErrorRate: 0.05}, 10 * time.Minute, route.Counts{}, good, promote, ""},
		"one that needs no calls is judged by one":    {config.AbortIf{ErrorRate: 0.05}, time.Second, countsOf(polls(1, 1, ms)), good, abort, "1 of its 1 calls failed"},
		"errors are seen before the pause is over":    {rule, time.Second, countsOf(polls(100, 10, 10*ms)), good, abort, "10 of its 100 calls failed by its fault, 10.0 % against 0.2 %"},
		"as many errors as the other has are none":    {rule, 10 * time.Minute, countsOf(polls(100, 50, 10*ms)), countsOf(polls(1000, 460, 10*ms)), promote, ""},
		"five of a hundred more are allowed":          {rule, 10 * time.Minute, countsOf(polls(100, 5, 10*ms)), countsOf(polls(1000, 0, 10*ms)), promote, ""},
		"one that is better goes on":                  {rule, 10 * time.Minute, countsOf(polls(100, 0, ms)), countsOf(polls(1000, 900, 100*ms)), promote, ""},
		"what users do wrong is not its fault":        {rule, 10 * time.Minute, countsOf(calls{route.CallCreate, 200, 0, 200, 10 * ms}), good, promote, ""},
		"slower polls are seen":                       {rule, time.Second, countsOf(polls(100, 0, 50*ms)), good, abort, "of its calls of the kind poll 99 of 100 take up to"},
		"of next to nothing twice as much is nothing": {rule, 10 * time.Minute, countsOf(polls(100, 0, 4*ms)), countsOf(polls(1000, 0, ms)), promote, ""},
		"latency is not looked at unless asked for":   {config.AbortIf{ErrorRate: 0.05, MinCalls: 100}, 10 * time.Minute, countsOf(polls(100, 0, time.Second)), good, promote, ""},
		"creations are not compared with polls":       {rule, 10 * time.Minute, countsOf(calls{route.CallCreate, 100, 0, 0, time.Second}), good, promote, ""},
		"creations are compared with creations": {
			rule, time.Second, countsOf(calls{route.CallCreate, 100, 0, 0, time.Second}, polls(1000, 0, ms)),
			countsOf(calls{route.CallCreate, 100, 0, 0, 100 * ms}, polls(9000, 0, 10*ms)), abort, "of its calls of the kind create",
		},
		"good polls do not hide creations that fail": {
			rule, time.Second, countsOf(calls{route.CallCreate, 100, 50, 0, ms}, polls(10000, 0, ms)), good, abort, "50 of its 100 calls of the kind create failed",
		},
		"creations that fail on both do not speak against the one that has more of them": {
			rule, 10 * time.Minute, countsOf(calls{route.CallCreate, 100, 20, 0, ms}, polls(100, 0, ms)),
			countsOf(calls{route.CallCreate, 100, 20, 0, ms}, polls(100_000, 0, ms)), promote, "",
		},
		"one whose polls memory answers is not good": {rule, time.Minute, countsOf(polls(100, 100, ms)), good, abort, "100.0 % against"},
	} {
		t.Run(promise, func(t *testing.T) {
			got, why := assess(steps(c.rule, 5, 50), 0, c.lasted, &c.canary, &c.current)
			if got != c.want || !strings.Contains(why, c.why) || (why == "") != (c.want != abort) {
				t.Errorf("got %v (%s), want %v (%s)", got, why, c.want, c.why)
			}
		})
	}
}

func stepped(rollout config.Rollout) entry {
	return func(p *config.Plugin) { p.Rollout = rollout }
}

// measure is a look at what both generations did in the step.
func measure(canary, current route.Counts) chapter {
	return func(s *story) { s.see(measured{s.state.canary.number, s.state.stage.step, canary, current}) }
}

func TestARolloutGoesByItsSteps(t *testing.T) {
	rule := config.AbortIf{ErrorRate: 0.05, MinCalls: 10}
	good, bad := countsOf(calls{kind: route.CallPoll, n: 10}), countsOf(calls{kind: route.CallPoll, n: 10, errors: 10})
	canary := func(more ...chapter) []chapter {
		return append([]chapter{configure("a"), up(1, 0), configure("b", stepped(steps(rule, 5, 50))), up(2, 0)}, more...)
	}
	pause := after(10 * time.Minute)
	const withdrawn = "count abort, publish, update 1, retire 2, count rollback, emit rolled back b"
	atOnce := func(s *story) { s.wanted.round++; s.wanted.atOnce = true; s.see(looked{}) }
	again := func(s *story) { s.wanted.round++; s.wanted.again = true; s.rolled = nil; s.see(looked{}) }
	for promise, c := range map[string]struct {
		story []chapter
		want  string
		share int
	}{
		"the first step is the canary's":                   {canary(), "update 1 pinned, publish, emit canary b", 5},
		"before the pause is over nothing happens":         {canary(after(time.Minute), measure(good, good)), "", 5},
		"after it the next step begins":                    {canary(pause, measure(good, good)), "publish, emit canary b", 50},
		"each step has its own pause":                      {canary(pause, measure(good, good), after(9*time.Minute), measure(good, good)), "", 50},
		"after the last one it gets everything":            {canary(pause, measure(good, good), pause, measure(good, good)), "publish, claim 2, publish, remember, retire 1, emit swapped b", 100},
		"with too few calls it stays":                      {canary(pause, measure(route.Counts{}, good)), "", 5},
		"a bad one is withdrawn":                           {canary(measure(bad, good)), withdrawn, 0},
		"a bad one is withdrawn in a later step":           {canary(pause, measure(good, good), measure(bad, good)), withdrawn, 0},
		"one that was withdrawn is not tried again":        {canary(measure(bad, good), configure("b", stepped(steps(rule, 5)))), "cancel retry, adjust 1, update 1, publish", 0},
		"until an operator says so":                        {canary(measure(bad, good), again), "cancel retry, start 3:b, emit swapping b, publish, update 1", 0},
		"then it begins with the first step":               {canary(pause, measure(good, good), measure(bad, good), again, up(3, 0)), "update 1 pinned, publish, emit canary b", 5},
		"or the configuration has named another":           {canary(measure(bad, good), configure("a"), configure("b", stepped(steps(rule, 5)))), "cancel retry, start 3:b, emit swapping b, publish, update 1", 0},
		"one that crash-loops is withdrawn as ever":        {canary(crashLoops(2)), "publish, update 1, retire 2, count rollback, emit rolled back b", 0},
		"an operator promotes it":                          {canary(atOnce), "cancel retry, adjust 2, publish, claim 2, publish, remember, retire 1, emit swapped b", 100},
		"steps that come later do not take a share back":   {canary(pause, measure(good, good), configure("b", stepped(steps(rule, 10, 60, 80)))), "cancel retry, adjust 2, update 1 pinned, publish", 60},
		"the same steps again change nothing":              {canary(pause, measure(good, good), after(9*time.Minute), configure("b", stepped(steps(rule, 5, 50))), after(time.Minute), measure(good, good)), "publish, claim 2, publish, remember, retire 1, emit swapped b", 100},
		"a share in the place of steps ends the automatic": {canary(configure("b", percent(20)), pause, measure(bad, good)), "", 20},
		"a swap that waits for others is not asked for twice": {
			canary(holds, pause, measure(good, good), pause, measure(good, good), measure(good, good)), "", 50,
		},
		"nor is it taken back": {canary(holds, pause, measure(good, good), pause, measure(good, good), measure(bad, good)), "", 50},
		"what was measured in another step says nothing": {canary(pause, measure(good, good), func(s *story) {
			s.see(measured{s.state.canary.number, 0, bad, good})
		}), "", 50},
	} {
		t.Run(promise, func(t *testing.T) {
			s := newStory(t.Fatalf)
			for _, next := range c.story {
				next(s)
			}
			if got := strings.Join(s.steps, ", "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			share := 0
			switch {
			case s.state.canary.exists():
				share = s.state.share()
			case s.state.current.id == "b":
				share = 100
			}
			if share != c.share {
				t.Errorf("it gets %d %% of new jobs, want %d", share, c.share)
			}
		})
	}
}

// Whatever is measured, and however the clock jumps: shares only grow, no step is left before its pause is over and its calls are there,
// nobody is withdrawn for what users do wrong, and who was withdrawn never comes back by itself.
func TestARolloutIsSteadyWhateverIsMeasured(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := config.AbortIf{
			ErrorRate: rapid.SampledFrom([]float64{0, 0.05, 1}).Draw(t, "error rate"), LatencyP99: rapid.SampledFrom([]float64{0, 1, 2}).Draw(t, "latency"),
			MinCalls: rapid.IntRange(0, 20).Draw(t, "least calls"),
		}
		percents := rapid.SliceOfNDistinct(rapid.IntRange(1, 99), 1, 4, rapid.ID).Draw(t, "steps")
		slices.Sort(percents)
		s := newStory(t.Fatalf)
		for _, next := range []chapter{configure("a"), up(1, 0), configure("b", stepped(steps(rule, percents...))), up(2, 0)} {
			next(s)
		}
		counts := rapid.Custom(func(t *rapid.T) route.Counts {
			var all []calls
			for range rapid.IntRange(0, 3).Draw(t, "kinds") {
				n := rapid.IntRange(0, 40).Draw(t, "calls")
				errors := rapid.IntRange(0, n).Draw(t, "errors")
				all = append(all, calls{
					rapid.SampledFrom(route.Calls[:]).Draw(t, "kind"), n, errors, rapid.IntRange(0, n-errors).Draw(t, "rejected"),
					time.Duration(rapid.IntRange(0, 1000).Draw(t, "milliseconds")) * time.Millisecond,
				})
			}
			return countsOf(all...)
		})
		withdrawn := false
		for range rapid.IntRange(1, 30).Draw(t, "looks") {
			s.now = s.now.Add(time.Duration(rapid.IntRange(-30, 30).Draw(t, "minutes")) * time.Minute)
			canary, current := counts.Draw(t, "canary"), counts.Draw(t, "current")
			before := s.state
			measure(canary, current)(s)
			is := s.state
			lasted := s.now.Sub(before.stage.began)
			advanced := before.canary.exists() && (is.current.id == "b" || is.stage.step > before.stage.step)
			switch {
			case withdrawn && (is.canary.exists() || is.candidate.exists() || is.current.id != "a"):
				t.Fatalf("what was withdrawn is back: %+v", is)
			case advanced && (lasted < 10*time.Minute || canary.Calls() < uint64(rule.MinCalls)):
				t.Fatalf("step %d is left after %v and %d calls", before.stage.step, lasted, canary.Calls())
			case is.canary.exists() && (is.stage.step < before.stage.step || is.stage.step > before.stage.step+1 || is.share() < before.share()):
				t.Fatalf("from step %d to %d", before.stage.step, is.stage.step)
			}
			if before.canary.exists() && slices.Contains(is.rejected, "b") {
				withdrawn = true
				slower := rule.LatencyP99 > 0 && canary.Quantile(0.99) >= leastSlower
				if canary.Calls() < max(uint64(rule.MinCalls), 1) || canary.Errors() == 0 && !slower {
					t.Fatalf("it is withdrawn after %d calls of which %d failed: %v", canary.Calls(), canary.Errors(), is.swapError)
				}
			}
		}
		lookedAgain(s)
		if withdrawn && (s.state.current.id != "a" || s.state.canary.exists() || s.state.candidate.exists()) {
			t.Fatal(fmt.Sprintf("what was withdrawn is back after a look: %+v", s.state))
		}
		s.check(t.Fatalf)
	})
}
