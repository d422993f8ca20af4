package sandbox_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/sandbox"
)

// tree makes files below a folder: a path that ends in / is a folder, content that starts with -> a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range files {
		path, content = filepath.Join(root, path), strings.ReplaceAll(content, "ROOT", root)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, isLink := strings.CutPrefix(content, "-> "); err == nil && isLink {
			err = os.Symlink(target, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestWhatAProgramConsistsOfIsFoundFromItsCommand(t *testing.T) {
	root := tree(t, map[string]string{
		"plugins/agent":               "program",
		"app/run.py":                  "",
		"app/config.yaml":             "",
		"lib/a.jar":                   "",
		"jdk/bin/java":                "program",
		"jdk/lib/modules":             "",
		"links/java":                  "-> ROOT/jdk/bin/java",
		"python/bin/python3.11":       "program",
		"python/lib/python3.11/os.py": "",
		"venv/bin/python":             "-> ROOT/python/bin/python3.11",
		"venv/bin/entry":              "#!ROOT/venv/bin/python\n",
		"venv/pyvenv.cfg":             "home = ROOT/python/bin\nversion = 3.11\n",
		"venv/lib/python3.11/site-packages/x.pth":                               "import y\nROOT/sources/src\n",
		"venv/lib/python3.11/site-packages/e.dist-info/direct_url.json":         `{"url": "file://ROOT/editable", "dir_info": {"editable": true}}`,
		"venv/lib/python3.11/site-packages/installed.dist-info/direct_url.json": `{"url": "file://ROOT/wheels/x.whl"}`,
		"sources/src/x.py":         "",
		"sources/src/data":         "-> ROOT/elsewhere/data",
		"editable/e.py":            "",
		"wheels/x.whl":             "",
		"elsewhere/data":           "",
		"elsewhere/other":          "",
		"keys/token":               "",
		"project/bin/agent":        "#!/bin/sh\nexec \"$(dirname \"$0\")/../.venv/bin/agent\"\n",
		"project/.venv/pyvenv.cfg": "home = ROOT/python/bin\n",
		"project/.venv/bin/python": "-> ROOT/python/bin/python3.11",
		"jvm/bin/agent":            "#!/bin/sh\nexec java -jar \"$(dirname \"$0\")/../target/agent.jar\"\n",
		"scripts/wrapper":          "#!/usr/bin/env -S X=1 agent\n",
		"shims/../versions/x":      "",
		"shims/python3":            "program",
	})
	python := []string{"venv", "venv/bin", "python", "python/bin", "sources/src", "sources/src/data", "editable"}
	for _, test := range []struct {
		name    string
		program sandbox.Program
		runtime string
		needs   []string
		not     []string
	}{
		{"a program alone", sandbox.Program{Path: "plugins/agent"}, "none", []string{"plugins"}, []string{"app", "keys/token"}},
		{"arguments", sandbox.Program{Path: "plugins/agent", Args: []string{"agent", "--config=app/config.yaml", "lib/a.jar", "app/nothing"}}, "none",
			[]string{"app/config.yaml", "lib"}, []string{"app"}},
		{"a Java home and a class path", sandbox.Program{Path: "links/java", Args: []string{"java", "-cp", "lib/*:app", "-javaagent:lib/a.jar"}}, "java",
			[]string{"jdk", "lib", "app"}, []string{"plugins"}},
		{"a virtual environment", sandbox.Program{Path: "venv/bin/python", Args: []string{"python", "app/run.py"}}, "python", append(python, "app"), []string{"wheels", "elsewhere/other"}},
		{"a script of one", sandbox.Program{Path: "venv/bin/entry"}, "python", python, []string{"app"}},
		{"a script whose interpreter is looked up", sandbox.Program{Path: "scripts/wrapper", Environ: []string{"PATH=ROOT/plugins"}}, "python", []string{"plugins", "scripts"}, nil},
		{"a script of a project with an environment", sandbox.Program{Path: "project/bin/agent"}, "python", []string{"project", "python"}, nil},
		{"a script that starts a JVM", sandbox.Program{Path: "jvm/bin/agent"}, "java", []string{"jvm"}, []string{"target"}},
		{"shims", sandbox.Program{Path: "shims/python3"}, "python", []string{""}, nil},
		{"variables", sandbox.Program{Path: "plugins/agent", Environ: []string{"KEY=ROOT/keys/token", "LIST=ROOT/app:ROOT/lib", "OTHER=ROOT/jdk"}, Names: []string{"KEY", "LIST"}}, "none",
			[]string{"keys", "app", "lib"}, []string{"jdk"}},
		{"its configuration", sandbox.Program{Path: "plugins/agent", Values: []string{"file://ROOT/keys/token", "ROOT/app", "s3://bucket/x", "app"}}, "none", []string{"keys", "app"}, []string{"lib"}},
		{"a runtime that is given", sandbox.Program{Path: "plugins/agent", Runtime: "python"}, "python", nil, nil},
		{"nothing that holds everything", sandbox.Program{Path: "plugins/agent", Values: []string{"/", "/tmp", "/var", "/home"}, Dir: "/"}, "none", nil, []string{"/", "/tmp", "/var", "/home"}},
	} {
		below := func(path string) string {
			if filepath.IsAbs(path) {
				return path
			}
			return filepath.Join(root, path)
		}
		p := test.program
		p.Path = below(p.Path)
		if p.Dir == "" {
			p.Dir = root + "/plugins/../" // arguments are relative to it
		}
		for _, texts := range [][]string{p.Environ, p.Values} {
			for i := range texts {
				texts[i] = strings.ReplaceAll(texts[i], "ROOT", root)
			}
		}
		own, others, runtime := p.Needs()
		got := slices.Concat(own, others)
		if runtime != test.runtime {
			t.Errorf("%s: runtime %s, want %s", test.name, runtime, test.runtime)
		}
		for _, path := range test.needs {
			if !slices.Contains(got, below(path)) {
				t.Errorf("%s: lacks %s: %q", test.name, path, got)
			}
		}
		for _, path := range test.not {
			if slices.Contains(got, below(path)) {
				t.Errorf("%s: has %s: %q", test.name, path, got)
			}
		}
	}
}
