package tracing

import (
	"cmp"
	"context"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// The attributes of spans that are the host's own.
const (
	attributePlugin     = attribute.Key("agenthost.plugin")
	attributeGeneration = attribute.Key("agenthost.generation")
	attributeTaskType   = attribute.Key("agenthost.task_type")
	attributeWait       = attribute.Key("agenthost.wait")
	attributeGuarantee  = attribute.Key("agenthost.guarantee")
	attributeTitle      = attribute.Key("agenthost.guarantee.title")
	attributeProject    = attribute.Key("flyte.project")
	attributeDomain     = attribute.Key("flyte.domain")
	attributeExecution  = attribute.Key("flyte.execution")
	attributeNode       = attribute.Key("flyte.node")
	attributeAttempt    = attribute.Key("flyte.attempt")
)

// The headers of W3C Trace Context.
const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
)

// What is waited for.
const (
	OnStart       = "start"       // the host's, of which it does not know the task categories before
	OnPlugin      = "plugin"      // an instance of it, or one of its servers
	OnConcurrency = "concurrency" // limits.concurrency
	OnRate        = "rate"        // limits.rate
	OnTurn        = "turn"        // among the creations in which the plugin has died
	OnMemory      = "memory"      // limits.memory
)

// What is done for calls.
const (
	MakeJob      = "make job"
	DeleteOrphan = "delete orphan"
)

// Tracer makes the spans of calls. Nil makes none.
type Tracer struct {
	tracer  trace.Tracer
	sampler sdktrace.Sampler
}

// NewTracer makes spans of a host of a version. The provider, which options are for, has to be shut down.
func NewTracer(version string, sampler sdktrace.Sampler, options ...sdktrace.TracerProviderOption) (*Tracer, *sdktrace.TracerProvider) {
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSampler(asLinked{sampler}), sdktrace.WithIDGenerator(ids{}))...)
	return &Tracer{
		tracer:  provider.Tracer(scope, trace.WithInstrumentationVersion(version), trace.WithSchemaURL(semconv.SchemaURL)),
		sampler: sampler,
	}, provider
}

// Method is what the spans of a method's calls have in common.
type Method struct {
	name   string
	server []trace.SpanStartOption
	client []trace.SpanStartOption
}

// NewMethod makes it of a method's full name, /package.Service/Method.
func NewMethod(full string) *Method {
	name := strings.TrimPrefix(full, "/")
	attributes := trace.WithAttributes(semconv.RPCSystemNameGRPC, semconv.RPCMethod(name))
	return &Method{
		name:   name,
		server: []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), attributes},
		client: []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), attributes},
	}
}

// Call is what is told of a call, or of a work that is done for one. It may be used by several goroutines at a time, and by nil.
type Call struct {
	tracer *Tracer
	span   trace.Span // nil: it is not sampled
	ended  *atomic.Bool
	passed trace.SpanContext // what the plugin gets, where the call has brought nothing
	fresh  bool              // it has brought nothing
	of     *Call             // what it is a work for; nil: it is a call
}

// incoming reads a call's headers.
type incoming struct{ context.Context } //nolint:containedctx // it is the headers

func (i incoming) Get(key string) string {
	values := metadata.ValueFromIncomingContext(i.Context, key)
	switch {
	case len(values) == 0 || key == traceparent && len(values) > 1:
		return ""
	case len(values) == 1:
		return values[0]
	}
	return strings.Join(values, ",")
}

func (incoming) Set(string, string) {}
func (incoming) Keys() []string     { return nil }

// Parent is where a call comes from, by its headers; not valid, where they do not say.
func Parent(ctx context.Context) trace.SpanContext {
	if len(metadata.ValueFromIncomingContext(ctx, traceparent)) == 0 {
		return trace.SpanContext{}
	}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), incoming{ctx}))
}

// Begin begins the span of a call that has come. Nil: there is nothing to tell of it.
//
// It asks the sampler by itself: a span that is only made to be dropped would cost each of nearly all calls some ten allocations.
func (t *Tracer) Begin(ctx context.Context, m *Method) *Call {
	if t == nil {
		return nil
	}
	parent, within := Parent(ctx), context.Background()
	id := parent.TraceID()
	if parent.IsValid() {
		within = trace.ContextWithRemoteSpanContext(within, parent)
	} else {
		id = newTraceID()
	}
	asked := sdktrace.SamplingParameters{ParentContext: within, TraceID: id, Name: m.name, Kind: trace.SpanKindServer}
	switch sampled := t.sampler.ShouldSample(asked).Decision == sdktrace.RecordAndSample; {
	case sampled:
		_, span := t.tracer.Start(context.WithValue(within, chosen{}, id), m.name, m.server...)
		return &Call{tracer: t, span: span, ended: &atomic.Bool{}, passed: span.SpanContext(), fresh: !parent.IsValid()}
	case parent.IsValid():
		return nil // its own headers say all there is to say
	}
	return &Call{tracer: t, fresh: true, passed: trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: newSpanID()})}
}

// Outgoing puts into the headers for the plugin where its spans belong. A call that is not sampled brings that along, or else it is
// told here, so that nobody begins a trace of his own.
func (c *Call) Outgoing(headers metadata.MD) metadata.MD {
	if c == nil {
		return headers
	}
	if headers == nil {
		headers = metadata.MD{}
	}
	headers[traceparent] = []string{headerOf(c.passed)}
	if c.fresh {
		delete(headers, tracestate) // whose traceparent could not be read
	}
	return headers
}

func headerOf(at trace.SpanContext) string {
	var text [55]byte
	trace, span := at.TraceID(), at.SpanID()
	copy(text[:], "00-")
	hex.Encode(text[3:], trace[:])
	text[35] = '-'
	hex.Encode(text[36:], span[:])
	copy(text[52:], "-00")
	if at.IsSampled() {
		text[54] = '1'
	}
	return string(text[:])
}

// recorded says that there is somebody to tell.
func (c *Call) recorded() bool { return c != nil && c.span != nil }

func (c *Call) context() context.Context {
	return trace.ContextWithSpan(context.Background(), c.span)
}

// About is what a call is about.
type About struct {
	Plugin, TaskType, Project, Domain, Execution, Node string
	Attempt                                            uint32
}

// Routed tells what a call is about, and who is to answer it.
func (c *Call) Routed(about About) {
	if !c.recorded() {
		return
	}
	c.span.SetAttributes(attributePlugin.String(about.Plugin), attributeTaskType.String(about.TaskType))
	if about.Execution != "" {
		c.span.SetAttributes(attributeProject.String(about.Project), attributeDomain.String(about.Domain), attributeExecution.String(about.Execution),
			attributeNode.String(about.Node), attributeAttempt.Int64(int64(about.Attempt)))
	}
}

// Guarantee tells that a guarantee acted. After the end of the call that is a span of its own.
func (c *Call) Guarantee(id, title string) {
	if !c.recorded() {
		return
	}
	attributes := trace.WithAttributes(attributeGuarantee.String(id), attributeTitle.String(title))
	if c.ended.Load() {
		_, span := c.tracer.tracer.Start(c.context(), "guarantee "+id, attributes)
		span.End()
		return
	}
	c.span.AddEvent("guarantee "+id, attributes)
}

// Event tells of something that has happened, in words that are always the same.
func (c *Call) Event(name string) {
	if c.recorded() {
		c.span.AddEvent(name)
	}
}

// Wait begins the span of a wait, which its result ends.
func (c *Call) Wait(on string) (over func()) {
	if !c.recorded() {
		return func() {}
	}
	_, span := c.tracer.tracer.Start(c.context(), "wait for "+on, trace.WithAttributes(attributeWait.String(on)))
	return func() { span.End() }
}

// Work begins the span of what is done for a call, and may go on without it. End ends it.
func (c *Call) Work(name string) *Call {
	if !c.recorded() {
		return c
	}
	_, span := c.tracer.tracer.Start(c.context(), name)
	return &Call{tracer: c.tracer, span: span, ended: &atomic.Bool{}, passed: span.SpanContext(), fresh: c.fresh, of: c}
}

// Later begins a trace of what is done long after a call, linked to it. End ends it.
func (c *Call) Later(name string) *Call {
	if !c.recorded() {
		return nil
	}
	return c.tracer.Linked(name, c.span.SpanContext())
}

// Linked begins a trace that is linked to another.
func (t *Tracer) Linked(name string, to trace.SpanContext) *Call {
	if t == nil || !to.IsSampled() {
		return nil
	}
	_, span := t.tracer.Start(context.Background(), name, trace.WithLinks(trace.Link{SpanContext: to}))
	return &Call{tracer: t, span: span, ended: &atomic.Bool{}, passed: span.SpanContext(), fresh: true}
}

// LinkTo links the call to the span of another.
func (c *Call) LinkTo(to trace.SpanContext) {
	if c.recorded() && to.IsValid() {
		c.span.AddLink(trace.Link{SpanContext: to})
	}
}

// SpanContext is where the call's span is; not valid, where there is none.
func (c *Call) SpanContext() trace.SpanContext {
	if !c.recorded() {
		return trace.SpanContext{}
	}
	return c.span.SpanContext()
}

// End ends the span, with the call's outcome. Servers are at fault only for some codes; the words of the error stay here.
func (c *Call) End(err error) {
	if !c.recorded() {
		return
	}
	code := status.Code(err)
	c.span.SetAttributes(semconv.RPCResponseStatusCode(statusCode(code)))
	switch code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		c.span.SetStatus(otelcodes.Error, "")
	}
	c.ended.Store(true)
	c.span.End()
}

// statusCode is a code's name as gRPC's specification has it, and OpenTelemetry's convention.
func statusCode(code codes.Code) string { return statusCodes[min(int(code), len(statusCodes)-1)] }

var statusCodes = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED", "UNKNOWN",
}

// Resume is Work for the job of a task on record, which was accepted in the trace that the record refers to.
func (t *Tracer) Resume(of *Call, reference []byte) *Call {
	accepted := Referred(reference)
	if !of.recorded() {
		return cmp.Or(t.Linked(MakeJob, accepted), of)
	}
	work := of.Work(MakeJob)
	work.LinkTo(accepted)
	return work
}

// Reference is where the call's span is, for Referred, of any host; nil, where there is none.
func (c *Call) Reference() []byte {
	at := c.SpanContext()
	if !at.IsValid() {
		return nil
	}
	trace, span := at.TraceID(), at.SpanID()
	return slices.Concat(trace[:], span[:])
}

// Referred is what a reference refers to; not valid, where it is nil.
func Referred(reference []byte) trace.SpanContext {
	var at trace.SpanContextConfig
	if len(reference) != len(at.TraceID)+len(at.SpanID) {
		return trace.SpanContext{}
	}
	copy(at.TraceID[:], reference)
	copy(at.SpanID[:], reference[len(at.TraceID):])
	at.TraceFlags, at.Remote = trace.FlagsSampled, true // one that is not has no reference
	return trace.NewSpanContext(at)
}

// IDs are the attributes of a line of the log about the call: of its span or, where there is none, of the trace that its headers name.
func (c *Call) IDs(ctx context.Context) []slog.Attr {
	if at := c.SpanContext(); at.IsValid() {
		return []slog.Attr{slog.String(TraceID, at.TraceID().String()), slog.String(SpanID, at.SpanID().String())}
	}
	if from := Parent(ctx); from.IsValid() {
		return []slog.Attr{slog.String(TraceID, from.TraceID().String())}
	}
	return nil
}

// Try is one call of a plugin.
type Try struct{ span trace.Span }

// Try begins the span of a call of a plugin, and puts it into the call's headers, which are ctx's.
func (c *Call) Try(ctx context.Context, m *Method, plugin, generation string) (context.Context, *Try) {
	if !c.recorded() {
		return ctx, nil
	}
	_, span := c.tracer.tracer.Start(c.context(), m.name, m.client...)
	span.SetAttributes(attributePlugin.String(plugin), attributeGeneration.String(generation))
	for told := c; told != nil; told = told.of {
		told.span.SetAttributes(attributeGeneration.String(generation)) // of one that has ended, no more is told
	}
	headers, _ := metadata.FromOutgoingContext(ctx)
	if headers == nil {
		headers = metadata.MD{}
	}
	headers[traceparent] = []string{headerOf(span.SpanContext())}
	return metadata.NewOutgoingContext(ctx, headers), &Try{span}
}

// End ends the span of a call of a plugin.
func (t *Try) End(err error) {
	if t == nil {
		return
	}
	t.span.SetAttributes(semconv.RPCResponseStatusCode(statusCode(status.Code(err))))
	if err != nil {
		t.span.SetStatus(otelcodes.Error, "")
	}
	t.span.End()
}
