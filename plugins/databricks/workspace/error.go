package workspace

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/databricks/databricks-sdk-go/apierr"
	"github.com/databricks/databricks-sdk-go/common"
	"golang.org/x/oauth2"
)

// Error is a call that did not succeed, with what the workspace said.
type Error struct {
	// Action is what was tried, such as "submit a run".
	Action string
	Host   string
	// Status is the HTTP status; 0 when there was no answer.
	Status int
	// Code is Databricks' own, such as INVALID_PARAMETER_VALUE; it can be empty.
	Code    string
	Message string

	retryAfter time.Duration
	cause      error
}

func (e *Error) Error() string {
	said := strings.TrimSpace(strings.Join([]string{status(e.Status), e.Code}, " "))
	if said != "" {
		said = " (" + said + ")"
	}
	return fmt.Sprintf("cannot %s on %s%s: %s", e.Action, e.Host, said, e.Message)
}

func (e *Error) Unwrap() error { return e.cause }

func status(code int) string {
	if code == 0 {
		return ""
	}
	return strconv.Itoa(code)
}

// Unauthenticated says that the credential was refused. An unknown token gets a 403 without a name.
func (e *Error) Unauthenticated() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden && (e.Code == "" || e.Code == "403")
}

// Forbidden says that the credential may not do this.
func (e *Error) Forbidden() bool { return e.Status == http.StatusForbidden }

var noSuchRun = regexp.MustCompile(`(?i)\brun\b.* (does not exist|doesn't exist|not found)`)

// Missing says that there is no such run. Most calls answer that with 400.
func (e *Error) Missing() bool {
	if e.Status == http.StatusNotFound || e.Code == "RESOURCE_DOES_NOT_EXIST" {
		return true
	}
	return e.Status == http.StatusBadRequest && noSuchRun.MatchString(e.Message)
}

// Transient says that the same call may succeed later: there was no answer, the workspace or something before it is ill, or
// a limit on calls, runs or clusters is reached.
func (e *Error) Transient() bool {
	var untrusted *tls.CertificateVerificationError
	if errors.As(e.cause, &untrusted) {
		return false
	}
	switch e.Status {
	case 0, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusLoopDetected, http.StatusNotExtended, http.StatusNetworkAuthenticationRequired:
		return false
	}
	if e.Status >= http.StatusInternalServerError {
		return true
	}
	var known *apierr.APIError
	if errors.As(e.cause, &known) && known.IsRetriable(context.Background()) {
		return true
	}
	switch e.Code {
	case "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "RESOURCE_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE",
		"RESOURCE_CONFLICT", "ABORTED":
		return true
	}
	return false
}

// answered keeps what the SDK's errors do not: when to come back.
type answered struct {
	error
	retryAfter time.Duration
}

func (a *answered) Unwrap() error { return a.error }

func mapError(ctx context.Context, response common.ResponseWrapper) error {
	err := apierr.GetAPIError(ctx, response)
	if err == nil {
		return nil
	}
	return &answered{err, retryAfter(response.Response.Header)}
}

// retryAfter reads the header in both its forms: seconds, or a date.
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if when, err := http.ParseTime(value); err == nil {
		return max(time.Until(when), 0)
	}
	return 0
}

// describe makes an Error of whatever the SDK or the token endpoint came back with. Secrets that the answer repeats are
// blotted out.
func describe(err error, action, host string, secrets ...string) *Error {
	made := &Error{Action: action, Host: host, Message: err.Error(), cause: err}
	var timed *answered
	if errors.As(err, &timed) {
		made.retryAfter = timed.retryAfter
	}
	var api *apierr.APIError
	var token *oauth2.RetrieveError
	switch {
	case errors.As(err, &api):
		made.Status, made.Code, made.Message = api.StatusCode, known(api.ErrorCode), cmp.Or(api.Message, http.StatusText(api.StatusCode))
	case errors.As(err, &token):
		made.Action += ", being refused a token by OAuth"
		made.Status, made.Code = token.Response.StatusCode, token.ErrorCode
		made.Message = cmp.Or(token.ErrorDescription, cut(string(token.Body)), token.Response.Status)
		made.retryAfter = retryAfter(token.Response.Header)
	}
	for _, secret := range secrets {
		if secret != "" {
			made.Message = strings.ReplaceAll(made.Message, secret, "[secret]")
		}
	}
	return made
}

// known drops what the SDK writes where an answer had no code.
func known(code string) string {
	if code == "<nil>" || code == "UNKNOWN" {
		return ""
	}
	return code
}

func cut(text string) string {
	const most = 500
	return text[:min(len(text), most)]
}
