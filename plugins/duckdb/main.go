// The duckdb plugin runs SQL in DuckDB, inside its own process: Flyte's task type duckdb_query. README.md says how to
// write such tasks and how to configure the plugin.
package main

import (
	"github.com/agenthost/agenthost/plugins/duckdb/agent"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// buildVersion is set by the build.
var buildVersion = "dev"

func main() {
	sdk.Serve(sdk.Plugin{Name: "duckdb", Version: buildVersion}, agent.Options()...)
}
