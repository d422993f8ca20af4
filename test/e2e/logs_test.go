package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	hostadmin "github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

// logsOf are the last lines of a plugin, as the host's command gives them.
func logsOf(t *testing.T, address, plugin string) (lines []hostadmin.LogLine) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), hosttest.Program("agenthost"), "logs", plugin, "--admin", address, "-o", "json").Output()
	if err != nil {
		t.Fatalf("agenthost logs %s: %v", plugin, err)
	}
	for line := range bytes.Lines(out) {
		var printed hostadmin.LogLine
		if err := json.Unmarshal(line, &printed); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		lines = append(lines, printed)
	}
	return lines
}

// script is a plugin that is none: it does what a script says, and ends.
func script(text string, settings map[string]any) map[string]any {
	entry := map[string]any{"command": []string{"/bin/sh", "-c", text}}
	for key, value := range settings {
		entry[key] = value
	}
	return entry
}

func TestTheLastWordsOfAPluginOutliveIt(t *testing.T) {
	h := hosttest.Start(t, map[string]any{"plugins": map[string]any{
		"hello": hosttest.Plugin("hello"),
		"dying": script(`echo "ERROR the disk is gone" >&2; echo '{"level":"warn","msg":"it ends","free":0}' >&2; exit 3`, nil),
	}})
	var lines []hostadmin.LogLine
	wait.Until(t, "it has died twice", func() bool {
		lines = logsOf(t, h.Admin(), "dying")
		return len(lines) >= 4
	})
	first, second := lines[0], lines[1]
	if first.Level != "error" || first.Message != "ERROR the disk is gone" || first.PID == 0 || first.Generation == "" || first.Time.IsZero() {
		t.Errorf("the first line is %+v", first)
	}
	if second.Level != "warn" || second.Message != "it ends" || string(second.Fields["free"]) != "0" || second.PID != first.PID {
		t.Errorf("the second line is %+v", second)
	}
	if lines[2].PID == first.PID {
		t.Errorf("the line of another process is %+v", lines[2])
	}

	h.Write(t, map[string]any{"hello": hosttest.Plugin("hello")})
	wait.Until(t, "it is gone", func() bool { return !strings.Contains(h.Ask(t, "/status"), `"dying"`) })
	if lines := logsOf(t, h.Admin(), "dying"); len(lines) < 4 {
		t.Errorf("once it is out of the configuration there are %d lines", len(lines))
	}
	out, err := exec.Command(hosttest.Program("agenthost"), "logs", "dyeing", "--admin", h.Admin()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), `no plugin is called "dyeing"`) {
		t.Errorf("of one that there never was: %v\n%s", err, out)
	}
}

func TestNothingThatIsSecretIsToldAboutAPlugin(t *testing.T) {
	const ofEnv, ofConfig, ofFile, ofInherited = "hunter2-of-env", "hunter2-of-config", "hunter2-of-file\nand-its-second-line", "hunter2-of-the-host"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(ofFile+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WAREHOUSE_TOKEN", ofInherited)
	talkative := script(`echo "it has $DB_PASSWORD, $WAREHOUSE_TOKEN and `+ofConfig+`"; cat "$FLYTE_SECRETS_DEFAULT_DIR/token" >&2
printf '{"level":"error","msg":"refused","password":"%s"}\n' "$DB_PASSWORD" >&2; exit 4`, map[string]any{
		"env": map[string]any{"DB_PASSWORD": ofEnv}, "config": map[string]any{"store": map[string]any{"api_key": ofConfig}},
		"secrets": map[string]any{"token": "file://" + file}, "inherit_env": []string{"WAREHOUSE_TOKEN"},
	})
	h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"hello": hosttest.Plugin("hello"), "talkative": talkative}})
	awaitEvent(t, h.Admin(), "it crash-loops", hasState("talkative", "crash-looping"))
	h.Reload(t, map[string]any{"hello": hosttest.Plugin("hello"), "talkative": talkative})

	all := map[string]string{"the log": h.Log(t)}
	for _, path := range []string{"/status", "/config", "/events?since=1h", "/plugins/talkative/logs?tail=1000", "/metrics"} {
		all[path] = h.Ask(t, path)
	}
	for _, args := range [][]string{{"status"}, {"events"}, {"logs", "talkative"}} {
		out, err := exec.Command(hosttest.Program("agenthost"), append(args, "--admin", h.Admin())...).CombinedOutput()
		if err != nil {
			t.Errorf("agenthost %v: %v\n%s", args, err, out)
		}
		all["agenthost "+args[0]] = string(out)
	}
	history := filepath.Join(filepath.Dir(h.Config()), "run", "state", "history")
	err := filepath.WalkDir(history, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		all[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 10 {
		t.Errorf("there are %d answers", len(all))
	}
	for where, text := range all {
		for _, secret := range append(strings.Split(ofFile, "\n"), ofEnv, ofConfig, ofInherited) {
			if strings.Contains(text, secret) {
				t.Errorf("%s has %s:\n%s", where, secret, text)
			}
		}
	}
	shown := all["agenthost logs"]
	for _, name := range []string{"DB_PASSWORD", "store.api_key", "token", "WAREHOUSE_TOKEN"} {
		if !strings.Contains(shown, fmt.Sprintf("[secret %s]", name)) {
			t.Errorf("the place of %s is not shown:\n%s", name, shown)
		}
	}
}

func TestLogsAreFollowed(t *testing.T) {
	h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"hello": hosttest.Plugin("hello")}})
	follow := exec.Command(hosttest.Program("agenthost"), "logs", "late", "-f", "--admin", h.Admin())
	h.Write(t, map[string]any{"hello": hosttest.Plugin("hello"), "late": script(`echo "here I am" >&2; sleep 600`, nil)})
	wait.Until(t, "it is there", func() bool { return strings.Contains(h.Ask(t, "/status"), `"late"`) })
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 1000)
	n, err := out.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), " info   here I am") {
		t.Errorf("it shows %q: %v", text[:n], err)
	}
	if err := follow.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := follow.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
