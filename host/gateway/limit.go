package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/route"
)

// limits hold the calls to plugins within what their configurations allow. They outlive route tables: a swap gives nobody
// a fresh quota.
type limits struct {
	// limited counts the calls that found a limit reached.
	limited *prometheus.CounterVec

	mu       sync.Mutex
	byPlugin map[string]*limit
}

// limit is that of one plugin.
type limit struct {
	policy  route.Policy
	limited *prometheus.CounterVec
	// places is nil where calls under way are not limited, calls where their rate is not.
	places *semaphore.Weighted
	calls  *rate.Limiter
}

// of returns a plugin's limit under a policy. One that has changed is taken over with what the old one has counted; but
// calls that hold a place under the old number of places do not count under the new one.
func (l *limits) of(found route.Route) *limit {
	policy := found.Policy
	if policy.Concurrency <= 0 && policy.Rate <= 0 {
		return &limit{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, ok := l.byPlugin[found.Target.Plugin()]
	if ok && now.policy == policy {
		return now
	}
	next := &limit{policy: policy, limited: l.limited}
	if ok {
		next.places, next.calls = now.places, now.calls
	}
	switch {
	case policy.Concurrency <= 0:
		next.places = nil
	case next.places == nil || now.policy.Concurrency != policy.Concurrency:
		next.places = semaphore.NewWeighted(int64(policy.Concurrency))
	}
	burst := max(policy.Burst, 1)
	switch {
	case policy.Rate <= 0:
		next.calls = nil
	case next.calls == nil:
		next.calls = rate.NewLimiter(rate.Limit(policy.Rate), burst)
	default:
		next.calls.SetLimit(rate.Limit(policy.Rate))
		next.calls.SetBurst(burst)
	}
	if l.byPlugin == nil {
		l.byPlugin = map[string]*limit{}
	}
	l.byPlugin[found.Target.Plugin()] = next
	return next
}

// place waits for a place among the calls under way, which the caller gives back with leave.
func (l *limit) place(ctx context.Context, found route.Route) (leave func(), err error) {
	if l.places == nil {
		return func() {}, nil
	}
	leave = func() { l.places.Release(1) }
	if l.places.TryAcquire(1) {
		return leave, nil
	}
	began := time.Now()
	waiting, cancel := justBefore(ctx, max(l.policy.Wait, 1)) // zero would be no bound
	defer cancel()
	err = l.places.Acquire(waiting, 1)
	l.count(found, "concurrency", err)
	if err != nil {
		return nil, refused(ctx, "plugin %q has %d calls under way, as many as its limits.concurrency allows, and none ended in the %v that this one for %s waited",
			found.Target.Plugin(), l.policy.Concurrency, time.Since(began).Round(time.Millisecond), found.Category)
	}
	return leave, nil
}

// turn waits for a call's turn under the limit of their rate, until just before its deadline or, if most is not zero, for
// as long as that. It does not begin to wait for a turn that is due too late.
func (l *limit) turn(ctx context.Context, found route.Route, most time.Duration) error {
	if l.calls == nil || l.calls.Allow() {
		return nil
	}
	waiting, cancel := justBefore(ctx, most)
	defer cancel()
	err := l.calls.Wait(waiting)
	l.count(found, "rate", err)
	if err != nil {
		return refused(ctx, "plugin %q gets %g calls a second, as its limits.rate allows, and this one for %s is due later than it can wait",
			found.Target.Plugin(), l.policy.Rate, found.Category)
	}
	return nil
}

func (l *limit) count(found route.Route, which string, err error) {
	outcome := "waited"
	if err != nil {
		outcome = "refused"
	}
	l.limited.WithLabelValues(found.Target.Plugin(), which, outcome).Inc()
}

// refused is the error of a wait that was in vain.
func refused(ctx context.Context, format string, args ...any) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return status.FromContextError(ctx.Err()).Err()
	}
	return status.Errorf(codes.ResourceExhausted, format, args...)
}
