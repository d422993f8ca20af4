package plugin

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
)

// logger is the hclog.Logger that go-plugin gets, in front of the host's slog. go-plugin logs two kinds of things
// through it: what the plugin printed, under the runner's name, which keeps its level; and chatter of its own, which
// is for whoever debugs the host, whatever level it says.
type logger struct {
	hclog.Logger // the null logger: what is not defined here does nothing

	log     *slog.Logger // has the attribute plugin
	outputs string       // the name under which go-plugin logs the plugin's output
	name    string
}

const levelTrace = slog.LevelDebug - 4

func newLogger(log *slog.Logger, processName string) *logger {
	return &logger{Logger: hclog.NewNullLogger(), log: log, outputs: filepath.Base(processName)}
}

func (l *logger) Named(name string) hclog.Logger      { return l.withName(name) }
func (l *logger) ResetNamed(name string) hclog.Logger { return l.withName(name) }
func (l *logger) Name() string                        { return l.name }

func (l *logger) withName(name string) *logger {
	named := *l
	named.name = name
	return &named
}

func (l *logger) With(args ...any) hclog.Logger {
	with := *l
	with.log = slog.New(l.log.Handler().WithAttrs(attrs(args)))
	return &with
}

func (l *logger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *logger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *logger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *logger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	ctx := context.Background()
	to := l.level(level)
	if !l.log.Enabled(ctx, to) {
		return
	}
	record := slog.NewRecord(time.Now(), to, msg, 0)
	fields := attrs(args)
	if l.name == l.outputs {
		// go-plugin appends the plugin's own time last, or the year 1 where it gave none. The record has a time.
		if n := len(fields); n > 0 && fields[n-1].Key == "timestamp" {
			fields = fields[:n-1]
		}
	} else {
		record.AddAttrs(slog.String("from", "go-plugin"))
	}
	record.AddAttrs(fields...)
	l.log.Handler().Handle(ctx, record) //nolint:errcheck // there is nowhere to tell that logging failed
}

func (l *logger) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l *logger) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *logger) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *logger) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *logger) IsError() bool { return l.enabled(hclog.Error) }

// GetLevel is the lowest level that would be seen: go-plugin does not take apart lines below it.
func (l *logger) GetLevel() hclog.Level {
	for level := hclog.Trace; level < hclog.Off; level++ {
		if l.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

func (l *logger) enabled(level hclog.Level) bool {
	return l.log.Enabled(context.Background(), l.level(level))
}

func (l *logger) level(level hclog.Level) slog.Level {
	if l.name != l.outputs {
		if level <= hclog.Trace {
			return levelTrace
		}
		return slog.LevelDebug
	}
	switch level {
	case hclog.Trace:
		return levelTrace
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// attrs is hclog's alternating keys and values. A key that means something in the host's own lines is renamed.
func attrs(args []any) []slog.Attr {
	attrs := make([]slog.Attr, 0, len(args)/2)
	for i := 0; i+1 < len(args); i += 2 {
		key := fmt.Sprint(args[i])
		switch key {
		case slog.TimeKey, slog.LevelKey, slog.MessageKey, slog.SourceKey, "plugin":
			key = "plugin_" + key
		}
		attrs = append(attrs, slog.Any(key, args[i+1]))
	}
	return attrs
}
