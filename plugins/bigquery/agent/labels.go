package agent

import (
	"strings"

	"github.com/agenthost/agenthost/plugins/bigquery/query"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// The labels of a job that are for the agent itself: what Get must know of the task, and BigQuery keeps.
const (
	// labelResults says whether the task declares outputs.
	labelResults = "flyte_results"
	// labelIgnored names the settings that BigQuery's API does not have.
	labelIgnored = "flyte_ignored"
)

// label gives the query the agent's labels, and those for Google's billing export. The task's own, among its settings, go over
// them.
func label(q *query.Query, task *sdk.Task, config Config) {
	labels := map[string]string{labelResults: "none"}
	if len(task.OutputTypes()) > 0 {
		labels[labelResults] = "declared"
	}
	if len(q.Ignored) > 0 {
		labels[labelIgnored] = labelText(strings.Join(q.Ignored, "-"))
	}
	if config.labelsExecutions() {
		project, domain, name := executionOf(task)
		labels["flyte_project"], labels["flyte_domain"], labels["flyte_execution"] = labelText(project), labelText(domain), labelText(name)
	}
	q.Labels = labels
}

// labelText is text as BigQuery takes it for a label's value: at most 63 small letters, digits, - and _.
func labelText(text string) string {
	const longest = 63
	text = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToLower(text))
	return text[:min(longest, len(text))]
}

// executionOf is the Flyte project, domain and name of the execution; those of the task where the call names no execution.
func executionOf(task *sdk.Task) (project, domain, name string) {
	if id := task.ExecutionID.GetNodeExecutionId().GetExecutionId(); id != nil {
		return id.GetProject(), id.GetDomain(), id.GetName()
	}
	id := task.Template.GetId()
	return id.GetProject(), id.GetDomain(), ""
}
