package taskrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/proto/fields"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is a server of Flyte's agent protocol whose jobs go through the given answers, one for each poll; the last one
// stays.
type agent struct {
	service.UnimplementedAsyncAgentServiceServer
	service.UnimplementedSyncAgentServiceServer
	service.UnimplementedAgentMetadataServiceServer

	sync  bool
	polls []poll
	logs  [][]string // new lines at each call of GetTaskLogs
	// structured comes behind the lines of each call.
	structured *admin.GetTaskLogsResponseBody
	tokens     bool // whether log calls go on from a token
	deleted    chan string
	polled     chan int

	mu      sync.Mutex
	created []*admin.CreateTaskRequest
	gets    int
	logged  int
}

type poll struct {
	resource *admin.Resource
	err      error
}

func serve(t *testing.T, a *agent) *grpc.ClientConn {
	t.Helper()
	a.deleted, a.polled = make(chan string, 10), make(chan int, 1000)
	server := grpc.NewServer()
	service.RegisterAsyncAgentServiceServer(server, a)
	service.RegisterSyncAgentServiceServer(server, a)
	service.RegisterAgentMetadataServiceServer(server, a)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (a *agent) ListAgents(context.Context, *admin.ListAgentsRequest) (*admin.ListAgentsResponse, error) {
	return &admin.ListAgentsResponse{Agents: []*admin.Agent{
		{Name: "a", IsSync: a.sync, SupportedTaskCategories: []*admin.TaskCategory{{Name: "query"}, {Name: "query", Version: 2}}},
		{Name: "old", SupportedTaskTypes: []string{"old_query"}},
	}}, nil
}

func (a *agent) CreateTask(_ context.Context, request *admin.CreateTaskRequest) (*admin.CreateTaskResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.created = append(a.created, request)
	if request.GetTemplate().GetSql().GetStatement() == "refuse" {
		return nil, status.Error(codes.InvalidArgument, "the statement says so")
	}
	return &admin.CreateTaskResponse{ResourceMeta: []byte("job-1")}, nil
}

func (a *agent) GetTask(_ context.Context, request *admin.GetTaskRequest) (*admin.GetTaskResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if string(request.GetResourceMeta()) != "job-1" || request.GetTaskCategory().GetName() != "query" || request.GetTaskType() != "query" {
		return nil, status.Errorf(codes.NotFound, "no job %q of %v", request.GetResourceMeta(), request.GetTaskCategory())
	}
	answer := a.polls[min(a.gets, len(a.polls)-1)]
	a.gets++
	a.polled <- a.gets
	return &admin.GetTaskResponse{Resource: answer.resource}, answer.err
}

func (a *agent) DeleteTask(_ context.Context, request *admin.DeleteTaskRequest) (*admin.DeleteTaskResponse, error) {
	a.deleted <- string(request.GetResourceMeta())
	return &admin.DeleteTaskResponse{}, nil
}

func (a *agent) GetTaskLogs(request *admin.GetTaskLogsRequest, stream service.AsyncAgentService_GetTaskLogsServer) error {
	if a.logs == nil {
		return status.Error(codes.Unimplemented, "no logs here")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logged = min(a.logged+1, len(a.logs))
	from := 0
	if a.tokens {
		if request.GetToken() != "" {
			if _, err := fmt.Sscan(request.GetToken(), &from); err != nil {
				return err
			}
		}
		header := &admin.GetTaskLogsResponseHeader{Token: fmt.Sprint(a.logged)}
		if err := stream.Send(&admin.GetTaskLogsResponse{Part: &admin.GetTaskLogsResponse_Header{Header: header}}); err != nil {
			return err
		}
	}
	for _, lines := range a.logs[from:a.logged] {
		body := &admin.GetTaskLogsResponseBody{Results: lines}
		if err := stream.Send(&admin.GetTaskLogsResponse{Part: &admin.GetTaskLogsResponse_Body{Body: body}}); err != nil {
			return err
		}
	}
	if a.structured != nil {
		return stream.Send(&admin.GetTaskLogsResponse{Part: &admin.GetTaskLogsResponse_Body{Body: a.structured}})
	}
	return nil
}

func (a *agent) ExecuteTaskSync(stream service.SyncAgentService_ExecuteTaskSyncServer) error {
	header, err := stream.Recv()
	if err != nil {
		return err
	}
	inputs, err := stream.Recv()
	if err != nil {
		return err
	}
	if header.GetHeader() == nil || inputs.GetInputs() == nil {
		return status.Error(codes.InvalidArgument, "expected a header, then inputs")
	}
	resource := a.polls[0].resource
	return stream.Send(&admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Header{
		Header: &admin.ExecuteTaskSyncResponseHeader{Resource: resource},
	}})
}

func in(phase core.TaskExecution_Phase, message string) poll {
	return poll{resource: &admin.Resource{Phase: phase, Message: message}}
}

func succeeded(outputs map[string]any) poll {
	p := in(core.TaskExecution_SUCCEEDED, "")
	p.resource.Outputs = &core.LiteralMap{Literals: map[string]*core.Literal{}}
	for name, value := range outputs {
		encoded, err := literal.Encode(value, nil)
		if err != nil {
			panic(err)
		}
		p.resource.Outputs.Literals[name] = encoded
	}
	return p
}

func query(t *testing.T) *Task {
	return newTask(t, TaskOptions{Type: "query", SQL: "select 1", Inputs: []string{"n=3"}, Outputs: []string{"x:int"}})
}

func TestAnAsyncTaskIsCreatedPolledAndItsOutputsRead(t *testing.T) {
	a := &agent{polls: []poll{in(core.TaskExecution_QUEUED, ""), in(core.TaskExecution_RUNNING, "half way"), succeeded(map[string]any{"x": int64(42)})}}
	var heard []string
	result, err := Run(t.Context(), serve(t, a), query(t), Options{
		OutputPrefix: "/out", Project: "p", Watch: func(p Progress) { heard = append(heard, strings.TrimSpace(p.Phase+" "+p.Message)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"CREATING", "QUEUED", "RUNNING half way"}, heard); diff != "" {
		t.Errorf("progress: %s", diff)
	}
	report := result.Report(0)
	if !result.Succeeded() || report.Phase != "SUCCEEDED" || report.Outputs["x"] != int64(42) {
		t.Errorf("got %+v", report)
	}
	request := a.created[0]
	id := request.GetTaskExecutionMetadata().GetTaskExecutionId()
	if request.GetOutputPrefix() != "/out" || id.GetNodeExecutionId().GetExecutionId().GetProject() != "p" || id.GetTaskId().GetName() != "query" ||
		request.GetInputs().GetLiterals()["n"] == nil {
		t.Errorf("created %v", request)
	}
}

func TestEachRunIsAnExecutionOfItsOwn(t *testing.T) {
	a := &agent{polls: []poll{succeeded(nil)}}
	conn := serve(t, a)
	for range 2 {
		if _, err := Run(t.Context(), conn, query(t), Options{}); err != nil {
			t.Fatal(err)
		}
	}
	name := func(i int) string {
		return a.created[i].GetTaskExecutionMetadata().GetTaskExecutionId().GetNodeExecutionId().GetExecutionId().GetName()
	}
	if name(0) == name(1) || name(0) == "" {
		t.Errorf("both are %q", name(0))
	}
}

func TestAFailedTaskIsAResultWithItsReason(t *testing.T) {
	failed := in(core.TaskExecution_FAILED, "no such table")
	failed.resource.AgentError = &admin.AgentError{Code: "Catalog"}
	for want, p := range map[string]poll{
		"ended FAILED after":       failed,
		"Catalog: no such table":   failed,
		"RETRYABLE_FAILED":         in(pluginv1.PhaseRetryableFailed, "busy"),
		"ABORTED":                  in(core.TaskExecution_ABORTED, ""),
		"the agent gave no reason": in(core.TaskExecution_ABORTED, ""),
		"ended FAILED":             {resource: &admin.Resource{State: admin.State_PERMANENT_FAILURE}},
	} {
		result, err := Run(t.Context(), serve(t, &agent{polls: []poll{p}}), query(t), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if result.Succeeded() || !strings.Contains(result.Failure(), want) {
			t.Errorf("got %q, want %q", result.Failure(), want)
		}
	}
}

func TestASyncAgentIsCalledOnce(t *testing.T) {
	a := &agent{sync: true, polls: []poll{succeeded(map[string]any{"x": "done"})}}
	result, err := Run(t.Context(), serve(t, a), query(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !result.Sync || result.Report(0).Outputs["x"] != "done" || len(a.created) != 0 || a.gets != 0 {
		t.Errorf("got %+v, %d creates, %d gets", result, len(a.created), a.gets)
	}
	unfinished := &agent{sync: true, polls: []poll{in(core.TaskExecution_RUNNING, "on it")}}
	result, err = Run(t.Context(), serve(t, unfinished), query(t), Options{})
	if err != nil || result.Succeeded() || !strings.Contains(result.Failure(), "not an end and breaks FlytePropeller. on it") {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestAnUnknownTaskTypeIsAnsweredWithTheKnownOnes(t *testing.T) {
	task := newTask(t, TaskOptions{Type: "qurey"})
	_, err := Run(t.Context(), serve(t, &agent{}), task, Options{})
	if err == nil || !strings.Contains(err.Error(), `no agent serves task type "qurey"; there are old_query, query; did you mean query?`) {
		t.Errorf("got %v", err)
	}
}

func TestARefusedCreateSaysWhy(t *testing.T) {
	task := newTask(t, TaskOptions{Type: "query", SQL: "refuse"})
	_, err := Run(t.Context(), serve(t, &agent{}), task, Options{})
	if err == nil || err.Error() != "creating the job: InvalidArgument: the statement says so" {
		t.Errorf("got %v", err)
	}
}

func TestPollsMayFailForAWhile(t *testing.T) {
	unavailable := poll{err: status.Error(codes.Unavailable, "restarting")}
	a := &agent{polls: []poll{unavailable, unavailable, unavailable, unavailable, succeeded(nil)}}
	var unknown int
	result, err := Run(t.Context(), serve(t, a), query(t), Options{Watch: func(p Progress) {
		if p.Phase == "UNKNOWN" && strings.Contains(p.Message, "restarting") {
			unknown++
		}
	}})
	if err != nil || !result.Succeeded() || unknown != 4 {
		t.Errorf("got %+v, %v, %d", result, err, unknown)
	}
}

func TestAJobThatIsNotHeardOfAnyMoreIsDeleted(t *testing.T) {
	for want, p := range map[string]poll{
		"asking for the job: Unavailable: gone; the job was deleted": {err: status.Error(codes.Unavailable, "gone")},
		"asking for the job: Internal: bug; the job was deleted":     {err: status.Error(codes.Internal, "bug")},
		"without a phase, which Flyte takes for a failure":           {resource: &admin.Resource{}},
	} {
		a := &agent{polls: []poll{p}}
		_, err := Run(t.Context(), serve(t, a), query(t), Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if got := <-a.deleted; got != "job-1" {
			t.Errorf("deleted %q", got)
		}
	}
}

func TestAnInterruptedRunDeletesItsJob(t *testing.T) {
	a := &agent{polls: []poll{in(core.TaskExecution_RUNNING, "")}}
	conn := serve(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for n := range a.polled {
			if n == 2 {
				cancel()
				return
			}
		}
	}()
	_, err := Run(ctx, conn, query(t), Options{})
	if !errors.Is(err, ErrInterrupted) || err.Error() != "interrupted; the job was deleted" {
		t.Errorf("got %v", err)
	}
	if got := <-a.deleted; got != "job-1" {
		t.Errorf("deleted %q", got)
	}
}

func TestLogLinesAreShownOnceWithTokensAndWithout(t *testing.T) {
	for _, tokens := range []bool{true, false} {
		running := in(core.TaskExecution_RUNNING, "")
		a := &agent{tokens: tokens, logs: [][]string{{"one\n"}, {"two", "three"}, {"four"}}, polls: []poll{running, running, succeeded(nil)}}
		var lines []string
		if _, err := Run(t.Context(), serve(t, a), query(t), Options{Log: func(line string) { lines = append(lines, line) }}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"one", "two", "three", "four"}, lines); diff != "" {
			t.Errorf("tokens %t: %s", tokens, diff)
		}
	}
}

func TestStructuredLogLinesAreShownWithTheirTimeAndOriginator(t *testing.T) {
	at, err := proto.Marshal(timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	var lines []byte // flyteidl.admin.LogLine, which the linked flyteidl does not know
	for _, line := range [][]byte{
		fields.AppendVarint(fields.Append(fields.Append(nil, 1, at), 2, "first\n"), 3, 1),
		fields.AppendVarint(fields.Append(nil, 2, "second"), 3, 2),
		fields.Append(nil, 2, "third"),
	} {
		lines = fields.Append(lines, 2, line)
	}
	structured := &admin.GetTaskLogsResponseBody{Results: []string{"first", "second", "third"}} // the same again, as SDKs send them
	structured.ProtoReflect().SetUnknown(lines)
	a := &agent{logs: [][]string{{"plain"}}, structured: structured, polls: []poll{in(core.TaskExecution_RUNNING, ""), succeeded(nil)}}
	var shown []string
	if _, err := Run(t.Context(), serve(t, a), query(t), Options{Log: func(line string) { shown = append(shown, line) }}); err != nil {
		t.Fatal(err)
	}
	want := []string{"plain", "2026-01-02T03:04:05.006Z  USER    first", "SYSTEM  second", "third"}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Error(diff)
	}
}

func TestAnAgentWithoutLogsIsAskedOnce(t *testing.T) {
	running := in(core.TaskExecution_RUNNING, "")
	a := &agent{polls: []poll{running, running, succeeded(nil)}}
	var lines []string
	if _, err := Run(t.Context(), serve(t, a), query(t), Options{Log: func(line string) { lines = append(lines, line) }}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"(this agent gives no logs)"}, lines); diff != "" {
		t.Error(diff)
	}
}

func TestOutputsThatTheAgentWroteToTheirPrefixAreRead(t *testing.T) {
	folder := t.TempDir()
	conn := serve(t, &agent{polls: []poll{in(core.TaskExecution_SUCCEEDED, "")}})
	result, err := Run(t.Context(), conn, query(t), Options{OutputPrefix: folder})
	if err != nil || !strings.Contains(result.Note, "neither in its answer nor as a file") {
		t.Errorf("got %+v, %v", result, err)
	}
	encoded, err := proto.Marshal(succeeded(map[string]any{"x": int64(7)}).resource.GetOutputs())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "outputs.pb"), encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	result, err = Run(t.Context(), conn, query(t), Options{OutputPrefix: "file://" + folder})
	if err != nil || result.Report(0).Outputs["x"] != int64(7) {
		t.Errorf("got %+v, %v", result, err)
	}
	result, err = Run(t.Context(), conn, query(t), Options{OutputPrefix: "s3://bucket/x/"})
	if err != nil || !strings.Contains(result.Note, "should be at s3://bucket/x/outputs.pb") {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestAResultIsReadableForPeopleAndForPrograms(t *testing.T) {
	type row struct {
		N    int64  `parquet:"n"`
		Name string `parquet:"name"`
	}
	var table []row
	for n := range int64(12) {
		table = append(table, row{n, fmt.Sprint("r", n)})
	}
	rows := filepath.Join(t.TempDir(), "rows.parquet")
	if err := parquet.WriteFile(rows, table); err != nil {
		t.Fatal(err)
	}
	done := succeeded(map[string]any{
		"count": int64(12), "took": 90 * time.Second, "names": []any{"a", "b"},
		"rows": literal.StructuredDataset{URI: rows, Format: "parquet", Columns: []literal.Column{
			{Name: "n", Type: literal.Simple(core.SimpleType_INTEGER)}, {Name: "name", Type: literal.Simple(core.SimpleType_STRING)},
		}},
	})
	done.resource.LogLinks = []*core.TaskLog{{Name: "Console", Uri: "https://console"}}
	result, err := Run(t.Context(), serve(t, &agent{polls: []poll{done}}), query(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	result.Print(&out, 2)
	for _, want := range []string{"Console: https://console\n", "count = 12\n", `took = "1m30s"`, "rows = parquet dataset at " + rows, "n int", "name str", "r1", "2 of 12 rows"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
	encoded, err := json.Marshal(result.Report(1).Outputs["rows"])
	want := `{"columns":[{"name":"n","type":"int"},{"name":"name","type":"str"}],"format":"parquet","row_count":12,"rows":[{"n":0,"name":"r0"}],"uri":"` + rows + `"}`
	if err != nil || string(encoded) != want {
		t.Errorf("got  %s, %v\nwant %s", encoded, err, want)
	}
}

// Which of two clocks is first is nothing that a person should be told, nor what decides whether a poll is repeated.
func TestACallThatIsLateIsToldInOneWay(t *testing.T) {
	ours := status.FromContextError(context.DeadlineExceeded).Err()
	for _, err := range []error{
		ours,
		status.Error(codes.DeadlineExceeded, "stream terminated by RST_STREAM with error code: CANCEL"),
		status.Error(codes.Canceled, "Timeout expired"), // by tonic
	} {
		if got := plain(err).Error(); got != plain(ours).Error() || !transient(err) || late(err, "") == "" {
			t.Errorf("%v is told as %q, to be repeated: %v, late: %q", err, got, transient(err), late(err, ""))
		}
	}
	for _, err := range []error{status.Error(codes.Canceled, "no more"), status.Error(codes.DeadlineExceeded, "the warehouse is slow")} {
		if got := plain(err).Error(); !strings.Contains(got, status.Convert(err).Message()) {
			t.Errorf("%v is told as %q", err, got)
		}
	}
}
