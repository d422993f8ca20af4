// Package agent is the Flyte agent for the task types databricks and spark: it makes runs of tasks and says how they are.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/databricks/databricks-sdk-go/service/jobs"

	"github.com/agenthost/agenthost/plugins/databricks/outcome"
	"github.com/agenthost/agenthost/plugins/databricks/workspace"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// The task types: flytekit's DatabricksV2, and its older Databricks, which shares its type with Spark on Kubernetes.
const (
	TaskType       = "databricks"
	LegacyTaskType = "spark"
)

// Options are what a plugin with this agent serves.
func Options() []sdk.Option {
	a := &Agent{}
	return []sdk.Option{
		sdk.Configure(a.configure),
		sdk.Async(TaskType, a, sdk.Named("Databricks Connector"), sdk.Also(sdk.Category{Name: LegacyTaskType})),
		sdk.IdempotentCreate(),
		sdk.Capabilities("rereads_secrets"), // each call looks its credential up
	}
}

// Agent serves the task types, once it is configured.
type Agent struct {
	config Config
	pool   *workspace.Pool
}

func (a *Agent) configure(_ context.Context, config Config) error {
	roots, err := config.roots()
	if err != nil {
		return err
	}
	a.config = config
	a.pool = workspace.NewPool(workspace.Options{
		Roots: roots, RequestsPerSecond: config.RequestsPerSecond, RequestTimeout: config.RequestTimeout.Std(),
	})
	return nil
}

// Create submits the task as a run. The same attempt twice is one run.
func (a *Agent) Create(ctx context.Context, task *sdk.Task) (Meta, error) {
	meta, err := a.submit(ctx, task)
	var refused *sdk.Error
	if !errors.As(err, &refused) {
		return meta, err
	}
	slog.Warn("a task is refused", "task", task.String(), "code", refused.Code, "reason", refused.Error())
	return Meta{Instance: meta.Instance, Refused: &refusal{Code: refused.Code, Message: refused.Error()}}, nil
}

func (a *Agent) submit(ctx context.Context, task *sdk.Task) (Meta, error) {
	t, err := a.attempt(task)
	if err != nil {
		return t.meta, err
	}
	t.meta.RunID, err = t.submit(ctx)
	return t.meta, err
}

// attempt reads a task. An *sdk.Error says that no run can be made of it.
func (a *Agent) attempt(task *sdk.Task) (attempt, error) {
	t := attempt{token: idempotencyToken(task)}
	wanted, err := read(task)
	if err != nil {
		return t, sdk.UserError("InvalidTask", err)
	}
	host, err := a.config.instanceOf(wanted.Instance)
	if err != nil {
		return t, sdk.UserError("InvalidInstance", err)
	}
	t.meta.Instance = host
	if t.body, err = wanted.body(task, &a.config); err != nil {
		return t, sdk.UserError("InvalidTask", err)
	}
	id := task.Template.GetId()
	execution := task.ExecutionID.GetNodeExecutionId().GetExecutionId()
	from := origin{
		project: cmp.Or(execution.GetProject(), id.GetProject()), domain: cmp.Or(execution.GetDomain(), id.GetDomain()), instance: host,
	}
	who, err := a.config.choose(wanted, from)
	if err != nil {
		return t, sdk.UserError("InvalidCredential", err)
	}
	credential, err := who.credential(task.Secret)
	if err != nil {
		return t, err
	}
	if principal, ok := credential.(workspace.OAuth); ok {
		who.authType, who.clientID = oauthM2M, principal.ClientID
		t.meta.Namespace = task.Metadata.GetNamespace()
	}
	t.meta.AuthType, t.meta.ClientID, t.meta.Secret = who.authType, who.clientID, who.secret
	if t.meta.AuthType == pat {
		t.meta.AuthType = "" // As flytekit's older connectors have it, which know no other.
	}
	t.workspace = a.pool.Open(host, credential)
	return t, nil
}

// refusalOf tells a submission that can never succeed as it is from one that may.
func refusalOf(err error) error {
	var failure *workspace.Error
	if !errors.As(err, &failure) {
		return err
	}
	if failure.Transient() || failure.Unauthenticated() || failure.Status < 400 {
		return statusOf(err)
	}
	return sdk.UserError(cmp.Or(failure.Code, "SubmissionRefused"), err)
}

// statusOf gives an error of a workspace the code that Flyte and the host go by.
func statusOf(err error) error {
	var failure *workspace.Error
	switch {
	case !errors.As(err, &failure):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	case failure.Missing():
		return sdk.NotFound("%w: it was deleted, or ended so long ago (60 days) that Databricks has forgotten it", err)
	case failure.Unauthenticated(), failure.Forbidden():
		return sdk.FailedPrecondition("%w", err)
	case failure.Transient():
		return sdk.Unavailable("%w", err)
	}
	return err
}

// Get tells how the run is.
func (a *Agent) Get(ctx context.Context, job sdk.Job[Meta]) (*sdk.Resource, error) {
	if refused := job.Meta.Refused; refused != nil {
		return sdk.Failed(sdk.UserError(refused.Code, errors.New(refused.Message))), nil
	}
	var run *jobs.Run
	var output *jobs.RunOutput
	var out outcome.Outcome
	err := a.visit(job, func(w *workspace.Workspace) (err error) {
		if run, err = w.Run(ctx, job.Meta.RunID); err != nil {
			return err
		}
		if out = outcome.Of(run); out.Kind == outcome.Failed || out.Kind == outcome.Retryable {
			output = a.reason(ctx, w, run)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return describe(job.Meta, run, out, output), nil
}

// reason gets what the failed task wrote at its end. The run has failed whether that can be had or not, so it gets half of
// the time that is left.
func (a *Agent) reason(ctx context.Context, w *workspace.Workspace, run *jobs.Run) *jobs.RunOutput {
	task := failedTask(run)
	if task == nil {
		return nil
	}
	if deadline, limited := ctx.Deadline(); limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	output, err := w.Output(ctx, fmt.Sprint(task.RunId))
	if err != nil {
		slog.Warn("the output of a failed run cannot be had", "run", run.RunId, "task", task.TaskKey, "reason", err)
		return nil
	}
	return output
}

// Delete cancels the run if it has not ended.
func (a *Agent) Delete(ctx context.Context, job sdk.Job[Meta]) error {
	if job.Meta.Refused != nil {
		return nil
	}
	return a.visit(job, func(w *workspace.Workspace) error { return cancel(ctx, w, job.Meta.RunID) })
}

// cancel ends a run that has not ended.
func cancel(ctx context.Context, w *workspace.Workspace, run string) error {
	err := w.Cancel(ctx, run)
	var failure *workspace.Error
	if errors.As(err, &failure) && (failure.Missing() || failure.Code == "INVALID_STATE") {
		return nil
	}
	return err
}

// visit calls the job's workspace as whom the job was made as. A job of flytekit's may have been made with another token,
// which is in its metadata: that is taken where ours is not good for it.
func (a *Agent) visit(job sdk.Job[Meta], do func(*workspace.Workspace) error) error {
	meta := job.Meta
	if err := meta.check(); err != nil {
		return err
	}
	host, err := hostOf(meta.Instance)
	if err != nil {
		return sdk.InvalidArgument("the job's metadata: databricks_instance %w", err)
	}
	if err := a.config.allow(host); err != nil {
		return sdk.FailedPrecondition("%w", err)
	}
	credential, err := meta.identity().credential(job.Secret)
	if err == nil {
		err = do(a.pool.Open(host, credential))
	}
	var failure *workspace.Error
	ours := err == nil || errors.As(err, &failure) && !failure.Unauthenticated() && !failure.Forbidden()
	if !ours && meta.AuthToken.set() {
		err = do(a.pool.Open(host, workspace.Token{Secret: meta.AuthToken.SecretValue}))
	}
	return statusOf(err)
}

// Close lets the connections go.
func (a *Agent) Close(context.Context) error {
	if a.pool != nil {
		a.pool.Close()
	}
	return nil
}
