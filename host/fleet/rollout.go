package fleet

import (
	"fmt"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/route"
)

// A rollout by steps. While there is a canary whose configuration has steps, the supervisor measures what it and the current
// generation have done since the step began, and decide goes on to the next step, waits, or withdraws the canary. All that it
// decides by is assess, a function of values.

// rolloutStage is where a rollout by steps stands. The zero value is that of a canary without steps.
type rolloutStage struct {
	step     int       // from 0
	began    time.Time // the step
	promoted bool      // the last step is over, and the canary is on its way to become the current one
}

// assessment is what becomes of a canary now.
type assessment int

const (
	stay assessment = iota
	promote
	abort
)

// assess says what becomes of a canary that has been in a step for so long, by what it and the current generation have done since
// the step began, and why.
func assess(rollout config.Rollout, step int, lasted time.Duration, canary, current *route.Counts) (assessment, string) {
	calls := canary.Calls()
	enough := calls >= uint64(rollout.AbortIf.MinCalls)
	if enough {
		if why := worse(rollout.AbortIf, canary, current); why != "" {
			return abort, why
		}
	}
	switch pause := rollout.Steps[step].Pause; {
	case lasted < pause:
		return stay, ""
	case !enough:
		return stay, ""
	}
	return promote, ""
}

// leastSlower is by how much a quantile has to be larger to count: of what takes next to no time twice as much is no difference.
const leastSlower = 10 * time.Millisecond

// worse says in what a canary is worse than a rule allows; empty: in nothing. Only what there are enough calls of is compared.
func worse(rule config.AbortIf, canary, current *route.Counts) string {
	enough := max(uint64(rule.MinCalls), 1)
	if canary.Calls() >= enough {
		if expected := expectedRate(canary, current); canary.ErrorRate() > expected+rule.ErrorRate {
			return fmt.Sprintf("%d of its %d calls failed by its fault, %s against %s", canary.Errors(), canary.Calls(), route.Percent(canary.ErrorRate()), route.Percent(expected))
		}
	}
	for _, call := range route.Calls {
		new, old := canary.Of(call), current.Of(call)
		if new.Calls() < enough {
			continue
		}
		if new.ErrorRate() > old.ErrorRate()+rule.ErrorRate {
			return fmt.Sprintf("%d of its %d calls of the kind %s failed by its fault, %s against %s", new.Errors(), new.Calls(), call, route.Percent(new.ErrorRate()), route.Percent(old.ErrorRate()))
		}
		if rule.LatencyP99 <= 0 || old.Calls() < enough {
			continue
		}
		took, before := new.Quantile(0.99), old.Quantile(0.99)
		if float64(took) > rule.LatencyP99*float64(before) && took-before >= leastSlower {
			return fmt.Sprintf("of its calls of the kind %s 99 of 100 take up to %s, against %s", call, rounded(took), rounded(before))
		}
	}
	return ""
}

// expectedRate is the part of errors that the current generation would have with as many calls of each kind as the canary had: that has
// had more of those that make jobs, and fewer polls.
func expectedRate(canary, current *route.Counts) float64 {
	errors := 0.0
	for _, call := range route.Calls {
		new, old := canary.Of(call), current.Of(call)
		errors += float64(new.Calls()) * old.ErrorRate()
	}
	return errors / float64(max(canary.Calls(), 1))
}

// rounded is a time for people, to two digits.
func rounded(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 100 {
		unit *= 10
	}
	return d.Round(unit)
}

// resumed is the stage of a canary whose steps are other ones than before: its share never becomes smaller.
func resumed(was rolloutStage, share int, steps []config.RolloutStep, now time.Time) rolloutStage {
	next := rolloutStage{step: max(len(steps)-1, 0), began: now, promoted: was.promoted}
	for i, step := range steps {
		if step.Percent >= share {
			next.step = i
			break
		}
	}
	return next
}

// share is how much of new jobs the canary gets, in percent.
func (s *state) share() int {
	rollout := s.canary.settings.Rollout
	if len(rollout.Steps) == 0 {
		return rollout.Percent
	}
	return rollout.Steps[min(s.stage.step, len(rollout.Steps)-1)].Percent
}

// measures says that there is a canary whose steps go on by what is measured.
func (s *state) measures() bool {
	return s.canary.exists() && len(s.canary.settings.Rollout.Steps) > 0 && !s.stage.promoted
}

// measured: what the canary and the current generation have done since a step began.
type measured struct {
	generation, step int
	canary, current  route.Counts
}

func (o measured) weigh(d *decision) {
	if !d.measures() || o.generation != d.canary.number || o.step != d.stage.step {
		return // of another step
	}
	rollout := d.canary.settings.Rollout
	switch next, why := assess(rollout, d.stage.step, d.now.Sub(d.stage.began), &o.canary, &o.current); next {
	case abort:
		d.do(countAbort{})
		d.withdraw(fmt.Errorf("generation %s is withdrawn in step %d of %d, %d %% of new jobs: %s", d.canary.id, d.stage.step+1, len(rollout.Steps), d.share(), why))
	case promote:
		if d.stage.step+1 < len(rollout.Steps) {
			d.stage.step, d.stage.began = d.stage.step+1, d.now
			d.do(publishView{})
			d.tellStep()
			return
		}
		d.stage.promoted = true
		d.do(publishView{})
		d.swapTo(d.canary)
	}
}

// tellStep tells of the canary's share.
func (d *decision) tellStep() {
	cause := fmt.Sprintf("%d %% of new jobs", d.share())
	if steps := d.canary.settings.Rollout.Steps; len(steps) > 0 {
		cause = fmt.Sprintf("step %d of %d, %s", d.stage.step+1, len(steps), cause)
	}
	d.emit(Event{Generation: d.canary.id, State: EventCanary, Was: EventSwapping, Cause: cause}, false)
}
