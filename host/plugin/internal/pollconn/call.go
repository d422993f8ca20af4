package pollconn

import (
	"context"
	"encoding/binary"
	"math"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/internal/deadline"
)

// call is one under way. The reader fills the answer in until it is done; whoever made the call does not look before.
type call struct {
	stream  uint32
	until   time.Time     // when it is over, where ctx does not tell; zero: where it does
	done    chan struct{} // has an element when the answer is complete, or none comes
	expired bool          // its time is over
	answer
}

// call makes a call. Its error is a status as the server gave it, with the answer that it came in; one of the end of ctx,
// without an answer; or ErrNotTaken. server is filled in, if it is not nil, as soon as a request is on its way.
func (t *transport) call(ctx context.Context, request mem.BufferSlice, wants callOptions) (*answer, error) {
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	one := &call{done: make(chan struct{}, 1)}
	one.admission, one.most = wants.admission, t.mostAnswer
	waiting := ctx
	if watched, ok := ctx.(*deadline.Context); ok {
		one.until, _ = ctx.Deadline()
		waiting = watched.Parent()
	}
	if !t.begin(ctx, one, request) {
		return nil, ErrNotTaken
	}
	if wants.peer != nil {
		*wants.peer = t.peer
	}
	select {
	case <-one.done:
		if one.expired {
			return nil, status.FromContextError(context.DeadlineExceeded).Err()
		}
		return &one.answer, one.result()
	case <-waiting.Done():
		t.abandon(one)
		return nil, status.FromContextError(waiting.Err()).Err()
	}
}

// begin sends a request, if the server has room for it.
func (t *transport) begin(ctx context.Context, one *call, request mem.BufferSlice) bool {
	size := int64(request.Len()) + prefix
	end, _ := ctx.Deadline()
	crossing, _ := metadata.FromOutgoingContext(ctx)
	if size > maxFrame || sizeOf(crossing) > maxMetadata {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.taking || uint32(len(t.calls)) >= t.maxCalls || size > min(t.window, t.streamWindow) || len(t.out) > maxBacklog {
		return false
	}
	one.stream = t.next
	t.next += 2
	t.calls[one.stream] = one
	t.window -= size
	_ = t.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: one.stream, BlockFragment: t.headers.of(end, crossing), EndHeaders: true,
	})
	_ = t.framer.WriteData(one.stream, true, t.framed(request))
	if t.next > math.MaxInt32 { // HTTP/2 has no more streams
		t.retireLocked(math.MaxUint32)
	}
	t.expireAt(one.until)
	t.wakeWriter()
	return true
}

// framed is a message as gRPC wants it, until the next.
func (t *transport) framed(request mem.BufferSlice) []byte {
	t.body = append(t.body[:0], 0)
	t.body = binary.BigEndian.AppendUint32(t.body, uint32(request.Len()))
	for _, part := range request {
		t.body = append(t.body, part.ReadOnlyData()...)
	}
	return t.body
}

// abandon tells the server that nobody waits for a call any more.
func (t *transport) abandon(one *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls[one.stream] != one { // it came to its end meanwhile
		return
	}
	t.reset(one)
	t.forget(one)
}

// drop hands a call back whose answer is unsupported, and of which more may come.
func (t *transport) drop(one *call) {
	t.mu.Lock()
	t.reset(one)
	t.mu.Unlock()
	t.finish(one)
}

func (t *transport) reset(one *call) {
	_ = t.framer.WriteRSTStream(one.stream, http2.ErrCodeCancel)
	t.wakeWriter()
}

// finish hands a call back to whoever made it.
func (t *transport) finish(one *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls[one.stream] != one { // abandoned meanwhile
		return
	}
	t.forget(one)
	one.done <- struct{}{}
}

// expireAt sees to it that calls are looked through at a time, if it is not zero, or before. One timer for all costs less
// than one for each.
func (t *transport) expireAt(at time.Time) {
	if at.IsZero() || !t.expires.IsZero() && !at.Before(t.expires) {
		return
	}
	t.expires = at
	t.expiry.Reset(time.Until(at))
}

// expire hands back the calls whose time is over.
func (t *transport) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	var next time.Time
	for _, one := range t.calls {
		switch {
		case one.until.IsZero():
		case !one.until.After(now):
			one.expired = true
			t.reset(one)
			t.forget(one)
			one.done <- struct{}{}
		case next.IsZero() || one.until.Before(next):
			next = one.until
		}
	}
	t.expires = time.Time{}
	t.expireAt(next)
}

// forget takes a call off the list, and ends a retired transport with the last.
func (t *transport) forget(one *call) {
	delete(t.calls, one.stream)
	if !t.taking && len(t.calls) == 0 {
		t.end()
	}
}

// retire takes no more calls. Those on streams up to last go on; the server has not seen the others, and will not.
func (t *transport) retire(last uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retireLocked(last)
}

func (t *transport) retireLocked(last uint32) {
	if t.taking {
		t.taking = false
		close(t.retired)
	}
	for stream, one := range t.calls {
		if stream > last {
			one.unsupported = true
			delete(t.calls, stream)
			one.done <- struct{}{}
		}
	}
	if len(t.calls) == 0 {
		t.end()
	}
}
