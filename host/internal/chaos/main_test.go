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

	"github.com/agenthost/agenthost/host/internal/chaos/agent"
)

// host and hello are the binaries that TestMain has built.
var host, hello string

func TestMain(m *testing.M) {
	agent.Main()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	bin, err := os.MkdirTemp("", "chaos-bin-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(bin)
	host, hello = filepath.Join(bin, "agenthost"), filepath.Join(bin, "hello")
	for program, source := range map[string]string{host: "./host", hello: "./plugins/hello"} {
		build := exec.Command("go", "build", "-o", program, source)
		build.Dir = "../../.."
		if out, err := build.CombinedOutput(); err != nil {
			return fail(fmt.Errorf("go build %s: %w\n%s", source, err, out))
		}
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		return fail(err)
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func TestNoJobIsLostInAShortChaos(t *testing.T) {
	err := runChaos(t.Context(), options{host: host, length: 15 * time.Second, jobs: 300, seed: 20260101, out: t.Output()})
	if err != nil {
		t.Error(err)
	}
}

func TestPollsDoNotFailWhileAPluginIsSwapped(t *testing.T) {
	err := runSwap(t.Context(), swapOptions{host: host, plugin: hello, calls: 10_000, callers: 16, every: 200 * time.Millisecond, out: t.Output()})
	if err != nil {
		t.Error(err)
	}
}
