package cgroup_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/cgroup"
)

// asLimited makes the test binary print its memory limit.
const asLimited = "CGROUP_TEST_LIMIT"

func TestMain(m *testing.M) {
	if os.Getenv(asLimited) != "" {
		fmt.Println(cgroup.MemoryLimit())
		os.Exit(0)
	}
	if os.Getenv(asContained) != "" {
		actAsContained()
		os.Exit(0)
	}
	if os.Getenv(asHost) != "" {
		actAsHost()
	}
	if os.Getenv(asOrdinary) != "" {
		actAsOrdinary()
		os.Exit(0)
	}
	if os.Getenv(asFiltered) != "" {
		actAsFiltered()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestTheMemoryLimitIsTheLowestAbove(t *testing.T) {
	memory := memoryCgroup(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	said := func() string {
		t.Helper()
		// The shell joins before there is anything to limit.
		run := exec.Command("sh", "-c", `echo $$ >"$0/inner/cgroup.procs" && exec "$1"`, memory.path, program)
		run.Env = append(os.Environ(), asLimited+"=1")
		out, err := run.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.Mkdir(filepath.Join(memory.path, "inner"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(filepath.Join(memory.path, "inner")) })
	memory.limit(t, "", 256<<20)
	if got := said(); got != "268435456 true <nil>" {
		t.Errorf("limited above: %s", got)
	}
	memory.limit(t, "inner", 128<<20)
	if got := said(); got != "134217728 true <nil>" {
		t.Errorf("limited twice: %s", got)
	}
}
