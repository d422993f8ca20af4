package page

import (
	"cmp"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/guarantee"
)

// jobList is the jobs that run, by plugin and generation.
type jobList struct {
	// OfOne says that they are one plugin's.
	OfOne         bool
	Running, More int
	Rows          []jobRow
	Uncounted     bool
}

// jobRow is the jobs of one generation.
type jobRow struct {
	Plugin, Generation string
	Running            int
	Oldest             time.Time
	Saved              []savedJobs
}

// savedJobs are those that a guarantee has acted on.
type savedJobs struct {
	ID, Name string
	Jobs     int
}

// jobsShown is how many generations the overview has.
const jobsShown = 12

// jobsPart has the generations with the most jobs, of all plugins.
func jobsPart(s *snapshot) part {
	rows := jobRows("", s.status.Host.Jobs)
	for _, p := range s.status.Plugins {
		rows = append(rows, jobRows(p.Name, p.Jobs)...)
	}
	rows = slices.DeleteFunc(rows, func(r jobRow) bool { return r.Running == 0 })
	slices.SortStableFunc(rows, func(a, b jobRow) int { return cmp.Compare(b.Running, a.Running) })
	list := newJobList(rows)
	if list == nil {
		return part{id: "jobs", template: "part-jobs"}
	}
	list.Uncounted = s.status.Host.JobsUncounted
	list.More = max(0, len(rows)-jobsShown)
	list.Rows = rows[:min(len(rows), jobsShown)]
	return part{id: "jobs", template: "part-jobs", data: list}
}

func jobsOfPart(p admin.PluginStatus) part {
	list := newJobList(jobRows(p.Name, p.Jobs))
	if list == nil {
		return part{id: "jobs", template: "part-jobs"}
	}
	list.OfOne = true
	return part{id: "jobs", template: "part-jobs", data: list}
}

// newJobList is nil where there is nothing to show.
func newJobList(rows []jobRow) *jobList {
	if len(rows) == 0 {
		return nil
	}
	list := &jobList{Rows: rows}
	for _, r := range rows {
		list.Running += r.Running
	}
	return list
}

func jobRows(plugin string, all []admin.JobsStatus) []jobRow {
	var rows []jobRow
	for _, j := range all {
		row := jobRow{Plugin: plugin, Generation: short(j.Generation), Running: j.Running}
		if j.Oldest != nil {
			row.Oldest = j.Oldest.Round(time.Second)
		}
		for _, g := range guarantee.All() {
			if n := j.Saved[g.ID.String()]; n > 0 {
				row.Saved = append(row.Saved, savedJobs{g.ID.String(), g.Name, n})
			}
		}
		rows = append(rows, row)
	}
	return rows
}
