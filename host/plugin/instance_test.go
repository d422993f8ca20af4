package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

func TestAJobRunsThroughTheConnection(t *testing.T) {
	h := newHost(t)
	record := filepath.Join(t.TempDir(), "record")
	recording := spec("echo", "good", "-record", record)
	recording.Sandbox.Write = []string{filepath.Dir(record)}
	agent := service.NewAsyncAgentServiceClient(h.start(recording).Conn())
	request := &admin.CreateTaskRequest{
		Inputs:   &core.LiteralMap{Literals: map[string]*core.Literal{"n": {}}},
		Template: template(t, map[string]any{"polls": 2}),
	}
	created, err := agent.CreateTask(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	var phases []string
	for range 3 {
		got, err := agent.GetTask(t.Context(), &admin.GetTaskRequest{ResourceMeta: created.GetResourceMeta()})
		if err != nil {
			t.Fatal(err)
		}
		phases = append(phases, got.GetResource().GetPhase().String())
	}
	if diff := cmp.Diff([]string{"RUNNING", "RUNNING", "SUCCEEDED"}, phases); diff != "" {
		t.Error(diff)
	}
	records, err := badplugin.ReadRecords(record)
	if err != nil {
		t.Fatal(err)
	}
	want, err := proto.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		if record.Method == "/flyteidl.service.AsyncAgentService/CreateTask" {
			if !bytes.Equal(record.Frame, want) {
				t.Errorf("the plugin got %x, sent was %x", record.Frame, want)
			}
			return
		}
	}
	t.Errorf("no CreateTask among %d records", len(records))
}

// hostCodec is protobuf's by plain application/grpc, like the host's.
type hostCodec struct{ encoding.CodecV2 }

func (hostCodec) Name() string { return "" }

// Calls go by the stream that they share where the plugin serves it, with TLS and without, and no caller sees a difference.
func TestCallsShareAStreamWhereThePluginTakesThem(t *testing.T) {
	for _, withTLS := range []bool{true, false} {
		h := newHost(t)
		sharing := spec("echo", "exchanges")
		sharing.TLS = withTLS
		instance := h.start(sharing)
		conn := instance.Conn().(*plugin.Conn)
		if !conn.Shares(t.Context()) {
			t.Fatalf("TLS %v: there is no stream", withTLS)
		}
		created, err := service.NewAsyncAgentServiceClient(conn).CreateTask(t.Context(), &admin.CreateTaskRequest{Template: template(t, nil)})
		if err != nil {
			t.Fatal(err)
		}
		poll := func(options ...grpc.CallOption) (*admin.GetTaskResponse, metadata.MD, *peer.Peer, error) {
			header, server, response := metadata.MD{}, &peer.Peer{}, &admin.GetTaskResponse{}
			options = append(options, grpc.Header(&header), grpc.Peer(server), grpc.ForceCodecV2(hostCodec{encoding.GetCodecV2(protocodec.Name)}))
			err := conn.Invoke(t.Context(), service.AsyncAgentService_GetTask_FullMethodName, &admin.GetTaskRequest{ResourceMeta: created.GetResourceMeta()}, response, options...)
			return response, header, server, err
		}
		before := conn.CallStats()
		got, header, server, err := poll()
		if err != nil || got.GetResource().GetPhase() != core.TaskExecution_SUCCEEDED {
			t.Errorf("TLS %v: got %v, %v", withTLS, got, err)
		}
		if stats := conn.CallStats(); stats.Shared != before.Shared+1 || stats.Alone != before.Alone {
			t.Errorf("TLS %v: the poll did not go by the stream: %+v, before %+v", withTLS, stats, before)
		}
		plain, plainHeader, plainServer, err := poll(grpc.WaitForReady(false)) // which only grpc-go knows
		if stats := conn.CallStats(); stats.Shared != before.Shared+1 || stats.Alone != before.Alone+1 {
			t.Errorf("TLS %v: the poll did not go by itself: %+v, before %+v", withTLS, stats, before)
		}
		if err != nil || !proto.Equal(plain, got) || !reflect.DeepEqual(plainHeader, header) {
			t.Errorf("TLS %v: %v with %v, by itself %v with %v, %v", withTLS, got, header, plain, plainHeader, err)
		}
		if server.Addr.String() != plainServer.Addr.String() || fmt.Sprintf("%T", server.AuthInfo) != fmt.Sprintf("%T", plainServer.AuthInfo) {
			t.Errorf("TLS %v: from %v, by itself %v", withTLS, server, plainServer)
		}
		if err := instance.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if _, _, _, err := poll(); status.Code(err) == codes.OK {
			t.Error("a stopped plugin takes polls")
		}
	}
}

// A poll may be made twice: one whose answer the stream does not take, because it is large or because the stream ends, is made by itself.
// Nothing else is.
func TestOnlyAPollIsMadeAgainByItself(t *testing.T) {
	instance := newHost(t).start(spec("echo", "exchanges"))
	conn := instance.Conn().(*plugin.Conn)
	if !conn.Shares(t.Context()) {
		t.Fatal("there is no stream")
	}
	codec := grpc.ForceCodecV2(hostCodec{encoding.GetCodecV2(protocodec.Name)})
	large := &core.LiteralMap{Literals: map[string]*core.Literal{"blob": text(strings.Repeat("x", 50_000))}}
	made := &admin.CreateTaskResponse{}
	create := func(options ...grpc.CallOption) error {
		return conn.Invoke(t.Context(), service.AsyncAgentService_CreateTask_FullMethodName, &admin.CreateTaskRequest{Inputs: large, Template: template(t, nil)}, made, append(options, codec)...)
	}
	if err := create(grpc.MaxCallRecvMsgSize(1000)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a creation whose answer is too large: %v", err)
	}
	if err := create(); err != nil { // its resource_meta has the inputs in base64
		t.Fatal(err)
	}
	before := conn.CallStats()
	got := &admin.GetTaskResponse{}
	if err := conn.Invoke(t.Context(), service.AsyncAgentService_GetTask_FullMethodName, &admin.GetTaskRequest{ResourceMeta: made.GetResourceMeta()}, got, codec); err != nil {
		t.Fatal(err)
	}
	if len(got.GetResource().GetOutputs().GetLiterals()["blob"].GetScalar().GetPrimitive().GetStringValue()) != 50_000 {
		t.Errorf("got %.100v", got)
	}
	if stats := conn.CallStats(); stats.Alone != before.Alone+1 {
		t.Errorf("a large poll went by the stream: %+v, before %+v", stats, before)
	}
	// As if the stream ended by itself.
	conn.Close()
	if err := conn.Invoke(t.Context(), service.AsyncAgentService_GetTask_FullMethodName, &admin.GetTaskRequest{ResourceMeta: made.GetResourceMeta()}, got, codec); err != nil {
		t.Error(err)
	}
}

func TestLargeMessagesPassUpToMaxAnswer(t *testing.T) {
	agent := service.NewAsyncAgentServiceClient(newHost(t).start(spec("echo", "good")).Conn())
	larger := &core.LiteralMap{Literals: map[string]*core.Literal{"blob": text(strings.Repeat("x", plugin.MaxAnswer))}}
	if _, err := agent.CreateTask(t.Context(), &admin.CreateTaskRequest{Inputs: larger, Template: template(t, nil)}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("an answer of more than MaxAnswer: %v", err)
	}
	large := &core.LiteralMap{Literals: map[string]*core.Literal{"blob": text(strings.Repeat("x", 2<<20))}}
	created, err := agent.CreateTask(t.Context(), &admin.CreateTaskRequest{Inputs: large, Template: template(t, nil)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := agent.GetTask(t.Context(), &admin.GetTaskRequest{ResourceMeta: created.GetResourceMeta()})
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(large, got.GetResource().GetOutputs()) {
		t.Error("the outputs are not the inputs")
	}
}

func TestASyncAgentAnswersThroughTheConnection(t *testing.T) {
	stream, err := service.NewSyncAgentServiceClient(newHost(t).start(spec("echo", "good")).Conn()).ExecuteTaskSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	header := &admin.CreateRequestHeader{Template: template(t, map[string]any{"message": "done"})}
	if err := stream.Send(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: header}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	got, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if resource := got.GetHeader().GetResource(); resource.GetMessage() != "done" || resource.GetPhase() != core.TaskExecution_SUCCEEDED {
		t.Errorf("got %v", resource)
	}
}

func TestACrashIsSeenAtOnceAndSaysWhy(t *testing.T) {
	h := newHost(t)
	instance := h.start(spec("crasher", "crashes", "-calls", "0", "-code", "7", "-text", "out of cheese"))
	agent := service.NewAsyncAgentServiceClient(instance.Conn())
	if _, err := agent.CreateTask(t.Context(), &admin.CreateTaskRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the call that it died in: %v", err)
	}
	await(t, instance)
	if want := "plugin crasher: exited with code 7; last output: out of cheese"; fmt.Sprint(instance.Err()) != want {
		t.Errorf("got  %v\nwant %s", instance.Err(), want)
	}
	if _, ok := instance.Acquire(); ok {
		t.Error("a dead instance takes calls")
	}
	if _, err := agent.CreateTask(t.Context(), &admin.CreateTaskRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a call after the end: %v", err)
	}
	if _, err := instance.Usage(); err == nil {
		t.Error("a dead instance uses something")
	}
	h.wantNoLeftovers() // also before Stop
	if err := instance.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if instance.Err() == nil {
		t.Error("Stop made the crash forgotten")
	}
}

func TestAPanicIsQuotedThoughItsStackIsLong(t *testing.T) {
	instance := newHost(t).start(spec("panicker", "panics", "-calls", "0", "-text", "index out of cheese"))
	if _, err := service.NewAsyncAgentServiceClient(instance.Conn()).CreateTask(t.Context(), &admin.CreateTaskRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the call that it died in: %v", err)
	}
	await(t, instance)
	for _, part := range []string{"plugin panicker: exited with code 2", "panic: index out of cheese"} {
		if !strings.Contains(instance.Err().Error(), part) {
			t.Errorf("%q is not in: %v", part, instance.Err())
		}
	}
}

func TestAKilledPluginNamesTheSignal(t *testing.T) {
	instance := newHost(t).start(spec("victim", "good"))
	if err := syscall.Kill(instance.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, instance)
	if !strings.Contains(instance.Err().Error(), "plugin victim: was killed by SIGKILL") {
		t.Errorf("got %v", instance.Err())
	}
}

// Whatever a plugin does, Stop ends it in its time, and nothing is left: see newHost's cleanup and goleak.
func TestStopEndsAnyPluginInItsTime(t *testing.T) {
	const (
		ample  = 20 * time.Second // for what ends before any of it is over
		short  = 2 * time.Second  // for what waits for the end of a part of it
		within = 4 * time.Second  // either, on a busy machine
	)
	for _, test := range []struct {
		name    string
		command []string
		before  func(*testing.T, *plugin.Instance)
		timeout time.Duration
		ending  string
	}{
		{name: "good", command: []string{"good"}, timeout: ample, ending: "ended when asked"},
		{name: "no shutdown", command: []string{"no-shutdown"}, timeout: ample, ending: "ended on SIGTERM"},
		{name: "stubborn", command: []string{"stubborn"}, timeout: short, ending: "had to be killed"},
		{name: "forks", command: []string{"forks"}, timeout: ample, ending: "ended when asked"},
		{name: "forks out of the group", command: []string{"forks", "-setsid"}, timeout: ample, ending: "ended when asked"},
		{name: "flood", command: []string{"flood"}, timeout: ample, ending: "ended when asked"},
		{name: "stopped", command: []string{"good"}, timeout: short, ending: "ended on SIGTERM", before: func(t *testing.T, i *plugin.Instance) {
			syscall.Kill(i.PID(), syscall.SIGSTOP)
			wait.Until(t, "it is stopped", func() bool { return state(t, i.PID()) == "T" })
		}},
		{name: "killed", command: []string{"good"}, timeout: ample, ending: "had already ended", before: func(t *testing.T, i *plugin.Instance) {
			syscall.Kill(i.PID(), syscall.SIGKILL)
			await(t, i)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			s := spec("any", test.command[0], test.command[1:]...)
			s.StopTimeout = test.timeout
			instance := h.start(s)
			if test.before != nil {
				test.before(t, instance)
			}
			began := time.Now()
			if err := instance.Stop(context.Background()); errors.Is(err, plugin.ErrKilled) != (test.ending == "had to be killed") || err != nil && !errors.Is(err, plugin.ErrKilled) {
				t.Error(err)
			}
			if took := time.Since(began); took > within {
				t.Errorf("it took %v, promised were %v", took, within)
			}
			select {
			case <-instance.Done():
			default:
				t.Error("Done is open")
			}
			if got := h.log.line(t, "stopped")["ending"]; got != test.ending {
				t.Errorf("it %v, expected was: it %s", got, test.ending)
			}
			if test.ending != "had already ended" && instance.Err() != nil {
				t.Errorf("a stop that was asked for is an error: %v", instance.Err())
			}
			h.wantNoLeftovers()
		})
	}
}

func TestAStopWhoseContextHasEndedKillsAtOnce(t *testing.T) {
	h := newHost(t)
	instance := h.start(spec("stubborn", "stubborn")) // stopping it takes its whole stop_timeout otherwise
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	began := time.Now()
	if err := instance.Stop(ctx); !errors.Is(err, plugin.ErrKilled) {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestDrainWaitsForTheCallsInFlightAndRefusesNewOnes(t *testing.T) {
	instance := newHost(t).start(spec("echo", "good"))
	release, ok := instance.Acquire()
	if !ok || instance.InFlight() != 1 {
		t.Fatalf("acquired %v, in flight %d", ok, instance.InFlight())
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := instance.Drain(ended); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "plugin echo: drain: 1 calls are still in flight") {
		t.Errorf("a drain that ends early: %v", err)
	}
	if _, ok := instance.Acquire(); ok {
		t.Error("a draining instance takes calls")
	}
	drained := make(chan error)
	go func() { drained <- instance.Drain(context.Background()) }()
	select {
	case <-drained:
		t.Fatal("drained with a call in flight")
	default:
	}
	release()
	release() // twice is once
	if err := <-drained; err != nil || instance.InFlight() != 0 {
		t.Errorf("drained with %v, in flight %d", err, instance.InFlight())
	}
	if err := instance.Drain(ended); err != nil {
		t.Errorf("a drain with nothing in flight: %v", err)
	}
}

func TestAPluginIsToldThatItDrainsWhileItsCallsEnd(t *testing.T) {
	h := newHost(t)
	instance := h.start(spec("echo", "good"))
	release, _ := instance.Acquire()
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Minute)
	defer cancel()
	drained := make(chan error)
	go func() { drained <- instance.Drain(ctx) }()
	wait.Until(t, "the plugin to be told", func() bool { return strings.Contains(h.log.String(), "drains within 7m0s") })
	select {
	case <-drained:
		t.Fatal("drained with a call in flight")
	default:
	}
	release()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestAPluginThatDoesNotWantToKnowDrainsAllTheSame(t *testing.T) {
	for mode, longest := range map[string]time.Duration{"describe-missing": maxWait, "drain-missing": maxWait, "drain-hangs": 5 * time.Second} {
		instance := newHost(t).start(spec("echo", mode))
		began := time.Now()
		if err := instance.Drain(t.Context()); err != nil || time.Since(began) > longest {
			t.Errorf("%s: drained after %s with %v", mode, time.Since(began), err)
		}
	}
}

func TestAPluginsOwnMetricsAreItsTextUpToALimit(t *testing.T) {
	h := newHost(t)
	instance := h.start(spec("echo", "with-metrics", "-text", "jobs 3", "-block", "2"))
	if text, err := instance.Metrics(t.Context()); err != nil || string(text) != "#\njobs 3\n" {
		t.Errorf("metrics = %q, %v", text, err)
	}
	if text, err := h.start(spec("none", "good")).Metrics(t.Context()); text != nil || err != nil {
		t.Errorf("of one that has none: %q, %v", text, err)
	}
	if _, err := h.start(spec("big", "with-metrics", "-block", strconv.Itoa(2*plugin.MaxMetrics))).Metrics(t.Context()); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("of too much: %v", err)
	}
}

// Whether a plugin is to blame for its end shows in whether it has answered a call on an agent, if it had any.
func TestAPluginIsSoundThatHasAnsweredACallOrNeverGotOne(t *testing.T) {
	for name, call := range map[string]func(agent grpc.ClientConnInterface) error{
		"CreateTask": func(agent grpc.ClientConnInterface) error {
			_, err := service.NewAsyncAgentServiceClient(agent).CreateTask(t.Context(), &admin.CreateTaskRequest{Template: template(t, nil)})
			return err
		},
		"an error of GetTask": func(agent grpc.ClientConnInterface) error {
			_, err := service.NewAsyncAgentServiceClient(agent).GetTask(t.Context(), &admin.GetTaskRequest{ResourceMeta: []byte("{}")})
			if status.Code(err) != codes.NotFound {
				return fmt.Errorf("it is %w", err)
			}
			return nil
		},
		"ExecuteTaskSync": func(agent grpc.ClientConnInterface) error {
			stream, err := service.NewSyncAgentServiceClient(agent).ExecuteTaskSync(t.Context())
			if err != nil {
				return err
			}
			header := &admin.CreateRequestHeader{Template: template(t, nil)}
			if err := stream.Send(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: header}}); err != nil {
				return err
			}
			if err := stream.CloseSend(); err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	} {
		instance := newHost(t).start(spec("echo", "good"))
		if !instance.Sound() {
			t.Errorf("%s: one that never got a call is not sound", name)
		}
		release, _ := instance.Acquire()
		if _, err := service.NewAgentMetadataServiceClient(instance.Conn()).ListAgents(t.Context(), &admin.ListAgentsRequest{}); err != nil {
			t.Fatal(err)
		}
		if instance.Sound() {
			t.Errorf("%s: one that has answered ListAgents only is sound", name)
		}
		if err := call(instance.Conn()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		release()
		if !instance.Sound() {
			t.Errorf("one that has answered %s is not sound", name)
		}
		if err := instance.Stop(t.Context()); err != nil || !instance.Sound() {
			t.Errorf("%s: after its end it is not (%v)", name, err)
		}
	}
	dying := newHost(t).start(spec("echo", "good", "-script", `{"crash_in": "create"}`))
	release, _ := dying.Acquire()
	defer release()
	if _, err := service.NewAsyncAgentServiceClient(dying.Conn()).CreateTask(t.Context(), &admin.CreateTaskRequest{Template: template(t, nil)}); err == nil || dying.Sound() {
		t.Errorf("one that its first call killed is sound (%v)", err)
	}
}

func TestUsageCountsTheWholeGroup(t *testing.T) {
	h := newHost(t)
	alone, err := h.start(spec("alone", "good")).Usage()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := h.start(spec("pair", "forks")).Usage()
	if err != nil {
		t.Fatal(err)
	}
	if alone.Processes != 1 || pair.Processes != 2 {
		t.Errorf("%d and %d processes", alone.Processes, pair.Processes)
	}
	if alone.RSS < 1<<20 || pair.RSS < alone.RSS {
		t.Errorf("%d and %d bytes", alone.RSS, pair.RSS)
	}
	if alone.CPUSeconds < 0 || alone.CPUSeconds > 60 {
		t.Errorf("%v CPU seconds", alone.CPUSeconds)
	}
}

func TestWhatAPluginLogsComesOutInTheHostsLog(t *testing.T) {
	h := newHost(t)
	h.start(spec("logger", "bad-logs"))
	for message, want := range map[string]map[string]any{
		"timestamp in milliseconds": {"level": "WARN"},
		"level is a number":         {"level": "INFO"},
		"timestamp is a number":     {"level": "INFO"},
		`{"nested":[1,2]}`:          {"level": "ERROR"},
		"slog's keys":               {"level": "ERROR", "plugin_plugin": "impostor"},
		`\x1b[31mred`:               {"level": "INFO"},
		"[1,2,3]":                   {"level": "INFO"},
		`{"@message":"cut short`:    {"level": "INFO"},
	} {
		line := h.log.line(t, message)
		want["plugin"] = "logger"
		for key, value := range want {
			if line[key] != value {
				t.Errorf("%s: %s is %v, want %v", message, key, line[key], value)
			}
		}
	}
}

func TestLongLinesAreCutAndSaySo(t *testing.T) {
	h := newHost(t)
	h.start(spec("long", "long-lines"))
	if line := h.log.line(t, "eeee"); line["cut_bytes"].(float64) < 900_000 || len(line["msg"].(string)) > 40_000 {
		t.Errorf("cut %v bytes, left %d", line["cut_bytes"], len(line["msg"].(string)))
	}
	if line := h.log.line(t, "oooo"); line["level"] != "DEBUG" && line["level"] != "WARN" {
		t.Errorf("stdout logged as %v", line["level"])
	}
	h.log.line(t, "after the long line")
}

func TestWhatAGoPluginPrintsWhileItServesIsLogged(t *testing.T) {
	h := newHost(t)
	h.start(spec("chatty", "chatty", "-text", "hello"))
	if line := h.log.line(t, "hello on stdout"); line["level"] != "DEBUG" || line["stream"] != "stdout" {
		t.Errorf("stdout logged as %v", line)
	}
	if line := h.log.line(t, "hello on stderr"); line["level"] != "INFO" {
		t.Errorf("stderr logged as %v", line)
	}
}

func TestAFloodOfOutputDoesNotStopThePluginNorDrownTheHost(t *testing.T) {
	h := newHost(t)
	instance := h.start(spec("flood", "flood"))
	line := h.log.line(t, "left out")
	if line["level"] != "WARN" || line["dropped_lines"].(float64) < 100 {
		t.Errorf("told as %v", line)
	}
	agent := service.NewAsyncAgentServiceClient(instance.Conn())
	if _, err := agent.CreateTask(t.Context(), &admin.CreateTaskRequest{Template: template(t, nil)}); err != nil {
		t.Errorf("a call during the flood: %v", err)
	}
	if size := len(h.log.String()); size > 64<<20 {
		t.Errorf("the log grew to %d bytes", size)
	}
}

func TestAPluginSeesOnlyTheEnvironmentMeantForIt(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of the host")
	t.Setenv("HTTPS_PROXY", "http://proxy")
	t.Setenv("LANG", "C.UTF-8")
	t.Setenv("TZ", "UTC")
	s := spec("echo", "good")
	s.InheritEnv = []string{"HTTPS_PROXY", "NOT_SET_ANYWHERE"}
	s.Env = map[string]string{"GORACE": s.Env["GORACE"], "TZ": "Europe/Berlin", "MODE": "test", "AGENTHOST_PLUGIN": "mine", "PLUGIN_CLIENT_CERT": "mine"}
	instance := newHost(t).start(s)
	got := environ(t, instance.PID())
	for name, want := range map[string]string{
		"HTTPS_PROXY": "http://proxy", "LANG": "C.UTF-8", "TZ": "Europe/Berlin", "MODE": "test",
		"AGENTHOST_PLUGIN": "flyte-agent-plugin", "PLUGIN_PROTOCOL_VERSIONS": "1",
		"PATH": os.Getenv("PATH"),
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "NOT_SET_ANYWHERE"} {
		if value, ok := got[name]; ok {
			t.Errorf("it got %s=%s", name, value)
		}
	}
	if !strings.HasPrefix(got["PLUGIN_CLIENT_CERT"], "-----BEGIN CERTIFICATE-----") {
		t.Errorf("client certificate %q", got["PLUGIN_CLIENT_CERT"])
	}
}

func TestSecretsArePrivateFilesForAsLongAsThePluginRuns(t *testing.T) {
	source := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(source, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WAREHOUSE_PASSWORD", "from the environment")
	s := spec("echo", "good")
	s.Secrets = map[string]string{"Token": "file://" + source, "WAREHOUSE_PASSWORD": "env:WAREHOUSE_PASSWORD"}
	instance := newHost(t).start(s)
	env := environ(t, instance.PID())
	if _, ok := env["WAREHOUSE_PASSWORD"]; ok {
		t.Error("the secret is in the environment")
	}
	dir := env["FLYTE_SECRETS_DEFAULT_DIR"]
	for name, want := range map[string]string{"token": "from a file\n", "warehouse_password": "from the environment"} {
		path := filepath.Join(dir, name)
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
		for path, mode := range map[string]os.FileMode{path: 0o600, dir: 0o700, filepath.Dir(dir): 0o700} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
			}
		}
	}
	instance.Stop(context.Background())
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the secrets are still there: %v", err)
	}
}

func TestOnlyTheHostCanTalkToAPluginWithTLS(t *testing.T) {
	instance := newHost(t).start(spec("echo", "good"))
	dir := environ(t, instance.PID())["PLUGIN_UNIX_SOCKET_DIR"]
	sockets, err := filepath.Glob(filepath.Join(dir, "plugin*"))
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, path := range sockets {
		if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeSocket == 0 {
			continue
		}
		tried++
		stranger, err := grpc.NewClient("passthrough:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = service.NewAgentMetadataServiceClient(stranger).ListAgents(t.Context(), &admin.ListAgentsRequest{})
		if status.Code(err) != codes.Unavailable {
			t.Errorf("a stranger got %v", err)
		}
		stranger.Close()
	}
	if tried == 0 {
		t.Error("no socket found")
	}
}

func TestManyStartsLeaveNoDescriptorsBehind(t *testing.T) {
	h := newHost(t)
	cycle := func(mode string) {
		s := spec("cycle", mode)
		s.TLS = mode == "good"
		if instance, err := plugin.Start(context.Background(), s, h.environment()); err == nil {
			instance.Stop(context.Background())
		}
	}
	cycle("good") // what is opened once for all
	before := descriptors(t)
	for range 5 {
		cycle("good")
		cycle("dies")
		cycle("dies-after-handshake") // where go-plugin may lose its connection
		cycle("list-empty")
	}
	wait.Until(t, "the descriptors are closed", func() bool { return descriptors(t) <= before })
}

func await(t *testing.T, instance *plugin.Instance) {
	t.Helper()
	select {
	case <-instance.Done():
	case <-time.After(maxWait):
		t.Fatal("the plugin lives")
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func environ(t *testing.T, pid int) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for variable := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\x00"), "\x00") {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	return env
}

// state is the kernel's letter for what a process does: T is stopped.
func state(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return rest[:1]
}

func template(t *testing.T, script map[string]any) *core.TaskTemplate {
	t.Helper()
	custom, err := structpb.NewStruct(script)
	if err != nil {
		t.Fatal(err)
	}
	return &core.TaskTemplate{Type: "echo_task", Custom: custom}
}

func text(value string) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{
		Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: value}},
	}}}}
}
