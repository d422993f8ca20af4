package fakejobs

import (
	"time"

	"github.com/databricks/databricks-sdk-go/service/jobs"
)

// Step is how a run is at one look, and what its output is then.
type Step struct {
	State  *jobs.RunState  `json:"state,omitempty"`
	Status *jobs.RunStatus `json:"status,omitempty"`
	// Output is what get-output adds of the run's one task: error, error_trace, logs, notebook_output.
	Output *jobs.RunOutput `json:"output,omitempty"`
}

// WithOutput adds an output.
func (s Step) WithOutput(output jobs.RunOutput) Step {
	s.Output = &output
	return s
}

func (s Step) ended() bool {
	switch s.life() {
	case jobs.RunLifeCycleStateTerminated, jobs.RunLifeCycleStateSkipped, jobs.RunLifeCycleStateInternalError:
		return true
	}
	return false
}

func (s Step) life() jobs.RunLifeCycleState {
	if s.State != nil {
		return s.State.LifeCycleState
	}
	return jobs.RunLifeCycleState(s.Status.State)
}

// Going is a step of a run that has not ended.
func Going(state, message string) Step {
	newer := jobs.RunLifecycleStateV2State(state)
	if state == "WAITING_FOR_RETRY" {
		newer = jobs.RunLifecycleStateV2StateWaiting
	}
	return Step{
		State:  &jobs.RunState{LifeCycleState: jobs.RunLifeCycleState(state), StateMessage: message},
		Status: &jobs.RunStatus{State: newer},
	}
}

// Ended is the last step of a run, with what the API says of its end.
func Ended(life, result, code, fault, message string) Step {
	return Step{
		State: &jobs.RunState{
			LifeCycleState: jobs.RunLifeCycleState(life), ResultState: jobs.RunResultState(result), StateMessage: message,
		},
		Status: &jobs.RunStatus{State: jobs.RunLifecycleStateV2StateTerminated, TerminationDetails: &jobs.TerminationDetails{
			Code: jobs.TerminationCodeCode(code), Type: jobs.TerminationTypeType(fault), Message: message,
		}},
	}
}

// Success is the last step of a run that went well.
func Success() Step { return Ended("TERMINATED", "SUCCESS", "SUCCESS", "SUCCESS", "") }

// Failure is the last step of a run whose code failed.
func Failure(problem, trace string) Step {
	return Ended("TERMINATED", "FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR",
		"Task flyte_task failed with message: Workload failed, see run output for details.").
		WithOutput(jobs.RunOutput{Error: problem, ErrorTrace: trace})
}

var (
	ordinary  = []Step{Going("PENDING", "Waiting for cluster"), Going("RUNNING", "In run"), Success()}
	cancelled = []Step{
		Going("TERMINATING", "Cancelling"),
		Ended("TERMINATED", "CANCELED", "USER_CANCELED", "SUCCESS", "Run cancelled."),
	}
)

// run is a submitted run.
type run struct {
	id, taskID, jobID int64
	owner, key        string
	body              map[string]any
	life              []Step
	at                int
	cancelled         bool
	begun             time.Time
}

func (r *run) step() Step { return r.life[r.at] }

// condition says that the run is a condition_task, which takes no compute.
func (r *run) condition() bool {
	tasks, _ := tasksOf(r.body)
	return tasks[0]["condition_task"] != nil
}

// goOn takes the run to its next step.
func (r *run) goOn() {
	if r.at < len(r.life)-1 {
		r.at++
	}
}

// describe returns the run as the API does, at one step.
func (r *run) describe(host string, step Step) *jobs.Run {
	name, _ := r.body["run_name"].(string)
	if name == "" {
		name = "Untitled"
	}
	started := r.begun.UnixMilli()
	task := jobs.RunTask{
		TaskKey: r.key, RunId: r.taskID, State: step.State, Status: step.Status, StartTime: started,
		ClusterInstance: &jobs.ClusterInstance{ClusterId: "1125-043000-fake", SparkContextId: "4711"},
	}
	seen := &jobs.Run{
		JobId: r.jobID, RunId: r.id, NumberInJob: r.id, OriginalAttemptRunId: r.id, RunName: name, State: step.State, Status: step.Status,
		RunPageUrl: "https://" + host + "/?o=1#job/" + itoa(r.jobID) + "/run/" + itoa(r.id), RunType: jobs.RunTypeSubmitRun,
		CreatorUserName: r.owner, StartTime: started, Tasks: []jobs.RunTask{task}, ClusterInstance: task.ClusterInstance,
	}
	if step.ended() {
		seen.EndTime, seen.RunDuration, seen.SetupDuration, seen.ExecutionDuration = started+90_000, 90_000, 60_000, 30_000
	}
	return seen
}

// cancel ends the run, unless it has ended.
func (r *run) cancel() {
	if !r.step().ended() && !r.cancelled {
		r.life, r.at, r.cancelled = cancelled, 0, true
	}
}
