package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"cloud.google.com/go/bigquery"

	"github.com/agenthost/agenthost/plugins/bigquery/service"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// report is a job as Flyte is told of it.
type report struct {
	job         *service.Job
	service     *service.Service
	pricePerTiB float64
	// rows is how many rows the result has, if known.
	rows *uint64
}

func (r *report) resource() *sdk.Resource {
	resource := r.state().WithLink("BigQuery Console", r.console())
	if ignored := r.job.Labels[labelIgnored]; ignored != "" {
		resource.Message += "; settings that BigQuery's API does not have were ignored: " + strings.ReplaceAll(ignored, "-", ", ")
	}
	for name, value := range r.statistics() {
		resource.WithInfo(name, value)
	}
	return resource
}

func (r *report) state() *sdk.Resource {
	switch r.job.State {
	case service.Pending:
		if deferments := r.job.QuotaDeferments; len(deferments) > 0 {
			return sdk.WaitingForResources("PENDING, waits for quota: " + strings.Join(deferments, ", "))
		}
		return sdk.Queued(service.Pending)
	case service.Running:
		return sdk.Running(r.progress(time.Now()))
	case service.Done:
		return r.end()
	}
	return sdk.Running(fmt.Sprintf("%s (a state of BigQuery's that this version of the plugin does not know)", r.job.State))
}

// end is how a job ended. Its failure alone decides: a job can have met errors, in its list of them, and succeed.
func (r *report) end() *sdk.Resource {
	failure := r.job.Failure
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
	text := describe(r.job.Failure)
	for _, other := range r.job.Errors {
		if other.Message != r.job.Failure.Message {
			text += "; also " + describe(other)
		}
	}
	return text
}

func describe(e *bigquery.Error) string {
	text := e.Reason + ": " + e.Message
	if e.Location != "" {
		text += " (at " + e.Location + ")"
	}
	return text
}

// success has the table that the query wrote, its own or one that BigQuery keeps for a day.
func (r *report) success() *sdk.Resource {
	if table := r.job.Destination; table != nil {
		uri := fmt.Sprintf("bq://%s:%s.%s", table.ProjectID, table.DatasetID, table.TableID)
		return sdk.Succeeded(sdk.Outputs{"results": sdk.StructuredDataset{URI: uri}}).WithMessage(service.Done)
	}
	switch r.job.Labels[labelResults] {
	case "declared":
		// Flyte would look for outputs that nobody wrote, and say nothing of why.
		return sdk.Failed(sdk.UserError("NoResult", fmt.Errorf(
			"the job is done but a %s has no result table, and the task declares an output: take output_structured_dataset_type away, or let the query be a single SELECT",
			cmp.Or(strings.ToLower(r.job.Query.StatementType), "statement of this kind"))))
	case "none":
		return sdk.Succeeded(sdk.Outputs{}).WithMessage(service.Done)
	}
	// A job of flytekit's agent, which leaves the outputs out, too.
	return sdk.Succeeded(nil).WithMessage(service.Done)
}

// console is the address of the page about the job, as flytekit's agent writes it.
func (r *report) console() string {
	ref := r.job.Ref
	return fmt.Sprintf("https://console.cloud.google.com/bigquery?project=%s&j=bq:%s:%s&page=queryresults", ref.Project, ref.Location, ref.ID)
}

// hasResult says whether the job ended well with rows to count.
func (r *report) hasResult() bool {
	return r.job.State == service.Done && r.job.Failure == nil && r.job.Query.StatementType == "SELECT" && r.job.Destination != nil
}

// countRows asks for the number of rows. That is an extra, which the job's success does not depend on.
func (r *report) countRows(ctx context.Context) {
	rows, err := r.service.Rows(ctx, r.job)
	if err != nil {
		slog.InfoContext(ctx, "the number of rows stays unknown", "error", err)
		return
	}
	r.rows = &rows
}
