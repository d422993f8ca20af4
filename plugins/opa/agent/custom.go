package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/agenthost/agenthost/plugins/opa/policy"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

// Custom is the custom part of a task's template.
type Custom struct {
	// Policy is the path of the rule that decides, such as flyte/authz/allow.
	Policy string `json:"policy"`
	// Decision says how to read the rule's value; empty: a boolean or an object, whichever it is.
	Decision Kind `json:"decision,omitempty"`
	// OnDeny says what a denial makes of the task; empty: it fails.
	OnDeny OnDeny `json:"on_deny,omitempty"`
	// Input adds to the policy's input: constants, and "$.inputs.user" for what is there.
	Input map[string]any `json:"input,omitempty"`
}

// Kind is how a policy tells its decision.
type Kind string

// The kinds of decisions.
const (
	// Boolean: true allows.
	Boolean Kind = "boolean"
	// Object: {"allow": bool, "reasons": [...]}.
	Object Kind = "object"
	// Denials: a set of reasons against it. The empty one allows.
	Denials Kind = "denials"
)

// OnDeny is what a denial makes of the task.
type OnDeny string

// What a denial makes of the task.
const (
	// Fail: the task has FAILED with the code AccessDenied.
	Fail OnDeny = "fail"
	// Return: the task has SUCCEEDED, and allowed is false.
	Return OnDeny = "return"
)

// contract is a Custom that has been read and checked.
type contract struct {
	Custom
	path policy.Path
}

// customOf reads the contract of a task. A template that a person wrote for another version must not be half understood, so
// unknown keys are errors: a misspelt on_deny would change what a denial means.
func customOf(task *sdk.Task) (contract, error) {
	if err := literal.CheckTemplate(task.Template.GetCustom()); err != nil {
		return contract{}, fmt.Errorf("custom.%w", err)
	}
	data, err := json.Marshal(task.Template.GetCustom().AsMap())
	if err != nil {
		return contract{}, err
	}
	c := contract{Custom: Custom{OnDeny: Fail}}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c.Custom); err != nil {
		return c, fmt.Errorf("the custom part of the %s task does not fit: %s (its keys: policy, decision, on_deny, input)",
			TaskType, strings.TrimPrefix(err.Error(), "json: "))
	}
	if c.Policy == "" {
		return c, errors.New("custom.policy is missing: it names the rule that decides, such as flyte/authz/allow")
	}
	if c.path, err = policy.ParsePath(c.Policy); err != nil {
		return c, fmt.Errorf("custom.policy: %w", err)
	}
	switch c.Decision {
	case "", Boolean, Object, Denials:
	default:
		return c, fmt.Errorf("custom.decision must be boolean, object or denials, got %q", c.Decision)
	}
	switch c.OnDeny {
	case Fail, Return:
	default:
		return c, fmt.Errorf("custom.on_deny must be fail or return, got %q", c.OnDeny)
	}
	for name := range c.Input {
		if reserved[name] {
			return c, fmt.Errorf("custom.input.%s: what Flyte says under that name cannot be replaced", name)
		}
	}
	for name := range task.OutputTypes() {
		if !outputs[name] {
			return c, fmt.Errorf("the task wants an output %q, but an %s task has allowed, reasons, decision and decision_id", name, TaskType)
		}
	}
	return c, nil
}

var (
	reserved = map[string]bool{"inputs": true, "execution": true, "identity": true}
	outputs  = map[string]bool{"allowed": true, "reasons": true, "decision": true, "decision_id": true}
)
