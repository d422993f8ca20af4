package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/tracing"
)

// limits hold the calls to plugins within what their configurations allow. They outlive route tables: a swap gives nobody
// a fresh quota.
type limits struct {
	// limited counts the calls that found a limit reached.
	limited *prometheus.CounterVec
	waits   *waits

	mu       sync.Mutex
	byPlugin map[string]*limit
}

// limit is that of one plugin.
type limit struct {
	policy  route.Policy
	limited *prometheus.CounterVec
	waits   *waits
	// underWay is how many calls hold a slot, also those that took it under a former policy.
	underWay *atomic.Int64
	// slots is nil where concurrency is not limited, rate where the rate is not.
	slots *semaphore.Weighted
	rate  *rate.Limiter
}

// unlimited is that of plugins without.
var unlimited limit

// of returns a plugin's limit under a policy. One that has changed is taken over with what the old one has counted; but
// calls that hold a slot under the old number of slots do not count under the new one.
func (l *limits) of(r route.Route) *limit {
	policy := r.Policy
	if policy.Concurrency <= 0 && policy.Rate <= 0 {
		return &unlimited
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, ok := l.byPlugin[r.Target.Plugin()]
	if ok && now.policy == policy {
		return now
	}
	next := &limit{policy: policy, limited: l.limited, waits: l.waits, underWay: new(atomic.Int64)}
	if ok {
		next.slots, next.rate, next.underWay = now.slots, now.rate, now.underWay
	}
	switch {
	case policy.Concurrency <= 0:
		next.slots = nil
	case next.slots == nil || now.policy.Concurrency != policy.Concurrency:
		next.slots = semaphore.NewWeighted(int64(policy.Concurrency))
	}
	burst := max(policy.Burst, 1)
	switch {
	case policy.Rate <= 0:
		next.rate = nil
	case next.rate == nil:
		next.rate = rate.NewLimiter(rate.Limit(policy.Rate), burst)
	default:
		next.rate.SetLimit(rate.Limit(policy.Rate))
		next.rate.SetBurst(burst)
	}
	if l.byPlugin == nil {
		l.byPlugin = map[string]*limit{}
	}
	l.byPlugin[r.Target.Plugin()] = next
	return next
}

// acquireSlot waits for one of the plugin's slots for calls under way, which the caller gives back with release.
func (l *limit) acquireSlot(ctx context.Context, c *routedCall) (release func(), err error) {
	if l.slots == nil {
		return func() {}, nil
	}
	release = func() { l.underWay.Add(-1); l.slots.Release(1) }
	if l.slots.TryAcquire(1) {
		l.underWay.Add(1)
		return release, nil
	}
	defer l.waits.begin(c.route.Target.Plugin(), OnConcurrency)()
	waiting, cancel := justBefore(ctx, max(l.policy.Wait, 1)) // zero would be no bound
	defer cancel()
	over := c.trace.Wait(tracing.OnConcurrency)
	err = l.slots.Acquire(waiting, 1)
	over()
	l.count(c.route, "concurrency", err)
	if err != nil {
		return nil, refused(ctx, "plugin %q has %d calls under way, as many as its limits.concurrency allows, and none ended in time for this one for %s",
			c.route.Target.Plugin(), l.policy.Concurrency, c.route.Category)
	}
	l.underWay.Add(1)
	return release, nil
}

// acquireRate waits until the rate limit lets a call pass: until just before its deadline and, if maxWait is not zero, for as
// long as that at most. It fails at once where that would be too late.
func (l *limit) acquireRate(ctx context.Context, c *routedCall, maxWait time.Duration) error {
	if l.rate == nil || l.rate.Allow() {
		return nil
	}
	defer l.waits.begin(c.route.Target.Plugin(), OnRate)()
	waiting, cancel := justBefore(ctx, maxWait)
	defer cancel()
	over := c.trace.Wait(tracing.OnRate)
	err := l.rate.Wait(waiting)
	over()
	l.count(c.route, "rate", err)
	if err != nil {
		return refused(ctx, "plugin %q gets %g calls a second, as its limits.rate allows, and this one for %s is due later than it can wait",
			c.route.Target.Plugin(), l.policy.Rate, c.route.Category)
	}
	return nil
}

func (l *limit) count(r route.Route, which string, err error) {
	outcome := "waited"
	if err != nil {
		outcome = "refused"
	}
	l.limited.WithLabelValues(r.Target.Plugin(), which, outcome).Inc()
}

// refused is the error of a wait that was in vain.
func refused(ctx context.Context, format string, args ...any) error {
	if canceled(ctx) {
		return status.FromContextError(ctx.Err()).Err()
	}
	return status.Errorf(codes.ResourceExhausted, format, args...)
}
