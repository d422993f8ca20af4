package agent

import (
	"cmp"
	"context"
	"errors"
	"maps"

	"cloud.google.com/go/bigquery"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/plugins/bigquery/service"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// An attempt that is abandoned has two jobs of "SELECT 1": a mark that says so, under an id of its own, and, unless the query
// was faster, one that occupies the query's id. Only both are right whatever happens at the same time, in any processes:
//
//   - BigQuery takes an id once, so it decides between the query and the occupant. If the occupant comes first the query never
//     runs, and not only until somebody notices. If the query does, Abandon is told so, and cancels it.
//   - A job's labels cannot be changed, so that a query which was there first cannot be marked itself. The mark is made before the
//     occupant: whoever meets an id that is taken, and then no mark, has met the query.
//
// BigQuery knows ids for as long as it keeps jobs, six months.
const abandonedSuffix = "_abandoned"

var errAbandoned = sdk.Abandoned("the task was abandoned: no query is run for it")

// labelAbandoned tells people what these jobs are.
const labelAbandoned = "flyte_abandoned"

// anywhere is where the mark is of a query for which BigQuery chooses the place: one place that is the same for all who look,
// whatever tables there are by then.
const anywhere = "US"

// Find gives the attempt's job.
func (a *Agent) Find(ctx context.Context, task *sdk.Task) (Meta, error) {
	t, err := a.try(task)
	switch {
	case status.Code(err) == codes.InvalidArgument:
		return Meta{}, sdk.NotFound("no job was made of the task: %w", err)
	case err != nil:
		return Meta{}, err
	}
	// In this order: see above.
	job, missing := t.find(ctx)
	if missing != nil && !service.NotFound(missing) {
		return Meta{}, missing
	}
	if err := t.abandoned(ctx); err != nil {
		return Meta{}, err
	}
	if missing != nil {
		return Meta{}, sdk.NotFound("no job was made of the task's attempt: %w", missing)
	}
	return metaOf(job.Ref), nil
}

// Abandon ends the attempt's job, and lets none be made.
func (a *Agent) Abandon(ctx context.Context, task *sdk.Task) error {
	t, err := a.try(task)
	switch {
	case status.Code(err) == codes.InvalidArgument:
		return nil // nor will a job be made of it
	case err != nil:
		return err
	}
	nothing := t.nothing()
	if _, err := t.bigquery.Insert(ctx, t.mark(), nothing); err != nil && !service.Duplicate(err) {
		return err
	}
	at := t.ref
	if at.Location == "" {
		if at.Location, err = t.place(ctx); err != nil {
			return err
		}
	}
	_, taken := t.bigquery.Insert(ctx, at, nothing)
	if !service.Duplicate(taken) {
		return taken
	}
	at.Location = cmp.Or(service.PlaceOf(taken, at), at.Location)
	job, err := t.bigquery.Get(ctx, at)
	if err == nil {
		err = t.end(ctx, job)
	}
	if service.NotFound(err) {
		return nil
	}
	return err
}

// nothing is a query that costs nothing, with the labels of the attempt's own.
func (t *try) nothing() service.Query {
	labels := maps.Clone(t.q.Labels)
	labels[labelAbandoned] = "true"
	return service.Query{QueryConfig: bigquery.QueryConfig{Q: "SELECT 1", Labels: labels}, UserAgent: t.q.UserAgent}
}

// mark is the job that says that the attempt was abandoned.
func (t *try) mark() service.Ref {
	ref := t.ref
	ref.ID += abandonedSuffix
	if ref.Location == "" {
		ref.Location = anywhere
	}
	return ref
}

// abandoned is an error if the attempt was abandoned, or that cannot be told.
func (t *try) abandoned(ctx context.Context) error {
	_, err := t.bigquery.Get(ctx, t.mark())
	switch {
	case service.NotFound(err):
		return nil
	case err != nil:
		return err
	}
	return errAbandoned
}

// undoAbandoned ends a job that was just made of an attempt that had been abandoned. That can be only where BigQuery chooses
// the place: the occupant may be in another, where the tables were, or were not, at its time.
func (t *try) undoAbandoned(ctx context.Context, job *service.Job) error {
	if t.ref.Location != "" {
		return nil
	}
	err := t.abandoned(ctx)
	if !errors.Is(err, errAbandoned) {
		return err // if that cannot be told, the caller asks again, and finds the job then
	}
	return cmp.Or(t.end(ctx, job), err)
}

// end cancels a job that has not ended.
func (t *try) end(ctx context.Context, job *service.Job) error {
	if job.State == service.Done {
		return nil
	}
	if err := t.bigquery.Cancel(ctx, job); !service.NotFound(err) {
		return err
	}
	return nil
}

// find gives the job of the attempt's id. Asked without a location BigQuery looks in the US and the EU alone.
func (t *try) find(ctx context.Context) (*service.Job, error) {
	job, err := t.bigquery.Get(ctx, t.ref)
	if t.ref.Location != "" || !service.NotFound(err) {
		return job, err
	}
	place, failed := t.place(ctx)
	if failed != nil {
		return nil, failed
	}
	if place == "" {
		return nil, err
	}
	return t.bigquery.Get(ctx, service.Ref{Project: t.ref.Project, Location: place, ID: t.ref.ID})
}

// place is where BigQuery would run the query; empty where it would refuse to, in which case it made no job of it either.
func (t *try) place(ctx context.Context) (string, error) {
	dry := t.q.Query
	dry.DryRun = true
	job, err := t.bigquery.Insert(ctx, service.Ref{Project: t.ref.Project}, dry)
	switch code := status.Code(err); {
	case code == codes.InvalidArgument, code == codes.NotFound, code == codes.PermissionDenied:
		return "", nil
	case err != nil:
		return "", err
	}
	return job.Ref.Location, nil
}
