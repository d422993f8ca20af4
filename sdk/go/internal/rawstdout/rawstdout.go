// Package rawstdout keeps a plugin's standard output for its handshake.
//
// The first line there must be the handshake, and a host may stop reading after it. So in a plugin process, from before
// main begins, everything that is printed to file descriptor 1, by Go or by C, goes to standard error and with it to the
// host's log; only Handshake still writes to the real one. In any other process importing this package does nothing.
package rawstdout

import (
	"os"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Handshake is the real standard output.
var Handshake = os.Stdout

func init() {
	if os.Getenv(pluginv1.MagicCookieKey) == pluginv1.MagicCookieValue {
		Handshake = divert()
	}
}
