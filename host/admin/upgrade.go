package admin

import (
	"net"
	"net/http"
)

// UpgradeLine is one line of what POST /upgrade answers, as newline-delimited JSON. Exactly one of its fields is set; the
// report comes last. Without a report the host broke off.
type UpgradeLine struct {
	// The new host was started.
	Started *UpgradeStart `json:"started,omitempty"`
	// What came of it, which comes last.
	Report *UpgradeReport `json:"report,omitempty"`
}

// UpgradeStart is a new host that was started.
type UpgradeStart struct {
	// Its process.
	PID int `json:"pid"`
	// Its program.
	Program string `json:"program"`
}

// UpgradeReport is what an upgrade came to.
type UpgradeReport struct {
	// The process of the new host; absent where none was started.
	PID int `json:"pid,omitempty"`
	// The new host's version; absent where it did not get so far.
	Version string `json:"version,omitempty"`
	// The process of the host that was asked.
	Former int `json:"former"`
	// That host's version.
	FormerVersion string `json:"former_version"`
	// The plugins that run in the former host and not in the new one.
	Lost []LostPlugin `json:"lost,omitempty"`
	// Why the former host serves on; absent where the new one has taken over.
	Error string `json:"error,omitempty"`
	// How long it took.
	Seconds float64 `json:"seconds"`
}

// LostPlugin is a plugin that does not run in the new host.
type LostPlugin struct {
	// The plugin's name.
	Name string `json:"name"`
	// Why.
	Reason string `json:"reason"`
}

func (s *Server) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	if !fromThisMachine(r) { // it starts a program
		http.Error(w, "an upgrade is asked for on the host's own machine", http.StatusForbidden)
		return
	}
	out := newLines(w)
	s.options.Upgrade(r.Context(), r.URL.Query().Get("force") != "", func(line UpgradeLine) { out.write(line) })
}

// fromThisMachine says that a request comes over the loopback, or from the address that it came to.
func fromThisMachine(r *http.Request) bool {
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	if ip := net.ParseIP(from); ip != nil && ip.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	to, _, err := net.SplitHostPort(local.String())
	return err == nil && from == to
}
