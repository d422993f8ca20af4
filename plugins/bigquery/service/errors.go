package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cloud.google.com/go/auth"
	"google.golang.org/api/googleapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is a call that BigQuery refused or did not answer.
type Error struct {
	// Call says what was tried, such as "start job x in project p".
	Call string
	// Reason is BigQuery's own code, such as "accessDenied"; empty where there was no such answer.
	Reason string
	// HTTP is the status of the answer; 0 where there was none.
	HTTP int
	// Tries is how often the call was made.
	Tries int

	message string
	cause   error
}

func newError(call string, tries int, cause error) *Error {
	e := &Error{Call: call, Tries: tries, message: cause.Error(), cause: cause}
	var answer *googleapi.Error
	if errors.As(cause, &answer) {
		e.HTTP, e.Reason, e.message = answer.Code, reasonOf(answer), messageOf(answer)
	}
	return e
}

func reasonOf(answer *googleapi.Error) string {
	if len(answer.Errors) > 0 {
		return answer.Errors[0].Reason
	}
	return ""
}

// messageOf leaves out the body of an answer that is not BigQuery's, such as a proxy's page.
func messageOf(answer *googleapi.Error) string {
	if answer.Message != "" {
		return answer.Message
	}
	return http.StatusText(answer.Code)
}

// Error says what was tried and what BigQuery said.
func (e *Error) Error() string {
	var details []string
	if e.Reason != "" {
		details = append(details, e.Reason)
	}
	if e.HTTP != 0 {
		details = append(details, fmt.Sprintf("HTTP %d", e.HTTP))
	}
	if e.Tries > 1 {
		details = append(details, fmt.Sprintf("tried %d times", e.Tries))
	}
	text := "BigQuery: cannot " + e.Call + ": " + e.message
	if len(details) > 0 {
		text += " (" + strings.Join(details, ", ") + ")"
	}
	return text
}

func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus is the code that tells Flyte's side what kind of error this is.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.code(), e.Error()) }

func (e *Error) code() codes.Code {
	switch {
	case e.HTTP == http.StatusNotFound:
		return codes.NotFound
	case Retryable(e.Reason) || passingStatus(e.HTTP):
		return codes.Unavailable
	case e.HTTP == http.StatusForbidden:
		return codes.PermissionDenied
	case e.HTTP == http.StatusUnauthorized:
		return codes.Unauthenticated
	case ofSystem[e.Reason] || e.HTTP == http.StatusProxyAuthRequired || e.HTTP >= http.StatusInternalServerError || untrusted(e.cause):
		return codes.FailedPrecondition // something is to be put right outside of the task
	case e.HTTP >= http.StatusBadRequest:
		return codes.InvalidArgument
	case badCredentials(e.cause):
		return codes.Unauthenticated
	case errors.Is(e.cause, context.Canceled):
		return codes.Canceled
	case errors.Is(e.cause, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	}
	return codes.Unavailable
}

// untrusted says whether nobody trusted vouches for the certificate of who answers there.
func untrusted(err error) bool {
	var refused *tls.CertificateVerificationError
	return errors.As(err, &refused)
}

func isHTTP(err error, code int) bool {
	var e *Error
	return errors.As(err, &e) && e.HTTP == code
}

// NotFound says whether BigQuery does not know the job, or its project.
func NotFound(err error) bool { return isHTTP(err, http.StatusNotFound) }

// Duplicate says whether there is a job of that id already.
func Duplicate(err error) bool { return isHTTP(err, http.StatusConflict) }

// badCredentials says whether the call failed because no token was to be had for its credentials.
func badCredentials(err error) bool {
	var refused *auth.Error
	return errors.As(err, &refused) && !refused.Temporary()
}

// PlaceOf is the location of the job that a Duplicate names, in "Already Exists: Job project:US.id"; empty where it names none.
func PlaceOf(duplicate error, ref Ref) string {
	var e *Error
	if !errors.As(duplicate, &e) {
		return ""
	}
	before, _, found := strings.Cut(e.message, "."+ref.ID)
	if !found {
		return ""
	}
	place := before[strings.LastIndexAny(before, ": ")+1:]
	if strings.Contains(before, ref.Project+":"+place) {
		return place
	}
	return ""
}
