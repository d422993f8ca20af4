package gateway

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/agenthost/agenthost/host/route"
)

// guarantee is one of the things that Flyte can rely on, whatever plugins do. The numbers are those of the design.
type guarantee int

const (
	// listed: discovery is answered without plugins, and forgets no type because a plugin is not there.
	listed guarantee = iota + 1
	// versions: a category in a version that nobody serves goes to the highest there is.
	versions
	// waits: a call waits for a plugin that is not there yet.
	waits
	// createsOnce: one attempt makes one job, however often it is asked for.
	createsOnce
	// masks: a poll that fails is answered with the last known status.
	masks
	// ends: a job that cannot be polled for too long has failed.
	ends
	// forgets: a job that its plugin does not know has failed, and is deleted already.
	forgets
	// retries: a recoverable error becomes a failure that Flyte retries.
	retries
	// oneSyncAnswer: a sync answer is one message that ends the task.
	oneSyncAnswer
	// fits: answers are of a size that Flyte can live with.
	fits
	// pinned: a job is polled where it was made.
	pinned
	// bothFlytes: each generation of Flyte gets what it understands.
	bothFlytes
	// pings: keepalive pings are welcome.
	pings
	// thinned: polls in close succession are answered from memory.
	thinned
	guaranteesEnd
)

// String is the guarantee's name in the design, in metrics and in Options.Without: "G5".
func (g guarantee) String() string { return "G" + strconv.Itoa(int(g)) }

// guarantees is a set of them.
type guarantees uint16

func setOf(members ...guarantee) guarantees {
	var set guarantees
	for _, g := range members {
		set |= 1 << g
	}
	return set
}

func (s guarantees) has(g guarantee) bool { return s&(1<<g) != 0 }

// allBut is every guarantee besides those named. A name that is none panics: it is a mistake in a test.
func allBut(names []string) guarantees {
	var kept guarantees
	unknown := slices.Clone(names)
	for g := listed; g < guaranteesEnd; g++ {
		if !slices.Contains(names, g.String()) {
			kept |= setOf(g)
		}
		unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == g.String() })
	}
	if len(unknown) > 0 {
		panic(fmt.Sprintf("gateway: there are no guarantees %q", unknown))
	}
	return kept
}

// acted counts that guarantees saved a call for a route.
func (g *Gateway) acted(found route.Route, acted ...guarantee) {
	g.actedAll(found, setOf(acted...))
}

func (g *Gateway) actedAll(found route.Route, acted guarantees) {
	for each := listed; acted != 0 && each < guaranteesEnd; each++ {
		if acted.has(each) {
			g.metrics.guarantees.WithLabelValues(each.String(), found.Target.Plugin(), found.Category.Name).Inc()
		}
	}
}
