package verify

import (
	"bytes"
	"context"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/proto/agentclient"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// findChecks are about plugins that declare find_by_key.
func findChecks() []*Check {
	return []*Check{
		{
			Name:   "tasks/find",
			Reason: "the host accepts a task without a job because the plugin declares find_by_key: a job that is not found is made twice, and one that is made by looking runs for nobody",
			Advice: "look at the metadata " + pluginv1.FindOnlyHeader + " before a job is made, and keep where every process of the plugin looks what was made for a key; or do not declare find_by_key",
			run:    onSamples(finds),
		},
		{
			Name:   "tasks/abandon",
			Reason: "a task can be deleted before it has a job, while another replica is about to make it: such a job would run for nobody",
			Advice: "leave something for the key at " + pluginv1.AbandonHeader + " that CreateTask and find of every process see, and answer both with ABORTED from then on; or do not declare find_by_key",
			run:    onSamples(abandons),
		},
	}
}

// finder is a sample's attempt and a process to ask about it.
type finder struct {
	k       *kit
	s       *sample
	i       *instance
	request *admin.CreateTaskRequest
}

// newFinder has an attempt that no call was made for. It skips the check where the plugin does not promise to find its job.
func (k *kit) newFinder(ctx context.Context, s *sample) (*finder, error) {
	described, err := k.described(ctx)
	if err != nil {
		return nil, err
	}
	if category := s.category(); !described.Promises(pluginv1.CapabilityFindByKey, category.GetName(), category.GetVersion()) {
		return nil, skipped("it does not declare find_by_key for the sample's task category")
	}
	_, i, err := k.finished(ctx, s)
	if err != nil {
		return nil, err
	}
	request, err := k.request(s)
	return &finder{k: k, s: s, i: i, request: request}, err
}

// ask calls CreateTask, with the metadata that makes a find or an abandon of it.
func (f *finder) ask(ctx context.Context, form string) ([]byte, error) {
	if form != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, form, "1")
	}
	return f.k.createJob(ctx, callerOn(f.i.conn), f.request)
}

func finds(ctx context.Context, k *kit, s *sample) (string, error) {
	if s.phase != core.TaskExecution_SUCCEEDED {
		return "", nil // there may be no job
	}
	f, err := k.newFinder(ctx, s)
	if err != nil {
		return "", err
	}
	for _, when := range []string{"before a job is made", "a second time, before a job is made"} {
		if meta, err := f.ask(ctx, pluginv1.FindOnlyHeader); status.Code(err) != codes.NotFound {
			return "", failed("%s: asked for the job %s, it answers %s %.60q, not NOT_FOUND", s.name, when, answerName(err), meta)
		}
	}
	made, err := f.ask(ctx, "")
	if err != nil {
		return "", failed("%s: CreateTask after it found nothing fails: %s", s.name, describeError(err))
	}
	if err := f.findsThe(ctx, made, "of a job that was made"); err != nil {
		return "", err
	}
	if f.i, err = k.restart(ctx); err != nil {
		return "", err
	}
	if err := f.findsThe(ctx, made, "after a SIGKILL, of the next process"); err != nil {
		return "", err
	}
	return "", k.deleteJob(ctx, f.i, s, agentclient.Job{Category: s.category(), Meta: made}, "DeleteTask")
}

func (f *finder) findsThe(ctx context.Context, made []byte, when string) error {
	found, err := f.ask(ctx, pluginv1.FindOnlyHeader)
	switch {
	case err != nil:
		return failed("%s: find %s fails: %s", f.s.name, when, describeError(err))
	case !bytes.Equal(found, made):
		return failed("%s: find %s answers %.60q, where CreateTask answered %.60q", f.s.name, when, found, made)
	}
	return nil
}

func abandons(ctx context.Context, k *kit, s *sample) (string, error) {
	if s.phase != core.TaskExecution_SUCCEEDED {
		return "", nil // there may be no job
	}
	early, err := k.newFinder(ctx, s)
	if err != nil {
		return "", err
	}
	late, err := k.newFinder(ctx, s)
	if err != nil {
		return "", err
	}
	if _, err := late.ask(ctx, ""); err != nil {
		return "", failed("%s: CreateTask fails: %s", s.name, describeError(err))
	}
	attempts := []struct {
		*finder
		what string
	}{{early, "an attempt without a job"}, {late, "an attempt with a job"}}
	for _, a := range attempts {
		for _, which := range []string{"abandoning", "abandoning for the second time"} {
			if _, err := a.ask(ctx, pluginv1.AbandonHeader); err != nil {
				return "", failed("%s: %s %s fails: %s", s.name, which, a.what, describeError(err))
			}
		}
		if err := a.isAbandoned(ctx, a.what); err != nil {
			return "", err
		}
	}
	i, err := k.restart(ctx)
	if err != nil {
		return "", err
	}
	for _, a := range attempts {
		a.i = i
		if err := a.isAbandoned(ctx, a.what+", asked of the next process after a SIGKILL"); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (f *finder) isAbandoned(ctx context.Context, what string) error {
	for call, form := range map[string]string{"find": pluginv1.FindOnlyHeader, "CreateTask": ""} {
		if _, err := f.ask(ctx, form); status.Code(err) != codes.Aborted {
			return failed("%s: after %s was abandoned, %s answers %s, not ABORTED", f.s.name, what, call, answerName(err))
		}
	}
	return nil
}

// restart kills the shared process, and starts the next one.
func (k *kit) restart(ctx context.Context) (*instance, error) {
	for _, s := range k.samples {
		s.finished = nil // its process is about to end
	}
	k.drop()
	return k.at(ctx, ready)
}
