// Package fault says whose a failed query is. Flyte knows two kinds of failure: one that the same attempt repeated
// would meet again (the SQL is wrong, an input does not exist), and one that another attempt may not meet (storage was
// away for a moment). Everything below the agent returns these errors, and the agent turns them into FAILED and
// RETRYABLE_FAILED.
package fault

import (
	"errors"
	"fmt"
)

// Error is a failure written for the person who wrote the task.
type Error struct {
	// Retryable is true where the same task may succeed when tried again.
	Retryable bool
	// Message is complete by itself: what was tried, on what, what happened, what to do.
	Message string
	cause   error
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the error that %w in the format named, or nil.
func (e *Error) Unwrap() error { return e.cause }

// Final is a failure that trying again would only repeat. The format takes %w as fmt.Errorf does.
func Final(format string, args ...any) error { return build(false, format, args) }

// Retryable is a failure that may be gone at the next try. The format takes %w as fmt.Errorf does.
func Retryable(format string, args ...any) error { return build(true, format, args) }

func build(retryable bool, format string, args []any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Retryable: retryable, Message: err.Error(), cause: errors.Unwrap(err)}
}

// IsRetryable tells whether trying again may help. An error that is not of this package is a surprise inside the
// plugin, not a fault of the task: trying again is the safe answer.
func IsRetryable(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Retryable
	}
	return true
}
