package fleet

import (
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
	s.generations[t.generation].retire()
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
	return claimed{t, s.fleet.routes.claim(t.routes(s))}
}

func (t updateClaim) carryOut(s *supervisor) observation {
	// A conflict is nothing new: a rule that told the plugin and an older one apart is gone, and that one serves on.
	_ = s.fleet.routes.claim(t.claim.routes(s))
	return nil
}

func (t withdrawClaim) carryOut(s *supervisor) observation {
	grace := time.Duration(0)
	if t.removed {
		grace = s.desired.Load().settings.Create.RemovedGrace
	}
	s.fleet.routes.withdraw(s, grace)
	return nil
}

// routes is the claim as the route table takes it: with what the configuration says of calls.
func (t claimCategories) routes(s *supervisor) route.Claim {
	return route.Claim{
		Target: s, Manifest: t.manifest, Policy: policyOf(t.settings),
		Pinned: t.settings.Pin == config.PinAlways || t.canary, NeverPinned: t.settings.Pin == config.PinNever,
	}
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
	close(s.decided)
	return nil
}

func (skipTurn) carryOut(s *supervisor) observation {
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

func (awaitDrain) carryOut(s *supervisor) observation {
	s.running.Wait()
	return drained{}
}
