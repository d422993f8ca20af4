package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/api/bigquery/v2"

	"github.com/agenthost/agenthost/plugins/bigquery/service"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// The states of a BigQuery job.
const (
	pending = "PENDING"
	running = "RUNNING"
	done    = "DONE"
)

// report is a job as Flyte is told of it.
type report struct {
	job         *bigquery.Job
	ref         service.Ref
	service     *service.Service
	pricePerTiB float64
	// rows is how many rows the result has, if known.
	rows *uint64
}

// newReport makes room for what an answer may lack, so that everything else may look for it.
func newReport(job *bigquery.Job, ref service.Ref) *report {
	if job.Status == nil {
		job.Status = &bigquery.JobStatus{}
	}
	if job.Configuration == nil {
		job.Configuration = &bigquery.JobConfiguration{}
	}
	if job.Configuration.Query == nil {
		job.Configuration.Query = &bigquery.JobConfigurationQuery{}
	}
	if job.Statistics == nil {
		job.Statistics = &bigquery.JobStatistics{}
	}
	if job.Statistics.Query == nil {
		job.Statistics.Query = &bigquery.JobStatistics2{}
	}
	if ref.Location == "" && job.JobReference != nil {
		ref.Location = job.JobReference.Location
	}
	return &report{job: job, ref: ref}
}

func (r *report) resource() *sdk.Resource {
	resource := r.state().WithLink("BigQuery Console", r.console())
	if ignored := r.job.Configuration.Labels[labelIgnored]; ignored != "" {
		resource.Message += "; settings that BigQuery's API does not have were ignored: " + strings.ReplaceAll(ignored, "-", ", ")
	}
	for name, value := range r.statistics() {
		resource.WithInfo(name, value)
	}
	return resource
}

func (r *report) state() *sdk.Resource {
	switch state := r.job.Status.State; state {
	case pending:
		if deferments := r.job.Statistics.QuotaDeferments; len(deferments) > 0 {
			return sdk.WaitingForResources("PENDING, waits for quota: " + strings.Join(deferments, ", "))
		}
		return sdk.Queued(pending)
	case running:
		return sdk.Running(progress(r.job.Statistics, time.Now()))
	case done:
		return r.end()
	default:
		return sdk.Running(fmt.Sprintf("%s (a state of BigQuery's that this version of the plugin does not know)", state))
	}
}

// end is how a job ended. Its errorResult alone decides: a job can have met errors, in its list of them, and succeed.
func (r *report) end() *sdk.Resource {
	failure := r.job.Status.ErrorResult
	switch {
	case failure == nil:
		return r.success()
	case failure.Reason == service.Stopped:
		return sdk.Aborted("the job was cancelled: " + describe(failure))
	}
	err := sdk.UserError(failure.Reason, errors.New(r.complaint()))
	if service.SystemFault(failure.Reason) {
		err = sdk.SystemError(failure.Reason, err.Err)
	}
	if service.Retryable(failure.Reason) {
		return sdk.RetryableFailed(err)
	}
	return sdk.Failed(err)
}

// complaint is the error that ended the job, and the others that it met.
func (r *report) complaint() string {
	failure := r.job.Status.ErrorResult
	text := describe(failure)
	for _, other := range r.job.Status.Errors {
		if other.Message != failure.Message {
			text += "; also " + describe(other)
		}
	}
	return text
}

func describe(e *bigquery.ErrorProto) string {
	text := e.Reason + ": " + e.Message
	if e.Location != "" {
		text += " (at " + e.Location + ")"
	}
	return text
}

// success has the table that the query wrote, its own or one that BigQuery keeps for a day.
func (r *report) success() *sdk.Resource {
	table := r.job.Configuration.Query.DestinationTable
	if table != nil {
		uri := fmt.Sprintf("bq://%s:%s.%s", table.ProjectId, table.DatasetId, table.TableId)
		return sdk.Succeeded(sdk.Outputs{"results": sdk.StructuredDataset{URI: uri}}).WithMessage(done)
	}
	switch r.job.Configuration.Labels[labelResults] {
	case "declared":
		// Flyte would look for outputs that nobody wrote, and say nothing of why.
		return sdk.Failed(sdk.UserError("NoResult", fmt.Errorf(
			"the job is done but a %s has no result table, and the task declares an output: take output_structured_dataset_type away, or let the query be a single SELECT",
			cmp.Or(strings.ToLower(r.job.Statistics.Query.StatementType), "statement of this kind"))))
	case "none":
		return sdk.Succeeded(sdk.Outputs{}).WithMessage(done)
	}
	// A job of flytekit's agent, which leaves the outputs out, too.
	return sdk.Succeeded(nil).WithMessage(done)
}

// console is the address of the page about the job, as flytekit's agent writes it.
func (r *report) console() string {
	return fmt.Sprintf("https://console.cloud.google.com/bigquery?project=%s&j=bq:%s:%s&page=queryresults", r.ref.Project, r.ref.Location, r.ref.ID)
}

// hasResult says whether the job ended well with rows to count.
func (r *report) hasResult() bool {
	return r.job.Status.State == done && r.job.Status.ErrorResult == nil &&
		r.job.Statistics.Query.StatementType == "SELECT" && r.job.Configuration.Query.DestinationTable != nil
}

// countRows asks for the number of rows. That is an extra, which the job's success does not depend on.
func (r *report) countRows(ctx context.Context) {
	rows, err := r.service.Rows(ctx, r.ref)
	if err != nil {
		slog.InfoContext(ctx, "the number of rows stays unknown", "error", err)
		return
	}
	r.rows = &rows
}
