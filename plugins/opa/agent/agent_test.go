package agent_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/plugins/opa/agent"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

func examples(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../examples")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run serves the agent in process, with the example's policies unless others are configured.
func run(t *testing.T, config map[string]any) *agenttest.Client {
	t.Helper()
	client := agenttest.Run(t, agent.Options()...)
	if config["policies"] == nil && config["server"] == nil {
		config["policies"] = examples(t)
	}
	if wrong := client.Configure(config); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	return client
}

// task asks for a dataset, on behalf of the execution's project.
func task(t *testing.T, custom map[string]any, dataset string, outputs ...string) agenttest.Task {
	t.Helper()
	types := map[string]*core.LiteralType{
		"allowed":     {Type: &core.LiteralType_Simple{Simple: core.SimpleType_BOOLEAN}},
		"reasons":     {Type: &core.LiteralType_CollectionType{CollectionType: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}}},
		"decision":    {Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRUCT}},
		"decision_id": {Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}},
	}
	wanted := sdk.OutputTypes{}
	for _, name := range outputs {
		wanted[name] = types[name]
	}
	return agenttest.Task{Type: agent.TaskType, Custom: custom, Inputs: map[string]any{"dataset": dataset}, OutputTypes: wanted}
}

func codeOf(result *agenttest.Result) string { return result.Resource.GetAgentError().GetCode() }

const (
	succeeded = core.TaskExecution_SUCCEEDED
	failed    = core.TaskExecution_FAILED
)

func TestADenialFailsTheTaskWithItsReasons(t *testing.T) {
	client := run(t, map[string]any{})
	result, err := client.Execute(t.Context(), task(t, map[string]any{"policy": "flyte/authz/decision"}, "nobody's"))
	if err != nil {
		t.Fatal(err)
	}
	if result.Phase != failed || codeOf(result) != "AccessDenied" || !strings.Contains(result.Message, "granted") {
		t.Errorf("%v: %s", result.Phase, result.Message)
	}
}

func TestADenialIsAnOutputWhereTheTaskSaysSo(t *testing.T) {
	client := run(t, map[string]any{})
	for _, custom := range []map[string]any{
		{"policy": "flyte/authz/decision", "on_deny": "return"},
		{"policy": "flyte/authz/deny", "decision": "denials", "on_deny": "return"},
		{"policy": "flyte/authz/allow", "decision": "boolean", "on_deny": "return"},
	} {
		result, err := client.Execute(t.Context(), task(t, custom, "nobody's", "allowed", "reasons", "decision_id"))
		if err != nil {
			t.Fatal(err)
		}
		if result.Phase != succeeded {
			t.Fatalf("%v: %v: %s", custom, result.Phase, result.Message)
		}
		if allowed := agenttest.Output[bool](t, result, "allowed"); allowed {
			t.Errorf("%v: it is allowed", custom)
		}
		if reasons := agenttest.Output[[]string](t, result, "reasons"); len(reasons) == 0 {
			t.Errorf("%v: there is no reason", custom)
		}
		if id := agenttest.Output[string](t, result, "decision_id"); len(id) < 16 {
			t.Errorf("%v: decision_id is %q", custom, id)
		}
	}
}

func TestWhatIsUndefinedDenies(t *testing.T) {
	client := run(t, map[string]any{})
	result, err := client.Execute(t.Context(), task(t, map[string]any{"policy": "flyte/nowhere/allow"}, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if result.Phase != failed || codeOf(result) != "AccessDenied" || !strings.Contains(result.Message, "undefined") {
		t.Errorf("%v: %s", result.Phase, result.Message)
	}
}

func TestAPolicySeesWhoAsksAndNoTaskCanChooseThat(t *testing.T) {
	policies := t.TempDir()
	write(t, policies, "who.rego", `package who
decision := {"allow": input.execution.project == "trusted", "reasons": [input.execution.project], "extra": input.action}`)
	client := run(t, map[string]any{"policies": policies})
	asked := task(t, map[string]any{"policy": "who/decision", "input": map[string]any{"action": "$.inputs.dataset"}}, "x", "decision")
	asked.ExecutionID = &core.TaskExecutionIdentifier{NodeExecutionId: &core.NodeExecutionIdentifier{
		ExecutionId: &core.WorkflowExecutionIdentifier{Project: "trusted", Domain: "production", Name: "e"},
	}}
	result, err := client.Execute(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if result.Phase != succeeded || agenttest.Output[map[string]any](t, result, "decision")["extra"] != "x" {
		t.Errorf("%v: %s", result.Phase, result.Message)
	}
	forged := task(t, map[string]any{"policy": "who/decision", "input": map[string]any{"execution": map[string]any{"project": "trusted"}}}, "x")
	if result, err = client.Execute(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	if result.Phase != failed || !strings.Contains(result.Message, "custom.input.execution") {
		t.Errorf("%v: %s", result.Phase, result.Message)
	}
}

func TestATaskThatMakesNoSenseSaysWhy(t *testing.T) {
	client := run(t, map[string]any{})
	for says, custom := range map[string]map[string]any{
		"custom.policy is missing":    {},
		"on_deny must be fail":        {"policy": "a/b", "on_deny": "ignore"},
		"decision must be boolean":    {"policy": "a/b", "decision": "maybe"},
		"its keys: policy, decision":  {"policy": "a/b", "on_denny": "return"},
		`there is no "$.inputs.none"`: {"policy": "a/b", "input": map[string]any{"a": "$.inputs.none"}},
	} {
		result, err := client.Execute(t.Context(), task(t, custom, "x"))
		if err != nil {
			t.Fatal(err)
		}
		if result.Phase != failed || !strings.Contains(result.Message, says) {
			t.Errorf("%v: %q is not said: %v: %s", custom, says, result.Phase, result.Message)
		}
	}
}

func TestAWrongConfigurationIsToldByKey(t *testing.T) {
	broken := t.TempDir()
	write(t, broken, "broken.rego", "package broken\n\nallow if {")
	for key, config := range map[string]map[string]any{
		"policies":      {},
		"server.url":    {"server": map[string]any{"url": "opa.policies"}},
		"timeout":       {"policies": "/p", "timeout": "-1s"},
		"mask.0":        {"policies": "/p", "mask": []string{"a..b"}},
		"console":       {"policies": "/p", "console": "decisions"},
		"allow_net":     {"server": map[string]any{"url": "https://opa"}, "allow_net": []string{"x"}},
		"decision_logs": {"policies": "/p", "decision_logs": true},
	} {
		errors := agenttest.Run(t, agent.Options()...).Configure(config)
		found := false
		for _, one := range errors {
			found = found || one.Key == key
		}
		if !found {
			t.Errorf("nothing is said of %s: %v", key, errors)
		}
	}
	errors := agenttest.Run(t, agent.Options()...).Configure(map[string]any{"policies": broken})
	if len(errors) == 0 || !strings.Contains(errors[0].Message, "broken.rego:3") {
		t.Errorf("the place of the mistake in the policy is not told: %v", errors)
	}
}

func TestAPolicyThatDoesNotEndIsEnded(t *testing.T) {
	policies := t.TempDir()
	write(t, policies, "slow.rego", "package slow\n\nallow if {\n\tsome i in numbers.range(1, 100000)\n\tsome j in numbers.range(1, 100000)\n\ti * j == -1\n}")
	client := run(t, map[string]any{"policies": policies, "timeout": "300ms"})
	started := time.Now()
	result, err := client.Execute(t.Context(), task(t, map[string]any{"policy": "slow/allow"}, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if codeOf(result) != "EvaluationTimeout" || !strings.Contains(result.Message, "config key timeout") {
		t.Errorf("after %v: %v: %s", time.Since(started), result.Phase, result.Message)
	}
}

func TestTheDecisionLogMasksTheInputs(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	client := run(t, map[string]any{})
	if _, err := client.Execute(t.Context(), task(t, map[string]any{"policy": "flyte/authz/allow", "input": map[string]any{"copy": "$.inputs.dataset"}}, "hunter2")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "msg=decision") || strings.Contains(log.String(), "hunter2") {
		t.Errorf("the log shows the input, or no decision:\n%s", &log)
	}
}

func TestItServesAsTheProgramThatItIs(t *testing.T) {
	client := agenttest.Command(t, agenttest.Build(t, ".."))
	if wrong := client.Configure(map[string]any{"policies": examples(t)}); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	result, err := client.Execute(t.Context(), task(t, map[string]any{"policy": "flyte/authz/decision", "on_deny": "return"}, "x", "allowed"))
	if err != nil {
		t.Fatal(err)
	}
	if result.Phase != succeeded {
		t.Errorf("%v: %s", result.Phase, result.Message)
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
