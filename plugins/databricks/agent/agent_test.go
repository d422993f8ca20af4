package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/databricks/databricks-sdk-go/service/jobs"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/plugins/databricks/agent"
	"github.com/agenthost/agenthost/plugins/databricks/fakejobs"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

func TestARunIsFollowedFromItsQueueToItsEnd(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	workspace.Live("whole life",
		fakejobs.Going("QUEUED", "seen by Create"), fakejobs.Going("QUEUED", "Queued due to reaching the maximum concurrent runs"), fakejobs.Going("PENDING", "Waiting for cluster"),
		fakejobs.Going("RUNNING", "In run"), fakejobs.Going("WAITING_FOR_RETRY", ""), fakejobs.Going("REINCARNATING", ""),
		fakejobs.Going("TERMINATING", ""), fakejobs.Success())
	job := create(t, client, task("whole life", nil))
	var last *agenttest.Result
	for _, want := range []struct {
		phase   sdk.Phase
		message string
	}{
		{sdk.PhaseQueued, "QUEUED for 0s: Queued due to"},
		{sdk.PhaseInitializing, "PENDING for 0s: Waiting for cluster"},
		{sdk.PhaseRunning, "RUNNING for 0s: In run"},
		{sdk.PhaseRunning, "WAITING_FOR_RETRY for"},
		{sdk.PhaseRunning, "REINCARNATING for"},
		{sdk.PhaseRunning, "TERMINATING for"},
		{sdk.PhaseSucceeded, "SUCCESS in 1m30s"},
	} {
		last = get(t, job)
		if last.Phase != want.phase || !strings.HasPrefix(unclocked(last.Message), unclocked(want.message)) {
			t.Errorf("got %s %q, not %s %q", last.Phase, last.Message, want.phase, want.message)
		}
	}
	if last.Resource.GetOutputs() != nil {
		t.Errorf("the job writes its outputs itself, got %v", last.Resource.GetOutputs())
	}
	links := last.Resource.GetLogLinks()
	console := "https://" + workspace.Host + "/#job/" + jobID(last) + "/run/" + metaOf(t, job)["run_id"].(string)
	if len(links) != 2 || links[0].GetName() != "Databricks Console" || links[0].GetUri() != console || !strings.Contains(links[1].GetUri(), "?o=1#job/") {
		t.Errorf("the links are %v, not %s", links, console)
	}
	info := last.Resource.GetCustomInfo().AsMap()
	for key, want := range map[string]any{
		"run_seconds": 90.0, "setup_seconds": 60.0, "execution_seconds": 30.0, "cluster_id": "1125-043000-fake", "attempts": 1.0,
		"state": "SUCCESS", "termination_code": "SUCCESS", "databricks_instance": workspace.Host,
	} {
		if info[key] != want {
			t.Errorf("custom info %s is %v, not %v", key, info[key], want)
		}
	}
}

// unclocked takes away how long a run takes, which is not the same on every machine.
func unclocked(message string) string {
	words := strings.Fields(message)
	for i, word := range words {
		if i > 0 && words[i-1] == "for" && strings.HasSuffix(strings.TrimSuffix(word, ":"), "s") {
			words[i] = "…"
		}
	}
	return strings.Join(words, " ")
}

func jobID(result *agenttest.Result) string {
	return result.Resource.GetCustomInfo().GetFields()["job_id"].String()[len("number_value:"):]
}

func TestAFailureSaysWhatHappenedAndWhetherToTryAgain(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	for _, c := range []struct {
		name  string
		last  fakejobs.Step
		phase sdk.Phase
		code  string
		says  []string
	}{
		{
			"its code", fakejobs.Failure("ZeroDivisionError: division by zero", "Traceback (most recent call last):\n  File \"job.py\", line 1"),
			sdk.PhaseFailed, "RUN_EXECUTION_ERROR", []string{"Workload failed", "ZeroDivisionError: division by zero", `File "job.py", line 1`},
		},
		{
			"spot", fakejobs.Ended("TERMINATED", "FAILED", "CLUSTER_ERROR", "CLOUD_FAILURE", "Reason: SPOT_INSTANCE_TERMINATION (CLOUD_FAILURE)"),
			sdk.PhaseRetryableFailed, "CLUSTER_ERROR", []string{"SPOT_INSTANCE_TERMINATION"},
		},
		{
			"quota", fakejobs.Ended("TERMINATED", "FAILED", "WORKSPACE_RUN_LIMIT_EXCEEDED", "CLIENT_ERROR", "The workspace has 1000 runs"),
			sdk.PhaseRetryableFailed, "WORKSPACE_RUN_LIMIT_EXCEEDED", []string{"1000 runs"},
		},
		{
			"databricks", fakejobs.Ended("INTERNAL_ERROR", "FAILED", "INTERNAL_ERROR", "INTERNAL_ERROR", ""),
			sdk.PhaseRetryableFailed, "INTERNAL_ERROR", []string{"the run ended as FAILED"},
		},
		{
			"time", fakejobs.Ended("TERMINATED", "TIMEDOUT", "", "", "Run timed out"),
			sdk.PhaseFailed, "TIMEDOUT", []string{"Run timed out"},
		},
		{
			"cancelled by hand", fakejobs.Ended("TERMINATED", "CANCELED", "USER_CANCELED", "SUCCESS", "Cancelled by ada"),
			sdk.PhaseAborted, "", []string{"Cancelled by ada"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			workspace.Live(c.name, fakejobs.Going("RUNNING", ""), c.last)
			result, err := create(t, client, task(c.name, nil)).Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if result.Phase != c.phase || result.Resource.GetAgentError().GetCode() != c.code {
				t.Errorf("it is %s, %v", result.Phase, result.Resource)
			}
			for _, part := range c.says {
				if !strings.Contains(result.Message, part) {
					t.Errorf("it does not say %q: %s", part, result.Message)
				}
			}
		})
	}
}

// Why a run failed is worth having, and not worth losing that it failed.
func TestAFailureWithoutItsOutputIsStillAFailure(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	workspace.Live("doomed", fakejobs.Failure("boom", ""))
	workspace.Fail("get-output", fakejobs.Fault{Status: 400, Code: "INVALID_PARAMETER_VALUE", Message: "no output"})
	if result := get(t, create(t, client, task("doomed", nil))); result.Phase != sdk.PhaseFailed || !strings.Contains(result.Message, "Workload failed") {
		t.Errorf("got %+v", result)
	}
	workspace.Fail("get-output", slices.Repeat([]fakejobs.Fault{{Status: 503, RetryAfter: "1"}}, 100)...)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	result, err := create(t, client, task("doomed", nil)).Get(ctx)
	if err != nil || result.Phase != sdk.PhaseFailed {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestTheSameAttemptIsOneRun(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	attempt := func(name string, retry uint32) int64 {
		wanted := task("once", nil)
		wanted.ExecutionID = execution("analytics", name, retry)
		return runOf(t, create(t, client, wanted))
	}
	first := attempt("a", 0)
	if again := attempt("a", 0); again != first {
		t.Errorf("the same attempt is run %d, then %d", first, again)
	}
	if retry, other := attempt("a", 1), attempt("b", 0); retry == first || other == first || retry == other {
		t.Errorf("runs %d, %d, %d are shared", first, retry, other)
	}
	// An answer that is lost on its way, within a call.
	workspace.Fail("submit", fakejobs.Fault{Status: 502, Message: "bad gateway", After: true})
	before := len(workspace.Submitted())
	attempt("c", 0)
	create(t, client, agenttest.Task{Type: agent.LegacyTaskType, Custom: task("once", map[string]any{"notebookPath": "/n"}).Custom})
	if made := len(workspace.Submitted()) - before; made != 2 {
		t.Errorf("two tasks have made %d runs", made)
	}
}

// Flyte gives the tasks of a subworkflow that is used twice equal ids: they differ in output prefix and inputs only.
func TestTheTasksOfASubworkflowThatIsUsedTwiceAreTwoRuns(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	workspace.Live("used", fakejobs.Going("RUNNING", ""))
	var runs []*agenttest.Job
	for n, prefix := range []string{"s3://b/f1-n0-0-n0-0", "s3://b/f1-n1-0-n0-0", "s3://b/f1-n0-1-n0-0"} { // the last: the first use, repeated
		inputs := fmt.Sprintf("s3://b/inputs-%d.pb", n)
		wanted := task("used", nil)
		wanted.ExecutionID, wanted.OutputPrefix = execution("analytics", "f1", 0), prefix
		wanted.Change = func(request *admin.CreateTaskRequest) {
			request.Template.Target = &core.TaskTemplate_Container{Container: &core.Container{Args: []string{"pyflyte-execute", "--inputs", inputs}}}
		}
		run, again := create(t, client, wanted), create(t, client, wanted)
		if runOf(t, run) != runOf(t, again) {
			t.Errorf("%s is two runs: %s and %s", prefix, run.Meta, again.Meta)
		}
		if submitted := fmt.Sprint(workspace.Submitted()[runOf(t, run)]); !strings.Contains(submitted, inputs) {
			t.Errorf("%s has the run that was submitted as %s", prefix, submitted)
		}
		get(t, run)
		runs = append(runs, run)
	}
	if err := runs[0].Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if result, err := runs[0].Wait(t.Context()); err != nil || result.Phase != sdk.PhaseAborted {
		t.Errorf("the deleted run is %+v, %v", result, err)
	}
	for _, run := range runs[1:] {
		if result := get(t, run); result.Phase != sdk.PhaseRunning {
			t.Errorf("the deletion of another made run %s %+v", run.Meta, result)
		}
	}
}

func TestATasksOwnIdempotencyTokenStays(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	conf := map[string]any{"run_name": "own", "existing_cluster_id": "1", "idempotency_token": "nightly-2026-11-25"}
	first := runOf(t, create(t, client, task("", map[string]any{"databricksConf": conf})))
	second := runOf(t, create(t, client, task("", map[string]any{"databricksConf": conf})))
	if first != second || workspace.Submitted()[first]["idempotency_token"] != "nightly-2026-11-25" {
		t.Errorf("runs %d and %d: %v", first, second, workspace.Submitted())
	}
}

func TestDeleteCancelsWhatRunsAndNothingElse(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	workspace.Live("long", fakejobs.Going("RUNNING", ""))
	job := create(t, client, task("long", nil))
	get(t, job)
	for range 2 {
		if err := job.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if result, err := job.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseAborted {
		t.Errorf("a deleted run is %+v, %v", result, err)
	}
	ended := create(t, client, task("short", nil))
	if _, err := ended.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ended.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if result := get(t, ended); result.Phase != sdk.PhaseSucceeded {
		t.Errorf("a run that had ended is %+v", result)
	}
	workspace.Forget(runOf(t, ended))
	if err := ended.Delete(t.Context()); err != nil {
		t.Errorf("deleting a run that nobody knows: %v", err)
	}
	_, err := ended.Get(t.Context())
	wantCode(t, err, codes.NotFound, "does not exist", "60 days")
}

func TestATaskThatCannotRunFailsWithTheReason(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	conf := func(conf map[string]any) agenttest.Task { return task("", map[string]any{"databricksConf": conf}) }
	both := map[string]any{"existing_cluster_id": "1", "new_cluster": map[string]any{"spark_version": "15", "node_type_id": "n", "num_workers": 1}}
	for _, c := range []struct {
		task agenttest.Task
		code string
		says []string
	}{
		{conf(nil), "InvalidTask", []string{"no databricks_conf"}},
		{conf(map[string]any{"run_name": "x"}), "InvalidTask", []string{"no compute", "existing_cluster_id"}},
		{conf(map[string]any{"new_cluster": "small"}), "InvalidTask", []string{"databricks_conf.new_cluster must be an object"}},
		{conf(map[string]any{"environments": []any{"ml"}}), "InvalidTask", []string{"databricks_conf.environments[0] must be an object"}},
		{task("", map[string]any{"databricksConf": "small"}), "InvalidTask", []string{"databricksConf"}},
		{agenttest.Task{Type: agent.TaskType, Custom: task("x", nil).Custom}, "InvalidTask", []string{"no container"}},
		{conf(both), "INVALID_PARAMETER_VALUE", []string{"cannot submit a run", workspace.Host, "only one of existing_cluster_id, new_cluster"}},
		{conf(map[string]any{"existing_cluster_id": "1", "idempotency_token": strings.Repeat("x", 65)}), "INVALID_PARAMETER_VALUE", []string{"64 characters"}},
		// What neither the plugin nor its SDK knows is the API's to judge.
		{conf(map[string]any{"existing_cluster_id": "1", "hologram": true}), "MALFORMED_REQUEST", []string{"unknown field hologram"}},
	} {
		job := create(t, client, c.task)
		wantRefused(t, job, c.code, c.says...)
		if err := job.Delete(t.Context()); err != nil {
			t.Error(err)
		}
		if lines, _, err := job.Logs(t.Context(), sdk.LogQuery{}); err != nil || len(lines) != 0 {
			t.Errorf("its log is %v, %v", lines, err)
		}
	}
	for _, made := range workspace.Submitted() {
		if !doesNothing(made) {
			t.Errorf("there is the run %v", made)
		}
	}
}

func TestLogsComeInPages(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	workspace.Live("talkative", fakejobs.Failure("boom", "Traceback:\n  line 1").WithOutput(jobs.RunOutput{
		Logs: "one\ntwo\r\nthree\n", LogsTruncated: true, Error: "boom", ErrorTrace: "Traceback:\n  line 1",
	}))
	job := create(t, client, task("talkative", nil))
	var all []string
	token := ""
	for range 10 {
		lines, next, err := job.Logs(t.Context(), sdk.LogQuery{Lines: 3, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			all = append(all, line.Message)
		}
		if token = next; len(lines) == 0 {
			break
		}
	}
	want := []string{"(Databricks has cut off what was written before)", "one", "two", "three", "boom", "Traceback:", "  line 1"}
	if !slices.Equal(all, want) || token != "7" {
		t.Errorf("got %q, then %q", all, token)
	}
	_, _, err := job.Logs(t.Context(), sdk.LogQuery{Token: "seven"})
	wantCode(t, err, codes.InvalidArgument, `"seven"`)
}

func TestTheProgramWorksAsTheHostStartsItAndKeepsItsSecrets(t *testing.T) {
	workspace := fakejobs.Start(t, workspaceOptions)
	workspace.Fail("submit", fakejobs.Fault{Status: 400, Code: "BAD_REQUEST", Message: "what is the header Bearer " + adasToken})
	command := exec.Command(agenttest.Build(t, ".."))
	command.Env = append(command.Environ(), "_FSEC_FLYTE_DATABRICKS_ACCESS_TOKEN="+adasToken, "_FSEC_ROBOTS="+robotsSecret)
	client := agenttest.Start(t, command)
	configure(t, client, workspace, nil)

	wantRefused(t, create(t, client, task("echo", nil)), "BAD_REQUEST", "Bearer [secret]")
	robots := map[string]any{"databricksAuthType": "oauth_m2m", "databricksClientId": "robot", "databricksOauthSecret": "robots"}
	for _, custom := range []map[string]any{nil, robots} {
		job := create(t, client, task("kept", custom))
		result, err := job.Wait(t.Context())
		if err != nil || result.Phase != sdk.PhaseSucceeded {
			t.Fatalf("got %+v, %v", result, err)
		}
		noSecretIn(t, "the metadata", string(job.Meta))
		noSecretIn(t, "the status", result.Resource.String())
	}
	_, err := create(t, client, task("kept", nil)).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	noSecretIn(t, "the description", client.Describe().String())
	if err := client.Stop(); err != nil {
		t.Fatal(err)
	}
	noSecretIn(t, "the log", client.Output())
}

func TestThePluginDescribesItself(t *testing.T) {
	client, _ := serve(t, nil)
	listed := client.Agents()
	if len(listed) != 1 || listed[0].GetName() != "Databricks Connector" || !slices.Equal(listed[0].GetSupportedTaskTypes(), []string{"databricks", "spark"}) {
		t.Errorf("it lists %v", listed)
	}
	described := client.Describe()
	if !slices.Contains(described.GetCapabilities(), "idempotent_create") {
		t.Errorf("its capabilities are %v", described.GetCapabilities())
	}
	var schema struct {
		Properties map[string]struct {
			Description string `json:"description"`
		} `json:"properties"`
	}
	if err := json.Unmarshal([]byte(described.GetConfigSchema()), &schema); err != nil || len(schema.Properties) < 7 {
		t.Fatalf("%v: %s", err, described.GetConfigSchema())
	}
	for key, property := range schema.Properties {
		if property.Description == "" {
			t.Errorf("the key %s is not described", key)
		}
	}
}
