package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// told is what the notes tell to put into Flyte's configuration: what is indented, from `tasks:` on.
func told(t *testing.T, notes string) map[string]any {
	t.Helper()
	_, rest, found := strings.Cut(notes, "\n  tasks:\n")
	if !found {
		t.Fatalf("nothing for Flyte in\n%s", notes)
	}
	block, _, _ := strings.Cut("  tasks:\n"+rest, "\n\n")
	var config map[string]any
	if err := yaml.Unmarshal([]byte(block), &config); err != nil {
		t.Fatalf("%v in\n%s", err, block)
	}
	return config
}

func TestTheNotesHaveTheLinesForFlyte(t *testing.T) {
	for name, c := range map[string]struct{ values, service, deployment, endpoint string }{
		"connector": {hello, "connector-service", "defaultConnector", "dns:///flyteconnector.flyte.svc.cluster.local:8000"},
		"agent":     {merged(t, hello, "generation: agent"), "agent-service", "defaultAgent", "dns:///flyteagent.flyte.svc.cluster.local:8000"},
	} {
		t.Run(name, func(t *testing.T) {
			config := told(t, render(t, c.values).notes)
			section := config["plugins"].(map[string]any)[c.service].(map[string]any)
			deployment := section[c.deployment].(map[string]any)
			if deployment["endpoint"] != c.endpoint || deployment["insecure"] != true {
				t.Errorf("the endpoint is %v", deployment)
			}
			if !strings.Contains(deployment["defaultServiceConfig"].(string), `"waitForReady":true`) {
				t.Errorf("a call does not wait: %v", deployment)
			}
			if failures := section["webApi"].(map[string]any)["caching"].(map[string]any)["maxSystemFailures"]; failures != 1000.0 {
				t.Errorf("maxSystemFailures is %v", failures)
			}
			enabled := config["tasks"].(map[string]any)["task-plugins"].(map[string]any)["enabled-plugins"].([]any)
			if enabled[len(enabled)-1] != c.service {
				t.Errorf("enabled are %v", enabled)
			}
		})
	}
	types := merged(t, hello, "{tls: {secretName: cert}, config: {plugins: {hello: {task_types: [b@2, a, b]}}}}")
	section := told(t, render(t, types).notes)["plugins"].(map[string]any)["connector-service"].(map[string]any)
	if got := section["supportedTaskTypes"].([]any); len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("the types are %v", got)
	}
	if section["defaultConnector"].(map[string]any)["insecure"] != false {
		t.Error("Flyte is told to speak plainly to a host with TLS")
	}
}

// What the notes say is what `agenthost flyte-config --check` asks of Flyte's configuration: no error, no warning.
func TestTheLinesForFlyteLackNothing(t *testing.T) {
	for generation, version := range map[string]string{"connector": "1.16", "agent": "1.14"} {
		values := merged(t, hello, "generation: "+generation, "config: {plugins: {hello: {task_types: [hello]}}}")
		file := filepath.Join(t.TempDir(), "flyte.yaml")
		if err := os.WriteFile(file, []byte(toYAML(t, told(t, render(t, values).notes))), 0o600); err != nil {
			t.Fatal(err)
		}
		said := agenthost(t, "flyte-config", "--flyte", version, "--task-types", "hello", "--check", file)
		if !strings.Contains(string(said), "0 errors, 0 warnings") {
			t.Errorf("Flyte %s: %s", version, said)
		}
	}
}

func TestTheNotesWarnOfWhatIsAllowedAndCosts(t *testing.T) {
	for values, warning := range map[string]string{
		duckdb: "duckdb: jobs are kept in an emptyDir",
		merged(t, duckdb, "{replicaCount: 2, persistence: {enabled: true, accessMode: ReadWriteMany}}"): "2 replicas without config.create.keys",
		merged(t, hello, "resources: {limits: {ephemeral-storage: 200Mi}}"):                             "resources.limits.ephemeral-storage is 200Mi",
		merged(t, hello, "progressDeadlineSeconds: 660"):                                                "ready.give_up is 11m, and progressDeadlineSeconds 660",
		merged(t, hello, "config: {ready: {give_up: 9m50s}}"):                                           "ready.give_up is 9m50s, and progressDeadlineSeconds 600",
		merged(t, hello, "fullnameOverride: x"):                                                         "fullnameOverride has no effect",
	} {
		if notes := render(t, values).notes; strings.Count(notes, "WARNING") != 1 || !strings.Contains(notes, warning) {
			t.Errorf("expected %q in\n%s", warning, notes)
		}
	}
	older := rendering{values: merged(t, hello, "pluginImages: [{name: a, image: a:1}]"), kubernetes: "v1.34.0"}.must(t)
	if !strings.Contains(older.notes, "the feature gate ImageVolume in Kubernetes v1.34.0") {
		t.Errorf("image volumes are taken for granted:\n%s", older.notes)
	}
	for _, values := range []string{hello, merged(t, hello, "{progressDeadlineSeconds: 900, config: {ready: any}}"), merged(t, hello, "config: {ready: all}"), merged(t, duckdb, "persistence: {enabled: true}")} {
		if notes := render(t, values).notes; strings.Contains(notes, "WARNING") {
			t.Errorf("a warning for nothing:\n%s", notes)
		}
	}
}
