package tracing

import (
	"cmp"
	"context"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/agenthost/agenthost/proto/nearest"
)

// Settings are what OpenTelemetry's variables say, as far as this package looks at them: the exporters, the queues and the limits of
// spans read theirs themselves, once these are known to be sound.
type Settings struct {
	// Traces and Logs are where spans and lines go: otlp, console (traces only), or nowhere, which is empty.
	Traces, Logs string
	// TracesProtocol and LogsProtocol are grpc or http/protobuf.
	TracesProtocol, LogsProtocol string
	// TracesEndpoint and LogsEndpoint are where the collector is, for the log.
	TracesEndpoint, LogsEndpoint string
	// Sampler is OTEL_TRACES_SAMPLER, and Ratio its argument.
	Sampler string
	Ratio   float64
	// SpanQueue and LogQueue are how many wait for the collector at most.
	SpanQueue, LogQueue int
	// Warnings are what is wrong with variables, and what follows from it. Each names its variable.
	Warnings []string
}

const (
	otlp     = "otlp"
	console  = "console"
	overGRPC = "grpc"
	overHTTP = "http/protobuf"
)

// What variables end in that are there once for all signals and once for each.
const (
	ofEndpoint    = "ENDPOINT"
	ofProtocol    = "PROTOCOL"
	ofHeaders     = "HEADERS"
	ofTimeout     = "TIMEOUT"
	ofCompression = "COMPRESSION"
	ofInsecure    = "INSECURE"
	ofCertificate = "CERTIFICATE"
	ofClientCert  = "CLIENT_CERTIFICATE"
	ofClientKey   = "CLIENT_KEY"
)

// variables are OpenTelemetry's for any SDK, without those of signals. Others are some SDK's own.
var variables = []string{
	"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
	"OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME", "OTEL_PROPAGATORS",
	"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", spanQueue, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
	"OTEL_BLRP_SCHEDULE_DELAY", "OTEL_BLRP_EXPORT_TIMEOUT", logQueue, "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
	"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
	"OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
	"OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
}

const (
	spanQueue = "OTEL_BSP_MAX_QUEUE_SIZE"
	logQueue  = "OTEL_BLRP_MAX_QUEUE_SIZE"
	// defaultQueue is OpenTelemetry's.
	defaultQueue = 2048
)

// FromEnvironment reads OpenTelemetry's variables in an environment, as os.Environ has it. Traces are on where an exporter of theirs is
// named, or an endpoint; logs where their exporter is: what is not asked for is off, unlike with OpenTelemetry's defaults.
func FromEnvironment(environ []string) Settings {
	e := environment{values: map[string]string{}}
	for _, entry := range environ {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") && value != "" {
			e.values[name] = strings.TrimSpace(value)
		}
	}
	if e.flag("OTEL_SDK_DISABLED") {
		return Settings{Warnings: e.warnings}
	}
	s := Settings{SpanQueue: e.size(spanQueue), LogQueue: e.size(logQueue)}
	named := e.oneOf("OTEL_TRACES_EXPORTER", otlp, console, "none")
	if named == "" && e.values["OTEL_TRACES_EXPORTER"] == "" && cmp.Or(e.values["OTEL_EXPORTER_OTLP_ENDPOINT"], e.values["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]) != "" {
		named = otlp
	}
	s.Traces, s.TracesProtocol, s.TracesEndpoint = e.exporter("TRACES", named)
	s.Logs, s.LogsProtocol, s.LogsEndpoint = e.exporter("LOGS", e.oneOf("OTEL_LOGS_EXPORTER", otlp, "none"))
	s.Sampler, s.Ratio = e.sampling()
	e.pairs("OTEL_RESOURCE_ATTRIBUTES", "it is left out")
	for name := range e.values {
		for _, suffix := range []string{"_DELAY", "_TIMEOUT", "_SIZE", "_LIMIT"} {
			if strings.HasSuffix(name, suffix) && slices.Contains(e.known(), name) && name != spanQueue && name != logQueue {
				e.number(name)
			}
		}
	}
	for _, propagator := range strings.Split(e.values["OTEL_PROPAGATORS"], ",") {
		switch propagator = strings.TrimSpace(propagator); propagator {
		case "", "tracecontext", "baggage":
		default:
			e.warn("OTEL_PROPAGATORS", fmt.Sprintf("names %q: the host's own spans go by tracecontext; headers of others pass it as they come", propagator))
		}
	}
	e.misspelt()
	s.Warnings = slices.Concat(e.warnings, e.hints)
	slices.Sort(s.Warnings)
	return s
}

type environment struct {
	values          map[string]string
	warnings, hints []string
}

func (e *environment) warn(name, problem string) { e.warnings = append(e.warnings, name+" "+problem) }

func (e *environment) known() []string {
	known := slices.Clone(variables)
	for _, signal := range []string{"", "TRACES_", "LOGS_", "METRICS_"} {
		for _, end := range []string{ofEndpoint, ofProtocol, ofHeaders, ofTimeout, ofCompression, ofInsecure, ofCertificate, ofClientCert, ofClientKey} {
			known = append(known, "OTEL_EXPORTER_OTLP_"+signal+end)
		}
	}
	return known
}

// misspelt warns of variables that nobody knows, and that look like one that is known.
func (e *environment) misspelt() {
	known := e.known()
	for name := range e.values {
		if slices.Contains(known, name) {
			continue
		}
		if meant := nearest.Name(name, known); meant != "" {
			e.warn(name, "is no variable of OpenTelemetry: "+meant+" is")
		}
	}
}

func (e *environment) flag(name string) bool {
	switch value := strings.ToLower(e.values[name]); value {
	case "true":
		return true
	case "", "false":
	default:
		e.warn(name, fmt.Sprintf("is %q, which counts as false: it is true or false", value))
	}
	return false
}

// oneOf is a variable's value; empty where it is not set, or none of those it may have.
func (e *environment) oneOf(name string, may ...string) string {
	value := strings.ToLower(e.values[name])
	if value != "" && !slices.Contains(may, value) {
		e.warn(name, fmt.Sprintf("is %q, which the host does not know: it is off (there are %s)", value, strings.Join(may, ", ")))
		return ""
	}
	return value
}

// exporter is where a signal goes. One whose variables are wrong is off: what has no sound address would go to somebody else's.
func (e *environment) exporter(signal, named string) (exporter, protocol, endpoint string) {
	if named == "" || named == "none" || named == console {
		return strings.TrimPrefix(named, "none"), "", ""
	}
	before := len(e.warnings)
	name, protocol := e.of(signal, ofProtocol)
	switch protocol {
	case overGRPC, overHTTP:
	case "":
		protocol = overHTTP
	default:
		e.warn(name, fmt.Sprintf("is %q: %s do not leave the host (there are %s and %s)", protocol, strings.ToLower(signal), overGRPC, overHTTP))
	}
	name, endpoint = e.of(signal, ofEndpoint)
	if endpoint != "" {
		parsed, err := url.Parse(endpoint)
		switch {
		case err != nil:
			e.warn(name, fmt.Sprintf("is no address (%v): %s do not leave the host", err, strings.ToLower(signal)))
		case parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
			e.warn(name, fmt.Sprintf("is %q, and has to begin with http:// or https://: %s do not leave the host", endpoint, strings.ToLower(signal)))
		case parsed.Port() == "4317" && protocol == overHTTP:
			e.hints = append(e.hints, name+" has port 4317, which is gRPC's, and goes by "+overHTTP+": set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or port 4318")
		}
		endpoint = parsedHost(parsed)
	}
	if name, value := e.of(signal, ofHeaders); value != "" {
		e.pairs(name, strings.ToLower(signal)+" do not leave the host")
	}
	if name, value := e.of(signal, ofCompression); value != "" && value != "gzip" && value != "none" {
		e.warn(name, fmt.Sprintf("is %q: %s do not leave the host (there are gzip and none)", value, strings.ToLower(signal)))
	}
	for _, end := range []string{ofCertificate, ofClientCert, ofClientKey} {
		if name, file := e.of(signal, end); file != "" {
			if content, err := os.ReadFile(file); err != nil {
				e.warn(name, fmt.Sprintf("cannot be read: %v; %s do not leave the host", err, strings.ToLower(signal)))
			} else if block, _ := pem.Decode(content); block == nil {
				e.warn(name, fmt.Sprintf("names %s, which holds no PEM; %s do not leave the host", file, strings.ToLower(signal)))
			}
		}
	}
	if len(e.warnings) > before {
		return "", "", ""
	}
	return named, protocol, cmp.Or(endpoint, map[string]string{overGRPC: "localhost:4317", overHTTP: "localhost:4318"}[protocol])
}

// parsedHost is an address without what may be secret in it.
func parsedHost(parsed *url.URL) string {
	if parsed == nil {
		return ""
	}
	return parsed.Host
}

// of is a variable of a signal, or that of all; both in one place, with the name of the one that counts.
func (e *environment) of(signal, end string) (name, value string) {
	name = "OTEL_EXPORTER_OTLP_" + signal + "_" + end
	if value = e.values[name]; value == "" {
		name = "OTEL_EXPORTER_OTLP_" + end
		value = e.values[name]
	}
	return name, value
}

// pairs checks name=value,name=value with values as in URLs. Values may be secret, and are not told.
func (e *environment) pairs(name, follows string) {
	if e.values[name] == "" {
		return
	}
	for i, pair := range strings.Split(e.values[name], ",") {
		key, value, ok := strings.Cut(pair, "=")
		_, err := url.PathUnescape(value)
		if !ok || strings.TrimSpace(key) == "" || err != nil {
			e.warn(name, fmt.Sprintf("has to be name=value,name=value with %%xx for what is special, and part %d is not: %s", i+1, follows))
			return
		}
	}
}

func (e *environment) number(name string) (int, bool) {
	value := e.values[name]
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		e.warn(name, fmt.Sprintf("is %q, and has to be a whole number: its default counts", value))
		return 0, false
	}
	return n, true
}

func (e *environment) size(name string) int {
	if e.values[name] == "" {
		return defaultQueue
	}
	if n, ok := e.number(name); ok && n > 0 {
		return n
	}
	return defaultQueue
}

const (
	samplerArg     = "OTEL_TRACES_SAMPLER_ARG"
	defaultSampler = "parentbased_always_on"
)

func (e *environment) sampling() (sampler string, ratio float64) {
	sampler = cmp.Or(strings.ToLower(e.values["OTEL_TRACES_SAMPLER"]), defaultSampler)
	switch sampler {
	case "always_on", "always_off", defaultSampler, "parentbased_always_off":
		return sampler, 0
	case "traceidratio", "parentbased_traceidratio":
	default:
		e.warn("OTEL_TRACES_SAMPLER", fmt.Sprintf("is %q, which the host does not know: it samples by %s", sampler, defaultSampler))
		return defaultSampler, 0
	}
	value := cmp.Or(e.values[samplerArg], "1")
	ratio, err := strconv.ParseFloat(value, 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) {
		e.warn(samplerArg, fmt.Sprintf("is %q, and has to be a number from 0 to 1: all traces are sampled", value))
		ratio = 1
	}
	return sampler, ratio
}

func (s Settings) sampler() sdktrace.Sampler {
	switch s.Sampler {
	case "always_on":
		return sdktrace.AlwaysSample()
	case "always_off":
		return sdktrace.NeverSample()
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample())
	case "traceidratio":
		return sdktrace.TraceIDRatioBased(s.Ratio)
	case "parentbased_traceidratio":
		return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(s.Ratio))
	default:
		return sdktrace.ParentBased(sdktrace.AlwaysSample())
	}
}

func (s Settings) spanExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	switch {
	case s.Traces == console:
		return stdouttrace.New()
	case s.TracesProtocol == overGRPC:
		return otlptracegrpc.New(ctx)
	default:
		return otlptracehttp.New(ctx)
	}
}

func (s Settings) logExporter(ctx context.Context) (sdklog.Exporter, error) {
	if s.LogsProtocol == overGRPC {
		return otlploggrpc.New(ctx)
	}
	return otlploghttp.New(ctx)
}

// String says where what goes.
func (s Settings) String() string {
	var all []string
	switch s.Traces {
	case "":
	case console:
		all = append(all, "traces to stdout")
	default:
		all = append(all, fmt.Sprintf("traces to %s (%s)", s.TracesEndpoint, s.TracesProtocol))
	}
	if s.Logs != "" {
		all = append(all, fmt.Sprintf("the log to %s (%s)", s.LogsEndpoint, s.LogsProtocol))
	}
	if len(all) == 0 {
		return "off"
	}
	sampling := ""
	if s.Traces != "" {
		sampling = ", sampled by " + s.Sampler
		if strings.HasSuffix(s.Sampler, "ratio") {
			sampling += fmt.Sprintf(" %g", s.Ratio)
		}
	}
	return strings.Join(all, ", ") + sampling
}
