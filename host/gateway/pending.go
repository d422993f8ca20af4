package gateway

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/agenthost/agenthost/host/jobs"
)

// Pending is a task that this host has accepted, or has met in a poll, and that has no job yet.
type Pending struct {
	// ID names the task, for CancelPending: 64 hex digits.
	ID string
	// Plugin is the plugin that it waits for, TaskType the name of its task category.
	Plugin, TaskType string
	// Project, Domain and Execution name the execution, and Node the node within its workflow or subworkflow.
	Project, Domain, Execution, Node string
	// Retry is the number of the attempt, from 0.
	Retry uint32
	// Accepted is when the task was accepted, perhaps by another host.
	Accepted time.Time
	// Waits is what it waits for, in words; it may be empty.
	Waits string
}

// pendingCall is what is remembered of a creation for as long as it is under way.
type pendingCall struct {
	// call does not change: what makes the job is a copy.
	call *routedCall
	// ctx is what a call about it is made in.
	ctx context.Context //nolint:containedctx // its values are those of the call
}

// pendingOf tells of a creation for which only copies of c will be changed, and whose ctx does not end.
func pendingOf(ctx context.Context, c *routedCall) *pendingCall {
	return &pendingCall{call: c, ctx: ctx}
}

// Pending returns the accepted tasks that have no job yet, the oldest first.
func (g *Gateway) Pending() []Pending {
	all := []Pending{}
	for _, n := range g.creates.UnderWay() {
		accepted, ok := n.Accepted()
		p, known := n.About().(*pendingCall)
		if !ok || !known {
			continue
		}
		info := &p.call.info
		all = append(all, Pending{
			ID: hex.EncodeToString(n.ID[:]), Plugin: p.call.route.Target.Plugin(), TaskType: info.category.Name,
			Project: info.project, Domain: info.domain, Execution: info.execution, Node: info.node, Retry: info.retry,
			Accepted: accepted, Waits: n.Waits(),
		})
	}
	return all
}

// CancelPending gives an accepted task up: its plugin is told to make no job for it, in no process. Polls then say that it was
// deleted. It fails where the task is not known here, or has a job, and where the plugin cannot be told; the task is given up
// at this host even so.
func (g *Gateway) CancelPending(ctx context.Context, id string) error {
	var attempt jobs.ID
	decoded, err := hex.DecodeString(id)
	if err != nil || copy(attempt[:], decoded) != len(attempt) || len(decoded) != len(attempt) {
		return fmt.Errorf("%q is not the ID of a task: it has 64 hex digits", id)
	}
	for _, n := range g.creates.UnderWay() {
		_, accepted := n.Accepted()
		p, known := n.About().(*pendingCall)
		if n.ID != attempt || !accepted || !known {
			continue
		}
		if _, local := n.Attached().(*localCreation); local { // whose plugin would not know what it is told
			if !g.stopUnsent(n) {
				return fmt.Errorf("%s is just making the task's job: delete that in Flyte", p.call.describePlugin())
			}
			return nil
		}
		g.creates.Abandon(attempt)
		call := *p.call
		bounded, cancel := context.WithCancel(p.ctx)
		defer context.AfterFunc(ctx, cancel)()
		defer cancel()
		if err := g.abandon(bounded, &call); err != nil {
			return fmt.Errorf("%s could not be told, and another replica may make the job: %w", p.call.describePlugin(), err)
		}
		g.budget.release(p.call.execution(), attempt)
		return nil
	}
	return fmt.Errorf("no task %s waits for its job at this host", id)
}
