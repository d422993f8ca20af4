package workspace

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/databricks/databricks-sdk-go/apierr"
	"golang.org/x/oauth2"
)

func answer(status int, code, message string) *Error {
	return describe(&apierr.APIError{StatusCode: status, ErrorCode: code, Message: message}, "submit a run", "host")
}

func response(status int) *http.Response {
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{}}
}

// noToken is what the token endpoint's refusal becomes.
func noToken(status int, code string) error {
	return &oauth2.RetrieveError{Response: response(status), ErrorCode: code} //nolint:bodyclose // it has none
}

// Whether a call that the workspace refuses may be taken another time, and why: the codes of Databricks' REST API.
func TestEveryCodeHasTheRightEnd(t *testing.T) {
	stays, load := "the request stays what it is", "the load ends, or others' runs do"
	for _, c := range []struct {
		status int
		code   string
		passes bool
		why    string
	}{
		{400, "BAD_REQUEST", false, stays},
		{400, "INVALID_PARAMETER_VALUE", false, stays},
		{400, "MALFORMED_REQUEST", false, stays},
		{400, "INVALID_STATE", false, "the run has ended, or the cluster is gone"},
		{400, "MAX_LIST_SIZE_EXCEEDED", false, stays},
		{400, "DIRECTORY_NOT_EMPTY", false, stays},
		{401, "UNAUTHENTICATED", false, "the token stays what it is"},
		{403, "PERMISSION_DENIED", false, "nobody grants anything meanwhile"},
		{404, "RESOURCE_DOES_NOT_EXIST", false, "there is none"},
		{404, "FEATURE_DISABLED", false, "nobody turns it on meanwhile"},
		{404, "ENDPOINT_NOT_FOUND", false, "the workspace does not do that"},
		{409, "RESOURCE_ALREADY_EXISTS", false, "it is there already"},
		{409, "ALREADY_EXISTS", false, "the same"},
		{409, "ABORTED", true, "what it conflicts with ends"},
		{409, "RESOURCE_CONFLICT", true, "the same"},
		{412, "FAILED_PRECONDITION", false, stays},
		{429, "REQUEST_LIMIT_EXCEEDED", true, load},
		{429, "RESOURCE_EXHAUSTED", true, load},
		{429, "RESOURCE_LIMIT_EXCEEDED", true, load},
		{400, "QUOTA_EXCEEDED", true, load},
		{403, "RESOURCE_LIMIT_EXCEEDED", true, load},
		{499, "CANCELLED", false, "somebody cancelled it"},
		{500, "INTERNAL_ERROR", true, "the workspace gets well"},
		{500, "UNKNOWN", true, "the same"},
		{500, "DATA_LOSS", true, "the same"},
		{501, "NOT_IMPLEMENTED", false, "the workspace does not learn it meanwhile"},
		{503, "TEMPORARILY_UNAVAILABLE", true, "the workspace gets well"},
		{504, "DEADLINE_EXCEEDED", true, "it took too long this time"},
		{400, "A_CODE_OF_TOMORROW", false, "nothing says that it passes"},
	} {
		if got := answer(c.status, c.code, "no good").Transient(); got != c.passes {
			t.Errorf("%d %s passes %v: %s", c.status, c.code, got, c.why)
		}
	}
	for status := 400; status < 600; status++ {
		passes := status == 408 || status == 425 || status == 429 || status >= 500
		switch status {
		case 501, 505, 508, 510, 511: // who answers does not do that
			passes = false
		}
		if got := answer(status, "", "no good").Transient(); got != passes {
			t.Errorf("HTTP %d passes %v", status, got)
		}
	}
}

func TestEveryFailureWithoutAnAnswerHasTheRightEnd(t *testing.T) {
	for _, c := range []struct {
		err    error
		passes bool
		why    string
	}{
		{errors.New("connection refused"), true, "the network gets well"},
		{fmt.Errorf("x: %w", &tls.CertificateVerificationError{Err: errors.New("unknown authority")}), false, "the workspace has no other certificate"},
		{noToken(400, "invalid_client"), false, "the secret stays what it is"},
		{noToken(401, "invalid_client"), false, "the same"},
		{noToken(429, ""), true, "the load ends"},
		{noToken(503, ""), true, "the token endpoint gets well"},
	} {
		if got := describe(c.err, "submit a run", "host").Transient(); got != c.passes {
			t.Errorf("%v passes %v: %s", c.err, got, c.why)
		}
	}
}
