package fleet

import (
	"flag"
	"strconv"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/badplugin"
)

// model is what the supervisor promises of one plugin, in two words: what was last seen to work serves, as long as the
// plugin is configured at all.
type model struct {
	configured config.Plugin
	wanted     string // the version configured; empty: no such plugin, "broken": one that cannot start
	serving    string // the version that answers; empty: none does
}

const broken = "broken"

// Whatever order configurations, broken ones, removals and crashes come in, the plugin that answers is the one the
// model names.
func TestTheSupervisorKeepsToItsModel(t *testing.T) {
	if err := flag.Set("rapid.checks", "5"); err != nil { // each starts dozens of real processes
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := startWith(t, Health{})
		m := &model{}
		version := 0
		f.apply(t, config.Default())
		apply := func(wanted string, p config.Plugin) Outcome {
			p.Rollback = false // the crashes below are no fault of a version; rollbacks have a test of their own
			m.wanted, m.configured = wanted, p
			return f.apply(t, only(p))["echo"]
		}
		expect := func(got Outcome, action Action, failed bool) {
			rt.Helper()
			if got.Action != action || (got.Err != nil) != failed {
				rt.Fatalf("got %s, %v; want %s, failed %v", got.Action, got.Err, action, failed)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"a new version": func(*rapid.T) {
				version++
				was := m.wanted
				got := apply(strconv.Itoa(version), echo(strconv.Itoa(version)))
				if was == "" {
					expect(got, Started, false)
				} else {
					expect(got, Swapped, false)
				}
				m.serving = m.wanted
			},
			"a broken version": func(*rapid.T) {
				version++
				p := echo(strconv.Itoa(version))
				p.Command = badplugin.Command("dies", "-code", strconv.Itoa(version%200+1))
				was := m.wanted
				got := apply(broken, p)
				if was == "" {
					expect(got, Started, true)
				} else {
					expect(got, Failed, true)
				}
			},
			"the same again": func(rt *rapid.T) {
				if m.wanted == "" {
					rt.Skip("there is none")
				}
				got := apply(m.wanted, m.configured)
				if m.wanted != broken {
					expect(got, Unchanged, false)
				}
			},
			"removal": func(rt *rapid.T) {
				if m.wanted == "" {
					rt.Skip("there is none")
				}
				f.apply(t, config.Default())
				m.wanted, m.serving = "", ""
			},
			"a crash": func(rt *rapid.T) {
				if m.serving == "" {
					rt.Skip("nothing runs")
				}
				before := f.status(t, "echo", isVersion(m.serving))
				if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
					rt.Fatal(err)
				}
				f.status(t, "echo", func(s Status) bool { return isVersion(m.serving)(s) && s.PID != before.PID })
			},
			"": func(rt *rapid.T) { // after each step
				found, ok := f.routes.Table().LookupNew(plugin.Category{Name: "echo_task"}, "", "")
				if ok != (m.serving != "") {
					rt.Fatalf("listed: %v, but %q should serve", ok, m.serving)
				}
				if !ok {
					return
				}
				lease, err := found.Target.Acquire(soon(t), route.Want{})
				if err != nil {
					rt.Fatalf("%q should serve: %v", m.serving, err)
				}
				lease.Release()
				f.status(t, "echo", isVersion(m.serving))
			},
		})
	})
}
