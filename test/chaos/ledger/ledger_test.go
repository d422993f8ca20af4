package ledger_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/test/chaos/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, plan ledger.Plan) (*ledger.Ledger, ledger.Client) {
	t.Helper()
	l, err := ledger.Listen(func(task string) (ledger.Plan, bool) { return plan, task != "unplanned" })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, ledger.Client{URL: l.URL(), Agent: "alpha", Release: "r1", Plugin: 10, Host: 1}
}

func call(t *testing.T, c ledger.Client, op ledger.Op, request ledger.Request) ledger.Answer {
	t.Helper()
	answer, err := c.Call(t.Context(), op, request)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// await polls a job until it is in a state.
func await(t *testing.T, c ledger.Client, job string, want ledger.State) ledger.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		answer, err := c.Call(ctx, ledger.Get, ledger.Request{Job: job})
		if err != nil {
			t.Fatalf("waiting for %s: %v", want, err)
		}
		if answer.State == want {
			return answer
		}
	}
}

func TestAJobEndsAsPlannedWithOutputsMadeOfItsInputs(t *testing.T) {
	_, c := listen(t, ledger.Plan{End: ledger.Succeeded, Runs: 50 * time.Millisecond})
	job := call(t, c, ledger.Create, ledger.Request{Task: "t", Number: 7, Text: "añb"}).Job
	done := await(t, c, job, ledger.Succeeded)
	if done.Number != 50 || done.Text != "bña" {
		t.Errorf("the outputs are %d and %q, want 50 and \"bña\"", done.Number, done.Text)
	}
}

func TestATaskDoneInOneCallIsRetriedAsPlanned(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Succeeded, Retryables: 1, Shape: ledger.Parts})
	first := call(t, c, ledger.Execute, ledger.Request{Task: "t", Number: 7})
	if first.State != ledger.Retryable || first.Shape != ledger.Whole || first.Message == "" {
		t.Errorf("the first answer is %+v", first)
	}
	second := call(t, c, ledger.Execute, ledger.Request{Task: "t", Attempt: 1, Number: 7})
	if second.State != ledger.Succeeded || second.Shape != ledger.Parts || second.Number != 50 {
		t.Errorf("the second answer is %+v", second)
	}
	if runs := l.Task("t").Runs; len(runs) != 2 || runs[0] != (ledger.Run{Attempt: 0, End: ledger.Retryable}) {
		t.Errorf("the ledger has the runs %+v", runs)
	}
}

func TestATaskThatAPluginIsToDieBeforeIsNotDone(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Succeeded})
	l.Arm(ledger.Fault{Agent: "alpha", Op: ledger.Execute, Do: ledger.Exit, Before: true})
	if answer := call(t, c, ledger.Execute, ledger.Request{Task: "t"}); answer.Do != ledger.Exit {
		t.Errorf("the answer is %+v", answer)
	}
	if runs, deaths := l.Task("t").Runs, l.Deaths(); len(runs) != 0 || len(deaths) != 1 || deaths[0].Agent != "alpha" {
		t.Errorf("the ledger has the runs %+v and the deaths %+v", runs, deaths)
	}
}

func TestADeathIsWhenThePluginIsToldAndNotWhenItBeganTheCall(t *testing.T) {
	const works = 100 * time.Millisecond
	l, c := listen(t, ledger.Plan{End: ledger.Succeeded, Runs: works})
	l.Arm(ledger.Fault{Agent: "alpha", Op: ledger.Execute, Do: ledger.Exit})
	began := time.Now()
	call(t, c, ledger.Execute, ledger.Request{Task: "t"})
	if deaths := l.Deaths(); len(deaths) != 1 || deaths[0].At.Sub(began) < works {
		t.Errorf("the call began at %v, and the deaths are %+v", began, deaths)
	}
}

func TestASilentServiceAnswersNoQuestionButTheFirst(t *testing.T) {
	_, c := listen(t, ledger.Plan{End: ledger.Running, Silent: true})
	job := call(t, c, ledger.Create, ledger.Request{Task: "t"}).Job
	call(t, c, ledger.Get, ledger.Request{Job: job})
	for range 2 {
		if _, err := c.Call(t.Context(), ledger.Get, ledger.Request{Job: job}); !errors.Is(err, ledger.ErrWeather) {
			t.Errorf("a further question gave %v", err)
		}
	}
}

func TestAJobIsKnownToItsOwnAgentOnly(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Running})
	job := call(t, c, ledger.Create, ledger.Request{Task: "t"}).Job
	c.Agent = "beta"
	for _, op := range []ledger.Op{ledger.Get, ledger.Delete} {
		if _, err := c.Call(t.Context(), op, ledger.Request{Job: job}); !errors.Is(err, ledger.ErrGone) {
			t.Errorf("%s by another agent gave %v", op, err)
		}
	}
	if n := l.Unknown(); n != 2 {
		t.Errorf("%d calls were about unknown jobs, want 2", n)
	}
}

func TestAKeyFindsTheJobThatWasMadeUnderItAndNoKeyMakesAnother(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Succeeded, Runs: time.Hour})
	keyed := ledger.Request{Task: "t", Key: "k"}
	first, again := call(t, c, ledger.Create, keyed).Job, call(t, c, ledger.Create, keyed).Job
	if first != again {
		t.Errorf("one key made the jobs %s and %s", first, again)
	}
	call(t, c, ledger.Create, ledger.Request{Task: "t"})
	if jobs := l.Task("t").Jobs; len(jobs) != 2 || jobs[0].Attempt != jobs[1].Attempt {
		t.Errorf("after a Create without a key the task has %d jobs, want 2 of one attempt", len(jobs))
	}
}

func TestFindMakesNothing(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Running})
	keyed := ledger.Request{Task: "t", Key: "k"}
	for range 2 {
		if _, err := c.Call(t.Context(), ledger.Find, keyed); !errors.Is(err, ledger.ErrGone) {
			t.Errorf("Find before Create gave %v", err)
		}
	}
	made, found := call(t, c, ledger.Create, keyed).Job, call(t, c, ledger.Find, keyed).Job
	if made != found || len(l.Task("t").Jobs) != 1 {
		t.Errorf("Create made %s, Find gave %s, and there are %d jobs", made, found, len(l.Task("t").Jobs))
	}
	if n := l.Unknown(); n != 0 {
		t.Errorf("%d calls were about unknown jobs: Find may ask for what is not there", n)
	}
}

func TestOfAnAttemptThatWasAbandonedNoJobIsMade(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Running})
	running := ledger.Request{Task: "running", Key: "1"}
	job := call(t, c, ledger.Create, running).Job
	for _, request := range []ledger.Request{running, {Task: "unmade", Key: "2", Attempt: 3}} {
		call(t, c, ledger.Abandon, request)
		call(t, c, ledger.Abandon, request)
		for _, op := range []ledger.Op{ledger.Find, ledger.Create} {
			if _, err := c.Call(t.Context(), op, request); !errors.Is(err, ledger.ErrAbandoned) {
				t.Errorf("%s of %s gave %v, want ErrAbandoned", op, request.Task, err)
			}
		}
	}
	await(t, c, job, ledger.Cancelled)
	if unmade := l.Task("unmade"); len(unmade.Jobs) != 0 || !slices.Equal(unmade.Abandoned, []int{3, 3}) {
		t.Errorf("the ledger has %d jobs, and attempts %d were abandoned", len(unmade.Jobs), unmade.Abandoned)
	}
}

func TestATaskEndsAfterItsRetryableJobsHaveBeenSeen(t *testing.T) {
	_, c := listen(t, ledger.Plan{Retryables: 1, End: ledger.Failed, Message: "truly", Runs: time.Millisecond})
	lost := call(t, c, ledger.Create, ledger.Request{Task: "t"}).Job // nobody ever polls it
	second := call(t, c, ledger.Create, ledger.Request{Task: "t", Attempt: 1}).Job
	await(t, c, second, ledger.Retryable)
	third := call(t, c, ledger.Create, ledger.Request{Task: "t", Attempt: 2}).Job
	if got := await(t, c, third, ledger.Failed).Message; got != "truly" {
		t.Errorf("the failure says %q", got)
	}
	await(t, c, lost, ledger.Retryable)
}

func TestAJobThatIsOverCannotBeCancelled(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Running})
	job := call(t, c, ledger.Create, ledger.Request{Task: "t"}).Job
	call(t, c, ledger.Delete, ledger.Request{Job: job})
	await(t, c, job, ledger.Cancelled)
	if _, err := c.Call(t.Context(), ledger.Delete, ledger.Request{Job: job}); !errors.Is(err, ledger.ErrGone) {
		t.Errorf("the second Delete gave %v, want ErrGone", err)
	}
	if known := l.Task("t").Jobs[0]; known.Deletes != 2 || known.Cancelled.IsZero() {
		t.Errorf("the ledger has noted %d deletes, cancelled %v", known.Deletes, known.Cancelled)
	}
}

func TestAFaultIsDealtOnceToTheCallItIsFor(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Running})
	fault := l.Arm(ledger.Fault{Agent: "alpha", Op: ledger.Create, Do: ledger.Exit, Before: true})
	l.Arm(ledger.Fault{Agent: "beta", Op: ledger.Create, Do: ledger.Hang})
	first := call(t, c, ledger.Create, ledger.Request{Task: "t"})
	if first.Do != ledger.Exit || first.Job != "" {
		t.Errorf("the first Create was told %q with job %q, want exit before a job is made", first.Do, first.Job)
	}
	<-fault.Dealt
	if second := call(t, c, ledger.Create, ledger.Request{Task: "t"}); second.Do != ledger.Nothing || second.Job == "" {
		t.Errorf("the second Create was told %q with job %q", second.Do, second.Job)
	}
	if events := l.Task("t").Events; len(events) != 2 || events[0].Do != ledger.Exit {
		t.Errorf("the task's story is %+v", events)
	}
}

func TestAFaultStaysInStoreUntilItMayCome(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Running})
	asked := 0
	l.Arm(ledger.Fault{Agent: "alpha", Op: ledger.Create, Do: ledger.Exit, May: func() bool { asked++; return asked > 1 }})
	for i, want := range []ledger.Do{ledger.Nothing, ledger.Exit, ledger.Nothing} {
		if got := call(t, c, ledger.Create, ledger.Request{Task: "t"}); got.Do != want {
			t.Errorf("Create %d was told %q, want %q", i, got.Do, want)
		}
	}
}

func TestBadWeatherIsSlowOrUnavailableAndPasses(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Running})
	l.SetWeather("alpha", ledger.Weather{Until: time.Now().Add(time.Hour), Failing: true})
	if _, err := c.Call(t.Context(), ledger.Create, ledger.Request{Task: "t"}); !errors.Is(err, ledger.ErrWeather) {
		t.Errorf("in bad weather Create gave %v", err)
	}
	if made := l.Task("t").Jobs; len(made) != 0 {
		t.Errorf("a refused Create made %d jobs", len(made))
	}
	l.SetWeather("alpha", ledger.Weather{Until: time.Now().Add(time.Hour), Delay: 30 * time.Millisecond})
	began := time.Now()
	call(t, c, ledger.Create, ledger.Request{Task: "t"})
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("a slow Create took %v", took)
	}
	l.Disarm()
	call(t, c, ledger.Create, ledger.Request{Task: "t"})
}

func TestALateAnswerComesAfterTheJobWasMade(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Running})
	l.SetWeather("alpha", ledger.Weather{Until: time.Now().Add(time.Hour), Delay: time.Hour, Late: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Call(ctx, ledger.Create, ledger.Request{Task: "t"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the late answer was %v, want none in time", err)
	}
	if made := l.Task("t").Jobs; len(made) != 1 {
		t.Errorf("%d jobs were made, want 1", len(made))
	}
}

func TestCallsAboutWhatTheLedgerDoesNotKnowAreCounted(t *testing.T) {
	l, c := listen(t, ledger.Plan{})
	for op, request := range map[ledger.Op]ledger.Request{
		ledger.Create: {Task: "unplanned"}, ledger.Get: {Job: "job-99"}, ledger.Delete: {Job: "job-99"},
	} {
		if _, err := c.Call(t.Context(), op, request); !errors.Is(err, ledger.ErrGone) {
			t.Errorf("%s of what is not known gave %v", op, err)
		}
	}
	if n := l.Unknown(); n != 3 {
		t.Errorf("%d unknown calls were counted, want 3", n)
	}
}

func TestPollsThatAHostRepeatsTooSoonAreHasty(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Running, Interval: time.Hour})
	job := call(t, c, ledger.Create, ledger.Request{Task: "t"}).Job
	other := c
	other.Host = 2
	for _, host := range []ledger.Client{c, other, c} {
		call(t, host, ledger.Get, ledger.Request{Job: job})
	}
	if known := l.Task("t").Jobs[0]; known.Polls != 3 || known.Hasty != 1 {
		t.Errorf("of %d polls %d were hasty, want 1 of 3", known.Polls, known.Hasty)
	}
}

func TestInstancesThatMadeCallsAreKnown(t *testing.T) {
	l, c := listen(t, ledger.Plan{End: ledger.Running})
	call(t, c, ledger.Create, ledger.Request{Task: "t"})
	if _, ok := l.Serving()[ledger.Instance{Agent: "alpha", Release: "r1", Plugin: 10, Host: 1}]; !ok {
		t.Errorf("the instance is not among %v", l.Serving())
	}
}
