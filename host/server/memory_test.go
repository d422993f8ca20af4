package server

import (
	"testing"

	"github.com/agenthost/agenthost/host/config"
)

func TestLimitsThatAreMoreThanTheContainersAreToldOf(t *testing.T) {
	limited := func(memory config.Size, instances int) config.Plugin {
		p := config.DefaultPlugin()
		p.Command, p.Sandbox.Memory, p.Instances = []string{"x"}, memory, instances
		return p
	}
	elsewhere := limited(8*config.GiB, 1)
	elsewhere.Address = []string{"x:1"}
	open := limited(0, 1)
	open.Sandbox = config.Sandbox{Mode: config.Off, Memory: 8 * config.GiB}
	for name, c := range map[string]struct {
		plugins map[string]config.Plugin
		memory  config.Size
		want    string
	}{
		"nobody has a limit":        {map[string]config.Plugin{"a": limited(0, 9), "b": elsewhere, "c": open}, 2 * config.GiB, ""},
		"they fit":                  {map[string]config.Plugin{"a": limited(304*config.MiB, 1), "b": limited(400*config.MiB, 1)}, 0, ""},
		"they are one MiB too many": {map[string]config.Plugin{"a": limited(305*config.MiB, 1), "b": limited(400*config.MiB, 1)}, 0, "the plugins may take 705MiB of memory (sandbox.memory, times instances) and the host 320MiB (limits.memory and 64MiB), which is more than the container's 1GiB: raise that, or lower these"},
		"each instance counts":      {map[string]config.Plugin{"a": limited(300*config.MiB, 3)}, 64 * config.MiB, "the plugins may take 900MiB of memory (sandbox.memory, times instances) and the host 128MiB (limits.memory and 64MiB), which is more than the container's 1GiB: raise that, or lower these"},
	} {
		settings := config.Default()
		settings.Plugins, settings.Limits.Memory = c.plugins, c.memory
		if got := MemoryWarning(settings, 1<<30); got != c.want {
			t.Errorf("%s: %q; want %q", name, got, c.want)
		}
	}
}
