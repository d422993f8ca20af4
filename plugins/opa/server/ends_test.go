package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/plugins/opa/policy"
)

// Whether an answer that is no decision may be one the next time, and why.
func TestEveryAnswerHasTheRightEnd(t *testing.T) {
	withCode := func(code string) string {
		return fmt.Sprintf(`{"code": "internal_error", "message": "x", "errors": [{"code": %q}]}`, code)
	}
	const broken, refusal, away, unknown = "PolicyError", "OPARefused", "OPAUnavailable", "OPAUnauthorized"
	for _, c := range []struct {
		status int
		body   string
		code   string
		why    string
	}{
		{500, withCode("eval_conflict_error"), broken, "the policy and its input stay what they are"},
		{500, withCode("eval_type_error"), broken, "the same"},
		{500, withCode("eval_builtin_error"), broken, "the same"},
		{500, withCode("eval_with_merge_error"), broken, "the same"},
		{500, withCode("eval_internal_error"), away, "something broke within OPA"},
		{500, withCode("eval_cancel_error"), away, "it took too long this time"},
		{500, `{"code": "internal_error", "message": "1 error occurred: x.rego:3: rego_type_error: undefined function"}`, broken, "the policy stays what it is"},
		{500, `{"code": "internal_error", "message": "storage_internal_error"}`, away, "OPA gets well"},
		{400, `{"code": "invalid_parameter", "message": "x"}`, refusal, "the question stays what it is"},
		{404, `{"code": "resource_not_found", "message": "x"}`, refusal, "the same"},
		{500, "<html>", away, "a proxy's page"},
	} {
		response := &http.Response{StatusCode: c.status, Status: fmt.Sprint(c.status), Header: http.Header{}}
		check(t, refused(response, []byte(c.body)), c.code, c.code == away, c.body+": "+c.why)
	}
	for status := 300; status < 600; status++ {
		code := refusal // the question stays what it is, and a redirect is not followed
		switch {
		case status == 401, status == 403:
			code = unknown // the token stays what it is
		case status == 408, status == 425, status == 429: // it took too long, was too early, or one of too many
			code = away
		case status == 501, status == 505, status == 508, status == 510, status == 511: // who answers does not do that
		case status >= 500:
			code = away
		}
		response := &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{}}
		check(t, refused(response, nil), code, code == away, fmt.Sprintf("HTTP %d", status))
	}
}

func TestEveryFailureWithoutAnAnswerHasTheRightEnd(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
		why  string
	}{
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "OPAUnavailable", "somebody starts it"},
		{&net.DNSError{Err: "no such host", Name: "opa", IsNotFound: true}, "OPAUnavailable", "a service gets its name when it is made"},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "OPAUnavailable", "the next connection lasts"},
		{io.ErrUnexpectedEOF, "OPAUnavailable", "the next answer is whole"},
		{&tls.CertificateVerificationError{Err: errors.New("unknown authority")}, "OPAUntrusted", "it has no other certificate"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, "OPAUnauthorized", "the plugin has no other certificate"},
		{http.ErrSchemeMismatch, "OPARefused", "it speaks no TLS"},
	} {
		err := unreachable(&url.Error{Op: "Post", URL: "https://opa/v1/data/x", Err: c.err})
		check(t, err, c.code, c.code == "OPAUnavailable", c.why)
	}
	_, err := read([]byte("<html>"))
	check(t, err, "OPAUnavailable", true, "another answers in its place")
}

func check(t *testing.T, err error, code string, passes bool, why string) {
	t.Helper()
	var failed *policy.Failure
	if !errors.As(err, &failed) || failed.Code != code || failed.Transient != passes {
		t.Errorf("got %+v, want %s: %s", failed, code, why)
	}
}
