// Package opatest runs OPA's own server, built from the go.mod of this plugin, for the tests of this plugin.
package opatest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// maxWait bounds the building and the starting of the server.
const maxWait = 5 * time.Minute

// Server is a running OPA server on loopback.
type Server struct {
	// URL is its address.
	URL string
	// Log is what it has written, complete after Stop.
	Log     bytes.Buffer
	command *exec.Cmd
	stop    sync.Once
}

// Program builds OPA's command and returns its path. Go keeps it in the build cache.
var Program = sync.OnceValues(func() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	command := exec.Command("go", "tool", "-n", "opa")
	command.Dir = filepath.Dir(here)
	var said bytes.Buffer
	command.Stderr = &said
	path, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go tool opa does not build: %w\n%s", err, said.String())
	}
	return strings.TrimSpace(string(path)), nil
})

// Start starts a server for the rest of the test. The arguments are those of `opa run --server`. Its address has the scheme
// https if they give a certificate.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	program, err := Program()
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	s := &Server{URL: "http://" + address}
	if slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--tls-cert-file") }) {
		s.URL = "https://" + address
	}
	s.command = exec.Command(program, append([]string{"run", "--server", "--addr", address, "--disable-telemetry", "--log-format", "json",
		"--ignore", "*_test.rego"}, args...)...)
	s.command.Stdout, s.command.Stderr = &s.Log, &s.Log
	// It must not outlive a test that is killed; the signal is tied to the thread that starts it.
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	if err := s.command.Start(); err != nil {
		t.Fatalf("OPA does not start: %v", err)
	}
	t.Cleanup(s.Stop)
	if err := listens(t.Context(), address); err != nil {
		s.Stop()
		t.Fatalf("OPA does not listen at %s: %v\n%s", address, err, s.Log.String())
	}
	return s
}

// Stop kills the server.
func (s *Server) Stop() {
	s.stop.Do(func() {
		_ = s.command.Process.Kill() // It may have ended by itself.
		_ = s.command.Wait()
	})
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// listens waits until something accepts connections: OPA listens once its policies are loaded.
func listens(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// WithToken writes a policy that lets only those with the bearer token ask, and returns the arguments for it.
func WithToken(t testing.TB, token string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "system.rego")
	text := fmt.Sprintf("package system.authz\n\ndefault allow := false\n\nallow if input.identity == %q\n", token)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--authentication=token", "--authorization=basic", file}
}

// Write writes files below a new directory, by their names.
func Write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
