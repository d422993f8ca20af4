package server

import (
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/config"
)

func TestTheNeedForDescriptorsIsToldByName(t *testing.T) {
	d := Descriptors{Own: 80, Wanted: 1024}
	for name, test := range map[string]struct {
		limit, plugins int
		err, warning   string
		connections    int
	}{
		"plenty":                   {limit: 20000, plugins: 720, connections: 1024},
		"fewer connections":        {limit: 512, plugins: 24, warning: "leaves 408 connections of limits.connections' 1024; 1128 would do", connections: 408},
		"as few as can be":         {limit: 120, plugins: 24, warning: "leaves 16 connections", connections: 16},
		"thirty plugins, n of 128": {limit: 128, plugins: 720, err: "the limit of open files (ulimit -n) is 128, which is too few: the plugins take up to 720, the host and its operators 80"},
	} {
		d.Limit, d.Plugins = test.limit, test.plugins
		d.Connections = min(d.Wanted, d.Limit-d.Own-d.Plugins)
		if err := d.Err(); (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v", name, err)
		}
		if warning := d.Warning(); (warning == "") != (test.warning == "") || !strings.Contains(warning, test.warning) {
			t.Errorf("%s: %q", name, warning)
		}
		if test.err == "" && d.Connections != test.connections {
			t.Errorf("%s: there is room for %d connections", name, d.Connections)
		}
	}
}

func TestWhatPluginsTakeIsCountedByTheirInstances(t *testing.T) {
	settings := config.Default()
	own, elsewhere := config.DefaultPlugin(), config.DefaultPlugin()
	own.Command, own.Instances = []string{"/bin/true"}, 3
	elsewhere.Address = []string{"a:1", "b:2"}
	settings.Plugins = map[string]config.Plugin{"own": own, "elsewhere": elsewhere}
	d := DescriptorsOf(settings)
	if d.Plugins != 2*3*pluginDescriptors+2*2*remoteDescriptors || d.Wanted != 1024 || d.Limit == 0 {
		t.Errorf("%+v", d)
	}
}
