package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/tools/terminal"
)

// enoughToTell is how many calls a generation has to have had before rates and times are shown of it, where the configuration does not
// say: of fewer, one more or less makes the difference.
const enoughToTell = 100

// canaryLines compare a plugin's canary with its current generation.
func canaryLines(name string, r *admin.RolloutStatus) string {
	if r == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: canary %s, %d %% of new jobs, beside %s for %s\n",
		terminal.Line(name), sideName(r.Canary), r.Percent, sideName(r.Current), uptime(time.Since(r.Since).Seconds()))
	fmt.Fprintf(&b, "  %s\n", comparison(r))
	if s := r.Step; s != nil {
		fmt.Fprintf(&b, "  step %d of %d, waits for %s; in it %d of %d calls, errors %s against %s\n",
			s.Number, s.Of, s.WaitsFor, s.Canary.Calls, s.MinCalls, route.Percent(s.Canary.ErrorRate), route.Percent(s.Current.ErrorRate))
	}
	return b.String()
}

func sideName(s admin.RolloutSide) string {
	return terminal.Line(s.Generation) + prefixed(" ", terminal.Line(s.Version))
}

// comparison is what both generations have done since the canary got its first job.
func comparison(r *admin.RolloutStatus) string {
	canary, current := r.Canary.Calls, r.Current.Calls
	enough := uint64(enoughToTell)
	if r.Step != nil {
		enough = max(uint64(r.Step.MinCalls), 1)
	}
	text := fmt.Sprintf("calls %d against %d, errors %d against %d", canary.Calls, current.Calls, canary.Errors, current.Errors)
	if canary.Calls < enough || current.Calls < enough {
		return text + fmt.Sprintf(": too few calls to tell, which takes %d of each", enough)
	}
	text += fmt.Sprintf(": %s against %s (%+.1f)", route.Percent(canary.ErrorRate), route.Percent(current.ErrorRate), 100*(canary.ErrorRate-current.ErrorRate))
	return text + ", p50 " + times(canary.P50Seconds, current.P50Seconds) + ", p99 " + times(canary.P99Seconds, current.P99Seconds)
}

func times(canary, current float64) string {
	text := twoDigits(canary) + " against " + twoDigits(current)
	if current > 0 {
		text += fmt.Sprintf(" (%.1f times)", canary/current)
	}
	return text
}

// twoDigits writes a time that may be short, in two digits.
func twoDigits(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	unit := time.Duration(1)
	for d/unit >= 100 {
		unit *= 10
	}
	return d.Round(unit).String()
}
