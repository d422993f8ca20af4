package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/proto/fields"
	"github.com/agenthost/agenthost/test/wait"
)

// padded is a request with so many bytes more, in a field that nobody reads.
func padded(request *frame, size int) []byte {
	return fields.Append(bytes.Clone(request.bytes()), 1000, strings.Repeat("x", size))
}

func (f *front) unused(t *testing.T) {
	t.Helper()
	wait.Until(t, "all room was given back", func() bool {
		return f.gateway.memory.requests.Used() == 0 && f.gateway.memory.answers.Used() == 0 && f.gateway.memory.calls.Load() == 0
	})
}

// grpc-go would read whole messages first. Here none of it is read before there is room for it.
func TestLargeRequestsWaitForRoomBeforeTheyAreReceived(t *testing.T) {
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
		entered <- struct{}{}
		<-leave
		return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: []byte("job")}))
	})
	f := startWith(t, Options{Limits: Limits{Memory: 16 << 20}}, agent.claims(usual, asyncAgent("x")))
	var calls sync.WaitGroup
	for range 3 { // of 3 MiB each: 8 have room for requests, and one caller gets no more than he leaves
		calls.Go(func() {
			if _, err := f.callRaw(soon(t), async1+"CreateTask", padded(frameOf(create("x")), 3<<20)); err != nil {
				t.Error(err)
			}
		})
	}
	<-entered
	wait.Until(t, "one is held and others wait", func() bool { return f.gateway.memory.requests.Used() > 3<<20 })
	if used := f.gateway.memory.requests.Used(); used > 4<<20 {
		t.Errorf("%d bytes are under way", used)
	}

	// Small calls find room all the same.
	calls.Go(func() {
		if _, err := f.callRaw(soon(t), async1+"CreateTask", frameOf(create("x")).bytes()); err != nil {
			t.Error(err)
		}
	})
	<-entered

	short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := f.callRaw(short, async1+"CreateTask", padded(frameOf(create("x")), 3<<20))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "8388608") || !strings.Contains(err.Error(), "3145") {
		t.Errorf("without room: %v", err)
	}
	_, err = f.callRaw(soon(t), async1+"CreateTask", padded(frameOf(create("x")), 9<<20))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "8388608") {
		t.Errorf("one that never has room: %v", err)
	}
	if n := testutil.ToFloat64(f.gateway.memory.refused.WithLabelValues("memory")); n != 2 {
		t.Errorf("%v calls are counted as refused", n)
	}
	close(leave)
	calls.Wait()
	f.unused(t)
}

func TestMessagesOfAnySizeArriveAsTheyWere(t *testing.T) {
	agent := startAgent(t, func(got *received, stream grpc.ServerStream) error {
		return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: binary.BigEndian.AppendUint64(nil, uint64(len(got.frames[0])))}))
	})
	f := startWith(t, Options{}, agent.claims(usual, asyncAgent("x")))
	for _, size := range []int{0, 1, smallMessage - 100, smallMessage, smallMessage + 1, receiveStep, 2*receiveStep + 1, 20 << 20} {
		for name, options := range map[string][]grpc.CallOption{"plain": nil, "gzip": {grpc.UseCompressor(gzip.Name)}} {
			request := padded(frameOf(create("x")), size)
			answer := &frame{}
			if err := f.conn.Invoke(soon(t), async1+"CreateTask", newFrame(request), answer, append(options, withFrames)...); err != nil {
				t.Errorf("%s, %d: %v", name, size, err)
				continue
			}
			meta, _, err := fields.Take(answer.bytes(), createdMeta)
			if err != nil || binary.BigEndian.Uint64(meta) != uint64(len(request)) {
				t.Errorf("%s, %d: the plugin got %x bytes of %d, %v", name, size, meta, len(request), err)
			}
		}
	}
	f.unused(t)
}

func TestACompressedRequestTakesRoomForWhatItBecomes(t *testing.T) {
	agent := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job")}))
	f := startWith(t, Options{MaxMessageSize: 1 << 30, Limits: Limits{Memory: 16 << 20}}, agent.claims(usual, asyncAgent("x")))
	bomb := padded(frameOf(create("x")), 32<<20)
	err := f.conn.Invoke(soon(t), async1+"CreateTask", newFrame(bomb), &frame{}, withFrames, grpc.UseCompressor(gzip.Name))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "limits.memory") {
		t.Errorf("32 MiB of one letter: %v", err)
	}
	f.unused(t)
}

func TestWhatAPluginAnswersIsCutAsItIsRead(t *testing.T) {
	huge := strings.Repeat("x", 50<<20)
	agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
		return stream.SendMsg(newFrame(fields.Append(nil, 1, huge)))
	})
	f := startWith(t, Options{Limits: Limits{Memory: 64 << 20}}, agent.claims(usual, asyncAgent("x"), syncAgent("s")))

	got, err := f.poll(soon(t), get("x"))
	if err != nil || got.GetPhase() != core.TaskExecution_FAILED || !strings.Contains(got.GetMessage(), "larger than the 16 MiB") {
		t.Errorf("GetTask: %v, %v", got, err)
	}
	for range 2 { // the second is told what the first was, and makes no second job
		_, err = f.call(soon(t), async1+"CreateTask", attempt("x", 0))
		if status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), `plugin "echo"`) || !strings.Contains(err.Error(), "1 MiB") {
			t.Errorf("CreateTask: %v", err)
		}
	}
	if n := agent.calls("CreateTask"); n != 1 {
		t.Errorf("the plugin was asked for the job %d times", n)
	}
	if _, err := f.callRaw(soon(t), async1+"DeleteTask", frameOf(get("x")).bytes()); err != nil {
		t.Errorf("DeleteTask: %v", err)
	}
	if _, err := f.callRaw(soon(t), async1+"GetTaskMetrics", frameOf(&admin.GetTaskMetricsRequest{TaskCategory: &admin.TaskCategory{Name: "x"}}).bytes()); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), `plugin "echo"`) {
		t.Errorf("GetTaskMetrics: %v", err)
	}
	answers, err := f.sync(soon(t), &admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{
		Header: &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: "s"}}}})
	if err != nil || len(answers) != 1 || answers[0].GetHeader().GetResource().GetPhase() != core.TaskExecution_FAILED {
		t.Errorf("ExecuteTaskSync: %v, %v", answers, err)
	}
	f.unused(t)
}

// A caller who does not read leaves large answers in the host's memory: they count for as long as they are there.
func TestAnswersThatNobodyReadsAreCounted(t *testing.T) {
	agent := startAgent(t, answering(&admin.GetTaskResponse{Resource: &admin.Resource{Phase: core.TaskExecution_SUCCEEDED, Outputs: text(strings.Repeat("x", 3<<20))}}))
	// Half of it is for answers: room for several polls at once, each of which takes 16 MiB until it knows the size of its answer.
	f := startWith(t, Options{Limits: Limits{Memory: 128 << 20}}, agent.claims(usual, asyncAgent("x")))
	raw, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_, _ = raw.Write([]byte(http2.ClientPreface))
	framer := http2.NewFramer(raw, raw)
	_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	go io.Copy(io.Discard, raw) // until it is closed
	for i := range 30 {
		var block bytes.Buffer
		headers := hpack.NewEncoder(&block)
		for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", async1 + "GetTask"}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}, {"grpc-timeout", "2S"}} {
			_ = headers.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		stream := uint32(2*i + 1)
		request := frameOf(get("x")).bytes()
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
		_ = framer.WriteData(stream, true, append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...))
	}
	wait.Until(t, "answers are held", func() bool { return f.gateway.memory.answers.Used() >= 6<<20 })
	wait.Until(t, "the calls have ended", func() bool { return f.gateway.memory.calls.Load() == 0 })
	if used := f.gateway.memory.answers.Used(); used == 0 || used > 64<<20 {
		t.Errorf("%d bytes are held", used)
	}
	_ = raw.Close()
	wait.Until(t, "what nobody will read is given back", func() bool {
		runtime.GC() // as a call that waits for room has it done
		return f.gateway.memory.answers.Used() == 0
	})
}
