package chart

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// What the chart knows of the host, held to where the host says it.

func source(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestTheKeysThatRestartNothingAreTheHosts(t *testing.T) {
	live := regexp.MustCompile("koanf:\"([a-z_]+)\".*live:\"true\"").FindAllStringSubmatch(source(t, "host", "config", "config.go"), -1)
	var host []string
	for _, key := range live {
		host = append(host, key[1])
	}
	omitted := regexp.MustCompile(`omit \(include "agenthost.settings" \. \| fromYaml\)((?: "[a-z_]+")+)`).FindStringSubmatch(source(t, "charts", "agenthost", "templates", "_config.tpl"))
	if len(host) == 0 || omitted == nil {
		t.Fatalf("host: %v, chart: %v", host, omitted)
	}
	chart := strings.Fields(strings.ReplaceAll(omitted[1], `"`, ""))
	slices.Sort(host)
	slices.Sort(chart)
	if !slices.Equal(host, chart) {
		t.Errorf("a running host takes up %v, and the chart restarts nothing for %v", host, chart)
	}
}

func TestTheMetricsOfTheAutoscalerAreTheHosts(t *testing.T) {
	out := render(t, merged(t, hello, "{autoscaling: {enabled: true}}"))
	found := regexp.MustCompile(`agenthost_[a-z_]+`).FindAllString(toYAML(t, out.objects["HorizontalPodAutoscaler/flyteconnector"]), -1)
	if len(found) == 0 {
		t.Fatal("it follows none")
	}
	for _, metric := range found {
		if !strings.Contains(source(t, "docs", "reference", "metrics.md"), "`"+metric+"`") {
			t.Errorf("the host has no metric %s", metric)
		}
	}
}

// The configuration that the chart begins with says nothing else than the one for a pod that comes with the host.
func TestTheConfigurationOfAPodIsThatOfConfigs(t *testing.T) {
	var pod, chart map[string]any
	if err := yaml.Unmarshal([]byte(source(t, "configs", "kubernetes.yaml")), &pod); err != nil {
		t.Fatal(err)
	}
	config := get[*corev1.ConfigMap](t, render(t, hello), "ConfigMap/flyteconnector-config").Data["agenthost.yaml"]
	if err := yaml.Unmarshal([]byte(config), &chart); err != nil {
		t.Fatal(err)
	}
	delete(chart, "plugins")
	if short, is := pod["ready"].(string); is {
		pod["ready"] = map[string]any{"plugins": short, "give_up": "11m"}
	}
	for key, value := range chart {
		if !reflect.DeepEqual(value, pod[key]) {
			t.Errorf("%s is %v, and in configs/kubernetes.yaml %v", key, value, pod[key])
		}
	}
}

func TestTheFileIsMountedAsItIs(t *testing.T) {
	for _, file := range []string{
		"  # begins with spaces\nlisten: {probe: '0.0.0.0:9091'}\nplugins: {a: {command: [a]}}\n",
		"listen: {probe: '0.0.0.0:9091'}\nplugins: {a: {command: [a]}} # no end of the last line",
		"\n\nlisten: {probe: '0.0.0.0:9091'}\nplugins: {a: {command: [a]}}\n\n\n",
		`{"listen": {"probe": "0.0.0.0:9091"}, "plugins": {"a": {"command": ["{{ .Release.Name }}"]}}}`,
		"# ünïcode \\ \"quotes\" : | > \t tabs\nlisten: {probe: '0.0.0.0:9091'}\nplugins: {a: {command: [a]}}\n",
	} {
		out := render(t, toYAML(t, map[string]any{"configFile": file}))
		if got := get[*corev1.ConfigMap](t, out, "ConfigMap/flyteconnector-config").Data["agenthost.yaml"]; got != file {
			t.Errorf("%q became %q", file, got)
		}
	}
}
