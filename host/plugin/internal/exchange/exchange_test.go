package exchange

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
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/internal/deadline"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/test/callservice"
	"github.com/agenthost/agenthost/test/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	method  = "/flyteidl.service.AsyncAgentService/GetTask"
	most    = 64 << 10 // the largest answer that the tests' calls take
	largest = 1 << 20  // and that is read at all
)

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

// mixed is raw, and protobuf's for what the stream of calls consists of.
type mixed struct{ raw }

func (m mixed) Marshal(v any) (mem.BufferSlice, error) {
	if message, ok := v.(proto.Message); ok {
		return encoding.GetCodecV2("proto").Marshal(message)
	}
	return m.raw.Marshal(v)
}

func (m mixed) Unmarshal(data mem.BufferSlice, v any) error {
	if message, ok := v.(proto.Message); ok {
		return encoding.GetCodecV2("proto").Unmarshal(data, message)
	}
	return m.raw.Unmarshal(data, v)
}

// wanted is what a test's plugin is asked to answer with.
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

func answerAsAsked(ctx context.Context, _ string, message []byte) ([]byte, error) {
	var w wanted
	if err := json.Unmarshal(message, &w); err != nil {
		return nil, err
	}
	if len(w.Header) > 0 {
		if err := grpc.SetHeader(ctx, w.Header); err != nil {
			return nil, err
		}
	}
	if err := grpc.SetTrailer(ctx, w.Trailer); err != nil {
		return nil, err
	}
	if w.Code != codes.OK {
		failed := status.New(w.Code, w.Text)
		if w.Details {
			failed, _ = failed.WithDetails(&errdetails.ErrorInfo{Reason: w.Text})
		}
		return nil, failed.Err()
	}
	got := given{Filling: strings.Repeat("x", w.Size)}
	got.Metadata, _ = metadata.FromIncomingContext(ctx)
	for _, own := range []string{"user-agent", ":authority", "content-type"} {
		delete(got.Metadata, own)
	}
	return json.Marshal(got)
}

// plugin is a server with the calls by themselves, and by the stream.
func plugin(t testing.TB, service *callservice.Server, address string) (*grpc.Server, string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if service.Methods == nil {
		service.Methods = []string{method}
	}
	if service.Call == nil {
		service.Call = answerAsAsked
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(mixed{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		response, err := service.Call(stream.Context(), method, message)
		if err != nil {
			return err
		}
		return stream.SendMsg(&response)
	}))
	pluginv1.RegisterCallServiceServer(server, service)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return server, listener.Addr().String()
}

func dial(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func opened(t testing.TB, conn grpc.ClientConnInterface) *Exchange {
	t.Helper()
	x := New(conn, largest, slog.New(slog.DiscardHandler))
	t.Cleanup(x.Close)
	if !x.Open(t.Context()) {
		t.Fatal("there is no stream")
	}
	return x
}

// to is an exchange with a plugin of the test's.
func to(t testing.TB, service *callservice.Server) *Exchange {
	t.Helper()
	_, address := plugin(t, service, "127.0.0.1:0")
	return opened(t, dial(t, address))
}

// outcome is what a caller got.
type outcome struct {
	message         []byte
	header, trailer metadata.MD
	peer            peer.Peer
	err             error
}

func (x *Exchange) ask(ctx context.Context, request []byte, more ...grpc.CallOption) outcome {
	var o outcome
	o.err = x.Invoke(ctx, method, most, &request, &o.message, append(more, o.options()...)...)
	return o
}

func (o *outcome) options() []grpc.CallOption {
	return []grpc.CallOption{grpc.ForceCodecV2(raw{}), grpc.Header(&o.header), grpc.Trailer(&o.trailer), grpc.Peer(&o.peer)}
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
	_, address := plugin(t, &callservice.Server{}, "127.0.0.1:0")
	conn := dial(t, address)
	x := opened(t, conn)

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
			Size: rapid.SampledFrom([]int{0, 1, 100, 16_300, 16_400, 70_000}).Draw(t, "size"),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), some.Draw(t, "metadata")), time.Minute)
		defer cancel()

		var want outcome
		want.err = conn.Invoke(ctx, method, &request, &want.message, want.options()...)
		got := x.ask(ctx, request)
		switch {
		case errors.Is(got.err, ErrNotTaken):
			if len(request) < maxRequest-4<<10 {
				t.Fatalf("a request of %d bytes was not taken", len(request))
			}
			return
		case errors.Is(got.err, ErrTooLarge):
			if len(want.message) <= most {
				t.Fatalf("an answer of %d bytes is too large", len(want.message))
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
		delete(want.trailer, "grpc-status-details-bin") // which the status has
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

// Callers that give up, and plugins that come and go, mix nobody's answers up.
func TestEveryCallerGetsItsOwnAnswer(t *testing.T) {
	server, address := plugin(t, &callservice.Server{}, "127.0.0.1:0")
	x := opened(t, dial(t, address))

	var callers sync.WaitGroup
	var answered [8]atomic.Int64
	enough, stop := context.WithCancel(t.Context())
	for caller := range answered {
		callers.Go(func() {
			for call := 0; enough.Err() == nil; call++ {
				if oneCall(t, x, caller*1000+call%1000) {
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
	for range 3 {
		everybodyAnswered()
		server.Stop()
		server, _ = plugin(t, &callservice.Server{}, address)
	}
	everybodyAnswered()
	stop()
	callers.Wait()
}

// oneCall asks for an answer of a size, which nobody else asks for at the time, and gives up now and then.
func oneCall(t *testing.T, x *Exchange, size int) (answered bool) {
	var ctx context.Context
	base, cancel := context.WithCancel(context.Background())
	defer cancel()
	ctx, end := deadline.With(base, time.Now().Add(time.Minute))
	defer end()
	switch rand.IntN(8) {
	case 0:
		time.AfterFunc(time.Duration(rand.IntN(1000))*time.Microsecond, cancel)
	case 1:
		ctx, end = deadline.With(base, time.Now().Add(time.Duration(rand.IntN(1000))*time.Microsecond))
		defer end()
	}
	got := x.ask(ctx, asBytes(t, wanted{Size: size}))
	var said given
	switch {
	case errors.Is(got.err, ErrNotTaken), errors.Is(got.err, ErrCut):
		time.Sleep(time.Millisecond) // there is nothing to ask before the next stream
	case status.Code(got.err) == codes.Canceled, status.Code(got.err) == codes.DeadlineExceeded:
	case got.err != nil:
		t.Errorf("a call for %d bytes: %v", size, got.err)
	case json.Unmarshal(got.message, &said) != nil || len(said.Filling) != size:
		t.Errorf("a call for %d bytes got somebody else's answer, of %d", size, len(said.Filling))
	default:
		return true
	}
	return false
}

// What it does not know how to honour is grpc-go's.
func TestACallWithAnyOtherOptionIsNotTaken(t *testing.T) {
	x := to(t, &callservice.Server{})
	request := asBytes(t, wanted{})
	for name, options := range map[string][]grpc.CallOption{
		"no codec":           nil,
		"a codec that names": {grpc.ForceCodecV2(encoding.GetCodecV2("proto"))},
		"waiting":            {grpc.ForceCodecV2(raw{}), grpc.WaitForReady(true)},
		"a later codec":      {grpc.ForceCodecV2(raw{}), grpc.ForceCodecV2(encoding.GetCodecV2("proto"))},
	} {
		var response []byte
		if err := x.Invoke(t.Context(), method, most, &request, &response, options...); !errors.Is(err, ErrNotTaken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := make([]byte, maxRequest+1)
	if got := x.ask(t.Context(), large); !errors.Is(got.err, ErrNotTaken) {
		t.Errorf("a large request: %v", got.err)
	}
	var response []byte
	if err := x.Invoke(t.Context(), "/some.Service/Other", most, &request, &response, grpc.ForceCodecV2(raw{})); !errors.Is(err, ErrNotTaken) {
		t.Errorf("a method that the plugin does not take: %v", err)
	}
	if got := x.ask(t.Context(), request); got.err != nil {
		t.Error(got.err)
	}
}

func TestAPluginWithoutTheServiceIsAskedOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		asked.Add(1)
		return status.Error(codes.Unimplemented, "unknown service")
	}))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	defer serving.Wait()
	defer server.Stop()
	x := New(dial(t, listener.Addr().String()), largest, slog.New(slog.DiscardHandler))
	defer x.Close()
	if x.Open(t.Context()) {
		t.Error("there is a stream")
	}
	for range 3 {
		if got := x.ask(t.Context(), asBytes(t, wanted{})); !errors.Is(got.err, ErrNotTaken) {
			t.Errorf("a call: %v", got.err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}

// An answer that is too large was made all the same: whether it may be made again is the caller's to know.
func TestALargeAnswerIsNotSent(t *testing.T) {
	x := to(t, &callservice.Server{})
	request := asBytes(t, wanted{Size: most + 1})
	if got := x.ask(t.Context(), request); !errors.Is(got.err, ErrTooLarge) {
		t.Errorf("more than the exchange takes: %v", got.err)
	}
	got := x.ask(t.Context(), asBytes(t, wanted{Size: 5000}), grpc.MaxCallRecvMsgSize(1000))
	if said := status.Convert(got.err); said.Code() != codes.ResourceExhausted || !strings.Contains(said.Message(), "larger than max (50") {
		t.Errorf("more than the call takes: %v", got.err)
	}
	if got := x.ask(t.Context(), asBytes(t, wanted{Size: 5000}), grpc.MaxCallRecvMsgSize(10_000)); got.err != nil {
		t.Errorf("less than the call takes: %v", got.err)
	}
}

// A plugin that sends what it was told not to send gains nothing by it.
func TestAnAnswerThatShouldNotHaveBeenSentIsNotTaken(t *testing.T) {
	var size atomic.Int64
	x := to(t, &callservice.Server{Answer: func(_ *pluginv1.Call, a *pluginv1.Answer) bool {
		a.Message, a.Oversize = make([]byte, size.Load()), 0
		return true
	}})
	size.Store(most + 1)
	if got := x.ask(t.Context(), asBytes(t, wanted{})); !errors.Is(got.err, ErrTooLarge) || len(got.message) > 0 {
		t.Errorf("one byte more than the exchange takes: %d bytes, %v", len(got.message), got.err)
	}
	size.Store(1001)
	if got := x.ask(t.Context(), asBytes(t, wanted{}), grpc.MaxCallRecvMsgSize(1000)); status.Code(got.err) != codes.ResourceExhausted || len(got.message) > 0 {
		t.Errorf("one byte more than the call takes: %d bytes, %v", len(got.message), got.err)
	}
	size.Store(largest + besides)
	if got := x.ask(t.Context(), asBytes(t, wanted{})); !errors.Is(got.err, ErrCut) {
		t.Errorf("more than is read: %v", got.err)
	}
}

// Health checks and the like open no stream: most plugins are idle.
func TestOnlyACallThatCouldBeTakenOpensTheStream(t *testing.T) {
	_, address := plugin(t, &callservice.Server{}, "127.0.0.1:0")
	x := New(dial(t, address), largest, slog.New(slog.DiscardHandler))
	defer x.Close()
	var response []byte
	request := asBytes(t, wanted{})
	if err := x.Invoke(t.Context(), method, most, &request, &response); !errors.Is(err, ErrNotTaken) {
		t.Error(err)
	}
	begun := true
	x.begin.Do(func() { begun = false })
	if begun {
		t.Error("a stream is opened for a call that it cannot take")
	}
}

// Whoever made a call may do with its metadata as he likes.
func TestTheMetadataOfAnAnswerIsItsCallersOwn(t *testing.T) {
	x := to(t, &callservice.Server{})
	for _, request := range [][]byte{asBytes(t, wanted{}), asBytes(t, wanted{Code: codes.NotFound})} {
		for range 2 {
			got := x.ask(t.Context(), request)
			if len(got.header)+len(got.trailer) != 1 {
				t.Errorf("got %v and %v", got.header, got.trailer)
			}
			clear(got.header)
			clear(got.trailer)
		}
	}
}

// hanging is a plugin whose calls end with their contexts; each tells of its beginning and its end.
func hanging(begun chan<- struct{}, ended chan<- error) func(context.Context, string, []byte) ([]byte, error) {
	return func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}
}

func TestACallThatIsGivenUpEndsInThePlugin(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	x := to(t, &callservice.Server{Call: hanging(begun, ended)})

	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if got := x.ask(ctx, nil); status.Code(got.err) != codes.Canceled {
		t.Errorf("a caller that went: %v", got.err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("in the plugin: %v", err)
	}
	for name, with := range map[string]func() (context.Context, context.CancelFunc){
		"a timer": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 20*time.Millisecond)
		},
		"the stream's one timer": func() (context.Context, context.CancelFunc) {
			return deadline.With(t.Context(), time.Now().Add(20*time.Millisecond))
		},
	} {
		ctx, cancel := with()
		if got := x.ask(ctx, nil); status.Code(got.err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", name, got.err)
		}
		<-begun
		<-ended // by its own deadline, or by the news that nobody waits
		cancel()
	}
}

// The plugin says which call was the last that it has begun: the others are as if never made.
func TestCallsThatAPluginHasNotBegunAreNotTaken(t *testing.T) {
	stop := make(chan struct{})
	var calls atomic.Int64
	release := make(chan struct{})
	x := to(t, &callservice.Server{
		Stop:    stop,
		Receive: func(*pluginv1.Calls) error { <-release; return nil },
		Call: func(context.Context, string, []byte) ([]byte, error) {
			calls.Add(1)
			return nil, nil
		},
	})
	got := make(chan error, 1)
	go func() { got <- x.ask(t.Context(), []byte("{}")).err }()
	wait.Until(t, "the call is on its way", func() bool { s := x.current.Load(); s.mu.Lock(); defer s.mu.Unlock(); return s.last == 1 })
	close(stop)
	if err := <-got; !errors.Is(err, ErrNotTaken) {
		t.Errorf("a call that was not begun: %v", err)
	}
	close(release)
	if n := calls.Load(); n != 0 {
		t.Errorf("it began %d calls", n)
	}
}

func TestAPluginThatDiesMayHaveBegunACall(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan error, 1)
	server, address := plugin(t, &callservice.Server{Call: hanging(begun, ended)}, "127.0.0.1:0")
	x := opened(t, dial(t, address))
	go func() { <-begun; server.Stop() }()
	if got := x.ask(t.Context(), nil); !errors.Is(got.err, ErrCut) || got.peer.Addr == nil {
		t.Errorf("got %v, from %v", got.err, got.peer.Addr)
	}
	<-ended
}

// A plugin that does not read holds up nobody longer than his call's time, and no more memory than is said.
func TestAPluginThatDoesNotReadHoldsNoMoreThanABacklog(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	x := to(t, &callservice.Server{Receive: func(*pluginv1.Calls) error { <-release; return nil }})
	request := make([]byte, maxRequest-1000)
	var calls sync.WaitGroup
	var refused, late atomic.Int64
	for range 100 {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			switch got := x.ask(ctx, request); {
			case errors.Is(got.err, ErrNotTaken):
				refused.Add(1)
			case status.Code(got.err) == codes.DeadlineExceeded:
				late.Add(1)
			default:
				t.Errorf("got %v", got.err)
			}
		})
	}
	calls.Wait()
	if refused.Load() == 0 || late.Load() == 0 {
		t.Errorf("%d calls were refused, %d ran out of time", refused.Load(), late.Load())
	}
	s := x.current.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out) > 2*maxBacklog || len(s.calls) != 0 {
		t.Errorf("%d bytes wait to be sent, %d calls for an answer", len(s.out), len(s.calls))
	}
}

// What a plugin sends besides answers does no harm: answers to nobody, fields of a later version. What is no message ends the stream.
func TestOnlyWhatIsNoMessageEndsTheStream(t *testing.T) {
	var send atomic.Pointer[[]byte]
	x := to(t, &callservice.Server{Answer: func(_ *pluginv1.Call, a *pluginv1.Answer) bool {
		if extra := send.Load(); extra != nil {
			a.ProtoReflect().SetUnknown(*extra)
		}
		return true
	}})
	later := []byte{0xfa, 0x01, 0x03, 'n', 'e', 'w', 0x80, 0x02, 0x07} // a text and a number that this version does not have
	send.Store(&later)
	if got := x.ask(t.Context(), asBytes(t, wanted{})); got.err != nil {
		t.Errorf("with fields of a later version: %v", got.err)
	}
	broken := []byte{0x22, 0x02, 0x0a, 0x7f} // trailers that end too early
	send.Store(&broken)
	if got := x.ask(t.Context(), asBytes(t, wanted{})); !errors.Is(got.err, ErrCut) {
		t.Errorf("with what is no message: %v", got.err)
	}
}

func FuzzAnswers(f *testing.F) {
	last := uint64(7)
	for _, message := range []*pluginv1.Answers{
		{},
		{Methods: []string{method}},
		{Answers: []*pluginv1.Answer{{Id: 1, Message: []byte("m"), Trailers: []*pluginv1.Header{{Name: "a", Value: []byte("b")}}}, {Id: 2, Status: []byte{8, 5}}}},
		{Answers: []*pluginv1.Answer{{Id: 3, Oversize: 1 << 30, Headers: []*pluginv1.Header{{Name: "a-bin"}}}}, Last: &last},
	} {
		data, err := proto.Marshal(message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	// It reads what the generated code reads, and nothing else.
	f.Fuzz(func(t *testing.T, data []byte) {
		want := &pluginv1.Answers{}
		wantErr := proto.Unmarshal(data, want)
		var got []*answer
		last, err := eachAnswer(data, func(a *answer) { got = append(got, a) })
		if wantErr != nil { // it may be more lenient: it looks at no texts and at no fields that it does not need
			return
		}
		if err != nil {
			t.Fatalf("%x is a message, and it says %v", data, err)
		}
		if len(got) != len(want.GetAnswers()) || (last == nil) != (want.Last == nil) || last != nil && *last != want.GetLast() {
			t.Fatalf("%x has %d answers, last %v; it reads %d, %v", data, len(want.GetAnswers()), want.Last, len(got), last)
		}
		for i, a := range got {
			w := want.GetAnswers()[i]
			if a.id != w.GetId() || string(a.message) != string(w.GetMessage()) || string(a.status) != string(w.GetStatus()) || a.oversize != w.GetOversize() {
				t.Fatalf("%x: answer %d is %v, it reads %v", data, i, w, a)
			}
		}
	})
}

// What is written is what the generated code reads.
func TestACallIsWrittenAsItIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		request := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "request")
		value := rapid.String().Draw(t, "value")
		id := rapid.Uint64Min(1).Draw(t, "id")
		maxAnswer := rapid.IntRange(0, 1<<40).Draw(t, "max")
		data := appendCancel(appendCall(nil, id, method, mem.BufferSlice{mem.SliceBuffer(request[:len(request)/2]), mem.SliceBuffer(request[len(request)/2:])},
			time.Now().Add(time.Minute), metadata.MD{"Name-Bin": {value}}, maxAnswer), id)
		var got pluginv1.Calls
		if err := proto.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		call := got.GetCalls()[0]
		if call.GetId() != id || call.GetMethod() != method || string(call.GetRequest()) != string(request) || call.GetMaxAnswer() != uint64(maxAnswer) ||
			call.GetTimeout() < 59e6 || call.GetTimeout() > 60e6 || call.GetHeaders()[0].GetName() != "name-bin" || string(call.GetHeaders()[0].GetValue()) != value ||
			len(got.GetCanceled()) != 1 || got.GetCanceled()[0] != id {
			t.Fatalf("got %v", &got)
		}
	})
}
