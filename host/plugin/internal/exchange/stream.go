package exchange

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/internal/deadline"
)

const (
	// maxRequest is how many bytes a request may have, and its metadata: what is larger would hold up the others.
	maxRequest = 64 << 10
	// maxBacklog is how many bytes may wait to be sent before a plugin counts as one that does not read.
	maxBacklog = 1 << 20
	// batch is how many bytes of room a message is begun with.
	batch = 4 << 10
	// atWill is how many bytes gRPC takes without waiting for the plugin to read: less than HTTP/2's window.
	atWill = 32 << 10
)

// stream is one to a plugin. It takes calls until it has ended.
type stream struct {
	raw     grpc.ClientStream
	peer    peer.Peer
	methods map[string]bool
	wake    chan struct{} // has an element when there is something to send

	sending sync.Mutex // held by whoever sends

	mu      sync.Mutex // guards what follows
	out     []byte     // the next message
	unread  int        // how many bytes were sent since the plugin's last message
	calls   map[uint64]*call
	last    uint64 // the last call's id
	taking  bool
	expiry  *time.Timer // fires when the first call's time is over, or before
	expires time.Time   // when that is; zero while it does not run
}

// call is one under way. The reader fills it in until it is done; whoever made the call does not look before.
type call struct {
	most  int           // bytes of its answer's message
	until time.Time     // when it is over, where ctx does not tell; zero: where it does
	done  chan struct{} // has an element when the answer is there, or none comes
	err   error
	// answered says that the answer is the plugin's.
	answered bool
	answer
}

func newStream(raw grpc.ClientStream, methods map[string]bool) *stream {
	s := &stream{raw: raw, methods: methods, wake: make(chan struct{}, 1), calls: map[uint64]*call{}, taking: true}
	if p, ok := peer.FromContext(raw.Context()); ok {
		s.peer = *p
	}
	s.expiry = time.AfterFunc(math.MaxInt64, s.expire)
	return s
}

// serve sends and receives until the stream ends. end ends it.
func (s *stream) serve(ctx context.Context, end func()) error {
	var sendErr error
	var sending sync.WaitGroup
	sending.Go(func() {
		defer end()
		sendErr = s.send(ctx)
	})
	last, err := s.receive()
	s.finish(last)
	end()
	s.expiry.Stop()
	sending.Wait()
	return cmp.Or(sendErr, err)
}

// call makes a call. It returns none where the error is the end of ctx's, or this package's.
func (s *stream) call(ctx context.Context, method string, request mem.BufferSlice, maxAnswer int, wants callOptions) (*call, error) {
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	one := &call{most: maxAnswer, done: make(chan struct{}, 1)}
	waiting := ctx
	if watched, ok := ctx.(*deadline.Context); ok {
		one.until, _ = ctx.Deadline()
		waiting = watched.Parent()
	}
	ok, alone := s.begin(ctx, one, method, request, maxAnswer)
	if !ok {
		return nil, ErrNotTaken
	}
	if !alone || !s.sendHere() {
		s.wakeSender()
	}
	if wants.peer != nil {
		*wants.peer = s.peer
	}
	select {
	case <-one.done:
		if !one.answered {
			return nil, one.err
		}
		return one, one.err
	case <-waiting.Done():
		s.abandon(one)
		return nil, status.FromContextError(waiting.Err()).Err()
	}
}

var errExpired = status.FromContextError(context.DeadlineExceeded).Err()

// begin adds a call to the next message, if there is room in it. alone says that no other call is under way, and that sending would not wait
// for the plugin.
func (s *stream) begin(ctx context.Context, one *call, method string, request mem.BufferSlice, maxAnswer int) (ok, alone bool) {
	end, _ := ctx.Deadline()
	headers, _ := metadata.FromOutgoingContext(ctx)
	if request.Len()+sizeOf(headers) > maxRequest {
		return false, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.taking || len(s.out) > maxBacklog {
		return false, false
	}
	s.last++
	one.id = s.last
	s.calls[one.id] = one
	s.out = appendCall(s.out, one.id, method, request, end, headers, maxAnswer)
	s.expireAt(one.until)
	alone = len(s.calls) == 1 && s.unread+len(s.out) <= atWill
	return true, alone
}

func sizeOf(headers metadata.MD) int {
	size := 0
	for name, values := range headers {
		for _, value := range values {
			size += len(name) + len(value)
		}
	}
	return size
}

// abandon tells the plugin that nobody waits for a call any more.
func (s *stream) abandon(one *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[one.id] == one { // else it came to its end meanwhile
		s.cancel(one)
	}
}

// cancel needs s.mu. What would become too much for a plugin that does not read is not said: it has the calls' time, too.
func (s *stream) cancel(one *call) {
	delete(s.calls, one.id)
	if len(s.out) <= 2*maxBacklog {
		s.out = appendCancel(s.out, one.id)
		s.wakeSender()
	}
}

// expireAt sees to it that calls are looked through at a time, if it is not zero, or before. One timer for all costs less than one for
// each.
func (s *stream) expireAt(at time.Time) {
	if at.IsZero() || !s.expires.IsZero() && !at.Before(s.expires) {
		return
	}
	s.expires = at
	s.expiry.Reset(time.Until(at))
}

// expire hands back the calls whose time is over.
func (s *stream) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var next time.Time
	for _, one := range s.calls {
		switch {
		case one.until.IsZero():
		case !one.until.After(now):
			s.cancel(one)
			one.end(errExpired)
		case next.IsZero() || one.until.Before(next):
			next = one.until
		}
	}
	s.expires = time.Time{}
	s.expireAt(next)
}

func (one *call) end(err error) {
	one.err = err
	one.done <- struct{}{}
}

// finish hands back the calls that are left when the stream has ended; last is that which the plugin says to have begun last, if it does.
func (s *stream) finish(last *uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taking = false
	for id, one := range s.calls {
		delete(s.calls, id)
		if last != nil && id > *last {
			one.end(ErrNotTaken)
		} else {
			one.end(ErrCut)
		}
	}
}

func (s *stream) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}

// send sends what there is, as much at once as has come together.
func (s *stream) send(ctx context.Context) error {
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
		runtime.Gosched() // lets callers that are ready to go add theirs
		s.sending.Lock()
		for more := true; more; {
			var err error
			if more, err = s.sendNext(); err != nil {
				s.sending.Unlock()
				return err
			}
		}
		s.sending.Unlock()
	}
}

// sendHere sends the next message in the caller's goroutine, which spares the awakening of another, and says that there is nothing left to
// send.
func (s *stream) sendHere() bool {
	if !s.sending.TryLock() {
		return false
	}
	defer s.sending.Unlock()
	_, err := s.sendNext()
	if err != nil { // the stream has ended, which its reader sees
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out) == 0
}

// sendNext sends the next message, if there is any. It needs s.sending.
func (s *stream) sendNext() (sent bool, err error) {
	s.mu.Lock()
	message := s.out
	if len(message) > 0 { // it is grpc's from now on
		s.out = make([]byte, 0, batch)
		s.unread += len(message)
	}
	s.mu.Unlock()
	if len(message) == 0 {
		return false, nil
	}
	return true, s.raw.SendMsg(message)
}

// receive takes the plugin's messages until there are no more.
func (s *stream) receive() (last *uint64, err error) {
	for {
		var received mem.BufferSlice
		if err := s.raw.RecvMsg(&received); err != nil {
			return last, err
		}
		whole := received.MaterializeToBuffer(mem.DefaultBufferPool())
		received.Free()
		s.mu.Lock()
		s.unread = 0
		s.mu.Unlock()
		said, err := eachAnswer(whole.ReadOnlyData(), s.answered)
		whole.Free()
		if err != nil {
			return nil, fmt.Errorf("what the plugin sent on its stream is no Answers: %w", err)
		}
		if said != nil {
			last = said
		}
	}
}

// answered hands an answer to whoever made the call.
func (s *stream) answered(a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.calls[a.id]
	if !ok { // abandoned meanwhile
		return
	}
	delete(s.calls, a.id)
	one.answer, one.answered = *a, true
	if len(a.message) > one.most { // it was told not to send that
		one.message, one.oversize = nil, uint64(len(a.message))
	} else {
		one.message = bytes.Clone(a.message) // the others of the buffer would be kept with it
	}
	one.end(a.failure())
}

// failure is a status that is not OK, as the plugin gave it.
func (a *answer) failure() error {
	if len(a.status) == 0 {
		return nil
	}
	whole := &spb.Status{}
	if err := proto.Unmarshal(a.status, whole); err != nil {
		return status.Errorf(codes.Internal, "the plugin's status is none: %v", err)
	}
	return status.ErrorProto(whole)
}
