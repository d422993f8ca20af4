package admin

import (
	"fmt"
	"io"
	"net/http"

	"github.com/agenthost/agenthost/host/fleet"
)

// Readiness is whether Flyte may send work, and what there is to say of it.
type Readiness struct {
	Ready bool
	// Why it is not; empty where it is.
	Why string
	// Waits are the plugins that a host that is not ready waits for, and Without those that one is ready without, because it has waited for
	// them long enough.
	Waits, Without []fleet.Standing
}

// readiness is what is known of it.
func (o Options) readiness() Readiness {
	if o.Readiness == nil {
		return Readiness{Ready: o.Ready()}
	}
	return o.Readiness()
}

// serve answers a readiness probe. Strangers learn nothing that plugins say.
func (r Readiness) serve(w http.ResponseWriter, strangers bool) {
	if r.Ready {
		fmt.Fprintln(w, "ok")
		tellStandings(w, "ready without ", r.Without, strangers)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, "not ready: "+r.Why)
	tellStandings(w, "", r.Waits, strangers)
}

func tellStandings(w io.Writer, prefix string, standings []fleet.Standing, strangers bool) {
	for _, s := range standings {
		why := reason(s.Problem)
		if strangers {
			why = s.Brief
		}
		if why != "" {
			why = ": " + why
		}
		fmt.Fprintf(w, "%splugin %s, which is %s%s\n", prefix, s.Plugin, s.Stand, why)
	}
}

// names are those of plugins.
func names(standings []fleet.Standing) []string {
	var all []string
	for _, s := range standings {
		all = append(all, s.Plugin)
	}
	return all
}
