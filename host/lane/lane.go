// Package lane is a short way to a plugin, for polls: a gRPC client that calls one method, with one small request and one
// answer, on a connection of its own.
//
// Nearly all calls of a busy host are polls. Through grpc-go's client, which is made for calls of every kind, one takes the
// host half as much processor time again. A lane takes what is ordinary and nothing else. Where a request is large, the server
// has no room for it, the connection is not there, or an answer is not as a gRPC server gives it, the call comes back with
// [ErrNotTaken], and has to be made through grpc-go, which knows what to do and what to say. So a lane is for calls that
// may be made twice, and never a call's only way.
package lane

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/metadata"
)

// ErrNotTaken says that the lane has no result for a call. The server may have worked on it, or not.
var ErrNotTaken = errors.New("the lane did not take the call")

const (
	// connectTimeout bounds making a connection, up to the server's first word.
	connectTimeout = 10 * time.Second
	// A connection that broke is made anew after a pause, which doubles from the first to the longest for as long as
	// connections last no longer than that.
	firstPause, longestPause = 100 * time.Millisecond, time.Minute
)

// Options say where a lane leads.
type Options struct {
	// Dial makes a connection to the server: with TLS, if it is to be, which has to have settled on HTTP/2.
	Dial func(context.Context) (net.Conn, error)
	// Method is the one to call, /package.Service/Method.
	Method string
	// Scheme is https where connections are made with TLS, otherwise http; Authority is the server's name.
	Scheme, Authority string
	// Log gets what happens to the connection, at debug level: every call has another way.
	Log *slog.Logger
}

// Lane makes calls. It is for any number of goroutines.
type Lane struct {
	options Options
	current atomic.Pointer[conn] // nil while there is none that takes calls
	cancel  context.CancelFunc
	work    sync.WaitGroup
}

// Answer is a server's.
type Answer struct {
	// Message is the answer's, in one piece; nil with a status that is not OK.
	Message []byte
	// Header and Trailer are the metadata that came with it, without what is HTTP's or gRPC's own. Nil where there was none.
	Header, Trailer metadata.MD
}

// Open returns a lane that connects meanwhile. Close must be called.
func Open(options Options) *Lane {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Lane{options: options, cancel: cancel}
	l.work.Go(func() { l.keep(ctx) })
	return l
}

// Close ends the connection, and with ErrNotTaken the calls under way.
func (l *Lane) Close() {
	l.cancel()
	l.work.Wait()
}

// Taking says whether the lane takes calls now.
func (l *Lane) Taking() bool { return l.current.Load() != nil }

// Call calls the method, with ctx's deadline, cancellation and outgoing metadata. The call ends at until, too, if that is
// not zero: it takes less than a context does. The error is a status as the server gave it, with the answer it came in; one
// of the end of ctx or of the time, without an answer; or ErrNotTaken.
func (l *Lane) Call(ctx context.Context, until time.Time, request []byte) (*Answer, error) {
	c := l.current.Load()
	if c == nil {
		return nil, ErrNotTaken
	}
	return c.call(ctx, until, request)
}

// keep has a connection at all times, until ctx ends.
func (l *Lane) keep(ctx context.Context) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = firstPause, longestPause
	for {
		started := time.Now()
		err := l.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > longestPause {
			pauses.Reset()
		}
		pause := pauses.NextBackOff()
		l.options.Log.Debug("the connection for polls ended", "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// connect makes a connection and lets it take calls for as long as it does. Then it returns: those under way go on.
func (l *Lane) connect(ctx context.Context) error {
	connecting, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	raw, err := l.options.Dial(connecting)
	if err != nil {
		return err
	}
	c := newConn(raw, l.options)
	served := make(chan error, 1)
	l.work.Go(func() { served <- c.serve(ctx) })
	select {
	case <-c.ready:
	case err := <-served:
		return err
	case <-connecting.Done():
		c.end()
		return errors.Join(connecting.Err(), <-served)
	}
	l.current.Store(c)
	defer l.current.Store(nil)
	select {
	case <-c.retired:
		return errRetired
	case err := <-served:
		return err
	}
}

var errRetired = errors.New("the server asked for a new connection")
