package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/agenthost/agenthost/host/fleet"
)

// OperationLine is one line of what POST /plugins/{plugin}/restart and its siblings answer, as newline-delimited JSON. Exactly one of
// its fields is set; the report comes last. Without a report the host broke off.
type OperationLine struct {
	// What happens meanwhile to the plugin.
	Event *Event `json:"event,omitempty"`
	// What is waited for, every second.
	Waits *Waits `json:"waits,omitempty"`
	// What came of it, which comes last.
	Report *OperationReport `json:"report,omitempty"`
}

// OperationReport is what an operation on a plugin came to.
type OperationReport struct {
	// The plugin's name.
	Plugin string `json:"plugin"`
	// One of restart, stop, kill, start, disable, enable, rollback, promote, retry.
	Operation string `json:"operation"`
	// What was done: such as started, swapped, stopped, removed; absent where nothing was.
	Action string `json:"action,omitempty"`
	// The generation that it concerns.
	Generation string `json:"generation,omitempty"`
	// The plugin's state afterwards, as in PluginStatus; absent where there is no such plugin.
	State string `json:"state,omitempty"`
	// Why there was nothing to do, such as for a plugin that is stopped already; absent where there was.
	Unneeded string `json:"unneeded,omitempty"`
	// Why it failed.
	Error string `json:"error,omitempty"`
	// How long it took.
	Seconds float64 `json:"seconds"`
}

// operations are the endpoints of what operators do to one plugin.
func (s *Server) operations() []endpoint {
	answers := map[fleet.Operation]string{
		fleet.Restart:  "a new generation of the same spec is put in the place of the running one, as in a swap; a plugin that was stopped is started",
		fleet.Stop:     "the plugin's processes end, after the calls under way, until start, restart or another configuration of the plugin; its task types stay listed",
		fleet.Kill:     "as stop, but calls under way are cut off",
		fleet.Start:    "a plugin that was stopped is started",
		fleet.Disable:  "the plugin is taken out, as if it were out of the configuration, until enable",
		fleet.Enable:   "a plugin that was disabled is put back",
		fleet.Rollback: "the generation before the current one comes back, until another configuration of the plugin; a rollout ends",
		fleet.Promote:  "the canary gets all calls at once",
		fleet.Retry:    "what was withdrawn or rolled back is tried again, as if it were new",
	}
	var endpoints []endpoint
	for _, what := range fleet.Operations {
		endpoints = append(endpoints, endpoint{
			pattern: "POST /plugins/{plugin}/" + string(what), handler: s.operation(string(what), s.serveOperation(what)),
			parameters: "`plugin`: its name",
			answer:     answers[what] + ": [OperationLines](#operationline), as newline-delimited JSON",
			status:     "200, also for an operation that fails: its report says so",
		})
	}
	return endpoints
}

func (s *Server) serveOperation(what fleet.Operation) func(http.ResponseWriter, *http.Request) Outcome {
	return func(w http.ResponseWriter, r *http.Request) Outcome {
		out, end := newLines(w)
		defer end()
		return s.operate(r.Context(), r.PathValue("plugin"), what, func(line OperationLine) { out.write(line) })
	}
}

// operate carries out an operation on a plugin, and tells what happens.
func (s *Server) operate(ctx context.Context, name string, what fleet.Operation, tell func(OperationLine)) Outcome {
	outcome := Outcome{Plugin: name, Err: errBrokenOff}
	s.options.Operate(ctx, name, what, func(line OperationLine) {
		if report := line.Report; report != nil {
			outcome.Err = nil
			if report.Error != "" {
				outcome.Err = errors.New(report.Error)
			} else if report.Unneeded == "" {
				outcome.Changed = fmt.Sprintf("%s, now %s", report.Action, report.State)
			}
		}
		tell(line)
	})
	return outcome
}
