package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

func TestMain(m *testing.M) {
	badplugin.Main()
	goleak.VerifyTestMain(m)
}

// maxWait is how long a test waits for what must happen; only a failing test takes that long.
const maxWait = 20 * time.Second

// host is what a host has around its plugins.
type host struct {
	t      *testing.T
	root   *process.RunRoot
	groups *cgroup.Groups // nil: none
	log    *logBook
}

func newHost(t *testing.T) *host {
	t.Helper()
	base, err := os.MkdirTemp("", "ah") // t.TempDir is too long for unix sockets
	if err != nil {
		t.Fatal(err)
	}
	root, err := process.OpenRunRoot(filepath.Join(base, "r"))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, root: root, log: &logBook{}}
	t.Cleanup(func() {
		h.wantNoLeftovers()
		h.wantQuietChatter()
		if err := root.Close(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(base)
	})
	return h
}

func (h *host) environment() plugin.Environment {
	return plugin.Environment{RunRoot: h.root, Groups: h.groups, Log: slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// start starts a plugin that must start, and stops it at the end of the test.
func (h *host) start(spec plugin.Spec) *plugin.Instance {
	h.t.Helper()
	instance, err := plugin.Start(context.Background(), spec, h.environment())
	if err != nil {
		h.t.Fatalf("%v\nlog:\n%s", err, h.log)
	}
	h.t.Cleanup(func() { instance.Stop(context.Background()) })
	return instance
}

// wantFailure starts a plugin that must not start, and checks that the error has all the given parts.
func (h *host) wantFailure(spec plugin.Spec, step string, parts ...string) *plugin.StartError {
	h.t.Helper()
	began := time.Now()
	instance, err := plugin.Start(context.Background(), spec, h.environment())
	if err == nil {
		instance.Stop(context.Background())
		h.t.Fatal("the plugin started")
	}
	h.t.Logf("%v (after %v)", err, time.Since(began).Round(time.Millisecond))
	var failed *plugin.StartError
	if !errors.As(err, &failed) {
		h.t.Fatalf("not a StartError: %v", err)
	}
	if step != "" && failed.Step != step {
		h.t.Errorf("step %s, want %s: %v", failed.Step, step, err)
	}
	for _, part := range append(parts, "plugin "+spec.Name+": ") {
		if !strings.Contains(err.Error(), part) {
			h.t.Errorf("%q is not in: %v", part, err)
		}
	}
	if failed.Advice == "" {
		h.t.Errorf("no advice: %v", err)
	}
	h.wantNoLeftovers()
	return failed
}

// wantNoLeftovers waits until no run directory and no process of this host is left.
func (h *host) wantNoLeftovers() {
	h.t.Helper()
	wait.Until(h.t, "nothing is left in the run root", func() bool {
		entries, err := os.ReadDir(h.root.Path())
		return err == nil && len(entries) == 1 // its lock
	})
	wait.Until(h.t, "no process is left", func() bool { return len(processesNaming(h.t, h.root.Path())) == 0 })
}

// wantQuietChatter checks that go-plugin's own words never reach a log at info, and that every line names its plugin.
func (h *host) wantQuietChatter() {
	h.t.Helper()
	for text := range strings.Lines(h.log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(text), &fields); err != nil {
			h.t.Errorf("%v: %s", err, text)
		} else if fields["plugin"] == nil || fields["from"] == "go-plugin" && fields["level"] != "DEBUG" {
			h.t.Errorf("logged: %s", text)
		}
	}
}

func spec(name, mode string, args ...string) plugin.Spec {
	return plugin.Spec{
		Name: name, Command: badplugin.Command(mode, args...), TLS: true,
		Env:          map[string]string{"GORACE": "atexit_sleep_ms=0"}, // or every test with -race waits a second for each exit
		StartTimeout: maxWait, StopTimeout: maxWait,
		Sandbox: config.Sandbox{Mode: config.On},
	}
}

// processesNaming are the live processes that have dir in their environment.
func processesNaming(t *testing.T, dir string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if bytes.Contains(environ, []byte(dir)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// logBook keeps the host's log.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// line waits for a line whose message has the text, and returns its fields.
func (b *logBook) line(t *testing.T, message string) map[string]any {
	t.Helper()
	var found map[string]any
	wait.Until(t, "the log says "+message, func() bool {
		for text := range strings.Lines(b.String()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(text), &fields); err == nil && strings.Contains(fields["msg"].(string), message) {
				found = fields
				return true
			}
		}
		return false
	})
	return found
}
