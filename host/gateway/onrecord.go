package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/tracing"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/proto/fields"
)

// Creation says how tasks are accepted whose job cannot be made at once.
type Creation struct {
	// OnRecord says whether they are accepted; records that others made are read in any case.
	OnRecord bool
	// Local says that no other host is there to make good what this one has accepted: then tasks are accepted, too, whose
	// plugins cannot find their jobs, as far as that is safe.
	Local bool
	// Keys seal and open records. Nil, or a function that returns nil: there are none, and nothing is accepted.
	Keys func() *record.Keys
	// Timeout bounds one CreateTask call of a task on record.
	Timeout time.Duration
	// MaxWait is how long a task may be on record without a job; then it fails.
	MaxWait time.Duration
	// RecordMax is the largest record, and RecordMaxPerExecution the most that the records of one execution may have together,
	// in bytes: Flyte 1 keeps all in-flight nodes of a workflow in one object of limited size.
	RecordMax, RecordMaxPerExecution int
	// FinalCodes are refusals that no retry will change: from retry 1 on a task that its agent refuses so has FAILED.
	FinalCodes []codes.Code
	// UnsignedPinsUntil is until when an envelope that is not signed with Keys chooses a plugin, though all hosts have the same keys.
	UnsignedPinsUntil time.Time
	// OrphanGrace is for how long a job may wait for somebody to ask for it whose CreateTask was answered too late.
	OrphanGrace time.Duration
}

// DefaultCreation is the configuration's default.
func DefaultCreation() Creation {
	return Creation{
		Timeout: 5 * time.Minute, MaxWait: 30 * time.Minute,
		RecordMax: 8 << 10, RecordMaxPerExecution: 256 << 10, OrphanGrace: 15 * time.Minute,
	}
}

// keys are those of this moment; nil where there are none.
func (g *Gateway) keys() *record.Keys {
	if keys := g.creation.Load().Keys; keys != nil {
		return keys()
	}
	return nil
}

// mayRecord says whether the creation can go on record: the job must be found again, whoever makes it.
func (g *Gateway) mayRecord(c *routedCall) bool {
	return g.creation.Load().OnRecord && g.enabled.Has(guarantee.OnRecord) && c.info.attempt != "" && // G15
		findable(c.route) && g.keys() != nil
}

// findable says that jobs are found again, whoever makes them, and made once.
func findable(r route.Route) bool { return r.FindByKey && r.IdempotentCreate && !r.Sync }

// offer offers a record of the creation to those who wait for it. It returns false where the creation cannot go on record.
func (g *Gateway) offer(c *routedCall, n *jobs.Creation) bool {
	if c.local != nil {
		return c.local.offer()
	}
	if !g.mayRecord(c) {
		return false
	}
	if len(c.request.bytes()) > maxRecorded {
		return false
	}
	request, err := withoutConnection(c.request.bytes())
	if err != nil {
		return false
	}
	sealed := record.Record{Plugin: c.route.Target.Plugin(), Accepted: time.Now(), Request: request, Trace: c.trace.Reference()}.Seal(g.keys())
	if len(sealed) > g.creation.Load().RecordMax || !g.budget.take(c.execution(), n.ID, len(sealed), g.creation.Load().RecordMaxPerExecution) {
		return false
	}
	n.Offer(sealed)
	return true
}

// maxRecorded is the largest request that is tried for a record, in bytes: what is sealed is compressed first, and that takes memory.
const maxRecorded = 4 << 20

// createConnection is a field of Flyte 2's CreateTaskRequest, GetTaskRequest and DeleteTaskRequest alike. It has secrets.
const createConnection = 5

func withoutConnection(request []byte) ([]byte, error) {
	_, rest, err := fields.Take(request, createConnection)
	return rest, err
}

// How a creation on record ends without a job, besides jobs.ErrAbandoned.
var (
	errOverdue  = errors.New("it waited for longer than create.max_wait")
	errPoisoned = errors.New("the plugin died of it")
)

// refusal is an end that the plugin itself gave to a creation.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// onRecord makes the job of an attempt that can go on record. An end that no retry would change is told by the polls of a record,
// since CreateTask has no way to say it.
func (g *Gateway) onRecord(ctx context.Context, c *routedCall) (jobs.Outcome, reply) {
	outcome, got := g.makeOnRecord(ctx, c)
	if _, accepted := c.creation.Accepted(); accepted || outcome.Err == nil || outcome.Harmless {
		return outcome, got
	}
	if phase, why := g.endOf(c, outcome.Err); phase == core.TaskExecution_FAILED && !errors.Is(outcome.Err, jobs.ErrAbandoned) {
		return g.ended(c, resourceOf(phase, why)), reply{}
	}
	return outcome, got
}

// makeOnRecord makes the job of an attempt, however long that takes once the task is accepted.
func (g *Gateway) makeOnRecord(ctx context.Context, c *routedCall) (jobs.Outcome, reply) {
	pause := backoff.ExponentialBackOff{InitialInterval: 250 * time.Millisecond, Multiplier: 2, MaxInterval: 5 * time.Second}
	pause.Reset()
	unsure := false // whether an earlier try has made the job
	for {
		changed := g.routes.Changed()
		if g.overdue(c.creation) {
			return g.giveUp(ctx, c), reply{}
		}
		if unsure {
			meta, err := g.find(ctx, c)
			switch status.Code(err) {
			case codes.OK:
				return g.found(c, meta), reply{}
			case codes.Aborted:
				return jobs.Outcome{Err: jobs.ErrAbandoned}, reply{}
			case codes.NotFound:
				unsure = false
			default:
				c.creation.Wait(reason(err))
			}
		}
		switch {
		case unsure:
		case !findable(c.route): // another version of the plugin has come: nobody would find the job that it makes
			c.creation.Wait(notFindable(c))
		default:
			limited, cancel := context.WithTimeout(ctx, g.creation.Load().Timeout)
			got, err := g.createNow(limited, c)
			cancel()
			switch {
			case err == nil:
				outcome := g.made(c, got)
				got.message.free()
				return outcome, got
			case errors.Is(err, errPoisoned), errors.Is(err, errUnnamed):
				return jobs.Outcome{Err: err}, got
			case ctx.Err() != nil:
				return g.cutOff(ctx, err, got), got
			case got.answered && status.Code(err) == codes.Aborted:
				return jobs.Outcome{Err: jobs.ErrAbandoned}, got
			case got.answered && !transient(err):
				return jobs.Outcome{Err: refusal{err}}, got
			}
			c.creation.Wait(reason(err))
			unsure = got.sent && !got.answered
		}
		paused := g.waits.begin(c.route.Target.Plugin(), OnRetry)
		select {
		case <-time.After(pause.NextBackOff()):
		case <-changed:
		case <-ctx.Done():
			paused()
			return g.cutOff(ctx, context.Cause(ctx), reply{sent: unsure}), reply{}
		}
		paused()
		g.reroute(c)
	}
}

// transient says that a plugin's error passes by itself.
func transient(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.ResourceExhausted
}

// cutOff is how a creation ends whose context has ended: by the deadline of a caller who has no record, or with the host.
func (g *Gateway) cutOff(ctx context.Context, err error, got reply) jobs.Outcome {
	if errors.Is(context.Cause(ctx), jobs.ErrAbandoned) {
		return jobs.Outcome{Err: jobs.ErrAbandoned}
	}
	if errors.Is(context.Cause(ctx), errStopping) {
		err = errStopping
	}
	return jobs.Outcome{Err: err, Harmless: !got.sent || !got.answered} // the plugin finds what it has made
}

// overdue says that a task on record has waited for too long.
func (g *Gateway) overdue(n *jobs.Creation) bool {
	accepted, ok := n.Accepted()
	return ok && time.Since(accepted) > g.creation.Load().MaxWait
}

// giveUp ends a task that has waited for too long. The plugin has to say that there is no job, and to make sure that there
// will be none: another replica may be about to make it. Where it cannot be asked nothing is known, and polls say so.
func (g *Gateway) giveUp(ctx context.Context, c *routedCall) jobs.Outcome {
	meta, err := g.find(ctx, c)
	switch status.Code(err) {
	case codes.OK:
		return g.found(c, meta)
	case codes.NotFound:
		if err = g.abandon(ctx, c); err == nil {
			return jobs.Outcome{Err: g.waitedTooLong(c)}
		}
	case codes.Aborted:
		return jobs.Outcome{Err: jobs.ErrAbandoned}
	}
	return jobs.Outcome{Err: err, Harmless: true}
}

// found is the outcome of a creation whose job the plugin has found.
func (g *Gateway) found(c *routedCall, meta []byte) jobs.Outcome {
	return jobs.Outcome{Made: jobs.Made{Answer: fields.Append(nil, createdMeta, meta), Meta: meta, Job: c.creationID(jobs.MetaOf(meta))}}
}

// reroute looks the plugin up again: another configuration may have come. A task on record goes to the generation that serves
// now, never to a canary.
func (g *Gateway) reroute(c *routedCall) {
	c.want = route.Want{}
	table := g.routes.Table()
	if found, ok := table.LookupIn(c.route.Target.Plugin(), c.info.category); ok {
		c.route = found
	} else if found, ok := table.Lookup(c.info.category); ok && findable(found) {
		c.route = found
	}
}

const (
	// findTimeout bounds a call that finds a job.
	findTimeout = 30 * time.Second
	// locateMaxWait is how long a poll waits for the creation of its job, for the same reason as pollMaxWait.
	locateMaxWait = time.Second
)

// find asks the plugin for the job of an attempt: NOT_FOUND where it has made none, ABORTED where the attempt was abandoned.
func (g *Gateway) find(ctx context.Context, c *routedCall) (meta []byte, err error) {
	got, err := g.askAbout(ctx, c, pluginv1.FindOnlyHeader)
	if err != nil {
		return nil, unanswered(got, err)
	}
	defer got.message.free()
	meta, _, err = fields.Take(got.message.bytes(), createdMeta)
	if err != nil {
		return nil, noAnswer(c, err)
	}
	return slices.Clone(meta), nil
}

// unanswered keeps an error that the plugin did not give itself from being taken for what it says of the job.
func unanswered(got reply, err error) error {
	if code := status.Code(err); !got.answered && (code == codes.NotFound || code == codes.Aborted) {
		return status.Error(codes.Unavailable, status.Convert(err).Message())
	}
	return err
}

// abandon has the plugin give an attempt up: whatever it made is deleted, and nothing will be made.
func (g *Gateway) abandon(ctx context.Context, c *routedCall) error {
	got, err := g.askAbout(ctx, c, pluginv1.AbandonHeader)
	if err == nil {
		got.message.free()
	}
	return err
}

// askAbout makes a CreateTask call that makes nothing. A plugin that does not know what the header asks for would make a job, so it
// is not asked: another version, or another plugin, may have come into the place of the one that accepted the task.
func (g *Gateway) askAbout(ctx context.Context, c *routedCall, header string) (reply, error) {
	if !findable(c.route) {
		return reply{}, status.Error(codes.Unavailable, notFindable(c))
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, header, "1"), findTimeout)
	defer cancel()
	asking := *c
	asking.method = method{name: "CreateTask", target: pluginAsync + "CreateTask", repeatable: true, asked: askedCreate}
	asking.creation = nil
	return g.ask(ctx, &asking)
}

func notFindable(c *routedCall) string {
	return fmt.Sprintf("%s does not find its jobs by their key, as the task was accepted for", c.describePlugin())
}

// locate puts the plugin's own name of the job into a request about a task on record. answer is what Flyte is told in the place
// of the job's status while there is no job, or because there never will be one; an error says that nothing is known here.
func (g *Gateway) locate(ctx context.Context, c *routedCall) (answer []byte, ended bool, err error) {
	if c.unreadable != nil {
		return nil, false, status.Errorf(codes.Unavailable, "the task is on record, but this host cannot read that: %v", c.unreadable)
	}
	n, err := g.creationOf(ctx, c)
	switch {
	case errors.Is(err, errElsewhere):
		answer, ended := g.elsewhere(c)
		return answer, ended, nil
	case err != nil:
		return nil, false, err
	}
	waiting, cancel := context.WithTimeout(ctx, locateMaxWait)
	defer cancel()
	waited := g.waits.begin(c.route.Target.Plugin(), OnJob)
	defer waited()
	select {
	case <-n.Done():
		waited()
	case <-waiting.Done():
		if waits := n.Waits(); waits != "" {
			return getAnswer(core.TaskExecution_QUEUED, "the task is accepted, and its job is made as soon as it can be: "+waits), false, nil
		}
		return nil, false, status.Errorf(codes.Unavailable, "the task is on record, and %s has not said yet whether it has a job", c.describePlugin())
	}
	outcome := n.Outcome()
	switch {
	case outcome.End != nil:
		return fields.Append(nil, responseResource, outcome.End), true, nil
	case outcome.Err == nil:
		message, err := fields.Set(c.request.bytes(), jobMeta, outcome.Meta)
		if err != nil {
			return nil, false, status.Errorf(codes.InvalidArgument, "this %s cannot be routed: %v", c.method.name, err)
		}
		c.request.set(message)
		c.want.Generation = outcome.Generation
		return nil, false, nil
	case outcome.Harmless:
		return nil, false, outcome.Err
	}
	about := *c
	if info, err := readCreate(c.record.Request); err == nil {
		about.info = info
	}
	phase, why := g.endOf(&about, outcome.Err)
	return getAnswer(phase, why), true, nil
}

// creationOf is the creation of a task on record, which is begun here where this host has no memory of it.
func (g *Gateway) creationOf(ctx context.Context, c *routedCall) (*jobs.Creation, error) {
	c.trace.LinkTo(tracing.Referred(c.record.Trace))
	if c.record.Host != "" {
		return g.beginLocal(ctx, c)
	}
	making, err := g.callOf(ctx, c)
	if err != nil {
		return nil, err
	}
	asked := *making
	n, begun := g.creates.Begin(making.attemptID(), pendingOf(making.background, &asked), func(n *jobs.Creation) jobs.Outcome {
		making.trace = g.tracer.Resume(making.trace, c.record.Trace)
		outcome := g.resume(making, n, c.record.Accepted)
		making.trace.End(outcome.Err)
		g.noteLate(making, n, outcome)
		return outcome
	})
	if !begun {
		c.linkTo(n)
	}
	return n, nil
}

// endOf is how a task ends that never had a job.
func (g *Gateway) endOf(c *routedCall, err error) (core.TaskExecution_Phase, string) {
	plugin := c.describePlugin()
	switch refused := (refusal{}); {
	case errors.Is(err, jobs.ErrAbandoned):
		return core.TaskExecution_FAILED, fmt.Sprintf("the task was deleted before %s had a job for it", plugin)
	case errors.Is(err, errPoisoned), errors.Is(err, errUnnamed):
		return core.TaskExecution_FAILED, err.Error()
	case errors.As(err, &refused):
		phase := pluginv1.PhaseRetryableFailed
		if c.info.retry > 0 && slices.Contains(g.creation.Load().FinalCodes, status.Code(refused.error)) {
			phase = core.TaskExecution_FAILED
		}
		return phase, fmt.Sprintf("%s did not take the task: %s", plugin, reason(refused.error))
	default:
		return pluginv1.PhaseRetryableFailed, fmt.Sprintf("%s has no job for the task: %v", plugin, err)
	}
}

// resume finds the job of a task on record that this host has no memory of, and makes it where the plugin says that there is
// none. Where the plugin cannot be asked the next poll tries again.
func (g *Gateway) resume(c *routedCall, n *jobs.Creation, accepted time.Time) jobs.Outcome {
	c.creation = n
	ctx, end, err := g.detach(c.background, n, time.Time{})
	if err != nil {
		return jobs.Outcome{Err: err, Harmless: true}
	}
	defer end()
	meta, err := g.find(ctx, c)
	switch status.Code(err) {
	case codes.OK:
		return g.found(c, meta)
	case codes.Aborted:
		return jobs.Outcome{Err: jobs.ErrAbandoned}
	case codes.NotFound:
		n.AcceptedAt(accepted)
		n.Wait("it was accepted by another host, and has no job yet")
		outcome, _ := g.makeOnRecord(ctx, c)
		return outcome
	}
	return jobs.Outcome{Err: err, Harmless: true}
}

// callOf is the creation that a request about a task on record is about, as its CreateTask call was. The connection of Flyte 2
// comes with the request.
func (g *Gateway) callOf(ctx context.Context, c *routedCall) (*routedCall, error) {
	connection, _, err := fields.Take(c.request.bytes(), createConnection)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "this %s cannot be routed: %v", c.method.name, err)
	}
	message := c.record.Request
	if connection != nil && c.method.generation == flyte2 {
		message = fields.Append(slices.Clip(message), createConnection, connection)
	}
	info, err := readCreate(message)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "the record of a task does not hold its creation: %v", err)
	}
	making := &routedCall{
		method: method{name: "CreateTask", operation: "create", generation: c.method.generation, target: pluginAsync + "CreateTask", creates: true, asked: askedCreate},
		info:   info, route: c.route, request: newFrame(message), trace: c.trace, note: &noted{},
	}
	making.info.meta = nil
	making.background = g.outgoing(context.WithoutCancel(ctx), making.info, making.trace)
	return making, nil
}

// deleteRecorded answers DeleteTask for a task on record. The plugin is told to give the attempt up, whether it has a job or not:
// the creation may be on its way from here, or from another replica.
func (g *Gateway) deleteRecorded(ctx context.Context, c *routedCall) (reply, error) {
	switch {
	case c.unreadable != nil:
		return reply{}, status.Errorf(codes.Unavailable, "the task is on record, but this host cannot read that: %v", c.unreadable)
	case c.record.End != nil:
		return reply{message: &frame{}}, nil
	case c.record.Host != "":
		return g.deleteLocal(ctx, c)
	}
	making, err := g.callOf(ctx, c)
	if err != nil {
		return reply{}, err
	}
	g.creates.Abandon(making.attemptID())
	got, err := g.askAbout(g.outgoing(ctx, making.info, making.trace), making, pluginv1.AbandonHeader)
	if err != nil {
		return got, err
	}
	got.message.set(nil)
	g.budget.release(making.execution(), making.attemptID())
	return got, nil
}

// readRecord opens what Flyte has in the place of a resource_meta.
func (g *Gateway) readRecord(meta []byte) (record.Record, error) {
	if record.Newer(meta) {
		return record.Record{}, record.ErrNewer
	}
	keys := g.keys()
	if keys == nil {
		return record.Record{}, record.ErrForeign
	}
	return record.Open(keys, meta)
}

// attemptID is what the creation of an attempt is remembered under.
func (c *routedCall) attemptID() jobs.ID {
	return jobs.Identify(c.info.category.Name, c.info.attempt)
}

// execution names the execution that a task belongs to.
func (c *routedCall) execution() jobs.ID {
	return jobs.Identify(c.info.project, c.info.domain, c.info.execution)
}

// budget bounds the records of each execution.
type budget struct {
	mu         sync.Mutex
	executions map[jobs.ID]*spent
}

// spent is what the records of an execution take.
type spent struct {
	records map[jobs.ID]int
	bytes   int
	touched time.Time
}

const (
	// budgetExecutions is from how many executions on those are forgotten that have had no record for budgetMemory.
	budgetExecutions = 4096
	budgetMemory     = 24 * time.Hour
)

// take takes room for the record of an attempt, and says whether there is any.
func (b *budget) take(execution, attempt jobs.ID, size, limit int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	s := b.executions[execution]
	if s == nil {
		if b.executions == nil {
			b.executions = map[jobs.ID]*spent{}
		}
		if len(b.executions) >= budgetExecutions {
			for id, old := range b.executions {
				if now.Sub(old.touched) > budgetMemory {
					delete(b.executions, id)
				}
			}
		}
		s = &spent{records: map[jobs.ID]int{}}
		b.executions[execution] = s
	}
	s.touched = now
	if s.bytes-s.records[attempt]+size > limit {
		return false
	}
	s.bytes += size - s.records[attempt]
	s.records[attempt] = size
	return true
}

// release gives back the room of an attempt whose record Flyte does not keep any more.
func (b *budget) release(execution, attempt jobs.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.executions[execution]
	if s == nil {
		return
	}
	s.bytes -= s.records[attempt]
	delete(s.records, attempt)
	if len(s.records) == 0 {
		delete(b.executions, execution)
	}
}

// forgetRecord gives back the room of a record whose task has ended.
func (g *Gateway) forgetRecord(r *record.Record) {
	if r.Host != "" {
		g.endIntent(r)
		return
	}
	g.releaseRoom(r)
}

func (g *Gateway) releaseRoom(r *record.Record) {
	if info, err := readCreate(r.Request); err == nil {
		c := routedCall{info: info}
		g.budget.release(c.execution(), c.attemptID())
	}
}

// needJob finds the job of a request that is about a task on record, and fails where there is none.
func (g *Gateway) needJob(ctx context.Context, c *routedCall) error {
	if c.record == nil {
		return nil
	}
	if c.record.End != nil {
		return status.Errorf(codes.NotFound, "the task ended without a job that has logs or metrics")
	}
	answer, _, err := g.locate(ctx, c)
	if err != nil || answer == nil {
		return err
	}
	raw, _, err := fields.Take(answer, responseResource)
	if err != nil {
		return err
	}
	r, err := readResource(raw)
	if err != nil {
		return err
	}
	return status.Errorf(codes.Unavailable, "the task has no job: %s", r.message)
}
