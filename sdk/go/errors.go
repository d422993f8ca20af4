package agent

import (
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is a job's failure with a code, such as "BadSQL": make one with UserError or SystemError and return it in
// Failed or RetryableFailed.
type Error struct {
	// Code is a short name that groups failures. Flyte shows it before the message.
	Code string
	// Origin says whose fault it is.
	Origin core.ExecutionError_ErrorKind
	// Err is the failure itself.
	Err error
}

// UserError is a failure that the task's author can mend.
func UserError(code string, err error) *Error {
	return &Error{Code: code, Origin: core.ExecutionError_USER, Err: err}
}

// SystemError is a failure that the task's author cannot mend.
func SystemError(code string, err error) *Error {
	return &Error{Code: code, Origin: core.ExecutionError_SYSTEM, Err: err}
}

// Error returns the failure's message, without the code.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Code
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// NotFound is the error for a job that does not exist. In Delete it counts as success.
func NotFound(format string, args ...any) error {
	return &statusError{codes.NotFound, fmt.Errorf(format, args...)}
}

// InvalidArgument is the error for a task that can never run as it is.
func InvalidArgument(format string, args ...any) error {
	return &statusError{codes.InvalidArgument, fmt.Errorf(format, args...)}
}

// FailedPrecondition is the error for something that must be put right outside, such as a missing secret.
func FailedPrecondition(format string, args ...any) error {
	return &statusError{codes.FailedPrecondition, fmt.Errorf(format, args...)}
}

// Unavailable is the error for something that will work again by itself.
func Unavailable(format string, args ...any) error {
	return &statusError{codes.Unavailable, fmt.Errorf(format, args...)}
}

// Abandoned is the error for an attempt that was given up, of which no job may be made: see Finder.
func Abandoned(format string, args ...any) error {
	return &statusError{codes.Aborted, fmt.Errorf(format, args...)}
}

// statusError carries a code and, unlike status.Error, wraps what caused it.
type statusError struct {
	code  codes.Code
	cause error
}

func (e *statusError) Error() string              { return e.cause.Error() }
func (e *statusError) Unwrap() error              { return e.cause }
func (e *statusError) GRPCStatus() *status.Status { return status.New(e.code, e.cause.Error()) }
