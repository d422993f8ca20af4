package pollconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/internal/deadline"
)

// serverEnd is the server's end of a connection, by hand.
type serverEnd struct {
	*testing.T
	*http2.Framer
	raw     net.Conn
	decoder *hpack.Decoder
	block   bytes.Buffer
	encoder *hpack.Encoder
}

// pair is a Conn and the servers' ends of the connections that it makes, in their order.
func pair(t *testing.T) (*Conn, chan *serverEnd) {
	t.Helper()
	peers := make(chan *serverEnd, 10)
	return open(t, func(context.Context) (net.Conn, error) {
		client, server := net.Pipe()
		t.Cleanup(func() { _ = server.Close() })
		p := &serverEnd{T: t, Framer: http2.NewFramer(server, server), raw: server, decoder: hpack.NewDecoder(4096, nil)}
		p.encoder = hpack.NewEncoder(&p.block)
		peers <- p
		return client, nil
	}), peers
}

// greeted is the next connection, after the first words on both sides.
func greeted(peers chan *serverEnd, settings ...http2.Setting) *serverEnd {
	p := <-peers
	p.greet(settings...)
	return p
}

func (p *serverEnd) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *serverEnd) greet(settings ...http2.Setting) {
	p.Helper()
	preface := make([]byte, len(http2.ClientPreface))
	_, err := io.ReadFull(p.raw, preface)
	p.must(err)
	if string(preface) != http2.ClientPreface {
		p.Fatalf("the client began with %q", preface)
	}
	p.expect(http2.FrameSettings)
	p.expect(http2.FrameWindowUpdate)
	p.must(p.WriteSettings(settings...))
	p.expect(http2.FrameSettings)
	synctest.Wait()
}

func (p *serverEnd) expect(kind http2.FrameType) http2.Frame {
	p.Helper()
	frame, err := p.ReadFrame()
	p.must(err)
	if frame.Header().Type != kind {
		p.Fatalf("the client sent %v, not %v", frame, kind)
	}
	return frame
}

// request reads one.
func (p *serverEnd) request() (stream uint32, fields map[string]string, message string) {
	p.Helper()
	headers := p.expect(http2.FrameHeaders).(*http2.HeadersFrame) //nolint:forcetypeassert // as expected
	list, err := p.decoder.DecodeFull(headers.HeaderBlockFragment())
	p.must(err)
	fields = map[string]string{}
	for _, field := range list {
		fields[field.Name] = field.Value
	}
	data := p.expect(http2.FrameData).(*http2.DataFrame) //nolint:forcetypeassert // as expected
	if !data.StreamEnded() || !headers.HeadersEnded() {
		p.Fatalf("not a whole request: %v, %v", headers, data)
	}
	return headers.StreamID, fields, string(data.Data()[prefix:])
}

// encoded is a block of headers: names and values.
func (p *serverEnd) encoded(fields ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // to memory
	}
	return bytes.Clone(p.block.Bytes())
}

func (p *serverEnd) headers(stream uint32, last bool, fields ...string) {
	p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.encoded(fields...), EndHeaders: true, EndStream: last}))
}

func (p *serverEnd) begin(stream uint32) {
	p.headers(stream, false, ":status", "200", "content-type", "application/grpc")
}

func (p *serverEnd) message(stream uint32, text string) {
	p.must(p.WriteData(stream, false, framed(text)))
}

func (p *serverEnd) end(stream uint32) { p.headers(stream, true, "grpc-status", "0") }

// answer answers in the ordinary way.
func (p *serverEnd) answer(stream uint32, text string) {
	p.begin(stream)
	p.message(stream, text)
	p.end(stream)
}

func framed(text string) []byte { return append([]byte{0, 0, 0, 0, byte(len(text))}, text...) }

func (o outcome) is(t *testing.T, text string) {
	t.Helper()
	if o.err != nil || string(o.message) != text {
		t.Errorf("got %+v, want %q", o, text)
	}
}

func (o outcome) notTaken(t *testing.T) {
	t.Helper()
	if !errors.Is(o.err, ErrNotTaken) || o.message != nil || o.header != nil {
		t.Errorf("got %+v, want that the call is not taken", o)
	}
}

// calling makes a call meanwhile.
func calling(ctx context.Context, c *Conn, request string) chan outcome {
	result := make(chan outcome, 1)
	go func() { result <- invoke(ctx, c.Invoke, []byte(request)) }()
	synctest.Wait()
	return result
}

func asking(c *Conn, request string) chan outcome {
	return calling(context.Background(), c, request)
}

// goesOn says that the connection serves further calls.
func goesOn(t *testing.T, c *Conn, p *serverEnd) {
	t.Helper()
	result := asking(c, "next")
	stream, _, _ := p.request()
	p.answer(stream, "still here")
	(<-result).is(t, "still here")
}

// way is a test's poll that is under way, with what the server is to say to it.
type way struct {
	conn   *Conn
	peers  chan *serverEnd
	peer   *serverEnd
	stream uint32
	result chan outcome
	say    func()
}

// each tests each of the ways in which a server may take a poll.
func each(t *testing.T, ways map[string]func(p *serverEnd, stream uint32), test func(t *testing.T, w way)) {
	t.Helper()
	for name, say := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, peers := pair(t)
				p := greeted(peers)
				result := asking(c, "a poll")
				stream, _, message := p.request()
				if message != "a poll" {
					t.Errorf("the server got %q", message)
				}
				test(t, way{c, peers, p, stream, result, func() { say(p, stream) }})
			})
		})
	}
}

func TestAnAnswerMayComeInAnyPieces(t *testing.T) {
	each(t, map[string]func(p *serverEnd, stream uint32){
		"headers in parts": func(p *serverEnd, stream uint32) {
			block := p.encoded(":status", "200", "content-type", "application/grpc+proto", "x", "1")
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block[:3]}))
			p.must(p.WriteContinuation(stream, false, block[3:5]))
			p.must(p.WriteContinuation(stream, true, block[5:]))
			p.message(stream, "hello")
			p.end(stream)
		},
		"byte by byte": func(p *serverEnd, stream uint32) {
			p.begin(stream)
			for _, b := range framed("hello") {
				p.must(p.WriteData(stream, false, []byte{b}))
				p.must(p.WriteData(stream, false, nil))
			}
			p.end(stream)
		},
		"padded, among pings": func(p *serverEnd, stream uint32) {
			p.must(p.WritePing(false, [8]byte{1}))
			p.expect(http2.FramePing)
			p.begin(stream)
			p.must(p.WriteDataPadded(stream, false, framed("hello"), make([]byte, 200)))
			p.must(p.WritePing(true, [8]byte{}))
			p.must(p.WriteWindowUpdate(stream, 1000))
			p.end(stream)
			p.must(p.WriteRSTStream(stream, http2.ErrCodeNo)) // as some servers do
		},
	}, func(t *testing.T, w way) {
		w.say()
		(<-w.result).is(t, "hello")
		goesOn(t, w.conn, w.peer)
	})
}

func TestWhatIsNoAnswerOfGRPCsIsNotTaken(t *testing.T) {
	each(t, map[string]func(p *serverEnd, stream uint32){
		"compressed": func(p *serverEnd, stream uint32) {
			p.begin(stream)
			p.must(p.WriteData(stream, false, []byte{1, 0, 0, 0, 0}))
		},
		"two messages": func(p *serverEnd, stream uint32) { p.begin(stream); p.message(stream, "a"); p.message(stream, "b") },
		"half a message": func(p *serverEnd, stream uint32) {
			p.begin(stream)
			p.must(p.WriteData(stream, false, framed("ab")[:6]))
			p.end(stream)
		},
		"half a prefix": func(p *serverEnd, stream uint32) {
			p.begin(stream)
			p.must(p.WriteData(stream, false, []byte{0, 0}))
			p.end(stream)
		},
		"no message": func(p *serverEnd, stream uint32) { p.begin(stream); p.end(stream) },
		"no headers": func(p *serverEnd, stream uint32) { p.message(stream, "a") },
		"nothing but OK": func(p *serverEnd, stream uint32) {
			p.headers(stream, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "0")
		},
		"no status": func(p *serverEnd, stream uint32) {
			p.begin(stream)
			p.message(stream, "a")
			p.headers(stream, true, "x", "y")
		},
		"a status that is none": func(p *serverEnd, stream uint32) {
			p.begin(stream)
			p.message(stream, "a")
			p.headers(stream, true, "grpc-status", "fine")
		},
		"no trailer":     func(p *serverEnd, stream uint32) { p.begin(stream); p.must(p.WriteData(stream, true, framed("a"))) },
		"headers thrice": func(p *serverEnd, stream uint32) { p.begin(stream); p.begin(stream) },
		"a page": func(p *serverEnd, stream uint32) {
			p.headers(stream, false, ":status", "200", "content-type", "text/html")
		},
		"HTTP's own error": func(p *serverEnd, stream uint32) {
			p.headers(stream, true, ":status", "503", "content-type", "application/grpc", "grpc-status", "0")
		},
		"an interim answer": func(p *serverEnd, stream uint32) { p.headers(stream, false, ":status", "103") },
		"bytes that are none": func(p *serverEnd, stream uint32) {
			p.headers(stream, false, ":status", "200", "content-type", "application/grpc", "x-bin", "*")
		},
		"details that are none": func(p *serverEnd, stream uint32) {
			p.headers(stream, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "5", "grpc-status-details-bin", "////")
		},
		"details of another status": func(p *serverEnd, stream uint32) {
			p.headers(stream, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "5", "grpc-status-details-bin", "CAY")
		},
		"refused": func(p *serverEnd, stream uint32) { p.must(p.WriteRSTStream(stream, http2.ErrCodeRefusedStream)) },
	}, func(t *testing.T, w way) {
		said := make(chan struct{})
		go func() {
			defer close(said)
			w.say()
		}()
		(<-w.result).notTaken(t)
		synctest.Wait()
		select {
		case <-said:
		default:
			t.Fatal("the client does not read on")
		}
		w.peer.resetOrPong(w.stream)
		goesOn(t, w.conn, w.peer)
	})
}

// resetOrPong reads what the client has to say of an answer that it had enough of: that it wants no more, at most.
func (p *serverEnd) resetOrPong(stream uint32) {
	p.Helper()
	p.must(p.WritePing(false, [8]byte{}))
	for {
		frame, err := p.ReadFrame()
		p.must(err)
		if _, pong := frame.(*http2.PingFrame); pong {
			return
		}
		if reset, ok := frame.(*http2.RSTStreamFrame); !ok || reset.StreamID != stream {
			p.Fatalf("the client sent %v", frame)
		}
	}
}

// Where HTTP/2 itself is broken, the connection is: its calls are not taken, and another is made.
func TestAConnectionThatBreaksItsRulesIsReplaced(t *testing.T) {
	each(t, map[string]func(p *serverEnd, stream uint32){
		"closed":  func(p *serverEnd, _ uint32) { _ = p.raw.Close() },
		"garbage": func(p *serverEnd, _ uint32) { _, _ = p.raw.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"bad headers": func(p *serverEnd, stream uint32) {
			p.must(p.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
		},
		"a frame too long": func(p *serverEnd, stream uint32) {
			_ = p.WriteRawFrame(http2.FrameData, 0, stream, make([]byte, maxFrame+1))
		},
		"a push": func(p *serverEnd, stream uint32) {
			p.must(p.WritePushPromise(http2.PushPromiseParam{StreamID: stream, PromiseID: 2, EndHeaders: true}))
		},
		"too much room": func(p *serverEnd, _ uint32) { p.must(p.WriteWindowUpdate(0, 1<<31-1)) },
		"bad settings": func(p *serverEnd, _ uint32) {
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}))
		},
		"endless headers": func(p *serverEnd, stream uint32) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.encoded(":status", "200")}))
			for range maxHeaders/10_000 + 1 {
				if p.WriteContinuation(stream, false, p.encoded("x", strings.Repeat("~", 10_000))) != nil {
					break
				}
			}
		},
	}, func(t *testing.T, w way) {
		go func() { _, _ = io.Copy(io.Discard, w.peer.raw) }()
		w.say()
		(<-w.result).notTaken(t)
		(<-asking(w.conn, "meanwhile")).notTaken(t)
		goesOn(t, w.conn, greeted(w.peers))
	})
}

func TestAServerThatIsNotReadyTakesNoCalls(t *testing.T) {
	for name, say := range map[string]func(p *serverEnd){
		"silent":        func(*serverEnd) {},
		"out of order":  func(p *serverEnd) { _ = p.WritePing(false, [8]byte{}) },
		"not on HTTP/2": func(p *serverEnd) { _, _ = p.raw.Write([]byte("* OK IMAP4rev1 Service Ready\r\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, peers := pair(t)
				p := <-peers
				go func() { _, _ = io.Copy(io.Discard, p.raw) }()
				say(p)
				(<-asking(c, "a poll")).notTaken(t)
				goesOn(t, c, greeted(peers)) // it tries again
			})
		})
	}
}

func TestAServerThatCannotBeReachedIsTriedEverMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		c := open(t, func(context.Context) (net.Conn, error) { tries.Add(1); return nil, errors.New("nobody there") })
		time.Sleep(10 * time.Minute)
		if got := tries.Load(); got < 10 || got > 40 {
			t.Errorf("%d tries in ten minutes", got)
		}
		(<-asking(c, "a poll")).notTaken(t)
	})
}

func TestOnlyWhatTheServerHasRoomForIsTaken(t *testing.T) {
	many := metadata.NewOutgoingContext(context.Background(), metadata.Pairs("x", strings.Repeat("y", maxMetadata)))
	for name, room := range map[string]struct {
		ctx      context.Context
		request  int
		settings []http2.Setting
	}{
		"a large request": {context.Background(), maxFrame - prefix + 1, nil},
		"much metadata":   {many, 1, nil},
		"a narrow window": {context.Background(), 100, []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 104}}},
		"no calls at all": {context.Background(), 1, []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, peers := pair(t)
				p := greeted(peers, room.settings...)
				(<-calling(room.ctx, c, strings.Repeat("x", room.request))).notTaken(t)
				if room.settings == nil {
					goesOn(t, c, p)
				}
			})
		})
	}
	t.Run("a used up window", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, peers := pair(t)
			p := greeted(peers, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
			large := strings.Repeat("x", maxFrame-prefix)
			for range defaultWindow / maxFrame {
				result := asking(c, large)
				stream, _, _ := p.request()
				p.answer(stream, "fine")
				(<-result).is(t, "fine")
			}
			(<-asking(c, large)).notTaken(t)
			p.must(p.WriteWindowUpdate(0, maxFrame))
			synctest.Wait()
			goesOn(t, c, p)
			p.must(p.WriteWindowUpdate(0, maxFrame))
			synctest.Wait()
			result := asking(c, large)
			stream, _, _ := p.request()
			p.answer(stream, "fine again")
			(<-result).is(t, "fine again")
		})
	})
	t.Run("calls beyond the most at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, peers := pair(t)
			p := greeted(peers, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
			first := asking(c, "first")
			stream, _, _ := p.request()
			(<-asking(c, "second")).notTaken(t)
			p.answer(stream, "one")
			(<-first).is(t, "one")
			goesOn(t, c, p)
		})
	})
}

// Whoever watches it: a timer of its own, or the connection's.
func TestACallEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peers := pair(t)
		p := greeted(peers)
		begun := time.Now()
		var calls []chan outcome
		ends := []time.Duration{2000 * time.Millisecond, 300 * time.Millisecond, 1000 * time.Millisecond, 1500 * time.Millisecond}
		for i, end := range ends {
			ctx, cancel := context.WithDeadline(context.Background(), begun.Add(end))
			if i%2 == 0 {
				ctx, cancel = deadline.With(context.Background(), begun.Add(end))
			}
			defer cancel()
			calls = append(calls, calling(ctx, c, "a poll"))
			_, fields, _ := p.request()
			if want := fmt.Sprintf("%du", end.Microseconds()); fields["grpc-timeout"] != want {
				t.Errorf("the server has %s, want %s", fields["grpc-timeout"], want)
			}
		}
		go func() { _, _ = io.Copy(io.Discard, p.raw) }()
		for _, i := range []int{1, 2, 3, 0} {
			if got := <-calls[i]; status.Code(got.err) != codes.DeadlineExceeded || got.header != nil || got.peer.Addr == nil {
				t.Errorf("after %v: %+v", ends[i], got)
			}
			if took := time.Since(begun); took != ends[i] {
				t.Errorf("a call for %v took %v", ends[i], took)
			}
		}
	})
}

func TestAServerIsToldThatNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peers := pair(t)
		p := greeted(peers)
		ctx, cancel := context.WithCancel(context.Background())
		result := calling(ctx, c, "a poll")
		stream, fields, _ := p.request()
		if _, has := fields["grpc-timeout"]; has {
			t.Errorf("the server has %s, and the caller any time", fields["grpc-timeout"])
		}
		cancel()
		if got := <-result; status.Code(got.err) != codes.Canceled {
			t.Errorf("got %+v", got)
		}
		if reset := p.expect(http2.FrameRSTStream); reset.Header().StreamID != stream {
			t.Errorf("the client sent %v", reset)
		}
		p.answer(stream, "too late")
		goesOn(t, c, p)

		parent, cancelParent := context.WithCancel(context.Background())
		watched, release := deadline.With(parent, time.Now().Add(time.Hour))
		defer release()
		result = calling(watched, c, "a poll")
		stream, _, _ = p.request()
		cancelParent()
		if got := <-result; status.Code(got.err) != codes.Canceled {
			t.Errorf("got %+v", got)
		}
		if reset := p.expect(http2.FrameRSTStream); reset.Header().StreamID != stream {
			t.Errorf("the client sent %v", reset)
		}

		if got := <-calling(ctx, c, "nobody waits from the start"); status.Code(got.err) != codes.Canceled {
			t.Errorf("got %+v", got)
		}
	})
}

// A frozen process reads nothing; nobody waits for it longer than they would.
func TestAServerThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peers := pair(t)
		greeted(peers)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		end, _ := ctx.Deadline()
		request := strings.Repeat("x", 1000)
		var results []chan outcome
		for range 100 {
			results = append(results, calling(ctx, c, request))
		}
		for _, result := range results {
			if got := <-result; !errors.Is(got.err, ErrNotTaken) && status.Code(got.err) != codes.DeadlineExceeded {
				t.Errorf("got %+v", got)
			}
		}
		if now := time.Now(); now.After(end) {
			t.Errorf("calls ended %v late", now.Sub(end))
		}
	})
}

func TestAServerThatPingsAndDoesNotReadIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peers := pair(t)
		p := greeted(peers)
		sent := 0
		for p.WritePing(false, [8]byte{}) == nil {
			if sent++; sent > maxBacklog {
				t.Fatalf("%d pings are on the client's mind", sent)
			}
		}
		goesOn(t, c, greeted(peers))
	})
}

func TestAServerThatLeavesIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peers := pair(t)
		p := greeted(peers)
		seen := asking(c, "seen")
		stream, _, _ := p.request()
		unseen := asking(c, "unseen")
		p.request()
		p.must(p.WriteGoAway(stream, http2.ErrCodeNo, nil))
		(<-unseen).notTaken(t)
		next := greeted(peers) // while the old one still works
		goesOn(t, c, next)
		p.answer(stream, "finished")
		(<-seen).is(t, "finished")
		if _, err := p.ReadFrame(); err == nil {
			t.Error("the old connection is kept")
		}
		goesOn(t, c, next)
	})
}

func TestAConnectionWithoutStreamsLeftIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peers := pair(t)
		p := greeted(peers)
		current := c.current.Load()
		current.mu.Lock()
		current.next = 1<<31 - 1
		current.mu.Unlock()
		last := asking(c, "the last")
		stream, _, _ := p.request()
		next := greeted(peers)
		p.answer(stream, "fine")
		(<-last).is(t, "fine")
		goesOn(t, c, next)
	})
}

// What a server remembers of headers is its own affair, and may change.
func TestHeadersFollowTheServersTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peers := pair(t)
		p := greeted(peers)
		ctx := metadata.NewOutgoingContext(context.Background(), metadata.Pairs("x", "plain", "y-bin", "\x00\xff"))
		for _, size := range []uint32{4096, 4096, 4096, 0, 0, 0, 120, 120, 4096, 4096, 1 << 20, 1 << 20} {
			p.decoder.SetAllowedMaxDynamicTableSize(size)
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}))
			p.expect(http2.FrameSettings)
			for range 4 {
				result := calling(ctx, c, "a poll")
				stream, fields, _ := p.request()
				for name, want := range map[string]string{
					":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost", "te": "trailers",
					"content-type": "application/grpc", "x": "plain", "y-bin": "AP8",
				} {
					if fields[name] != want {
						t.Errorf("a table of %d bytes: %s is %q, not %q", size, name, fields[name], want)
					}
				}
				p.answer(stream, "fine")
				(<-result).is(t, "fine")
			}
		}
	})
}

func TestClosingEndsTheCallsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peers := pair(t)
		p := greeted(peers)
		result := asking(c, "a poll")
		p.request()
		c.Close()
		(<-result).notTaken(t)
		(<-asking(c, "another")).notTaken(t)
		if c.Connected() {
			t.Error("it takes calls when it is closed")
		}
	})
}

// FuzzServer lets a server say anything: calls end, and nothing breaks.
func FuzzServer(f *testing.F) {
	var ordinary bytes.Buffer
	p := &serverEnd{Framer: http2.NewFramer(&ordinary, nil)}
	p.encoder = hpack.NewEncoder(&p.block)
	_ = p.WriteSettings()
	for _, stream := range []uint32{1, 3} {
		_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.encoded(":status", "200", "content-type", "application/grpc"), EndHeaders: true})
		_ = p.WriteData(stream, false, framed("hello"))
		_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.encoded("grpc-status", "0"), EndHeaders: true, EndStream: true})
	}
	f.Add(ordinary.Bytes(), uint16(len(ordinary.Bytes())))
	f.Add(ordinary.Bytes(), uint16(9))
	_ = p.WriteGoAway(1, http2.ErrCodeNo, nil)
	_ = p.WriteRSTStream(3, http2.ErrCodeCancel)
	f.Add(ordinary.Bytes(), uint16(20))
	f.Fuzz(func(t *testing.T, said []byte, first uint16) {
		client, server := net.Pipe()
		defer server.Close()
		go func() { _, _ = io.Copy(io.Discard, server) }()
		transport := newTransport(client, nil, Options{Method: method, Scheme: "http", Authority: "localhost"})
		served := make(chan error, 1)
		go func() { served <- transport.serve(context.Background()) }()
		split := min(int(first), len(said))
		_, _ = server.Write(said[:split])
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		results := make(chan *answer, 3)
		for range cap(results) {
			go func() {
				got, err := transport.call(ctx, mem.BufferSlice{mem.SliceBuffer("a poll")}, callOptions{})
				if (err == nil) != (got != nil && got.message != nil && got.code == "0") {
					t.Errorf("got %+v, %v", got, err)
				}
				results <- got
			}()
		}
		_, _ = server.Write(said[split:])
		_ = server.Close()
		for range cap(results) {
			<-results
		}
		<-served
	})
}
