package service

import (
	"errors"
	"time"

	"cloud.google.com/go/bigquery"
)

// The states of a BigQuery job.
const (
	Pending = "PENDING"
	Running = "RUNNING"
	Done    = "DONE"
)

var states = []string{Pending, Running, Done}

// said is what BigQuery's answer says of a job and the client does not hand on. For labels and destination there is the
// client's Job.Config; but that fails where one of the query's parameters is written in another way than the client's, such
// as the DATETIMEs of Python's.
type said struct {
	Status     struct{ State string }
	Statistics struct {
		QuotaDeferments []string
		Query           struct {
			QueryPlan []struct {
				SlotMs int64 `json:",string"`
			}
		}
	}
	Configuration struct {
		Labels map[string]string
		Query  struct{ DestinationTable *bigquery.Table }
	}
}

// Job is a job as BigQuery last told of it.
type Job struct {
	// Ref has the location, even where the job was asked for without.
	Ref Ref
	// State is Pending, Running, Done, or one that BigQuery came to have later.
	State string
	// QuotaDeferments are the quotas that a pending job waits for.
	QuotaDeferments []string
	Labels          map[string]string
	// Destination is the table of a query's result; nil where there is none.
	Destination *bigquery.Table
	// Failure is what ended the job; nil where nothing has.
	Failure *bigquery.Error
	// Errors are those that the job met, which need not have ended it.
	Errors []*bigquery.Error
	// Statistics and Query are never nil.
	Statistics *bigquery.JobStatistics
	Query      *bigquery.QueryStatistics
	// Stages are the query's plan.
	Stages []Stage

	handle *bigquery.Job
}

// Stage is a part of the plan by which BigQuery runs a query.
type Stage struct {
	*bigquery.ExplainQueryStage
	SlotTime time.Duration
}

func newJob(ref Ref, handle *bigquery.Job, beyond said) *Job {
	job := &Job{
		Ref:             ref,
		State:           beyond.Status.State,
		QuotaDeferments: beyond.Statistics.QuotaDeferments,
		Labels:          beyond.Configuration.Labels,
		Destination:     beyond.Configuration.Query.DestinationTable,
		Statistics:      &bigquery.JobStatistics{},
		Query:           &bigquery.QueryStatistics{},
		handle:          handle,
	}
	if ref.Location == "" {
		job.Ref.Location = handle.Location()
	}
	if status := handle.LastStatus(); status != nil {
		job.take(status)
	}
	for i, stage := range job.Query.QueryPlan {
		slotTime := time.Duration(beyond.Statistics.Query.QueryPlan[i].SlotMs) * time.Millisecond
		job.Stages = append(job.Stages, Stage{stage, slotTime})
	}
	return job
}

func (j *Job) take(status *bigquery.JobStatus) {
	errors.As(status.Err(), &j.Failure)
	j.Errors = status.Errors
	if status.Statistics == nil {
		return
	}
	j.Statistics = status.Statistics
	if query, is := status.Statistics.Details.(*bigquery.QueryStatistics); is {
		j.Query = query
	}
}
