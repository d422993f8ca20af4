package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// maxLine is how much of one printed line is kept.
	maxLine = 32 << 10
	// maxLogLine bounds a line handed to go-plugin, whose buffer holds 64 KiB and which tears what is longer.
	maxLogLine = 56 << 10
	// maxText is how much of a text fits a log line whatever it consists of: escaping grows it up to sixfold.
	maxText = 8 << 10

	// timestampFormat is the only one that go-plugin takes.
	timestampFormat = "2006-01-02T15:04:05.000000Z07:00"
)

// The keys of hclog's JSON form, which go-plugin reads.
const (
	keyMessage   = "@message"
	keyLevel     = "@level"
	keyTimestamp = "@timestamp"
	keyCut       = "cut_bytes"
	keyStream    = "stream"
)

// The levels of hclog.
const (
	levelTrace = "trace"
	levelDebug = "debug"
	levelInfo  = "info"
	levelWarn  = "warn"
	levelError = "error"
)

// logLines turns what a process prints on stderr into lines that go-plugin's parser takes: JSON objects in which the
// three keys it asserts are strings, the timestamp is in its format, and no number overflows. It has a memory of one
// bit: after a Go panic, the rest is an error too.
type logLines struct{ panicked bool }

// encode is one printed line as one log line, without a newline, at most maxLogLine long; nil for an empty one.
// message is its text for people.
func (l *logLines) encode(line []byte, cut int) (encoded []byte, message string) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 && cut == 0 {
		return nil, ""
	}
	if cut == 0 {
		if fields, ok := parseObject(line); ok {
			return encodeObject(fields, string(line))
		}
	}
	text := string(line)
	return encodeText(l.levelOf(text), text, cut, nil)
}

// encodeText is a text as one log line. Where it is too long, its head is kept.
func encodeText(level, text string, cut int, fields map[string]any) (encoded []byte, message string) {
	if len(text) > maxText {
		cut += len(text) - maxText
		text = text[:maxText]
	}
	text = clean(text)
	entry := map[string]any{keyMessage: text, keyLevel: level}
	for key, value := range fields {
		entry[key] = value
	}
	if cut > 0 {
		entry[keyCut] = cut
	}
	return marshal(entry), text
}

// encodeObject is a JSON object that the process logged, repaired where needed. raw is the line that it was.
func encodeObject(fields map[string]any, raw string) (encoded []byte, message string) {
	entry := make(map[string]any, len(fields)+2)
	for key, value := range fields {
		entry[clean(key)] = cleanValue(value)
	}
	level := levelName(takeFirst(entry, keyLevel, "level", "severity"))
	message, found := "", false
	if value := takeFirst(entry, keyMessage, "msg", "message"); value != nil {
		message, found = textOf(value), true
	}
	if !found { // nothing in it is known to be its message: all of it is
		return encodeText(level, raw, 0, nil)
	}
	if value, ok := entry[keyTimestamp]; ok {
		delete(entry, keyTimestamp)
		if timestamp, ok := timestampOf(value); ok {
			entry[keyTimestamp] = timestamp
		}
	}
	entry[keyMessage], entry[keyLevel] = message, level
	if encoded = marshal(entry); len(encoded) > maxLogLine {
		return encodeText(level, raw, 0, nil)
	}
	return encoded, message
}

func parseObject(line []byte) (map[string]any, bool) {
	if line[0] != '{' {
		return nil, false
	}
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber() // so that large integers keep their digits
	if err := decoder.Decode(&fields); err != nil {
		return nil, false
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, false
	}
	return fields, true
}

// cleanValue makes every text in a decoded JSON value clean and every number one that go-plugin can decode.
func cleanValue(value any) any {
	switch value := value.(type) {
	case string:
		return clean(value)
	case json.Number:
		if _, err := strconv.ParseFloat(value.String(), 64); err != nil {
			return value.String()
		}
		return value
	case []any:
		for i := range value {
			value[i] = cleanValue(value[i])
		}
		return value
	case map[string]any:
		cleaned := make(map[string]any, len(value))
		for key, element := range value {
			cleaned[clean(key)] = cleanValue(element)
		}
		return cleaned
	default:
		return value
	}
}

// takeFirst removes and returns the value of the first key that there is.
func takeFirst(entry map[string]any, keys ...string) any {
	for _, key := range keys {
		if value, ok := entry[key]; ok {
			delete(entry, key)
			return value
		}
	}
	return nil
}

func textOf(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	return string(marshal(value))
}

func timestampOf(value any) (string, bool) {
	text, ok := value.(string)
	if !ok {
		return "", false
	}
	parsed, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return "", false
	}
	formatted := parsed.Format(timestampFormat)
	_, err = time.Parse(timestampFormat, formatted)
	return formatted, err == nil
}

// levelName is the hclog level for whatever a logging library writes; what is not known is info.
func levelName(value any) string {
	name, _ := value.(string)
	switch strings.ToLower(name) {
	case "trace", "finest", "finer":
		return levelTrace
	case "debug", "fine":
		return levelDebug
	case "warn", "warning":
		return levelWarn
	case "error", "fatal", "critical", "panic", "severe", "err", "emergency", "alert":
		return levelError
	default:
		return levelInfo
	}
}

// levelWord finds the level that most logging libraries put near the beginning of a line of text.
var levelWord = regexp.MustCompile(`\b(TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL|CRITICAL|SEVERE)\b`)

func (l *logLines) levelOf(text string) string {
	if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
		l.panicked = true
	}
	if l.panicked {
		return levelError
	}
	return levelName(levelWord.FindString(text[:min(len(text), 80)]))
}

func marshal(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil { // cannot be: the value came from JSON or is strings and integers
		return fmt.Appendf(nil, `{"@level":"warn","@message":%q}`, "a line that could not be encoded")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
