// Package hosttest runs whole hosts in tests: the real program, with any plugins, until the test ends.
//
//	func TestMain(m *testing.M) { hosttest.Main(m, "cmd/agenthost", "plugins/hello") }
//
//	h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"hello": hosttest.Plugin("hello")}})
//	… h.Endpoint() …
package hosttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/test/replica"
)

const (
	// startLimit bounds a start; a plugin in Python may take its time for it on a machine that has much to do.
	startLimit = 3 * time.Minute
	stopLimit  = time.Minute
	// logLimit is how much of a host's log a failed test shows.
	logLimit = 8 << 10
)

// root is the repository's root, bin the folder with the programs that Main has built.
var root, bin string

// Main is a TestMain: it builds programs of the repository, named after their folders, runs
// the tests, and sees to it that they leave no goroutine behind. It does not return.
func Main(m *testing.M, folders ...string) {
	code, err := run(m, folders)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M, folders []string) (code int, err error) {
	if root, err = findRoot(); err != nil {
		return 0, err
	}
	if bin, err = os.MkdirTemp("", "agenthost-bin-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	for _, folder := range folders {
		name := filepath.Base(folder)
		if built := prebuilt(folder); built != "" {
			if err := os.Symlink(built, Program(name)); err != nil {
				return 0, err
			}
			continue
		}
		build := exec.Command("go", "build", "-o", Program(name), "./"+folder)
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("go build ./%s: %w\n%s", folder, err, out)
		}
	}
	code = m.Run()
	if code == 0 {
		http.DefaultClient.CloseIdleConnections()
		err = goleak.Find()
	}
	return code, err
}

// prebuilt is a program that `make build` made, where the environment says that it did so just now: linking a host and its
// plugins anew for each package takes longer than some of the tests. Empty: there is none.
func prebuilt(folder string) string {
	programs := os.Getenv("PREBUILT_PROGRAMS")
	if programs == "" {
		return ""
	}
	name := filepath.Base(folder)
	program := filepath.Join(programs, name)
	if filepath.Dir(folder) == "plugins" {
		program = filepath.Join(programs, folder, name)
	}
	if _, err := os.Stat(program); err != nil {
		return ""
	}
	return program
}

// findRoot looks for go.work upwards: tests run in the folders of their packages.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no folder above holds go.work")
		}
	}
	return "", err
}

// Root is a path in the repository.
func Root(elements ...string) string { return filepath.Join(append([]string{root}, elements...)...) }

// Bin is the folder of the programs. It is gone when the tests have run.
func Bin() string { return bin }

// Program is the path of a program that Main has built.
func Program(name string) string { return filepath.Join(bin, name) }

// Plugin configures one of these programs as a plugin.
func Plugin(name string) map[string]any { return map[string]any{"command": []string{Program(name)}} }

// Host is an `agenthost serve`, over several lives.
type Host struct {
	replica  replica.Replica
	dir      string
	settings map[string]any
	killed   bool // by the test; any other end is a failure
}

// Start runs a host with a configuration, as its file has it, on ports of its own, and waits until it is ready. When the
// test ends it is stopped, which must work; after a failure its log is shown.
func Start(t *testing.T, settings map[string]any) *Host {
	t.Helper()
	return StartProgram(t, Program("agenthost"), settings)
}

// StartProgram is Start with another program than the one that Main has built.
func StartProgram(t *testing.T, program string, settings map[string]any) *Host {
	t.Helper()
	// Not t.TempDir: a test's name would make a socket's path too long. Nor where tests have their files, which plugins may write.
	dir, err := os.MkdirTemp("/var/tmp", "agenthost-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &Host{
		replica:  replica.Replica{Name: "host", Program: program, Config: filepath.Join(dir, "agenthost.json"), Logs: dir},
		dir:      dir,
		settings: settings,
	}
	h.settings["run_dir"] = filepath.Join(dir, "run")
	h.write(t)
	t.Cleanup(func() { h.stop(t) })
	h.Restart(t)
	return h
}

// Restart starts the host again after its end.
func (h *Host) Restart(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	h.killed = false
	if err := h.replica.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// Replace ends the host as an operator does, and starts another program in its place, with the same configuration.
func (h *Host) Replace(t *testing.T, program string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stopLimit)
	defer cancel()
	if err := errors.Join(h.replica.Signal(syscall.SIGTERM), h.replica.Wait(ctx)); err != nil {
		t.Fatalf("the host: %v", err)
	}
	h.replica.Program = program
	h.Restart(t)
}

// Kill ends the host as a machine's failure would, and waits for its end.
func (h *Host) Kill(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stopLimit)
	defer cancel()
	if err := h.replica.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	_ = h.replica.Wait(ctx) // which says that it was killed
	h.killed = true
}

// Endpoint is where it serves Flyte. It is another one after a restart.
func (h *Host) Endpoint() string {
	endpoint, _, _ := h.replica.Ready()
	return endpoint
}

// Admin is its admin address.
func (h *Host) Admin() string {
	_, admin, _ := h.replica.Ready()
	return admin
}

// Config is the path of its configuration.
func (h *Host) Config() string { return h.replica.Config }

// PID is its process.
func (h *Host) PID() int { return h.replica.PID() }

// Ask gives what the admin address answers for a path.
func (h *Host) Ask(t *testing.T, path string) string {
	t.Helper()
	answer, err := h.replica.Ask(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// Log is what the host has logged so far.
func (h *Host) Log(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(h.dir, h.replica.Name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Reload puts other plugins into the configuration, and waits until the host has taken them up.
func (h *Host) Reload(t *testing.T, plugins map[string]any) {
	t.Helper()
	h.Write(t, plugins)
	reload := exec.Command(h.replica.Program, "reload", "--admin", h.Admin())
	if out, err := reload.CombinedOutput(); err != nil {
		t.Fatalf("agenthost reload: %v\n%s", err, out)
	}
}

// Write puts other plugins into the configuration, which the host notices by itself.
func (h *Host) Write(t *testing.T, plugins map[string]any) {
	t.Helper()
	h.settings["plugins"] = plugins
	h.write(t)
}

// write replaces the file at once: a host that runs watches it.
func (h *Host) write(t *testing.T) {
	t.Helper()
	if plugins, ok := h.settings["plugins"].(map[string]any); ok {
		for _, entry := range plugins {
			openSandbox(entry)
		}
	}
	settings, err := json.Marshal(h.settings)
	if err != nil {
		t.Fatal(err)
	}
	next := h.replica.Config + ".next"
	if err := os.WriteFile(next, settings, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, h.replica.Config); err != nil {
		t.Fatal(err)
	}
}

// openSandbox lets a plugin read the repository and use the folder of temporary files, in which tests put what their tasks are
// about. A test that says something of the sandbox itself has its way.
func openSandbox(entry any) {
	plugin, isMapping := entry.(map[string]any)
	if !isMapping || plugin["command"] == nil || plugin["sandbox"] != nil {
		return
	}
	plugin["sandbox"] = map[string]any{"read": []string{root}, "write": []string{os.TempDir()}}
}

func (h *Host) stop(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	if !h.killed {
		_ = h.replica.Signal(syscall.SIGTERM) // an error says that it has ended
		if err := h.replica.Wait(ctx); err != nil {
			t.Errorf("the host: %v", err)
			_ = h.replica.Signal(syscall.SIGKILL)
		}
	}
	if t.Failed() {
		log := h.Log(t)
		t.Logf("the host's log, at last:\n%s", log[max(0, len(log)-logLimit):])
	}
}
