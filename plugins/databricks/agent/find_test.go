package agent_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/plugins/databricks/fakejobs"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// two serves the agent twice, as two processes do that share the workspace only.
func two(t *testing.T) (one, other *agenttest.Client, workspace *fakejobs.Workspace) {
	t.Helper()
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	one, workspace = serve(t, nil)
	other, _ = serveOn(t, workspace, nil)
	return one, other, workspace
}

// attempt is a task of an attempt of its own, whose run goes on until somebody ends it.
func attempt(workspace *fakejobs.Workspace, name string) agenttest.Task {
	workspace.Live(name, fakejobs.Going("RUNNING", ""))
	wanted := task(name, nil)
	wanted.ExecutionID = execution("analytics", name, 0)
	return wanted
}

// doesNothing says that a run was submitted by nobody's task.
func doesNothing(body map[string]any) bool {
	tasks, _ := body["tasks"].([]any)
	if len(tasks) != 1 {
		return false
	}
	only, _ := tasks[0].(map[string]any)
	return only["condition_task"] != nil
}

// made counts the runs of a task.
func made(workspace *fakejobs.Workspace, name string) int {
	count := 0
	for _, body := range workspace.Submitted() {
		if body["run_name"] == name {
			count++
		}
	}
	return count
}

func wantAbandoned(t *testing.T, task agenttest.Task, clients ...*agenttest.Client) {
	t.Helper()
	for _, client := range clients {
		_, err := client.Create(t.Context(), task)
		wantCode(t, err, codes.Aborted)
		_, err = client.Find(t.Context(), task)
		wantCode(t, err, codes.Aborted)
	}
}

func TestProcessesFindEachOthersRuns(t *testing.T) {
	one, other, workspace := two(t)
	for looks := range 3 {
		wanted := attempt(workspace, fmt.Sprint("after looks: ", looks))
		for range looks {
			_, err := other.Find(t.Context(), wanted)
			wantCode(t, err, codes.NotFound)
		}
		run := create(t, one, wanted)
		for range 2 {
			found, err := other.Find(t.Context(), wanted)
			if err != nil || !bytes.Equal(found.Meta, run.Meta) {
				t.Errorf("Find gave %v, %v, want %s", found, err, run.Meta)
			}
		}
		if again := create(t, other, wanted); runOf(t, again) != runOf(t, run) {
			t.Errorf("the attempt has the runs %s and %s", run.Meta, again.Meta)
		}
	}
	runs := 0
	for _, body := range workspace.Submitted() {
		if !doesNothing(body) {
			runs++
		}
	}
	if runs != 3 {
		t.Errorf("three tasks have %d runs", runs)
	}
}

func TestOfAnAttemptThatWasAbandonedNoRunIsMade(t *testing.T) {
	one, other, workspace := two(t)
	for looks := range 2 {
		wanted := attempt(workspace, fmt.Sprint("never, after looks: ", looks))
		for range looks {
			_, err := one.Find(t.Context(), wanted)
			wantCode(t, err, codes.NotFound)
		}
		for range 2 {
			if err := one.Abandon(t.Context(), wanted); err != nil {
				t.Fatal(err)
			}
		}
		wantAbandoned(t, wanted, one, other)
	}
	for _, body := range workspace.Submitted() {
		if !doesNothing(body) {
			t.Errorf("there is the run %v", body)
		}
	}
}

func TestAbandonEndsARunThatGoesOn(t *testing.T) {
	one, other, workspace := two(t)
	wanted := attempt(workspace, "runs")
	run := create(t, one, wanted)
	for range 2 {
		if err := other.Abandon(t.Context(), wanted); err != nil {
			t.Fatal(err)
		}
	}
	if result, err := run.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseAborted {
		t.Errorf("the run is %+v, %v", result, err)
	}
	wantAbandoned(t, wanted, one, other)
	if n := made(workspace, "runs"); n != 1 {
		t.Errorf("the attempt has %d runs", n)
	}
}

func TestARunThatEndedIsFoundUntilItIsAbandoned(t *testing.T) {
	one, other, workspace := two(t)
	wanted := attempt(workspace, "ends")
	workspace.Live("ends", fakejobs.Success())
	run := create(t, one, wanted)
	for range 2 {
		if found, err := other.Find(t.Context(), wanted); err != nil || !bytes.Equal(found.Meta, run.Meta) {
			t.Errorf("Find gave %v, %v, want %s", found, err, run.Meta)
		}
		if again := create(t, other, wanted); runOf(t, again) != runOf(t, run) {
			t.Errorf("the attempt has the runs %s and %s", run.Meta, again.Meta)
		}
	}
	if err := other.Abandon(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
	wantAbandoned(t, wanted, one, other)
}

// DeleteTask is about a run, not its attempt.
func TestARunThatWasDeletedIsFoundStill(t *testing.T) {
	one, other, workspace := two(t)
	wanted := attempt(workspace, "deleted")
	run := create(t, one, wanted)
	if err := run.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, err := other.Find(t.Context(), wanted); err != nil || !bytes.Equal(found.Meta, run.Meta) {
		t.Errorf("Find gave %v, %v, want %s", found, err, run.Meta)
	}
}

func TestACreationItsSearchAndItsEndMayMeetAtAnyPoint(t *testing.T) {
	one, other, workspace := two(t)
	const attempts = 15
	var calls sync.WaitGroup
	tasks, created := make([]agenttest.Task, attempts), make([][2]error, attempts)
	for n := range attempts {
		tasks[n] = attempt(workspace, fmt.Sprint("attempt ", n))
		for i, client := range []*agenttest.Client{one, other} {
			calls.Go(func() { _, created[n][i] = client.Create(t.Context(), tasks[n]) })
		}
		calls.Go(func() {
			if _, err := other.Find(t.Context(), tasks[n]); err != nil && status.Code(err) != codes.NotFound && status.Code(err) != codes.Aborted {
				t.Errorf("Find: %v", err)
			}
		})
		if n%3 == 0 {
			continue
		}
		calls.Go(func() {
			if err := one.Abandon(t.Context(), tasks[n]); err != nil {
				t.Errorf("Abandon: %v", err)
			}
		})
	}
	calls.Wait()
	for n, wanted := range tasks {
		name := fmt.Sprint("attempt ", n)
		runs := made(workspace, name)
		if runs > 1 {
			t.Errorf("%s has %d runs", name, runs)
		}
		for _, err := range created[n] {
			if err == nil && runs == 0 || err != nil && (n%3 == 0 || status.Code(err) != codes.Aborted) {
				t.Errorf("Create of %s, which has %d runs, gave %v", name, runs, err)
			}
		}
		found, err := one.Find(t.Context(), wanted)
		if n%3 == 0 {
			if err != nil || get(t, found).Phase != sdk.PhaseRunning {
				t.Errorf("%s, which nobody abandoned, is found as %v, %v", name, found, err)
			}
			continue
		}
		wantCode(t, err, codes.Aborted)
	}
	if going := workspace.Going(); going != (attempts+2)/3 {
		t.Errorf("%d runs go on, want those of the %d attempts that nobody abandoned", going, (attempts+2)/3)
	}
}

func TestTheTokenOfATaskStaysItsAuthors(t *testing.T) {
	one, other, workspace := two(t)
	wanted := attempt(workspace, "own")
	wanted.Custom = map[string]any{"databricksConf": map[string]any{"run_name": "own", "existing_cluster_id": "1", "idempotency_token": "nightly"}}
	_, err := other.Find(t.Context(), wanted)
	wantCode(t, err, codes.NotFound)
	run := create(t, one, wanted)
	if again := create(t, other, wanted); runOf(t, again) != runOf(t, run) {
		t.Errorf("the token has the runs %s and %s", run.Meta, again.Meta)
	}
	if err := other.Abandon(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
	wantAbandoned(t, wanted, one, other)
	next := wanted
	next.ExecutionID = execution("analytics", "own", 1)
	if again := create(t, one, next); runOf(t, again) != runOf(t, run) {
		t.Errorf("the token has the runs %s and %s", run.Meta, again.Meta)
	}
}

func TestATaskThatCannotRunIsNotFoundAndAbandonedAtOnce(t *testing.T) {
	one, _, workspace := two(t)
	wanted := task("", map[string]any{"databricksConf": map[string]any{"run_name": "no compute"}})
	wanted.ExecutionID = execution("analytics", "none", 0)
	_, err := one.Find(t.Context(), wanted)
	wantCode(t, err, codes.NotFound, "no compute")
	if err := one.Abandon(t.Context(), wanted); err != nil {
		t.Error(err)
	}
	if runs := workspace.Submitted(); len(runs) != 0 {
		t.Errorf("there are the runs %v", runs)
	}
}

func TestFindDoesNotSayNotFoundWhereItCannotTell(t *testing.T) {
	one, _, workspace := two(t)
	wanted := attempt(workspace, "hidden")
	workspace.Fail("submit", fakejobs.Fault{Status: 403, Code: "PERMISSION_DENIED", Message: "not you"})
	if _, err := one.Find(t.Context(), wanted); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "not you") {
		t.Errorf("Find gave %v", err)
	}
	create(t, one, wanted)
	workspace.Fail("get", fakejobs.Fault{Status: 403, Code: "PERMISSION_DENIED", Message: "not you"})
	// The run is there: a failure to look at it is none of the task.
	if _, err := one.Create(t.Context(), wanted); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("Create gave %v", err)
	}
}
