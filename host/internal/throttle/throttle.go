// Package throttle keeps what strangers can cause, such as lines in the log, within a rate, and counts what it leaves out.
package throttle

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Throttle lets so much through at a rate. It may be used by several goroutines at a time.
type Throttle struct {
	limiter *rate.Limiter
	left    atomic.Int64
}

// New lets one through in every interval, and burst at once after a quiet time.
func New(interval time.Duration, burst int) *Throttle {
	return &Throttle{limiter: rate.NewLimiter(rate.Every(interval), burst)}
}

// Allow says whether one more may pass, and if so how many were left out since the last that could.
func (t *Throttle) Allow() (leftOut int64, ok bool) {
	if !t.limiter.Allow() {
		t.left.Add(1)
		return 0, false
	}
	return t.left.Swap(0), true
}
