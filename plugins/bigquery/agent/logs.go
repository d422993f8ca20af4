package agent

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/agenthost/agenthost/plugins/bigquery/service"
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
	add := func(at time.Time, format string, args ...any) {
		if known(at) {
			lines = append(lines, sdk.LogLine{Time: at.UTC(), Message: fmt.Sprintf(format, args...), Originator: sdk.OriginatorSystem})
		}
	}
	statistics := r.job.Statistics
	add(statistics.CreationTime, "the job was created")
	add(statistics.StartTime, "the job runs")
	for _, stage := range r.job.Stages {
		add(stage.StartTime, "stage %s runs", stage.Name)
		add(stage.EndTime, "stage %s is %s: %s", stage.Name, stage.Status, stageFigures(stage))
	}
	slices.SortStableFunc(lines, func(a, b sdk.LogLine) int { return a.Time.Compare(b.Time) })
	latest := slices.MaxFunc([]time.Time{statistics.CreationTime, statistics.StartTime, statistics.EndTime}, time.Time.Compare)
	for _, met := range r.job.Errors {
		add(latest, "error: %s", describe(met))
	}
	if r.job.Failure != nil {
		add(statistics.EndTime, "the job failed: %s", describe(r.job.Failure))
	} else {
		add(statistics.EndTime, "the job is done: %s processed, slot time %s", amount(r.processed()), r.slotTime().Round(time.Second))
	}
	return lines
}

func stageFigures(stage service.Stage) string {
	text := fmt.Sprintf("%d rows read, %d written, slot time %s", stage.RecordsRead, stage.RecordsWritten, stage.SlotTime)
	if stage.ShuffleOutputBytes > 0 {
		text += fmt.Sprintf(", %s shuffled, %s of them through disk", amount(stage.ShuffleOutputBytes), amount(stage.ShuffleOutputBytesSpilled))
	}
	return text
}
