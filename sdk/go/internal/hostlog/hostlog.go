// Package hostlog writes log records as the lines that hashicorp/go-plugin reads from a plugin's standard error: one
// JSON object each, with @level, @message and @timestamp, and a key per field. The host shows them with level and fields.
//
// go-plugin is unforgiving about them: an @-key that is not a string, a line over 64 KiB or a timestamp without exactly
// six fractional digits costs the line its meaning, or the host its life. Hence the care here.
package hostlog

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/sdk/go/internal/traceparent"
)

const (
	// maxLine is the longest line, with its line break.
	maxLine = 64<<10 - 1
	// maxPart is the longest message or field value.
	maxPart = 16 << 10
	// timestamp has the six digits that go-plugin parses by.
	timestamp = "2006-01-02T15:04:05.000000Z07:00"

	traceID, spanID = "trace_id", "span_id"
)

// Handler is a slog.Handler. Groups become prefixes of keys: group "a" with field "b" is "a.b".
type Handler struct {
	out    *sync.Mutex
	writer io.Writer
	level  slog.Leveler
	prefix string
	fields []field
}

type field struct {
	key   string
	value []byte // JSON
}

var _ slog.Handler = (*Handler)(nil)

// New makes a handler that writes records of a level or above, each with one Write.
func New(writer io.Writer, level slog.Leveler) *Handler {
	return &Handler{out: &sync.Mutex{}, writer: writer, level: level}
}

// Enabled says whether a level is written.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// Handle writes one line. It never returns an error for what is in the record, only for what the writer says.
//
// A record of a call, as slog.InfoContext and the like make it, names the call's trace, unless it does so itself.
func (h *Handler) Handle(ctx context.Context, record slog.Record) error {
	fields := slices.Clone(h.fields)
	record.Attrs(func(attr slog.Attr) bool {
		fields = appendAttr(fields, h.prefix, attr)
		return true
	})
	if trace, span, ok := traceparent.Of(ctx); ok && !slices.ContainsFunc(fields, func(f field) bool { return f.key == traceID }) {
		fields = append(fields, field{traceID, jsonString(trace, maxPart)}, field{spanID, jsonString(span, maxPart)})
	}
	line := []byte(`{"@level":"` + levelName(record.Level) + `","@message":`)
	line = append(line, jsonString(record.Message, maxPart)...)
	if !record.Time.IsZero() {
		line = append(line, `,"@timestamp":"`+record.Time.Format(timestamp)+`"`...)
	}
	for _, f := range fields {
		key := jsonString(f.key, 256)
		if len(line)+len(key)+len(f.value)+len(",:}\n,\"log_cut\":true") > maxLine {
			line = append(line, `,"log_cut":true`...)
			break
		}
		line = append(append(append(append(line, ','), key...), ':'), f.value...)
	}
	h.out.Lock()
	defer h.out.Unlock()
	_, err := h.writer.Write(append(line, '}', '\n'))
	return err
}

// WithAttrs returns a handler that adds fields to every record.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := *h
	derived.fields = slices.Clone(h.fields)
	for _, attr := range attrs {
		derived.fields = appendAttr(derived.fields, h.prefix, attr)
	}
	return &derived
}

// WithGroup returns a handler that prefixes the keys of later fields.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	derived := *h
	derived.prefix += name + "."
	return &derived
}

func appendAttr(fields []field, prefix string, attr slog.Attr) []field {
	value := attr.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if attr.Key != "" {
			prefix += attr.Key + "."
		}
		for _, member := range value.Group() {
			fields = appendAttr(fields, prefix, member)
		}
		return fields
	}
	// The @-keys are the line's own: a second @message that is a number would crash the host.
	key := strings.TrimLeft(prefix+attr.Key, "@")
	if key == "" {
		return fields
	}
	return append(fields, field{key, jsonValue(value)})
}

func jsonValue(value slog.Value) []byte {
	switch value.Kind() {
	case slog.KindString:
		return jsonString(value.String(), maxPart)
	case slog.KindDuration:
		return jsonString(value.Duration().String(), maxPart)
	case slog.KindTime:
		return jsonString(value.Time().Format(time.RFC3339Nano), maxPart)
	case slog.KindBool, slog.KindInt64, slog.KindUint64:
		return []byte(value.String())
	}
	if err, ok := value.Any().(error); ok {
		return jsonString(err.Error(), maxPart)
	}
	data, err := json.Marshal(value.Any())
	if err != nil {
		return jsonString(fmt.Sprintf("%+v", value.Any()), maxPart)
	}
	if len(data) > maxPart {
		return jsonString(string(data), maxPart)
	}
	return data
}

// jsonString writes a string as JSON of at most limit bytes, cutting it if it must.
func jsonString(text string, limit int) []byte {
	const mark = "… (cut)"
	cut := text
	for {
		data, err := json.Marshal(cut)
		if err != nil {
			return []byte(`"(not a string)"`)
		}
		if len(data) <= limit {
			return data
		}
		size := min(len(strings.TrimSuffix(cut, mark))*3/4, limit)
		cut = strings.ToValidUTF8(cut[:size], "") + mark
	}
}

func levelName(level slog.Level) string {
	switch {
	case level < slog.LevelDebug:
		return "trace"
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warn"
	}
	return "error"
}
