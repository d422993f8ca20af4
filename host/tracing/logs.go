package tracing

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/trace"
)

// The attributes of a line of the log that say which call it is about.
const (
	TraceID = "trace_id"
	SpanID  = "span_id"
)

// Handler has lines go to local and, where the log is asked for, to the collector too. Lines of levels that local leaves out go to
// neither.
func (t *Tracing) Handler(local slog.Handler) slog.Handler {
	if t == nil || t.lines == nil {
		return local
	}
	return lines{local: local, remote: otelslog.NewHandler(scope, otelslog.WithLoggerProvider(t.lines))}
}

type lines struct {
	local, remote slog.Handler
	about         trace.SpanContextConfig // what attributes of all its lines say
}

func (l lines) Enabled(ctx context.Context, level slog.Level) bool {
	return l.local.Enabled(ctx, level)
}

func (l lines) Handle(ctx context.Context, line slog.Record) error {
	about := l.about
	line.Attrs(func(attribute slog.Attr) bool {
		about = notice(about, attribute)
		return true
	})
	within := ctx
	if at := trace.NewSpanContext(about); at.HasTraceID() {
		within = trace.ContextWithSpanContext(ctx, at)
	}
	if l.remote.Enabled(within, line.Level) {
		_ = l.remote.Handle(within, line.Clone()) // it waits for nobody, and counts what it loses
	}
	return l.local.Handle(ctx, line)
}

// notice takes a trace's ID, or a span's, from an attribute of a line. A plugin's may be anything.
func notice(about trace.SpanContextConfig, attribute slog.Attr) trace.SpanContextConfig {
	switch attribute.Key {
	case TraceID:
		if id, err := trace.TraceIDFromHex(attribute.Value.String()); err == nil {
			about.TraceID = id
		}
	case SpanID:
		if id, err := trace.SpanIDFromHex(attribute.Value.String()); err == nil {
			about.SpanID = id
		}
	}
	return about
}

func (l lines) WithAttrs(attributes []slog.Attr) slog.Handler {
	next := lines{local: l.local.WithAttrs(attributes), remote: l.remote.WithAttrs(attributes), about: l.about}
	for _, attribute := range attributes {
		next.about = notice(next.about, attribute)
	}
	return next
}

func (l lines) WithGroup(name string) slog.Handler {
	return lines{local: l.local.WithGroup(name), remote: l.remote.WithGroup(name), about: l.about}
}
