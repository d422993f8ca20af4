package verify

import (
	"context"
	"fmt"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func agentChecks() []*Check {
	return []*Check{
		{
			Name:   "agents/list",
			Reason: "the host learns from ListAgents what to send where, and tells Flyte",
			Advice: "serve flyteidl.service.AgentMetadataService/ListAgents, and list every agent with its task categories",
			run: func(ctx context.Context, k *kit) (string, error) {
				listed, err := k.agents(ctx)
				if err != nil {
					return "", err
				}
				return describeAgents(listed), nil
			},
		},
		{
			Name:   "agents/names",
			Reason: "an agent's name is how people and GetAgent tell it from the others",
			Advice: "give every agent a name of its own",
			run:    onAgents(agentNames),
		},
		{
			Name:   "agents/categories",
			Reason: "Flyte 2 knows only task categories, and routes nothing to an agent without one",
			Advice: "list supported_task_categories, each with a name such as bigquery_query_job_task and a version of 0 or more",
			run:    onAgents(agentCategories),
		},
		{
			Name:   "agents/duplicates",
			Reason: "a task must have one agent that it belongs to: the host refuses a plugin in which two claim a category",
			Advice: "give each task category and version to one agent",
			run:    onAgents(agentDuplicates),
		},
		{
			Name:   "agents/sync-and-async",
			Reason: "FlytePropeller keeps one version of a name, and calls all of them as that one says: synchronously or not",
			Advice: "use another name for the task category where sync and async differ",
			run:    onAgents(agentKinds),
		},
		{
			Name:   "agents/capabilities",
			Reason: "what is promised for a task category that is not listed is promised for nothing",
			Advice: "name the categories in category_capabilities as in ListAgents, by name and version",
			run:    agentCapabilities,
		},
		{
			Name:   "agents/get",
			Reason: "tools ask for one agent by its name",
			Advice: "answer GetAgent with the same as in ListAgents, and an unknown name with NOT_FOUND",
			run:    agentByName,
		},
	}
}

func describeAgents(listed []*admin.Agent) string {
	said := make([]string, len(listed))
	for n, agent := range listed {
		kind := "async"
		if agent.GetIsSync() {
			kind = "sync"
		}
		names := agent.GetSupportedTaskTypes()
		if categories := agent.GetSupportedTaskCategories(); len(categories) > 0 {
			names = make([]string, len(categories))
			for c, category := range categories {
				names[c] = categoryName(category)
			}
		}
		said[n] = fmt.Sprintf("%s (%s: %s)", agent.GetName(), kind, strings.Join(names, ", "))
	}
	return strings.Join(said, ", ")
}

func categoryName(category *admin.TaskCategory) string {
	if category.GetVersion() == 0 {
		return category.GetName()
	}
	return fmt.Sprintf("%s v%d", category.GetName(), category.GetVersion())
}

// onAgents is a check that looks at the list and nothing else.
func onAgents(look func([]*admin.Agent) error) func(context.Context, *kit) (string, error) {
	return func(ctx context.Context, k *kit) (string, error) {
		listed, err := k.agents(ctx)
		if err != nil {
			return "", err
		}
		return "", look(listed)
	}
}

func agentNames(listed []*admin.Agent) error {
	seen := map[string]bool{}
	for n, agent := range listed {
		if agent.GetName() == "" {
			return failed("agent %d of %d has no name", n+1, len(listed))
		}
		if seen[agent.GetName()] {
			return warned("two agents are called %s", agent.GetName())
		}
		seen[agent.GetName()] = true
	}
	return nil
}

func agentCategories(listed []*admin.Agent) error {
	for _, agent := range listed {
		for _, category := range agent.GetSupportedTaskCategories() {
			if category.GetName() == "" {
				return failed("agent %s lists a task category without a name", agent.GetName())
			}
			if category.GetVersion() < 0 {
				return failed("agent %s lists task category %s with the version %d", agent.GetName(), category.GetName(), category.GetVersion())
			}
		}
		switch {
		case len(agent.GetSupportedTaskCategories()) > 0:
		case len(agent.GetSupportedTaskTypes()) > 0:
			return warned("agent %s lists only the deprecated supported_task_types; the host makes categories of them", agent.GetName())
		default:
			return failed("agent %s lists no task categories", agent.GetName())
		}
	}
	return nil
}

func agentDuplicates(listed []*admin.Agent) error {
	owner := map[string]string{}
	for _, agent := range listed {
		own := map[string]bool{}
		for _, category := range agent.GetSupportedTaskCategories() {
			name := categoryName(category)
			if other, taken := owner[name]; taken && !own[name] {
				return failed("agents %s and %s both claim task category %s", other, agent.GetName(), name)
			} else if own[name] {
				return warned("agent %s lists task category %s twice", agent.GetName(), name)
			}
			owner[name], own[name] = agent.GetName(), true
		}
	}
	return nil
}

func agentKinds(listed []*admin.Agent) error {
	isSync := map[string]bool{}
	for _, agent := range listed {
		for _, category := range agent.GetSupportedTaskCategories() {
			kind, known := isSync[category.GetName()]
			if known && kind != agent.GetIsSync() {
				return failed("task category %s is sync in one version and async in another", category.GetName())
			}
			isSync[category.GetName()] = agent.GetIsSync()
		}
	}
	return nil
}

func agentCapabilities(ctx context.Context, k *kit) (string, error) {
	listed, err := k.agents(ctx)
	if err != nil {
		return "", err
	}
	described, err := k.described(ctx)
	if err != nil {
		return "", err
	}
	served := map[string]bool{}
	for _, agent := range listed {
		for _, category := range agent.GetSupportedTaskCategories() {
			served[categoryName(category)] = true
		}
	}
	for _, promised := range described.GetCategoryCapabilities() {
		if category := categoryName(&admin.TaskCategory{Name: promised.GetName(), Version: promised.GetVersion()}); !served[category] {
			return "", failed("Describe promises %s for the task category %s, which it does not list", strings.Join(promised.GetCapabilities(), ", "), category)
		}
	}
	return "", nil
}

func agentByName(ctx context.Context, k *kit) (string, error) {
	listed, err := k.agents(ctx)
	if err != nil {
		return "", err
	}
	i, err := k.at(ctx, ready)
	if err != nil {
		return "", err
	}
	ctx, cancel := k.call(ctx)
	defer cancel()
	client := service.NewAgentMetadataServiceClient(i.conn)
	answer, err := client.GetAgent(ctx, &admin.GetAgentRequest{Name: listed[0].GetName()})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return "", warned("it does not serve GetAgent; the host answers it from the list")
	case err != nil:
		return "", failed("GetAgent(%q) fails: %s", listed[0].GetName(), describeError(err))
	case !proto.Equal(answer.GetAgent(), listed[0]):
		return "", failed("GetAgent(%q) answers differently from ListAgents", listed[0].GetName())
	}
	_, err = client.GetAgent(ctx, &admin.GetAgentRequest{Name: nobody})
	if status.Code(err) != codes.NotFound {
		return "", failed("GetAgent of a name that it does not have answers %s and not NOT_FOUND", answerName(err))
	}
	return "", nil
}

// nobody is what no agent and no task category is called.
const nobody = "agenthost_verify_nobody"
