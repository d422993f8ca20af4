package plugin

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestThePluginsFilesAreItsProgramItsScriptsAndWhatHasAChecksum(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"run": 0o755, "a.jar": 0o644, "b.jar": 0o644, "script": 0o644, "data.db": 0o644, "model": 0o644} {
		content := name
		if name == "script" {
			content = "#!/usr/bin/env python3\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil { //nolint:gosec // programs are executable
			t.Fatal(err)
		}
	}
	for command, want := range map[string]string{
		"./run --database data.db":      "run",
		"run script data.db":            "run script",
		"java -cp a.jar:b.jar main":     "a.jar b.jar",
		"java -jar " + dir + "/a.jar x": "a.jar",
		"./gone":                        "",
		"":                              "",
	} {
		spec := Spec{Dir: dir, Command: strings.Fields(command), Env: map[string]string{"PATH": dir}}
		got := spec.Files()
		for i, path := range got {
			got[i] = strings.TrimPrefix(path, dir+"/")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %v, want %s", command, got, want)
		}
	}
	for script, first := range map[string]string{"direct": "#!" + dir + "/run -u", "found": "#!/usr/bin/env -S A=1 run", "none": "#!", "plain": "run"} {
		if err := os.WriteFile(filepath.Join(dir, script), []byte(first+"\nrun\n"), 0o755); err != nil { //nolint:gosec // programs are executable
			t.Fatal(err)
		}
		spec := Spec{Dir: dir, Command: []string{"./" + script, "--lib=b.jar"}, Env: map[string]string{"PATH": dir}}
		want := []string{filepath.Join(dir, script), filepath.Join(dir, "run"), filepath.Join(dir, "b.jar")}
		if script == "none" || script == "plain" {
			want = slices.Delete(want, 1, 2)
		}
		if got := spec.Files(); !slices.Equal(got, want) {
			t.Errorf("a script, %s: %v, want %v", script, got, want)
		}
	}
	spec := Spec{Dir: dir, Command: []string{"./run"}, SHA256: map[string]string{"model": "x"}}
	if got := spec.Files(); len(got) != 2 || got[1] != filepath.Join(dir, "model") {
		t.Errorf("with a checksum: %v", got)
	}
	if got := (Spec{Address: []string{"h:1"}}).Files(); got != nil {
		t.Errorf("one elsewhere: %v", got)
	}
}
