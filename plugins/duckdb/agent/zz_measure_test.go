package agent_test

import (
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

func TestZZMeasure(t *testing.T) {
	if os.Getenv("MEASURE") == "" {
		t.Skip()
	}
	clients := map[string]*agenttest.Client{}
	for _, name := range []string{"old", "new"} {
		clients[name] = agenttest.Command(t, "/tmp/duckdb-"+name)
		configure(t, clients[name], map[string]any{"state_dir": t.TempDir(), "threads": 1})
	}
	took := map[string][]time.Duration{}
	creates := map[string][]time.Duration{}
	for n := range 240 {
		for _, name := range []string{"old", "new"} {
			began := time.Now()
			job := create(t, clients[name], task("select 42 as n", sdk.OutputTypes{"n": literal.Simple(core.SimpleType_INTEGER)}))
			created := time.Since(began)
			for {
				result, err := job.Get(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if result.Phase == sdk.PhaseSucceeded {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if n >= 40 {
				took[name] = append(took[name], time.Since(began))
				creates[name] = append(creates[name], created)
			}
		}
	}
	median := func(d []time.Duration) time.Duration { slices.Sort(d); return d[len(d)/2] }
	t.Logf("create old %s new %s ratio %.2f; create to end old %s new %s ratio %.2f", median(creates["old"]), median(creates["new"]), float64(median(creates["new"]))/float64(median(creates["old"])),
		median(took["old"]), median(took["new"]), float64(median(took["new"]))/float64(median(took["old"])))
}

func TestZZMixed(t *testing.T) {
	if os.Getenv("MEASURE") == "" {
		t.Skip()
	}
	dir := t.TempDir()
	for n, names := range [][2]string{{"old", "new"}, {"new", "old"}} {
		first := agenttest.Command(t, "/tmp/duckdb-"+names[0])
		configure(t, first, map[string]any{"state_dir": dir})
		second := agenttest.Command(t, "/tmp/duckdb-"+names[1])
		configure(t, second, map[string]any{"state_dir": dir})
		gate := newGate(t)
		job := create(t, first, gate.task("a"+string(rune('0'+n))))
		until(t, job, "runs", running)
		gone := create(t, first, gate.task("b"+string(rune('0'+n))))
		until(t, gone, "runs", running)
		for range 5 {
			if r, err := at(second, job).Get(t.Context()); err != nil || r.Phase != sdk.PhaseRunning {
				t.Fatalf("%v: %+v, %v", names, r, err)
			}
		}
		if err := at(second, gone).Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		for _, c := range []*agenttest.Client{first, second} {
			if r, err := at(c, gone).Get(t.Context()); err != nil || r.Phase != sdk.PhaseAborted {
				t.Errorf("%v: deleted is %+v, %v", names, r, err)
			}
		}
		gate.open()
		_ = syscall.Kill(first.PID(), syscall.SIGKILL)
		r, err := at(second, job).Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sevenRows(t, second, r)
		t.Logf("%s -> %s: %s, %v", names[0], names[1], r.Phase, r.Resource.GetCustomInfo().AsMap()["attempts"])
	}
}
