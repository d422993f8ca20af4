package artifact

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Error is why an artifact cannot be had.
type Error struct {
	// Reference is the artifact.
	Reference string
	// Err is what happened.
	Err error
	// Advice is what to do about it; empty where there is none to give.
	Advice string
}

// Error is all of it but the advice.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Reference, e.Err) }

// Unwrap is what happened.
func (e *Error) Unwrap() error { return e.Err }

// OfRegistry says that an error is about a registry that is away, or that does not let the host in: it may change its mind, and the
// reference may be right. Others are about the reference, or what it led to.
func OfRegistry(err error) bool {
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return true
	}
	return errors.As(err, new(*Error)) && !lasting(err)
}

// refusedError is a refusal of what the registry sent: asking again would not help.
type refusedError struct {
	err    error
	advice string
}

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

func refuse(advice, format string, args ...any) error {
	return &refusedError{err: fmt.Errorf(format, args...), advice: advice}
}

// explain makes an error of what happened to a reference, with what to do about it.
func explain(ref Reference, err error) error {
	if known := (*Error)(nil); err == nil || errors.As(err, &known) {
		return err
	}
	explained := &Error{Reference: ref.String(), Err: err}
	var refused *refusedError
	var answer *errcode.ErrorResponse
	var authority x509.UnknownAuthorityError
	var nameOf x509.HostnameError
	switch {
	case errors.As(err, &refused):
		explained.Advice = refused.advice
	case errors.Is(err, auth.ErrBasicCredentialNotFound), errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		explained.Advice = fmt.Sprintf("log in with `docker login %s`, or put credentials into the config.json that $DOCKER_CONFIG names the folder of", ref.Registry)
	case errors.Is(err, errdef.ErrNotFound), errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		explained.Err = fmt.Errorf("the registry %s does not have it: %w", ref.Registry, err)
		explained.Advice = "check repository, tag and digest; `agenthost plugin push` prints the reference to use"
	case errors.As(err, &authority), errors.As(err, &nameOf):
		explained.Advice = "name the registry's authority in artifacts.ca"
	case isPlain(err):
		explained.Advice = fmt.Sprintf("if it is meant to be without TLS, add %s to artifacts.plain_http", ref.Registry)
	case errors.Is(err, context.Canceled):
	case answer == nil:
		explained.Advice = fmt.Sprintf("check that %s is up and can be reached from here", ref.Registry)
	}
	return explained
}

// lasting says that asking again would not help.
func lasting(err error) bool {
	var refused *refusedError
	var answer *errcode.ErrorResponse
	var authority x509.UnknownAuthorityError
	var nameOf x509.HostnameError
	switch {
	case errors.As(err, &refused), errors.Is(err, errdef.ErrNotFound), errors.As(err, &authority), errors.As(err, &nameOf), isPlain(err),
		errors.Is(err, auth.ErrBasicCredentialNotFound), errors.Is(err, errdef.ErrInvalidReference), errors.Is(err, errdef.ErrUnsupported):
		return true
	case errors.As(err, &answer):
		return answer.StatusCode >= 400 && answer.StatusCode < 500 &&
			answer.StatusCode != http.StatusTooManyRequests && answer.StatusCode != http.StatusRequestTimeout
	}
	return false
}
