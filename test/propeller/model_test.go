package propeller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/test/propeller/scripted"
	"github.com/agenthost/agenthost/test/propeller/traces"
)

func TestASyncAnswerThatIsNotTerminalKillsACacheWorkerAtEachResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent, dial := serve(t, scripted.Script{Sync: []traces.Reply{{Phase: "RUNNING"}}, Get: []traces.Reply{{Phase: "SUCCEEDED"}}})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", Round: time.Second, Workers: 2, Dial: dial})
		defer p.Close()
		stuck := p.Submit(Task{Template: &core.TaskTemplate{Type: "syncy"}})
		time.Sleep(2 * time.Second)
		if p.Workers() != 1 {
			t.Errorf("%d workers are left after the answer", p.Workers())
		}
		time.Sleep(30 * time.Second)
		if p.Workers() != 0 {
			t.Errorf("%d workers are left after a resync", p.Workers())
		}
		other := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy"}})
		time.Sleep(time.Hour)
		for _, execution := range []*Execution{stuck, other} {
			history := execution.History()
			if last := history[len(history)-1]; last.Phase != Queued {
				t.Errorf("a task came to %v", last)
			}
		}
		if calls := methods(agent.Calls()); !slices.Equal(calls, []string{executeTaskSync, createTask}) {
			t.Errorf("calls %v: an async task is created and never polled", calls)
		}
	})
}

func TestARetryIsAnotherAttemptWithItsOwnNumberAndPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent, dial := serve(t, scripted.Script{
			Create: []traces.Reply{{GRPCCode: "INVALID_ARGUMENT"}, {}},
			Get:    []traces.Reply{{Phase: "RETRYABLE_FAILED"}, {Phase: "SUCCEEDED", Outputs: true}},
		})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", Round: time.Second, Dial: dial})
		defer p.Close()
		task := Task{Template: withOutputs("asyncy"), OutputPrefix: "mem://b/exec/n0", Retries: 2}
		result, err := p.Submit(task).Wait(t.Context())
		if err != nil || result.Phase != Succeeded || result.Attempts != 3 || len(result.Outputs.GetLiterals()) != 1 {
			t.Fatalf("%+v, %v", result, err)
		}
		var attempts []string
		for _, call := range agent.Calls() {
			if call.Method == createTask {
				request := &admin.CreateTaskRequest{}
				if err := proto.Unmarshal(call.Frames[0], request); err != nil {
					t.Fatal(err)
				}
				number := request.GetTaskExecutionMetadata().GetTaskExecutionId().GetRetryAttempt()
				attempts = append(attempts, fmt.Sprint(number, " ", request.GetOutputPrefix()))
			}
			if call.Method == deleteTask {
				t.Error("Flyte 1 sends no DeleteTask for a failed attempt")
			}
		}
		if want := []string{"0 mem://b/exec/n0/0", "1 mem://b/exec/n0/1", "2 mem://b/exec/n0/2"}; !slices.Equal(attempts, want) {
			t.Errorf("attempts %q", attempts)
		}
	})
}

func TestNoRetryLeftIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dial := serve(t, scripted.Script{Create: []traces.Reply{{GRPCCode: "UNAVAILABLE"}}})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", Dial: dial})
		defer p.Close()
		result, err := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy"}}).Wait(t.Context())
		if err != nil || result.Phase != RetryableFailure || result.Attempts != 1 || result.Calls[0].Code != codes.Unavailable {
			t.Errorf("%+v, %v", result, err)
		}
	})
}

func TestOutputsAreTakenFromTheFileWhereTheAnswerHasNone(t *testing.T) {
	outputs := &core.LiteralMap{Literals: map[string]*core.Literal{
		"o0": literal(&core.Primitive{Value: &core.Primitive_Integer{Integer: 7}}),
	}}
	failure := func(kind core.ContainerError_Kind) proto.Message {
		return &core.ErrorDocument{Error: &core.ContainerError{Code: "E", Message: "broke", Kind: kind}}
	}
	cases := map[string]struct {
		flyte   Flyte
		file    string
		content proto.Message
		phase   Phase
		code    string
	}{
		"Flyte 1, outputs.pb":               {V1, "outputs.pb", outputs, Succeeded, ""},
		"Flyte 1, nothing":                  {V1, "", nil, RetryableFailure, CodeOutputsNotFound},
		"Flyte 1, error.pb":                 {V1, "error.pb", failure(core.ContainerError_NON_RECOVERABLE), PermanentFailure, "E"},
		"Flyte 1, error.pb that is not bad": {V1, "error.pb", failure(core.ContainerError_RECOVERABLE), RetryableFailure, "E"},
		"Flyte 2, outputs.pb":               {V2, "outputs.pb", outputs, Succeeded, ""},
		"Flyte 2, nothing":                  {V2, "", nil, PermanentFailure, CodeTooManySystemErrors},
	}
	for name, c := range cases {
		for _, scheme := range []string{"", "file://"} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				folder := t.TempDir()
				if c.file != "" {
					data, err := proto.Marshal(c.content)
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(folder, c.file), data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Test(t, func(t *testing.T) {
					_, dial := serve(t, scripted.Script{Get: []traces.Reply{{Phase: "SUCCEEDED"}}})
					p := Start(t.Context(), Options{Flyte: c.flyte, Endpoint: "default", Round: time.Second, Dial: dial})
					defer p.Close()
					task := Task{Template: withOutputs("asyncy"), OutputPrefixOf: func(int) string { return scheme + folder }}
					result, err := p.Submit(task).Wait(t.Context())
					if err != nil || result.Phase != c.phase || result.Final.Code != c.code {
						t.Fatalf("%v %v, %v", result.Phase, result.Final, err)
					}
					if c.phase == Succeeded && !proto.Equal(result.Outputs, outputs) {
						t.Errorf("outputs %v", result.Outputs)
					}
				})
			})
		}
	}
}

func TestInlineOutputsAreWrittenUnderThePrefixOfTheAttempt(t *testing.T) {
	folder := t.TempDir()
	for flyte, attempt := range map[Flyte]string{V1: "0", V2: "1"} {
		synctest.Test(t, func(t *testing.T) {
			_, dial := serve(t, scripted.Script{Get: []traces.Reply{{Phase: "SUCCEEDED", Outputs: true}}})
			p := Start(t.Context(), Options{Flyte: flyte, Endpoint: "default", Round: time.Second, Dial: dial})
			defer p.Close()
			result, err := p.Submit(Task{Template: withOutputs("asyncy"), OutputPrefix: folder}).Wait(t.Context())
			if err != nil || result.Phase != Succeeded {
				t.Fatalf("%+v, %v", result, err)
			}
		})
		data, err := os.ReadFile(filepath.Join(folder, attempt, "outputs.pb"))
		if err != nil {
			t.Fatal(err)
		}
		if written := (&core.LiteralMap{}); proto.Unmarshal(data, written) != nil || len(written.GetLiterals()) != 1 {
			t.Errorf("Flyte %d wrote %v", flyte, written)
		}
	}
}

func TestFlyte1TakesTheDeprecatedStateForAnUndefinedPhase(t *testing.T) {
	p := &process{opts: &Options{Flyte: V1}}
	a := &attempt{execution: &Execution{task: Task{Template: &core.TaskTemplate{}}}}
	for _, c := range []struct {
		state admin.State
		want  PhaseInfo
	}{
		{admin.State_PENDING, PhaseInfo{Phase: Initializing, Reason: "why"}},
		{admin.State_RUNNING, PhaseInfo{Phase: Running}},
		{admin.State_SUCCEEDED, PhaseInfo{Phase: Succeeded}},
		{admin.State_PERMANENT_FAILURE, PhaseInfo{Phase: PermanentFailure, Reason: "failed to run the job.\nwhy", Code: CodeTaskFailed, Kind: KindUser}},
		{admin.State_RETRYABLE_FAILURE, PhaseInfo{Phase: RetryableFailure, Reason: "failed to run the job.\nwhy", Code: CodeTaskFailed, Kind: KindUser}},
	} {
		got, err := p.status(t.Context(), a, asyncResource(&admin.Resource{State: c.state, Message: "why"}))
		if err != nil || !got.same(c.want) {
			t.Errorf("%v: %+v, %v; want %+v", c.state, got, err, c.want)
		}
	}
	for _, answer := range []*admin.Resource{{Phase: 42}, {State: 42}} {
		if got, err := p.status(t.Context(), a, asyncResource(answer)); err == nil {
			t.Errorf("%v became %+v", answer, got)
		}
	}
}

func TestARestartLosesACreateUnderWayAndMakesItAgain(t *testing.T) {
	for _, flyte := range []Flyte{V1, V2} {
		synctest.Test(t, func(t *testing.T) {
			agent, dial := serve(t, scripted.Script{
				Create: []traces.Reply{{Sleep: traces.Seconds(8 * time.Second)}, {}},
				Get:    []traces.Reply{{Phase: "RUNNING"}, {Phase: "SUCCEEDED"}},
			})
			p := Start(t.Context(), Options{Flyte: flyte, Endpoint: "default", Round: time.Second, Dial: dial})
			defer p.Close()
			execution := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy", Custom: customOf(traces.Trace{})}})
			time.Sleep(5 * time.Second)
			p.Restart()
			time.Sleep(10 * time.Second)
			p.Restart() // with the job under way, which is found again
			result, err := execution.Wait(t.Context())
			if err != nil || result.Phase != Succeeded || result.Attempts != 1 {
				t.Fatalf("Flyte %d: %+v, %v", flyte, result, err)
			}
			var creates []string
			for _, call := range agent.Calls() {
				if call.Method == createTask {
					creates = append(creates, string(call.Frames[0]))
				}
			}
			if len(creates) != 2 || len(creates[0]) != len(creates[1]) {
				t.Errorf("Flyte %d: %d CreateTask for one attempt", flyte, len(creates))
			}
		})
	}
}

func TestAStrandedTaskFailsForGoodAtTheNextRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := traces.Reply{GRPCCode: "UNAVAILABLE"}
		agent, dial := serve(t, scripted.Script{
			Get: []traces.Reply{{Phase: "RUNNING"}, down, down, down, down, down, down, {Phase: "SUCCEEDED"}},
		})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", Dial: dial})
		defer p.Close()
		execution := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy"}})
		time.Sleep(2 * time.Hour)
		if history := execution.History(); history[len(history)-1].Phase != Running || len(agent.Calls()) != 8 {
			t.Fatalf("%+v after %d calls", history, len(agent.Calls()))
		}
		p.Restart()
		result, err := execution.Wait(t.Context())
		if err != nil || result.Phase != PermanentFailure || result.Final.Code != CodeAutoRefreshFailed || len(agent.Calls()) != 8 {
			t.Errorf("%+v, %v", result, err)
		}
	})
}

func TestFlyte1AbortsOnceForEachAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dial := serve(t, scripted.Script{Get: []traces.Reply{{Phase: "RUNNING"}}, Delete: []traces.Reply{{GRPCCode: "UNAVAILABLE"}, {}}})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", Round: time.Second, Dial: dial})
		defer p.Close()
		execution := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy"}})
		time.Sleep(3 * time.Second)
		if err := execution.Abort(t.Context()); err == nil {
			t.Error("the first abort hides its error")
		}
		if err := execution.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		result, err := execution.Wait(t.Context())
		if err != nil || result.Phase != Aborted {
			t.Errorf("%v, %v", result.Phase, err)
		}
		if err := execution.WaitGone(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestFlyte2DeletesEveryJobAndInsistsOnIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := slices.Repeat([]traces.Reply{{GRPCCode: "NOT_FOUND"}}, 500)
		agent, dial := serve(t, scripted.Script{Get: []traces.Reply{{Phase: "SUCCEEDED"}}, Delete: append(refused, traces.Reply{})})
		p := Start(t.Context(), Options{Flyte: V2, Endpoint: "default", DeleteAfter: time.Hour, Dial: dial})
		defer p.Close()
		execution := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy", Custom: customOf(traces.Trace{})}})
		start := time.Now()
		if result, err := execution.Wait(t.Context()); err != nil || result.Phase != Succeeded {
			t.Fatalf("%+v, %v", result, err)
		}
		if err := execution.WaitGone(t.Context()); err != nil {
			t.Fatal(err)
		}
		deletes := 0
		for _, call := range agent.Calls() {
			if call.Method == deleteTask {
				deletes++
				if call.At.Sub(start) < time.Hour {
					t.Fatalf("DeleteTask after %v", call.At.Sub(start))
				}
			}
		}
		if deletes != 501 {
			t.Errorf("%d DeleteTask", deletes)
		}
	})
}

func TestPollsThatPileUpForgetFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent, dial := serve(t, scripted.Script{Get: []traces.Reply{{Phase: "RUNNING", Sleep: traces.Seconds(time.Hour)}}})
		p := Start(t.Context(), Options{
			Flyte: V1, Endpoint: "default", Resync: 5 * time.Second, Timeout: 14 * time.Second, Round: time.Minute, Workers: 1,
			PollInterval: time.Hour, Dial: dial,
		})
		defer p.Close()
		result, err := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy"}}).Wait(t.Context())
		if err != nil || result.Final.Code != CodeAutoRefreshFailed {
			t.Fatalf("%+v, %v", result.Final, err)
		}
		if polls := len(agent.Calls()) - 1; polls < 50 {
			t.Errorf("%d polls: each should count from what was known when it was queued", polls)
		}
	})
}

func TestPollsAreLimitedInRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent, dial := serve(t, scripted.Script{Get: []traces.Reply{{Phase: "RUNNING"}}})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", Resync: time.Hour, Dial: dial})
		defer p.Close()
		for range 300 {
			p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy"}})
		}
		time.Sleep(10 * time.Second)
		polls := 0
		for _, call := range agent.Calls() {
			if call.Method == getTask {
				polls++
			}
		}
		if polls < 190 || polls > 210 { // a burst of 100, and ten a second
			t.Errorf("%d polls in ten seconds", polls)
		}
	})
}

func TestCloseEndsWhatIsNotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dial := serve(t, scripted.Script{Get: []traces.Reply{{Phase: "RUNNING"}}})
		p := Start(t.Context(), Options{Flyte: V2, Endpoint: "default", Dial: dial})
		execution := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy", Custom: customOf(traces.Trace{})}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := execution.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a task that runs is waited for: %v", err)
		}
		p.Close()
		if _, err := execution.Wait(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func withOutputs(taskType string) *core.TaskTemplate {
	template := recordedTask(V1, traces.Trace{TaskType: taskType}).Template
	template.Custom = customOf(traces.Trace{})
	return template
}

func methods(calls []scripted.Call) []string {
	var names []string
	for _, call := range calls {
		names = append(names, call.Method)
	}
	return names
}
