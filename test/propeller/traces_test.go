package propeller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/proto/flyteidl2"
	"github.com/agenthost/agenthost/test/propeller/scripted"
	"github.com/agenthost/agenthost/test/propeller/traces"
)

// Every recorded scenario is played again: given the agent's answers, the model makes the calls that the real client made, at the
// same times, with the same deadlines and the same requests, and makes the same of the task.
//
// Not held to are, of all recorded fields:
//   - the user-agent header, which names the real client's grpc-go;
//   - how long after its cause a call or phase comes, beyond the tolerances below: the recordings ran on a real clock, these here
//     on one that stands still while anything works.
//
// And of no recording are the rounds of Flyte 1's own around its plugin (routing, retries, outputs): they have tests of their own.
func TestTheModelDoesWhatFlyteDid(t *testing.T) {
	for _, flyte := range []Flyte{V1, V2} {
		for _, trace := range traces.Load(int(flyte)) {
			t.Run(fmt.Sprintf("flyte%d/%s", flyte, trace.Name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { replay(t, flyte, trace) })
			})
		}
	}
}

func TestDiscoveryOfFlyte2PollsAsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorded := traces.LoadDiscovery()
		agent, dial := serve(t, scripted.Script{})
		start := time.Now()
		p := Start(t.Context(), Options{Flyte: V2, Endpoint: "127.0.0.1:PORT", PollInterval: recorded.PollInterval.Duration(), Dial: dial})
		time.Sleep(recorded.LastCallAt.Duration() - time.Since(start))
		synctest.Wait()
		listed := agent.Listed()
		if opened, closed := agent.Connections(); opened != recorded.ConnectionsOpened || closed != recorded.ConnectionsClosed {
			t.Errorf("%d connections opened and %d closed, recorded %d and %d", opened, closed, recorded.ConnectionsOpened, recorded.ConnectionsClosed)
		}
		p.Close()
		if len(listed) != recorded.NumberOfCalls {
			t.Fatalf("%d calls, recorded %d", len(listed), recorded.NumberOfCalls)
		}
		for i, call := range recorded.Calls {
			got := listed[i]
			if !near(got.At.Sub(start), call.At.Duration(), 50*time.Millisecond) || got.ConnectionNo != call.ConnectionNo ||
				!near(got.DeadlineLeft, call.DeadlineLeft.Duration(), 20*time.Millisecond) {
				t.Errorf("call %d: %+v, recorded %+v", i, got, call)
			}
			compareHeaders(t, i, got, call)
		}
		if calls := agent.Calls(); len(calls) != len(recorded.OtherRPCs) {
			t.Errorf("other calls were made: %v", calls)
		}
	})
}

func replay(t *testing.T, flyte Flyte, trace traces.Trace) {
	agent, dial := serve(t, scripted.Of(trace))
	opts := recordedOptions(flyte, trace)
	opts.Dial = dial
	p := Start(t.Context(), opts)
	defer p.Close()
	time.Sleep(recordedLead(flyte, trace))

	start := time.Now()
	execution := p.Submit(recordedTask(flyte, trace))
	abortError := observe(t, p, execution, trace)

	tolerance := 150 * time.Millisecond
	if trace.OfExecutor() {
		tolerance = 600 * time.Millisecond // its rounds are 500 ms, and drifted
	}
	compareCalls(t, flyte, trace, agent.Calls(), start, tolerance)
	comparePhases(t, trace, execution.History(), start, tolerance)
	if trace.AbortError != "" {
		if got := fmt.Sprint(abortError); got != strings.Replace(trace.AbortError, "none", "<nil>", 1) {
			t.Errorf("the abort returned %q, recorded %q", got, trace.AbortError)
		}
	}
	result := execution.snapshot()
	if got := len(result.Outputs.GetLiterals()); got != trace.OutputLiteralsWritten {
		t.Errorf("%d outputs were stored, recorded %d", got, trace.OutputLiteralsWritten)
	}
}

// observe watches the task for as long as was recorded, and does to it what was done then. It returns what an abort returned.
func observe(t *testing.T, p *Propeller, execution *Execution, trace traces.Trace) error {
	start := time.Now()
	until := func(at time.Duration) { time.Sleep(at - time.Since(start)) }
	for _, phase := range trace.Phases {
		if Phase(phase.Phase) == Restarted {
			until(phase.At.Duration())
			p.Restart()
		}
	}
	if trace.AbortAfter > 0 {
		until(trace.AbortAfter.Duration())
		if trace.OfExecutor() {
			time.Sleep(120 * time.Millisecond) // to the recorder's next look at its clock, once a round
		}
		return execution.Abort(t.Context()) // the recordings end here
	}
	if trace.OfExecutor() {
		return execution.WaitGone(t.Context()) // and here
	}
	last := trace.Phases[len(trace.Phases)-1].At.Duration() + time.Second
	until(max(trace.ObservedFor.Duration(), last))
	return nil
}

// recordedOptions are those of the recorded client.
func recordedOptions(flyte Flyte, trace traces.Trace) Options {
	opts := Options{
		Flyte: flyte, Endpoint: "127.0.0.1:PORT", PollInterval: time.Second, Resync: 5 * time.Second, Round: 100 * time.Millisecond,
		Workers: 40, pluginOnly: true,
	}
	if trace.OfExecutor() {
		opts.pluginOnly = false
		opts.Round = 500 * time.Millisecond
		opts.DeleteAfter = 6 * time.Second
		opts.TaskTypes = []string{"asyncy", "bq"}
	}
	if trace.SecretManagerAnswers {
		opts.Secret = func(_ context.Context, key string) (string, error) { return "value-of<" + key + ">", nil }
	}
	if trace.Name == "v2-keepalive-long-create" { // its `why` says so
		opts.Timeouts = map[string]time.Duration{createTask: 200 * time.Second}
		opts.PollInterval = time.Hour
	}
	return opts
}

// recordedLead is how long the recorded client had been running when the task came: it shows in when the resyncs are.
func recordedLead(flyte Flyte, trace traces.Trace) time.Duration {
	switch {
	case flyte == V1:
		return 1540 * time.Millisecond
	case trace.OfExecutor():
		return 1520 * time.Millisecond
	default:
		return 1500 * time.Millisecond
	}
}

// recordedTask is the task of a trace, as the recorder made it. Only the output prefix is taken from the recorded request, for
// Flyte 2 puts something random into it.
func recordedTask(flyte Flyte, trace traces.Trace) Task {
	integer := &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_INTEGER}}
	execution := &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: trace.Name}
	task := Task{
		Template: &core.TaskTemplate{
			Type: trace.TaskType, TaskTypeVersion: trace.TaskTypeVersion,
			Interface: &core.TypedInterface{Outputs: &core.VariableMap{Variables: map[string]*core.Variable{"o0": {Type: integer}}}},
		},
		Inputs:  &core.LiteralMap{Literals: map[string]*core.Literal{"x": literal(&core.Primitive{Value: &core.Primitive_Integer{Integer: 1}})}},
		Retries: trace.Retries,
	}
	if flyte == V1 {
		task.ExecutionID = &core.TaskExecutionIdentifier{
			TaskId:          &core.Identifier{Name: "t"},
			NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: "n0", ExecutionId: execution},
		}
		task.Namespace, task.Labels, task.ServiceAccount = "ns", map[string]string{"l": "1"}, "sa"
		task.Identity = &core.Identity{ExecutionIdentity: "u1"}
		task.OutputPrefixOf = func(int) string { return "fake://b/" + trace.Name }
		return task
	}
	task.Template.Id = &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "p", Domain: "d", Name: "env.t", Version: "v1", Org: "o"}
	task.Template.Metadata = &core.TaskMetadata{Retries: &core.RetryStrategy{Retries: uint32(trace.Retries)}}
	task.Template.Custom = customOf(trace)
	task.ExecutionID = &core.TaskExecutionIdentifier{
		TaskId:          task.Template.Id,
		NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: "a0", ExecutionId: execution},
	}
	task.Labels = map[string]string{
		"action": "a0", "domain": "d", "flyte.org/managed": "true", "l": "1", "organization": "flyte", "project": "p",
		"run": trace.Name, "task-name": "env.t",
	}
	task.Environment = map[string]string{
		"ACTION_NAME": "a0", "E": "1", "RUN_NAME": trace.Name, "_U_ORG_NAME": "local", "_U_RUN_BASE": "mem://flyte-data/o/p/d/" + trace.Name,
	}
	if created := trace.Requests(createTask); len(created) > 0 {
		request := &admin.CreateTaskRequest{}
		if err := proto.Unmarshal(created[0][0], request); err != nil {
			panic(err)
		}
		task.OutputPrefix = strings.TrimSuffix(request.GetOutputPrefix(), "/1")
	}
	if trace.Container {
		task.InputPath = "mem://flyte-data/in/" + trace.Name + "/inputs.pb"
		task.Template.Target = &core.TaskTemplate_Container{Container: &core.Container{Image: "img", Args: []string{
			"run", "--inputs", "{{.input}}", "--outputs-path", "{{ .OutputPrefix }}", "--x", "{{$inputs.x}}", "--raw", "{{.rawOutputDataPrefix}}",
		}}}
	}
	if strings.HasPrefix(trace.Name, "v2-many-inputs") {
		task.Inputs = &core.LiteralMap{Literals: map[string]*core.Literal{
			"a": literal(&core.Primitive{Value: &core.Primitive_Integer{Integer: 1}}),
			"b": literal(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: "two"}}),
			"c": literal(&core.Primitive{Value: &core.Primitive_FloatValue{FloatValue: 3.5}}),
			"d": literal(&core.Primitive{Value: &core.Primitive_Boolean{Boolean: true}}),
			"e": literal(&core.Primitive{Value: &core.Primitive_Integer{Integer: 5}}),
			"f": literal(&core.Primitive{Value: &core.Primitive_Integer{Integer: 6}}),
		}}
	}
	return task
}

func customOf(trace traces.Trace) *structpb.Struct {
	custom := trace.Custom
	if trace.CustomUnset {
		return nil
	}
	if custom == nil {
		custom = map[string]any{"query": "select 1"}
	}
	result, err := structpb.NewStruct(custom)
	if err != nil {
		panic(err)
	}
	return result
}

func literal(value *core.Primitive) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: value}}}}
}

func compareCalls(t *testing.T, flyte Flyte, trace traces.Trace, got []scripted.Call, start time.Time, tolerance time.Duration) {
	t.Helper()
	var made, recorded []string
	for _, call := range got {
		made = append(made, call.Method)
	}
	for _, call := range trace.Calls {
		recorded = append(recorded, call.Method)
	}
	if !slices.Equal(made, recorded) {
		t.Fatalf("calls:    %v\nrecorded: %v", made, recorded)
	}
	for i, want := range trace.Calls {
		call := got[i]
		if !near(call.At.Sub(start), want.At.Duration(), tolerance) {
			t.Errorf("call %d, %s, at %v, recorded %v", i, call.Method, call.At.Sub(start), want.At.Duration())
		}
		if !near(call.DeadlineLeft, want.DeadlineLeft.Duration(), 30*time.Millisecond) {
			t.Errorf("call %d, %s, with %v left of its deadline, recorded %v", i, call.Method, call.DeadlineLeft, want.DeadlineLeft.Duration())
		}
		if diff := cmp.Diff(want.Reply, call.Reply); diff != "" {
			t.Errorf("call %d, %s, got another answer:\n%s", i, call.Method, diff)
		}
		if path := "/" + call.Service + "/" + call.Method; path != paths[flyte][call.Method] {
			t.Errorf("call %d went to %s", i, path)
		}
		if want.ConnectionNo != 0 && call.ConnectionNo != want.ConnectionNo {
			t.Errorf("call %d, %s, on connection %d, recorded %d", i, call.Method, call.ConnectionNo, want.ConnectionNo)
		}
		compareHeaders(t, i, call, want)
		compareFrames(t, flyte, call.Method, call.Frames, want.Frames)
	}
}

func compareHeaders(t *testing.T, i int, call scripted.Call, want traces.Call) {
	t.Helper()
	for key, values := range want.Headers {
		if key != "user-agent" && !slices.Equal(call.Header.Get(key), values) {
			t.Errorf("call %d, %s, with header %s: %v, recorded %v", i, call.Method, key, call.Header.Get(key), values)
		}
	}
	for key := range call.Header {
		if _, ok := want.Headers[key]; !ok && want.Headers != nil {
			t.Errorf("call %d, %s, with header %s: %v, which was not recorded", i, call.Method, key, call.Header.Get(key))
		}
	}
}

// compareFrames holds a request against the recorded one. The order of maps is random on both sides, so that both are decoded, as
// messages of Flyte 1 and, where they are its own, of Flyte 2; and where nothing is random they agree to the byte.
func compareFrames(t *testing.T, flyte Flyte, method string, got, want [][]byte) {
	t.Helper()
	if want == nil {
		return // not recorded: the same as for the call before
	}
	if len(got) != len(want) {
		t.Fatalf("%s sent %d frames, recorded %d", method, len(got), len(want))
	}
	for i := range want {
		messages := []func() proto.Message{requestOf[method]}
		if flyte == V2 {
			messages = append(messages, func() proto.Message { return requestOfFlyte2(t, method) })
		}
		for _, message := range messages {
			sent, recorded := message(), message()
			if err := errors.Join(proto.Unmarshal(got[i], sent), proto.Unmarshal(want[i], recorded)); err != nil {
				t.Fatalf("%s: %v", method, err)
			}
			options := []cmp.Option{protocmp.Transform()}
			if flyte == V2 {
				options = append(options, protocmp.IgnoreUnknown(), byName())
			}
			if diff := cmp.Diff(recorded, sent, options...); diff != "" {
				t.Errorf("%s (-recorded +sent):\n%s", method, diff)
			}
		}
		if method == getTask || method == deleteTask {
			if flyte == V1 && !bytes.Equal(got[i], want[i]) {
				t.Errorf("%s sent %x, recorded %x", method, got[i], want[i])
			}
		}
		if len(got[i]) != len(want[i]) {
			t.Errorf("%s sent %d bytes, recorded %d", method, len(got[i]), len(want[i]))
		}
	}
}

// byName sorts what Flyte 2 declares as lists of named things, and Flyte 1 as maps.
func byName() cmp.Option {
	name := func(message protocmp.Message) string {
		for _, field := range []string{"name", "key"} {
			if text, ok := message[field].(string); ok {
				return text
			}
		}
		return ""
	}
	return cmpopts.SortSlices(func(a, b protocmp.Message) bool { return name(a) < name(b) })
}

var requestOf = map[string]func() proto.Message{
	createTask:      func() proto.Message { return &admin.CreateTaskRequest{} },
	getTask:         func() proto.Message { return &admin.GetTaskRequest{} },
	deleteTask:      func() proto.Message { return &admin.DeleteTaskRequest{} },
	executeTaskSync: func() proto.Message { return &admin.ExecuteTaskSyncRequest{} },
}

func requestOfFlyte2(t *testing.T, method string) proto.Message {
	t.Helper()
	found, err := flyteidl2.Files().FindDescriptorByName(protoreflect.FullName("flyteidl2.connector." + method + "Request"))
	if err != nil {
		t.Fatal(err)
	}
	return dynamicpb.NewMessage(found.(protoreflect.MessageDescriptor))
}

func comparePhases(t *testing.T, trace traces.Trace, got []Change, start time.Time, tolerance time.Duration) {
	t.Helper()
	type said struct{ Phase, Reason, Code, Kind, HandleError string }
	var made, recorded []said
	for _, change := range got {
		made = append(made, said{string(change.Phase), change.Reason, change.Code, change.Kind, change.HandleError})
	}
	for _, phase := range trace.Phases {
		recorded = append(recorded, said{phase.Phase, phase.Reason, phase.ErrorCode, phase.ErrorKind, phase.HandleError})
	}
	if diff := cmp.Diff(recorded, made); diff != "" {
		t.Fatalf("phases (-recorded +made):\n%s", diff)
	}
	for i, want := range trace.Phases {
		change := got[i]
		if !near(change.At.Sub(start), want.At.Duration(), tolerance) {
			t.Errorf("%s at %v, recorded %v", change.Phase, change.At.Sub(start), want.At.Duration())
		}
		if want.TaskInfo == nil {
			continue
		}
		if trace.OfExecutor() {
			compareAction(t, change, want.TaskInfo)
		} else {
			compareInfo(t, change, want.TaskInfo)
		}
	}
}

func compareAction(t *testing.T, change Change, want *traces.TaskInfo) {
	t.Helper()
	recorded := &Action{
		Attempts: want.Attempts, SystemFailures: want.SystemFailures, Conditions: want.Conditions, Deleting: want.Deleting,
		Finalizer: slices.Contains(want.Finalizers, "flyte.org/plugin-finalizer"),
	}
	if !recorded.same(change.Action) {
		t.Errorf("%s with %+v, recorded %+v", change.Phase, change.Action, recorded)
	}
}

func compareInfo(t *testing.T, change Change, want *traces.TaskInfo) {
	t.Helper()
	info := change.Info
	if info == nil {
		info = &Info{}
	}
	if len(info.Logs) != len(want.Logs) {
		t.Fatalf("%s with %d log links, recorded %d", change.Phase, len(info.Logs), len(want.Logs))
	}
	for i, log := range want.Logs {
		if got := info.Logs[i]; got.GetUri() != log.URI || got.GetName() != log.Name || int32(got.GetMessageFormat()) != log.MessageFormat {
			t.Errorf("%s with log link %v, recorded %v", change.Phase, got, log)
		}
	}
	if diff := cmp.Diff(want.CustomInfo, info.CustomInfo.AsMap()); diff != "" && (len(want.CustomInfo) > 0 || info.CustomInfo != nil) {
		t.Errorf("%s with other custom info:\n%s", change.Phase, diff)
	}
	endpoint := ""
	if want.LogContext != nil {
		endpoint = want.LogContext.Connector.Endpoint
	}
	if info.Endpoint != endpoint {
		t.Errorf("%s with endpoint %q, recorded %q", change.Phase, info.Endpoint, endpoint)
	}
}

func near(got, want, tolerance time.Duration) bool { return (got - want).Abs() <= tolerance }

// serve starts a scripted agent in memory, and gives the way to it.
func serve(t *testing.T, script scripted.Script) (*scripted.Agent, func(context.Context, string) (net.Conn, error)) {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	agent := scripted.New(script)
	ended := make(chan error, 1)
	go func() { ended <- agent.Serve(listener) }()
	t.Cleanup(func() {
		agent.Stop()
		if err := <-ended; err != nil {
			t.Errorf("the scripted agent: %v", err)
		}
	})
	return agent, func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := listener.DialContext(ctx)
		return distant{conn}, err
	}
}

// distant is a connection on which a request takes a moment to arrive. Without it both sides of a call would reach its deadline at
// the same instant, and chance would tell whose error the caller sees; on a network it is the caller's own.
type distant struct{ net.Conn }

func (d distant) Write(data []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return d.Conn.Write(data)
}
