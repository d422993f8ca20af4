package agent

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/api/bigquery/v2"

	sdk "github.com/agenthost/agenthost/sdk/go"
)

// Logs sends what the job has gone through by now: its beginning and end, the stages of its plan, the errors that it met. The
// token of a page is the number of its first line.
func (a *Agent) Logs(ctx context.Context, job sdk.Job[Meta], query sdk.LogQuery, out *sdk.LogStream) error {
	if bytes, ok := dryRunBytes(job.Meta.JobID); ok {
		return out.Send(sdk.LogLine{Message: reportDryRun(bytes).Message, Originator: sdk.OriginatorSystem})
	}
	r, err := a.look(ctx, job)
	if err != nil {
		return err
	}
	first := 0
	if query.Token != "" {
		if first, err = strconv.Atoi(query.Token); err != nil || first < 0 {
			return sdk.InvalidArgument("%q is no token of this job's log", query.Token)
		}
	}
	lines := r.lines()
	lines = lines[min(first, len(lines)):]
	if query.Lines > 0 && uint64(len(lines)) > query.Lines {
		lines = lines[:query.Lines]
	}
	if err := out.Send(lines...); err != nil {
		return err
	}
	return out.NextToken(strconv.Itoa(first + len(lines)))
}

// lines are the job's log, by time.
func (r *report) lines() []sdk.LogLine {
	var lines []sdk.LogLine
	add := func(millis int64, format string, args ...any) {
		if millis > 0 {
			lines = append(lines, sdk.LogLine{
				Time: time.UnixMilli(millis).UTC(), Message: fmt.Sprintf(format, args...), Originator: sdk.OriginatorSystem,
			})
		}
	}
	statistics := r.job.Statistics
	add(statistics.CreationTime, "the job was created")
	add(statistics.StartTime, "the job runs")
	for _, stage := range statistics.Query.QueryPlan {
		add(stage.StartMs, "stage %s runs", stage.Name)
		add(stage.EndMs, "stage %s is %s: %s", stage.Name, stage.Status, stageFigures(stage))
	}
	slices.SortStableFunc(lines, func(a, b sdk.LogLine) int { return a.Time.Compare(b.Time) })
	for _, met := range r.job.Status.Errors {
		add(max(statistics.EndTime, statistics.StartTime, statistics.CreationTime), "error: %s", describe(met))
	}
	if r.job.Status.ErrorResult != nil {
		add(statistics.EndTime, "the job failed: %s", describe(r.job.Status.ErrorResult))
	} else {
		add(statistics.EndTime, "the job is done: %s processed, slot time %s", amount(processed(statistics)), seconds(slotMillis(statistics)))
	}
	return lines
}

func stageFigures(stage *bigquery.ExplainQueryStage) string {
	text := fmt.Sprintf("%d rows read, %d written, slot time %s", stage.RecordsRead, stage.RecordsWritten, time.Duration(stage.SlotMs)*time.Millisecond)
	if stage.ShuffleOutputBytes > 0 {
		text += fmt.Sprintf(", %s shuffled, %s of them through disk", amount(stage.ShuffleOutputBytes), amount(stage.ShuffleOutputBytesSpilled))
	}
	return text
}
