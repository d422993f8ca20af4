package page

import (
	"fmt"
	"time"

	"github.com/agenthost/agenthost/host/admin"
)

// rollout is a canary beside the current generation.
type rollout struct {
	Percent int
	Since   time.Time
	Sides   []side
	// Words is the difference in a sentence.
	Words string
	Worse bool
}

// side is one of the two.
type side struct {
	Role, Generation, Version          string
	Calls, Errors, Rate, Median, Ninth string
}

// enoughCalls is from how many calls on a difference is told.
const enoughCalls = 20

func rolloutPart(p admin.PluginStatus) part {
	r := p.Rollout
	if r == nil {
		return part{id: "rollout", template: "part-rollout", data: (*rollout)(nil)}
	}
	row := func(role string, s admin.RolloutSide) side {
		c := s.Calls
		return side{
			Role: role, Generation: short(s.Generation), Version: s.Version, Calls: count(int(c.Calls)), Errors: count(int(c.Errors)), Rate: inPercent(c.ErrorRate),
			Median: inSeconds(c.P50Seconds), Ninth: inSeconds(c.P99Seconds),
		}
	}
	shown := &rollout{Percent: r.Percent, Since: r.Since.Round(time.Second), Sides: []side{row("canary", r.Canary), row("current", r.Current)}}
	canary, current := r.Canary.Calls, r.Current.Calls
	if canary.Calls < enoughCalls || current.Calls < enoughCalls {
		shown.Words = fmt.Sprintf("Too few calls to tell: the canary has had %s, the current generation %s.", count(int(canary.Calls)), count(int(current.Calls)))
		return part{id: "rollout", template: "part-rollout", data: shown}
	}
	errors := canary.ErrorRate - current.ErrorRate
	shown.Worse = errors > 0
	more := "as many errors as"
	switch {
	case errors > 0:
		more = fmt.Sprintf("%s points more errors than", figure(100*errors))
	case errors < 0:
		more = fmt.Sprintf("%s points fewer errors than", figure(-100*errors))
	}
	shown.Words = fmt.Sprintf("The canary has %s the current generation", more)
	if current.P50Seconds > 0 && canary.P50Seconds > 0 {
		shown.Words += fmt.Sprintf(", and its median call takes %s × as long", figure(canary.P50Seconds/current.P50Seconds))
	}
	shown.Words += "."
	return part{id: "rollout", template: "part-rollout", data: shown}
}

func inPercent(rate float64) string { return figure(100*rate) + " %" }
