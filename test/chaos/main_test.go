package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/test/chaos/agent"
)

func TestMain(m *testing.M) {
	agent.Main()
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// build makes a program of this repository.
func build(t *testing.T, source string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(source))
	command := exec.Command("go", "build", "-o", program, source)
	command.Dir = "../.."
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", source, err, out)
	}
	return program
}

func TestNoJobIsLostInAShortChaos(t *testing.T) {
	err := runChaos(t.Context(), options{
		host: build(t, "./cmd/agenthost"), plugin: build(t, "./test/chaos"), // without the race detector, which makes processes slow
		length: 15 * time.Second, maxWait: 45 * time.Second, jobs: 300, seed: 11, out: t.Output(),
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPollsDoNotFailWhileAPluginIsSwapped(t *testing.T) {
	err := runSwap(t.Context(), swapOptions{
		host: build(t, "./cmd/agenthost"), plugin: build(t, "./plugins/hello"),
		calls: 10_000, callers: 16, every: 200 * time.Millisecond, out: t.Output(),
	})
	if err != nil {
		t.Error(err)
	}
}
