package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/agenthost/agenthost/host/config"
)

func TestTheHashIsOfWhatTheKeysSayWhereverTheyStand(t *testing.T) {
	load := func(sources config.Sources) *config.Config {
		t.Helper()
		settings, err := config.Load(sources)
		if err != nil {
			t.Fatal(err)
		}
		return settings
	}
	file := write(t, "a.yaml", "log: {level: debug}\nplugins: {a: {command: [/a], config: {depth: [1, {x: y}]}}}\n")
	same := write(t, "b.yaml", "plugins:\n  a:\n    command: [/a]\n    config:\n      depth: [1, {x: y}]\n")
	hash := load(config.Sources{Files: []string{file}, Environ: []string{"XDG_RUNTIME_DIR=/run/user/1"}}).Hash()
	if again := load(config.Sources{Files: []string{same}, Environ: []string{"AGENTHOST_LOG__LEVEL=debug", "XDG_RUNTIME_DIR=/run/user/2"}}).Hash(); again != hash || len(hash) != 12 {
		t.Errorf("%q and %q", hash, again)
	}
	for _, other := range []config.Sources{
		{Files: []string{same}},
		{Files: []string{file}, Flags: map[string]any{"plugins.a.env.X": "y"}},
		{Files: []string{file}, Flags: map[string]any{"run_dir": "/run/user/1/agenthost"}},
	} {
		if load(other).Hash() == hash {
			t.Errorf("%v has the same hash", other)
		}
	}
}

func TestTheHashOfFilesIsThatOfTheirBytes(t *testing.T) {
	folder := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b, broken := write("a.yaml", "log: {level: info}\n"), write("b.yaml", "log: {level: warn}\n"), write("c.yaml", "log: {level: ")
	whole := config.FilesHash([]string{a, b})
	for name, files := range map[string][]string{
		"in another order": {b, a}, "one of them": {a}, "one that is no configuration": {broken}, "cut elsewhere": {write("ab.yaml", "log: {level: info}\nlog: {level: warn}\n")},
	} {
		if got := config.FilesHash(files); got == whole || got == "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := config.FilesHash([]string{write("other.yaml", "log: {level: info}\n"), b}); got != whole {
		t.Errorf("the same elsewhere: %q and %q", got, whole)
	}
	if got := config.FilesHash([]string{a, filepath.Join(folder, "gone.yaml")}); got != "" {
		t.Errorf("with one that is not there: %q", got)
	}
}
