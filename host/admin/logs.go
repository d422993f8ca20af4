package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/logging"
)

// LogLine is one line of a plugin's output.
type LogLine = logging.Line

// DefaultTail is how many of a plugin's last lines are given where nothing is said of it.
const DefaultTail = 100

// NoPlugin begins the answer about a plugin that there is not.
const NoPlugin = "no plugin is called"

func (s *Server) serveLogs(w http.ResponseWriter, r *http.Request) {
	name, parameters := r.PathValue("plugin"), r.URL.Query()
	tail := DefaultTail
	if given := parameters.Get("tail"); given != "" {
		var err error
		if tail, err = strconv.Atoi(given); err != nil || tail < 0 {
			http.Error(w, fmt.Sprintf("tail=%q: expected a number of lines", given), http.StatusBadRequest)
			return
		}
	}
	isNamed := func(p fleet.Status) bool { return p.Name == name }
	if !s.options.Tails.Has(name) && !slices.ContainsFunc(s.options.Plugins(), isNamed) {
		http.Error(w, fmt.Sprintf("%s %q, and none of that name has printed anything", NoPlugin, name), http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	out, end := newLines(w)
	defer end()
	for line := range s.options.Tails.Lines(ctx, name, tail, parameters.Get("follow") != "") {
		out.write(line)
	}
}
