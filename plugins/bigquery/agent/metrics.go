package agent

import (
	"context"
	"slices"
	"strconv"

	"cloud.google.com/go/bigquery"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/types/known/structpb"

	sdk "github.com/agenthost/agenthost/sdk/go"
)

// metric is a course over time that BigQuery's timeline of a query gives.
type metric struct {
	name string
	// at is the value at a sample of the timeline, the one before it being given.
	at func(before, sample *bigquery.QueryTimelineSample) float64
}

var metrics = []metric{
	{"bigquery_slots", func(before, sample *bigquery.QueryTimelineSample) float64 {
		if sample.Elapsed <= before.Elapsed {
			return 0
		}
		return float64(sample.SlotMillis-before.SlotMillis) / float64((sample.Elapsed - before.Elapsed).Milliseconds())
	}},
	{"bigquery_units_completed", func(_, sample *bigquery.QueryTimelineSample) float64 { return float64(sample.CompletedUnits) }},
	{"bigquery_units_active", func(_, sample *bigquery.QueryTimelineSample) float64 { return float64(sample.ActiveUnits) }},
	{"bigquery_units_pending", func(_, sample *bigquery.QueryTimelineSample) float64 { return float64(sample.PendingUnits) }},
}

// Metrics gives the slots that the query used and the units of its work over time, in the form of a Prometheus range query:
// those that are asked for, or all. BigQuery measures neither processors nor memory.
func (a *Agent) Metrics(ctx context.Context, job sdk.Job[Meta], query sdk.MetricsQuery) ([]*core.ExecutionMetricResult, error) {
	if _, ok := dryRunBytes(job.Meta.JobID); ok {
		return nil, nil
	}
	r, err := a.look(ctx, job)
	if err != nil {
		return nil, err
	}
	var results []*core.ExecutionMetricResult
	for _, m := range metrics {
		if len(query.Queries) > 0 && !slices.Contains(query.Queries, m.name) {
			continue
		}
		data, err := structpb.NewStruct(map[string]any{
			"resultType": "matrix",
			"result": []any{map[string]any{
				"metric": map[string]any{"__name__": m.name, "job_id": r.job.Ref.ID},
				"values": r.course(m, query),
			}},
		})
		if err != nil {
			return nil, err
		}
		results = append(results, &core.ExecutionMetricResult{Metric: m.name, Data: data})
	}
	return results, nil
}

// course are the metric's values within the time that is asked for: pairs of seconds and text, as Prometheus has them.
func (r *report) course(m metric, query sdk.MetricsQuery) []any {
	values := []any{}
	before := &bigquery.QueryTimelineSample{}
	for _, sample := range r.job.Query.Timeline {
		at := r.job.Statistics.StartTime.Add(sample.Elapsed)
		value := m.at(before, sample)
		before = sample
		if !query.Start.IsZero() && at.Before(query.Start) || !query.End.IsZero() && at.After(query.End) {
			continue
		}
		values = append(values, []any{float64(at.UnixMilli()) / 1000, strconv.FormatFloat(value, 'g', -1, 64)})
	}
	return values
}
