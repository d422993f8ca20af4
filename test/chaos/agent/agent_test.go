package agent_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/test/chaos/agent"
	"github.com/agenthost/agenthost/test/chaos/ledger"
	"github.com/agenthost/agenthost/test/chaos/procs"
)

func TestMain(m *testing.M) {
	agent.Main()
	os.Exit(m.Run())
}

func listen(t *testing.T, plan ledger.Plan) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Listen(func(string) (ledger.Plan, bool) { return plan, true })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		l.Close()
	})
	return l
}

// start runs the plugin as a subprocess with a mark in its environment.
func start(t *testing.T, l *ledger.Ledger, flags agent.Flags) (*agenttest.Client, string) {
	t.Helper()
	flags.Agent = "alpha"
	mark := t.Name() + strconv.Itoa(os.Getpid())
	command := agent.Command(flags)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), agent.LedgerVariable+"="+l.URL(), procs.Variable+"="+mark)
	return agenttest.Start(t, cmd), mark
}

func task(name string) agenttest.Task {
	return agenttest.Task{
		Type: "chaos_alpha", Inputs: map[string]any{"number": 5, "text": "abc"},
		ExecutionID: &core.TaskExecutionIdentifier{NodeExecutionId: &core.NodeExecutionIdentifier{
			NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: name},
		}},
	}
}

func create(t *testing.T, client *agenttest.Client, name string) *agenttest.Job {
	t.Helper()
	job, err := client.Create(t.Context(), task(name))
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// wantGone makes sure that a call lost its plugin.
func wantGone(t *testing.T, err error) {
	t.Helper()
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the call gave %v, want UNAVAILABLE: the process ended in the middle of it", err)
	}
}

func TestAJobOfTheLedgerIsOneOfFlyte(t *testing.T) {
	l := listen(t, ledger.Plan{End: ledger.Succeeded, Runs: 20 * time.Millisecond})
	client, _ := start(t, l, agent.Flags{Release: "r1"})
	result, err := create(t, client, "e1").Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := agenttest.Output[int64](t, result, "number"); n != 26 {
		t.Errorf("the number is %d, want 26", n)
	}
	if text := agenttest.Output[string](t, result, "text"); text != "cba" {
		t.Errorf("the text is %q, want cba", text)
	}
	if jobs := l.Task("e1").Jobs; len(jobs) != 1 || jobs[0].Told.IsZero() {
		t.Errorf("the ledger has %+v", jobs)
	}
}

func TestOnlyAnIdempotentPluginFindsItsJobAgain(t *testing.T) {
	for idempotent, jobs := range map[bool]int{true: 1, false: 2} {
		t.Run(strconv.FormatBool(idempotent), func(t *testing.T) {
			l := listen(t, ledger.Plan{End: ledger.Running})
			client, _ := start(t, l, agent.Flags{Release: "r1", Idempotent: idempotent})
			create(t, client, "e1")
			create(t, client, "e1")
			if made := l.Task("e1").Jobs; len(made) != jobs {
				t.Errorf("two Creates for one attempt made %d jobs, want %d", len(made), jobs)
			}
			if says := len(client.Describe().GetCapabilities()) > 0; says != idempotent {
				t.Errorf("the plugin promises %q", client.Describe().GetCapabilities())
			}
		})
	}
}

func TestProcessesOfAnIdempotentPluginFindEachOthersJobs(t *testing.T) {
	l := listen(t, ledger.Plan{End: ledger.Running})
	one, _ := start(t, l, agent.Flags{Release: "r1", Idempotent: true})
	other, _ := start(t, l, agent.Flags{Release: "r2", Idempotent: true})
	if _, err := other.Find(t.Context(), task("e1")); status.Code(err) != codes.NotFound {
		t.Errorf("before there is a job Find gave %v", err)
	}
	made := create(t, one, "e1")
	for range 2 {
		if found, err := other.Find(t.Context(), task("e1")); err != nil || !bytes.Equal(found.Meta, made.Meta) {
			t.Errorf("Find gave %v, %v, want %s", found, err, made.Meta)
		}
	}
	if jobs := l.Task("e1").Jobs; len(jobs) != 1 {
		t.Errorf("the ledger has %d jobs, want 1", len(jobs))
	}
	for _, name := range []string{"e1", "never-made"} {
		for range 2 {
			if err := other.Abandon(t.Context(), task(name)); err != nil {
				t.Error(err)
			}
		}
		if _, err := one.Create(t.Context(), task(name)); status.Code(err) != codes.Aborted {
			t.Errorf("Create of %s after it was abandoned gave %v", name, err)
		}
		if _, err := one.Find(t.Context(), task(name)); status.Code(err) != codes.Aborted {
			t.Errorf("Find of %s after it was abandoned gave %v", name, err)
		}
	}
	result, err := made.Get(t.Context())
	if err != nil || result.Phase != sdk.PhaseAborted {
		t.Errorf("the job that was abandoned is %+v, %v", result, err)
	}
	if jobs := l.Task("never-made").Jobs; len(jobs) != 0 {
		t.Errorf("%d jobs were made of an attempt that was abandoned", len(jobs))
	}
}

func TestEachVersionUnderstandsTheOthersJobs(t *testing.T) {
	l := listen(t, ledger.Plan{End: ledger.Running})
	for _, second := range []bool{true, false} {
		t.Run(strconv.FormatBool(second), func(t *testing.T) {
			maker, _ := start(t, l, agent.Flags{Release: "r1", Second: second})
			reader, _ := start(t, l, agent.Flags{Release: "r2", Second: !second})
			made := create(t, maker, "e1")
			if _, err := reader.Job(made.Category, made.Meta).Get(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASyncAgentTellsTheEndInEveryShape(t *testing.T) {
	running, done, failed := core.TaskExecution_RUNNING, core.TaskExecution_SUCCEEDED, core.TaskExecution_FAILED
	for shape, c := range map[ledger.Shape]struct {
		end    ledger.State
		phases []core.TaskExecution_Phase // of the headers
		outs   int                        // messages with outputs
		state  admin.State
	}{
		ledger.Whole: {ledger.Succeeded, []core.TaskExecution_Phase{done}, 0, 0},
		ledger.Parts: {ledger.Succeeded, []core.TaskExecution_Phase{done}, 2, 0},
		ledger.Early: {ledger.Failed, []core.TaskExecution_Phase{running, failed}, 0, 0},
		ledger.Open:  {ledger.Failed, []core.TaskExecution_Phase{running}, 0, 0},
		ledger.Old:   {ledger.Succeeded, []core.TaskExecution_Phase{core.TaskExecution_UNDEFINED}, 0, admin.State_SUCCEEDED},
	} {
		t.Run(string(shape), func(t *testing.T) {
			l := listen(t, ledger.Plan{End: c.end, Message: "why", Shape: shape})
			client, _ := start(t, l, agent.Flags{Release: "r1", Sync: true})
			answers := execute(t, client.Conn())
			var phases []core.TaskExecution_Phase
			outs := 0
			for _, answer := range answers {
				if header := answer.GetHeader(); header != nil {
					phases = append(phases, header.GetResource().GetPhase())
				} else {
					outs += len(answer.GetOutputs().GetLiterals())
				}
			}
			if !slices.Equal(phases, c.phases) || outs != c.outs || answers[0].GetHeader().GetResource().GetState() != c.state {
				t.Errorf("the answers are %v", answers)
			}
			if runs := l.Task("e1").Runs; len(runs) != 1 || runs[0].End != c.end {
				t.Errorf("the ledger has the runs %+v", runs)
			}
		})
	}
}

// execute makes a sync call, and gives every message of the answer.
func execute(t *testing.T, conn grpc.ClientConnInterface) []*admin.ExecuteTaskSyncResponse {
	t.Helper()
	stream, err := service.NewSyncAgentServiceClient(conn).ExecuteTaskSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	header := &admin.CreateRequestHeader{
		Template:              &core.TaskTemplate{Type: "chaos_alpha"},
		TaskExecutionMetadata: &admin.TaskExecutionMetadata{TaskExecutionId: task("e1").ExecutionID},
	}
	if err := stream.Send(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: header}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var answers []*admin.ExecuteTaskSyncResponse
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answers
		}
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer)
	}
}

func TestAServiceThatRefusesToMakeAJobIsAskedAgain(t *testing.T) {
	l := listen(t, ledger.Plan{End: ledger.Running})
	client, _ := start(t, l, agent.Flags{Release: "r1"})
	l.SetWeather("alpha", ledger.Weather{Until: time.Now().Add(300 * time.Millisecond), Failing: true})
	create(t, client, "e1")
}

func TestThePluginDiesInTheMiddleOfACreateAfterTheJobWasMade(t *testing.T) {
	l := listen(t, ledger.Plan{End: ledger.Running})
	client, _ := start(t, l, agent.Flags{Release: "r1"})
	l.Arm(ledger.Fault{Agent: "alpha", Op: ledger.Create, Do: ledger.Exit})
	_, err := client.Create(t.Context(), task("e1"))
	wantGone(t, err)
	if made := l.Task("e1").Jobs; len(made) != 1 {
		t.Errorf("%d jobs were made, want the one whose answer was lost", len(made))
	}
}

func TestThePluginPanicsInTheMiddleOfAGet(t *testing.T) {
	l := listen(t, ledger.Plan{End: ledger.Running})
	client, _ := start(t, l, agent.Flags{Release: "r1"})
	job := create(t, client, "e1")
	l.Arm(ledger.Fault{Agent: "alpha", Op: ledger.Get, Do: ledger.Panic})
	_, err := job.Get(t.Context())
	wantGone(t, err)
}

func TestACallThatHangsIgnoresItsDeadline(t *testing.T) {
	l := listen(t, ledger.Plan{End: ledger.Running})
	client, _ := start(t, l, agent.Flags{Release: "r1"})
	job := create(t, client, "e1")
	l.Arm(ledger.Fault{Agent: "alpha", Op: ledger.Get, Do: ledger.Hang})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := job.Get(ctx); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("the call that hangs gave %v", err)
	}
	if _, err := job.Get(t.Context()); err != nil {
		t.Errorf("the next call gave %v", err)
	}
	// It would not stop while a call is under way.
	if err := syscall.Kill(client.PID(), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestAForkedChildOutlivesThePlugin(t *testing.T) {
	for _, do := range []ledger.Do{ledger.Fork, ledger.ForkAway} {
		t.Run(string(do), func(t *testing.T) {
			l := listen(t, ledger.Plan{End: ledger.Running})
			client, mark := start(t, l, agent.Flags{Release: "r1"})
			job := create(t, client, "e1")
			l.Arm(ledger.Fault{Agent: "alpha", Op: ledger.Get, Do: do})
			_, err := job.Get(t.Context())
			wantGone(t, err)
			var children []procs.Process
			for _, p := range procs.Marked(mark) {
				if len(p.Arguments) > 1 && p.Arguments[1] == agent.HoldMarker {
					children = append(children, p)
				}
			}
			if len(children) != 1 {
				t.Fatalf("there are the children %+v, want one", children)
			}
			child, err := os.FindProcess(children[0].PID)
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Kill(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The host's own way of starting plugins, as go-plugin's would not survive these.
func TestGarbageAndPoisonousLogsReachTheHostAndEndNothing(t *testing.T) {
	l := listen(t, ledger.Plan{End: ledger.Running})
	root, err := process.OpenRunRoot(shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	logged := &lines{}
	instance, err := plugin.Start(t.Context(), plugin.Spec{
		Name: "alpha", Command: agent.Command(agent.Flags{Agent: "alpha", Release: "r1"}), TLS: true,
		Env: map[string]string{agent.LedgerVariable: l.URL()},
	}, plugin.Environment{RunRoot: root, Log: slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	defer instance.Stop(context.Background())
	client := service.NewAsyncAgentServiceClient(instance.Conn())
	made, err := ledger.Client{URL: l.URL(), Agent: "alpha"}.Call(t.Context(), ledger.Create, ledger.Request{Task: "e1"})
	if err != nil {
		t.Fatal(err)
	}
	meta := []byte(`{"job":"` + made.Job + `"}`)
	for do, trace := range map[ledger.Do]string{ledger.Garbage: "stream=stdout", ledger.Logs: "timestamp in milliseconds"} {
		fault := l.Arm(ledger.Fault{Agent: "alpha", Op: ledger.Get, Do: do})
		_, err := client.GetTask(t.Context(), &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "chaos_alpha"}})
		if err != nil {
			t.Fatalf("%s: %v", do, err)
		}
		<-fault.Dealt
		for deadline := time.Now().Add(10 * time.Second); !logged.contain(trace); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %q never reached the host's log", do, trace)
			}
		}
	}
}

// shortDir is a folder for sockets, whose paths must be short: shorter than the name of a test makes them.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// lines is a log in memory.
type lines struct {
	mu  sync.Mutex
	all []byte
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line...)
	return len(line), nil
}

func (l *lines) contain(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.all, []byte(text))
}
