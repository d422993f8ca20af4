package service

import (
	"errors"
	"net/http"
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
