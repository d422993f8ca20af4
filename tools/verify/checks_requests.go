package verify

import (
	"bytes"
	"context"
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/proto/agentclient"
)

const adviceUnknown = "look the task category up before anything else, and answer one that no agent has with NOT_FOUND and its name"

// requestChecks are about calls that make no sense.
func requestChecks() []*Check {
	return []*Check{
		{
			Name:   "unknown/create",
			Reason: "a task that reaches the wrong plugin must fail at once and say why, not become a job that nobody knows",
			Advice: adviceUnknown,
			run: unknownCategory(false, func(ctx context.Context, c caller) error {
				_, err := c.create(ctx, &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: nobody}, Inputs: &core.LiteralMap{}})
				return err
			}),
		},
		{
			Name:   "unknown/get",
			Reason: "the host makes a clear failure of NOT_FOUND; anything else is polled again until FlytePropeller gives up",
			Advice: adviceUnknown,
			run: unknownCategory(false, func(ctx context.Context, c caller) error {
				_, err := c.Get(ctx, unknownJob())
				return err
			}),
		},
		{
			Name:   "unknown/delete",
			Reason: "Flyte 2 repeats a deletion until it succeeds: the host takes NOT_FOUND for success, and nothing else",
			Advice: adviceUnknown,
			run: unknownCategory(false, func(ctx context.Context, c caller) error {
				return c.Delete(ctx, unknownJob())
			}),
		},
		{
			Name:   "unknown/sync",
			Reason: "a task that reaches the wrong plugin must fail at once and say why",
			Advice: adviceUnknown,
			run: unknownCategory(true, func(ctx context.Context, c caller) error {
				_, err := c.sync(ctx, &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: nobody}, Inputs: &core.LiteralMap{}})
				return err
			}),
		},
		{
			Name:   "requests/resource-meta",
			Reason: "resource_meta comes back from Flyte's own storage, after upgrades and from other versions of the plugin: it can be anything",
			Advice: "decode resource_meta with care, and answer what you cannot read with NOT_FOUND or INVALID_ARGUMENT",
			run:    garbageMeta,
		},
		{
			Name:   "requests/empty",
			Reason: "every field of a protobuf message can be missing",
			Advice: "check for a template, inputs and metadata before using them, and answer with INVALID_ARGUMENT",
			run:    emptyRequests,
		},
		{
			Name:   "requests/not-protobuf",
			Reason: "one broken message must not take the other tasks with it",
			Advice: "let the gRPC library decode; its own answer, INTERNAL, is right",
			run:    brokenRequests,
		},
	}
}

func unknownJob() agentclient.Job {
	return agentclient.Job{Category: &admin.TaskCategory{Name: nobody}, Meta: []byte(`{"id":"1"}`)}
}

// unknownCategory is a check that makes a call on a task category that no agent has.
func unknownCategory(isSync bool, call func(context.Context, caller) error) func(context.Context, *kit) (string, error) {
	return func(ctx context.Context, k *kit) (string, error) {
		kinds, err := k.kinds(ctx)
		if err != nil {
			return "", err
		}
		if !kinds[isSync] {
			return "", skipped("it has no %s agents", kindName(isSync))
		}
		i, err := k.at(ctx, ready)
		if err != nil {
			return "", err
		}
		ctx, cancel := k.call(ctx)
		defer cancel()
		if err := call(ctx, callerOn(i.conn)); status.Code(err) != codes.NotFound {
			return "", failed("task category %q, which it does not list, is answered with %s", nobody, answerName(err))
		}
		return "NOT_FOUND", nil
	}
}

// kinds says which kinds of agents there are: sync (true) and async (false).
func (k *kit) kinds(ctx context.Context) (map[bool]bool, error) {
	listed, err := k.agents(ctx)
	if err != nil {
		return nil, err
	}
	kinds := map[bool]bool{}
	for _, agent := range listed {
		kinds[agent.GetIsSync()] = true
	}
	return kinds, nil
}

func kindName(isSync bool) string {
	if isSync {
		return "sync"
	}
	return "async"
}

// categoriesOf are the task categories of one kind of agents.
func (k *kit) categoriesOf(ctx context.Context, isSync bool) ([]*admin.TaskCategory, error) {
	listed, err := k.agents(ctx)
	if err != nil {
		return nil, err
	}
	var categories []*admin.TaskCategory
	for _, agent := range listed {
		if agent.GetIsSync() != isSync {
			continue
		}
		categories = append(categories, agent.GetSupportedTaskCategories()...)
		if len(agent.GetSupportedTaskCategories()) == 0 {
			for _, name := range agent.GetSupportedTaskTypes() {
				categories = append(categories, &admin.TaskCategory{Name: name})
			}
		}
	}
	return categories, nil
}

func garbageMeta(ctx context.Context, k *kit) (string, error) {
	categories, err := k.categoriesOf(ctx, false)
	if err != nil {
		return "", err
	}
	if len(categories) == 0 {
		return "", skipped("it has no async agents")
	}
	made := 0
	for _, category := range categories {
		for name, meta := range map[string][]byte{
			"empty": nil, "random bytes": {0, 0xff, 0xfe, 0x80, 1, 2, 3}, "an empty JSON object": []byte(`{}`), "null": []byte(`null`),
			"JSON of another shape": []byte(`{"id":{"nested":[1,2]},"name":7}`), "a megabyte of zeroes": make([]byte, 1<<20),
			"a deeply nested list": bytes.Repeat([]byte("["), 10_000),
		} {
			i, err := k.at(ctx, ready)
			if err != nil {
				return "", err
			}
			j := agentclient.Job{Category: category, Meta: meta}
			for method, call := range map[string]func(context.Context) error{
				"GetTask":    func(ctx context.Context) error { _, err := callerOn(i.conn).Get(ctx, j); return err },
				"DeleteTask": func(ctx context.Context) error { return callerOn(i.conn).Delete(ctx, j) },
			} {
				ctx, cancel := k.call(ctx)
				err := call(ctx)
				cancel()
				if lost(err) {
					return "", failed("%s of %s whose resource_meta is %s: %s", method, categoryName(category), name, describeError(err))
				}
				made++
			}
		}
	}
	return fmt.Sprintf("%d calls answered", made), nil
}

func emptyRequests(ctx context.Context, k *kit) (string, error) {
	kinds, err := k.kinds(ctx)
	if err != nil {
		return "", err
	}
	i, err := k.at(ctx, ready)
	if err != nil {
		return "", err
	}
	c := callerOn(i.conn)
	calls := map[string]func(context.Context) error{}
	if kinds[false] {
		calls["CreateTask"] = func(ctx context.Context) error { _, err := c.create(ctx, &admin.CreateTaskRequest{}); return err }
		calls["GetTask"] = func(ctx context.Context) error { _, err := c.Get(ctx, agentclient.Job{}); return err }
		calls["DeleteTask"] = func(ctx context.Context) error { return c.Delete(ctx, agentclient.Job{}) }
	}
	if kinds[true] {
		calls["ExecuteTaskSync"] = func(ctx context.Context) error { _, err := c.sync(ctx, &admin.CreateTaskRequest{}); return err }
	}
	for method, call := range calls {
		ctx, cancel := k.call(ctx)
		err := call(ctx)
		cancel()
		if lost(err) {
			return "", failed("%s with an empty message: %s", method, describeError(err))
		}
		if err == nil {
			return "", failed("%s with an empty message is answered with OK", method)
		}
	}
	return fmt.Sprintf("%d calls refused", len(calls)), nil
}

func brokenRequests(ctx context.Context, k *kit) (string, error) {
	kinds, err := k.kinds(ctx)
	if err != nil {
		return "", err
	}
	if !kinds[false] {
		return "", skipped("it has no async agents")
	}
	i, err := k.at(ctx, ready)
	if err != nil {
		return "", err
	}
	for _, method := range []string{"CreateTask", "GetTask", "DeleteTask"} {
		ctx, cancel := k.call(ctx)
		err := callerOn(i.conn).raw(ctx, "/flyteidl.service.AsyncAgentService/"+method, []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x42})
		cancel()
		if lost(err) {
			return "", failed("%s with bytes that are no protobuf message: %s", method, describeError(err))
		}
		if err == nil {
			return "", failed("%s with bytes that are no protobuf message is answered with OK", method)
		}
	}
	return "refused", nil
}
