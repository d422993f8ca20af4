package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/guarantee"
)

func TestEveryGuaranteeHasWhatIsLostWithoutIt(t *testing.T) {
	table := guarantee.All()
	if len(all) != len(table) {
		t.Fatalf("%d guarantees are shown, and there are %d", len(all), len(table))
	}
	for i, g := range all {
		if g.id != table[i].ID {
			t.Errorf("guarantee %d is %s, want %s", i, g.id, table[i].ID)
		}
		if (g.kind == "") == (g.test == "") {
			t.Errorf("%s has the kind of violation %q and the test %q, want one of them", g.id, g.kind, g.test)
		}
		for _, name := range g.faults {
			if !strings.Contains(strings.Join(kindNames(), " "), name) {
				t.Errorf("%s asks for the fault %q, which there is not", g.id, name)
			}
		}
	}
}

func TestALossIsOneOfTheKindThatTheGuaranteeIsFor(t *testing.T) {
	v := newVerdict(&chaos{}, nil)
	v.violate(lost, "wrong end", &job{}, "it fell to the (container plugin)")
	v.violate(stuck, "not over", &job{}, "it waits")
	for _, c := range []struct {
		kind, says string
		found      bool
	}{
		{"wrong end", "(container plugin)", true}, {"not over", "", true}, {"wrong end", "it waits", false}, {"quota", "", false},
	} {
		if loss := v.loss(c.kind, c.says); (loss != "") != c.found {
			t.Errorf("of kind %q that says %q the loss is %q", c.kind, c.says, loss)
		}
	}
}

func TestAGuaranteeIsNeededOnlyWhereItsOwnLossIsSeen(t *testing.T) {
	kept, err := os.MkdirTemp("", "chaos-") // where a run that fails leaves its logs; the path is short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(kept)
	t.Setenv("TMPDIR", kept)
	o := options{
		host: build(t, "./cmd/agenthost"), plugin: build(t, "./test/chaos"),
		length: 3 * time.Second, maxWait: 15 * time.Second, jobs: 60, seed: 3, only: []string{"swap"}, out: t.Output(),
	}
	versions := all[1]
	loss, err := versions.show(t.Context(), o)
	if err != nil || !strings.Contains(loss, "CreateTask failed: NotFound") {
		t.Errorf("without %s the loss is %q, %v", versions.id, loss, err)
	}
	versions.kind = "quota"
	if loss, err := versions.show(t.Context(), o); !errors.Is(err, errNotNeeded) {
		t.Errorf("a loss that it is not there to save gave %q, %v", loss, err)
	}
}
