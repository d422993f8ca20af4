package agent

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/databricks/databricks-sdk-go/service/jobs"

	"github.com/agenthost/agenthost/plugins/databricks/workspace"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// Logs sends what the run's tasks have written: the last 5 MB of each, which is what Databricks keeps. The token of a
// page is the number of its first line.
func (a *Agent) Logs(ctx context.Context, job sdk.Job[Meta], query sdk.LogQuery, out *sdk.LogStream) error {
	first := 0
	if query.Token != "" {
		var err error
		if first, err = strconv.Atoi(query.Token); err != nil || first < 0 {
			return sdk.InvalidArgument("%q is no token of this job's log", query.Token)
		}
	}
	if job.Meta.Refused != nil {
		return out.NextToken(strconv.Itoa(first))
	}
	var lines []sdk.LogLine
	err := a.visit(job, func(w *workspace.Workspace) (err error) {
		lines, err = written(ctx, w, job.Meta.RunID)
		return err
	})
	if err != nil {
		return err
	}
	lines = lines[min(first, len(lines)):]
	if query.Lines > 0 && uint64(len(lines)) > query.Lines {
		lines = lines[:query.Lines]
	}
	if err := out.Send(lines...); err != nil {
		return err
	}
	return out.NextToken(strconv.Itoa(first + len(lines)))
}

func written(ctx context.Context, w *workspace.Workspace, run string) ([]sdk.LogLine, error) {
	seen, err := w.Run(ctx, run)
	if err != nil {
		return nil, err
	}
	var lines []sdk.LogLine
	for _, task := range tasksOf(seen) {
		output, err := w.Output(ctx, fmt.Sprint(task.RunId))
		if err != nil {
			return nil, err
		}
		lines = append(lines, linesOf(output)...)
	}
	return lines, nil
}

func linesOf(output *jobs.RunOutput) []sdk.LogLine {
	var lines []sdk.LogLine
	add := func(text string, by sdk.Originator) {
		for line := range strings.Lines(text) {
			lines = append(lines, sdk.LogLine{Message: strings.TrimRight(line, "\r\n"), Originator: by})
		}
	}
	if output.LogsTruncated {
		add("(Databricks has cut off what was written before)", sdk.OriginatorSystem)
	}
	add(output.Logs, sdk.OriginatorUser)
	if notebook := output.NotebookOutput; notebook != nil {
		add(notebook.Result, sdk.OriginatorUser)
	}
	add(output.Error, sdk.OriginatorSystem)
	add(output.ErrorTrace, sdk.OriginatorSystem)
	return lines
}
