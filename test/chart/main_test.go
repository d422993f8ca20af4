package chart

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// built is the folder of what was built here; empty where nothing was.
var built string

// program is the host's own: of `make build`, where PREBUILT_PROGRAMS says where that is, else built here.
var program = sync.OnceValues(func() (string, error) {
	if prebuilt := os.Getenv("PREBUILT_PROGRAMS"); prebuilt != "" {
		return filepath.Join(prebuilt, "agenthost"), nil
	}
	var err error
	if built, err = os.MkdirTemp("", "chart"); err != nil {
		return "", err
	}
	path := filepath.Join(built, "agenthost")
	build := exec.Command("go", "build", "-o", path, "./cmd/agenthost")
	build.Dir, build.Env = "../..", append(os.Environ(), "GOWORK=")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// agenthost runs the program, and gives what it prints.
func agenthost(t *testing.T, args ...string) []byte {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	command := exec.Command(path, args...)
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("agenthost %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out
}
