package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/test/badplugin"
)

// awaited is a host whose configuration changes, and its file.
type awaited struct {
	*program
	file, run, admin, probe string
}

func serveAwaited(t *testing.T) *awaited {
	t.Helper()
	a := &awaited{file: filepath.Join(t.TempDir(), "host.json"), run: shortDir(t) + "/r"}
	a.write(t, badplugin.Command("good"))
	a.program = startAgenthost(t, "serve", "-c", a.file)
	a.stderr.await(t, "agenthost is ready", 1)
	a.admin, a.probe = readyLine.FindStringSubmatch(a.stderr.String())[2], probeOf(t, a.program)
	return a
}

// write configures the plugin echo, at once.
func (a *awaited) write(t *testing.T, command []string) {
	t.Helper()
	content, err := json.Marshal(map[string]any{
		"listen": map[string]any{"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0", "probe": "127.0.0.1:0"}, "run_dir": a.run,
		"plugins": map[string]any{"echo": map[string]any{"command": command, "env": map[string]any{"SECRET_OF_MINE": "swordfish"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.replace(t, string(content))
}

func (a *awaited) replace(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(a.file+".next", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(a.file+".next", a.file); err != nil {
		t.Fatal(err)
	}
}

// waiting is a `status --wait` under way.
type waiting struct {
	stdout *bytes.Buffer
	stderr *watched
	code   chan int
}

func (a *awaited) wait(t *testing.T, args ...string) waiting {
	t.Helper()
	w := waiting{&bytes.Buffer{}, &watched{more: make(chan struct{}, 1)}, make(chan int, 1)}
	go func() {
		w.code <- run(t.Context(), append([]string{"status", "--wait"}, args...), strings.NewReader(""), w.stdout, w.stderr)
	}()
	return w
}

func TestAWaiterSeesAConfigurationComeIntoEffect(t *testing.T) {
	a := serveAwaited(t)
	_, port, _ := strings.Cut(a.probe, ":")
	for _, where := range [][]string{{"--admin", a.admin}, {"--probe", "http://" + a.probe}, {"--probe", "dns:///127.0.0.1:" + port}} {
		agenthost(t, append([]string{"status", "--wait", "-c", a.file}, where...)...).expect(t, 0, "ok: 1 host run configuration ", "1 of 1 plugins as configured")
	}
	got := agenthost(t, "status", "--wait", "--config-hash", "abc", "--probe", a.probe, "--timeout", "1s")
	got.expect(t, exitTimeout, "", "configuration abc does not run at 1 of 1 host, not after 1s:\n  "+a.probe+": runs ")

	a.write(t, badplugin.Command("good", "-version", "2"))
	var report waitReport
	swapped := agenthost(t, "status", "--wait", "-c", a.file, "--probe", a.probe, "-o", "json")
	if err := json.Unmarshal([]byte(swapped.stdout), &report); err != nil || swapped.code != 0 || !report.OK || len(report.Replicas) != 1 || report.Replicas[0].Config.Hash != report.ConfigHash {
		t.Errorf("%v: %+v", err, swapped)
	}
	if version := (&served{a.program, "", a.admin}).status(t).Version; version != "2" {
		t.Errorf("it came to its end with version %s", version)
	}
	if code := a.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
	agenthost(t, "status", "--wait", "-c", a.file, "--probe", a.probe, "--timeout", "1s").expect(t, exitFailed, "", "no host answers at "+a.probe)
}

// What a host does not take up is told at once and with its reason; and to strangers without what is in it.
func TestAWaiterHearsOfARefusalAndWhy(t *testing.T) {
	a := serveAwaited(t)
	before := agenthost(t, "check", "-c", a.file, "-o", "json")
	for where, address := range map[string][2]string{"--admin": {a.admin, `host.json:1: plugins.echo.env.SECRET_OF_MINE: expected a text`}, "--probe": {a.probe, "host.json:1: plugins.echo"}} {
		a.write(t, badplugin.Command("good"))
		agenthost(t, "status", "--wait", "-c", a.file, where, address[0]).expect(t, 0, "ok", "")
		w := a.wait(t, "--config-hash", "0123456789ab", where, address[0], "--timeout", "1m")
		w.stderr.await(t, "has not heard of 0123456789ab", 1)
		a.replace(t, `{"plugins": {"echo": {"command": ["x"], "env": {"SECRET_OF_MINE": {"swordfish": 1}}}}}`)
		if code := <-w.code; code != exitRefused || !strings.Contains(w.stderr.String(), address[1]) {
			t.Errorf("%s: %d\n%s", where, code, w.stderr)
		}
		if told := w.stderr.String() + w.stdout.String(); where == "--probe" && strings.Contains(told, "SECRET_OF_MINE") {
			t.Errorf("the probe tells:\n%s", told)
		}
	}
	// One that is there already may be of other files; of these it is not.
	agenthost(t, "status", "--wait", "--config-hash", "0123456789ab", "--probe", a.probe, "--timeout", "1s").expect(t, exitTimeout, "", "refuses what its files hold: ")
	after := agenthost(t, "check", "-c", a.file, "-o", "json")
	var was, is checkReport
	if err := json.Unmarshal([]byte(before.stdout), &was); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(after.stdout), &is); err != nil {
		t.Fatal(err)
	}
	shown := agenthost(t, "status", "--admin", a.admin, "-o", "json").stdout
	for _, want := range []string{`"config_hash": "` + was.ConfigHash, `"config_refused": "` + is.FilesHash} {
		if !strings.Contains(shown, want) {
			t.Errorf("the status lacks %s:\n%s", want, shown)
		}
	}
	if code := a.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
}

// A swap that a plugin refuses leaves what runs in place, which is no success.
func TestAWaiterHearsOfAPluginThatRefusesItsConfiguration(t *testing.T) {
	a := serveAwaited(t)
	a.write(t, badplugin.Command("configure-errors"))
	atProbe := a.wait(t, "-c", a.file, "--probe", a.probe)
	w := a.wait(t, "-c", a.file, "--admin", a.admin)
	if code := <-w.code; code != exitRefused {
		t.Errorf("code %d", code)
	}
	w.stderr.await(t, `plugin echo is refused: plugin echo: configure: it does not accept its configuration: config.limits.memory: must be a size such as 2GiB, got "lots"`, 1)
	if code := <-atProbe.code; code != exitRefused || strings.Contains(atProbe.stderr.String(), "lots") {
		t.Errorf("code %d:\n%s", code, atProbe.stderr)
	}
	atProbe.stderr.await(t, `plugin echo is refused: it does not start, at the step "configure" (the configuration is at fault)`, 1)
	if code := a.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
}

func TestAWaiterNeedsToKnowForWhat(t *testing.T) {
	t.Chdir(t.TempDir())
	agenthost(t, "status", "--wait", "--admin", "127.0.0.1:1").expect(t, exitFailed, "", "which configuration to wait for is said by --config-hash")
	for line, why := range map[string]string{
		"status --wait --watch":                        "only one of them can be given",
		"status --config-hash x":                       "are for --wait",
		"status --wait --config-hash x --probe http:/": "expected http://host:port",
	} {
		agenthost(t, strings.Fields(line)...).expect(t, exitUsage, "", why)
	}
	got := agenthost(t, "status", "--wait", "--config-hash", "x", "--probe", "dns:///no-such-name.invalid:1", "--timeout", "1s", "-o", "json")
	got.expect(t, exitFailed, fmt.Sprintf("%q: %q", "config_hash", "x"), "")
	got.expect(t, exitFailed, "there is no host yet", "")
}
