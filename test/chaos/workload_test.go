package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/chaos/ledger"
	"github.com/agenthost/agenthost/test/propeller"
)

func workload(seed uint64) []*job {
	return newWorkload(rand.New(rand.NewPCG(seed, 1)), 2000, time.Minute)
}

func TestASeedDrawsTheSameJobsAgain(t *testing.T) {
	if !reflect.DeepEqual(workload(7), workload(7)) {
		t.Error("one seed drew two workloads")
	}
	if reflect.DeepEqual(workload(7), workload(8)) {
		t.Error("two seeds drew one workload")
	}
}

func TestAWorkloadHasEveryKindOfJobAndAllOfThemRunAtOnce(t *testing.T) {
	kinds := map[string]int{}
	for _, j := range workload(7) {
		kinds[string(j.plan.End)]++
		kinds[j.agent+map[propeller.Flyte]string{propeller.V1: " of 1", propeller.V2: " of 2"}[j.flyte]]++
		if j.plan.Retryables > 0 {
			kinds["retried"]++
		}
		if len(j.plan.Message) > 4<<20 {
			kinds["overlong"]++
		}
		if kind := named(j.agent).kind; kind == silent {
			kinds["silent"]++
			continue
		} else if kind == synchronous {
			kinds["shape "+string(j.plan.Shape)]++
			continue // it is short
		}
		if j.submit > 12*time.Second || j.plan.Retryables == 0 && j.plan.End != ledger.Running && j.submit+j.plan.Runs < 12*time.Second && j.plan.Runs < 15*time.Second {
			t.Errorf("job %s runs from %v for %v: not together with all others", j.name, j.submit, j.plan.Runs)
		}
	}
	for _, kind := range []string{
		"succeeded", "failed", "running", "retried", "overlong",
		"silent", "shape ", "shape parts", "shape early", "shape open", "shape old", "epsilon of 1", "zeta of 1", "zeta of 2", "eta of 1", "eta of 2",
		"alpha of 1", "alpha of 2", "beta of 1", "beta of 2", "gamma of 1", "gamma of 2", "delta of 2",
	} {
		if kinds[kind] == 0 {
			t.Errorf("there is no job of kind %q among %v", kind, kinds)
		}
	}
	if n := kinds["delta of 1"]; n > 0 {
		t.Errorf("Flyte 1 has %d jobs of the plugin that is removed", n)
	}
	if n := kinds["epsilon of 2"]; n > 0 {
		t.Errorf("Flyte 2, which has no sync calls, has %d tasks of the sync agent", n)
	}
}

func TestAMountedFileIsReplacedByWayOfItsFolder(t *testing.T) {
	s := newSettings(t.TempDir(), "http://ledger", "mark", func(string) bool { return true })
	s.mounted = true
	for _, content := range []string{"one", "two", "three"} {
		if err := s.spoil(content); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(s.file); err != nil || string(got) != content {
			t.Errorf("the file has %q, %v; want %q", got, err, content)
		}
	}
	if link, err := os.Readlink(s.file); err != nil || link != "..data/agenthost.json" {
		t.Errorf("the file is a link to %q, %v", link, err)
	}
	if versions, _ := filepath.Glob(filepath.Join(filepath.Dir(s.file), "..version-*")); len(versions) != 1 {
		t.Errorf("there are the folders %q, want one", versions)
	}
}

func TestARemovedPluginComesBackWithAnotherRelease(t *testing.T) {
	s := newSettings(t.TempDir(), "http://ledger", "mark", func(string) bool { return true })
	read := func() map[string]struct{ Command []string } {
		t.Helper()
		content, err := os.ReadFile(s.file)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Plugins map[string]struct{ Command []string }
		}
		if err := json.Unmarshal(content, &file); err != nil {
			t.Fatal(err)
		}
		return file.Plugins
	}
	if err := s.repair(); err != nil {
		t.Fatal(err)
	}
	before := read()["delta"].Command
	back, err := s.remove("delta")
	if err != nil {
		t.Fatal(err)
	}
	if now := read(); len(now) != len(agents)-1 || now["delta"].Command != nil {
		t.Errorf("after delta was removed the file has %v", now)
	}
	if err := s.swap("alpha", nil); err != nil {
		t.Fatal(err)
	}
	if now := read(); now["delta"].Command != nil {
		t.Error("a swap of another plugin brought delta back")
	}
	if err := back(); err != nil {
		t.Fatal(err)
	}
	if now := read()["delta"].Command; now == nil || reflect.DeepEqual(now, before) {
		t.Errorf("delta came back as %v, and was %v", now, before)
	}
}
