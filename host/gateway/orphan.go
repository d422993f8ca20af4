package gateway

import (
	"context"
	"strconv"
	"time"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/tracing"
	"github.com/agenthost/agenthost/proto/fields"
)

// orphanTimeout bounds the deletion of an orphan.
const orphanTimeout = time.Minute

// leave sees to the job of a creation whose caller is gone: when it is made after all, and nobody asks for it again, it is
// deleted. The jobs of plugins that find them are not: whoever begins the attempt again gets the same.
func (g *Gateway) leave(n *jobs.Creation, c *routedCall) {
	if c.route.FindByKey || c.route.KeepsUnclaimed || c.route.Sync || g.creation.Load().OrphanGrace <= 0 || !g.enabled.Has(guarantee.NoOrphans) { // G16
		return
	}
	g.closing.Lock()
	defer g.closing.Unlock()
	if g.ctx.Err() != nil || !n.Leave() {
		return
	}
	later := *c // of its request only what a deletion needs: a large one is gone once its creation has ended
	later.request = &frame{}
	if connection, _, err := fields.Take(c.request.bytes(), createConnection); err == nil && connection != nil {
		later.request.set(fields.Append(nil, createConnection, connection))
	}
	g.detached.Go(func() {
		select {
		case <-n.Done():
		case <-g.ctx.Done():
			return
		}
		if outcome := n.Outcome(); outcome.Err == nil {
			g.awaitClaim(n, deletion(&later, outcome), outcome)
		}
	})
}

// awaitClaim makes a call that deletes a creation's job after a while, if nobody has asked for the job by then. It takes no goroutine
// meanwhile.
func (g *Gateway) awaitClaim(n *jobs.Creation, deleting *routedCall, made jobs.Outcome) {
	time.AfterFunc(g.creation.Load().OrphanGrace, func() {
		g.closing.Lock()
		defer g.closing.Unlock()
		if g.ctx.Err() == nil && !n.Claimed() {
			g.detached.Go(func() { g.deleteOrphan(deleting, made) })
		}
	})
}

// deleteOrphan deletes a job that nobody knows of.
func (g *Gateway) deleteOrphan(c *routedCall, made jobs.Outcome) {
	ctx, cancel := context.WithTimeout(g.ctx, orphanTimeout)
	defer cancel()
	about := []any{
		"plugin", c.route.Target.Plugin(), "task_type", c.info.category.Name, "execution", c.info.execution, "node", c.info.node,
		"resource_meta", cut(strconv.Quote(string(made.Meta)), maxReason),
	}
	later := *c
	c = &later
	c.trace = c.trace.Later(tracing.DeleteOrphan)
	got, err := g.ask(ctx, c)
	defer c.trace.End(err)
	if err != nil {
		c.logTo(g.log).Error("a job that nobody knows of could not be deleted, and may go on", append(about, "error", err)...)
		return
	}
	got.message.free()
	g.creates.Gone(made.Job)
	g.record(c, guarantee.NoOrphans) // G16
	c.logTo(g.log).Warn("a job is deleted whose CreateTask was answered when nobody waited for it any more, and that nobody has asked for since",
		append(about, "after", g.creation.Load().OrphanGrace)...)
}

// deletion is the DeleteTask call for the job of a creation. Nothing of the creation's own request is left in it.
func deletion(c *routedCall, made jobs.Outcome) *routedCall {
	category := fields.Append(nil, categoryName, c.info.category.Name)
	if c.info.category.Version != 0 {
		category = fields.AppendVarint(category, categoryVersion, uint64(c.info.category.Version))
	}
	message := fields.Append(nil, jobTaskType, c.info.category.Name)
	message = fields.Append(message, jobMeta, made.Meta)
	message = fields.Append(message, getTaskCategory, category)
	if connection, _, err := fields.Take(c.request.bytes(), createConnection); err == nil && connection != nil {
		message = fields.Append(message, createConnection, connection)
	}
	call := *c
	call.method = method{name: "DeleteTask", target: pluginAsync + "DeleteTask", repeatable: true, deletes: true, asked: askedDelete}
	call.want.New, call.want.Generation = false, made.Generation
	call.creation = nil
	call.request = newFrame(message)
	return &call
}
