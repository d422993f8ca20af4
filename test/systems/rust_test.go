package systems

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/agenthost/agenthost/test/hosttest"
)

// cargo builds the plugins in Rust once, as `cargo test --workspace` does, so that nothing is compiled twice.
var cargo = sync.OnceValues(func() (string, error) {
	build := exec.Command("cargo", "everything", "--quiet")
	build.Dir = hosttest.Root()
	target := hosttest.Root(".cache", "cargo")
	build.Env = append(os.Environ(), "CARGO_TARGET_DIR="+target)
	out, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return filepath.Join(target, "debug"), err
})

// rust gives the program of a plugin in Rust. Where nothing is built yet, it takes minutes.
func rust(t *testing.T, plugin string) string {
	t.Helper()
	programs, err := cargo()
	if err != nil {
		t.Fatalf("cargo everything: %v", err)
	}
	return filepath.Join(programs, plugin)
}
