package verify

import (
	"context"
	"maps"
	"slices"
)

// Check is one thing that the contract asks for.
type Check struct {
	// Name is stable: group/what.
	Name string
	// Reason is why it matters to Flyte or the host, in one sentence.
	Reason string
	// Advice is what to do when it fails.
	Advice string

	// run looks. detail is what was seen of something that is right.
	run func(ctx context.Context, k *kit) (detail string, err error)
}

// Checks are all checks, in the order in which they are made: the cheap and telling ones first.
func Checks() []*Check {
	return slices.Concat(handshakeChecks(), tlsChecks(), lifeChecks(), agentChecks(), requestChecks(), taskChecks(), findChecks(), syncChecks(),
		exchangeChecks(), metricsChecks(), loadChecks(), drainChecks(), stopChecks(), logChecks())
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
