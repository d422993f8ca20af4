package fleet

import (
	"context"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/route"
)

// How the supervisor carries out what decide said. Each step is done when carryOut returns.

func (t startGeneration) carryOut(s *supervisor) observation {
	s.generations[t.generation] = newGeneration(s, t.generation, t.revision)
	return nil
}

func (t retireGeneration) carryOut(s *supervisor) observation {
	s.retire(s.generations[t.generation])
	s.fleet.routes.release(s.name, s, t.generation)
	return nil
}

func (t adjustGeneration) carryOut(s *supervisor) observation {
	g := s.generations[t.generation]
	g.settings.Store(&t.settings)
	g.resize(t.settings.Instances)
	return nil
}

func (publishView) carryOut(s *supervisor) observation {
	s.publish()
	return nil
}

func (t emitEvent) carryOut(s *supervisor) observation {
	s.emit(t.event, t.bad)
	return nil
}

func (t logWarning) carryOut(s *supervisor) observation {
	if t.err != nil {
		s.log.Warn(t.message, "error", t.err)
	} else {
		s.log.Warn(t.message)
	}
	return nil
}

func (t claimCategories) carryOut(s *supervisor) observation {
	return claimed{t, s.fleet.routes.claim(s, t.generation, t.routes(s), t.swap)}
}

func (t updateClaim) carryOut(s *supervisor) observation {
	s.fleet.routes.claim(s, t.claim.generation, t.claim.routes(s), false) // what comes of it is told
	return nil
}

func (withdrawClaim) carryOut(s *supervisor) observation {
	if s.fleet.routes.leave(s.name, s) {
		return nil // it is told when it may go
	}
	return left{}
}

// routes is the claim as the route table takes it: with what the configuration says of calls.
func (t claimCategories) routes(s *supervisor) route.Claim {
	claim := route.Claim{
		Target: s, Manifest: t.manifest, Policy: policyOf(t.settings), Only: route.ParseTaskTypes(t.settings.TaskTypes),
		Pinned: t.settings.Pin == config.PinAlways || t.canary, NeverPinned: t.settings.Pin == config.PinNever,
	}
	if g := s.generations[t.generation]; g != nil {
		claim.Target = claimant{s, g}
	}
	return claim
}

// claimant is a plugin for calls that come by the claim of one of its generations: a table that is published has them go there from
// that moment on, and the supervisor makes the generation the current one just after.
type claimant struct {
	*supervisor
	generation *generation
}

// TryAcquire implements route.Target.
func (c claimant) TryAcquire(want route.Want) (route.Lease, bool) {
	if lease, ok := c.ahead(); ok {
		return lease, true
	}
	return c.supervisor.TryAcquire(want)
}

// Acquire implements route.Target.
func (c claimant) Acquire(ctx context.Context, want route.Want) (route.Lease, error) {
	if lease, ok := c.ahead(); ok {
		return lease, nil
	}
	return c.supervisor.Acquire(ctx, want)
}

// ahead takes a lease on the generation while it is not the current one yet.
func (c claimant) ahead() (route.Lease, bool) {
	if v := c.view.Load(); v.current == nil || v.current.number < c.generation.number {
		return c.generation.acquire()
	}
	return route.Lease{}, false
}

func policyOf(p config.Plugin) route.Policy {
	return route.Policy{
		MinInterval: p.Status.MinInterval, MaxStale: p.Status.MaxStale,
		Concurrency: p.Limits.Concurrency, Wait: p.Limits.Wait, Rate: p.Limits.Rate, Burst: p.Limits.Burst,
	}
}

func (awaitTurn) carryOut(s *supervisor) observation {
	close(s.attempted)
	<-s.admitted
	return nil
}

func (passTurn) carryOut(s *supervisor) observation {
	s.fleet.routes.unexpect(s.name, s)
	close(s.decided)
	return nil
}

func (skipTurn) carryOut(s *supervisor) observation {
	s.fleet.routes.unexpect(s.name, s)
	close(s.attempted)
	close(s.decided)
	return nil
}

func (t rememberManifest) carryOut(s *supervisor) observation {
	s.fleet.memory.remember(s.name, t.runs, t.manifest)
	return nil
}

func (forgetManifest) carryOut(s *supervisor) observation {
	s.forgetManifest()
	return nil
}

func (recallManifest) carryOut(s *supervisor) observation {
	if last, ok := s.fleet.memory.recall(s.name); ok {
		return recalled{&last.manifest}
	}
	return recalled{}
}

// retryCandidate is how long a candidate that failed is left alone at least: the plugin is served meanwhile.
const retryCandidate = 5 * time.Second

func (scheduleRetry) carryOut(s *supervisor) observation {
	wait, _ := s.failures.next(time.Now(), false)
	s.retry = time.After(max(wait, retryCandidate))
	return nil
}

func (t cancelRetry) carryOut(s *supervisor) observation {
	s.retry, s.failures = nil, newFailures(t.policy)
	return nil
}

func (countRollback) carryOut(s *supervisor) observation {
	s.fleet.rollbacks.Add(1)
	return nil
}

func (countAbort) carryOut(s *supervisor) observation {
	s.aborts.Add(1)
	return nil
}

func (awaitDrain) carryOut(s *supervisor) observation {
	s.running.Wait()
	return drained{}
}
