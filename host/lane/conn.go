package lane

import (
	"cmp"
	"context"
	"math"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	// maxFrame is how much a frame may hold, in bytes, on either side: HTTP/2's own default.
	maxFrame = 16 << 10
	// maxBacklog is how much may wait to be written, in bytes, before a server counts as one that does not read.
	maxBacklog = 1 << 20
	// windowSize is how much a server may send before it is read, in bytes.
	windowSize = 4 << 20
	// defaultWindow is HTTP/2's, in bytes, for what a server has not said.
	defaultWindow = 64<<10 - 1
	// prefix is what gRPC puts before a message: whether it is compressed, and its length.
	prefix = 5
)

// conn is one connection. It takes calls from the moment that it is ready until it is retired, and ends when the last of
// them has.
type conn struct {
	raw            net.Conn
	ready, retired chan struct{} // closed
	wake           chan struct{} // has an element when there is something to write
	end            func()        // closes ended
	ended          chan struct{} // then the connection is closed

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
	room, roomEach int64
	most           uint32
}

func newConn(raw net.Conn, options Options) *conn {
	c := &conn{
		raw: raw, headers: newHeaders(options),
		ready: make(chan struct{}), retired: make(chan struct{}), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		calls: map[uint32]*call{}, next: 1, taking: true,
		room: defaultWindow, roomEach: defaultWindow, most: math.MaxUint32,
	}
	c.end = sync.OnceFunc(func() { close(c.ended) })
	c.framer = http2.NewFramer(appender{c}, nil)
	c.expiry = time.AfterFunc(math.MaxInt64, c.expire)
	return c
}

// appender is a conn's out as a writer.
type appender struct{ *conn }

func (a appender) Write(p []byte) (int, error) {
	a.out = append(a.out, p...)
	return len(p), nil
}

// serve reads and writes until the connection breaks, is ended, or ctx ends.
func (c *conn) serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, c.end)()
	c.greet()
	var others sync.WaitGroup
	var writeErr error
	others.Go(func() {
		defer c.end()
		writeErr = c.write()
	})
	others.Go(func() {
		<-c.ended
		_ = c.raw.Close()
	})
	readErr := newReader(c).read()
	c.retire(0)
	c.end()
	c.expiry.Stop()
	others.Wait()
	return cmp.Or(writeErr, readErr)
}

// greet says what a client says first.
func (c *conn) greet() {
	c.send(func() {
		c.out = append(c.out, http2.ClientPreface...)
		_ = c.framer.WriteSettings(
			http2.Setting{ID: http2.SettingEnablePush, Val: 0},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: windowSize})
		_ = c.framer.WriteWindowUpdate(0, windowSize-defaultWindow)
	})
}

// send lets frames be added to what is to be written; nothing that writes to memory fails. A server that makes the client
// speak, and does not listen, is left.
func (c *conn) send(frames func()) {
	c.mu.Lock()
	frames()
	tooMuch := len(c.out) > 2*maxBacklog
	c.mu.Unlock()
	if tooMuch {
		c.end()
	}
	c.wakeWriter()
}

func (c *conn) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default: // it is awake
	}
}

// write writes what there is, as much at once as has come together.
func (c *conn) write() error {
	var spare []byte
	for {
		select {
		case <-c.wake:
		case <-c.ended:
			return nil
		}
		runtime.Gosched() // lets callers that are ready to go add theirs
		for {
			c.mu.Lock()
			frames := c.out
			c.out = spare[:0]
			c.mu.Unlock()
			spare = frames
			if len(frames) == 0 {
				break
			}
			if _, err := c.raw.Write(frames); err != nil {
				return err
			}
		}
	}
}
