package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/agenthost/agenthost/host/config"
)

// FuzzLoad holds that no bytes make Load panic or blame anything but the file they came from, and that what it takes is
// whole: every plugin has a command or an address, every route a plugin.
func FuzzLoad(f *testing.F) {
	f.Add(byte(0), []byte(everyKey))
	f.Add(byte(0), []byte(laughs))
	f.Add(byte(1), []byte(`{"plugins": {"a": {"command": ["x"]}}}`))
	f.Add(byte(2), []byte("[plugins.a]\ncommand = [\"x\"]\nconfig = {when = 2024-01-02, at = 10:00:00}\n"))
	f.Add(byte(0), []byte("a: &a [*a]\n"))
	f.Add(byte(0), []byte("? [a]\n: b\n<<: {c: d}\n"))
	for _, test := range badFiles {
		f.Add(byte(0), []byte(test.content))
	}
	f.Fuzz(func(t *testing.T, kind byte, content []byte) {
		name := []string{"host.yaml", "host.json", "host.toml"}[kind%3]
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Sources{Files: []string{path}})
		if err != nil {
			var errs config.Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("got %T %v, want Errors", err, err)
			}
			for _, e := range errs {
				if e.Source != path || e.Message == "" {
					t.Fatalf("%#v does not say what is wrong with %s", e, path)
				}
			}
			return
		}
		for name, plugin := range c.Plugins {
			if plugin.Remote() == (len(plugin.Command) > 0 && plugin.Command[0] != "" || plugin.Image != "") {
				t.Fatalf("plugin %q has command %q and address %q", name, plugin.Command, plugin.Address)
			}
		}
		for _, route := range c.Routes {
			if _, ok := c.Plugins[route.Plugin]; !ok || route.Task == "" {
				t.Fatalf("%+v leads nowhere", route)
			}
		}
	})
}
