// The opa plugin answers Flyte's task type access_control: a decision with its reasons, by Open Policy Agent. README.md says
// how to write such tasks and how to configure the plugin.
package main

import (
	"github.com/agenthost/agenthost/plugins/opa/agent"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// buildVersion is set by the build.
var buildVersion = "dev"

func main() {
	sdk.Serve(sdk.Plugin{Name: "opa", Version: buildVersion}, agent.Options()...)
}
