package traces

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// span is one as the collector got it.
type span struct {
	service, name, id, parent string
	start, end                time.Time
	events                    []string
}

// line is one of a log.
type line struct{ text, traceID string }

// request is a line of the collector's file: OTLP's JSON.
type request struct {
	ResourceSpans []struct {
		Resource   about
		ScopeSpans []struct {
			Spans []struct {
				TraceID           string `json:"traceId"`
				SpanID            string `json:"spanId"`
				ParentSpanID      string `json:"parentSpanId"`
				Name              string
				StartTimeUnixNano string
				EndTimeUnixNano   string
				Events            []struct{ Name string }
			}
		}
	}
	ResourceLogs []struct {
		ScopeLogs []struct {
			LogRecords []struct {
				TraceID string `json:"traceId"`
				Body    struct{ StringValue string }
			}
		}
	}
}

type about struct {
	Attributes []struct {
		Key   string
		Value struct{ StringValue string }
	}
}

func (a about) service() string {
	for _, attribute := range a.Attributes {
		if attribute.Key == "service.name" {
			return attribute.Value.StringValue
		}
	}
	return ""
}

// requests are those that have come so far.
func (c *collector) requests(t *testing.T) (all []request) {
	t.Helper()
	content, err := os.ReadFile(c.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for whole := range bytes.Lines(content) {
		if !bytes.HasSuffix(whole, []byte("\n")) {
			break // it is being written
		}
		var one request
		if err := json.Unmarshal(whole, &one); err != nil {
			t.Fatalf("the collector wrote %s: %v", whole, err)
		}
		all = append(all, one)
	}
	return all
}

// trace has the spans of a trace.
func (c *collector) trace(t *testing.T, id string) (spans []span) {
	t.Helper()
	at := func(nanoseconds string) time.Time {
		n, err := strconv.ParseInt(nanoseconds, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Unix(0, n)
	}
	for _, one := range c.requests(t) {
		for _, of := range one.ResourceSpans {
			for _, scope := range of.ScopeSpans {
				for _, s := range scope.Spans {
					if s.TraceID != id {
						continue
					}
					read := span{service: of.Resource.service(), name: strings.TrimPrefix(s.Name, "/"), id: s.SpanID, parent: s.ParentSpanID, start: at(s.StartTimeUnixNano), end: at(s.EndTimeUnixNano)}
					for _, event := range s.Events {
						read.events = append(read.events, event.Name)
					}
					spans = append(spans, read)
				}
			}
		}
	}
	return spans
}

// lines are those of logs.
func (c *collector) lines(t *testing.T) (lines []line) {
	t.Helper()
	for _, one := range c.requests(t) {
		for _, of := range one.ResourceLogs {
			for _, scope := range of.ScopeLogs {
				for _, record := range scope.LogRecords {
					lines = append(lines, line{record.Body.StringValue, record.TraceID})
				}
			}
		}
	}
	return lines
}

func body(t *testing.T, request *http.Request) string {
	t.Helper()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
