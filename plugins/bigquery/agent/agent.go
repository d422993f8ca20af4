// Package agent is the Flyte agent for the task type bigquery_query_job_task. It keeps nothing itself: BigQuery has the
// jobs, and a job's id, project and location are all that Flyte keeps, in the form of flytekit's own agent.
package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/plugins/bigquery/query"
	"github.com/agenthost/agenthost/plugins/bigquery/service"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// TaskType is the task type that the agent serves.
const TaskType = "bigquery_query_job_task"

// Options are what a plugin with this agent serves.
func Options() []sdk.Option {
	a := &Agent{}
	return []sdk.Option{
		sdk.Configure(a.configure),
		sdk.Async(TaskType, a, sdk.Named("BigQuery Agent")),
		sdk.IdempotentCreate(),
		sdk.Capabilities("rereads_secrets"), // each call looks its credential up
	}
}

// Meta is how Flyte remembers a job: what flytekit's agent writes and reads, which takes no further keys.
type Meta struct {
	JobID   string `json:"job_id"`
	Project string `json:"project"`
	// Location is null where flytekit's agent made the job and its task named none.
	Location *string `json:"location"`
}

func metaOf(ref service.Ref) Meta {
	meta := Meta{JobID: ref.ID, Project: ref.Project}
	if ref.Location != "" {
		meta.Location = &ref.Location
	}
	return meta
}

func (m Meta) ref() service.Ref {
	ref := service.Ref{Project: m.Project, ID: m.JobID}
	if m.Location != nil {
		ref.Location = *m.Location
	}
	return ref
}

// Agent serves the task type. Its zero value takes the default configuration if a task comes first.
type Agent struct {
	mu      sync.Mutex
	clients *clients
}

func (a *Agent) configure(_ context.Context, config Config) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clients = newClients(config)
	return nil
}

func (a *Agent) services() *clients {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.clients == nil {
		var config Config
		config.SetDefaults()
		a.clients = newClients(config)
	}
	return a.clients
}

// try is an attempt as BigQuery is to know it: its query, the job's id, and whom the calls are made as.
type try struct {
	bigquery *service.Service
	ref      service.Ref
	q        *query.Query
}

func (a *Agent) try(task *sdk.Task) (*try, error) {
	clients := a.services()
	q, err := query.Of(task)
	if err != nil {
		return nil, err
	}
	entry := clients.entryOf(task)
	ref := service.Ref{
		Project:  cmp.Or(q.Project, clients.config.DefaultProject),
		Location: cmp.Or(q.Location, clients.config.DefaultLocation),
		ID:       jobID(task.IdempotencyKey, entry.Name),
	}
	if ref.Project == "" {
		return nil, sdk.InvalidArgument("the task names no Google Cloud project: give its BigQueryConfig a ProjectID, or the plugin's configuration a default_project")
	}
	bigquery, err := clients.service(entry, task.Secret)
	if err != nil {
		return nil, err
	}
	label(q, task, clients.config)
	return &try{bigquery, ref, q}, nil
}

// Create starts the query. The same attempt twice is one job: BigQuery refuses the id the second time. A task that can never run
// becomes one that FAILED.
func (a *Agent) Create(ctx context.Context, task *sdk.Task) (Meta, error) {
	meta, err := a.create(ctx, task)
	if status.Code(err) != codes.InvalidArgument {
		return meta, err
	}
	slog.WarnContext(ctx, "a task is refused", "task", task.String(), "reason", err)
	return Meta{JobID: refusedID(err.Error()), Project: meta.Project}, nil
}

func (a *Agent) create(ctx context.Context, task *sdk.Task) (Meta, error) {
	t, err := a.try(task)
	if err != nil {
		return Meta{}, err
	}
	if len(t.q.Ignored) > 0 {
		slog.WarnContext(ctx, "the task has settings that BigQuery's API does not have", "task", task.String(), "ignored", t.q.Ignored)
	}
	if t.q.DryRun {
		return t.dryRun(ctx, task)
	}
	ref, err := t.start(ctx)
	return metaOf(ref), err
}

// start starts the job, or finds it where an earlier call for the same attempt has.
func (t *try) start(ctx context.Context) (service.Ref, error) {
	job, err := t.bigquery.Insert(ctx, t.ref, t.q.Query)
	switch {
	case service.Duplicate(err):
		return t.started(ctx, err)
	case err != nil:
		return t.ref, err
	}
	return job.Ref, t.undoAbandoned(ctx, job)
}

// started is the job that has the attempt's id already.
func (t *try) started(ctx context.Context, refusal error) (ref service.Ref, err error) {
	if ref = t.ref; ref.Location == "" {
		if ref, err = locate(ctx, t.bigquery, ref, refusal); err != nil {
			return ref, err
		}
	}
	return ref, t.abandoned(ctx)
}

// locate finds out where a job is that BigQuery has chosen the place for. BigQuery names it when it refuses an id.
func locate(ctx context.Context, bigquery *service.Service, ref service.Ref, refusal error) (service.Ref, error) {
	if ref.Location = service.PlaceOf(refusal, ref); ref.Location != "" {
		return ref, nil
	}
	job, err := bigquery.Get(ctx, ref)
	if err != nil {
		return ref, err
	}
	return job.Ref, nil
}

// Get tells how the job is.
func (a *Agent) Get(ctx context.Context, job sdk.Job[Meta]) (*sdk.Resource, error) {
	if bytes, ok := dryRunBytes(job.Meta.JobID); ok {
		return reportDryRun(bytes), nil
	}
	if reason, refused := refusalOf(job.Meta.JobID); refused {
		return sdk.Failed(sdk.UserError("InvalidTask", errors.New(reason))), nil
	}
	r, err := a.look(ctx, job)
	if err != nil {
		return nil, err
	}
	if r.hasResult() {
		r.countRows(ctx)
	}
	return r.resource(), nil
}

// look asks BigQuery for the job as it is now.
func (a *Agent) look(ctx context.Context, job sdk.Job[Meta]) (*report, error) {
	if reason, refused := refusalOf(job.Meta.JobID); refused {
		return nil, sdk.NotFound("no job was made of the task: %s", reason)
	}
	bigquery, err := a.serviceOf(job)
	if err != nil {
		return nil, err
	}
	found, err := bigquery.Get(ctx, job.Meta.ref())
	if err != nil {
		return nil, err
	}
	return &report{job: found, service: bigquery, pricePerTiB: a.services().config.PricePerTiB}, nil
}

// Delete cancels the job if it has not ended.
func (a *Agent) Delete(ctx context.Context, job sdk.Job[Meta]) error {
	_, dry := dryRunBytes(job.Meta.JobID)
	if _, refused := refusalOf(job.Meta.JobID); dry || refused {
		return nil
	}
	bigquery, err := a.serviceOf(job)
	if err != nil {
		return err
	}
	found, err := bigquery.Get(ctx, job.Meta.ref())
	if err == nil && found.State != service.Done {
		err = bigquery.Cancel(ctx, found)
	}
	if service.NotFound(err) {
		return nil
	}
	return err
}

// Close lets go of the connections.
func (a *Agent) Close(context.Context) error {
	a.services().close()
	return nil
}

// serviceOf is a service with the credentials that made the job.
func (a *Agent) serviceOf(job sdk.Job[Meta]) (*service.Service, error) {
	if job.Meta.JobID == "" || job.Meta.Project == "" {
		return nil, sdk.NotFound("the job's metadata names no BigQuery job: it has job_id %q and project %q", job.Meta.JobID, job.Meta.Project)
	}
	clients := a.services()
	entry, err := clients.entryNamed(credentialOf(job.Meta.JobID))
	if err != nil {
		return nil, err
	}
	return clients.service(entry, job.Secret)
}
