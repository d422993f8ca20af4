package gateway

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// trip is one call on its way to a plugin.
type trip struct {
	method method
	header call
	found  route.Route
	want   route.Want
	// request is what the plugin gets.
	request *frame
	// job is what is remembered of the job under: in deletions its creation, in polls of plugins that anything is remembered
	// for its status.
	job jobs.ID
}

// plan reads a request, finds who answers it, and puts into the request what that plugin has to find there.
func (g *Gateway) plan(ctx context.Context, m method, request *frame) (*trip, error) {
	message := request.bytes()
	header, err := m.read(message)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "this %s cannot be routed: %v", m.name, err)
	}
	t := &trip{method: m, header: header, request: request, want: route.Want{New: m.creates || m.sync}}
	t.header.meta = nil // it refers to the request, which may be replaced

	metaOfFlyte := header.meta
	e, wrapped := open(header.meta)
	if wrapped {
		header.meta = e.meta
	}
	ok := t.find(g.routes.Table(), header, e)
	if !ok && g.awaitStart(ctx) {
		ok = t.find(g.routes.Table(), header, e)
	}
	switch served := ok && (g.kept.Has(guarantee.VersionRouting) || t.found.Category == header.category); {
	case served:
	case m.polls && g.kept.Has(guarantee.LastKnownStatus), m.deletes && g.kept.Has(guarantee.UnknownJobs):
		t.found = route.Route{Target: nobody{header.category}, Policy: route.Policy{MaxStale: nobodyStale}}
	default:
		return nil, status.Errorf(codes.NotFound, "no plugin of this host serves task category %s%s; ListAgents names those it serves", header.category, header.where())
	}
	if m.sync != t.found.Sync {
		kind, use := "an async", "CreateTask, GetTask and DeleteTask"
		if t.found.Sync {
			kind, use = "a sync", "ExecuteTaskSync"
		}
		return nil, status.Errorf(codes.FailedPrecondition, "%s was called for task category %s, which is served by %s agent (plugin %q): use %s",
			m.name, header.category, kind, t.found.Target.Plugin(), use)
	}

	if t.found.Category != header.category && !t.unserved() {
		g.acted(t.found, guarantee.VersionRouting)
	}
	if e.plugin != "" && t.found.Target.Plugin() == e.plugin {
		g.acted(t.found, guarantee.Pinning)
	}
	switch {
	case m.deletes:
		t.job = t.nameOf(metaOfFlyte)
	case m.polls && t.remembered():
		t.job = t.jobOf(metaOfFlyte)
	}
	if wrapped {
		if message, err = withBytes(message, jobMeta, header.meta); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "this %s cannot be routed: %v", m.name, err)
		}
		request.set(message)
	}
	if m.generation == flyte2 && t.found.ByTaskType && !m.creates && !header.hasTaskType && g.kept.Has(guarantee.BothFlytes) {
		request.set(withTaskType(request.bytes(), header.category.Name))
		g.acted(t.found, guarantee.BothFlytes)
	}
	return t, nil
}

// find looks up who answers.
func (t *trip) find(table *route.Table, header call, e envelope) (ok bool) {
	if e.plugin != "" {
		if t.found, ok = table.LookupIn(e.plugin, header.category); ok {
			t.want.Generation = e.generation // where that plugin is gone, its generations mean nothing
			return true
		}
	}
	if t.want.New {
		t.found, ok = table.LookupNew(header.category, header.project, header.domain)
	} else {
		t.found, ok = table.Lookup(header.category)
	}
	return ok
}

// awaitStart waits, just until before the caller's deadline, while the plugins of a host that has just started come up:
// its table is not whole before. It says whether it had to wait.
func (g *Gateway) awaitStart(ctx context.Context) bool {
	select {
	case <-g.settled:
		return false
	default:
	}
	waiting, cancel := justBefore(ctx, 0)
	defer cancel()
	select {
	case <-g.settled:
	case <-waiting.Done():
	}
	return true
}

// remembered says whether statuses of the plugin's jobs are.
func (t *trip) remembered() bool {
	policy := &t.found.Policy
	return policy.MaxStale > 0 || policy.MinInterval > 0 || policy.Rate > 0
}

// jobOf is what the status of a job is remembered under. Its meta, as Flyte has it, would not do alone: agents number their
// jobs as they like, and several Flytes may share one host. The output prefix is another for every attempt anywhere. The
// plugin is no part of it: what is known of a job stays true when another takes over its category, or none does.
func (t *trip) jobOf(meta []byte) jobs.ID {
	return jobs.Identify(t.header.category.Name, t.header.outputPrefix, string(meta))
}

// nameOf is what the creation of a job is remembered under for its deletion, which knows no output prefix.
func (t *trip) nameOf(meta []byte) jobs.ID {
	return jobs.Identify(t.header.category.Name, string(meta))
}

// nobodyStale is for how long a plugin may come that serves jobs which none does (any more, or yet): polls of them are
// answered nevertheless, and deletions fail. It is as long as the max_stale of a plugin whose configuration says nothing.
const nobodyStale = 10 * time.Minute

// nobody stands for the plugin of jobs that no plugin serves. They may have one soon: it could not be started when the
// host was, or was taken out of the configuration by mistake.
type nobody struct{ category plugin.Category }

func (nobody) Plugin() string { return "" }

func (nobody) TryAcquire(route.Want) (route.Lease, bool) { return route.Lease{}, false }

func (n nobody) Acquire(context.Context, route.Want) (route.Lease, error) {
	return route.Lease{}, fmt.Errorf("no plugin of this host serves task category %s", n.category)
}

// unserved says that no plugin of this host serves the trip's category.
func (t *trip) unserved() bool {
	_, none := t.found.Target.(nobody)
	return none
}

// where is the project and domain of a call, for people.
func (c *call) where() string {
	if c.project == "" && c.domain == "" {
		return ""
	}
	return fmt.Sprintf(" in project %q, domain %q", c.project, c.domain)
}
