package agent_test

import (
	"testing"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// configureError hands over an empty block and returns the call's error.
func configureError(t *testing.T, client *agenttest.Client) error {
	t.Helper()
	_, err := pluginv1.NewPluginServiceClient(client.Conn()).Configure(t.Context(), &pluginv1.ConfigureRequest{Config: `{}`})
	return err
}
