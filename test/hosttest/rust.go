package hosttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// cargo builds the plugins in Rust once, as `cargo test --workspace` does, so that nothing is compiled twice.
var cargo = sync.OnceValues(func() (string, error) {
	build := exec.Command("cargo", "everything", "--quiet")
	build.Dir = Root()
	target := Root(".cache", "cargo")
	build.Env = append(os.Environ(), "CARGO_TARGET_DIR="+target)
	out, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return filepath.Join(target, "debug"), err
})

// Rust gives the program of a plugin in Rust. Where nothing is built yet, it takes minutes.
func Rust(t testing.TB, plugin string) string {
	t.Helper()
	programs, err := cargo()
	if err != nil {
		t.Fatalf("cargo everything: %v", err)
	}
	return filepath.Join(programs, plugin)
}
