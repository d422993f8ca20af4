package agent

import (
	"context"
	"fmt"

	sdk "github.com/agenthost/agenthost/sdk/go"
)

// dryRun has BigQuery check the query and say what it would read. That is all there is of it: BigQuery makes no job.
func (t *try) dryRun(ctx context.Context, task *sdk.Task) (Meta, error) {
	if outputs := task.OutputTypes(); len(outputs) > 0 {
		return Meta{}, sdk.InvalidArgument("the task's configuration has dryRun, which gives no result, but the task declares outputs: take one of them away")
	}
	if err := t.abandoned(ctx); err != nil {
		return Meta{}, err
	}
	job, err := t.bigquery.Insert(ctx, t.ref, t.q.Query)
	if err != nil {
		return Meta{}, err
	}
	ref := t.ref
	ref.ID = dryRunID(job.Statistics.TotalBytesProcessed)
	return metaOf(ref), nil
}

func reportDryRun(bytes int64) *sdk.Resource {
	return sdk.Succeeded(sdk.Outputs{}).
		WithMessage(fmt.Sprintf("dry run: the query is valid and would process %s", amount(bytes))).
		WithInfo("dry_run", true).
		WithInfo("bytes_processed", bytes)
}
