package gateway

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/access"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/internal/bytebudget"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/tracing"
	"github.com/agenthost/agenthost/proto/fields"
)

// routedCall is one call on its way to a plugin.
type routedCall struct {
	method method
	info   requestInfo
	route  route.Route
	table  *route.Table // where route was found; nil where that does not matter
	want   route.Want
	// request is what the plugin gets.
	request *frame
	// staleIfError says that a poll whose plugin gives no answer gets the last known status. That is better than an answer which
	// comes late, and no error ever reaches the caller.
	staleIfError bool
	// record is what is on record of the task, where the request has that in the place of a resource_meta; unreadable says why
	// nothing can be read of it.
	record     *record.Record
	unreadable error
	// creation is what the call is made for, where it makes the job of an attempt, and background what such a call is made in
	// that no caller of CreateTask has made.
	creation   *jobs.Creation
	local      *localCreation  // where this host alone can make the job
	background context.Context //nolint:containedctx // it goes with the call, which goes on without its caller
	// job is what is remembered of the job under: in deletions its creation, in polls of plugins that anything is remembered
	// for its status.
	job jobs.ID
	// answer is the room for the messages of an answer that is a stream, which has at most mostAnswer bytes.
	answer     *bytebudget.Share
	mostAnswer int
	// unfit says that such an answer was none that Flyte could have taken.
	unfit bool
	// hidden is the plugin's failure, where memory or an end answers in its place.
	hidden error
	// trace is what a collector is told of the call, or of what is done for it, and try of the call of the plugin, where that is a
	// stream.
	trace *tracing.Call
	try   *tracing.Try
	// caller is who makes the call. judged says that there is a policy which he was judged by.
	caller access.Caller
	judged bool
	// made is the resource_meta that a creation has answered with; zero where that is not known yet.
	made jobs.Meta
	// task is what is remembered of the calls about the task; nil where nothing is. ended says that the task has ended by this one.
	task  *jobs.Task
	ended bool
	// counted is the job of a poll or deletion, as the jobs that run are counted.
	counted jobs.Key
	// note is what is noted of the call for its end; nil for one that no caller has made.
	note *noted
}

// plan reads a request, finds the plugin that answers it, and puts into the request what that plugin has to find there.
func (g *Gateway) plan(ctx context.Context, m method, request *frame) (*routedCall, error) {
	caller, err := g.callerOf(ctx)
	if err != nil {
		return nil, err
	}
	message := request.bytes()
	info, err := m.read(message)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "this %s cannot be routed: %v", m.name, err)
	}
	note := noteOf(ctx)
	note.taskType = info.category.Name
	c := &routedCall{note: note, trace: note.trace, method: m, info: info, request: request, want: route.Want{New: m.creates || m.sync}, caller: caller, judged: caller.Judged()}
	c.info.meta = nil // it refers to the request, which may be replaced

	unsealed := record.IsSealed(info.meta)
	place, sealError := g.unseal(&info)
	metaOfFlyte := info.meta // without its seal, of which there is a new one each time
	e, wrapped := open(info.meta, g.keys())
	switch {
	case wrapped:
		info.meta = e.meta
		e = g.pinOf(e)
	case sealError != nil:
		c.record, c.unreadable = &record.Record{}, sealError
	case record.Is(info.meta), record.Newer(info.meta):
		read, err := g.readRecord(info.meta)
		c.record, c.unreadable = &read, err
		e.plugin = read.Plugin
	}
	if err := g.authorize(c, place); err != nil {
		return nil, err
	}
	ok := c.lookup(g.routes.Table(), info, e)
	if !ok && g.awaitStart(ctx, c.trace) {
		ok = c.lookup(g.routes.Table(), info, e)
	}
	if !ok && c.want.New {
		if ok, err = g.awaitReturn(ctx, c, info); err != nil {
			return nil, err
		}
	}
	switch served := ok && (g.enabled.Has(guarantee.VersionRouting) || c.route.Category == info.category); { // G2
	case served:
	case m.polls && g.enabled.Has(guarantee.LastKnownStatus), m.deletes && g.enabled.Has(guarantee.UnknownJobs): // G5 and G7
		c.route = route.Route{Target: noPlugin{g.unservedReason(info, "")}, Policy: route.Policy{MaxStale: unservedMaxStale}}
	default:
		err := status.Error(codes.NotFound, g.unservedReason(info, info.scope())+"; ListAgents names those it serves")
		g.noteUnserved(c, err)
		return nil, err
	}
	if m.sync != c.route.Sync && c.record == nil && (!m.creates || !g.mayRunSync(c)) {
		kind, use := "an async", "CreateTask, GetTask and DeleteTask"
		if c.route.Sync {
			kind, use = "a sync", "ExecuteTaskSync"
		}
		return nil, status.Errorf(codes.FailedPrecondition, "%s was called for task category %s, which is served by %s agent (plugin %q): use %s",
			m.name, info.category, kind, c.route.Target.Plugin(), use)
	}

	if c.route.Category != info.category && !c.unserved() {
		g.record(c, guarantee.VersionRouting) // G2
	}
	if wrapped && c.route.Target.Plugin() == e.plugin {
		g.record(c, guarantee.Pinning) // G11
	}
	meta := jobs.MetaOf(metaOfFlyte)
	switch {
	case m.deletes:
		c.job = c.creationID(meta)
	case m.polls && c.remembersStatus():
		c.job = c.statusID(meta)
		c.staleIfError = c.route.Policy.MaxStale > 0 && g.enabled.Has(guarantee.LastKnownStatus) // G5
	}
	c.task = g.taskOf(c, place, meta)
	if m.polls || m.deletes {
		c.counted = g.running.Key(info.category.Name, metaOfFlyte)
	}
	if wrapped || unsealed {
		if message, err = fields.Set(message, jobMeta, info.meta); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "this %s cannot be routed: %v", m.name, err)
		}
		request.set(message)
	}
	g.addCategory(c)
	g.tagPickles(c)
	return c, nil
}

// addCategory names the category of a job where its agent reads it. Flyte 2 leaves out the deprecated task_type, Flyte 1
// before categories sends nothing else, and an agent that finds nothing where it looks fails a poll, or takes a job that it
// is to delete for gone.
func (g *Gateway) addCategory(c *routedCall) {
	m, info := c.method, &c.info
	switch {
	case m.category == 0, c.unserved(), !g.enabled.Has(guarantee.BothFlytes):
		return
	case c.route.ByTaskType && !info.hasTaskType:
		c.request.set(withTaskType(c.request.bytes(), info.category.Name)) // G12
	case !c.route.ByTaskType && !info.hasCategory:
		c.request.set(withCategory(c.request.bytes(), m.category, c.route.Category)) // G12
	default:
		return
	}
	g.record(c, guarantee.BothFlytes) // G12
}

// lookup finds the plugin that answers the call.
func (c *routedCall) lookup(table *route.Table, info requestInfo, e envelope) bool {
	c.table = table
	if e.plugin != "" {
		if found, ok := table.LookupIn(e.plugin, info.category); ok { // G11
			c.route = found
			c.want.Generation = e.generation // where that plugin is gone, its generations mean nothing
			return true
		}
	}
	found, ok := table.Lookup(info.category)
	if c.want.New {
		found, ok = table.LookupNew(info.category, info.project, info.domain)
	}
	if ok {
		c.route = found
	}
	return ok
}

// moved says that the task type of a call has gone to another plugin while the call was on its way, and sends it there: the plugin
// that it has found may have been swapped for a generation that does not know the type.
func (g *Gateway) moved(c *routedCall) bool {
	table := g.routes.Table()
	if c.table == nil || c.table == table || c.unserved() {
		return false
	}
	was := c.route
	c.table = table
	if _, ok := table.LookupIn(was.Target.Plugin(), c.info.category); ok {
		return false
	}
	if !c.lookup(table, c.info, envelope{}) || c.route.Sync != was.Sync {
		c.route = was
		return false
	}
	g.addCategory(c)
	return true
}

// awaitStart waits, just until before the caller's deadline, while the plugins of a host that has just started come up:
// its table is not whole before. It says whether it had to wait.
func (g *Gateway) awaitStart(ctx context.Context, of *tracing.Call) bool {
	return g.await(ctx, g.synced, of)
}

func (g *Gateway) await(ctx context.Context, begun <-chan struct{}, of *tracing.Call) bool {
	select {
	case <-begun:
		return false
	default:
	}
	defer g.waits.begin("", OnStart)()
	waiting, cancel := justBefore(ctx, 0)
	defer cancel()
	defer of.Wait(tracing.OnStart)()
	select {
	case <-begun:
	case <-waiting.Done():
	}
	return true
}

// awaitReturn has a call that makes a job wait for a plugin that was removed a short while ago, until just before its caller's
// deadline: NOT_FOUND at once would cost a task all its attempts within a second, and the plugin may have been removed by
// mistake. ok is false where there was no such plugin, and none is in its place.
func (g *Gateway) awaitReturn(ctx context.Context, c *routedCall, info requestInfo) (ok bool, err error) {
	if !g.enabled.Has(guarantee.WaitsForPlugin) {
		return false, nil
	}
	table := g.routes.Table()
	removed, known := table.Removed(info.category)
	if !known { // another may have come into its place by the time that the call hears of the removal
		return c.lookup(table, info, envelope{}), nil
	}
	gone := &removedPlugin{removed}
	recorded := routedCall{info: info, route: gone.route(info.category)}
	if c.method.creates && g.mayRecord(&recorded) {
		c.route = recorded.route
		return true, nil
	}
	if c.lookup(g.routes.Table(), info, envelope{}) {
		return true, nil
	}
	defer g.waits.begin(removed.Plugin, OnRemoved)()
	waiting, cancel := justBefore(ctx, 0)
	defer cancel()
	recorded.method = c.method
	defer c.trace.Wait(tracing.OnPlugin)()
	waiting, stop := g.stalling(waiting, &recorded)
	defer stop()
	for {
		changed := g.routes.Changed()
		if c.lookup(g.routes.Table(), info, envelope{}) {
			g.record(c, guarantee.WaitsForPlugin) // G3
			return true, nil
		}
		select {
		case <-changed:
		case <-waiting.Done():
			if canceled(ctx) {
				return false, status.FromContextError(ctx.Err()).Err()
			}
			if refusal, ok := status.FromError(context.Cause(waiting)); ok && refusal.Code() != codes.OK { // G17
				return false, refusal.Err()
			}
			return false, status.Error(codes.Unavailable, removed.Reason())
		}
	}
}

// remembersStatus says whether the statuses of the plugin's jobs are remembered.
func (c *routedCall) remembersStatus() bool {
	policy := &c.route.Policy
	return policy.MaxStale > 0 || policy.MinInterval > 0 || policy.Rate > 0
}

// statusID is what the status of a job is remembered under. Its meta, as Flyte has it, would not do alone: agents number their
// jobs as they like, and several Flytes may share one host. The output prefix is another for every attempt anywhere. The
// plugin is no part of it: what is known of a job stays true when another takes over its category, or none does.
func (c *routedCall) statusID(meta jobs.Meta) jobs.ID {
	return c.statusIDWith(c.info.outputPrefix, meta)
}

func (c *routedCall) statusIDWith(outputPrefix string, meta jobs.Meta) jobs.ID {
	return meta.ID(c.info.category.Name, outputPrefix)
}

// named says that what is remembered under statusID is this job's. Flyte before 1.15.1 polls without an output prefix: then it
// may be another's that had the same meta, such as an earlier run of a sensor, whose meta is its configuration. That a new job
// has the name hears only the replica that makes it.
func (c *routedCall) named() bool { return c.info.outputPrefix != "" }

// creationID is what the creation of a job is remembered under for its deletion, which knows no output prefix.
func (c *routedCall) creationID(meta jobs.Meta) jobs.ID { return meta.ID(c.info.category.Name) }

// unservedMaxStale is for how long a plugin may come that serves jobs which none does (any more, or yet): polls of them are
// answered nevertheless, and deletions fail.
const unservedMaxStale = config.DefaultMaxStale

// noPlugin stands for the plugin of jobs that no plugin serves. They may have one soon: it could not be started when the
// host was, or was taken out of the configuration by mistake.
type noPlugin struct{ reason string }

// unservedReason is why no plugin serves a category, in the scope of a project and domain.
func (g *Gateway) unservedReason(info requestInfo, scope string) string {
	none := fmt.Sprintf("no plugin of this host serves task category %s%s", info.category, scope)
	if removed, ok := g.routes.Table().Removed(info.category); ok {
		return none + ": " + removed.Reason()
	}
	return none
}

func (noPlugin) Plugin() string { return "" }

func (noPlugin) TryAcquire(route.Want) (route.Lease, bool) { return route.Lease{}, false }

func (n noPlugin) Acquire(context.Context, route.Want) (route.Lease, error) {
	trouble, _ := n.Trouble()
	return route.Lease{}, trouble
}

func (n noPlugin) Trouble() (route.Trouble, bool) {
	return route.Trouble{Reason: n.reason}, true
}

// removedPlugin stands for a plugin that was taken out a short while ago, for tasks that can go on record: it may have been a
// mistake, and then their jobs are made when it is back.
type removedPlugin struct{ removed route.Removed }

// removedLook is for how long a creation waits for such a plugin before it looks whether another one has come.
const removedLook = 250 * time.Millisecond

func (p *removedPlugin) route(category plugin.Category) route.Route {
	return route.Route{
		Category: category, Target: p,
		IdempotentCreate: p.removed.Manifest.IdempotentCreate(category), FindByKey: p.removed.Manifest.FindByKey(category),
	}
}

func (p *removedPlugin) Plugin() string { return p.removed.Plugin }

func (p *removedPlugin) TryAcquire(route.Want) (route.Lease, bool) { return route.Lease{}, false }

func (p *removedPlugin) Acquire(ctx context.Context, _ route.Want) (route.Lease, error) {
	select {
	case <-time.After(removedLook):
	case <-ctx.Done():
	}
	trouble, _ := p.Trouble()
	return route.Lease{}, trouble
}

func (p *removedPlugin) Trouble() (route.Trouble, bool) {
	return route.Trouble{Since: p.removed.At, Reason: p.removed.Reason()}, true
}

// unserved says that no plugin of this host serves the call's category.
func (c *routedCall) unserved() bool {
	_, none := c.route.Target.(noPlugin)
	return none
}

// scope is the project and domain of a call, for messages.
func (info *requestInfo) scope() string {
	if info.project == "" && info.domain == "" {
		return ""
	}
	return fmt.Sprintf(" in project %q, domain %q", info.project, info.domain)
}
