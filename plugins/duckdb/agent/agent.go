// Package agent is the Flyte agent for the task type duckdb_query: it takes tasks on, answers for their jobs and leaves
// the work to package engine and the remembering to package jobs.
//
// A task that cannot run, for whatever reason its author can mend, becomes a job that has FAILED with that reason. An
// error from Create would instead be repeated by Flyte for as many retries as the task has, to the same end.
package agent

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/jobs"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// TaskType is the task type that the agent serves.
const TaskType = "duckdb_query"

// Options are what a plugin with this agent serves.
func Options() []sdk.Option {
	a := &Agent{}
	return []sdk.Option{sdk.Configure(a.configure), sdk.Async(TaskType, a), sdk.IdempotentCreate()}
}

// Meta is how Flyte remembers a job.
type Meta struct {
	Job string `json:"job"`
	// Store is the id of the store that the job is in, so that a plugin with another one can tell that it does not know.
	// Older versions gave none.
	Store string `json:"store,omitempty"`
}

// Agent serves the task type. Its zero value waits for its configuration, and takes the default one if a task comes first.
type Agent struct {
	mu     sync.Mutex
	stores *stores
}

func (a *Agent) configure(ctx context.Context, config Config) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stores != nil {
		return errors.New("the plugin is at work already, with its default configuration")
	}
	return a.open(ctx, config)
}

// open starts the work, with what earlier processes left of it. The caller holds the lock.
func (a *Agent) open(ctx context.Context, config Config) error {
	if err := config.complete(); err != nil {
		return err
	}
	if err := useSecrets(); err != nil {
		return err
	}
	store, err := storage.New(config.Storage)
	if err != nil {
		return sdk.ConfigError{Key: "storage", Message: err.Error()}
	}
	queries, err := engine.New(config.limits(), store)
	if err != nil {
		return sdk.ConfigError{Key: "scratch_dir", Message: err.Error()}
	}
	a.stores, err = openStores(ctx, config, store, worker{queries}.work)
	return err
}

func (a *Agent) jobs(ctx context.Context) (*stores, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stores == nil {
		var config Config
		config.SetDefaults()
		if err := a.open(ctx, config); err != nil {
			return nil, sdk.FailedPrecondition("the plugin cannot start with its default configuration: %w", err)
		}
	}
	return a.stores, nil
}

// Create stores the task as a job. The same attempt twice is one job.
func (a *Agent) Create(ctx context.Context, task *sdk.Task) (Meta, error) {
	stores, err := a.jobs(ctx)
	if err != nil {
		return Meta{}, err
	}
	spec, err := encodeSpec(task)
	if err != nil {
		return Meta{}, err
	}
	store, id, err := stores.jobOf(ctx, task)
	if err != nil {
		return Meta{}, err
	}
	return found(store, id, store.Submit(ctx, id, spec))
}

// Find gives the attempt's job.
func (a *Agent) Find(ctx context.Context, task *sdk.Task) (Meta, error) {
	stores, err := a.jobs(ctx)
	if err != nil {
		return Meta{}, err
	}
	store, id, err := stores.jobOf(ctx, task)
	if err != nil {
		return Meta{}, err
	}
	return found(store, id, store.Find(ctx, id))
}

// found is the answer for a job, by what its store says of it.
func found(store *jobs.Store, id string, err error) (Meta, error) {
	switch {
	case errors.Is(err, jobs.ErrUnknown):
		return Meta{}, sdk.NotFound("no job was made of the task's attempt in this plugin's store (its config key jobs, or state_dir): %w", err)
	case errors.Is(err, jobs.ErrAbandoned):
		return Meta{}, sdk.Abandoned("no query is run for the task: %w", err)
	case err != nil:
		return Meta{}, sdk.Unavailable("%w", err)
	}
	return Meta{Job: id, Store: store.ID()}, nil
}

// Abandon ends the attempt's job, and lets none be made.
func (a *Agent) Abandon(ctx context.Context, task *sdk.Task) error {
	stores, err := a.jobs(ctx)
	if err != nil {
		return err
	}
	store, id, err := stores.jobOf(ctx, task)
	if err != nil {
		return err
	}
	if err := store.Abandon(ctx, id); err != nil {
		return sdk.Unavailable("%w", err)
	}
	if own := jobID(task.IdempotencyKey); own != id || store != stores.main {
		if err := stores.main.Abandon(ctx, own); err != nil {
			return sdk.Unavailable("%w", err)
		}
	}
	return nil
}

func jobID(key string) string {
	const length = 32
	if len(key) >= length {
		return key[:length]
	}
	random := make([]byte, length/2)
	_, _ = rand.Read(random) // never fails
	return hex.EncodeToString(random)
}

// Get tells how the job is.
func (a *Agent) Get(ctx context.Context, job sdk.Job[Meta]) (*sdk.Resource, error) {
	stores, err := a.jobs(ctx)
	if err != nil {
		return nil, err
	}
	var status jobs.Status
	store, err := stores.of(ctx, job.Meta)
	if err == nil {
		status, err = store.Status(ctx, job.Meta.Job)
	}
	if isElsewhere(err) {
		return stores.elsewhere.answer(job.Meta.Job, err), nil
	}
	if errors.Is(err, jobs.ErrUnknown) {
		return nil, sdk.NotFound("there is no job %q: it was never made here, or is forgotten since it ended (the plugin's config keys jobs, state_dir and retention)", job.Meta.Job)
	}
	if err != nil {
		return nil, sdk.Unavailable("%w", err)
	}
	stores.elsewhere.found(job.Meta.Job)
	resource, err := describe(status)
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", job.Meta.Job, err)
	}
	return resource.WithInfo("job", job.Meta.Job), nil
}

// Delete interrupts the job if it has not ended.
func (a *Agent) Delete(ctx context.Context, job sdk.Job[Meta]) error {
	stores, err := a.jobs(ctx)
	if err != nil {
		return err
	}
	store, err := stores.of(ctx, job.Meta)
	if err == nil {
		err = store.Cancel(ctx, job.Meta.Job)
	}
	if isElsewhere(err) && stores.elsewhere.isGone(job.Meta.Job) {
		return nil // nobody can
	}
	if err != nil {
		return sdk.Unavailable("%w", err)
	}
	return nil
}

// Logs sends the lines that the job has by now. The token of a page is the number of its first line.
func (a *Agent) Logs(ctx context.Context, job sdk.Job[Meta], query sdk.LogQuery, out *sdk.LogStream) error {
	stores, err := a.jobs(ctx)
	if err != nil {
		return err
	}
	var lines []jobs.Line
	store, err := stores.of(ctx, job.Meta)
	if err == nil {
		lines, err = store.Log(ctx, job.Meta.Job)
	}
	if errors.Is(err, jobs.ErrUnknown) {
		return sdk.NotFound("there is no job %q", job.Meta.Job)
	}
	if err != nil {
		return sdk.Unavailable("%w", err)
	}
	first := 0
	if query.Token != "" {
		if first, err = strconv.Atoi(query.Token); err != nil || first < 0 {
			return sdk.InvalidArgument("%q is no token of this job's log", query.Token)
		}
	}
	lines = lines[min(first, len(lines)):]
	if query.Lines > 0 && uint64(len(lines)) > query.Lines {
		lines = lines[:query.Lines]
	}
	var page []sdk.LogLine
	for _, line := range lines {
		page = append(page, sdk.LogLine{Time: line.Time, Message: line.Text, Originator: sdk.OriginatorSystem})
	}
	if err := out.Send(page...); err != nil {
		return err
	}
	return out.NextToken(strconv.Itoa(first + len(lines)))
}

// Close stops the work; the next process takes it up where it can.
func (a *Agent) Close(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stores != nil {
		a.stores.close()
	}
	return nil
}

func describe(status jobs.Status) (*sdk.Resource, error) {
	switch status.State {
	case jobs.Queued:
		return sdk.Queued(cmp.Or(status.Stage, "queued")), nil
	case jobs.Running:
		return sdk.Running(progress(status, time.Now())).WithInfo("attempts", status.Attempts), nil
	case jobs.Cancelled:
		return sdk.Aborted("the query was cancelled"), nil
	case jobs.Failed:
		return sdk.Failed(sdk.UserError("QueryFailed", errors.New(status.Message))), nil
	case jobs.Retryable:
		return sdk.RetryableFailed(sdk.SystemError("QueryInterrupted", errors.New(status.Message))), nil
	case jobs.Succeeded:
		return succeeded(status)
	}
	return nil, fmt.Errorf("is in a state that this version of the plugin does not know: %q", status.State)
}

func succeeded(status jobs.Status) (*sdk.Resource, error) {
	var result result
	if err := json.Unmarshal(status.Result, &result); err != nil {
		return nil, fmt.Errorf("its result is unreadable: %w", err)
	}
	var literals core.LiteralMap
	if err := proto.Unmarshal(result.Outputs, &literals); err != nil {
		return nil, fmt.Errorf("its result is unreadable: %w", err)
	}
	outputs := sdk.Outputs{}
	for name, literal := range literals.GetLiterals() {
		outputs[name] = literal
	}
	elapsed := status.Finished.Sub(status.Started)
	return sdk.Succeeded(outputs).
		WithMessage(fmt.Sprintf("%s rows in %s", amount(uint64(result.Rows)), elapsed.Round(time.Millisecond))).
		WithInfo("rows", result.Rows).
		WithInfo("bytes_written", result.Bytes).
		WithInfo("elapsed_seconds", elapsed.Seconds()).
		WithInfo("queued_seconds", status.Started.Sub(status.Submitted).Seconds()).
		WithInfo("attempts", status.Attempts), nil
}

// progress is the message of a running job, such as "running statement 1 of 1, 42 %, 3.1 million rows, 12s".
func progress(status jobs.Status, now time.Time) string {
	parts := []string{status.Stage}
	if status.Percent > 0 {
		parts = append(parts, fmt.Sprintf("%.0f %%", math.Floor(status.Percent)))
	}
	if status.Rows > 0 {
		parts = append(parts, amount(status.Rows)+" rows")
	}
	parts = append(parts, now.Sub(status.Started).Round(time.Second).String())
	return strings.Join(parts, ", ")
}

func amount(n uint64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f billion", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f million", float64(n)/1e6)
	default:
		return strconv.FormatUint(n, 10)
	}
}

// worker does jobs.
type worker struct{ engine *engine.Engine }

// spec is a job's task on disk.
type spec struct {
	// Task names the task for people.
	Task         string `json:"task"`
	Statement    string `json:"statement"`
	OutputPrefix string `json:"output_prefix"`
	// Inputs is a core.LiteralMap, Interface a core.TypedInterface.
	Inputs    []byte `json:"inputs"`
	Interface []byte `json:"interface"`
}

// result is a finished job's, on disk.
type result struct {
	// Outputs is a core.LiteralMap.
	Outputs []byte `json:"outputs"`
	Rows    int64  `json:"rows"`
	Bytes   int64  `json:"bytes"`
}

func encodeSpec(task *sdk.Task) ([]byte, error) {
	inputs, err := proto.Marshal(task.Inputs)
	if err != nil {
		return nil, sdk.InvalidArgument("the inputs cannot be stored: %w", err)
	}
	types, err := proto.Marshal(task.Template.GetInterface())
	if err != nil {
		return nil, sdk.InvalidArgument("the interface cannot be stored: %w", err)
	}
	return json.Marshal(spec{
		Task:         task.String(),
		Statement:    task.Template.GetSql().GetStatement(),
		OutputPrefix: task.OutputPrefix,
		Inputs:       inputs,
		Interface:    types,
	})
}

func (w worker) work(ctx context.Context, id string, data []byte, report *jobs.Reporter) ([]byte, error) {
	var s spec
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fault.Final("the job cannot be read back: %w", err)
	}
	var inputs core.LiteralMap
	var types core.TypedInterface
	if err := errors.Join(proto.Unmarshal(s.Inputs, &inputs), proto.Unmarshal(s.Interface, &types)); err != nil {
		return nil, fault.Final("the job cannot be read back: %w", err)
	}
	if s.Statement == "" {
		return nil, fault.Final("the task has no SQL: a %s task's template needs sql.statement", TaskType)
	}
	got, err := w.engine.Run(ctx, engine.Query{
		ID:           id,
		Run:          report.Run(),
		Statement:    s.Statement,
		Inputs:       inputs.GetLiterals(),
		InputTypes:   typesOf(types.GetInputs()),
		Outputs:      typesOf(types.GetOutputs()),
		OutputPrefix: s.OutputPrefix,
	}, report)
	if err != nil {
		return nil, err
	}
	outputs, err := proto.Marshal(got.Outputs)
	if err != nil {
		return nil, fault.Final("the outputs cannot be stored: %w", err)
	}
	return json.Marshal(result{Outputs: outputs, Rows: got.Rows, Bytes: got.Bytes})
}

func typesOf(variables *core.VariableMap) map[string]*core.LiteralType {
	types := map[string]*core.LiteralType{}
	for name, variable := range variables.GetVariables() {
		types[name] = variable.GetType()
	}
	return types
}
