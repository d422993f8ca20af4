package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/tools/terminal"
)

// hostile is what a terminal would act on, or a person be misled by.
const hostile = "\x1b[2J\x1b]0;title\a\u009b31mred\u202etxt.exe\x7f\rover"

// Whatever a plugin says of a task, in whichever form it is shown.
func TestNothingThatAPluginSaysActsOnTheTerminal(t *testing.T) {
	plugin := badplugin.Command("good")
	for _, phase := range []string{"SUCCEEDED", "FAILED"} {
		for _, form := range []string{"text", "json", "yaml"} {
			line := append([]string{
				"task", "run", "-o", form, "-t", "echo_task", "--custom", "polls=1", "--custom", "phase=" + phase, "--custom", "message=" + hostile, "-i", "s=" + hostile, "--",
			}, plugin...)
			out := agenthost(t, line...)
			all := out.stdout + out.stderr
			if terminal.Unsafe(all) {
				t.Errorf("%s as %s: %q", phase, form, all)
			}
			if !strings.Contains(all, "[2J") {
				t.Errorf("%s as %s does not show what was said, so that this shows nothing: %q", phase, form, all)
			}
			var report struct{ Outputs map[string]string }
			unmarshal := map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal}[form]
			if unmarshal == nil || phase == "FAILED" {
				continue
			}
			if err := unmarshal([]byte(out.stdout), &report); err != nil || report.Outputs["s"] != hostile {
				t.Errorf("%s says something else: %q, %v", form, report.Outputs["s"], err)
			}
		}
	}
}

func TestNothingThatAPluginSaysActsOnTheTerminalWhileItIsRewritten(t *testing.T) {
	other, tty := openTerminal(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"task", "run", "-t", "echo_task", "--custom", "polls=3", "--custom", "phase=FAILED", "--custom", "message=" + hostile, "--"}, badplugin.Command("good")...)...)
	cmd.Env = append(os.Environ(), actAsAgenthost+"=1", "TERM=xterm")
	cmd.Stdout, cmd.Stderr = tty, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	screen := make(chan string)
	go func() {
		all, _ := io.ReadAll(other) // it ends with an error once the program has closed its side
		screen <- string(all)
	}()
	_ = cmd.Wait() // what it showed counts
	shown := <-screen
	for _, own := range []string{"\x1b[K", "\r"} {
		shown = strings.ReplaceAll(shown, own, "")
	}
	if terminal.Unsafe(shown) || !strings.Contains(shown, `\u001b[2J`) {
		t.Errorf("%q", shown)
	}
}

// A host, or what answers in its place, is no better.
func TestNothingThatAHostSaysActsOnTheTerminal(t *testing.T) {
	quoted, err := json.Marshal(hostile + "\nforged is running")
	if err != nil {
		t.Fatal(err)
	}
	h := string(quoted)
	answers := map[string]string{
		"/status": `{"host": {"version": ` + h + `, "config_error": ` + h + `, "grpc": ` + h + `}, "plugins": [{"name": ` + h + `, "state": ` + h + `, "version": ` + h +
			`, "reason": ` + h + `, "swap_error": ` + h + `, "not_served": [{"name": ` + h + `, "reason": ` + h + `}], "changed_files": [` + h + `], "secret_errors": [` + h + `], "categories": [{"name": ` + h + `}], "generations": [{"id": ` + h + `, "version": ` + h + `, "reason": ` + h + `, "instances": [{}, {}]}]}]}`,
		"/pending":          `{"tasks": [{"id": ` + h + `, "plugin": ` + h + `, "waits": ` + h + `, "execution": ` + h + `}]}`,
		"/reload":           `{"plan": [{"plugin": ` + h + `, "action": ` + h + `, "keys": [` + h + `]}]}` + "\n" + `{"event": {"plugin": ` + h + `, "state": ` + h + `, "cause": ` + h + `}}` + "\n" + `{"report": {"plugins": [{"name": ` + h + `, "error": ` + h + `}]}}`,
		"/upgrade":          `{"started": {"program": ` + h + `}}` + "\n" + `{"report": {"error": ` + h + `}}`,
		"/pending/x/cancel": "no: " + hostile,
	}
	operated := `{"event": {"plugin": ` + h + `, "state": ` + h + `, "cause": ` + h + `}}` + "\n" + `{"report": {"plugin": ` + h + `, "state": ` + h + `, "error": ` + h + `}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/plugins/") {
			_, _ = w.Write([]byte(operated))
			return
		}
		if strings.HasSuffix(r.URL.Path, "/cancel") {
			w.WriteHeader(http.StatusConflict)
		}
		_, _ = w.Write([]byte(answers[r.URL.Path]))
	}))
	defer server.Close()
	for _, line := range []string{
		"status", "status -o json", "status -o yaml", "pending", "pending -o json", "pending -o yaml", "reload", "reload -o json", "reload -o yaml", "upgrade", "upgrade -o json",
		"pending cancel x", "__complete pending cancel", "restart x", "__complete restart",
	} {
		args := append(strings.Fields(line), "--admin", server.Listener.Addr().String())
		if strings.HasPrefix(line, "__complete") {
			args = append(args, "")
		}
		out := agenthost(t, args...)
		if all := out.stdout + out.stderr; terminal.Unsafe(all) {
			t.Errorf("%s: %q", line, all)
		} else if !strings.Contains(all, "[2J") && !strings.HasPrefix(line, "__complete") {
			t.Errorf("%s does not show what was said, so that this shows nothing: %q", line, all)
		}
	}
}

// A shell may expand what it is proposed.
func TestACompletionProposesNoMoreThanPlainWords(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"tasks": [{"id": "$(touch /tmp/x)", "plugin": "p"}, {"id": "5e1c", "plugin": "$(id)", "execution": "` + "`id`" + `", "node": "n0\n:0"}]}`))
	}))
	defer server.Close()
	out := agenthost(t, "__complete", "pending", "cancel", "--admin", server.Listener.Addr().String(), "")
	if strings.ContainsAny(out.stdout, "$`()") || !strings.Contains(out.stdout, "5e1c\t") || strings.Count(out.stdout, "\n") > 2 {
		t.Errorf("%q", out.stdout)
	}
}
