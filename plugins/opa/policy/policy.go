// Package policy is what a decision is asked of: a source that has policies, whether in this process (package embedded) or on
// a server (package server). Both answer the same question with the same JSON.
package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Source has policies and evaluates them.
type Source interface {
	// Decide evaluates one policy. Its errors are *Failure, or the context's.
	Decide(ctx context.Context, question Question) (Answer, error)
	// Close lets go of connections.
	Close()
}

// Question is what a policy is asked.
type Question struct {
	Path Path
	// Input is the policy's input document, JSON.
	Input []byte
}

// Answer is what the policy said.
type Answer struct {
	// Result is the value of the policy, JSON; nil if it is undefined.
	Result json.RawMessage
	// ID is the decision's id, where the source gave it one.
	ID string
	// Revision names the policies' version, where it is known.
	Revision string
	// Metrics are the source's own, such as timer_rego_query_eval_ns.
	Metrics map[string]any
}

// Failure says that there is no decision.
type Failure struct {
	// Code groups failures, such as PolicyError.
	Code string
	// Transient: the same question may be answered later.
	Transient bool
	// User: who writes tasks or policies can mend it.
	User bool
	Err  error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Broken is the failure of the policy itself, which would fail again.
func Broken(format string, args ...any) *Failure {
	return &Failure{Code: "PolicyError", User: true, Err: fmt.Errorf(format, args...)}
}

// Path names a policy below OPA's data, such as flyte/authz/allow.
type Path []string

var segment = regexp.MustCompile(`^[\pL\pN_][\pL\pN_.:@-]*$`)

// ParsePath reads a path as a task's author writes it.
func ParsePath(text string) (Path, error) {
	path := Path(strings.Split(text, "/"))
	for _, part := range path {
		if !segment.MatchString(part) {
			return nil, fmt.Errorf("must be a policy's path such as flyte/authz/allow, without data in front, got %q", text)
		}
	}
	if path[0] == "data" || strings.HasPrefix(path[0], "data.") {
		return nil, fmt.Errorf("must be a policy's path such as flyte/authz/allow, without data in front, got %q", text)
	}
	return path, nil
}

// String returns the path as ParsePath reads it.
func (p Path) String() string { return strings.Join(p, "/") }
