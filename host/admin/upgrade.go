package admin

import (
	"errors"
	"fmt"
	"net/http"
)

// UpgradeLine is one line of what POST /upgrade answers, as newline-delimited JSON. Exactly one of its fields is set; the
// report comes last. Without a report the host broke off.
type UpgradeLine struct {
	// The new host was started.
	Started *UpgradeStart `json:"started,omitempty"`
	// What is waited for, every second.
	Waits *Waits `json:"waits,omitempty"`
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

func (s *Server) serveUpgrade(w http.ResponseWriter, r *http.Request) Outcome {
	if !fromThisMachine(r) { // it starts a program
		why := errors.New("an upgrade is asked for on the host's own machine")
		http.Error(w, why.Error(), http.StatusForbidden)
		return Outcome{Err: why}
	}
	out, end := newLines(w)
	defer end()
	var report UpgradeReport
	s.options.Upgrade(r.Context(), r.URL.Query().Get("force") != "", func(line UpgradeLine) {
		if line.Report != nil {
			report = *line.Report
		}
		out.write(line)
	})
	if report.Error != "" {
		return Outcome{Err: errors.New(report.Error)}
	}
	return Outcome{Changed: fmt.Sprintf("%s (process %d) serves in the place of %s (process %d)", report.Version, report.PID, report.FormerVersion, report.Former)}
}
