package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/databricks/databricks-sdk-go/service/jobs"
	"github.com/google/uuid"

	"github.com/agenthost/agenthost/plugins/databricks/workspace"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// Databricks has no call that says which run a token has made: only that submits with one, and answers with the run that was first.
// So a token is a box that holds what was put into it first, and whoever looks puts something in.
//
// An attempt has boxes in a row. Find puts a *look* into the first one that holds no look: a run that does nothing and takes no
// compute. If it then holds that very look, there was no run, and none will be in this box: Create goes on to the next. If it holds
// the task's run, that is found. Abandon puts a *tombstone* there, where Create and Find meet it. Databricks decides each box once, so
// that this is right however the calls of all processes interleave. The first box has the token of before there were others.
//
// A run that was there first cannot be marked itself. It is cancelled, and a tombstone goes into a second row, which is looked into
// for runs that are ending or have ended: Abandon returns when its run is.
//
// A token of the task's own is its author's, for several attempts perhaps: only the task's run is submitted with it, which is why
// Find says NotFound of it. Create then finds the run. The second row is looked into first.
type attempt struct {
	workspace *workspace.Workspace
	// meta lacks the run's id.
	meta Meta
	body map[string]any
	// token is that of the first box.
	token string
}

// The rows.
const (
	runs       = ""
	tombstones = "abandoned"
)

// The kinds of runs that do nothing, by the beginnings of the keys of their tasks.
const (
	lookKey      = "agenthost_look_"
	tombstoneKey = "agenthost_abandoned"
)

// manyLooks is more than an attempt has: a look is made where a creation was cut off, or another host takes over.
const manyLooks = 1000

var errAbandoned = sdk.Abandoned("the task was abandoned: no run is made of it")

// box is the token of a box.
func (t *attempt) box(row string, number int) string {
	if row == runs && number == 0 {
		return t.token
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", t.token, row, number))
	return hex.EncodeToString(sum[:])
}

// own says whether the task brings a token along.
func (t *attempt) own() bool { return t.body["idempotency_token"] != nil }

// held is what a box holds.
type held struct {
	id string
	// run is nil where Databricks has forgotten it.
	run *jobs.Run
}

func (h held) task() string {
	if h.run == nil || len(h.run.Tasks) == 0 {
		return ""
	}
	return h.run.Tasks[0].TaskKey
}

// active says that nobody has ended the run, nor has it ended.
func (h held) active() bool {
	if h.run == nil {
		return false
	}
	switch life := lifeOf(h.run); life {
	case jobs.RunLifeCycleStateTerminating, jobs.RunLifeCycleStateTerminated, jobs.RunLifeCycleStateSkipped, jobs.RunLifeCycleStateInternalError:
		return false
	default:
		return true
	}
}

func lifeOf(run *jobs.Run) jobs.RunLifeCycleState {
	if run.State != nil {
		return run.State.LifeCycleState
	}
	if run.Status != nil {
		return jobs.RunLifeCycleState(run.Status.State)
	}
	return ""
}

// put puts a run into the first box of a row that holds no look but the run itself, and returns what that box holds. The key is that
// of a run that does nothing.
func (t *attempt) put(ctx context.Context, row string, body map[string]any, key string) (held, error) {
	for number := range manyLooks {
		id, err := t.send(ctx, t.box(row, number), body)
		switch {
		case err != nil && key == "":
			return held{}, refusalOf(err)
		case err != nil:
			return held{}, statusOf(err)
		}
		got, err := t.see(ctx, id)
		if task := got.task(); err != nil || !strings.HasPrefix(task, lookKey) || task == key {
			return got, err
		}
	}
	return held{}, sdk.Unavailable("the task's run was looked for %d times, and none was made", manyLooks)
}

// send submits a run with a token, and returns the id of the run that has it.
func (t *attempt) send(ctx context.Context, token string, body map[string]any) (string, error) {
	body = maps.Clone(body)
	body["idempotency_token"] = token
	data, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	return t.workspace.Submit(ctx, data)
}

func (t *attempt) see(ctx context.Context, id string) (held, error) {
	run, err := t.workspace.Run(ctx, id)
	var failure *workspace.Error
	switch {
	case errors.As(err, &failure) && failure.Missing():
		return held{id: id}, nil
	case err != nil:
		return held{}, statusOf(err)
	}
	return held{id, run}, nil
}

// nothing is a run that does nothing. Its task's key says what it is.
func nothing(key string) map[string]any {
	return map[string]any{
		"run_name": "Flyte: " + strings.ReplaceAll(strings.TrimPrefix(key, "agenthost_"), "_", " "),
		"tasks": []any{map[string]any{
			"task_key": key, "condition_task": map[string]any{"op": "EQUAL_TO", "left": "1", "right": "1"},
		}},
	}
}

// look gives what a row holds; made says that it holds nothing but looks.
func (t *attempt) look(ctx context.Context, row string) (got held, none bool, err error) {
	key := lookKey + strings.ReplaceAll(uuid.NewString(), "-", "")
	got, err = t.put(ctx, row, nothing(key), key)
	return got, got.task() == key, err
}

// abandoned is an error if the attempt of a run was abandoned, or that cannot be told.
func (t *attempt) abandoned(ctx context.Context) error {
	_, none, err := t.look(ctx, tombstones)
	if err == nil && !none {
		return errAbandoned
	}
	return err
}

// check says what is to be said of the run that a box holds.
func (t *attempt) check(ctx context.Context, got held) error {
	switch {
	case got.task() == tombstoneKey:
		return errAbandoned
	case got.active():
		return nil
	}
	return t.abandoned(ctx)
}

// submit makes the attempt's run, or finds it.
func (t *attempt) submit(ctx context.Context) (string, error) {
	if t.own() {
		if err := t.abandoned(ctx); err != nil {
			return "", err
		}
		data, err := json.Marshal(t.body)
		if err != nil {
			return "", err
		}
		id, err := t.workspace.Submit(ctx, data)
		return id, refusalOf(err)
	}
	got, err := t.put(ctx, runs, t.body, "")
	if err != nil {
		return "", err
	}
	return got.id, t.check(ctx, got)
}

// Find gives the attempt's run.
func (a *Agent) Find(ctx context.Context, task *sdk.Task) (Meta, error) {
	t, err := a.attempt(task)
	if impossible(err) {
		return Meta{}, sdk.NotFound("no run was made of the task: %w", err)
	}
	if err != nil {
		return Meta{}, err
	}
	if t.own() {
		if err := t.abandoned(ctx); err != nil {
			return Meta{}, err
		}
		return Meta{}, sdk.NotFound("whether a run was made with the task's own idempotency_token is known to its creation only")
	}
	got, none, err := t.look(ctx, runs)
	switch {
	case err != nil:
		return Meta{}, err
	case none:
		return Meta{}, sdk.NotFound("no run was made of the task's attempt")
	}
	t.meta.RunID = got.id
	return t.meta, t.check(ctx, got)
}

// Abandon ends the attempt's run, and lets none be made.
func (a *Agent) Abandon(ctx context.Context, task *sdk.Task) error {
	t, err := a.attempt(task)
	if impossible(err) {
		return nil // nor will one be made of it
	}
	if err != nil {
		return err
	}
	if t.own() {
		_, err := t.put(ctx, tombstones, nothing(tombstoneKey), tombstoneKey)
		return err
	}
	got, err := t.put(ctx, runs, nothing(tombstoneKey), tombstoneKey)
	if err != nil || got.task() == tombstoneKey {
		return err
	}
	if _, err := t.put(ctx, tombstones, nothing(tombstoneKey), tombstoneKey); err != nil {
		return err
	}
	return t.end(ctx, got)
}

// end ends a run, and waits until that has begun: until then Create and Find do not ask whether it was abandoned.
func (t *attempt) end(ctx context.Context, got held) error {
	if !got.active() {
		return nil
	}
	if err := cancel(ctx, t.workspace, got.id); err != nil {
		return statusOf(err)
	}
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		got, err := t.see(ctx, got.id)
		if err != nil || !got.active() {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return sdk.Unavailable("run %s is cancelled, and goes on still: %w", got.id, ctx.Err())
		}
	}
}

// impossible says that no run can be made of a task.
func impossible(err error) bool {
	var refused *sdk.Error
	return errors.As(err, &refused)
}
