package gateway

import (
	"context"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/access"
	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/tracing"
	"github.com/agenthost/agenthost/proto/flyteidl2"
)

// registerMetadata serves discovery for both generations. It is answered from the route table: no plugin is asked, so
// that it can neither block nor fail, and a type whose plugin is restarting stays listed.
func (g *Gateway) registerMetadata() {
	g.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "flyteidl.service.AgentMetadataService",
		Metadata:    "flyteidl/service/agent.proto",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			discovery(g, "flyteidl.service.AgentMetadataService", "ListAgents", func(caller access.Caller, of *tracing.Call, _ *admin.ListAgentsRequest) (*admin.ListAgentsResponse, error) {
				return g.list(caller, flyte1, of), nil
			}),
			discovery(g, "flyteidl.service.AgentMetadataService", "GetAgent", func(caller access.Caller, _ *tracing.Call, r *admin.GetAgentRequest) (*admin.GetAgentResponse, error) {
				return g.agent(caller, flyte1, r.GetName())
			}),
		},
	}, nil)
	g.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: flyteidl2.ServiceMetadata,
		Metadata:    "flyteidl2/connector/service.proto",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			discovery(g, flyteidl2.ServiceMetadata, "ListConnectors", func(caller access.Caller, of *tracing.Call, _ *admin.ListAgentsRequest) (*admin.ListAgentsResponse, error) {
				return g.list(caller, flyte2, of), nil
			}),
			discovery(g, flyteidl2.ServiceMetadata, "GetConnector", func(caller access.Caller, _ *tracing.Call, r *admin.GetAgentRequest) (*admin.GetAgentResponse, error) {
				return g.agent(caller, flyte2, r.GetName())
			}),
		},
	}, nil)
}

// list is the answer to ListAgents and, the bytes being the same, ListConnectors: what the caller may know of.
func (g *Gateway) list(caller access.Caller, flyte generation, of *tracing.Call) *admin.ListAgentsResponse {
	response := &admin.ListAgentsResponse{}
	for _, agent := range g.routes.Table().Agents() { // G1
		found := g.listedAgent(caller, flyte, agent)
		if found == nil {
			continue
		}
		response.Agents = append(response.Agents, found)
		if there(agent.Target) {
			continue
		}
		for _, category := range agent.Categories {
			g.record(&routedCall{trace: of, route: route.Route{Target: agent.Target, Category: category}}, guarantee.StableDiscovery) // G1
		}
	}
	return response
}

// agent is the answer to GetAgent and GetConnector: all that the agents of a name serve, in one.
func (g *Gateway) agent(caller access.Caller, flyte generation, name string) (*admin.GetAgentResponse, error) {
	var found *admin.Agent
	for _, agent := range g.routes.Table().Agents() { // G1
		listed := g.listedAgent(caller, flyte, agent)
		switch {
		case agent.Name != name || listed == nil:
		case found == nil:
			found = listed
		default:
			found.SupportedTaskTypes = append(found.SupportedTaskTypes, listed.GetSupportedTaskTypes()...)
			found.SupportedTaskCategories = append(found.SupportedTaskCategories, listed.GetSupportedTaskCategories()...)
		}
	}
	if found == nil {
		return nil, status.Errorf(codes.NotFound, "no plugin of this host has an agent %q; ListAgents names those there are", name)
	}
	return &admin.GetAgentResponse{Agent: found}, nil
}

// listedAgent is an agent in the words of a generation of Flyte; nil where it must not hear of it. Flyte 2 has no sync
// calls: it would send a sync agent CreateTask.
func (g *Gateway) listedAgent(caller access.Caller, flyte generation, agent route.Agent) *admin.Agent {
	if !g.enabled.Has(guarantee.BothFlytes) { // G12
		flyte = flyte1
	}
	if flyte == flyte2 && agent.Sync || !g.enabled.Has(guarantee.StableDiscovery) && !there(agent.Target) { // G12 and G1
		return nil
	}
	listed := &admin.Agent{Name: agent.Name, IsSync: agent.Sync}
	for _, category := range agent.Categories {
		if !caller.Lists(category.Name) {
			continue
		}
		listed.SupportedTaskCategories = append(listed.SupportedTaskCategories, &admin.TaskCategory{Name: category.Name, Version: category.Version})
		if flyte == flyte1 {
			listed.SupportedTaskTypes = append(listed.SupportedTaskTypes, category.Name)
		}
	}
	if len(listed.GetSupportedTaskCategories()) == 0 && len(agent.Categories) > 0 { // none that the caller may know of
		return nil
	}
	return listed
}

// there says whether a plugin has an instance now, which discovery must not mind.
func there(target route.Target) bool {
	lease, ok := target.TryAcquire(route.Want{})
	if ok {
		lease.Release()
	}
	return ok
}

// notListed is why discovery has no answer yet.
func (g *Gateway) notListed() error {
	select {
	case <-g.listed:
		return nil
	default:
	}
	if !g.whole && len(g.routes.Table().Names()) > 0 {
		return nil
	}
	return status.Error(codes.Unavailable, "the host is not ready: its plugins are starting, and what they serve is not known yet")
}

// discovery makes a unary handler from a function.
func discovery[Request, Response any](g *Gateway, service, name string, answer func(access.Caller, *tracing.Call, *Request) (*Response, error)) grpc.MethodDesc {
	called := tracing.NewMethod("/" + service + "/" + name)
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (_ any, err error) {
			began := time.Now()
			ctx, note := noting(ctx, g.tracer.Begin(ctx, called))
			defer func() {
				g.callLog.tell(ctx, name, note, "", "", time.Since(began), err)
				note.trace.End(err)
			}()
			request := new(Request)
			if err := decode(request); err != nil {
				return nil, err
			}
			caller, err := g.lister(ctx)
			if err != nil {
				return nil, err
			}
			g.await(ctx, g.listed, note.trace)
			if err := g.notListed(); err != nil {
				return nil, err
			}
			response, err := answer(caller, note.trace, request)
			if err != nil && g.awaitStart(ctx, note.trace) {
				return answer(caller, note.trace, request)
			}
			return response, err
		},
	}
}
