package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

// keeping is a host that keeps what outlives it, and its file.
type keeping struct {
	*awaited
	state string
}

func (k *keeping) settings(version string) string {
	command, _ := json.Marshal(badplugin.Command("good", "-version", version)) // of text
	return fmt.Sprintf("listen: {grpc: 127.0.0.1:0, admin: 127.0.0.1:0, probe: 127.0.0.1:0}\nrun_dir: %s\nstate_dir: %s\nplugins:\n  echo:\n    command: %s\n", k.run, k.state, command)
}

func (k *keeping) start(t *testing.T) {
	t.Helper()
	k.program = startAgenthost(t, "serve", "-c", k.file)
	k.stderr.await(t, "agenthost is ready", 1)
	k.admin, k.probe = readyLine.FindStringSubmatch(k.stderr.String())[2], probeOf(t, k.program)
}

func (k *keeping) version(t *testing.T) string {
	t.Helper()
	return (&served{k.program, "", k.admin}).status(t).Version
}

// holds waits until a configuration is kept.
func (k *keeping) holds(t *testing.T, what string) (path string) {
	t.Helper()
	wait.Until(t, "the configuration is kept", func() bool {
		all, _ := filepath.Glob(k.state + "/configurations/*.json")
		if len(all) != 1 {
			return false
		}
		path = all[0]
		content, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(content), what)
	})
	return path
}

func (k *keeping) config(t *testing.T) (state admin.ConfigState) {
	t.Helper()
	if err := json.Unmarshal([]byte((&served{k.program, "", k.admin}).get(t, "/config")), &state); err != nil {
		t.Fatal(err)
	}
	return state
}

// The machine fails, and when it is back the file is broken: in whatever way, the host runs as it did, says so, and takes the file up when
// it is mended.
func TestAHostWhoseFileIsBrokenStartsWithTheLastSoundConfiguration(t *testing.T) {
	k := &keeping{awaited: &awaited{file: filepath.Join(t.TempDir(), "host.yaml"), run: shortDir(t) + "/r"}, state: shortDir(t) + "/state"}
	k.replace(t, k.settings("1"))
	k.start(t)
	sound := k.config(t).Hash
	path := k.holds(t, sound)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	k.signal(t, syscall.SIGKILL)

	for how, wreck := range map[string]func(){
		"does not parse": func() { k.replace(t, k.settings("2")+"log: {level: [\n") },
		"has mistakes":   func() { k.replace(t, k.settings("2")+"lisen: {}\n") },
		"is empty":       func() { k.replace(t, "\n") },
		"is gone": func() {
			if err := os.Remove(k.file); err != nil {
				t.Fatal(err)
			}
		},
	} {
		wreck()
		if how == "is empty" || how == "is gone" { // then something else has to say where the state is
			t.Setenv("AGENTHOST_STATE_DIR", k.state)
		} else {
			os.Unsetenv("AGENTHOST_STATE_DIR")
		}
		if how != "is empty" { // which is a configuration, of no plugins: that would serve
			agenthost(t, "serve", "-c", k.file, "--no-fallback").expect(t, exitFailed, "", k.file)
		}
		k.start(t)
		k.stderr.await(t, "THE CONFIGURATION HAS MISTAKES: the host starts with the last sound one", 1)
		state := k.config(t)
		if k.version(t) != "1" || state.Hash != sound || state.Valid || state.LastSound == nil || state.Refused == nil || len(state.Refused.Reasons) == 0 {
			t.Errorf("%s: version %s, %+v", how, k.version(t), state)
		}
		first, _, _ := strings.Cut(agenthost(t, "status", "--admin", k.admin).stdout, "\n")
		if !strings.HasPrefix(first, "STARTED WITH THE LAST SOUND CONFIGURATION, "+sound+" of ") {
			t.Errorf("%s: the status begins with %q", how, first)
		}
		if metrics := (&served{k.program, "", k.admin}).get(t, "/metrics"); !strings.Contains(metrics, "agenthost_config_last_sound 1\n") {
			t.Errorf("%s: the metrics do not say so", how)
		}
		t.Setenv("AGENTHOST_RUN_DIR", k.run)
		for _, command := range []string{"status", "reload --dry-run"} { // which find it all the same
			if got := agenthost(t, append(strings.Fields(command), "-c", k.file)...); how != "is empty" && (!strings.Contains(got.stderr, "a host is looked for at "+k.admin) || strings.Contains(got.stderr, "no host answers")) {
				t.Errorf("%s: %s: %+v", how, command, got)
			}
		}
		os.Unsetenv("AGENTHOST_RUN_DIR")
		k.signal(t, syscall.SIGKILL)
	}
	os.Unsetenv("AGENTHOST_STATE_DIR")

	k.replace(t, k.settings("2")+"lisen: {}\n")
	k.start(t)
	k.replace(t, k.settings("3"))
	wait.Until(t, "the mended file is in effect", func() bool { return k.version(t) == "3" })
	state := k.config(t)
	if !state.Valid || state.LastSound != nil || state.Hash == sound {
		t.Errorf("mended: %+v", state)
	}
	k.holds(t, state.Hash) // and is the last sound one itself
	if code := k.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
}

// What never was sound is nothing to start with, and neither is what a plugin refused.
func TestAFileThatNeverWasSoundFailsAsEver(t *testing.T) {
	k := &keeping{awaited: &awaited{file: filepath.Join(t.TempDir(), "host.yaml"), run: shortDir(t) + "/r"}, state: shortDir(t) + "/state"}
	k.replace(t, k.settings("1")+"lisen: {}\n")
	agenthost(t, "serve", "-c", k.file).expect(t, exitFailed, "", "no host has kept a sound configuration of these files: "+k.state+" has none")
	k.replace(t, k.settings("1"))
	k.start(t)
	sound := k.config(t).Hash
	k.holds(t, sound)
	command, _ := json.Marshal(badplugin.Command("configure-errors")) // of text
	k.replace(t, strings.Replace(k.settings("2"), "command:", fmt.Sprintf("command: %s # ", command), 1))
	k.stderr.await(t, "the changed configuration does not serve", 1)
	if code := k.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
	k.holds(t, sound)
}
