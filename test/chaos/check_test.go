package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/test/chaos/ledger"
	"github.com/agenthost/agenthost/test/propeller"
)

// start is when the runs below began.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// succeeded is a job that went as it should, and what the ledger knows of it.
func succeeded(agent string) (*job, ledger.Task) {
	number, text := ledger.Outputs(3, "abc")
	j := &job{
		name: "v1-00001", agent: agent, flyte: propeller.V1, number: 3, text: "abc",
		plan: ledger.Plan{End: ledger.Succeeded}, execution: &propeller.Execution{},
		result: propeller.Result{
			Phase: propeller.Succeeded, Attempts: 1,
			Outputs: &core.LiteralMap{Literals: map[string]*core.Literal{
				"number": primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: number}}),
				"text":   primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: text}}),
			}},
			Calls: []propeller.Call{{Method: "CreateTask", Started: start}, {Method: "GetTask", Started: start.Add(time.Second)}},
		},
	}
	return j, ledger.Task{Jobs: []*ledger.Job{{ID: "job-1", Task: j.name, End: ledger.Succeeded, Told: start.Add(time.Second)}}}
}

// judged gives the violations of one job, as "class: kind".
func judged(c *chaos, j *job, known ledger.Task) []string {
	v := newVerdict(c, nil)
	v.judgeJob(j, known)
	var kinds []string
	for _, broken := range v.violations {
		kinds = append(kinds, broken.class+": "+broken.kind)
	}
	return kinds
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("the violations are %q, want %q", got, want)
	}
}

func failedCall(method string, code codes.Code, text string) propeller.Call {
	return propeller.Call{Method: method, Started: start.Add(500 * time.Millisecond), Took: time.Second, Code: code, Err: errors.New(text)}
}

func TestAJobThatReachedItsTrueEndHasNoViolation(t *testing.T) {
	j, known := succeeded("alpha")
	want(t, judged(&chaos{}, j, known))
}

func TestAnotherEndThanTheTrueOneIsALostJob(t *testing.T) {
	for name, spoil := range map[string]func(*job){
		"failed":             func(j *job) { j.result.Phase = propeller.PermanentFailure },
		"fell to container":  func(j *job) { j.result.Phase = propeller.FellToContainer },
		"outputs of another": func(j *job) { j.number = 4 },
		"failed in truth":    func(j *job) { j.plan.End = ledger.Failed },
		"ran in truth":       func(j *job) { j.plan.End = ledger.Running },
		"failed for another reason": func(j *job) {
			j.plan.End, j.result.Phase, j.result.Final.Reason = ledger.Failed, propeller.PermanentFailure, "the plugin could not be asked"
		},
		"long message cut at its end": func(j *job) {
			j.plan = ledger.Plan{End: ledger.Failed, Message: strings.Repeat(".", overlong)}
			j.result.Phase, j.result.Final.Reason = propeller.PermanentFailure, failure(j.name)
		},
	} {
		t.Run(name, func(t *testing.T) {
			j, known := succeeded("alpha")
			spoil(j)
			want(t, judged(&chaos{}, j, known), "lost: wrong end")
		})
	}
}

func TestAnAbortWhoseAnswerWasLostIsAnAbort(t *testing.T) {
	j, known := succeeded("alpha")
	j.plan.End, j.result.Phase, j.result.Final.Reason = ledger.Running, propeller.PermanentFailure, "failed to run the job with aborted phase."
	want(t, judged(&chaos{}, j, known), "lost: wrong end")
	j.asked = start
	want(t, judged(&chaos{}, j, known))
}

func TestTwoJobsForOneAttemptAreADuplicate(t *testing.T) {
	j, known := succeeded("alpha")
	known.Jobs = append(known.Jobs, &ledger.Job{ID: "job-2", Told: start})
	want(t, judged(&chaos{}, j, known), "duplicated: two jobs for an attempt")
}

func TestAJobMadeAgainAtAnotherReplicaIsExcusedForPluginsThatAreNotIdempotentOnly(t *testing.T) {
	twice := "duplicated: two jobs for an attempt"
	for name, c := range map[string]struct {
		agent string
		host  int
		code  codes.Code
		want  []string
	}{
		"another replica":  {"gamma", 2, codes.Canceled, nil},
		"the same replica": {"gamma", 1, codes.Canceled, []string{twice}},
		"no restart":       {"gamma", 2, codes.OK, []string{twice}},
		"idempotent":       {"alpha", 2, codes.Canceled, []string{twice}},
	} {
		t.Run(name, func(t *testing.T) {
			j, known := succeeded(c.agent)
			restarted := excuse{from: start, to: start.Add(time.Minute), why: "Flyte was restarted"}
			call := failedCall("CreateTask", c.code, "canceled")
			j.result.Calls = append(j.result.Calls, call)
			known.Jobs[0].Host = 1
			known.Jobs = append(known.Jobs, &ledger.Job{ID: "job-2", Host: c.host, Told: start})
			run := &chaos{}
			run.excuse(restarted)
			want(t, judged(run, j, known), c.want...)
		})
	}
}

func TestAStoppedPluginExcusesCallsThatAreLateOnly(t *testing.T) {
	for code, violations := range map[codes.Code][]string{codes.DeadlineExceeded: nil, codes.Unavailable: {"lost: CreateTask failed: Unavailable"}} {
		j, known := succeeded("alpha")
		j.result.Calls = append(j.result.Calls, failedCall("CreateTask", code, "gone"))
		c := &chaos{}
		c.excuse(excuse{agent: "alpha", from: start, to: start.Add(time.Minute), why: "stopped for good", onlyLate: true, exceptPolls: true})
		want(t, judged(c, j, known), violations...)
	}
}

func TestAJobThatIsNotOverIsStuck(t *testing.T) {
	j, known := succeeded("alpha")
	j.err = errors.New("deadline")
	want(t, judged(&chaos{}, j, known), "stuck: not over")
}

func TestAJobWhoseEndFlyteNeverLearntIsLost(t *testing.T) {
	j, known := succeeded("alpha")
	known.Jobs[0].Told = time.Time{}
	want(t, judged(&chaos{}, j, known), "lost: forgotten job")
}

func TestAJobThatWasOverWhenItsTaskWasAbortedNeedsToBeDeletedOnly(t *testing.T) {
	for deletes, violations := range map[int][]string{0: {"lost: forgotten job"}, 1: nil} {
		j, known := succeeded("alpha")
		j.plan.End, j.result.Phase = ledger.Running, propeller.Aborted
		known.Jobs[0].End, known.Jobs[0].Told, known.Jobs[0].Deletes = ledger.Retryable, time.Time{}, deletes
		want(t, judged(&chaos{}, j, known), violations...)
	}
}

func TestAFailedPollIsAViolationUnlessAReplicaWasKilledMeanwhile(t *testing.T) {
	j, known := succeeded("alpha")
	j.result.Calls = append(j.result.Calls, failedCall("GetTask", codes.Unavailable, "gone"))
	c := &chaos{}
	want(t, judged(c, j, known), "lost: GetTask failed: Unavailable")
	c.excuse(excuse{from: start.Add(2 * time.Second), to: start.Add(3 * time.Second), why: "killed later"})
	want(t, judged(c, j, known), "lost: GetTask failed: Unavailable")
	c.excuse(excuse{from: start.Add(time.Second), to: start.Add(2 * time.Second), why: "killed meanwhile"})
	want(t, judged(c, j, known))
}

func TestAnExcuseOfOnePluginIsNoneOfAnother(t *testing.T) {
	j, known := succeeded("alpha")
	j.result.Calls = append(j.result.Calls, failedCall("CreateTask", codes.NotFound, "not served"))
	c := &chaos{}
	c.excuse(excuse{agent: "delta", from: start, to: start.Add(time.Hour), why: "removed"})
	want(t, judged(c, j, known), "lost: CreateTask failed: NotFound")
}

func TestARemovedPluginExcusesEverythingButPolls(t *testing.T) {
	j, known := succeeded("delta")
	c := &chaos{}
	c.excuse(excuse{agent: "delta", from: start, to: start.Add(time.Hour), why: "removed", exceptPolls: true})
	j.result.Calls = append(j.result.Calls, failedCall("CreateTask", codes.NotFound, "not served"), failedCall("DeleteTask", codes.NotFound, "not served"))
	want(t, judged(c, j, known))
	j.result.Calls = append(j.result.Calls, failedCall("GetTask", codes.NotFound, "not served"))
	want(t, judged(c, j, known), "lost: GetTask failed: NotFound")
}

func TestADeathInCreateIsExcusedForPluginsThatAreNotIdempotentOnly(t *testing.T) {
	died := failedCall("CreateTask", codes.Unavailable, `plugin "gamma" died while it answered CreateTask`)
	for agent, violations := range map[string][]string{"gamma": nil, "alpha": {"lost: CreateTask failed: Unavailable"}} {
		j, known := succeeded(agent)
		j.result.Calls = append(j.result.Calls, died)
		c := &chaos{}
		c.excuse(death(agent, start.Add(time.Second), 0))
		want(t, judged(c, j, known), violations...)
	}
}

func TestADeathThatNoFaultBroughtIsNoExcuse(t *testing.T) {
	j, known := succeeded("gamma")
	j.result.Calls = append(j.result.Calls, failedCall("CreateTask", codes.Unavailable, `plugin "gamma" died while it answered CreateTask`))
	c := &chaos{}
	c.excuse(death("gamma", start.Add(2*time.Second), 0))
	c.excuse(death("epsilon", start.Add(time.Second), 0))
	want(t, judged(c, j, known), "lost: CreateTask failed: Unavailable")
}

// executed is a sync task that was done in the last of some attempts, and called for in each.
func executed(attempts int) (*job, ledger.Task) {
	j, _ := succeeded("epsilon")
	j.result.Attempts, j.result.Calls = attempts, nil
	for attempt := range attempts {
		j.result.Calls = append(j.result.Calls, propeller.Call{Method: "ExecuteTaskSync", Attempt: attempt, Started: start})
	}
	return j, ledger.Task{Runs: []ledger.Run{{Attempt: attempts - 1, End: ledger.Succeeded}}}
}

func TestASyncTaskIsHeldToItsCalls(t *testing.T) {
	for name, c := range map[string]struct {
		attempts int
		spoil    func(*job, *ledger.Task)
		want     []string
	}{
		"done":           {1, func(*job, *ledger.Task) {}, nil},
		"to be retried":  {2, func(_ *job, known *ledger.Task) { known.Runs = append(known.Runs, ledger.Run{End: ledger.Retryable}) }, nil},
		"for nothing":    {2, func(*job, *ledger.Task) {}, []string{"lost: attempt for nothing"}},
		"never done":     {1, func(_ *job, known *ledger.Task) { known.Runs = nil }, []string{"lost: never done"}},
		"done twice":     {1, func(_ *job, known *ledger.Task) { known.Runs = append(known.Runs, known.Runs[0]) }, []string{"duplicated: done twice"}},
		"another result": {1, func(j *job, _ *ledger.Task) { j.number++ }, []string{"lost: wrong end"}},
		"called and done again": {1, func(j *job, known *ledger.Task) {
			j.result.Calls, known.Runs = append(j.result.Calls, j.result.Calls[0]), append(known.Runs, known.Runs[0])
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			j, known := executed(c.attempts)
			c.spoil(j, &known)
			want(t, judged(&chaos{}, j, known), c.want...)
		})
	}
}

func TestASyncTaskThatDiesWithItsPluginMayCostAnAttempt(t *testing.T) {
	j, known := executed(2)
	j.result.Calls[0] = failedCall("ExecuteTaskSync", codes.Unavailable, `plugin "epsilon" died while it answered ExecuteTaskSync`)
	want(t, judged(&chaos{}, j, known), "lost: ExecuteTaskSync failed: Unavailable")
	c := &chaos{}
	c.excuse(death("epsilon", start.Add(time.Second), 0))
	want(t, judged(c, j, known))
}

func TestATaskThatIsTurnedAwayWhileItsPluginIsInTroubleMayCostAnAttempt(t *testing.T) {
	for words, violations := range map[string][]string{
		"is restarting; as many tasks wait for it, or for other plugins, as may":       nil,
		"does not answer its CreateTask calls, and no more may wait for it":            nil,
		"is restarting, and was not there in time for a task that had waited for that": {"lost: CreateTask failed: Unavailable"},
	} {
		j, known := succeeded("alpha")
		j.result.Calls = append(j.result.Calls, failedCall("CreateTask", codes.Unavailable, `plugin "alpha" `+words))
		want(t, judged(&chaos{}, j, known), violations...)
	}
}

func TestAJobWhoseServiceFellSilentIsToFailForThat(t *testing.T) {
	j, known := succeeded("eta")
	j.plan = ledger.Plan{End: ledger.Running, Silent: true}
	known.Jobs[0].Told = time.Time{}
	want(t, judged(&chaos{}, j, known), "lost: wrong end")
	j.result.Phase, j.result.Final.Reason = propeller.PermanentFailure, "longer than the status.max_stale of 4s"
	want(t, judged(&chaos{}, j, known))
}

func TestAHangInCreateIsExcusedInItsAttemptOnly(t *testing.T) {
	for attempt, violations := range map[int][]string{0: nil, 1: {"lost: CreateTask failed: DeadlineExceeded"}} {
		j, known := succeeded("alpha")
		j.result.Calls = append(j.result.Calls, failedCall("CreateTask", codes.DeadlineExceeded, "too late"))
		known.Events = []ledger.Event{{Attempt: attempt, What: "create: job-1", Do: ledger.Hang}}
		want(t, judged(&chaos{}, j, known), violations...)
	}
}

func TestADeadlineIsExcusedWhereThisProgramWasHeldUpMeanwhileForLong(t *testing.T) {
	for length, violations := range map[time.Duration][]string{time.Second: nil, 100 * time.Millisecond: {"lost: GetTask failed: DeadlineExceeded"}} {
		j, known := succeeded("alpha")
		j.result.Calls = append(j.result.Calls, failedCall("GetTask", codes.DeadlineExceeded, "too late")) // from 0.5 s to 1.5 s
		c := &chaos{}
		c.stalls.add(stall{start, start.Add(600 * time.Millisecond)})
		c.stalls.add(stall{start.Add(time.Second), start.Add(time.Second + length)})
		want(t, judged(c, j, known), violations...)
	}
}

func TestGuaranteeCountersAreReadFromMetrics(t *testing.T) {
	metrics := parseMetrics([]byte("# HELP x\nagenthost_guarantee_total{guarantee=\"G5\",plugin=\"a\"} 3\ngo_goroutines 12\n"))
	if metrics["go_goroutines"] != 12 || metrics[`agenthost_guarantee_total{guarantee="G5",plugin="a"}`] != 3 {
		t.Errorf("read %v", metrics)
	}
	if got := guaranteeOf(`guarantee="G5",plugin="a"}`); got != "G5" {
		t.Errorf("the guarantee is %q", got)
	}
}

func TestATaskThatItsPluginDiedOfThreeTimesMayCostAnAttempt(t *testing.T) {
	for came, violations := range map[int][]string{3: nil, 2: {"lost: CreateTask failed: Aborted"}} {
		j, known := succeeded("alpha")
		failed := failedCall("CreateTask", codes.Aborted, `plugin "alpha" died 3 times while it began this "chaos_alpha" task, which is not sent again`)
		failed.Attempt = 1
		j.result.Calls = append(j.result.Calls, failed)
		for range came {
			known.Events = append(known.Events, ledger.Event{Attempt: 1, What: string(ledger.Create) + " again: job-7"})
		}
		want(t, judged(&chaos{}, j, known), violations...)
	}
}
