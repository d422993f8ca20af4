package pollconn

import (
	"bufio"
	"fmt"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// maxHeaders bounds the headers of an answer, in bytes, and each of them.
	maxHeaders = 1 << 20
	// acknowledged is after how many bytes read the server is told that there is room again.
	acknowledged = windowSize / 4
)

// reader reads what the server sends. What breaks HTTP/2's rules ends the connection; what is only no answer of gRPC's
// ends its call.
type reader struct {
	*transport
	frames  *http2.Framer
	decoder *hpack.Decoder
	greeted bool
	unread  uint32 // bytes that the server has not been told were read

	// The headers that are being read, which may be in several frames.
	of   *call // nil where nobody waits for them
	ends bool  // they are an answer's last
	size int
}

// ReadBuffer is what a connection to a plugin takes at once of what TLS, which has a buffer of its own, has read, in bytes: most are idle.
const ReadBuffer = 4 << 10

func newReader(t *transport) *reader {
	r := &reader{transport: t, frames: http2.NewFramer(nil, bufio.NewReaderSize(t.raw, ReadBuffer))}
	r.frames.SetMaxReadFrameSize(maxFrame)
	r.frames.SetReuseFrames()
	r.decoder = hpack.NewDecoder(4<<10, r.field) // HTTP/2's default
	r.decoder.SetMaxStringLength(maxHeaders)
	return r
}

// read reads until the connection breaks.
func (r *reader) read() error {
	for {
		frame, err := r.frames.ReadFrame()
		if err != nil {
			return err
		}
		if err := r.take(frame); err != nil {
			return err
		}
	}
}

func (r *reader) take(frame http2.Frame) error {
	if _, settings := frame.(*http2.SettingsFrame); !settings && !r.greeted {
		return fmt.Errorf("the server began with a %v frame, not with its settings", frame.Header().Type)
	}
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		return r.settings(f)
	case *http2.HeadersFrame:
		r.of, r.ends, r.size = r.waiting(f.StreamID), f.StreamEnded(), 0
		return r.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.ContinuationFrame:
		return r.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.DataFrame:
		r.data(f)
	case *http2.RSTStreamFrame:
		if one := r.waiting(f.StreamID); one != nil {
			one.unsupported = true
			r.finish(one)
		}
	case *http2.GoAwayFrame:
		r.retire(f.LastStreamID)
	case *http2.PingFrame:
		if !f.IsAck() {
			r.send(func() { _ = r.framer.WritePing(true, f.Data) })
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			return r.grow(int64(f.Increment))
		}
	case *http2.PushPromiseFrame:
		return fmt.Errorf("the server pushes, which it was told not to")
	}
	return nil
}

func (r *reader) waiting(stream uint32) *call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[stream]
}

// settings takes the server's over.
func (r *reader) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	var failed error
	r.send(func() {
		failed = f.ForeachSetting(func(s http2.Setting) error {
			switch s.ID {
			case http2.SettingInitialWindowSize:
				r.streamWindow = int64(s.Val)
			case http2.SettingMaxConcurrentStreams:
				r.maxCalls = s.Val
			case http2.SettingHeaderTableSize:
				r.headers.resize(s.Val)
			}
			return s.Valid()
		})
		_ = r.framer.WriteSettingsAck()
	})
	if !r.greeted {
		r.greeted = true
		close(r.ready)
	}
	return failed
}

func (r *reader) grow(bytes int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.window += bytes
	if r.window > 1<<31-1 {
		return fmt.Errorf("the server made room for more than HTTP/2 can count")
	}
	return nil
}

// fragment takes a part of headers. All are decoded, also those of calls that are over: what they hold is referred to later.
func (r *reader) fragment(part []byte, last bool) error {
	r.size += len(part)
	if r.size > maxHeaders {
		return fmt.Errorf("the server sent headers of more than %d bytes", maxHeaders)
	}
	if _, err := r.decoder.Write(part); err != nil {
		return err
	}
	if !last {
		return nil
	}
	if err := r.decoder.Close(); err != nil {
		return err
	}
	if r.of == nil {
		return nil
	}
	r.of.headersEnd(r.ends)
	switch {
	case r.ends:
		r.finish(r.of)
	case r.of.unsupported:
		r.drop(r.of)
	}
	return nil
}

func (r *reader) field(f hpack.HeaderField) {
	if r.of != nil {
		r.of.field(f, r.ends)
	}
}

// data takes a part of a message.
func (r *reader) data(f *http2.DataFrame) {
	one := r.waiting(f.StreamID)
	if r.unread += f.Length; r.unread >= acknowledged {
		read := r.unread
		r.unread = 0
		r.send(func() { _ = r.framer.WriteWindowUpdate(0, read) })
	}
	if one == nil {
		return
	}
	one.part(f.Data())
	one.unsupported = one.unsupported || f.StreamEnded() // without a status
	if one.unsupported || one.tooLarge > 0 {
		r.drop(one)
		return
	}
	if more := one.grant; more > 0 {
		one.grant = 0
		r.send(func() { _ = r.framer.WriteWindowUpdate(f.StreamID, uint32(more)) })
	}
}
