package alerts

import (
	"testing"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/hosttest"
)

func TestMain(m *testing.M) {
	badplugin.Main() // does not return where this binary is run as a plugin
	hosttest.Main(m, "cmd/agenthost", "plugins/hello")
}
