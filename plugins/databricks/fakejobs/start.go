package fakejobs

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// Workspace is a server that a test has started, on loopback and with TLS.
type Workspace struct {
	*Server
	// Host is what Databricks would call the instance, such as "127.0.0.1:4711".
	Host string
	// Authority is a file with the certificate that a client must trust.
	Authority string

	connections atomic.Int64
}

// Start starts a workspace for the rest of the test.
func Start(t testing.TB, options Options) *Workspace {
	t.Helper()
	w := &Workspace{Server: New(options)}
	listening := httptest.NewUnstartedServer(w.Server)
	listening.EnableHTTP2 = true
	listening.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			w.connections.Add(1)
		}
	}
	listening.StartTLS()
	t.Cleanup(listening.Close)
	w.Host = strings.TrimPrefix(listening.URL, "https://")
	w.Authority = filepath.Join(t.TempDir(), "authority.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: listening.Certificate().Raw})
	if err := os.WriteFile(w.Authority, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// Connections returns how many connections clients have opened.
func (w *Workspace) Connections() int64 { return w.connections.Load() }
