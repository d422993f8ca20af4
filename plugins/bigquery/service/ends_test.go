package service

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"testing"

	"cloud.google.com/go/auth"
	"google.golang.org/api/googleapi"
	"google.golang.org/grpc/codes"
)

// Google's table of error messages: each reason with the status that it comes with, whether a job that failed for it may do better
// another time, and what a call ends with that is refused for it.
var reasons = []struct {
	reason string
	status int
	passes bool
	code   codes.Code
	why    string
}{
	{"accessDenied", 403, false, codes.PermissionDenied, "nobody grants anything meanwhile"},
	{"attributeError", 400, false, codes.InvalidArgument, "the query stays what it is"},
	{"backendError", 500, true, codes.Unavailable, "the backend gets well"},
	{"backendError", 502, true, codes.Unavailable, "the same"},
	{"backendError", 503, true, codes.Unavailable, "the same"},
	{"backendError", 504, true, codes.Unavailable, "the same"},
	{"backendUnavailable", 503, true, codes.Unavailable, "the same"},
	{"badRequest", 400, false, codes.InvalidArgument, "the query stays what it is"},
	{"billingNotEnabled", 403, false, codes.PermissionDenied, "waiting brings no money"},
	{"billingTierLimitExceeded", 400, false, codes.InvalidArgument, "the query stays as costly"},
	{"blocked", 403, false, codes.PermissionDenied, "support lifts the block"},
	{"duplicate", 409, false, codes.InvalidArgument, "the table or job is there already"},
	{"internalError", 500, true, codes.Unavailable, "the server gets well"},
	{"invalid", 400, false, codes.InvalidArgument, "the query stays what it is"},
	{"invalidQuery", 400, false, codes.InvalidArgument, "the same"},
	{"invalidUser", 400, false, codes.InvalidArgument, "the same"},
	{"jobBackendError", 400, true, codes.Unavailable, "the backend gets well"},
	{"jobInternalError", 400, true, codes.Unavailable, "the server gets well"},
	{"jobRateLimitExceeded", 400, true, codes.Unavailable, "the load ends"},
	{"notFound", 404, false, codes.NotFound, "there is none"},
	{"notImplemented", 501, false, codes.FailedPrecondition, "BigQuery does not learn it meanwhile"},
	{"proxyAuthenticationRequired", 407, false, codes.FailedPrecondition, "the proxy's login stays what it is"},
	{"quotaExceeded", 403, true, codes.Unavailable, "the quota is refilled"},
	{"rateLimitExceeded", 403, true, codes.Unavailable, "the load ends"},
	{"resourceInUse", 400, false, codes.InvalidArgument, "it is deleted by nobody"},
	{"resourcesExceeded", 400, false, codes.InvalidArgument, "the query stays as large"},
	{"responseTooLarge", 403, false, codes.PermissionDenied, "the result stays as large"},
	{"stopped", 200, false, codes.Unavailable, "somebody cancelled it"},
	{"tableUnavailable", 400, true, codes.Unavailable, "the table comes back"},
	{"timeout", 400, false, codes.InvalidArgument, "the query stays as slow"},
	{"ofTomorrow", 400, false, codes.InvalidArgument, "nothing says that it passes"},
}

func TestEveryReasonHasTheRightEnd(t *testing.T) {
	for _, c := range reasons {
		if got := Retryable(c.reason); got != c.passes {
			t.Errorf("a job that failed for %s passes %v: %s", c.reason, got, c.why)
		}
		if c.status < http.StatusBadRequest {
			continue // no answer to a call
		}
		answer := &googleapi.Error{Code: c.status, Errors: []googleapi.ErrorItem{{Reason: c.reason}}, Message: "no good"}
		if got := newError("start it", 1, answer).GRPCStatus().Code(); got != c.code {
			t.Errorf("a call that is refused for %s (HTTP %d) ends with %s, want %s: %s", c.reason, c.status, got, c.code, c.why)
		}
	}
}

func TestEveryStatusWithoutAReasonHasTheRightEnd(t *testing.T) {
	for status := 400; status < 600; status++ {
		want := codes.InvalidArgument // the call stays what it is
		switch {
		case status == 401:
			want = codes.Unauthenticated
		case status == 403:
			want = codes.PermissionDenied
		case status == 404:
			want = codes.NotFound
		case status == 407: // a proxy's login
			want = codes.FailedPrecondition
		case status == 408, status == 425, status == 429: // it took too long, was too early, or one of too many
			want = codes.Unavailable
		case status == 501, status == 505, status == 508, status == 510, status == 511: // who answers does not do that
			want = codes.FailedPrecondition
		case status >= 500:
			want = codes.Unavailable
		}
		answer := &googleapi.Error{Code: status}
		if got := newError("start it", 1, answer).GRPCStatus().Code(); got != want {
			t.Errorf("HTTP %d ends with %s, want %s", status, got, want)
		}
		if again := transient(t.Context(), answer); again != (want == codes.Unavailable) {
			t.Errorf("HTTP %d is tried again: %v", status, again)
		}
	}
}

func TestEveryFailureWithoutAnAnswerHasTheRightEnd(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx   context.Context
		err   error
		again bool
		code  codes.Code
		why   string
	}{
		{t.Context(), errors.New("connection reset"), true, codes.Unavailable, "the network gets well"},
		{t.Context(), context.DeadlineExceeded, true, codes.DeadlineExceeded, "it took too long this time"},
		{ended, context.Canceled, false, codes.Canceled, "the caller has gone"},
		{t.Context(), &tls.CertificateVerificationError{Err: errors.New("unknown authority")}, false, codes.FailedPrecondition, "who answers has no other certificate"},
		{t.Context(), &auth.Error{Response: &http.Response{StatusCode: http.StatusUnauthorized}, Err: errors.New("invalid_grant")}, false, codes.Unauthenticated, "the key stays what it is"},
		{t.Context(), &auth.Error{Response: &http.Response{StatusCode: http.StatusServiceUnavailable}, Err: errors.New("try later")}, true, codes.Unavailable, "the token server gets well"},
	} {
		if got := transient(c.ctx, c.err); got != c.again {
			t.Errorf("%v is tried again %v: %s", c.err, got, c.why)
		}
		if got := newError("start it", 1, c.err).GRPCStatus().Code(); got != c.code {
			t.Errorf("%v ends with %s, want %s: %s", c.err, got, c.code, c.why)
		}
	}
}
