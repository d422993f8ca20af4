package agent

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/databricks/databricks-sdk-go/service/jobs"

	"github.com/agenthost/agenthost/plugins/databricks/outcome"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// describe tells Flyte how a run is.
func describe(meta Meta, run *jobs.Run, out outcome.Outcome, output *jobs.RunOutput) *sdk.Resource {
	resource := phase(run, out, output)
	resource.WithLink("Databricks Console", fmt.Sprintf("https://%s/#job/%d/run/%s", meta.Instance, run.JobId, meta.RunID))
	if run.RunPageUrl != "" {
		resource.WithLink("Databricks Run", run.RunPageUrl)
	}
	for key, value := range statistics(meta, run, out) {
		resource.WithInfo(key, value)
	}
	return resource
}

func phase(run *jobs.Run, out outcome.Outcome, output *jobs.RunOutput) *sdk.Resource {
	switch out.Kind {
	case outcome.Queued:
		return sdk.Queued(progress(run, out))
	case outcome.Starting:
		return sdk.Initializing(progress(run, out))
	case outcome.Succeeded:
		return sdk.Succeeded(nil).WithMessage(progress(run, out)) // The run wrote outputs.pb itself.
	case outcome.Cancelled:
		return sdk.Aborted(cmp.Or(out.Message, "the run was cancelled"))
	case outcome.Failed, outcome.Retryable:
		return failure(out, output)
	}
	return sdk.Running(progress(run, out))
}

func failure(out outcome.Outcome, output *jobs.RunOutput) *sdk.Resource {
	err := errors.New(failureMessage(out, output))
	switch {
	case out.Kind == outcome.Retryable:
		return sdk.RetryableFailed(sdk.SystemError(out.Code, err))
	case out.User:
		return sdk.Failed(sdk.UserError(out.Code, err))
	}
	return sdk.Failed(sdk.SystemError(out.Code, err))
}

// failureMessage has what the run says of its end, then what its task's code said, then where.
func failureMessage(out outcome.Outcome, output *jobs.RunOutput) string {
	parts := []string{cmp.Or(out.Message, "the run ended as "+out.State)}
	if output != nil {
		parts = append(parts, output.Error, output.ErrorTrace)
	}
	var said []string
	for _, part := range parts {
		if part = strings.TrimSpace(part); part != "" {
			said = append(said, part)
		}
	}
	return strings.Join(said, "\n")
}

// progress is a message such as "RUNNING for 1m30s: In run".
func progress(run *jobs.Run, out outcome.Outcome) string {
	message := out.State
	if began := run.StartTime; began > 0 {
		end := time.Now()
		if run.EndTime > 0 {
			end = time.UnixMilli(run.EndTime)
		}
		message += " for " + max(end.Sub(time.UnixMilli(began)), 0).Round(time.Second).String()
	}
	if run.EndTime > 0 {
		message = strings.Replace(message, " for ", " in ", 1)
	}
	if out.Message != "" {
		message += ": " + out.Message
	}
	return message
}

// statistics are what is known of the run, for the custom info. What is not known is left out.
func statistics(meta Meta, run *jobs.Run, out outcome.Outcome) map[string]any {
	info := map[string]any{
		"databricks_instance": meta.Instance,
		"run_id":              meta.RunID,
		"job_id":              run.JobId,
		"state":               out.State,
		"attempts":            attempts(run),
	}
	for key, value := range map[string]string{"run_page_url": run.RunPageUrl, "termination_code": out.Code, "cluster_id": clusterOf(run)} {
		if value != "" {
			info[key] = value
		}
	}
	for key, millis := range map[string]int64{
		"queue_seconds": run.QueueDuration, "setup_seconds": run.SetupDuration, "execution_seconds": run.ExecutionDuration,
		"cleanup_seconds": run.CleanupDuration, "run_seconds": run.RunDuration,
	} {
		if millis > 0 {
			info[key] = float64(millis) / 1000
		}
	}
	for key, millis := range map[string]int64{"started": run.StartTime, "ended": run.EndTime} {
		if millis > 0 {
			info[key] = time.UnixMilli(millis).UTC().Format(time.RFC3339)
		}
	}
	return info
}

// attempts counts the repetitions that Databricks itself has made.
func attempts(run *jobs.Run) int {
	most := run.AttemptNumber
	for _, task := range run.Tasks {
		most = max(most, task.AttemptNumber)
	}
	return most + 1
}

func clusterOf(run *jobs.Run) string {
	if run.ClusterInstance != nil && run.ClusterInstance.ClusterId != "" {
		return run.ClusterInstance.ClusterId
	}
	for _, task := range run.Tasks {
		if task.ClusterInstance != nil && task.ClusterInstance.ClusterId != "" {
			return task.ClusterInstance.ClusterId
		}
	}
	return ""
}

// failedTask returns the task that a failure is told by: the first that did not go well.
func failedTask(run *jobs.Run) *jobs.RunTask {
	tasks := tasksOf(run)
	for i := range tasks {
		switch outcome.Of(&jobs.Run{State: tasks[i].State, Status: tasks[i].Status}).Kind {
		case outcome.Failed, outcome.Retryable:
			return &tasks[i]
		}
	}
	if len(tasks) == 1 {
		return &tasks[0]
	}
	return nil
}

// tasksOf returns the run's tasks. A run without any is its own.
func tasksOf(run *jobs.Run) []jobs.RunTask {
	if len(run.Tasks) > 0 {
		return run.Tasks
	}
	return []jobs.RunTask{{RunId: run.RunId, State: run.State, Status: run.Status}}
}
