package process

import (
	"bytes"
	"encoding/json"
	"strconv"
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
			if !isClean(text) || len(text) > 4*(decisiveText+len(" | …")) || strings.Contains(text, "\n") {
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
		"1|2|3|4\n1|1|unix|/x|grpc|\n", "Loading... 1|1|unix|/x|grpc|QUJD|true\n", "2|1|unix|/x|grpc|\n1|1|unix|/x|grpc\n", "1|1|unix|/x|netrpc\n", "1|1|unix|/a|grpc|1|1|unix|/b|grpc|\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, printed []byte) {
		o := newOutput(nil, nil)
		splitter := &lineSplitter{max: maxLine, emit: o.stdoutLine}
		splitter.Write(printed)
		splitter.Flush()
		if o.dropped.timer != nil {
			o.dropped.timer.Stop()
		}
		o.stdoutEnded()
		var got bytes.Buffer
		got.ReadFrom(o.handshakes)
		if got.Len() == 0 {
			if o.filter.found {
				t.Fatal("a handshake was found and lost")
			}
			if whole := firstWhole(printed); whole != "" && o.filter.problem == "" {
				t.Fatalf("the handshake %q was passed over", whole)
			}
			return
		}
		line := strings.TrimSuffix(got.String(), "\n")
		if o.filter.problem != "" || strings.Contains(line, "\n") || len(line) > maxHandshake || len(strings.Split(line, "|")) < 4 {
			t.Fatalf("go-plugin gets %.200q, the problem is %q", got.String(), o.filter.problem)
		}
		if !isWhole(line) && (firstWhole(printed) != "" || !strings.Contains(line, "|unix|") && !strings.Contains(line, "|tcp|")) {
			t.Fatalf("go-plugin gets %.200q for a handshake", line)
		}
	})
}

// firstWhole is the first line that is a handshake and nothing else.
func firstWhole(printed []byte) string {
	for line := range strings.SplitSeq(string(printed), "\n") {
		if line = strings.TrimSuffix(line, "\r"); len(line) <= maxHandshake && isWhole(line) {
			return line
		}
	}
	return ""
}

// isWhole says by another way than the filter's whether a line is a handshake.
func isWhole(line string) bool {
	fields := strings.Split(line, "|")
	if len(fields) < 5 || len(fields) > 7 || fields[0] != "1" || len(fields[1]) > 9 || fields[2] != "unix" && fields[2] != "tcp" || fields[3] == "" || fields[4] != "grpc" {
		return false
	}
	if _, err := strconv.ParseUint(fields[1], 10, 32); err != nil {
		return false
	}
	if len(fields) > 5 && strings.Trim(strings.TrimRight(fields[5], "="), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") != "" || strings.Contains(line, "===") {
		return false
	}
	return len(fields) < 7 || fields[6] == "" || fields[6] == "true" || fields[6] == "false"
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
