package service

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/api/googleapi"
)

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"7":                             7 * time.Second,
		"Thu, 29 Feb 2024 12:01:00 GMT": time.Minute,
		"Thu, 29 Feb 2024 11:00:00 GMT": 0,
	} {
		answer := &googleapi.Error{Code: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {text}}}
		if got, asked := retryAfter(answer, now); !asked || got != want {
			t.Errorf("%q = %s, %v; want %s", text, got, asked, want)
		}
	}
	for _, err := range []error{errors.New("cut"), &googleapi.Error{Header: http.Header{"Retry-After": {"soon"}}}, &googleapi.Error{}} {
		if got, asked := retryAfter(err, now); asked {
			t.Errorf("%v: %s was asked for", err, got)
		}
	}
}

func TestADuplicateNamesTheJobsPlace(t *testing.T) {
	ref := Ref{Project: "p", ID: "agenthost-1"}
	for message, want := range map[string]string{
		"Already Exists: Job p:europe-west3.agenthost-1": "europe-west3",
		"Already Exists: Job p:agenthost-1":              "",
		"Already Exists: Job q:EU.agenthost-1":           "",
		"Already Exists":                                 "",
	} {
		err := newError("start", 1, &googleapi.Error{Code: http.StatusConflict, Message: message})
		if got := PlaceOf(err, ref); got != want || !Duplicate(err) {
			t.Errorf("%q = %q, want %q", message, got, want)
		}
	}
}

func TestAnEndpointGetsTheAPIsPath(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://127.0.0.1:9050":   "http://127.0.0.1:9050/bigquery/v2/",
		"https://bq.internal/":    "https://bq.internal/bigquery/v2/",
		"https://proxy/there/v2/": "https://proxy/there/v2/",
	} {
		if got, err := basePath(endpoint); err != nil || got != want {
			t.Errorf("%s = %s, %v; want %s", endpoint, got, err, want)
		}
	}
}

// Google's client repeats calls by itself, at times of its own: a second request here would be one of those.
func TestAnAttemptIsOneRequest(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"HTTP 503": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"a cut answer": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"jobReference": {`))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				answer(w, r)
			}))
			defer server.Close()
			_, err := attempt(t, server.URL).Get(t.Context(), Ref{Project: "p", ID: "j"})
			if n := requests.Load(); err == nil || n != 1 {
				t.Errorf("%d requests, %v", n, err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		var dials atomic.Int32
		s := attempt(t, "http://127.0.0.1:9")
		s.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		_, err := s.Get(t.Context(), Ref{Project: "p", ID: "j"})
		if n := dials.Load(); !errors.Is(err, syscall.ECONNREFUSED) || n != 1 {
			t.Errorf("%d connections tried, %v", n, err)
		}
	})
}

// attempt is a service that makes a call once.
func attempt(t *testing.T, endpoint string) *Service {
	t.Helper()
	s, err := New(Options{Endpoint: endpoint, Retry: Retry{Attempts: 1, First: time.Millisecond, Longest: time.Millisecond, Call: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
