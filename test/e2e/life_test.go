package e2e_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

// A plugin's own metrics are among the host's, and its process is told when it is replaced, before it is asked to stop.
func TestAPluginIsMeasuredAndIsToldThatItIsReplaced(t *testing.T) {
	version := func(version, metrics string) map[string]any {
		return map[string]any{"echo": map[string]any{"command": badplugin.Command("with-metrics", "-version", version, "-block", "2", "-text", metrics), "drain_timeout": "7m"}}
	}
	h := hosttest.Start(t, map[string]any{"plugins": version("1", "jobs_done 3")})
	wants := func(value string) {
		t.Helper()
		series := regexp.MustCompile(`(?m)^plugin_jobs_done\{generation="[0-9a-f]+",instance="0",plugin="echo"\} ` + value + `$`)
		wait.Until(t, "the plugin's own metric "+value, func() bool {
			page := h.Ask(t, "/metrics")
			return len(series.FindAllString(page, -1)) == 1 && strings.Count(page, "\nplugin_jobs_done{") == 1
		})
	}
	wants("3")
	h.Reload(t, version("2", "jobs_done 4"))
	wants("4")
	wait.Until(t, "the first version to be told", func() bool { return strings.Contains(h.Log(t), "drains within 7m0s") })
	if page := h.Ask(t, "/metrics"); !strings.Contains(page, "\nagenthost_plugin_metrics_left_out{plugin=\"echo\"} 0\n") || !strings.Contains(page, "\nagenthost_ready 1\n") {
		t.Errorf("metrics are\n%s", page)
	}
}
