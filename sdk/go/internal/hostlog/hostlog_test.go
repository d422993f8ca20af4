package hostlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"pgregory.net/rapid"
)

func logged(log func(*slog.Logger)) string {
	var out bytes.Buffer
	log(slog.New(New(&out, slog.LevelDebug-4)))
	return out.String()
}

func parse(t *testing.T, line string) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return fields
}

func TestALineHasLevelMessageTimestampAndItsFields(t *testing.T) {
	type point struct {
		X int `json:"x"`
	}
	fields := parse(t, logged(func(l *slog.Logger) {
		l.With("job", "j1").WithGroup("query").With("rows", 3).Warn("slow <query>",
			"took", 1500*time.Millisecond, "at", time.Unix(0, 0).UTC(), "err", errors.New("no"), "ok", true, "ratio", 0.5, "nan", math.NaN(),
			"point", point{1}, "bad", func() {}, slog.Group("table", "name", "t", slog.Group("", "inline", 1)), "", "no key")
	}))
	want := map[string]any{
		"@level": "warn", "@message": "slow <query>", "job": "j1", "query.rows": 3.0, "query.took": "1.5s", "query.at": "1970-01-01T00:00:00Z",
		"query.err": "no", "query.ok": true, "query.ratio": 0.5, "query.nan": "NaN", "query.table.name": "t", "query.table.inline": 1.0,
	}
	for key, value := range want {
		if fields[key] != value {
			t.Errorf("%s = %#v, want %#v", key, fields[key], value)
		}
	}
	if fmt.Sprint(fields["query.point"]) != "map[x:1]" || fields["query.bad"] == nil {
		t.Errorf("fields = %v", fields)
	}
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$`).MatchString(fmt.Sprint(fields["@timestamp"])) {
		t.Errorf("@timestamp = %v", fields["@timestamp"])
	}
}

func TestEveryLevelHasAName(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelDebug - 4: "trace", slog.LevelDebug: "debug", slog.LevelInfo: "info", slog.LevelInfo + 1: "info",
		slog.LevelWarn: "warn", slog.LevelError: "error", slog.LevelError + 9: "error",
	} {
		fields := parse(t, logged(func(l *slog.Logger) { l.Log(context.Background(), level, "m") }))
		if fields["@level"] != want {
			t.Errorf("%v is %v, want %s", level, fields["@level"], want)
		}
	}
	if New(&bytes.Buffer{}, slog.LevelInfo).Enabled(context.Background(), slog.LevelDebug) {
		t.Error("a handler for info takes debug")
	}
}

func TestTheLinesOwnKeysCannotBeForged(t *testing.T) {
	fields := parse(t, logged(func(l *slog.Logger) { l.Info("m", "@message", 5, "@@level", 6, "@", 7) }))
	if fields["@message"] != "m" || fields["@level"] != "info" || fields["message"] != 5.0 || fields["level"] != 6.0 {
		t.Errorf("fields = %v", fields)
	}
}

// Whatever is logged, the host must be able to read the line: one line, no longer than 64 KiB, a JSON object whose @-keys
// are strings.
func TestWhateverIsLoggedMakesOneLineThatTheHostCanRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		anything := rapid.OneOf(
			rapid.Map(rapid.String(), func(s string) any { return s }),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return string(b) }),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return b }),
			rapid.Map(rapid.IntRange(1, 200_000), func(n int) any { return strings.Repeat("\x01é", n) }),
			rapid.Map(rapid.IntRange(1, 200_000), func(n int) any { return make([]int, n) }),
			rapid.Map(rapid.Float64(), func(f float64) any { return f }),
			rapid.Just[any](nil), rapid.Just[any](math.Inf(1)),
			rapid.Map(rapid.String(), func(s string) any { return errors.New(s) }),
		)
		message := fmt.Sprint(anything.Draw(rt, "message"))
		var args []any
		for range rapid.IntRange(0, 12).Draw(rt, "fields") {
			args = append(args, rapid.OneOf(rapid.String(), rapid.Just("@message"), rapid.Just(strings.Repeat("k", 70_000))).Draw(rt, "key"), anything.Draw(rt, "value"))
		}
		line := logged(func(l *slog.Logger) { l.Info(message, args...) })
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") || len(line) >= 64<<10 {
			rt.Fatalf("%d bytes, %d line breaks", len(line), strings.Count(line, "\n"))
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			rt.Fatalf("%v: %.200s", err, line)
		}
		for key, value := range fields {
			if _, isString := value.(string); strings.HasPrefix(key, "@") && !isString {
				rt.Fatalf("%s = %v", key, value)
			}
		}
	})
}

func TestALongMessageIsCutAndSaysSo(t *testing.T) {
	fields := parse(t, logged(func(l *slog.Logger) { l.Info(strings.Repeat("x", 1<<20), "after", 1) }))
	message := fmt.Sprint(fields["@message"])
	if !strings.HasSuffix(message, "(cut)") || len(message) < 8<<10 || fields["after"] != 1.0 {
		t.Errorf("%d bytes of message, ending %q", len(message), message[len(message)-20:])
	}
}

// writes counts Write calls and keeps lines apart.
type writes struct{ lines []string }

func (w *writes) Write(data []byte) (int, error) {
	w.lines = append(w.lines, string(data))
	return len(data), nil
}

func TestConcurrentRecordsDoNotMix(t *testing.T) {
	out := &writes{}
	logger := slog.New(New(out, slog.LevelInfo))
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 100 {
				logger.With("i", i).Info("m")
			}
		})
	}
	group.Wait()
	if len(out.lines) != 800 {
		t.Errorf("%d writes for 800 records", len(out.lines))
	}
	for _, line := range out.lines {
		parse(t, line)
	}
}

func TestALineOfACallNamesItsTrace(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", "00-"+trace+"-"+span+"-01"))
	var out bytes.Buffer
	log := slog.New(New(&out, slog.LevelInfo))
	log.InfoContext(ctx, "of a call")
	log.InfoContext(ctx, "of a call", "trace_id", "its own")
	log.Info("of none")
	var ids []any
	for line := range bytes.Lines(out.Bytes()) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, fields["trace_id"], fields["span_id"])
	}
	if want := []any{trace, span, "its own", nil, nil, nil}; !slices.Equal(ids, want) {
		t.Errorf("the lines name %v, want %v", ids, want)
	}
}
