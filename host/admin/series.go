package admin

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/agenthost/agenthost/host/series"
)

// Series is what the calls of the last hour came to.
type Series = series.Series

// PluginSeries is what those of one plugin came to.
type PluginSeries = series.PluginSeries

// stepsOfAll is how many steps are told of all plugins, where nothing else is asked for.
const stepsOfAll = 12

func (s *Server) serveSeries(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	steps, wanted := stepsOfAll, (func(string) bool)(nil)
	if name := query.Get("plugin"); name != "" {
		steps, wanted = int(series.Keep/series.Every), func(plugin string) bool { return plugin == name }
	}
	if given := query.Get("steps"); given != "" {
		number, err := strconv.Atoi(given)
		if err != nil || number < 1 {
			http.Error(w, fmt.Sprintf("steps is to be a number from 1, and is %.20q", given), http.StatusBadRequest)
			return
		}
		steps = number
	}
	writeJSON(w, s.options.Series(steps, wanted))
}
