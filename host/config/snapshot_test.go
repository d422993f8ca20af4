package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/agenthost/agenthost/host/config"
)

func TestASnapshotIsTheConfigurationItWasTakenOf(t *testing.T) {
	folder := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	base := write("base.yaml", "shutdown_timeout: 12s\nplugins:\n  a: {command: [./a], stop_timeout: 3s, secrets: {key: 'env:KEY'}, config: {n: 1, s: \"x\"}}\n")
	over := write("over.toml", "max_message_size = \"32MiB\"\n")
	sources := config.Sources{
		Files: []string{base, over}, Environ: []string{"AGENTHOST_LOG__LEVEL=debug", "AGENTHOST_ADDRESS=x", "SECRET=swordfish", "XDG_RUNTIME_DIR=/run/user/7"},
		Flags: map[string]any{"listen.grpc": "127.0.0.1:1"},
	}
	was, err := config.Load(sources)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(was.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range sources.Files {
		write(filepath.Base(file), "{")
	}
	var snapshot config.Snapshot
	if err := json.Unmarshal(encoded, &snapshot); err != nil {
		t.Fatal(err)
	}
	is, err := snapshot.Load([]string{"AGENTHOST_LOG__LEVEL=loud", "XDG_RUNTIME_DIR=/run/user/7"})
	if err != nil {
		t.Fatal(err)
	}
	if is.Hash() != was.Hash() || is.RunDir != was.RunDir || is.Plugins["a"].Command[0] != folder+"/a" || is.Log.Level != "debug" {
		t.Errorf("it was %+v and is %+v", was, is)
	}
	if len(snapshot.Environ) != 1 {
		t.Errorf("it keeps of the environment: %v", snapshot.Environ)
	}
	if origin := is.Origin("plugins", "a", "command"); origin.Line != 3 || origin.Source != base {
		t.Errorf("the command is of %v", origin)
	}
}

func TestWhereAHostHasItsFilesIsReadOfABrokenConfigurationToo(t *testing.T) {
	folder := t.TempDir()
	const sound = "run_dir: /run/a\nstate_dir: ./state # kept\nlisten: {admin: 'unix:./x.sock', admin_token: file:///t}\n"
	whole := config.Places{RunDir: "/run/a", StateDir: folder + "/state", Admin: "unix:" + folder + "/x.sock", AdminToken: "file:///t"}
	for name, c := range map[string]struct {
		file, content string
		more          config.Sources
		want          config.Places
	}{
		"sound":                   {file: "a.yaml", content: sound, want: whole},
		"with an unknown key":     {file: "a.yaml", content: sound + "lisen: {}\nlog: {level: loud}\n", want: whole},
		"given twice":             {file: "a.yaml", content: sound + "log: {}\nlog: {}\n", want: whole},
		"half a flow":             {file: "a.yaml", content: sound + "plugins: {a: [\n", want: config.Places{RunDir: "/run/a", StateDir: folder + "/state"}},
		"quoted, tabs":            {file: "a.yaml", content: "state_dir: \"/var/x\"\n\tbroken\n", want: config.Places{StateDir: "/var/x"}},
		"of another key":          {file: "a.yaml", content: "plugins:\n  a: {config: {\n    state_dir: /var/duckdb\n", want: config.Places{}},
		"missing":                 {file: "", want: config.Places{}},
		"a number":                {file: "a.yaml", content: "state_dir: 5\nrun_dir: [a]\n", want: config.Places{}},
		"variables and flags win": {file: "a.yaml", content: sound, more: config.Sources{Environ: []string{"AGENTHOST_RUN_DIR=/run/b", "AGENTHOST_LISTEN__ADMIN=127.0.0.1:2"}, Flags: map[string]any{"state_dir": "/var/b", "listen.admin": "127.0.0.1:3"}}, want: config.Places{RunDir: "/run/b", StateDir: "/var/b", Admin: "127.0.0.1:3", AdminToken: "file:///t"}},
	} {
		sources := c.more
		sources.Files = []string{filepath.Join(folder, "gone.yaml")}
		if c.file != "" {
			sources.Files[0] = filepath.Join(folder, c.file)
			if err := os.WriteFile(sources.Files[0], []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := config.PlacesOf(sources); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
