// The bigquery plugin runs SQL in Google BigQuery: Flyte's task type bigquery_query_job_task, which flytekit's BigQueryTask
// makes. README.md says how to write such tasks and how to configure the plugin.
package main

import (
	"github.com/agenthost/agenthost/plugins/bigquery/agent"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// buildVersion is set by the build.
var buildVersion = "dev"

func main() {
	sdk.Serve(sdk.Plugin{Name: "bigquery", Version: buildVersion}, agent.Options()...)
}
