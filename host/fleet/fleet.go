// Package fleet keeps the configured plugins running.
//
// It is level-triggered: the configuration is the desired state, and each plugin has one owner goroutine (owner.go) that
// moves the plugin towards it, whatever happens to the process. The fleet itself holds what concerns all plugins: who
// serves which task category. Whenever that changes it publishes a new route table; it never talks to the gateway.
package fleet

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
)

// Options configure a Fleet.
type Options struct {
	// Routes is where route tables are published.
	Routes *route.Current
	// RunRoot is where the processes get their private directories.
	RunRoot *process.RunRoot
	// DialOptions are for the connections to the plugins.
	DialOptions []grpc.DialOption
	// Log gets the fleet's own lines and those of the plugins.
	Log *slog.Logger
}

// Fleet is all configured plugins of a host.
type Fleet struct {
	options Options
	settled chan struct{}

	settings *config.Config // set by Start, and what the owners read their plugins' entries from
	owners   []*owner       // sorted by plugin name; fixed by Start

	mu     sync.Mutex
	claims []route.Claim // in the order of acceptance: who holds a category keeps it
}

// New returns a fleet without plugins.
func New(options Options) *Fleet {
	return &Fleet{options: options, settled: make(chan struct{})}
}

// Start starts all configured plugins side by side and returns at once; Settled tells when each has been started or has failed.
// They run until Stop. Start is called once.
func (f *Fleet) Start(settings *config.Config) {
	f.settings = settings
	for name, configured := range settings.Plugins {
		f.owners = append(f.owners, newOwner(f, name, configured))
	}
	slices.SortFunc(f.owners, func(a, b *owner) int { return strings.Compare(a.Plugin(), b.Plugin()) })
	for _, o := range f.owners {
		go o.run()
	}
	go f.settle()
}

// settle accepts the plugins of the first start in the order of their names, so that every replica of a host settles a
// conflict between two of them in the same way.
func (f *Fleet) settle() {
	for _, o := range f.owners {
		<-o.attempted
		close(o.admitted)
		<-o.decided
	}
	close(f.settled)
}

// Settled is closed once every plugin was accepted or its first start has failed: from then on the list of task
// categories is as complete as it can be.
func (f *Fleet) Settled() <-chan struct{} { return f.settled }

// accept puts a plugin's manifest into the route table. It fails with a route.Conflict where another plugin already
// serves one of its categories.
func (f *Fleet) accept(target route.Target, manifest plugin.Manifest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	claims := slices.Clone(f.claims)
	claim := route.Claim{Target: target, Manifest: manifest}
	if i := slices.IndexFunc(claims, func(c route.Claim) bool { return c.Target == target }); i >= 0 {
		claims[i] = claim
	} else {
		claims = append(claims, claim)
	}
	table, conflicts := route.NewTable(claims...)
	if len(conflicts) > 0 {
		return conflicts[0]
	}
	f.claims = claims
	f.options.Routes.Publish(table)
	return nil
}

// Stop drains and stops all plugins side by side. When ctx ends the draining does too; the processes are gone in any
// case when Stop returns.
func (f *Fleet) Stop(ctx context.Context) {
	var all sync.WaitGroup
	for _, o := range f.owners {
		all.Go(func() { o.stop(ctx) })
	}
	all.Wait()
	<-f.settled
}

// Status is what every plugin is doing now, by name.
func (f *Fleet) Status() []Status {
	statuses := make([]Status, 0, len(f.owners))
	for _, o := range f.owners {
		statuses = append(statuses, o.status())
	}
	return statuses
}
