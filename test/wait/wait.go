// Package wait is for tests of what cannot announce itself.
package wait

import (
	"context"
	"testing"
	"time"
)

// limit is for slow machines: only a test that fails takes that long.
const limit = 3 * time.Minute

// Until waits until a condition holds, and fails the test if it never does.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("waited %v in vain until %s", limit, what)
		}
	}
}

// For waits for a time, or until ctx ends. It tells whether it was for the whole time.
func For(ctx context.Context, length time.Duration) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
