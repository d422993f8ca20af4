package systems

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// sides are two plugins for one system, on the same emulator of it.
type sides struct {
	ours, theirs map[string]any
	// secrets are texts that nobody may ever read: not in the host's log, its status or anything that Flyte gets.
	secrets []string
	// volatile matches what is another for every job (ids, names of temporary tables) and is not compared.
	volatile *regexp.Regexp
	// failing are the tasks that only their plugin fails, with a part of its message.
	failing map[string]string
	// intended are the differences that there are meant to be, by "task: aspect", with the reason.
	intended map[string]string
}

// compare runs the tasks with either, and holds what Flyte sees against each other: how they end, outputs, links. It gives the ends
// by side ("ours", "theirs") and task, for what a test wants to know of intended differences.
func (s sides) compare(t *testing.T, tasks []task) map[string]map[string]propeller.Result {
	seen := map[string]bool{}
	with := map[string]map[string]propeller.Result{}
	run := func(name string, plugin map[string]any, tasks []task) {
		t.Run(name, func(t *testing.T) {
			h := startHost(t, one("system", plugin))
			with[name] = runTasks(t, h, propeller.V1, tasks)
			if name == "ours" {
				s.wantSecret(t, h, with[name])
			}
		})
	}
	run("ours", s.ours, tasks)
	run("theirs", s.theirs, s.forTheirs(tasks))
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

// wantSecret looks for the secrets wherever somebody could read them.
func (s sides) wantSecret(t *testing.T, h *hosttest.Host, results map[string]propeller.Result) {
	t.Helper()
	if len(s.secrets) == 0 {
		t.Error("the test knows of no secret")
	}
	for _, secret := range s.secrets {
		notShownBy(t, h, secret)
		for name, result := range results {
			notShown(t, "what Flyte gets of "+name, fmt.Sprint(result.Final, result.Outputs, result.Calls), secret)
		}
	}
}

// notShownBy says that a host does not show what must be hidden: not in its log, its status, its metrics.
func notShownBy(t *testing.T, h *hosttest.Host, hidden string) {
	t.Helper()
	notShown(t, "the host's log", h.Log(t), hidden)
	notShown(t, "the host's status", h.Ask(t, "/status"), hidden)
	notShown(t, "the metrics", h.Ask(t, "/metrics"), hidden)
}

// notShown says that a text does not have what must be hidden.
func notShown(t *testing.T, where, text, hidden string) {
	t.Helper()
	if text == "" || strings.Contains(text, hidden) {
		t.Errorf("%s is empty, or shows %q:\n%s", where, hidden, text)
	}
}

// forTheirs are the tasks as they must end with their plugin.
func (s sides) forTheirs(tasks []task) []task {
	tasks = slices.Clone(tasks)
	for i, k := range tasks {
		if message, fails := s.failing[k.Name]; fails {
			tasks[i].Fails = message
		}
	}
	return tasks
}

// view is what Flyte shows of a task's end, by aspect.
func (s sides) view(result propeller.Result) map[string]string {
	view := map[string]string{"phase": string(fmt.Append(nil, result.Phase)), "outputs": "none", "links": ""}
	if result.Outputs != nil {
		view["outputs"] = s.fixed(shown(result.Outputs))
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
	p := startFlyteThatPolls(t, propeller.V1, h, time.Second) // many jobs, of a connector that may block
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
			// One after another: a connector that blocks makes all others wait, and Flyte gives a creation ten seconds.
			wait.Until(t, name+" has been made", func() bool { return jobs()-before >= len(all) })
		}
	}
	h.Reload(t, patient(one("system", s.ours)))
	system.released.Store(true)
	for _, b := range all {
		b.task.end(t, b.execution)
	}
	if made := jobs() - before; made != len(all) {
		t.Errorf("%d jobs were made for %d tasks", made, len(all))
	}
}
