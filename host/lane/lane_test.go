package lane

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
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
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

func open(t testing.TB, dial func(context.Context) (net.Conn, error)) *Lane {
	t.Helper()
	l := Open(Options{Dial: dial, Method: method, Scheme: "http", Authority: "localhost", Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(l.Close)
	return l
}

func openTo(t testing.TB, address string) *Lane {
	t.Helper()
	l := open(t, func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) })
	wait.Until(t, "calls are taken", l.Taking)
	return l
}

func asBytes(t testing.TB, w wanted) []byte {
	t.Helper()
	request, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// The rule for everything that a lane takes.
func TestALaneTellsWhatGRPCTells(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener)
	l := openTo(t, listener.Addr().String())
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

		var want []byte
		var header, trailer metadata.MD
		wantErr := conn.Invoke(ctx, method, &request, &want, grpc.Header(&header), grpc.Trailer(&trailer))
		got, gotErr := l.Call(ctx, time.Time{}, request)
		if errors.Is(gotErr, ErrNotTaken) {
			if len(request) <= maxFrame-prefix {
				t.Fatalf("a request of %d bytes was not taken", len(request))
			}
			return
		}
		taken++
		if !proto.Equal(status.Convert(gotErr).Proto(), status.Convert(wantErr).Proto()) {
			t.Fatalf("status %v, by grpc %v", status.Convert(gotErr).Proto(), status.Convert(wantErr).Proto())
		}
		if string(got.Message) != string(want) {
			t.Fatalf("message %.200s, by grpc %.200s", got.Message, want)
		}
		for _, own := range []string{"content-type", "grpc-status-details-bin"} {
			delete(header, own)
			delete(trailer, own)
		}
		if fmt.Sprint(got.Header) != fmt.Sprint(header) || fmt.Sprint(got.Trailer) != fmt.Sprint(trailer) {
			t.Fatalf("metadata %v and %v, by grpc %v and %v", got.Header, got.Trailer, header, trailer)
		}
	})
	if taken == 0 {
		t.Error("the lane took no call")
	}
}

// Callers that give up, and servers that come and go, mix nobody's answers up.
func TestEveryCallerGetsItsOwnAnswer(t *testing.T) {
	listener := listen(t, "127.0.0.1:0")
	address := listener.Addr().String()
	server := serve(t, listener)
	l := openTo(t, address)

	var callers sync.WaitGroup
	var answered [8]atomic.Int64
	enough, stop := context.WithCancel(t.Context())
	for caller := range answered {
		callers.Go(func() {
			for call := 0; enough.Err() == nil; call++ {
				if oneCall(t, l, caller*1000+call%1000) {
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
func oneCall(t *testing.T, l *Lane, size int) (answered bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if rand.IntN(4) == 0 {
		time.AfterFunc(time.Duration(rand.IntN(1000))*time.Microsecond, cancel)
	}
	got, err := l.Call(ctx, time.Now().Add(time.Minute), asBytes(t, wanted{Size: size}))
	var said given
	switch {
	case errors.Is(err, ErrNotTaken):
		time.Sleep(time.Millisecond) // there is nothing to ask before the next connection
	case status.Code(err) == codes.Canceled:
	case err != nil:
		t.Errorf("a call for %d bytes: %v", size, err)
	case json.Unmarshal(got.Message, &said) != nil || len(said.Filling) != size:
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
