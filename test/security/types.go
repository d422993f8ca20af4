package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"

	"github.com/agenthost/agenthost/test/security/hostile"
)

// typesRows are attempts to get the calls of another plugin by what a plugin lists. Listing is the same in every language.
func typesRows() []row {
	rows := []row{
		{name: "many-types", what: "list 60,000 task types", try: manyTypes},
		{name: "claim-on-return", what: "crash, and come back with another version of a task type that another plugin has", try: claimOnReturn},
		{name: "claim-sync", what: "claim the task type of an async agent as a sync one", try: claimWith(hostile.Flags{Type: thiefName, Sync: victimType})},
		{name: "claim-version", what: "claim another version of it from the start", try: claimWith(hostile.Flags{Type: thiefName, Async: victimType + "@7"})},
		{name: "claim-at-restart", what: "claim it under a name that comes first in the alphabet, and wait for a restart of the host", try: claimAtRestart},
	}
	for i := range rows {
		rows[i].kind, rows[i].only = typesKind, goType
	}
	return rows
}

// thief is a plugin beside the others for one attempt. Its name comes before the victim's.
const thiefPlugin = "a-thief"

func (c *cell) thief(f hostile.Flags) map[string]any {
	return map[string]any{thiefPlugin: c.hostile(thiefName, hostile.Command(c.program("hostile"), f), c.thiefTypes()...)}
}

// thiefTypes are what the thief is trusted with: without `task_types:` whatever it lists.
func (c *cell) thiefTypes() []string { return []string{thiefName} }

// manyTypes looks whether clients with the limits of every gRPC library still learn what there is.
func manyTypes(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
	said, err := c.reload(ctx, c.thief(hostile.Flags{Type: thiefName, Crowd: 60_000}))
	result, judged := c.discovers(ctx)
	if result.Outcome == hostile.Refused {
		result.Evidence += fmt.Sprintf(" (%v)", oneLine(fmt.Sprint(err, " ", said)))
	}
	return result, c.without(ctx, judged)
}

// without takes the thief away again.
func (c *cell) without(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	if said, err := c.reload(ctx, nil); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// discovers asks as Flyte does, with the limits that gRPC libraries have by default, and wants the victim's task type as it is.
func (c *cell) discovers(ctx context.Context) (hostile.Result, error) {
	conn, err := c.dialPlain()
	if err != nil {
		return hostile.Result{}, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, victimLimit)
	defer cancel()
	answer, err := service.NewAgentMetadataServiceClient(conn).ListAgents(ctx, &admin.ListAgentsRequest{})
	if err != nil {
		return succeeded("ListAgents: %v", err), nil
	}
	found := false
	for _, agent := range answer.GetAgents() {
		for _, category := range agent.GetSupportedTaskCategories() {
			if category.GetName() != victimType {
				continue
			}
			if found = true; agent.GetIsSync() {
				return succeeded("%s is listed as one of a sync agent, %s", victimType, agent.GetName()), nil
			}
		}
	}
	if !found {
		return succeeded("%s is not listed", victimType), nil
	}
	return hostile.Result{Outcome: hostile.Refused, Evidence: fmt.Sprintf("ListAgents names %d agents", len(answer.GetAgents()))}, nil
}

// stolen runs a task of the victim's at a version that nobody has, for which the highest one answers.
func (c *cell) stolen(ctx context.Context, version int32) (hostile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, victimLimit)
	defer cancel()
	client := service.NewAsyncAgentServiceClient(c.conn)
	made, err := client.CreateTask(ctx, &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{Type: victimType, TaskTypeVersion: version},
		Inputs:   &core.LiteralMap{Literals: map[string]*core.Literal{"name": text("Ada")}},
	})
	if err != nil {
		return succeeded("version %d: CreateTask: %v", version, err), nil
	}
	polled, err := client.GetTask(ctx, &admin.GetTaskRequest{
		TaskCategory: &admin.TaskCategory{Name: victimType, Version: version}, ResourceMeta: made.GetResourceMeta(),
	})
	if err != nil {
		return succeeded("version %d: GetTask: %v", version, err), nil
	}
	if _, stolen := polled.GetResource().GetOutputs().GetLiterals()[hostile.Stolen]; stolen {
		return succeeded("version %d of %s went to the thief", version, victimType), nil
	}
	return hostile.Result{Outcome: hostile.Refused, Evidence: fmt.Sprintf("version %d of %s went to its plugin", version, victimType)}, nil
}

// claimOnReturn is a plugin that was accepted with what it listed, and lists more when it comes back.
func claimOnReturn(ctx context.Context, c *cell, _ string, w hostile.World) (hostile.Result, error) {
	w.Own = c.world(thiefName)
	if said, err := c.reload(ctx, c.thief(hostile.Flags{Type: thiefName, Async: victimType + "@7", Later: filepath.Join(w.Own, "later")})); err != nil {
		return hostile.Result{}, fmt.Errorf("%w: %s", err, said)
	}
	_, crashed := c.order(ctx, thiefName, "crash", w) // its error says so
	if crashed == nil || !strings.Contains(crashed.Error(), thiefPlugin) {
		return hostile.Result{}, fmt.Errorf("the thief did not crash: %w", crashed)
	}
	// It is back when it answers, or is kept out.
	until := time.Now().Add(goneLimit)
	for time.Now().Before(until) {
		if _, err := c.order(ctx, thiefName, "inherited", w); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	result, err := c.robbed(ctx)
	return result, c.without(ctx, err)
}

// robbed is the first sign that the victim's calls go elsewhere.
func (c *cell) robbed(ctx context.Context) (hostile.Result, error) {
	for _, version := range []int32{0, 7} {
		if result, err := c.stolen(ctx, version); err != nil || result.Outcome == hostile.Succeeded {
			return result, err
		}
	}
	return c.discovers(ctx)
}

func claimWith(f hostile.Flags) tryFunc {
	return func(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
		_, refused := c.reload(ctx, c.thief(f)) // by its error, or by what it does
		result, err := c.robbed(ctx)
		result.Evidence += fmt.Sprintf(" (%v)", refused)
		return result, c.without(ctx, err)
	}
}

func claimAtRestart(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
	_, refused := c.reload(ctx, c.thief(hostile.Flags{Type: thiefName, Async: victimType}))
	if err := c.again(ctx); err != nil {
		return succeeded("after the restart %v", err), c.without(ctx, nil)
	}
	result, err := c.robbed(ctx)
	result.Evidence += fmt.Sprintf(" (%v)", refused)
	return result, c.without(ctx, err)
}
