// Package agent is the Flyte agent for the task type access_control: it makes a policy's input of the task, asks for a
// decision, and makes the task's end of it.
//
// It fails closed. Only a value that says so allows; what is undefined denies; what went wrong fails the task, whatever the
// task says of denials.
package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/agenthost/agenthost/plugins/opa/policy"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

// TaskType is the task type that the agent serves.
const TaskType = "access_control"

// Options are what a plugin with this agent serves.
func Options() []sdk.Option {
	a := &Agent{}
	return []sdk.Option{sdk.Configure(a.configure), sdk.Sync(TaskType, a), sdk.IdempotentCreate()}
}

// Agent serves the task type. It is configured once, before the first task.
type Agent struct {
	config Config
	source policy.Source
	turns  *semaphore.Weighted
}

func (a *Agent) configure(_ context.Context, config Config) error {
	source, err := config.source()
	if err != nil {
		return err
	}
	a.config, a.source, a.turns = config, source, semaphore.NewWeighted(config.MaxConcurrent)
	return nil
}

// Close lets go of connections.
func (a *Agent) Close(context.Context) error {
	if a.source != nil {
		a.source.Close()
	}
	return nil
}

// Execute decides.
func (a *Agent) Execute(ctx context.Context, task *sdk.Task) (*sdk.Resource, error) {
	resource, err := a.execute(ctx, task)
	if err == nil {
		return resource, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err() // Nobody waits for an answer any more.
	}
	var failed *policy.Failure
	switch {
	case !errors.As(err, &failed):
		return sdk.Failed(sdk.UserError("BadTask", err)), nil
	case failed.Transient:
		return sdk.RetryableFailed(sdk.SystemError(failed.Code, err)), nil
	case failed.User:
		return sdk.Failed(sdk.UserError(failed.Code, err)), nil
	}
	return sdk.Failed(sdk.SystemError(failed.Code, err)), nil
}

// execute gives a *policy.Failure, or an error about the task itself.
func (a *Agent) execute(ctx context.Context, task *sdk.Task) (*sdk.Resource, error) {
	asked, err := customOf(task)
	if err != nil {
		return nil, err
	}
	facts, err := factsOf(task)
	if err != nil {
		return nil, err
	}
	input, err := facts.with(asked.Input)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > a.config.InputLimit.Bytes() {
		return nil, fmt.Errorf("the policy's input is %d bytes, more than %s (the plugin's config key input_limit)", len(data), a.config.InputLimit)
	}
	started := time.Now()
	answer, err := a.ask(ctx, policy.Question{Path: asked.path, Input: data})
	if err != nil {
		return nil, err
	}
	took := time.Since(started)
	if limit := a.config.DecisionLimit; int64(len(answer.Result)) > limit.Bytes() {
		return nil, policy.Broken("the decision is larger than %s (the plugin's config key decision_limit)", limit)
	}
	decided, err := decide(asked.path, asked.Decision, answer.Result)
	if err != nil {
		return nil, err
	}
	answer.ID = cmp.Or(answer.ID, uuid.NewString())
	a.log(task, asked, facts, answer, decided, took)
	return a.resource(task, asked, answer, decided, took)
}

// ask waits for its turn and then for the decision, no longer than the plugin's own time-out, and ends shortly before the
// caller's deadline, so that the reason still arrives.
func (a *Agent) ask(ctx context.Context, question policy.Question) (policy.Answer, error) {
	limit := a.config.Timeout.Std()
	hurried := false
	if deadline, bounded := ctx.Deadline(); bounded {
		if left := time.Until(deadline) * 9 / 10; left < limit {
			limit, hurried = left, true
		}
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := a.turns.Acquire(bounded, 1); err != nil {
		return policy.Answer{}, &policy.Failure{Code: "Busy", Transient: true, Err: fmt.Errorf(
			"%d decisions are being made and none ended within %s (the plugin's config key max_concurrent)", a.config.MaxConcurrent, limit)}
	}
	defer a.turns.Release(1)
	answer, err := a.source.Decide(bounded, question)
	var failed *policy.Failure
	if err == nil || errors.As(err, &failed) {
		return answer, err
	}
	reason := "the plugin's config key timeout"
	if hurried {
		reason = "the caller's deadline"
	}
	return answer, &policy.Failure{Code: "EvaluationTimeout", Transient: true, Err: fmt.Errorf("there was no decision within %s (%s): %w", limit, reason, err)}
}

// resource makes the task's end of a decision.
func (a *Agent) resource(task *sdk.Task, asked contract, answer policy.Answer, decided decision, took time.Duration) (*sdk.Resource, error) {
	var resource *sdk.Resource
	if !decided.Allowed && asked.OnDeny == Fail {
		resource = sdk.Failed(sdk.UserError("AccessDenied", errors.New(strings.Join(decided.Reasons, "; "))))
	} else {
		wanted := task.OutputTypes()
		values := sdk.Outputs{
			"allowed": decided.Allowed, "reasons": decided.Reasons, "decision": decided.Document, "decision_id": answer.ID,
		}
		if declared := wanted["decision"]; declared != nil {
			err := checkNumbers(decided.Document, "")
			written, unfit := literal.Encode(decided.Document, declared)
			if err = cmp.Or(err, unfit); err != nil {
				return nil, policy.Broken("the decision of %s cannot be an output: %w", asked.path, err)
			}
			values["decision"] = written
		}
		maps.DeleteFunc(values, func(name string, _ any) bool { return wanted[name] == nil })
		resource = sdk.Succeeded(values).WithMessage(decided.summary())
	}
	resource.
		WithInfo("decision_id", answer.ID).
		WithInfo("policy", asked.path.String()).
		WithInfo("allowed", decided.Allowed).
		WithInfo("evaluation_seconds", took.Seconds())
	if answer.Revision != "" {
		resource.WithInfo("revision", answer.Revision)
	}
	if len(answer.Metrics) > 0 {
		resource.WithInfo("metrics", answer.Metrics)
	}
	if a.config.Console != "" {
		link := strings.NewReplacer("{decision_id}", url.PathEscape(answer.ID), "{policy}", asked.path.String()).Replace(a.config.Console)
		resource.WithLink("Decision", link)
	}
	return resource, nil
}

// log writes the decision to the host's log. The facts are masked before the task's mapping copies them elsewhere, and the
// result once more, for what the mapping adds.
func (a *Agent) log(task *sdk.Task, asked contract, facts document, answer policy.Answer, decided decision, took time.Duration) {
	if a.config.DecisionLog != nil && !*a.config.DecisionLog {
		return
	}
	shown, err := facts.without(a.config.Mask).with(asked.Input)
	if err != nil {
		shown = document{"error": err.Error()}
	}
	slog.Info("decision", "decision_id", answer.ID, "policy", asked.path.String(), "allowed", decided.Allowed,
		"reasons", decided.Reasons, "revision", answer.Revision, "seconds", took.Seconds(), "task", task.String(),
		"input", shown.without(a.config.Mask))
}
