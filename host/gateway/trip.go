package gateway

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/jobs"
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
	// job is what is remembered of the job under, in polls of plugins that anything is remembered for.
	job jobs.ID
}

// plan reads a request, finds who answers it, and puts into the request what that plugin has to find there.
func (g *Gateway) plan(m method, request *frame) (*trip, error) {
	message := request.bytes()
	header, err := m.read(message)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "this %s cannot be routed: %v", m.name, err)
	}
	t := &trip{method: m, header: header, request: request, want: route.Want{New: m.creates || m.sync}}
	t.header.meta = nil // it refers to the request, which may be replaced

	table, wrapped, ok := g.routes.Table(), false, false
	if e, isWrapped := open(header.meta); isWrapped {
		wrapped, header.meta = true, e.meta
		t.found, ok = table.LookupIn(e.plugin, header.category)
		t.want.Generation = e.generation
	}
	if !ok {
		t.want.Generation = "" // that of a plugin that is gone
		if m.creates || m.sync {
			t.found, ok = table.LookupNew(header.category, header.project, header.domain)
		} else {
			t.found, ok = table.Lookup(header.category)
		}
	}
	if !ok || !g.kept.has(versions) && t.found.Category != header.category {
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

	if m.polls && t.remembered() {
		t.job = t.jobOf(header.meta)
	}
	if wrapped {
		if message, err = withBytes(message, jobMeta, header.meta); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "this %s cannot be routed: %v", m.name, err)
		}
		request.set(message)
	}
	if m.generation == flyte2 && t.found.ByTaskType && !m.creates && !header.hasTaskType && g.kept.has(bothFlytes) {
		request.set(withTaskType(request.bytes(), header.category.Name))
		g.acted(t.found, bothFlytes)
	}
	return t, nil
}

// remembered says whether statuses of the plugin's jobs are.
func (t *trip) remembered() bool {
	policy := &t.found.Policy
	return policy.MaxStale > 0 || policy.MinInterval > 0 || policy.Rate > 0
}

// jobOf is what the status of a job is remembered under. Its meta alone would not do: agents number their jobs as they
// like, and several Flytes may share one host. The output prefix is another for every attempt anywhere.
func (t *trip) jobOf(meta []byte) jobs.ID {
	return jobs.Identify(t.found.Target.Plugin(), t.found.Category.Name, t.header.outputPrefix, string(meta))
}

// where is the project and domain of a call, for people.
func (c *call) where() string {
	if c.project == "" && c.domain == "" {
		return ""
	}
	return fmt.Sprintf(" in project %q, domain %q", c.project, c.domain)
}
