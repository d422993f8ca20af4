package plugin

import (
	"maps"
	"strings"
	"testing"
)

func variablesOf(spec Spec) map[string]string {
	got := map[string]string{}
	for _, entry := range spec.Environ(nil, "/run/x", "") {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") {
			got[name] = value
		}
	}
	return got
}

func TestPluginsSendTheirSpansWhereTheHostSendsItsOwnWithoutItsSecrets(t *testing.T) {
	if got := variablesOf(Spec{Name: "query"}); len(got) != 0 {
		t.Errorf("without any variable of the host's it gets %v", got)
	}
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_SERVICE_NAME": "hosts", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
		"OTEL_RESOURCE_ATTRIBUTES": "service.name=hosts,deployment.environment.name=production, service.instance.id=1", "OTEL_LOGS_EXPORTER": "otlp",
		"OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "api-key=secret", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/secret",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://me:secret@collector",
	} {
		t.Setenv(name, value)
	}
	want := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_SERVICE_NAME": "query", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
		"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=production", "OTEL_LOGS_EXPORTER": "none",
	}
	if got := variablesOf(Spec{Name: "query"}); !maps.Equal(got, want) {
		t.Errorf("it gets\n%v, want\n%v", got, want)
	}
	asked := Spec{Name: "query", InheritEnv: []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME"}, Env: map[string]string{"OTEL_LOGS_EXPORTER": "otlp"}}
	want["OTEL_EXPORTER_OTLP_HEADERS"], want["OTEL_SERVICE_NAME"], want["OTEL_LOGS_EXPORTER"] = "api-key=secret", "hosts", "otlp"
	if got := variablesOf(asked); !maps.Equal(got, want) {
		t.Errorf("what its configuration says gives it\n%v, want\n%v", got, want)
	}
}
