package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// healthInterval is how long a plugin that is not SERVING yet is left alone.
const healthInterval = 50 * time.Millisecond

// saysNotServing is what the health service of a plugin says that waits for something.
var saysNotServing = healthpb.HealthCheckResponse_NOT_SERVING.String()

// awaitHealth returns when the plugin's health service says SERVING.
func (s *start) awaitHealth(ctx context.Context) error {
	health := healthpb.NewHealthClient(s.conn)
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	last := "nothing"
	for {
		answer, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: pluginv1.HealthService})
		switch {
		case err == nil && answer.GetStatus() == healthpb.HealthCheckResponse_SERVING:
			return nil
		case err == nil:
			last = answer.GetStatus().String()
		case status.Code(err) == codes.Unimplemented:
			return advise(errors.New("it does not serve grpc.health.v1.Health"), "every plugin must: the SDKs do it by themselves")
		case ctx.Err() == nil:
			last = status.Convert(err).Message()
		}
		select {
		case <-ticker.C:
		case <-s.proc.Done():
			return &failure{err: fmt.Errorf("it ended before it was SERVING; its health service last said: %s", last), away: last == saysNotServing}
		case <-ctx.Done():
			return &failure{
				err:    fmt.Errorf("its health service never said SERVING for %q, but last: %s: %w", pluginv1.HealthService, last, context.Cause(ctx)),
				advice: "if it needs longer to start, raise start_timeout; with tls on or off, host and plugin must agree", away: last == saysNotServing,
			}
		}
	}
}

// describe asks the plugin who it is. It need not say.
func (s *start) describe(ctx context.Context) error {
	s.manifest.Name = s.spec.Name
	answer, err := pluginv1.NewPluginServiceClient(s.conn).Describe(ctx, &pluginv1.DescribeRequest{})
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	if err != nil {
		return failedCall(ctx, "Describe", err)
	}
	if answer.GetName() != "" {
		s.manifest.Name = answer.GetName()
	}
	s.manifest.Version = answer.GetVersion()
	s.manifest.Capabilities = answer.GetCapabilities()
	for _, promised := range answer.GetCategoryCapabilities() {
		if s.manifest.CategoryCapabilities == nil {
			s.manifest.CategoryCapabilities = map[Category][]string{}
		}
		category := Category{Name: promised.GetName(), Version: promised.GetVersion()}
		s.manifest.CategoryCapabilities[category] = append(s.manifest.CategoryCapabilities[category], promised.GetCapabilities()...)
	}
	s.manifest.ConfigSchema = answer.GetConfigSchema()
	if sdk := answer.GetSdk(); sdk != nil {
		s.manifest.SDK = strings.TrimSpace(sdk.GetName() + " " + sdk.GetVersion())
		if sdk.GetLanguage() != "" {
			s.manifest.SDK += " (" + sdk.GetLanguage() + ")"
		}
	}
	return nil
}

// configure hands over the plugin's `config:` block, also when it is empty.
func (s *start) configure(ctx context.Context) error {
	block := s.spec.Config
	if block == nil {
		block = map[string]any{}
	}
	encoded, err := json.Marshal(block)
	if err != nil {
		return &failure{
			err: fmt.Errorf("its config: block cannot be written as JSON: %w", err), advice: "use texts, numbers, booleans, lists and maps with texts as keys", refuses: true,
		}
	}
	answer, err := pluginv1.NewPluginServiceClient(s.conn).Configure(ctx, &pluginv1.ConfigureRequest{Config: string(encoded)})
	if status.Code(err) == codes.Unimplemented {
		if len(block) > 0 {
			return &failure{
				err: errors.New("there is a config: block for it, but it takes no configuration"), advice: "remove the block; perhaps it is configured by env: or secrets:", refuses: true,
			}
		}
		return nil
	}
	if err != nil {
		return failedCall(ctx, "Configure", err)
	}
	if len(answer.GetErrors()) == 0 {
		return nil
	}
	refused := &failure{advice: "correct the plugin's config: block", refuses: true}
	said := make([]string, 0, len(answer.GetErrors()))
	for _, wrong := range answer.GetErrors() {
		refused.config = append(refused.config, ConfigError{Key: wrong.GetKey(), Message: wrong.GetMessage()})
		key := "config"
		if wrong.GetKey() != "" {
			key += "." + wrong.GetKey()
		}
		said = append(said, key+": "+wrong.GetMessage())
	}
	refused.err = fmt.Errorf("it does not accept its configuration: %s", strings.Join(said, "; "))
	return refused
}

// listAgents asks what the plugin handles.
func (s *start) listAgents(ctx context.Context) error {
	answer, err := service.NewAgentMetadataServiceClient(s.conn).ListAgents(ctx, &admin.ListAgentsRequest{})
	if status.Code(err) == codes.Unimplemented {
		return advise(errors.New("it does not serve flyteidl.service.AgentMetadataService/ListAgents"), "the host learns from it what to send where: every plugin must serve it")
	}
	if err != nil {
		return failedCall(ctx, "ListAgents", err)
	}
	s.manifest.Agents, err = agentsOf(answer.GetAgents(), s.env.MaxTaskTypes)
	return err
}

// maxName is how long the name of an agent or a task category may be, in bytes. Both are labels and keys elsewhere.
const maxName = 255

// checkListed says whether a list of agents is one that Flyte can be told: every client of the host reads what all plugins list, and
// none of them takes an answer of more than 4 MiB.
func checkListed(listed []*admin.Agent, maxTypes int) error {
	maxTypes = cmp.Or(maxTypes, DefaultMaxTaskTypes)
	types := 0
	long := func(name string) error {
		return advise(fmt.Errorf("it lists a name of %d bytes, %.32q…: a name may have %d", len(name), name, maxName), "give its agents and task categories shorter names")
	}
	for _, agent := range listed {
		if len(agent.GetName()) > maxName {
			return long(agent.GetName())
		}
		types += max(1, len(agent.GetSupportedTaskCategories()), len(agent.GetSupportedTaskTypes()))
		for _, category := range agent.GetSupportedTaskCategories() {
			if len(category.GetName()) > maxName {
				return long(category.GetName())
			}
		}
		for _, name := range agent.GetSupportedTaskTypes() {
			if len(name) > maxName {
				return long(name)
			}
		}
	}
	if types > maxTypes {
		return advise(fmt.Errorf("it lists %d task types, and one plugin may list %d", types, maxTypes), "let it list fewer, or raise limits.task_types")
	}
	return nil
}

// agentsOf is the plugin's list of agents, if it can be routed by.
func agentsOf(listed []*admin.Agent, maxTypes int) ([]Agent, error) {
	if len(listed) == 0 {
		return nil, advise(errors.New("it lists no agents"), "a plugin without agents has nothing to do: register one")
	}
	if err := checkListed(listed, maxTypes); err != nil {
		return nil, err
	}
	claimed := map[Category]string{}
	agents := make([]Agent, 0, len(listed))
	for n, from := range listed {
		if from.GetName() == "" {
			return nil, advise(fmt.Errorf("agent %d of %d in its list has no name", n+1, len(listed)), "give every agent a name")
		}
		agent := Agent{Name: from.GetName(), Sync: from.GetIsSync()}
		for _, category := range from.GetSupportedTaskCategories() {
			agent.Categories = append(agent.Categories, Category{Name: category.GetName(), Version: category.GetVersion()})
		}
		if len(agent.Categories) == 0 {
			for _, name := range from.GetSupportedTaskTypes() {
				agent.Categories = append(agent.Categories, Category{Name: name})
			}
			agent.ByTaskType = len(agent.Categories) > 0
		}
		if len(agent.Categories) == 0 {
			return nil, advise(fmt.Errorf("its agent %s lists no task categories", agent.Name), "give the agent a task category, such as bigquery_query_job_task")
		}
		agent.Categories = distinct(agent.Categories)
		for _, category := range agent.Categories {
			if category.Name == "" {
				return nil, advise(fmt.Errorf("its agent %s lists a task category without a name", agent.Name), "give every task category a name")
			}
			if other, ok := claimed[category]; ok {
				return nil, advise(fmt.Errorf("its agents %s and %s both claim task category %s version %d", other, agent.Name, category.Name, category.Version),
					"one category of one version belongs to one agent")
			}
			claimed[category] = agent.Name
		}
		agents = append(agents, agent)
	}
	return agents, nil
}

func distinct(categories []Category) []Category {
	var unique []Category
	for _, category := range categories {
		if !slices.Contains(unique, category) {
			unique = append(unique, category)
		}
	}
	return unique
}

// failedCall is an error of one of the plugin's own calls, or that it did not answer in time.
func failedCall(ctx context.Context, call string, err error) error {
	if ctx.Err() != nil || status.Code(err) == codes.DeadlineExceeded { // the plugin's side may see the deadline first
		return &failure{
			err: fmt.Errorf("%s was not answered: %w", call, cmp.Or(context.Cause(ctx), err)), advice: "if it needs longer to start, raise start_timeout", away: true,
		}
	}
	return advise(fmt.Errorf("%s failed: %w", call, err), "look at the plugin's log")
}
