package service

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/api/googleapi"
)

// Retry says how often and when a call is made again.
type Retry struct {
	// Attempts is how often it is made at most.
	Attempts int
	// First is the pause before the second attempt; it doubles until Longest. BigQuery's own Retry-After goes before both.
	First, Longest time.Duration
	// Call is how long one attempt may take.
	Call time.Duration
}

// retried makes a call until it succeeds, fails for good, or the next attempt would come too late for the caller.
func retried[T any](ctx context.Context, retry Retry, what string, x *exchange, call func(context.Context) (T, error)) (T, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval, pauses.Multiplier = retry.First, retry.Longest, 2
	tries := 0
	var last error
	result, err := backoff.Retry(ctx, func() (T, error) {
		tries++
		attempt, cancel := context.WithTimeout(ctx, retry.Call)
		defer cancel()
		result, err := once(attempt, x, call)
		if err == nil {
			return result, nil
		}
		last = newError(what, tries, err)
		return result, again(ctx, err, retry)
	}, backoff.WithBackOff(pauses), backoff.WithMaxTries(uint(retry.Attempts)), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return result, last
	}
	return result, nil
}

// again is the error as package backoff wants it: whether and when to try again.
func again(ctx context.Context, err error, retry Retry) error {
	if !transient(ctx, err) {
		return backoff.Permanent(err)
	}
	wait, asked := retryAfter(err, time.Now())
	deadline, bounded := ctx.Deadline()
	if bounded && time.Until(deadline) <= max(wait, retry.First) {
		return backoff.Permanent(err)
	}
	if asked {
		return &backoff.RetryAfterError{Duration: wait}
	}
	return err
}

// transient says whether the same call may succeed in a moment. An error that is no answer of BigQuery's is one of the way
// there: every call is safe to repeat.
func transient(ctx context.Context, err error) bool {
	var answer *googleapi.Error
	switch {
	case ctx.Err() != nil || badCredentials(err) || untrusted(err):
		return false
	case !errors.As(err, &answer):
		return true
	}
	return passing[reasonOf(answer)] || passingStatus(answer.Code)
}

// passingStatus says whether a status may be another one the next time. Of those of servers, that one does not do something
// (501), or speaks no such HTTP (505), stays so.
func passingStatus(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusLoopDetected, http.StatusNotExtended, http.StatusNetworkAuthenticationRequired:
		return false
	}
	return code >= http.StatusInternalServerError
}

// retryAfter reads the header of that name, seconds or a date.
func retryAfter(err error, now time.Time) (time.Duration, bool) {
	var answer *googleapi.Error
	if !errors.As(err, &answer) {
		return 0, false
	}
	text := answer.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}
