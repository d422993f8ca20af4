// Package load makes calls, and measures how many, how long each took, and who spent processor time on them.
package load

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Call is what is measured.
type Call func(context.Context) error

// Deadline is that of each call: FlytePropeller's have one, too.
const Deadline = 30 * time.Second

// Round is what calls took over one length of time.
type Round struct {
	Calls     int64
	Elapsed   time.Duration
	latencies *hdrhistogram.Histogram // in nanoseconds
}

// PerSecond is how many calls were answered a second.
func (r Round) PerSecond() float64 { return float64(r.Calls) / r.Elapsed.Seconds() }

// Latency is how long at most the given percentage of the calls took.
func (r Round) Latency(percentile float64) time.Duration {
	return time.Duration(r.latencies.ValueAtPercentile(percentile))
}

// Longest is how long the longest call took.
func (r Round) Longest() time.Duration { return time.Duration(r.latencies.Max()) }

// Closed lets callers call one after the other for a time: each makes its next call when its last is answered. The first that
// fails ends the round.
func Closed(ctx context.Context, call Call, callers int, length time.Duration) (Round, error) {
	started := time.Now()
	// Each makes one call at least, however late it comes to that.
	return closed(ctx, call, callers, func(made int) bool { return made == 0 || time.Since(started) < length })
}

// Times is Closed for so many calls in all.
func Times(ctx context.Context, call Call, callers int, calls int64) (Round, error) {
	var begun atomic.Int64
	return closed(ctx, call, callers, func(int) bool { return begun.Add(1) <= calls })
}

func closed(ctx context.Context, call Call, callers int, more func(made int) bool) (Round, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	taken := newRecorder(callers)
	var all sync.WaitGroup
	started := time.Now()
	for caller := range callers {
		all.Go(func() {
			for made := 0; ctx.Err() == nil && more(made); made++ {
				began := time.Now()
				if err := bounded(ctx, call); err != nil {
					cancel(err)
					return
				}
				taken.record(caller, time.Since(began))
			}
		})
	}
	all.Wait()
	return taken.round(time.Since(started)), context.Cause(ctx)
}

// Open makes so many calls a second, whether those before are answered or not. Each is timed from when it was due: were it timed
// from when it was made, the calls that a pause holds up would not count (coordinated omission).
func Open(ctx context.Context, call Call, perSecond int, length time.Duration) (Round, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	const recorders = 64
	taken := newRecorder(recorders)
	var all sync.WaitGroup
	// Go's own timers are only as fine as epoll's milliseconds where nothing else wakes the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	started := time.Now()
	clock, err := monotonic()
	if err != nil {
		return Round{}, err
	}
	calls := int(float64(perSecond) * length.Seconds())
	for n := range calls {
		after := time.Duration(n) * time.Second / time.Duration(perSecond)
		if err := sleepUntil(clock + after); err != nil {
			return Round{}, err
		}
		if ctx.Err() != nil {
			break
		}
		due := started.Add(after)
		all.Go(func() {
			if err := bounded(ctx, call); err != nil {
				cancel(err)
				return
			}
			taken.record(n, time.Since(due))
		})
	}
	all.Wait()
	return taken.round(time.Since(started)), context.Cause(ctx)
}

func bounded(ctx context.Context, call Call) error {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	return call(ctx)
}

func monotonic() (time.Duration, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano()), err
}

func sleepUntil(due time.Duration) error {
	until := unix.NsecToTimespec(due.Nanoseconds())
	for {
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &until, nil)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("clock_nanosleep: %w", err)
		}
	}
}

// recorder keeps how long calls took, in several histograms so that callers do not wait for one another.
type recorder []struct {
	mu    sync.Mutex
	calls *hdrhistogram.Histogram
	_     [64]byte // histograms' locks apart
}

func newRecorder(callers int) recorder {
	r := make(recorder, min(callers, 64))
	for i := range r {
		r[i].calls = newHistogram()
	}
	return r
}

// newHistogram holds up to twice the deadline, in steps of a thousandth.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(100, (2 * Deadline).Nanoseconds(), 3)
}

func (r recorder) record(caller int, took time.Duration) {
	own := &r[caller%len(r)]
	own.mu.Lock()
	defer own.mu.Unlock()
	// What took longer than twice the deadline, in an open loop that has fallen behind, counts as that long.
	_ = own.calls.RecordValue(min(took, 2*Deadline).Nanoseconds())
}

func (r recorder) round(elapsed time.Duration) Round {
	all := newHistogram()
	for i := range r {
		all.Merge(r[i].calls)
	}
	return Round{Calls: all.TotalCount(), Elapsed: elapsed, latencies: all}
}
