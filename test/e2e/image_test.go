package e2e_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/registry"
	"github.com/agenthost/agenthost/test/wait"
	"github.com/agenthost/agenthost/tools/publish"
)

// pushHello pushes the plugin hello, with a file in which it differs from others, and gives its reference with the digest.
func pushHello(t *testing.T, to, differs string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "release"), []byte(differs), 0o600); err != nil {
		t.Fatal(err)
	}
	ref, err := artifact.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := publish.Plugin{
		Reference: ref, Command: []string{"hello"}, Progress: io.Discard,
		Builds: []publish.Build{{Platform: ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}, Paths: []string{folder, hosttest.Program("hello")}}},
	}.Push(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pushed.Reference
}

// images are the digests of what the host keeps.
func images(t *testing.T, h *hosttest.Host) []artifact.Stored {
	t.Helper()
	stored, err := artifact.List(filepath.Join(filepath.Dir(h.Config()), "run", "state", "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// uses says that the only images kept are these.
func uses(t *testing.T, h *hosttest.Host, references ...string) bool {
	t.Helper()
	stored := images(t, h)
	kept := map[string]bool{}
	for _, a := range stored {
		for _, ref := range a.References {
			kept[ref] = true
		}
	}
	for _, ref := range references {
		if !kept[ref] {
			return false
		}
	}
	return len(stored) == len(references)
}

func TestAPluginFromARegistryIsSwappedFallsBackAndStartsWithoutIt(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	r := registry.Start(t, registry.Options{})
	one, two := pushHello(t, r.Host+"/agents/hello:1", "one"), pushHello(t, r.Host+"/agents/hello:2", "two")
	plugin := func(image string) map[string]any {
		return map[string]any{"hello": map[string]any{
			"image": image, "probation": "1m", "restart": map[string]any{"initial_backoff": "10ms", "max_backoff": "50ms", "crash_loop": map[string]any{"failures": 2, "window": "1m"}},
		}}
	}
	h := hosttest.Start(t, map[string]any{"plugins": plugin(one)})
	calls := &load{stop: make(chan struct{})}
	calls.run(t, 4, calls.jobs(t.Context(), h.Endpoint()))

	h.Reload(t, plugin(two)) // beside the first, while calls are under way
	wait.Until(t, "both are kept, the first to fall back on", func() bool { return uses(t, h, one, two) })
	hello := func() (pid int, swapError, state string) {
		for _, p := range statusOf(h.Admin()).Plugins {
			if p.Name == "hello" {
				return p.PID, p.SwapError, p.State
			}
		}
		return 0, "", ""
	}
	runs := func(reference string) bool {
		pid, _, _ := hello()
		release, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cwd/release")
		return err == nil && string(release) == reference
	}
	wait.Until(t, "the second runs", func() bool { return runs("two") })

	for _, failing := range []struct{ image, why string }{ // what cannot be had leaves the second serving
		{r.Host + "/agents/hello:3@sha256:" + strings.Repeat("0", 64), "does not have it"},
		{"127.0.0.1:1/agents/hello:3@sha256:" + strings.Repeat("0", 64), "connection refused"},
	} {
		h.Write(t, plugin(failing.image))
		wait.Until(t, "it says why "+failing.image+" does not run", func() bool {
			_, swapError, state := hello()
			return state == "running" && strings.Contains(swapError, failing.why)
		})
		if !runs("two") {
			t.Errorf("%s: what ran is gone", failing.image)
		}
	}
	h.Reload(t, plugin(two))

	close(calls.stop)
	calls.clients.Wait()
	if calls.calls.Load() == 0 {
		t.Error("no calls were under way")
	}

	for range 2 { // within its probation; a CreateTask that is under way at a death is none of the swap's
		pid, _, _ := hello()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		wait.Until(t, "it is another process", func() bool { now, _, state := hello(); return state == "running" && now != pid })
	}
	wait.Until(t, "the first is back", func() bool { return runs("one") })

	h.Reload(t, plugin(one))
	r.Stop(t)
	h.Kill(t)
	h.Restart(t)
	if !runs("one") {
		t.Error("it does not start without the registry")
	}
	wait.Until(t, "the second, which nobody needs, is removed", func() bool { return uses(t, h, one) })
	if metrics := h.Ask(t, "/metrics"); !strings.Contains(metrics, "agenthost_image_pulls_total 0") {
		t.Error("it was pulled again")
	}
}

func TestATagIsWhatItLeadsToWhenTheConfigurationIsRead(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	r := registry.Start(t, registry.Options{})
	var cut atomic.Bool
	front := r.Proxy(t, func(answer *http.Response) error {
		if cut.Load() {
			answer.StatusCode = http.StatusServiceUnavailable
		}
		return nil
	})
	first := pushHello(t, front+"/agents/hello:stable", "one")
	plugins := map[string]any{"hello": map[string]any{"image": front + "/agents/hello:stable"}}
	h := hosttest.Start(t, map[string]any{"plugins": plugins})
	wait.Until(t, "the first is kept", func() bool { return uses(t, h, first) })
	second := pushHello(t, front+"/agents/hello:stable", "two")
	if second == first {
		t.Fatal("the tag has not moved")
	}
	dry, err := exec.CommandContext(t.Context(), hosttest.Program("agenthost"), "reload", "--dry-run", "--admin", h.Admin()).CombinedOutput()
	if err != nil || !strings.Contains(string(dry), "hello: swapped: image") || !uses(t, h, first) {
		t.Errorf("%v: %s", err, dry)
	}
	h.Reload(t, plugins)
	wait.Until(t, "the second is there too", func() bool { return uses(t, h, first, second) })

	cut.Store(true) // then it is what it was
	out, err := exec.CommandContext(t.Context(), hosttest.Program("agenthost"), "reload", "--admin", h.Admin()).CombinedOutput()
	if err != nil || strings.Contains(string(out), "swapped") {
		t.Errorf("%v: %s", err, out)
	}
	check, err := exec.CommandContext(t.Context(), hosttest.Program("agenthost"), "check", "-c", h.Config()).CombinedOutput()
	if err != nil || !strings.Contains(string(check), "plugins.hello.image") || !strings.Contains(string(check), "has no digest") {
		t.Errorf("%v: %s", err, check)
	}
}
