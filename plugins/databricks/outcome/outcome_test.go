package outcome_test

import (
	"strings"
	"testing"

	"github.com/databricks/databricks-sdk-go/service/jobs"

	"github.com/agenthost/agenthost/plugins/databricks/outcome"
)

func TestEveryStateHasAPhase(t *testing.T) {
	for _, c := range []struct {
		// what is "life result code type message", with - for what is not there.
		what string
		want outcome.Kind
		user bool
	}{
		{"QUEUED - - - -", outcome.Queued, false},
		{"BLOCKED - - - -", outcome.Queued, false},
		{"PENDING - - - -", outcome.Starting, false},
		{"RUNNING - - - -", outcome.Running, false},
		{"TERMINATING - - - -", outcome.Running, false},
		{"TERMINATING FAILED RUN_EXECUTION_ERROR CLIENT_ERROR -", outcome.Running, false},
		{"WAITING_FOR_RETRY - - - -", outcome.Running, false},
		{"WAITING - - - -", outcome.Running, false},

		{"TERMINATED SUCCESS SUCCESS SUCCESS -", outcome.Succeeded, false},
		{"TERMINATED SUCCESS - - -", outcome.Succeeded, false},
		{"TERMINATED SUCCESS_WITH_FAILURES SUCCESS_WITH_FAILURES SUCCESS -", outcome.Succeeded, false},
		{"TERMINATED FAILED RUN_EXECUTION_ERROR CLIENT_ERROR -", outcome.Failed, true},
		{"TERMINATED FAILED - - -", outcome.Failed, true},
		{"TERMINATED TIMEDOUT CANCELED SUCCESS -", outcome.Failed, false},
		{"TERMINATED TIMEDOUT - - -", outcome.Failed, true},
		{"TERMINATED CANCELED USER_CANCELED SUCCESS -", outcome.Cancelled, false},
		{"TERMINATED CANCELED CANCELED CLIENT_ERROR -", outcome.Cancelled, false},
		{"TERMINATED CANCELED - - -", outcome.Cancelled, false},
		{"TERMINATED MAXIMUM_CONCURRENT_RUNS_REACHED - - -", outcome.Retryable, false},
		{"TERMINATED UPSTREAM_FAILED - - -", outcome.Failed, true},
		{"TERMINATED UPSTREAM_CANCELED - - -", outcome.Failed, true},
		{"TERMINATED EXCLUDED SKIPPED CLIENT_ERROR -", outcome.Failed, true},
		{"TERMINATED DISABLED DISABLED CLIENT_ERROR -", outcome.Failed, true},
		{"SKIPPED - - - -", outcome.Failed, true},
		{"SKIPPED - MAX_CONCURRENT_RUNS_EXCEEDED CLIENT_ERROR -", outcome.Retryable, false},
		{"SKIPPED - MAX_JOB_QUEUE_SIZE_EXCEEDED CLIENT_ERROR -", outcome.Retryable, false},
		{"INTERNAL_ERROR - - - -", outcome.Retryable, false},
		{"INTERNAL_ERROR FAILED - - -", outcome.Retryable, false},
		{"INTERNAL_ERROR FAILED INTERNAL_ERROR INTERNAL_ERROR -", outcome.Retryable, false},
		{"INTERNAL_ERROR FAILED RESOURCE_NOT_FOUND CLIENT_ERROR the cluster does not exist", outcome.Failed, true},
		{"INTERNAL_ERROR FAILED INVALID_CLUSTER_REQUEST CLIENT_ERROR -", outcome.Failed, true},
		{"INTERNAL_ERROR FAILED CLUSTER_ERROR CLOUD_FAILURE -", outcome.Retryable, false},
		{"TERMINATED FAILED DRIVER_ERROR INTERNAL_ERROR -", outcome.Retryable, false},
		{"TERMINATED FAILED DRIVER_ERROR CLIENT_ERROR -", outcome.Failed, true},
		{"TERMINATED FAILED STORAGE_ACCESS_ERROR CLIENT_ERROR -", outcome.Failed, true},
		{"TERMINATED FAILED UNAUTHORIZED_ERROR CLIENT_ERROR -", outcome.Failed, true},
		{"TERMINATED FAILED LIBRARY_INSTALLATION_ERROR CLIENT_ERROR -", outcome.Failed, true},
		{"TERMINATED FAILED CLOUD_FAILURE CLOUD_FAILURE -", outcome.Retryable, false},
		{"TERMINATED FAILED WORKSPACE_RUN_LIMIT_EXCEEDED CLIENT_ERROR -", outcome.Retryable, false},
		{"TERMINATED FAILED CLUSTER_REQUEST_LIMIT_EXCEEDED CLIENT_ERROR -", outcome.Retryable, false},
		{"TERMINATED FAILED MAX_SPARK_CONTEXTS_EXCEEDED CLIENT_ERROR -", outcome.Retryable, false},
		{"TERMINATED FAILED REPOSITORY_CHECKOUT_FAILED CLIENT_ERROR -", outcome.Retryable, false},
		{"TERMINATED FAILED CLUSTER_ERROR CLIENT_ERROR Cluster terminated. Reason: SPOT_INSTANCE_TERMINATION (CLOUD_FAILURE)", outcome.Retryable, false},
		{"TERMINATED FAILED RUN_EXECUTION_ERROR CLIENT_ERROR AWS_INSUFFICIENT_INSTANCE_CAPACITY_FAILURE", outcome.Retryable, false},
		{"TERMINATED FAILED NEW_CODE CLOUD_FAILURE -", outcome.Retryable, false},

		{"HIBERNATING - - - -", outcome.Running, false},
		{"TERMINATED EXPLODED - - -", outcome.Running, false},
		{"TERMINATED EXPLODED NEW_CODE CLIENT_ERROR -", outcome.Failed, true},
		{"- - - - -", outcome.Running, false},
	} {
		part := strings.SplitN(strings.ReplaceAll(c.what, "-", ""), " ", 5)
		details := &jobs.TerminationDetails{
			Code: jobs.TerminationCodeCode(part[2]), Type: jobs.TerminationTypeType(part[3]), Message: part[4],
		}
		old := &jobs.Run{
			State: &jobs.RunState{
				LifeCycleState: jobs.RunLifeCycleState(part[0]), ResultState: jobs.RunResultState(part[1]), StateMessage: part[4],
			},
			Status: &jobs.RunStatus{TerminationDetails: details},
		}
		if got := outcome.Of(old); got.Kind != c.want || got.User != c.user || got.Message != part[4] {
			t.Errorf("%s is %+v", c.what, got)
		}
	}
}

// The older state is deprecated: a workspace may send the newer status alone.
func TestTheNewerStatusIsEnough(t *testing.T) {
	ended := func(code, fault string) *jobs.Run {
		return &jobs.Run{Status: &jobs.RunStatus{State: "TERMINATED", TerminationDetails: &jobs.TerminationDetails{
			Code: jobs.TerminationCodeCode(code), Type: jobs.TerminationTypeType(fault), Message: "why",
		}}}
	}
	for code, want := range map[string]outcome.Kind{
		"SUCCESS": outcome.Succeeded, "USER_CANCELED": outcome.Cancelled, "RUN_EXECUTION_ERROR": outcome.Failed,
		"SKIPPED": outcome.Failed, "CLOUD_FAILURE": outcome.Retryable, "INTERNAL_ERROR": outcome.Retryable,
	} {
		if got := outcome.Of(ended(code, "CLIENT_ERROR")); got.Kind != want || got.Code != code || got.Message != "why" {
			t.Errorf("%s is %+v", code, got)
		}
	}
	queued := &jobs.Run{Status: &jobs.RunStatus{State: "QUEUED", QueueDetails: &jobs.QueueDetails{
		Code: "ACTIVE_RUNS_LIMIT_REACHED", Message: "too many",
	}}}
	if got := outcome.Of(queued); got.Kind != outcome.Queued || got.Message != "ACTIVE_RUNS_LIMIT_REACHED too many" {
		t.Errorf("a queued run is %+v", got)
	}
}

func TestAStateNobodyKnowsKeepsItsName(t *testing.T) {
	for want, run := range map[string]*jobs.Run{
		"HIBERNATING":                 {State: &jobs.RunState{LifeCycleState: "HIBERNATING"}},
		"TERMINATED EXPLODED":         {State: &jobs.RunState{LifeCycleState: "TERMINATED", ResultState: "EXPLODED"}},
		"TERMINATED without a result": {State: &jobs.RunState{LifeCycleState: "TERMINATED"}},
		"in no state":                 {},
	} {
		if got := outcome.Of(run); got.Kind != outcome.Running || got.State != want {
			t.Errorf("%s is %+v", want, got)
		}
	}
}
