package agent

import (
	"context"
	"fmt"

	"github.com/agenthost/agenthost/plugins/bigquery/query"
	"github.com/agenthost/agenthost/plugins/bigquery/service"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// dryRun has BigQuery check the query and say what it would read. That is all there is of it: BigQuery makes no job.
func dryRun(ctx context.Context, bigquery *service.Service, ref service.Ref, q *query.Query, task *sdk.Task) (Meta, error) {
	if outputs := task.OutputTypes(); len(outputs) > 0 {
		return Meta{}, sdk.InvalidArgument("the task's configuration has dryRun, which gives no result, but the task declares outputs: take one of them away")
	}
	job, err := bigquery.Insert(ctx, ref, q.Query)
	if err != nil {
		return Meta{}, err
	}
	ref.ID = dryRunID(job.Statistics.TotalBytesProcessed)
	return metaOf(ref), nil
}

func reportDryRun(bytes int64) *sdk.Resource {
	return sdk.Succeeded(sdk.Outputs{}).
		WithMessage(fmt.Sprintf("dry run: the query is valid and would process %s", amount(bytes))).
		WithInfo("dry_run", true).
		WithInfo("bytes_processed", bytes)
}
