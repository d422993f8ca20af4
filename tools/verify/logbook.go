package verify

import (
	"encoding/json"
	"sync"
	"time"
)

// timestampFormat is the only one that go-plugin reads.
const timestampFormat = "2006-01-02T15:04:05.000000Z07:00"

var levels = map[string]bool{"trace": true, "debug": true, "info": true, "warn": true, "error": true}

// logBook judges every line that any process of the plugin printed on stderr.
type logBook struct {
	mu       sync.Mutex
	good     int
	raw      int // lines that are no structured log at all
	rawLine  string
	slog     int // JSON with other keys
	bad      int // structured ones that go-plugin misreads
	badLine  string
	badCause string
	stray    int // on stdout, after the handshake
	straying string
}

// add judges one line.
func (b *logBook) add(line []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(line) == 0 {
		return
	}
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil || fields == nil {
		b.raw++
		keep(&b.rawLine, line)
		return
	}
	_, hasMessage := fields["@message"]
	_, hasLevel := fields["@level"]
	if !hasMessage && !hasLevel {
		b.slog++
		keep(&b.rawLine, line)
		return
	}
	if cause := misformatted(fields); cause != "" {
		b.bad++
		if b.badLine == "" {
			b.badCause = cause
		}
		keep(&b.badLine, line)
		return
	}
	b.good++
}

func keep(into *string, line []byte) {
	if *into == "" {
		*into = string(line)
	}
}

// misformatted says what go-plugin's parser trips over.
func misformatted(fields map[string]any) string {
	for _, key := range []string{"@message", "@level", "@timestamp"} {
		if value, ok := fields[key]; ok {
			if _, isText := value.(string); !isText {
				return key + " is not a string, on which go-plugin itself panics"
			}
		}
	}
	if _, ok := fields["@message"]; !ok {
		return "@message is missing"
	}
	if level, ok := fields["@level"].(string); !ok || !levels[level] {
		return "@level is none of trace, debug, info, warn, error"
	}
	if text, ok := fields["@timestamp"].(string); ok {
		if _, err := time.Parse(timestampFormat, text); err != nil {
			return "@timestamp is not like 2026-01-31T12:00:00.000000Z, with six digits after the point"
		}
	}
	return ""
}

// addStray takes down a line of stdout that came after the handshake.
func (b *logBook) addStray(line []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stray++
	keep(&b.straying, line)
}

func (b *logBook) strayPrint() (line string, count int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.straying, b.stray
}
