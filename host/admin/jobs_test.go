package admin

import (
	"fmt"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
)

// millionJobs are what the gateway tells of so many jobs.
func millionJobs(of int) *Server {
	running := jobs.NewRunning(1 << 21)
	for i := range of {
		running.Heard(running.Key("sql", fmt.Append(nil, i)), jobs.Owner{Plugin: fmt.Sprint("p", i%8), Generation: fmt.Sprint("g", i/8%3)}, uint32(guarantee.SetOf(guarantee.LastKnownStatus)))
	}
	return &Server{options: Options{Jobs: func() ([]jobs.Count, bool) { return running.Counts(), running.Full() }}}
}

func (s *Server) jobs() map[string][]JobsStatus {
	counts, _ := s.options.Jobs()
	return jobsByPlugin(counts)
}

func TestTheStatusOfAMillionJobsCostsAsMuchAsThatOfAFew(t *testing.T) {
	few, many := millionJobs(24), millionJobs(1_000_000)
	total := 0
	for plugin, all := range many.jobs() {
		if len(all) != 3 || all[0].Oldest == nil || time.Since(*all[0].Oldest) > time.Hour || all[0].Saved["G5"] != all[0].Running {
			t.Errorf("%s: %+v", plugin, all)
		}
		for _, j := range all {
			total += j.Running
		}
	}
	if total != 1_000_000 {
		t.Errorf("%d jobs", total)
	}
	// Not exactly as many: a map may grow or not.
	if a, b := testing.AllocsPerRun(20, func() { few.jobs() }), testing.AllocsPerRun(20, func() { many.jobs() }); b > a+10 {
		t.Errorf("%v allocations with a few, %v with a million", a, b)
	}
}

func TestGenerationsBeyondTenAreToldTogether(t *testing.T) {
	now := time.Now()
	var counts []jobs.Count
	for i := range 15 {
		counts = append(counts, jobs.Count{Owner: jobs.Owner{Plugin: "a", Generation: fmt.Sprint("g", i)}, Running: 100 - i, Oldest: now.Add(-time.Duration(i) * time.Minute)})
		counts[i].Saved[guarantee.ThinnedPolls] = 1
	}
	got := jobsByPlugin(append(counts, jobs.Count{Owner: jobs.Owner{Plugin: "a", Generation: "gone"}}))["a"]
	last := got[len(got)-1]
	if len(got) != maxJobsStatus || got[8].Generation != "g8" || last.Generation != "" || last.Running != 91+90+89+88+87+86 || last.Saved["G14"] != 6 || !last.Oldest.Equal(now.Add(-14*time.Minute)) {
		t.Errorf("%+v", got)
	}
	if got := jobsByPlugin([]jobs.Count{{Owner: jobs.Owner{Plugin: "a", Generation: "gone"}}}); len(got) != 0 {
		t.Errorf("a generation without jobs: %+v", got)
	}
}
