package fleet

import (
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/agenthost/agenthost/host/config"
)

// failures decides how long to wait before the next start.
type failures struct {
	rule    config.CrashLoop
	backoff *backoff.ExponentialBackOff
	at      []time.Time // the recent ones, oldest first
	starts  []time.Time // those of them that speak against the plugin's starts
}

func newFailures(policy config.Restart) *failures {
	exponential := backoff.NewExponentialBackOff()
	exponential.InitialInterval = policy.InitialBackoff
	exponential.MaxInterval = policy.MaxBackoff
	exponential.Multiplier = 2
	exponential.RandomizationFactor = 0.3 // so that plugins that died together do not come back together
	exponential.Reset()
	return &failures{rule: policy.CrashLoop, backoff: exponential}
}

// next records a failure, and says how long to wait and whether this is a crash loop. A loop waits the longest wait: it slows
// down, and never gives up. A plugin that held out for the whole window starts over with the shortest.
//
// sound says that what has failed was sound: such a plugin is back as soon as it is started, so it makes neither later waits
// longer nor a failed start one of many.
func (f *failures) next(now time.Time, sound bool) (wait time.Duration, looping bool) {
	f.at = within(append(f.at, now), now, f.rule.Window)
	looping = crashLoop(f.at, now, f.rule)
	if sound {
		f.starts = nil
	} else {
		f.starts = within(append(f.starts, now), now, f.rule.Window)
	}
	if len(f.starts) <= 1 {
		f.backoff.Reset()
	}
	wait = f.backoff.NextBackOff()
	if sound && looping || crashLoop(f.starts, now, f.rule) {
		wait = max(wait, f.backoff.MaxInterval)
	}
	return wait, looping
}

// crashLoop is the rule: so many failures within so long.
func crashLoop(failures []time.Time, now time.Time, rule config.CrashLoop) bool {
	return len(within(failures, now, rule.Window)) >= rule.Failures
}

// within keeps the times that lie no further back than window.
func within(times []time.Time, now time.Time, window time.Duration) []time.Time {
	return slices.DeleteFunc(slices.Clone(times), func(t time.Time) bool { return now.Sub(t) > window })
}
