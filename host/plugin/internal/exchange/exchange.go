// Package exchange is the short way to a plugin that serves CallService: many calls in one message of one stream.
//
// A call of its own costs the libraries on both sides more than a plugin takes to answer most of them. An exchange handles the ordinary
// call: what its plugin takes by it, in a request of moderate size, with the options that the host's calls have. For all else it returns
// [ErrNotTaken], and the call has to be made by itself.
package exchange

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

var (
	// ErrNotTaken says that the plugin has not begun a call, and will not.
	ErrNotTaken = errors.New("the exchange did not take the call")
	// ErrTooLarge says that the answer to a call is larger than it may be by the exchange; the plugin has done its work.
	ErrTooLarge = errors.New("the answer is too large for the exchange")
	// ErrCut says that the stream ended before the answer: the plugin may have begun the call, or not.
	ErrCut = errors.New("the exchange ended before the answer")
)

const (
	// openTimeout bounds opening a stream, up to the plugin's first message.
	openTimeout = 10 * time.Second
	// A stream that ended is opened anew after a pause, which doubles from the first to the longest for as long as streams last no longer
	// than that.
	firstPause, longestPause = 100 * time.Millisecond, time.Minute
)

// Exchange makes calls. It is for any number of goroutines.
type Exchange struct {
	conn    grpc.ClientConnInterface
	most    int // bytes of an answer
	log     *slog.Logger
	current atomic.Pointer[stream] // nil while there is none that takes calls
	begin   sync.Once
	tried   chan struct{} // closed when the first stream is open, or did not open
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
}

// New returns an exchange for the plugin at the other end of conn, which reads no answers of more than maxAnswer bytes. It opens its stream
// with the first call that it could take. Close must be called. Log gets what happens to the stream, at debug level: every call has another
// way.
func New(conn grpc.ClientConnInterface, maxAnswer int, log *slog.Logger) *Exchange {
	ctx, cancel := context.WithCancel(context.Background())
	return &Exchange{conn: conn, most: maxAnswer, log: log, tried: make(chan struct{}), ctx: ctx, cancel: cancel}
}

// Close ends the stream, and with ErrCut the calls under way.
func (x *Exchange) Close() {
	x.cancel()
	x.begin.Do(func() {}) // none is begun any more
	x.work.Wait()
}

// Open opens the stream, if that was not tried yet, and says whether calls are taken now.
func (x *Exchange) Open(ctx context.Context) bool {
	x.stream()
	select {
	case <-x.tried:
	case <-x.ctx.Done():
	case <-ctx.Done():
	}
	return x.current.Load() != nil
}

// stream is that which takes calls; nil where there is none yet, or none any more.
func (x *Exchange) stream() *stream {
	if s := x.current.Load(); s != nil {
		return s
	}
	x.begin.Do(func() { x.work.Go(x.keep) })
	return nil
}

// keep has a stream at all times, until the plugin turns out not to serve any.
func (x *Exchange) keep() {
	tried := sync.OnceFunc(func() { close(x.tried) })
	defer tried()
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = firstPause, longestPause
	for {
		started := time.Now()
		err := x.serve(tried)
		if x.ctx.Err() != nil || status.Code(err) == codes.Unimplemented {
			return
		}
		if time.Since(started) > longestPause {
			pauses.Reset()
		}
		tried()
		pause := pauses.NextBackOff()
		x.log.Debug("the plugin's stream of calls ended", "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-x.ctx.Done():
			return
		}
	}
}

// serve opens a stream and lets it take calls for as long as it lasts.
func (x *Exchange) serve(opened func()) error {
	ctx, cancel := context.WithCancelCause(x.ctx)
	defer cancel(nil)
	late := time.AfterFunc(openTimeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	raw, err := x.conn.NewStream(ctx, &pluginv1.CallService_ServiceDesc.Streams[0], pluginv1.CallService_Exchange_FullMethodName, options(x.most)...)
	if err != nil {
		return err
	}
	methods, err := greeting(raw)
	if err != nil {
		return err
	}
	late.Stop()
	s := newStream(raw, methods)
	x.current.Store(s)
	opened()
	defer x.current.Store(nil)
	return s.serve(ctx, func() { cancel(nil) })
}
