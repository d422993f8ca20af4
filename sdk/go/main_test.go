package agent_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or, in a process that a test started with pluginMode set, one of the plugins of
// serve_test.go.
func TestMain(m *testing.M) {
	if mode := os.Getenv(pluginMode); mode != "" {
		servePlugin(mode)
		return
	}
	goleak.VerifyTestMain(m)
}
