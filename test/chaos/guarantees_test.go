package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/test/chaos/creation"
	"github.com/agenthost/agenthost/test/hosttest"
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
		if g.scenario != "" && !slices.Contains(creation.Names(), g.scenario) {
			t.Errorf("%s asks for the scenario %q, which there is not", g.id, g.scenario)
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
		host: hostWithout(t), plugin: hosttest.Program("chaos"),
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

// Tasks that begin while there is trouble show the guarantees that are about them.
func TestWithoutAGuaranteeOfCreationItsLossIsSeen(t *testing.T) {
	host := hostWithout(t)
	var showing sync.WaitGroup
	shown := 0
	for _, g := range all {
		if g.scenario == "" {
			continue
		}
		shown++
		showing.Go(func() {
			loss, err := g.show(t.Context(), options{host: host, plugin: hosttest.Program("chaos"), out: t.Output()})
			if err != nil || !strings.Contains(loss, g.kind) {
				t.Errorf("without %s the loss is %q, %v", g.id, loss, err)
			}
		})
	}
	showing.Wait()
	if shown != 3 {
		t.Errorf("%d guarantees are shown so, want those of G15, G16 and G17", shown)
	}
}

// builtWithout is the host that can go without guarantees, built once.
var builtWithout = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp(hosttest.Bin(), "without-")
	if err != nil {
		return "", err
	}
	return buildHostWithout(context.Background(), hosttest.Root(), dir)
})

func hostWithout(t *testing.T) string {
	t.Helper()
	program, err := builtWithout()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// said runs a host with an environment and no plugins, and gives what it says until it is ready or has ended by itself.
func said(t *testing.T, host, variable string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaos-") // not t.TempDir: a test's name would make a socket's path too long
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "agenthost.yaml")
	if err := os.WriteFile(file, []byte("listen: {grpc: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\nrun_dir: "+dir+"/run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), host, "serve", "--config", file)
	command.Env = append(os.Environ(), variable)
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "agenthost is ready") {
			_ = command.Process.Signal(syscall.SIGTERM)
		}
	}
	_ = command.Wait() // what it said tells how it ended
	return text.String()
}

func TestOnlyATestBuildGoesWithoutGuarantees(t *testing.T) {
	released, built := hosttest.Program("agenthost"), hostWithout(t)
	for _, c := range []struct{ name, host, variable, want, never string }{
		{"a released host knows no such variable", released, "CHAOS_WITHOUT=G5", "agenthost has stopped", "G5"},
		{"nor its old name", released, "AGENTHOST_INTERNAL_WITHOUT=G5", "AGENTHOST_INTERNAL_WITHOUT: ", "agenthost is ready"},
		{"a test build says what it goes without", built, "CHAOS_WITHOUT=G5 G7", `guarantees="G5 G7"`, "panic"},
		{"and refuses what is no guarantee", built, "CHAOS_WITHOUT=G99", `CHAOS_WITHOUT: there is no guarantee "G99"`, "panic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := said(t, c.host, c.variable); !strings.Contains(got, c.want) || strings.Contains(got, c.never) {
				t.Errorf("want %q in it, and no %q:\n%s", c.want, c.never, got)
			}
		})
	}
}
