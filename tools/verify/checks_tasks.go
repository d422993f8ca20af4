package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/proto/agentclient"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/tools/taskrun"
)

const adviceStateless = "keep in resource_meta all that it takes to find the job again, or keep jobs outside the process"

// taskChecks are about the life of a job, for plugins with async agents and a sample task for them.
func taskChecks() []*Check {
	return []*Check{
		{
			Name:   "tasks/completes",
			Reason: "it is what the plugin is for: a task is created, polled, and comes to an end",
			Advice: "look at the plugin's log; `agenthost task run` runs the task by hand",
			run:    onSamples(completes),
		},
		{
			Name:   "tasks/outputs",
			Reason: "FlytePropeller fails a task that succeeded without the outputs it declares",
			Advice: "put every declared output into Resource.outputs, or write outputs.pb to the output prefix",
			run: onSamples(func(ctx context.Context, k *kit, s *sample) (string, error) {
				finished, err := k.finish(ctx, s)
				if err != nil || s.phase != core.TaskExecution_SUCCEEDED {
					return "", err
				}
				return s.checkOutputs(finished.resource, finished.request.GetOutputPrefix())
			}),
		},
		{
			Name:   "tasks/settled",
			Reason: "a job that has ended is polled again, after a restart of FlytePropeller or a lost answer",
			Advice: "answer GetTask of a finished job with its terminal phase and its outputs, every time",
			run:    onSamples(endsTheSameAgain),
		},
		{
			Name:   "tasks/flyte2",
			Reason: "Flyte 2 sends no task_type and a connection that flyteidl 1 does not know",
			Advice: "route by task_category, and ignore fields that you do not know",
			run:    onSamples(asFlyte2Does),
		},
		{
			Name:   "tasks/idempotent-create",
			Reason: "the host repeats a CreateTask whose answer was lost only because the plugin declares idempotent_create: a second job would be paid for twice",
			Advice: "make the job's id from the metadata " + pluginv1.IdempotencyKeyHeader + " and answer a key that you know with the first resource_meta, also while the first call " +
				"is under way; or do not declare idempotent_create",
			run: onSamples(idempotent),
		},
		{
			Name:   "tasks/attempts",
			Reason: "Flyte gives the tasks of a subworkflow that is used twice equal task_execution_ids and two output prefixes: with one job, one of them gets the other's result",
			Advice: "make the job's id from the metadata " + pluginv1.IdempotencyKeyHeader + " as it is; without a host, make the key of the task_execution_id and the output prefix",
			run:    onSamples(apart),
		},
		{
			Name:   "tasks/delete",
			Reason: "an aborted task must stop costing money, and Flyte repeats a deletion whose answer it did not see",
			Advice: "make DeleteTask of a job that is gone succeed, or answer it with NOT_FOUND",
			run:    onSamples(deletesTwice),
		},
		{
			Name:   "tasks/delete-finished",
			Reason: "Flyte 2 deletes every job, finished ones too, and repeats that without bound until it succeeds",
			Advice: "make DeleteTask of a finished job succeed, or answer it with NOT_FOUND",
			run:    onSamples(deletesFinished),
		},
		{
			Name:   "tasks/restart",
			Reason: "jobs run for hours and plugins are replaced and crash: a job must be found by a process that did not make it",
			Advice: adviceStateless,
			run:    onSamples(survivesRestart),
		},
		{
			Name:   "tasks/logs",
			Reason: "people read a job's log where they see the task",
			Advice: "end the stream of GetTaskLogs when there is no more now, or answer with UNIMPLEMENTED",
			run:    onSamples(streamsLogs),
		},
	}
}

// onSamples is a check of each sample task for an async agent.
func onSamples(check func(context.Context, *kit, *sample) (string, error)) func(context.Context, *kit) (string, error) {
	return onSamplesOf(false, check)
}

func onSamplesOf(isSync bool, check func(context.Context, *kit, *sample) (string, error)) func(context.Context, *kit) (string, error) {
	return func(ctx context.Context, k *kit) (string, error) {
		samples, err := k.samplesOf(ctx, isSync)
		if err != nil {
			return "", err
		}
		var details []string
		for _, s := range samples {
			detail, err := check(ctx, k, s)
			if err != nil {
				return "", err
			}
			if detail != "" {
				details = append(details, s.name+": "+detail)
			}
		}
		return strings.Join(details, "; "), nil
	}
}

func completes(ctx context.Context, k *kit, s *sample) (string, error) {
	finished, err := k.finish(ctx, s)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after %s", strings.Join(finished.phases, ", "), taskrun.Seconds(finished.took)), nil
}

func endsTheSameAgain(ctx context.Context, k *kit, s *sample) (string, error) {
	finished, i, err := k.finished(ctx, s)
	if err != nil {
		return "", err
	}
	ctx, cancel := k.call(ctx)
	defer cancel()
	again, err := callerOn(i.conn).Get(ctx, finished.job)
	if err != nil {
		return "", failed("%s: GetTask of the finished job fails: %s", s.name, describeError(err))
	}
	if err := s.endsAsExpected(again); err != nil {
		return "", fmt.Errorf("%s: asked again, %w", s.name, err)
	}
	if s.phase != core.TaskExecution_SUCCEEDED {
		return "", nil
	}
	_, err = s.checkOutputs(again, finished.request.GetOutputPrefix())
	return "", err
}

func asFlyte2Does(ctx context.Context, k *kit, s *sample) (string, error) {
	if _, err := k.finish(ctx, s); err != nil {
		return "", err
	}
	listed, err := k.agents(ctx)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(listed, func(a *admin.Agent) bool { return len(a.GetSupportedTaskCategories()) > 0 }) {
		return "", skipped("its agents list only supported_task_types: the host fills in task_type for them")
	}
	i, err := k.at(ctx, ready)
	if err != nil {
		return "", err
	}
	request, err := k.request(s)
	if err != nil {
		return "", err
	}
	finished, err := k.complete(ctx, callerOn(i.conn), s, request, &agentclient.Connection{})
	if err != nil {
		return "", err
	}
	return "", k.deleteJob(ctx, i, s, finished.job, "DeleteTask")
}

// promisesIdempotence skips the check where it does not.
func promisesIdempotence(ctx context.Context, k *kit, s *sample) error {
	described, err := k.described(ctx)
	if err != nil {
		return err
	}
	if category := s.category(); !described.Promises(pluginv1.CapabilityIdempotentCreate, category.GetName(), category.GetVersion()) {
		return skipped("it does not declare idempotent_create for the sample's task category")
	}
	return nil
}

// apart tells two attempts apart that differ in their output prefixes only. The deletion of one leaves the other alone.
func apart(ctx context.Context, k *kit, s *sample) (string, error) {
	if err := promisesIdempotence(ctx, k, s); err != nil {
		return "", err
	}
	i, request, first, err := k.started(ctx, s)
	if err != nil {
		return "", err
	}
	other, err := k.request(s)
	if err != nil {
		return "", err
	}
	other.TaskExecutionMetadata = request.GetTaskExecutionMetadata()
	meta, err := k.createJob(ctx, callerOn(i.conn), other)
	if err != nil {
		return "", failed("%s: a CreateTask with another output prefix fails: %s", s.name, describeError(err))
	}
	if bytes.Equal(meta, first.Meta) {
		// There may be no job, where the resource_meta says it all: then it is the same for another execution, too.
		elsewhere, err := k.request(s)
		if err != nil {
			return "", err
		}
		third, err := k.createJob(ctx, callerOn(i.conn), elsewhere)
		if err != nil {
			return "", failed("%s: a CreateTask of another execution fails: %s", s.name, describeError(err))
		}
		if s.phase != core.TaskExecution_SUCCEEDED || bytes.Equal(meta, third) {
			return "", k.deleteJob(ctx, i, s, first, "DeleteTask")
		}
		return "", failed("%s: two CreateTask calls that differ in their output prefixes get one job: %.60q", s.name, meta)
	}
	if err := k.deleteJob(ctx, i, s, first, "DeleteTask"); err != nil {
		return "", err
	}
	second := agentclient.Job{Category: s.category(), Meta: meta}
	resource, _, err := k.follow(ctx, callerOn(i.conn), second, k.taskTimeout())
	if err == nil {
		err = s.endsAsExpected(resource)
	}
	if err != nil {
		return "", fmt.Errorf("%s: after the deletion of a job that differs in its output prefix: %w", s.name, err)
	}
	return "two output prefixes, two jobs", k.deleteJob(ctx, i, s, second, "DeleteTask")
}

func idempotent(ctx context.Context, k *kit, s *sample) (string, error) {
	if err := promisesIdempotence(ctx, k, s); err != nil {
		return "", err
	}
	_, i, err := k.finished(ctx, s)
	if err != nil {
		return "", err
	}
	request, err := k.request(s)
	if err != nil {
		return "", err
	}
	const together = 8
	metas, errs := make([][]byte, together+1), make([]error, together+1)
	var calls sync.WaitGroup
	for n := range together {
		calls.Go(func() { metas[n], errs[n] = k.createJob(ctx, callerOn(i.conn), request) })
	}
	calls.Wait()
	metas[together], errs[together] = k.createJob(ctx, callerOn(i.conn), request)
	if err := errors.Join(errs...); err != nil {
		return "", failed("%s: a repeated CreateTask fails: %s", s.name, describeError(errs[slices.IndexFunc(errs, func(err error) bool { return err != nil })]))
	}
	for _, meta := range metas[1:] {
		if !bytes.Equal(meta, metas[0]) {
			return "", failed("%s: %d CreateTask calls with one idempotency key get different jobs: %.60q and %.60q", s.name, len(metas), metas[0], meta)
		}
	}
	return fmt.Sprintf("%d calls, one job", len(metas)), k.deleteJob(ctx, i, s, agentclient.Job{Category: s.category(), Meta: metas[0]}, "DeleteTask")
}

// deleteJob deletes a job; that it is not there is right, too.
func (k *kit) deleteJob(ctx context.Context, i *instance, s *sample, j agentclient.Job, what string) error {
	ctx, cancel := k.call(ctx)
	defer cancel()
	if err := callerOn(i.conn).Delete(ctx, j); err != nil && status.Code(err) != codes.NotFound {
		return failed("%s: %s fails: %s", s.name, what, describeError(err))
	}
	return nil
}

func deletesTwice(ctx context.Context, k *kit, s *sample) (string, error) {
	i, _, j, err := k.started(ctx, s)
	if err != nil {
		return "", err
	}
	for _, what := range []string{"DeleteTask", "the second DeleteTask of one job"} {
		if err := k.deleteJob(ctx, i, s, j, what); err != nil {
			return "", err
		}
	}
	ctx, cancel := k.call(ctx)
	defer cancel()
	resource, err := callerOn(i.conn).Get(ctx, j)
	if lost(err) {
		return "", failed("%s: GetTask of the deleted job: %s", s.name, describeError(err))
	}
	if err != nil {
		return "then GetTask answers " + codeName(status.Code(err)), nil
	}
	phase, _ := taskrun.PhaseOf(resource)
	return "then it is " + pluginv1.PhaseName(phase), nil
}

func deletesFinished(ctx context.Context, k *kit, s *sample) (string, error) {
	finished, i, err := k.finished(ctx, s)
	if err != nil {
		return "", err
	}
	s.finished = nil // the next check that needs one makes another
	return "", k.deleteJob(ctx, i, s, finished.job, "DeleteTask of a finished job")
}

func survivesRestart(ctx context.Context, k *kit, s *sample) (string, error) {
	_, request, j, err := k.started(ctx, s)
	if err != nil {
		return "", err
	}
	limit := k.restartTimeout(s)
	i, err := k.restart(ctx)
	if err != nil {
		return "", err
	}
	resource, _, err := k.follow(ctx, callerOn(i.conn), j, limit)
	if err == nil {
		err = s.endsAsExpected(resource)
	}
	if err != nil {
		return "", advise(failed("%s: after a SIGKILL, the next process does not bring the job to its end: %v", s.name, err), adviceStateless)
	}
	if s.phase == core.TaskExecution_SUCCEEDED {
		if _, err := s.checkOutputs(resource, request.GetOutputPrefix()); err != nil {
			return "", fmt.Errorf("after a SIGKILL: %w", err)
		}
	}
	return "", k.deleteJob(ctx, i, s, j, "DeleteTask")
}

func streamsLogs(ctx context.Context, k *kit, s *sample) (string, error) {
	finished, i, err := k.finished(ctx, s)
	if err != nil {
		return "", err
	}
	ctx, cancel := k.call(ctx)
	defer cancel()
	parts := 0
	for _, err = range callerOn(i.conn).Logs(ctx, finished.job, 0, "") {
		if err == nil {
			parts++
		}
	}
	switch {
	case err == nil:
		return fmt.Sprintf("%d messages", parts), nil
	case status.Code(err) == codes.Unimplemented:
		return "UNIMPLEMENTED", nil
	}
	return "", failed("%s: GetTaskLogs of a finished job fails: %s", s.name, describeError(err))
}
