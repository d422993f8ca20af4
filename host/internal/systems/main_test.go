package systems

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
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	var err error
	if root, err = filepath.Abs("../../.."); err != nil {
		return 0, err
	}
	if bin, err = os.MkdirTemp("", "systems-bin-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	for _, pkg := range []string{"host", "plugins/bigquery", "plugins/databricks", "plugins/opa"} {
		build := exec.Command("go", "build", "-o", filepath.Join(bin, filepath.Base(pkg)), "./"+pkg)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	code := m.Run()
	if code == 0 {
		err = goleak.Find()
	}
	return code, err
}
