package lane

import (
	"bytes"
	"context"
	"errors"
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
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// peer is the server's end of a connection, by hand.
type peer struct {
	*testing.T
	*http2.Framer
	raw     net.Conn
	decoder *hpack.Decoder
	block   bytes.Buffer
	encoder *hpack.Encoder
}

// pair is a lane and the servers' ends of the connections that it makes, in their order.
func pair(t *testing.T) (*Lane, chan *peer) {
	t.Helper()
	peers := make(chan *peer, 10)
	return open(t, func(context.Context) (net.Conn, error) {
		client, server := net.Pipe()
		t.Cleanup(func() { _ = server.Close() })
		p := &peer{T: t, Framer: http2.NewFramer(server, server), raw: server, decoder: hpack.NewDecoder(4096, nil)}
		p.encoder = hpack.NewEncoder(&p.block)
		peers <- p
		return client, nil
	}), peers
}

// greeted is the next connection, after the first words on both sides.
func greeted(peers chan *peer, settings ...http2.Setting) *peer {
	p := <-peers
	p.greet(settings...)
	return p
}

func (p *peer) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *peer) greet(settings ...http2.Setting) {
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

func (p *peer) expect(kind http2.FrameType) http2.Frame {
	p.Helper()
	frame, err := p.ReadFrame()
	p.must(err)
	if frame.Header().Type != kind {
		p.Fatalf("the client sent %v, not %v", frame, kind)
	}
	return frame
}

// request reads one.
func (p *peer) request() (stream uint32, fields map[string]string, message string) {
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
func (p *peer) encoded(fields ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // to memory
	}
	return bytes.Clone(p.block.Bytes())
}

func (p *peer) headers(stream uint32, last bool, fields ...string) {
	p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.encoded(fields...), EndHeaders: true, EndStream: last}))
}

func (p *peer) begin(stream uint32) {
	p.headers(stream, false, ":status", "200", "content-type", "application/grpc")
}

func (p *peer) message(stream uint32, text string) { p.must(p.WriteData(stream, false, framed(text))) }

func (p *peer) end(stream uint32) { p.headers(stream, true, "grpc-status", "0") }

// answer answers in the ordinary way.
func (p *peer) answer(stream uint32, text string) {
	p.begin(stream)
	p.message(stream, text)
	p.end(stream)
}

func framed(text string) []byte { return append([]byte{0, 0, 0, 0, byte(len(text))}, text...) }

// outcome is what a caller got.
type outcome struct {
	answer *Answer
	err    error
}

func (o outcome) is(t *testing.T, text string) {
	t.Helper()
	if o.err != nil || string(o.answer.Message) != text {
		t.Errorf("got %+v, want %q", o, text)
	}
}

func (o outcome) notTaken(t *testing.T) {
	t.Helper()
	if !errors.Is(o.err, ErrNotTaken) || o.answer != nil {
		t.Errorf("got %+v, want that the call is not taken", o)
	}
}

// calling makes a call meanwhile.
func calling(ctx context.Context, l *Lane, until time.Time, request string) chan outcome {
	result := make(chan outcome, 1)
	go func() {
		got, err := l.Call(ctx, until, []byte(request))
		result <- outcome{got, err}
	}()
	synctest.Wait()
	return result
}

func asking(l *Lane, request string) chan outcome {
	return calling(context.Background(), l, time.Time{}, request)
}

// goesOn says that the connection serves further calls.
func goesOn(t *testing.T, l *Lane, p *peer) {
	t.Helper()
	result := asking(l, "next")
	stream, _, _ := p.request()
	p.answer(stream, "still here")
	(<-result).is(t, "still here")
}

// way is a test's poll that is under way, with what the server is to say to it.
type way struct {
	lane   *Lane
	peers  chan *peer
	peer   *peer
	stream uint32
	result chan outcome
	say    func()
}

// each tests each of the ways in which a server may take a poll.
func each(t *testing.T, ways map[string]func(p *peer, stream uint32), test func(t *testing.T, w way)) {
	t.Helper()
	for name, say := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, peers := pair(t)
				p := greeted(peers)
				result := asking(l, "a poll")
				stream, _, message := p.request()
				if message != "a poll" {
					t.Errorf("the server got %q", message)
				}
				test(t, way{l, peers, p, stream, result, func() { say(p, stream) }})
			})
		})
	}
}

func TestAnAnswerMayComeInAnyPieces(t *testing.T) {
	each(t, map[string]func(p *peer, stream uint32){
		"headers in parts": func(p *peer, stream uint32) {
			block := p.encoded(":status", "200", "content-type", "application/grpc+proto", "x", "1")
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block[:3]}))
			p.must(p.WriteContinuation(stream, false, block[3:5]))
			p.must(p.WriteContinuation(stream, true, block[5:]))
			p.message(stream, "hello")
			p.end(stream)
		},
		"byte by byte": func(p *peer, stream uint32) {
			p.begin(stream)
			for _, b := range framed("hello") {
				p.must(p.WriteData(stream, false, []byte{b}))
				p.must(p.WriteData(stream, false, nil))
			}
			p.end(stream)
		},
		"padded, among pings": func(p *peer, stream uint32) {
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
		goesOn(t, w.lane, w.peer)
	})
}

func TestWhatIsNoAnswerOfGRPCsIsNotTaken(t *testing.T) {
	each(t, map[string]func(p *peer, stream uint32){
		"compressed": func(p *peer, stream uint32) {
			p.begin(stream)
			p.must(p.WriteData(stream, false, []byte{1, 0, 0, 0, 0}))
		},
		"two messages": func(p *peer, stream uint32) { p.begin(stream); p.message(stream, "a"); p.message(stream, "b") },
		"half a message": func(p *peer, stream uint32) {
			p.begin(stream)
			p.must(p.WriteData(stream, false, framed("ab")[:6]))
			p.end(stream)
		},
		"half a prefix": func(p *peer, stream uint32) {
			p.begin(stream)
			p.must(p.WriteData(stream, false, []byte{0, 0}))
			p.end(stream)
		},
		"no message": func(p *peer, stream uint32) { p.begin(stream); p.end(stream) },
		"no headers": func(p *peer, stream uint32) { p.message(stream, "a") },
		"nothing but OK": func(p *peer, stream uint32) {
			p.headers(stream, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "0")
		},
		"no status": func(p *peer, stream uint32) {
			p.begin(stream)
			p.message(stream, "a")
			p.headers(stream, true, "x", "y")
		},
		"a status that is none": func(p *peer, stream uint32) {
			p.begin(stream)
			p.message(stream, "a")
			p.headers(stream, true, "grpc-status", "fine")
		},
		"no trailer":     func(p *peer, stream uint32) { p.begin(stream); p.must(p.WriteData(stream, true, framed("a"))) },
		"headers thrice": func(p *peer, stream uint32) { p.begin(stream); p.begin(stream) },
		"a page":         func(p *peer, stream uint32) { p.headers(stream, false, ":status", "200", "content-type", "text/html") },
		"HTTP's own error": func(p *peer, stream uint32) {
			p.headers(stream, true, ":status", "503", "content-type", "application/grpc", "grpc-status", "0")
		},
		"an interim answer": func(p *peer, stream uint32) { p.headers(stream, false, ":status", "103") },
		"bytes that are none": func(p *peer, stream uint32) {
			p.headers(stream, false, ":status", "200", "content-type", "application/grpc", "x-bin", "*")
		},
		"details that are none": func(p *peer, stream uint32) {
			p.headers(stream, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "5", "grpc-status-details-bin", "////")
		},
		"details of another status": func(p *peer, stream uint32) {
			p.headers(stream, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "5", "grpc-status-details-bin", "CAY")
		},
		"refused": func(p *peer, stream uint32) { p.must(p.WriteRSTStream(stream, http2.ErrCodeRefusedStream)) },
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
		goesOn(t, w.lane, w.peer)
	})
}

// resetOrPong reads what the client has to say of an answer that it had enough of: that it wants no more, at most.
func (p *peer) resetOrPong(stream uint32) {
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
	each(t, map[string]func(p *peer, stream uint32){
		"closed":  func(p *peer, _ uint32) { _ = p.raw.Close() },
		"garbage": func(p *peer, _ uint32) { _, _ = p.raw.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"bad headers": func(p *peer, stream uint32) {
			p.must(p.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
		},
		"a frame too long": func(p *peer, stream uint32) {
			_ = p.WriteRawFrame(http2.FrameData, 0, stream, make([]byte, maxFrame+1))
		},
		"a push": func(p *peer, stream uint32) {
			p.must(p.WritePushPromise(http2.PushPromiseParam{StreamID: stream, PromiseID: 2, EndHeaders: true}))
		},
		"too much room": func(p *peer, _ uint32) { p.must(p.WriteWindowUpdate(0, 1<<31-1)) },
		"bad settings": func(p *peer, _ uint32) {
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}))
		},
		"endless headers": func(p *peer, stream uint32) {
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
		(<-asking(w.lane, "meanwhile")).notTaken(t)
		goesOn(t, w.lane, greeted(w.peers))
	})
}

func TestAServerThatIsNotReadyTakesNoCalls(t *testing.T) {
	for name, say := range map[string]func(p *peer){
		"silent":        func(*peer) {},
		"out of order":  func(p *peer) { _ = p.WritePing(false, [8]byte{}) },
		"not on HTTP/2": func(p *peer) { _, _ = p.raw.Write([]byte("* OK IMAP4rev1 Service Ready\r\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, peers := pair(t)
				p := <-peers
				go func() { _, _ = io.Copy(io.Discard, p.raw) }()
				say(p)
				(<-asking(l, "a poll")).notTaken(t)
				goesOn(t, l, greeted(peers)) // it tries again
			})
		})
	}
}

func TestAServerThatCannotBeReachedIsTriedEverMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		l := open(t, func(context.Context) (net.Conn, error) { tries.Add(1); return nil, errors.New("nobody there") })
		time.Sleep(10 * time.Minute)
		if got := tries.Load(); got < 10 || got > 40 {
			t.Errorf("%d tries in ten minutes", got)
		}
		(<-asking(l, "a poll")).notTaken(t)
	})
}

func TestOnlyWhatTheServerHasRoomForIsTaken(t *testing.T) {
	many := metadata.NewOutgoingContext(context.Background(), metadata.Pairs("x", strings.Repeat("y", maxMetadata)))
	for name, c := range map[string]struct {
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
				l, peers := pair(t)
				p := greeted(peers, c.settings...)
				(<-calling(c.ctx, l, time.Time{}, strings.Repeat("x", c.request))).notTaken(t)
				if c.settings == nil {
					goesOn(t, l, p)
				}
			})
		})
	}
	t.Run("a used up window", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, peers := pair(t)
			p := greeted(peers, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
			large := strings.Repeat("x", maxFrame-prefix)
			for range defaultWindow / maxFrame {
				result := asking(l, large)
				stream, _, _ := p.request()
				p.answer(stream, "fine")
				(<-result).is(t, "fine")
			}
			(<-asking(l, large)).notTaken(t)
			p.must(p.WriteWindowUpdate(0, maxFrame))
			synctest.Wait()
			goesOn(t, l, p)
			p.must(p.WriteWindowUpdate(0, maxFrame))
			synctest.Wait()
			result := asking(l, large)
			stream, _, _ := p.request()
			p.answer(stream, "fine again")
			(<-result).is(t, "fine again")
		})
	})
	t.Run("calls beyond the most at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, peers := pair(t)
			p := greeted(peers, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
			first := asking(l, "first")
			stream, _, _ := p.request()
			(<-asking(l, "second")).notTaken(t)
			p.answer(stream, "one")
			(<-first).is(t, "one")
			goesOn(t, l, p)
		})
	})
}

func TestACallEndsInTime(t *testing.T) {
	const time1, time2 = 300 * time.Millisecond, 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		l, peers := pair(t)
		p := greeted(peers)
		begun := time.Now()
		late := calling(context.Background(), l, begun.Add(time2), "late")
		_, fields, _ := p.request()
		if fields["grpc-timeout"] != "2000000u" {
			t.Errorf("the server has %s", fields["grpc-timeout"])
		}
		soon := calling(context.Background(), l, begun.Add(time1), "soon")
		p.request()
		ctx, cancel := context.WithDeadline(context.Background(), begun.Add(time.Second))
		defer cancel()
		deadline := calling(ctx, l, begun.Add(time2), "by its caller's deadline")
		_, fields, _ = p.request()
		if fields["grpc-timeout"] != "1000000u" {
			t.Errorf("the server has %s", fields["grpc-timeout"])
		}
		go func() { _, _ = io.Copy(io.Discard, p.raw) }()
		for _, c := range []struct {
			result chan outcome
			after  time.Duration
		}{{soon, time1}, {deadline, time.Second}, {late, time2}} {
			if got := <-c.result; status.Code(got.err) != codes.DeadlineExceeded || got.answer != nil {
				t.Errorf("after %v: %+v", c.after, got)
			}
			if took := time.Since(begun); took != c.after {
				t.Errorf("a call for %v took %v", c.after, took)
			}
		}
	})
}

func TestAServerIsToldThatNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, peers := pair(t)
		p := greeted(peers)
		ctx, cancel := context.WithCancel(context.Background())
		result := calling(ctx, l, time.Time{}, "a poll")
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
		goesOn(t, l, p)

		if got := <-calling(ctx, l, time.Time{}, "nobody waits from the start"); status.Code(got.err) != codes.Canceled {
			t.Errorf("got %+v", got)
		}
	})
}

// A frozen process reads nothing; nobody waits for it longer than they would.
func TestAServerThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, peers := pair(t)
		greeted(peers)
		until := time.Now().Add(time.Second)
		request := strings.Repeat("x", 1000)
		var results []chan outcome
		for range 100 {
			results = append(results, calling(context.Background(), l, until, request))
		}
		for _, result := range results {
			if got := <-result; !errors.Is(got.err, ErrNotTaken) && status.Code(got.err) != codes.DeadlineExceeded {
				t.Errorf("got %+v", got)
			}
		}
		if now := time.Now(); now.After(until) {
			t.Errorf("calls ended %v late", now.Sub(until))
		}
	})
}

func TestAServerThatPingsAndDoesNotReadIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, peers := pair(t)
		p := greeted(peers)
		sent := 0
		for p.WritePing(false, [8]byte{}) == nil {
			if sent++; sent > maxBacklog {
				t.Fatalf("%d pings are on the client's mind", sent)
			}
		}
		goesOn(t, l, greeted(peers))
	})
}

func TestAServerThatLeavesIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, peers := pair(t)
		p := greeted(peers)
		seen := asking(l, "seen")
		stream, _, _ := p.request()
		unseen := asking(l, "unseen")
		p.request()
		p.must(p.WriteGoAway(stream, http2.ErrCodeNo, nil))
		(<-unseen).notTaken(t)
		next := greeted(peers) // while the old one still works
		goesOn(t, l, next)
		p.answer(stream, "finished")
		(<-seen).is(t, "finished")
		if _, err := p.ReadFrame(); err == nil {
			t.Error("the old connection is kept")
		}
		goesOn(t, l, next)
	})
}

func TestAConnectionWithoutStreamsLeftIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, peers := pair(t)
		p := greeted(peers)
		c := l.current.Load()
		c.mu.Lock()
		c.next = 1<<31 - 1
		c.mu.Unlock()
		last := asking(l, "the last")
		stream, _, _ := p.request()
		next := greeted(peers)
		p.answer(stream, "fine")
		(<-last).is(t, "fine")
		goesOn(t, l, next)
	})
}

// What a server remembers of headers is its own affair, and may change.
func TestHeadersFollowTheServersTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, peers := pair(t)
		p := greeted(peers)
		ctx := metadata.NewOutgoingContext(context.Background(), metadata.Pairs("x", "plain", "y-bin", "\x00\xff"))
		for _, size := range []uint32{4096, 4096, 4096, 0, 0, 0, 120, 120, 4096, 4096, 1 << 20, 1 << 20} {
			p.decoder.SetAllowedMaxDynamicTableSize(size)
			p.must(p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}))
			p.expect(http2.FrameSettings)
			for range 4 {
				result := calling(ctx, l, time.Time{}, "a poll")
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

func TestClosingALaneEndsItsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, peers := pair(t)
		p := greeted(peers)
		result := asking(l, "a poll")
		p.request()
		l.Close()
		(<-result).notTaken(t)
		(<-asking(l, "another")).notTaken(t)
		if l.Taking() {
			t.Error("a closed lane takes calls")
		}
	})
}

// FuzzServer lets a server say anything: calls end, and nothing breaks.
func FuzzServer(f *testing.F) {
	var ordinary bytes.Buffer
	p := &peer{Framer: http2.NewFramer(&ordinary, nil)}
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
		c := newConn(client, Options{Method: method, Scheme: "http", Authority: "localhost"})
		served := make(chan error, 1)
		go func() { served <- c.serve(context.Background()) }()
		split := min(int(first), len(said))
		_, _ = server.Write(said[:split])
		results := make(chan outcome, 3)
		for range cap(results) {
			go func() {
				got, err := c.call(context.Background(), time.Now().Add(time.Minute), []byte("a poll"))
				results <- outcome{got, err}
			}()
		}
		_, _ = server.Write(said[split:])
		_ = server.Close()
		for range cap(results) {
			if got := <-results; (got.err == nil) != (got.answer != nil && got.answer.Message != nil) {
				t.Errorf("got %+v", got)
			}
		}
		<-served
	})
}
