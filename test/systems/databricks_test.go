package systems

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/plugins/databricks/fakejobs"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
)

// databricksToken begins like no other text: flytekit's connector logs the first eight characters of tokens.
const databricksToken = "dapi7b1f-of-ada-93cc5e0a"

// databricks is a strict fake of a workspace, and either plugin for it.
func databricks(t *testing.T) (s sides, system *held, workspace *fakejobs.Workspace) {
	t.Helper()
	system = &held{}
	workspace = fakejobs.Start(t, fakejobs.Options{
		Tokens: map[string]string{databricksToken: "ada"},
		Work:   func(body map[string]any) { writeOutputs(t, body) },
		Held:   func() bool { return !system.released.Load() },
	})
	for name, steps := range databricksLives {
		workspace.Live(name, steps...)
	}
	secrets := databricksSecret(t, databricksToken)
	return sides{
		ours: map[string]any{
			"command": []string{hosttest.Program("databricks")},
			"config":  map[string]any{"instance": workspace.Host, "ca_file": workspace.Authority},
			"secrets": secrets,
		},
		theirs: map[string]any{
			"command": []string{filepath.Join(venv(t, "spark"), "agenthost-flytekit"), "--task-types", "databricks,spark"},
			"env":     map[string]any{"FLYTE_DATABRICKS_INSTANCE": workspace.Host, "SSL_CERT_FILE": workspace.Authority},
			"secrets": secrets,
		},
		secrets:  []string{databricksToken},
		volatile: regexp.MustCompile(`job/\d+/run/\d+`),
	}, system, workspace
}

// databricksLives are the lives of runs that do not simply succeed, by the names of flytekit/databricks.py.
var databricksLives = map[string][]fakejobs.Step{
	"bad-code":         {fakejobs.Going("RUNNING", "In run"), fakejobs.Failure("ZeroDivisionError: division by zero", "job.py, line 1")},
	"too-long":         {fakejobs.Going("RUNNING", "In run"), fakejobs.Ended("TERMINATED", "TIMEDOUT", "RUN_EXECUTION_ERROR", "CLIENT_ERROR", "Run timed out.")},
	"cancelled":        {fakejobs.Going("RUNNING", "In run"), fakejobs.Ended("TERMINATED", "CANCELED", "USER_CANCELED", "SUCCESS", "Run cancelled.")},
	"databricks-fails": {fakejobs.Ended("INTERNAL_ERROR", "FAILED", "INTERNAL_ERROR", "INTERNAL_ERROR", "Unexpected error.")},
	"spot-lost": {fakejobs.Going("RUNNING", "In run"), fakejobs.Ended("TERMINATED", "FAILED", "CLUSTER_ERROR", "CLOUD_FAILURE",
		"Cluster was terminated. Reason: SPOT_INSTANCE_TERMINATION (CLOUD_FAILURE)")},

	"queued":                {fakejobs.Going("QUEUED", "Queued due to the limit"), fakejobs.Going("QUEUED", "Queued due to the limit"), fakejobs.Success()},
	"retried-by-databricks": {fakejobs.Going("RUNNING", "In run"), fakejobs.Going("WAITING_FOR_RETRY", ""), fakejobs.Going("RUNNING", "In run"), fakejobs.Success()},
	partlySuccessful:        {fakejobs.Ended("TERMINATED", "SUCCESS_WITH_FAILURES", "SUCCESS_WITH_FAILURES", "SUCCESS", "")},
}

// partlySuccessful is the task that only ours finishes.
const partlySuccessful = "partly-successful"

// databricksDifferences are the intended ones.
func databricksDifferences(tasks []task) map[string]string {
	const once = "Databricks refuses the task for good, and a repetition would meet the same end"
	differences := map[string]string{
		"spot-lost: phase":  "the cloud took the cluster away, which is not the fault of the code: Flyte may repeat the task",
		"no-compute: phase": once,
		"refused: phase":    once,
	}
	for _, k := range tasks {
		if differences[k.Name+": phase"] != once {
			differences[k.Name+": links"] = "ours adds the run's own page, which Databricks gives, to flytekit's link"
		}
	}
	return differences
}

// writeOutputs does what a job of flytekit's does at its end, where its args say: the fake runs no code.
func writeOutputs(t *testing.T, body map[string]any) {
	args := arguments(body)
	at := slices.Index(args, "--output-prefix")
	if at < 0 {
		return // a notebook's
	}
	literal := &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{
		Primitive: &core.Primitive{Value: &core.Primitive_Integer{Integer: 8}},
	}}}}
	content, err := proto.Marshal(&core.LiteralMap{Literals: map[string]*core.Literal{"o0": literal}})
	if err == nil {
		err = os.MkdirAll(args[at+1], 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(args[at+1], "outputs.pb"), content, 0o600)
	}
	if err != nil {
		t.Errorf("the job of %v: %v", body["run_name"], err)
	}
}

// arguments are those of a submission's program, in either form of a submission.
func arguments(body map[string]any) []string {
	if tasks, _ := body["tasks"].([]any); len(tasks) > 0 {
		body, _ = tasks[0].(map[string]any)
	}
	program, _ := body["spark_python_task"].(map[string]any)
	parameters, _ := program["parameters"].([]any)
	var args []string
	for _, parameter := range parameters {
		args = append(args, fmt.Sprint(parameter))
	}
	return args
}

// databricksTasks are the compiled tasks that are as wanted.
func databricksTasks(t *testing.T, wanted func(task) bool) []task {
	t.Helper()
	tasks := compile(t, venv(t, "spark"), "databricks")
	return slices.DeleteFunc(tasks, func(k task) bool { return !wanted(k) })
}

func TestDatabricksTasksSeeTheIntendedDifferencesOnly(t *testing.T) {
	s, system, _ := databricks(t)
	system.released.Store(true)
	tasks := databricksTasks(t, func(k task) bool { return k.Name != partlySuccessful })
	s.intended = databricksDifferences(tasks)
	with := s.compare(t, tasks)
	for _, k := range tasks {
		ours, theirs := s.view(with["ours"][k.Name])["links"], s.view(with["theirs"][k.Name])["links"]
		if !strings.HasPrefix(ours, theirs) || theirs == "" && ours != "" {
			t.Errorf("%s: the links %s do not begin with flytekit's: %s", k.Name, ours, theirs)
		}
	}
}

// For flytekit's connector, which fails in a state that it does not know, the host answers as long as max_stale says.
func TestDatabricksRunsThatArePartlySuccessfulSucceed(t *testing.T) {
	s, system, _ := databricks(t)
	system.released.Store(true)
	tasks := databricksTasks(t, func(k task) bool { return k.Name == partlySuccessful })
	s.theirs["status"] = map[string]any{"max_stale": "1s"}
	runTasks(t, startHost(t, one("system", s.theirs)), propeller.V1, tasks)
	tasks[0].Fails = ""
	runTasks(t, startHost(t, one("system", s.ours)), propeller.V1, tasks)
}

func TestDatabricksJobsOfFlytekitsConnectorAreFinishedByOurs(t *testing.T) {
	s, system, workspace := databricks(t)
	good := databricksTasks(t, func(k task) bool { return k.Fails == "" })
	s.swap(t, good, 5, system, func() int { return len(workspace.Submitted()) })
}

// Neither a token that the workspace takes nor one that it refuses is shown at any level of logs, and of ours not even its
// beginning, which flytekit's connector logs.
func TestDatabricksTokensAreInNoLogAndNoStatus(t *testing.T) {
	t.Setenv("AGENTHOST_LOG__LEVEL", "debug")
	s, system, _ := databricks(t)
	system.released.Store(true)
	s.theirs["env"].(map[string]any)["FLYTE_SDK_LOGGING_LEVEL"] = "10" //nolint:forcetypeassert // it is made above
	all := databricksTasks(t, func(k task) bool { return k.Name != partlySuccessful })
	const wrongToken = "dapi9c3e-of-nobody-17d20b6f"
	refused := []task{all[0]}
	refused[0].Fails = "Invalid access token"
	for name, c := range map[string]struct {
		plugin map[string]any
		token  string
		tasks  []task
		// logged must be in the log, hidden nowhere.
		logged, hidden string
	}{
		"ours":            {s.ours, databricksToken, all, "a task is refused", databricksToken[:8]},
		"ours, refused":   {s.ours, wrongToken, refused, `"level":"DEBUG"`, wrongToken[:8]},
		"theirs":          {s.theirs, databricksToken, all, databricksToken[:8] + "...", databricksToken},
		"theirs, refused": {s.theirs, wrongToken, refused, wrongToken[:8] + "...", wrongToken},
	} {
		t.Run(name, func(t *testing.T) {
			plugin := maps.Clone(c.plugin)
			plugin["secrets"] = databricksSecret(t, c.token)
			h := startHost(t, one("system", plugin))
			for name, result := range runTasks(t, h, propeller.V1, c.tasks) {
				notShown(t, "what Flyte sees of "+name, fmt.Sprint(result.Final), c.hidden)
			}
			notShownBy(t, h, c.hidden)
			if log := h.Log(t); !strings.Contains(log, c.logged) {
				t.Errorf("the log does not show %q, so that it may lack other things:\n%s", c.logged, log)
			}
		})
	}
}

// databricksSecret configures a token as the secret that both plugins look for.
func databricksSecret(t *testing.T, token string) map[string]any {
	t.Helper()
	return map[string]any{"flyte_databricks_access_token": secretFile(t, token)}
}
