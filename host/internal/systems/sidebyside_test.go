package systems

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/agenthost/agenthost/host/internal/propeller"
)

// sides are two plugins for one system, on the same emulator of it.
type sides struct {
	ours, theirs map[string]any
	// volatile matches what is another for every job (ids, names of temporary tables) and is not compared.
	volatile *regexp.Regexp
	// intended are the differences that there are meant to be, by "task: aspect", with the reason.
	intended map[string]string
}

// compare runs the tasks with either, and holds what Flyte sees against each other: how they end, outputs, links. It gives the ends
// by side ("ours", "theirs") and task, for what a test wants to know of intended differences.
func (s sides) compare(t *testing.T, tasks []task) map[string]map[string]propeller.Result {
	seen := map[string]bool{}
	with := map[string]map[string]propeller.Result{}
	for name, plugin := range map[string]map[string]any{"ours": s.ours, "theirs": s.theirs} {
		t.Run(name, func(t *testing.T) { with[name] = runTasks(t, startHost(t, one("system", plugin)), propeller.V1, tasks) })
	}
	if t.Failed() {
		return with
	}
	for _, k := range tasks {
		t.Run(k.Name, func(t *testing.T) {
			ours, theirs := s.view(with["ours"][k.Name]), s.view(with["theirs"][k.Name])
			for _, aspect := range sorted(ours) {
				difference := k.Name + ": " + aspect
				_, meant := s.intended[difference]
				seen[difference] = true
				switch differs := ours[aspect] != theirs[aspect]; {
				case differs && !meant:
					t.Errorf("%s\nours:   %s\ntheirs: %s", difference, ours[aspect], theirs[aspect])
				case !differs && meant:
					t.Errorf("%s is the same now; take it off the list", difference)
				case !differs:
					t.Logf("%s: %s", difference, ours[aspect])
				}
			}
		})
	}
	for difference := range s.intended {
		if !seen[difference] {
			t.Errorf("%q is no task and aspect", difference)
		}
	}
	return with
}

// view is what Flyte shows of a task's end, by aspect.
func (s sides) view(result propeller.Result) map[string]string {
	view := map[string]string{"phase": string(fmt.Append(nil, result.Phase)), "outputs": "none", "links": ""}
	if result.Outputs != nil {
		view["outputs"] = s.fixed(protojson.MarshalOptions{}.Format(result.Outputs))
	}
	var links []string
	if info := result.Final.Info; info != nil {
		for _, link := range info.Logs {
			links = append(links, link.GetName()+" "+s.fixed(link.GetUri()))
		}
	}
	view["links"] = strings.Join(links, ", ")
	return view
}

// fixed replaces what is another for every job. protojson puts spaces in at random.
func (s sides) fixed(text string) string {
	return s.volatile.ReplaceAllString(strings.ReplaceAll(text, " ", ""), "…")
}

// swap begins tasks with their plugin, and puts ours in its place while the system says that the jobs run: none may be lost,
// or begun again. jobs counts those in the system.
func (s sides) swap(t *testing.T, tasks []task, each int, system *held, jobs func() int) {
	h := startHost(t, one("system", s.theirs))
	p := startFlyte(t, propeller.V1, h)
	outputs := t.TempDir()
	before := jobs()
	type begun struct {
		task      task
		execution *propeller.Execution
	}
	var all []begun
	for i := range each {
		for _, k := range tasks {
			name := fmt.Sprintf("swap-%s-%d", k.Name, i)
			all = append(all, begun{k, k.submit(p, name, filepath.Join(outputs, name))})
		}
	}
	waitUntil(t, "all jobs have been made", func() bool { return jobs()-before >= len(all) })
	h.Reload(t, patient(one("system", s.ours)))
	system.released.Store(true)
	for _, b := range all {
		b.task.end(t, b.execution)
	}
	if made := jobs() - before; made != len(all) {
		t.Errorf("%d jobs were made for %d tasks", made, len(all))
	}
}
