package gateway

import (
	"encoding/hex"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/proto/fields"
)

// What is remembered of the calls about each task (jobs.Tasks) is for people who ask: see explain.go. A creation says which task it
// is; a poll is put down to it by what the job's status is remembered under, and a deletion by the resource_meta alone. Polls of
// plugins that nothing is remembered for (status.max_stale: 0) are not noted: finding the task would be all that they pay for.

// taskOf is the task that a call is about; nil where it is not known. place is what its resource_meta was sealed with, and meta that,
// without a seal.
func (g *Gateway) taskOf(c *routedCall, place *record.Seal, meta jobs.Meta) *jobs.Task {
	switch m := &c.method; {
	case m.creates || m.sync:
		if c.info.attempt == "" {
			return nil
		}
		return g.tasks.Attempt(c.attemptID(), c.info.taskName())
	case m.polls && c.remembersStatus():
		if known := g.tasks.Job(c.job); known != nil {
			return known
		}
		return g.meet(c, place, meta)
	case m.polls:
		return nil
	}
	return g.tasks.Only(meta.ID(), c.info.category.Name)
}

// meet is the task of a job that another host has made, or one before this one.
func (g *Gateway) meet(c *routedCall, place *record.Seal, meta jobs.Meta) *jobs.Task {
	var met *jobs.Task
	switch name := c.info.taskName(); {
	case c.record != nil && c.record.Request != nil:
		info, err := readCreate(c.record.Request)
		if err != nil {
			return nil
		}
		about := routedCall{info: info}
		met = g.tasks.Attempt(about.attemptID(), info.taskName())
	case c.record != nil && c.record.Intent != "":
		var attempt jobs.ID
		if decoded, err := hex.DecodeString(c.record.Intent); err != nil || copy(attempt[:], decoded) != len(attempt) {
			return nil
		}
		met = g.tasks.Attempt(attempt, name)
	case place != nil:
		name.Project, name.Domain = place.Project, place.Domain
		met = g.tasks.Unknown(name)
	default:
		met = g.tasks.Unknown(name)
	}
	met.Bind(meta.ID(), c.job)
	return met
}

func (info *requestInfo) taskName() jobs.TaskName {
	return jobs.TaskName{
		Type: info.category.Name, Version: info.category.Version, Node: info.node, Retry: info.retry,
		Execution: jobs.Execution{Project: info.project, Domain: info.domain, Name: info.execution},
	}
}

// noteCall notes a call with its task, and counts its job. answer is that to a creation, without a seal.
func (g *Gateway) noteCall(c *routedCall, answer *frame, err error) {
	calls := c.row(err)
	calls.Applied = c.note.applied.Load()
	var made []byte
	if c.method.creates && err == nil {
		if meta, _, err := fields.Take(answer.bytes(), createdMeta); err == nil {
			made = meta
		}
	}
	g.countJob(c, made, &calls, err)
	if c.task == nil {
		return
	}
	if made != nil {
		meta := c.made
		if meta == (jobs.Meta{}) {
			meta = jobs.MetaOf(made)
		}
		c.task.Bind(meta.ID(), c.statusID(meta), c.statusIDWith("", meta))
	}
	if calls.Hidden = uint32(status.Code(c.hidden)); err == nil {
		err = c.hidden
	}
	if err != nil {
		calls.Reason = status.Convert(err).Message()
	}
	c.task.Note(calls, c.ended)
}

// countJob counts the job of a call among those that run, until it ends. made is its resource_meta, without a seal, where the call has made it.
func (g *Gateway) countJob(c *routedCall, made []byte, call *jobs.Calls, err error) {
	owner := jobs.Owner{Plugin: call.Plugin, Generation: call.Generation}
	switch m := &c.method; {
	case err != nil: // nothing is known of it that was not before
	case m.creates && made != nil:
		g.running.Heard(g.running.Key(c.info.category.Name, made), owner, call.Applied)
	case !m.polls && !m.deletes:
	case c.ended:
		g.running.Ended(c.counted, owner, call.Applied)
	case m.polls:
		g.running.Heard(c.counted, owner, call.Applied)
	}
}

// Jobs are the jobs that run, by the plugin and generation that was asked about each last. full says that there are more than are counted.
func (g *Gateway) Jobs() (counts []jobs.Count, full bool) {
	return g.running.Counts(), g.running.Full()
}

// SweepJobs forgets jobs of which nothing is heard any more. It is to be called every few seconds.
func (g *Gateway) SweepJobs() { g.running.Sweep() }

// row is a call as it is noted, with the instance that was asked last.
func (c *routedCall) row(err error) jobs.Calls {
	calls := jobs.Calls{Method: c.method.name, Plugin: c.route.Target.Plugin(), Code: uint32(status.Code(err))}
	if asked := c.note.asked.Load(); asked != nil {
		calls.Generation, calls.PID = asked.Generation, asked.PID
	}
	return calls
}

// noteUnserved notes a call that begins a task and that no plugin serves.
func (g *Gateway) noteUnserved(c *routedCall, err error) {
	if c.begins() && c.info.attempt != "" {
		g.tasks.Attempt(c.attemptID(), c.info.taskName()).Note(jobs.Calls{
			Method: c.method.name, Code: uint32(codes.NotFound), Reason: status.Convert(err).Message(),
		}, false)
	}
}

// noteLate notes how the creation of a task ended that was on record by then.
func (g *Gateway) noteLate(c *routedCall, n *jobs.Creation, outcome jobs.Outcome) {
	if _, accepted := n.Accepted(); !accepted || outcome.Err != nil && outcome.Harmless {
		return
	}
	calls := c.row(outcome.Err)
	if calls.Late = true; outcome.Err != nil {
		calls.Reason = outcome.Err.Error()
	}
	g.tasks.Attempt(n.ID, c.info.taskName()).Note(calls, outcome.Err != nil || outcome.End != nil)
}
