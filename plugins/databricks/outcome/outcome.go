// Package outcome says what the state of a Databricks run means: whether it goes on, how it ended, whose fault that was
// and whether a repetition may help. The tables are those of the public Jobs API 2.1 and 2.2.
package outcome

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/databricks/databricks-sdk-go/service/jobs"
)

// Kind is what a run has come to.
type Kind int

// A run waits, is being set up, works, or has ended in one of four ways.
const (
	Queued Kind = iota
	Starting
	Running
	Succeeded
	Cancelled
	Failed
	// Retryable is a failure that a repetition may not meet again.
	Retryable
)

// Outcome is what a run has come to, and why.
type Outcome struct {
	Kind Kind
	// State is Databricks' name for it, such as RUNNING or FAILED.
	State string
	// Code says why a run ended: the termination code, or else the result.
	Code string
	// User says that a failure is the fault of the code or the configuration, not of Databricks or the cloud.
	User    bool
	Message string
}

// going are the states of a run that has not ended, under the names of both versions.
var going = map[string]Kind{
	"QUEUED":            Queued,
	"BLOCKED":           Queued,
	"PENDING":           Starting,
	"RUNNING":           Running,
	"TERMINATING":       Running,
	"WAITING_FOR_RETRY": Running,
	"WAITING":           Running,
}

// results are the results that say enough by themselves. FAILED does not.
var results = map[string]Kind{
	"SUCCESS":                         Succeeded,
	"SUCCESS_WITH_FAILURES":           Succeeded,
	"TIMEDOUT":                        Failed,
	"CANCELED":                        Cancelled,
	"MAXIMUM_CONCURRENT_RUNS_REACHED": Retryable,
	"UPSTREAM_FAILED":                 Failed,
	"UPSTREAM_CANCELED":               Failed,
	"EXCLUDED":                        Failed,
	"DISABLED":                        Failed,
}

// codes are the termination codes that say more than the termination's type: limits that others use up, and services that
// do not answer, pass.
var codes = map[string]Kind{
	"SUCCESS":                        Succeeded,
	"SUCCESS_WITH_FAILURES":          Succeeded,
	"USER_CANCELED":                  Cancelled,
	"CANCELED":                       Cancelled,
	"SKIPPED":                        Failed,
	"DISABLED":                       Failed,
	"RUN_EXECUTION_ERROR":            Failed,
	"INTERNAL_ERROR":                 Retryable,
	"CLOUD_FAILURE":                  Retryable,
	"CLUSTER_REQUEST_LIMIT_EXCEEDED": Retryable,
	"WORKSPACE_RUN_LIMIT_EXCEEDED":   Retryable,
	"MAX_CONCURRENT_RUNS_EXCEEDED":   Retryable,
	"MAX_JOB_QUEUE_SIZE_EXCEEDED":    Retryable,
	"MAX_SPARK_CONTEXTS_EXCEEDED":    Retryable,
	"REPOSITORY_CHECKOUT_FAILED":     Retryable,
}

// types say whose fault an ending with any other code is.
var types = map[string]Kind{
	"SUCCESS":        Succeeded,
	"CLIENT_ERROR":   Failed,
	"INTERNAL_ERROR": Retryable,
	"CLOUD_FAILURE":  Retryable,
}

// bare are the endings of a workspace that gives no termination details.
var bare = map[string]Kind{
	"TERMINATED FAILED":     Failed,
	"INTERNAL_ERROR FAILED": Retryable,
	"INTERNAL_ERROR":        Retryable,
	"SKIPPED FAILED":        Failed,
	"SKIPPED":               Failed,
}

// lost recognises a cluster that the cloud or Databricks took away, such as
// "… was terminated. Reason: SPOT_INSTANCE_TERMINATION (CLOUD_FAILURE)": the run itself has then merely FAILED.
var lost = regexp.MustCompile(`\((CLOUD_FAILURE|SERVICE_FAULT)\)|SPOT_INSTANCE_TERMINATION|SPOT_INSTANCE_PREEMPTION|` +
	`INSUFFICIENT_INSTANCE_CAPACITY|CLOUD_PROVIDER_RESOURCE_STOCKOUT|CLOUD_PROVIDER_LAUNCH_FAILURE`)

// Of tells what a run has come to. A state that nobody knows yet is Running, under its name.
func Of(run *jobs.Run) Outcome {
	state := statesOf(run)
	out := Outcome{State: state.life, Message: state.message}
	if kind, known := going[state.life]; known {
		out.Kind = kind
		return out
	}
	switch state.life {
	case "TERMINATED", "SKIPPED", "INTERNAL_ERROR":
	default:
		out.Kind, out.State = Running, cmp.Or(state.life, "in no state")
		return out
	}
	return state.ending(out)
}

// states are a run's, whichever of the two places they stand in.
type states struct{ life, result, code, fault, message string }

func statesOf(run *jobs.Run) states {
	var s states
	var queue string
	if old := run.State; old != nil {
		s.life, s.result, s.message = string(old.LifeCycleState), string(old.ResultState), old.StateMessage
		queue = old.QueueReason
	}
	if status := run.Status; status != nil {
		s.life = cmp.Or(s.life, string(status.State))
		if why := status.TerminationDetails; why != nil {
			s.code, s.fault = string(why.Code), string(why.Type)
			s.message = cmp.Or(s.message, why.Message)
		}
		if why := status.QueueDetails; why != nil {
			queue = cmp.Or(queue, strings.TrimSpace(string(why.Code)+" "+why.Message))
		}
	}
	s.message = cmp.Or(s.message, queue)
	return s
}

// ending tells how a run has ended.
func (s states) ending(out Outcome) Outcome {
	kind, known := s.kind()
	if !known {
		out.Kind, out.State = Running, s.life+" "+cmp.Or(s.result, s.code, "without a result")
		return out
	}
	// A cluster that was taken away is not the fault of the code that ran on it.
	if kind == Failed && lost.MatchString(s.message) {
		kind = Retryable
	}
	out.Kind = kind
	out.State, out.Code = cmp.Or(s.result, s.life), cmp.Or(s.code, s.result, s.life)
	out.User = kind == Failed && (s.fault == "" || s.fault == "CLIENT_ERROR")
	return out
}

func (s states) kind() (Kind, bool) {
	for _, table := range []struct {
		kinds map[string]Kind
		name  string
	}{{results, s.result}, {codes, s.code}, {types, s.fault}, {bare, strings.TrimSpace(s.life + " " + s.result)}} {
		if kind, known := table.kinds[table.name]; known {
			return kind, true
		}
	}
	return 0, false
}
