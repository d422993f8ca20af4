package lane

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// call is one under way. The reader fills the answer in until it is done; whoever made the call does not look before.
type call struct {
	stream uint32
	until  time.Time     // when it is over; zero: when its context is
	done   chan struct{} // has an element when the answer is complete, or none comes
	answer
}

// call makes a call, as Lane.Call does.
func (c *conn) call(ctx context.Context, until time.Time, request []byte) (*Answer, error) {
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	one := &call{done: make(chan struct{}, 1), until: until}
	if !c.begin(ctx, one, request) {
		return nil, ErrNotTaken
	}
	select {
	case <-one.done:
		return one.result()
	case <-ctx.Done():
		c.abandon(one)
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// begin sends a request, if the server has room for it.
func (c *conn) begin(ctx context.Context, one *call, request []byte) bool {
	size := int64(len(request)) + prefix
	deadline := one.until
	if asked, ok := ctx.Deadline(); ok && (deadline.IsZero() || asked.Before(deadline)) {
		deadline = asked
	}
	crossing, _ := metadata.FromOutgoingContext(ctx)
	if size > maxFrame || sizeOf(crossing) > maxMetadata {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.taking || uint32(len(c.calls)) >= c.most || size > min(c.room, c.roomEach) || len(c.out) > maxBacklog {
		return false
	}
	one.stream = c.next
	c.next += 2
	c.calls[one.stream] = one
	c.room -= size
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: one.stream, BlockFragment: c.headers.of(deadline, crossing), EndHeaders: true,
	})
	_ = c.framer.WriteData(one.stream, true, c.framed(request))
	if c.next > math.MaxInt32 { // HTTP/2 has no more streams
		c.retireLocked(math.MaxUint32)
	}
	c.expireAt(one.until)
	c.wakeWriter()
	return true
}

// framed is a message as gRPC wants it, until the next.
func (c *conn) framed(request []byte) []byte {
	c.body = append(c.body[:0], 0)
	c.body = binary.BigEndian.AppendUint32(c.body, uint32(len(request)))
	c.body = append(c.body, request...)
	return c.body
}

// abandon tells the server that nobody waits for a call any more.
func (c *conn) abandon(one *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[one.stream] != one { // it came to its end meanwhile
		return
	}
	c.reset(one)
	c.forget(one)
}

// drop hands a call back whose answer is odd, and of which more may come.
func (c *conn) drop(one *call) {
	c.mu.Lock()
	c.reset(one)
	c.mu.Unlock()
	c.finish(one)
}

func (c *conn) reset(one *call) {
	_ = c.framer.WriteRSTStream(one.stream, http2.ErrCodeCancel)
	c.wakeWriter()
}

// finish hands a call back to whoever made it.
func (c *conn) finish(one *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[one.stream] != one { // abandoned meanwhile
		return
	}
	c.forget(one)
	one.done <- struct{}{}
}

// expireAt sees to it that calls are looked through at a time, if it is not zero, or before.
func (c *conn) expireAt(at time.Time) {
	if at.IsZero() || !c.expires.IsZero() && !at.Before(c.expires) {
		return
	}
	c.expires = at
	c.expiry.Reset(time.Until(at))
}

// expire hands back the calls whose time is over.
func (c *conn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var next time.Time
	for _, one := range c.calls {
		switch {
		case one.until.IsZero():
		case !one.until.After(now):
			one.late = true
			c.reset(one)
			c.forget(one)
			one.done <- struct{}{}
		case next.IsZero() || one.until.Before(next):
			next = one.until
		}
	}
	c.expires = time.Time{}
	c.expireAt(next)
}

// forget takes a call off the list, and ends a retired connection with the last.
func (c *conn) forget(one *call) {
	delete(c.calls, one.stream)
	if !c.taking && len(c.calls) == 0 {
		c.end()
	}
}

// retire takes no more calls. Those on streams up to last go on; the server has not seen the others, and will not.
func (c *conn) retire(last uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retireLocked(last)
}

func (c *conn) retireLocked(last uint32) {
	if c.taking {
		c.taking = false
		close(c.retired)
	}
	for stream, one := range c.calls {
		if stream > last {
			one.odd = true
			delete(c.calls, stream)
			one.done <- struct{}{}
		}
	}
	if len(c.calls) == 0 {
		c.end()
	}
}
