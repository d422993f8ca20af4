package process

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever a process prints on stderr, go-plugin gets only lines that its parser can take: see log_entry.go there.
func FuzzStderr(f *testing.F) {
	for _, seed := range []string{
		`{"@message":5}`, `{"@level":1,"@message":"x"}`, `{"@timestamp":"now"}`, `{"@timestamp":"2026-01-02T03:04:05.1+00:00","@message":"m"}`,
		`{"a":1e999,"@message":"x"}`, `null`, `{}`, "[INFO] x", "panic: x\n\tat y", "\xff\xfe\x00", "{\"@message\":\"a\\u0000b\"}\r\n", "\n\n", "half",
		`{"@message":{"a":[1,{"b":null}]},"msg":1}`, strings.Repeat("[", 20000), strings.Repeat("\x01", 70000), `{"k` + strings.Repeat(`\u0001`, 6000) + `":1,"msg":""}`,
		"\u202egnirts", `{"@message":"a"}{"@message":"b"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, printed []byte) {
		var parser logLines
		splitter := &lineSplitter{max: maxLine, emit: func(line []byte, cut int) {
			if len(line) > maxLine {
				t.Fatalf("a line of %d bytes", len(line))
			}
			encoded, message := parser.encode(line, cut)
			if encoded == nil {
				if len(bytes.TrimSpace(line)) > 0 || cut > 0 {
					t.Fatalf("%q was lost", line)
				}
				return
			}
			checkLogLine(t, encoded)
			if !isClean(message) && len(message) < maxText {
				t.Fatalf("the message %q is not clean", message)
			}
		}}
		splitter.Write(printed)
		splitter.Flush()
		var last tail
		last.add(printed[:min(len(printed), maxLine)])
		for _, text := range last.texts() {
			if !isClean(text) || len(text) > tailText+len("…") || strings.Contains(text, "\n") {
				t.Fatalf("the last output has %q", text)
			}
		}
	})
}

// checkLogLine asserts what go-plugin asserts without asking, and what it needs so as not to misread a line.
func checkLogLine(t *testing.T, line []byte) {
	t.Helper()
	if len(line) > maxLogLine || bytes.ContainsAny(line, "\r\n") {
		t.Fatalf("a log line of %d bytes: %.100q", len(line), line)
	}
	var raw map[string]any
	if err := json.Unmarshal(line, &raw); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	_ = raw[keyMessage].(string)
	switch raw[keyLevel].(string) {
	case levelTrace, levelDebug, levelInfo, levelWarn, levelError:
	default:
		t.Fatalf("level %v", raw[keyLevel])
	}
	if timestamp, ok := raw[keyTimestamp]; ok {
		if _, err := time.Parse("2006-01-02T15:04:05.000000Z07:00", timestamp.(string)); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever a process prints on stdout, go-plugin gets at most one line, with the fields it needs and of bounded length.
func FuzzStdout(f *testing.F) {
	for _, seed := range []string{
		"1|1|unix|/x|grpc|\n", "hello\n1|1|tcp|127.0.0.1:1|grpc|abc|true\nmore", "1|1|unix|", "|||||", "\x00\xff\n\n1|", "1|1|unix|" + strings.Repeat("a", 20000) + "\n1|1|unix|/x",
		strings.Repeat("noise\n", 250) + "1|1|unix|/x|grpc|\n", "-1|1|unix|/x", "99999999999|1|unix|/x", " 1|1|unix|/x|grpc|",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, printed []byte) {
		o := newOutput(nil)
		splitter := &lineSplitter{max: maxLine, emit: o.stdoutLine}
		splitter.Write(printed)
		splitter.Flush()
		if o.dropped.timer != nil {
			o.dropped.timer.Stop()
		}
		o.handshakes.finish()
		var got bytes.Buffer
		got.ReadFrom(o.handshakes)
		if got.Len() == 0 {
			if o.filter.found {
				t.Fatal("a handshake was found and lost")
			}
			return
		}
		line := strings.TrimSuffix(got.String(), "\n")
		if o.filter.problem != "" || strings.Contains(line, "\n") || len(line) > maxHandshake || len(strings.Split(line, "|")) < 4 {
			t.Fatalf("go-plugin gets %.200q, the problem is %q", got.String(), o.filter.problem)
		}
	})
}

// However the bytes of a stream are cut into writes, the lines are the same, none is longer than allowed, and what was
// left out is counted.
func TestLinesDoNotDependOnHowTheyArrive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 8
		stream := rapid.SliceOf(rapid.SampledFrom([]byte("ab\n\r"))).Draw(t, "stream")
		var got []string
		splitter := &lineSplitter{max: limit, emit: func(line []byte, cut int) {
			got = append(got, string(line)+strings.Repeat("+", cut))
		}}
		for rest := stream; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "write")
			splitter.Write(rest[:n])
			rest = rest[n:]
		}
		splitter.Flush()
		var want []string
		lines := strings.Split(string(stream), "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1] // what follows the last newline is no line
		}
		for _, line := range lines {
			cut := max(0, len(line)-limit)
			want = append(want, strings.TrimSuffix(line[:len(line)-cut], "\r")+strings.Repeat("+", cut))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%q gives %q, want %q", stream, got, want)
		}
	})
}

func TestLogLinesKeepWhatTheyCan(t *testing.T) {
	for printed, want := range map[string]string{
		`{"@level":"warn","@message":"kept","@timestamp":"2026-01-02T03:04:05.123456Z","n":12345678901234567890}`: `{"@level":"warn","@message":"kept","@timestamp":"2026-01-02T03:04:05.123456Z","n":12345678901234567890}`,
		`{"@level":"warn","@message":"milli","@timestamp":"2026-01-02T03:04:05.123+02:00"}`:                       `{"@level":"warn","@message":"milli","@timestamp":"2026-01-02T03:04:05.123000+02:00"}`,
		`{"@message":5}`:       `{"@level":"info","@message":"5"}`,
		`{"@message":{"a":1}}`: `{"@level":"info","@message":"{\"a\":1}"}`,
		`{"@level":"fatal","@message":"x","@timestamp":7}`: `{"@level":"error","@message":"x"}`,
		`{"level":"WARNING","msg":"slog & co","k":"v"}`:    `{"@level":"warn","@message":"slog & co","k":"v"}`,
		`{"severity":"critical","message":"logstash"}`:     `{"@level":"error","@message":"logstash"}`,
		`{"no":"message"}`:           `{"@level":"info","@message":"{\"no\":\"message\"}"}`,
		`{"@message":"x","n":1e999}`: `{"@level":"info","@message":"x","n":"1e999"}`,
		`[WARN] by prefix`:           `{"@level":"warn","@message":"[WARN] by prefix"}`,
		`2026-01-02 ERROR app: no`:   `{"@level":"error","@message":"2026-01-02 ERROR app: no"}`,
		`plain text, no ERRORS`:      `{"@level":"info","@message":"plain text, no ERRORS"}`,
		"tab\tesc\x1b[0m\xff":        `{"@level":"info","@message":"tab\tesc\\x1b[0m\\xff"}`,
		"  \t ":                      ``,
	} {
		var parser logLines
		encoded, _ := parser.encode([]byte(printed), 0)
		if string(encoded) != want {
			t.Errorf("%q\n got %s\nwant %s", printed, encoded, want)
		}
		if encoded != nil {
			checkLogLine(t, encoded)
		}
	}
}

func TestAfterAPanicEverythingIsAnError(t *testing.T) {
	var parser logLines
	for _, line := range []string{"panic: x", "", "goroutine 1 [running]:", "INFO is not what it seems"} {
		if encoded, _ := parser.encode([]byte(line), 0); encoded != nil && !strings.Contains(string(encoded), `"@level":"error"`) {
			t.Errorf("%q is logged as %s", line, encoded)
		}
	}
}
