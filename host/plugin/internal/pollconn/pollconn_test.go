package pollconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/test/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const method = "/flyteidl.service.AsyncAgentService/GetTask"

// raw is a codec of messages that are bytes.
type raw struct{}

func (raw) Name() string { return "" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil //nolint:forcetypeassert // the tests' own
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize() //nolint:forcetypeassert // the tests' own
	return nil
}

var _ encoding.CodecV2 = raw{}

// wanted is what a test's server is asked to answer with.
type wanted struct {
	Code            codes.Code
	Text            string
	Details         bool
	Header, Trailer metadata.MD
	Size            int // of the message, in bytes
}

// given is what it answers with: what it was given itself, filled up to the size.
type given struct {
	Metadata metadata.MD
	Filling  string
}

func answerAsAsked(_ any, stream grpc.ServerStream) error {
	var message []byte
	if err := stream.RecvMsg(&message); err != nil {
		return err
	}
	var w wanted
	if err := json.Unmarshal(message, &w); err != nil {
		return err
	}
	if len(w.Header) > 0 {
		if err := stream.SendHeader(w.Header); err != nil {
			return err
		}
	}
	stream.SetTrailer(w.Trailer)
	if w.Code != codes.OK {
		failed := status.New(w.Code, w.Text)
		if w.Details {
			failed, _ = failed.WithDetails(&errdetails.ErrorInfo{Reason: w.Text})
		}
		return failed.Err()
	}
	got := given{Filling: strings.Repeat("x", w.Size)}
	got.Metadata, _ = metadata.FromIncomingContext(stream.Context())
	for _, own := range []string{"user-agent", ":authority", "content-type"} {
		delete(got.Metadata, own)
	}
	response, err := json.Marshal(got)
	if err != nil {
		return err
	}
	return stream.SendMsg(&response)
}

// serve starts a server that answers as it is asked to.
func serve(t testing.TB, listener net.Listener) *grpc.Server {
	t.Helper()
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(answerAsAsked))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return server
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func open(t testing.TB, dial func(context.Context) (net.Conn, error)) *Conn {
	t.Helper()
	c := Open(Options{
		Method: method, Scheme: "http", Authority: "localhost", Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context) (net.Conn, credentials.AuthInfo, error) {
			raw, err := dial(ctx)
			return raw, nil, err
		},
	})
	t.Cleanup(c.Close)
	return c
}

func openTo(t testing.TB, address string) *Conn {
	t.Helper()
	c := open(t, func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) })
	wait.Until(t, "calls are taken", c.Connected)
	return c
}

// outcome is what a caller got.
type outcome struct {
	message         []byte
	header, trailer metadata.MD
	peer            peer.Peer
	err             error
}

// invoke makes a call on a connection of any kind.
func invoke(ctx context.Context, invoke func(context.Context, any, any, ...grpc.CallOption) error, request []byte) outcome {
	var o outcome
	o.err = invoke(ctx, &request, &o.message, grpc.ForceCodecV2(raw{}), grpc.Header(&o.header), grpc.Trailer(&o.trailer), grpc.Peer(&o.peer))
	return o
}

func asBytes(t testing.TB, w wanted) []byte {
	t.Helper()
	request, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// The rule for every call that is taken.
func TestACallGivesWhatGRPCGives(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener)
	c := openTo(t, listener.Addr().String())
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "100 %", "%41", "a\nb", "é", "%zz", strings.Repeat("long ", 20_000)}))
	plain := rapid.StringMatching(`[ -~]{1,40}`).Filter(func(s string) bool { return strings.TrimSpace(s) == s })
	some := rapid.Custom(func(t *rapid.T) metadata.MD {
		md := metadata.MD{}
		maps.Copy(md, rapid.MapOfN(rapid.StringMatching(`x-[a-z0-9]{1,12}`), rapid.SliceOfN(plain, 1, 2), 0, 3).Draw(t, "plain"))
		for name, values := range rapid.MapOfN(rapid.StringMatching(`y-[a-z]{1,12}-bin`), rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 40), 1, 2), 0, 2).Draw(t, "binary") {
			for _, value := range values {
				md.Append(name, string(value))
			}
		}
		return md
	})
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		request, err := json.Marshal(wanted{
			Code:    codes.Code(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 4, 5, 8, 13, 14, 16, 17, 99}).Draw(t, "code")),
			Text:    text.Draw(t, "text"),
			Details: rapid.Bool().Draw(t, "details"),
			Header:  some.Draw(t, "header"), Trailer: some.Draw(t, "trailer"),
			Size: rapid.SampledFrom([]int{0, 1, 100, 16_300, 16_400, 70_000, 9 << 20}).Draw(t, "size"),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), some.Draw(t, "metadata")), time.Minute)
		defer cancel()

		want := invoke(ctx, func(ctx context.Context, request, response any, options ...grpc.CallOption) error {
			return conn.Invoke(ctx, method, request, response, options...)
		}, request)
		got := invoke(ctx, c.Invoke, request)
		if errors.Is(got.err, ErrNotTaken) {
			if len(request) <= maxFrame-prefix {
				t.Fatalf("a request of %d bytes was not taken", len(request))
			}
			return
		}
		taken++
		if !proto.Equal(status.Convert(got.err).Proto(), status.Convert(want.err).Proto()) {
			t.Fatalf("status %v, by grpc %v", status.Convert(got.err).Proto(), status.Convert(want.err).Proto())
		}
		if string(got.message) != string(want.message) {
			t.Fatalf("message %.200s, by grpc %.200s", got.message, want.message)
		}
		if fmt.Sprint(got.header) != fmt.Sprint(want.header) || fmt.Sprint(got.trailer) != fmt.Sprint(want.trailer) {
			t.Fatalf("metadata %v and %v, by grpc %v and %v", got.header, got.trailer, want.header, want.trailer)
		}
		if got.peer.Addr.String() != want.peer.Addr.String() {
			t.Fatalf("from %v, by grpc %v", got.peer.Addr, want.peer.Addr)
		}
	})
	if taken == 0 {
		t.Error("no call was taken")
	}
}

// Callers that give up, and servers that come and go, mix nobody's answers up.
func TestEveryCallerGetsItsOwnAnswer(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	address := listener.Addr().String()
	server := serve(t, listener)
	c := openTo(t, address)

	var callers sync.WaitGroup
	var answered [8]atomic.Int64
	enough, stop := context.WithCancel(t.Context())
	for caller := range answered {
		callers.Go(func() {
			for call := 0; enough.Err() == nil; call++ {
				if oneCall(t, c, caller*1000+call%1000) {
					answered[caller].Add(1)
				}
			}
		})
	}
	everybodyAnswered := func() {
		for caller := range answered {
			before := answered[caller].Load()
			wait.Until(t, "a caller is answered", func() bool { return answered[caller].Load() >= before+20 })
		}
	}
	for restart := range 4 {
		everybodyAnswered()
		if restart%2 == 0 {
			server.GracefulStop()
		} else {
			server.Stop()
		}
		server = serve(t, listen(t, address))
	}
	everybodyAnswered()
	stop()
	callers.Wait()
}

// oneCall asks for an answer of a size, which nobody else asks for at the time, and gives up now and then.
func oneCall(t *testing.T, c *Conn, size int) (answered bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if rand.IntN(4) == 0 {
		time.AfterFunc(time.Duration(rand.IntN(1000))*time.Microsecond, cancel)
	}
	got := invoke(ctx, c.Invoke, asBytes(t, wanted{Size: size}))
	var said given
	switch {
	case errors.Is(got.err, ErrNotTaken):
		time.Sleep(time.Millisecond) // there is nothing to ask before the next connection
	case status.Code(got.err) == codes.Canceled:
	case got.err != nil:
		t.Errorf("a call for %d bytes: %v", size, got.err)
	case json.Unmarshal(got.message, &said) != nil || len(said.Filling) != size:
		t.Errorf("a call for %d bytes got somebody else's answer, of %d", size, len(said.Filling))
	default:
		return true
	}
	return false
}

func TestATimeoutIsWhatGRPCTakes(t *testing.T) {
	for left, want := range map[time.Duration]string{
		-time.Second:                    "1u",
		time.Nanosecond:                 "1u",
		1500 * time.Nanosecond:          "2u",
		10 * time.Second:                "10000000u",
		99_999_999 * time.Microsecond:   "99999999u",
		100 * time.Second:               "100000m",
		99_999_999*time.Millisecond + 1: "100000S",
		290 * 365 * 24 * time.Hour:      "152424000M",
	} {
		got := timeout(left)
		if left > 200*365*24*time.Hour {
			want = "99999999M"
		}
		if got != want {
			t.Errorf("%v = %s, want %s", left, got, want)
		}
	}
}

// What it does not know how to honour is grpc-go's.
func TestACallWithAnyOtherOptionIsNotTaken(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener)
	c := openTo(t, listener.Addr().String())
	request := asBytes(t, wanted{})
	for name, options := range map[string][]grpc.CallOption{
		"no codec":           nil,
		"a codec that names": {grpc.ForceCodecV2(encoding.GetCodecV2("proto"))},
		"a limit":            {grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(1)},
		"waiting":            {grpc.ForceCodecV2(raw{}), grpc.WaitForReady(true)},
		"a later codec":      {grpc.ForceCodecV2(raw{}), grpc.ForceCodecV2(encoding.GetCodecV2("proto"))},
	} {
		var response []byte
		if err := c.Invoke(t.Context(), &request, &response, options...); !errors.Is(err, ErrNotTaken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := invoke(t.Context(), c.Invoke, request); got.err != nil {
		t.Error(got.err)
	}
}
