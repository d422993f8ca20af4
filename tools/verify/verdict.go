package verify

import (
	"errors"
	"fmt"
	"time"
)

// Status is what came of a check.
type Status string

// The statuses. Only Failed makes a plugin fail.
const (
	Passed  Status = "pass"
	Failed  Status = "fail"
	Warned  Status = "warn"
	Skipped Status = "skip"
)

// Result is what came of one check.
type Result struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail is what was seen; for a skipped check, why it was.
	Detail string `json:"detail,omitempty"`
	// Reason is why the check matters.
	Reason string `json:"reason"`
	// Advice is what to do about a failure or a warning.
	Advice  string  `json:"advice,omitempty"`
	Seconds float64 `json:"seconds"`
}

// finding is what a check says that does not simply pass.
type finding struct {
	status Status
	detail string
	advice string // empty: the check's own
}

func (f *finding) Error() string { return f.detail }

func failed(format string, args ...any) error {
	return &finding{status: Failed, detail: fmt.Sprintf(format, args...)}
}

func warned(format string, args ...any) error {
	return &finding{status: Warned, detail: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) error {
	return &finding{status: Skipped, detail: fmt.Sprintf(format, args...)}
}

// advise gives a finding advice of its own.
func advise(err error, advice string) error {
	var found *finding
	if errors.As(err, &found) {
		found.advice = advice
	}
	return err
}

// blocked is why a check could not do its work: another one's subject is not in order. It fails only that one.
type blocked struct {
	by  string // the name of the check that is about it
	err error
}

func (b *blocked) Error() string { return b.err.Error() }
func (b *blocked) Unwrap() error { return b.err }

// judge is the result of a check from what its function returned.
func (c *Check) judge(selected func(name string) bool, detail string, err error, took time.Duration) Result {
	result := Result{Name: c.Name, Status: Passed, Detail: detail, Reason: c.Reason, Seconds: took.Round(time.Millisecond).Seconds()}
	if err == nil {
		return result
	}
	var elsewhere *blocked
	if errors.As(err, &elsewhere) && elsewhere.by != c.Name && selected(elsewhere.by) {
		result.Status, result.Detail = Skipped, "needs "+elsewhere.by
		return result
	}
	result.Status, result.Detail, result.Advice = Failed, err.Error(), c.Advice
	var found *finding
	if errors.As(err, &found) {
		result.Status = found.status
		if found.advice != "" {
			result.Advice = found.advice
		}
	}
	if result.Status == Skipped {
		result.Advice = ""
	}
	return result
}
