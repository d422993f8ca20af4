package tracing

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTracesAreOnWhereAVariableAsksForThem(t *testing.T) {
	for _, c := range []struct {
		environ []string
		want    string
	}{
		{nil, "off"},
		{[]string{"OTEL_SERVICE_NAME=hosts", "OTEL_TRACES_SAMPLER=always_on"}, "off"},
		{[]string{"OTEL_TRACES_EXPORTER=otlp"}, "traces to localhost:4318 (http/protobuf), sampled by parentbased_always_on"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318"}, "traces to collector:4318 (http/protobuf), sampled by parentbased_always_on"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, "traces to collector:4317 (grpc), sampled by parentbased_always_on"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", "OTEL_TRACES_EXPORTER=none"}, "off"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", "OTEL_SDK_DISABLED=TRUE"}, "off"},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://me:secret@traces/v1/traces"}, "traces to traces (http/protobuf), sampled by parentbased_always_on"},
		{[]string{"OTEL_TRACES_EXPORTER=console", "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.01"}, "traces to stdout, sampled by parentbased_traceidratio 0.01"},
		{[]string{"OTEL_LOGS_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=grpc"}, "the log to localhost:4317 (grpc)"},
		{[]string{"OTEL_LOGS_EXPORTER=otlp", "OTEL_TRACES_EXPORTER=otlp"}, "traces to localhost:4318 (http/protobuf), the log to localhost:4318 (http/protobuf), sampled by parentbased_always_on"},
	} {
		s := FromEnvironment(c.environ)
		if got := s.String(); got != c.want || len(s.Warnings) != 0 {
			t.Errorf("%v: %s, want %s; %v", c.environ, got, c.want, s.Warnings)
		}
	}
}

func TestAWrongVariableIsNamedAndWhatItIsForIsOff(t *testing.T) {
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	const on = "OTEL_TRACES_EXPORTER=otlp"
	for _, c := range []struct {
		environ []string
		says    string // after the variable's name
		off     bool
	}{
		{[]string{"OTEL_TRACES_EXPORTER=zipkin"}, `is "zipkin", which the host does not know: it is off (there are otlp, console, none)`, true},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317"}, `begin with http:// or https://: traces do not leave the host`, true},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://%zz"}, `is no address`, true},
		{[]string{"OTEL_EXPORTER_OTLP_PROTOCOL=http/json", on}, `is "http/json": traces do not leave the host (there are grpc and http/protobuf)`, true},
		{[]string{"OTEL_EXPORTER_OTLP_HEADERS=Bearer", on}, `name=value,name=value with %xx for what is special, and part 1 is not: traces do not`, true},
		{[]string{"OTEL_EXPORTER_OTLP_COMPRESSION=zstd", on}, `is "zstd"`, true},
		{[]string{"OTEL_EXPORTER_OTLP_CERTIFICATE=/there/is/none", on}, `cannot be read: open /there/is/none`, true},
		{[]string{"OTEL_EXPORTER_OTLP_CERTIFICATE=" + noPEM, on}, `which holds no PEM`, true},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317"}, `has port 4317, which is gRPC's`, false},
		{[]string{"OTEL_TRACES_SAMPLER=jaeger_remote", on}, `samples by parentbased_always_on`, false},
		{[]string{"OTEL_TRACES_SAMPLER_ARG=5", "OTEL_TRACES_SAMPLER=traceidratio", on}, `is "5", and has to be a number from 0 to 1: all traces are sampled`, false},
		{[]string{"OTEL_TRACES_SAMPLER_ARG=NaN", "OTEL_TRACES_SAMPLER=traceidratio", on}, `is "NaN"`, false},
		{[]string{"OTEL_RESOURCE_ATTRIBUTES=production", on}, `part 1 is not: it is left out`, false},
		{[]string{"OTEL_PROPAGATORS=tracecontext,b3", on}, `names "b3"`, false},
		{[]string{"OTEL_BSP_MAX_QUEUE_SIZE=many", on}, `is "many", and has to be a whole number: its default counts`, false},
		{[]string{"OTEL_BSP_SCHEDULE_DELAY=5s", on}, `is "5s", and has to be a whole number`, false},
		{[]string{"OTEL_SDK_DISABLED=yes", on}, `is "yes", which counts as false`, false},
		{[]string{"OTEL_TRACE_EXPORTER=otlp", on}, `is no variable of OpenTelemetry: OTEL_TRACES_EXPORTER is`, false},
	} {
		s := FromEnvironment(c.environ)
		name, _, _ := strings.Cut(c.environ[0], "=")
		if len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], name+" ") || !strings.Contains(s.Warnings[0], c.says) {
			t.Errorf("%v: it warns %q", c.environ, s.Warnings)
		}
		if off := s.Traces == ""; off != c.off {
			t.Errorf("%v: it is off: %v", c.environ, off)
		}
	}
	if s := FromEnvironment([]string{"OTEL_PYTHON_LOG_CORRELATION=true", "OTEL_EXPORTER_OTLP_ENDPOINT="}); len(s.Warnings) != 0 {
		t.Errorf("what is another SDK's own is warned of: %v", s.Warnings)
	}
}

// What is warned of does not show what may be secret.
func TestWarningsOfHeadersDoNotTellTheirValues(t *testing.T) {
	s := FromEnvironment([]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_HEADERS=api-key=s3cret,s3cret"})
	if slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, "s3cret") }) || len(s.Warnings) != 1 {
		t.Errorf("%q", s.Warnings)
	}
}
