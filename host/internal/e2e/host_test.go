package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startLimit = 30 * time.Second
	stopLimit  = 20 * time.Second
)

// host is a running `agenthost serve`.
type host struct {
	// endpoint is where it serves Flyte.
	endpoint string
	command  *exec.Cmd
	logged   sync.WaitGroup

	mu  sync.Mutex
	log []string
}

// startHost runs a host with these plugins (as in a configuration's `plugins:`) and waits until it is ready. When the
// test ends the host is stopped, which must work; after a failure its log is shown.
func startHost(t *testing.T, plugins map[string]any) *host {
	t.Helper()
	// Not t.TempDir: a test's name would make a unix socket's path too long.
	dir, err := os.MkdirTemp("", "e2e-host-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	settings, err := json.Marshal(map[string]any{
		"listen":  map[string]any{"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"},
		"log":     map[string]any{"format": "json", "level": "info"},
		"run_dir": filepath.Join(dir, "run"),
		"plugins": plugins,
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "agenthost.json")
	if err := os.WriteFile(file, settings, 0o600); err != nil {
		t.Fatal(err)
	}

	h := &host{command: exec.Command(filepath.Join(bin, "agenthost"), "serve", "--config", file)}
	stderr, err := h.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.command.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	h.logged.Go(func() { h.follow(stderr, ready) })
	t.Cleanup(func() { h.stop(t) })

	select {
	case endpoint, ok := <-ready:
		if !ok {
			t.Fatal("the host ended before it was ready")
		}
		h.endpoint = endpoint
	case <-time.After(startLimit):
		t.Fatalf("the host is not ready after %v", startLimit)
	}
	return h
}

// follow keeps the log, and sends the endpoint when the host says that it is ready. It closes ready when the log ends.
func (h *host) follow(stderr io.Reader, ready chan<- string) {
	defer close(ready)
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		h.mu.Lock()
		h.log = append(h.log, line)
		h.mu.Unlock()
		if err != nil {
			return
		}
		var entry struct{ Msg, GRPC string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "agenthost is ready" {
			ready <- entry.GRPC
		}
	}
}

func (h *host) stop(t *testing.T) {
	if err := h.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("cannot stop the host: %v", err)
	}
	killer := time.AfterFunc(stopLimit, func() {
		t.Errorf("the host has not stopped after %v", stopLimit)
		h.command.Process.Kill()
	})
	h.logged.Wait() // before Wait, which closes the pipe
	if err := h.command.Wait(); err != nil {
		t.Errorf("the host ended with: %v", err)
	}
	killer.Stop()
	if t.Failed() {
		t.Logf("the host's log:\n%s", strings.Join(h.log, ""))
	}
}
