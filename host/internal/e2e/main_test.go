package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// root is the repository's root; bin is where TestMain has put the programs.
var root, bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if root, err = filepath.Abs("../../.."); err != nil {
		return fail(err)
	}
	if bin, err = os.MkdirTemp("", "e2e-bin-"); err != nil {
		return fail(err)
	}
	defer os.RemoveAll(bin)
	for program, pkg := range map[string]string{"agenthost": "./host", "duckdb": "./plugins/duckdb", "hello": "./plugins/hello"} {
		build := exec.Command("go", "build", "-o", filepath.Join(bin, program), pkg)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			return fail(fmt.Errorf("go build %s: %w\n%s", pkg, err, out))
		}
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		return fail(err)
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
