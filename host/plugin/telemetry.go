package plugin

import (
	"net/url"
	"os"
	"slices"
	"strings"
)

// TelemetryEnv are OpenTelemetry's variables of the host's environment that every plugin gets, so that its spans go where the host's
// go. The names of files among them are readable in its sandbox. Not among them are headers and a client's key, which are secrets:
// a plugin that is to have those says so in its InheritEnv.
var TelemetryEnv = []string{
	"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_PROPAGATORS",
	telemetryEndpoint, "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_INSECURE", telemetryCertificate,
	telemetryTracesEndpoint, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_INSECURE", telemetryTracesCertificate,
	"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
	"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
	"OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
}

const (
	telemetryEndpoint          = "OTEL_EXPORTER_OTLP_ENDPOINT"
	telemetryTracesEndpoint    = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	telemetryCertificate       = "OTEL_EXPORTER_OTLP_CERTIFICATE"
	telemetryTracesCertificate = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"
	telemetryResource          = "OTEL_RESOURCE_ATTRIBUTES"
)

// telemetry adds them to the environment of a plugin, which is a service of its own name. It adds nothing where the host has none.
func telemetry(env map[string]string, plugin string) {
	found := false
	for _, name := range TelemetryEnv {
		value, ok := os.LookupEnv(name)
		if !ok || (name == telemetryEndpoint || name == telemetryTracesEndpoint) && hasPassword(value) {
			continue
		}
		env[name], found = value, true
	}
	if !found {
		return
	}
	env["OTEL_SERVICE_NAME"] = plugin
	env["OTEL_LOGS_EXPORTER"] = "none" // its lines are the host's to send
	if about := ofAnyService(os.Getenv(telemetryResource)); about != "" {
		env[telemetryResource] = about
	}
}

func hasPassword(address string) bool {
	parsed, err := url.Parse(address)
	return err != nil || parsed.User != nil
}

// ofAnyService leaves of resource attributes what is not about the host's own service.
func ofAnyService(attributes string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(attributes, ","), func(attribute string) bool {
		name, _, _ := strings.Cut(attribute, "=")
		return slices.Contains([]string{"service.name", "service.instance.id", "service.version"}, strings.TrimSpace(name))
	}), ",")
}
