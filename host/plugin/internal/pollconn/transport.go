package pollconn

import (
	"cmp"
	"context"
	"math"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

const (
	// maxFrame is how much a frame may hold, in bytes, on either side: HTTP/2's own default.
	maxFrame = 16 << 10
	// maxBacklog is how much may wait to be written, in bytes, before a server counts as one that does not read.
	maxBacklog = 1 << 20
	// windowSize is how much a server may send before it is read, in bytes.
	windowSize = 4 << 20
	// streamWindow is how much of one answer it may send before there is room for the answer, in bytes.
	streamWindow = 64 << 10
	// defaultWindow is HTTP/2's, in bytes, for what a server has not said.
	defaultWindow = 64<<10 - 1
	// prefix is what gRPC puts before a message: whether it is compressed, and its length.
	prefix = 5
)

// transport is one HTTP/2 connection. It takes calls from the moment that it is ready until it is retired, and ends when the last of
// them has.
type transport struct {
	raw            net.Conn
	peer           peer.Peer     // the server
	ready, retired chan struct{} // closed
	wake           chan struct{} // has an element when there is something to write
	end            func()        // closes ended
	ended          chan struct{} // then the connection is closed
	mostAnswer     int

	mu      sync.Mutex    // guards what follows
	out     []byte        // what is to be written
	framer  *http2.Framer // writes to out
	body    []byte        // a request, with its prefix
	headers headers       // a request's
	calls   map[uint32]*call
	next    uint32 // the next call's stream
	taking  bool
	expiry  *time.Timer // fires when the first call's time is over, or before
	expires time.Time   // when that is; zero while it does not run
	// What the server has room for: bytes of all requests, bytes of one, calls at once.
	window, streamWindow int64
	maxCalls             uint32
}

func newTransport(raw net.Conn, auth credentials.AuthInfo, options Options) *transport {
	t := &transport{
		raw: raw, peer: peer.Peer{Addr: raw.RemoteAddr(), LocalAddr: raw.LocalAddr(), AuthInfo: auth}, headers: newHeaders(options),
		ready: make(chan struct{}), retired: make(chan struct{}), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		mostAnswer: cmp.Or(options.MaxAnswer, math.MaxInt32),
		calls:      map[uint32]*call{}, next: 1, taking: true,
		window: defaultWindow, streamWindow: defaultWindow, maxCalls: math.MaxUint32,
	}
	t.end = sync.OnceFunc(func() { close(t.ended) })
	t.framer = http2.NewFramer(appender{t}, nil)
	t.expiry = time.AfterFunc(math.MaxInt64, t.expire)
	return t
}

// appender is a transport's out as a writer.
type appender struct{ *transport }

func (a appender) Write(p []byte) (int, error) {
	a.out = append(a.out, p...)
	return len(p), nil
}

// serve reads and writes until the connection breaks, is ended, or ctx ends.
func (t *transport) serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, t.end)()
	t.greet()
	var others sync.WaitGroup
	var writeErr error
	others.Go(func() {
		defer t.end()
		writeErr = t.write()
	})
	others.Go(func() {
		<-t.ended
		_ = t.raw.Close()
	})
	readErr := newReader(t).read()
	t.retire(0)
	t.end()
	t.expiry.Stop()
	others.Wait()
	return cmp.Or(writeErr, readErr)
}

// greet says what a client says first.
func (t *transport) greet() {
	t.send(func() {
		t.out = append(t.out, http2.ClientPreface...)
		_ = t.framer.WriteSettings(
			http2.Setting{ID: http2.SettingEnablePush, Val: 0},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow})
		_ = t.framer.WriteWindowUpdate(0, windowSize-defaultWindow)
	})
}

// send lets frames be added to what is to be written; nothing that writes to memory fails. A server that makes the client
// speak, and does not listen, is left.
func (t *transport) send(frames func()) {
	t.mu.Lock()
	frames()
	tooMuch := len(t.out) > 2*maxBacklog
	t.mu.Unlock()
	if tooMuch {
		t.end()
	}
	t.wakeWriter()
}

func (t *transport) wakeWriter() {
	select {
	case t.wake <- struct{}{}:
	default: // it is awake
	}
}

// write writes what there is, as much at once as has come together.
func (t *transport) write() error {
	var written []byte
	for {
		select {
		case <-t.wake:
		case <-t.ended:
			return nil
		}
		runtime.Gosched() // lets callers that are ready to go add theirs
		for {
			t.mu.Lock()
			frames := t.out
			t.out = written[:0]
			t.mu.Unlock()
			written = frames
			if len(frames) == 0 {
				break
			}
			if _, err := t.raw.Write(frames); err != nil {
				return err
			}
		}
	}
}
