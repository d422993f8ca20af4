package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// hello is the least configuration that there can be.
const hello = "config: {plugins: {hello: {command: [/plugins/hello/hello]}}}\n"

// examples are the values that come with the chart, by file.
func examples(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chartFolder, "examples", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	out := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(file)] = string(content)
	}
	return out
}

func TestEveryExampleRendersAndItsConfigurationIsSound(t *testing.T) {
	for name, values := range examples(t) {
		t.Run(name, func(t *testing.T) {
			out := render(t, values)
			file := filepath.Join(t.TempDir(), "agenthost.yaml")
			config := get[*corev1.ConfigMap](t, out, "ConfigMap/flyteconnector-config")
			if err := os.WriteFile(file, []byte(config.Data["agenthost.yaml"]), 0o600); err != nil {
				t.Fatal(err)
			}
			agenthost(t, "check", "--config", file)
		})
	}
}

// As `helm lint --strict` does.
func TestTheChartLints(t *testing.T) {
	values := examples(t)
	values["hello"], values["defaults"] = hello, ""
	for name, values := range values {
		t.Run(name, func(t *testing.T) {
			var given map[string]any
			if err := yaml.Unmarshal([]byte(values), &given); err != nil {
				t.Fatal(err)
			}
			version, err := chartutil.ParseKubeVersion(newest)
			if err != nil {
				t.Fatal(err)
			}
			for _, message := range lint.AllWithKubeVersion(chartFolder, given, namespace, version).Messages {
				if message.Severity > support.InfoSev {
					t.Errorf("%s", message)
				}
			}
		})
	}
}

func TestWithoutPluginsNothingIsInstalled(t *testing.T) {
	_, err := rendering{}.render()
	if err == nil || !strings.Contains(err.Error(), "config.plugins names no plugin") {
		t.Errorf("rendered: %v", err)
	}
}
