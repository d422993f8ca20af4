package systems

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/plugins/opa/opatest"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// opaToken is what the server wants. Nothing may show it.
const opaToken = "opa-token-that-nothing-shows"

// accessPolicies are those of plugins/opa/examples, with grants for the project of these tests, and some that show what they see.
func accessPolicies(t *testing.T) string {
	t.Helper()
	example, err := os.ReadFile(hosttest.Root("plugins", "opa", "examples", "authz.rego"))
	if err != nil {
		t.Fatal(err)
	}
	return opatest.Write(t, map[string]string{
		"authz.rego": string(example),
		"sees.rego":  "package sees\n\neverything := {\"allow\": true, \"input\": input}\n\nbroken if 1 / (count(input.inputs.dataset) * 0) > 0\n",
		"data.json":  `{"grants": {"systems": {"read": ["s3://lake/flights"]}}}`,
	})
}

// policyEngine is one way to have decisions.
type policyEngine struct {
	plugin map[string]any
	// server is the OPA server, where there is one.
	server *opatest.Server
}

func embeddedPolicies(t *testing.T) policyEngine {
	t.Helper()
	plugin := hosttest.Plugin("opa")
	plugin["config"] = map[string]any{"policies": accessPolicies(t)}
	return policyEngine{plugin: plugin}
}

// policyServer is reached by TLS, with a token.
func policyServer(t *testing.T) policyEngine {
	t.Helper()
	authority := opatest.NewAuthority(t)
	server := opatest.Start(t, slices.Concat(authority.Serving(t), opatest.WithToken(t, opaToken), []string{accessPolicies(t)})...)
	plugin := hosttest.Plugin("opa")
	plugin["secrets"] = map[string]any{"opa_token": secretFile(t, opaToken+"\n")}
	plugin["config"] = map[string]any{
		"server": map[string]any{"url": server.URL, "ca_file": authority.File, "token_secret": "opa_token"},
	}
	return policyEngine{plugin, server}
}

var policyEngines = map[string]func(*testing.T) policyEngine{"embedded": embeddedPolicies, "server": policyServer}

// decisionOutputs are the outputs that the tasks must have, but for the decision's id. The others have none.
var decisionOutputs = map[string]map[string]any{
	"granted-with-outputs": {
		"allowed": true, "reasons": []any{}, "decision": map[string]any{"allow": true, "reasons": []any{}},
	},
	"denial-returned": {
		"allowed": false, "reasons": []any{"project systems may not read s3://lake/salaries"},
		"decision": map[string]any{"allow": false, "reasons": []any{"project systems may not read s3://lake/salaries"}},
	},
	"denials-returned": {"allowed": false, "reasons": []any{"project systems may not write s3://lake/salaries"}},
	"boolean-returned": {"allowed": false, "reasons": []any{"the policy flyte/authz/allow is false for this input"}},
}

// decisionCodes are the codes of those that fail.
var decisionCodes = map[string]string{"denied": "AccessDenied", "undefined": "AccessDenied", "broken": "PolicyError"}

func TestAccessControlDecidesForFlytekitsTasks(t *testing.T) {
	tasks := compile(t, venv(t, "connectors"), "opa")
	for name, start := range policyEngines {
		t.Run(name, func(t *testing.T) {
			host := startHost(t, one("opa", start(t).plugin))
			results := runTasks(t, host, propeller.V1, tasks)
			for _, k := range tasks {
				t.Run(k.Name, func(t *testing.T) { checkDecision(t, k, results[k.Name]) })
			}
			checkDecisionLog(t, host, tasks)
		})
	}
}

// What goes wrong allows nobody, and a server that is away may be back for the next attempt.
func TestAccessControlFailsClosedWithoutItsServer(t *testing.T) {
	tasks := compile(t, venv(t, "connectors"), "opa")
	policies := policyServer(t)
	host := startHost(t, one("opa", policies.plugin))
	policies.server.Stop()
	flyte := startFlyte(t, propeller.V1, host)
	for _, k := range tasks {
		k.Fails = "connection refused"
		result := k.end(t, k.submit(flyte, k.Name, t.TempDir()))
		if result.Phase != propeller.RetryableFailure || result.Final.Code != "OPAUnavailable" || result.Outputs != nil {
			t.Errorf("%s: %s %s, outputs %v", k.Name, result.Phase, result.Final.Code, result.Outputs)
		}
	}
	notShownBy(t, host, opaToken)
	notShownBy(t, host, "hunter2") // an input
}

// Flyte 2 has no sync calls: it is not told of the task type, and a task that comes all the same fails and says why.
func TestAccessControlIsNoTaskOfFlyte2(t *testing.T) {
	tasks := compile(t, venv(t, "connectors"), "opa")
	host := startHost(t, one("opa", embeddedPolicies(t).plugin))
	flyte := startFlyte(t, propeller.V2, host)
	for _, entry := range flyte.Registry() {
		if entry.Name == "access_control" {
			t.Errorf("Flyte 2 is told of %+v", entry)
		}
	}
	k := tasks[0]
	k.Fails = "is served by a sync agent"
	if result := k.end(t, k.submit(flyte, k.Name, t.TempDir())); result.Outputs != nil {
		t.Errorf("outputs %v", result.Outputs)
	}
}

func checkDecision(t *testing.T, k task, result propeller.Result) {
	info := result.Final.Info.CustomInfo.AsMap()
	if result.Final.Code != decisionCodes[k.Name] || result.Attempts != 1 {
		t.Errorf("code %q, %d attempts: %s", result.Final.Code, result.Attempts, result.Final.Reason)
	}
	if k.Name == "broken" {
		return // which is no decision
	}
	if id, _ := info["decision_id"].(string); id == "" || info["policy"] != k.template.GetCustom().AsMap()["policy"] {
		t.Errorf("custom info: %v", info)
	}
	outputs := decisionValues(t, result.Outputs)
	if id, has := outputs["decision_id"]; has && id != info["decision_id"] {
		t.Errorf("decision_id is %v, in custom info %v", id, info["decision_id"])
	}
	delete(outputs, "decision_id")
	if k.Name == "what-it-sees" {
		checkPolicyInput(t, outputs)
		return
	}
	if want := decisionOutputs[k.Name]; !reflect.DeepEqual(outputs, want) && len(outputs)+len(want) > 0 {
		t.Errorf("outputs %v, want %v", outputs, want)
	}
}

// checkPolicyInput checks what a policy is told: flytekit's values of every kind, who asks in Flyte's words, and the task's additions.
func checkPolicyInput(t *testing.T, outputs map[string]any) {
	t.Helper()
	decision, _ := outputs["decision"].(map[string]any)
	input, _ := decision["input"].(map[string]any)
	execution, _ := input["execution"].(map[string]any)
	for key, want := range map[string]any{"project": "systems", "domain": "development", "node": "n0", "namespace": "systems-development"} {
		if execution[key] != want {
			t.Errorf("execution.%s is %v, want %v", key, execution[key], want)
		}
	}
	delete(input, "execution")
	delete(input, "identity")
	want := map[string]any{
		"who": "systems", "team": "air", "price": "$1",
		"inputs": map[string]any{
			"n": int64(1<<60 + 1), "at": "2024-02-29T12:00:00Z", "names": []any{"a", "b"}, "labels": map[string]any{"team": "air"},
			"options": map[string]any{"deep": map[string]any{"list": []any{int64(1), "x"}}},
			"request": map[string]any{"purpose": "audit", "rows": int64(7)}, "password": "hunter2",
		},
	}
	if !reflect.DeepEqual(input, want) {
		t.Errorf("the policy's input is\n%v, want\n%v", input, want)
	}
}

// checkDecisionLog checks that each decision gets into the host's log, which what a plugin writes takes a moment to reach.
func checkDecisionLog(t *testing.T, host *hosttest.Host, tasks []task) {
	t.Helper()
	logged := func(name string) bool {
		return strings.Contains(host.Log(t), `"access_control `+strings.ReplaceAll(name, "-", "_")+`@v1"`)
	}
	for _, k := range tasks {
		if k.Name != "broken" {
			wait.Until(t, "the log has the decision of "+k.Name, func() bool { return logged(k.Name) })
		}
	}
	if logged("broken") {
		t.Error("the log has a decision of a policy that is broken")
	}
	notShownBy(t, host, opaToken)
	notShownBy(t, host, "hunter2") // an input
}

// decisionValues are outputs as Go has them.
func decisionValues(t *testing.T, outputs *core.LiteralMap) map[string]any {
	t.Helper()
	all := map[string]any{}
	for name, l := range outputs.GetLiterals() {
		value, err := sdk.Decode[any](l)
		if err != nil {
			t.Fatalf("output %s: %v", name, err)
		}
		all[name] = value
	}
	return all
}
