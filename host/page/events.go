package page

import (
	"time"

	"github.com/agenthost/agenthost/host/admin"
)

// eventRow is something that happened.
type eventRow struct {
	Time                                  time.Time
	Plugin, Generation, State, Was, Cause string
	Instance                              string
}

func eventOf(e admin.Event) eventRow {
	row := eventRow{Time: e.Time, Plugin: e.Plugin, Generation: short(e.Generation), State: e.State, Was: e.Was, Cause: cut(600, e.Cause)}
	if e.Instance != nil {
		row.Instance = count(*e.Instance)
	}
	return row
}
