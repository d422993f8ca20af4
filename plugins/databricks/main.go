// The databricks plugin runs tasks as one-time runs of Databricks' Jobs API: Flyte's task types databricks and spark.
// README.md says how to write such tasks and how to configure the plugin.
package main

import (
	"github.com/agenthost/agenthost/plugins/databricks/agent"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// buildVersion is set by the build.
var buildVersion = "dev"

func main() {
	sdk.Serve(sdk.Plugin{Name: "databricks", Version: buildVersion}, agent.Options()...)
}
