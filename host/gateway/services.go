package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/tracing"
	"github.com/agenthost/agenthost/proto/fields"
	"github.com/agenthost/agenthost/proto/flyteidl2"
)

// generation is a generation of Flyte. Their messages are the same on the wire; their services are named differently.
type generation int

const (
	flyte1 generation = 1
	flyte2 generation = 2
)

// What plugins serve.
const (
	pluginAsync = "/flyteidl.service.AsyncAgentService/"
	pluginSync  = "/flyteidl.service.SyncAgentService/"
)

// What the host asks plugins on its own account.
var (
	askedCreate = tracing.NewMethod(pluginAsync + "CreateTask")
	askedDelete = tracing.NewMethod(pluginAsync + "DeleteTask")
	askedSync   = tracing.NewMethod(pluginSync + "ExecuteTaskSync")
)

// method is one forwarded method.
type method struct {
	// inFlight counts the calls under way.
	inFlight   prometheus.Gauge
	name       string // as in the service
	operation  string // as in flytekit's metrics
	generation generation
	target     string // the plugin's full method name
	// served and asked are what spans have in common: of calls that come, and of those of the plugin.
	served, asked *tracing.Method
	read          func(message []byte) (requestInfo, error)
	// category is the field of the task category in a request about a job that exists; 0 in others.
	category fields.Number
	// repeatable says that the plugin may be asked again when it died with the call.
	repeatable bool
	// creates says that the call makes a job: repeating it takes an idempotent plugin.
	creates bool
	// sync says that the call is the whole job.
	sync bool
	// polls says that the answer carries a resource, deletes that a job that is gone is as good as deleted.
	polls, deletes bool
}

func (g *Gateway) register() {
	for _, service := range []struct {
		name, file string
		generation generation
	}{
		{"flyteidl.service.AsyncAgentService", "flyteidl/service/agent.proto", flyte1},
		{flyteidl2.ServiceConnector, "flyteidl2/connector/service.proto", flyte2},
	} {
		create := method{name: "CreateTask", operation: "create", read: readCreate, creates: true}
		get := method{name: "GetTask", operation: "get", read: readPoll, category: getTaskCategory, repeatable: true, polls: true}
		del := method{name: "DeleteTask", operation: "delete", read: readJob(getTaskCategory), category: getTaskCategory, repeatable: true, deletes: true}
		metrics := method{name: "GetTaskMetrics", operation: "get_metrics", read: readJob(metricTaskCategory), category: metricTaskCategory, repeatable: true}
		logs := method{name: "GetTaskLogs", operation: "get_logs", read: readJob(logsTaskCategory), category: logsTaskCategory}

		desc := grpc.ServiceDesc{ServiceName: service.name, Metadata: service.file, HandlerType: (*any)(nil)}
		for _, m := range []method{create, get, del, metrics} {
			m.generation, m.target = service.generation, pluginAsync+m.name
			m.served, m.asked = tracing.NewMethod("/"+service.name+"/"+m.name), tracing.NewMethod(m.target)
			desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: m.name, Handler: g.unary(m)})
		}
		logs.generation, logs.target = service.generation, pluginAsync+logs.name
		logs.served, logs.asked = tracing.NewMethod("/"+service.name+"/"+logs.name), tracing.NewMethod(logs.target)
		desc.Streams = []grpc.StreamDesc{{StreamName: logs.name, Handler: g.stream(logs, g.relay), ServerStreams: true}}
		g.server.RegisterService(&desc, nil)
	}

	answer := g.gather // G9
	if !g.enabled.Has(guarantee.OneSyncAnswer) {
		answer = g.relay
	}
	sync := method{name: "ExecuteTaskSync", operation: "do", generation: flyte1, target: pluginSync + "ExecuteTaskSync", read: readSync, sync: true, served: askedSync, asked: askedSync}
	g.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "flyteidl.service.SyncAgentService",
		Metadata:    "flyteidl/service/agent.proto",
		HandlerType: (*any)(nil),
		Streams:     []grpc.StreamDesc{{StreamName: sync.name, Handler: g.stream(sync, answer), ServerStreams: true, ClientStreams: true}},
	}, nil)

	g.registerMetadata()
}

// registerReflection serves reflection for both generations. Flyte 2's descriptors are not linked in as Go types, so
// they come from a file.
func registerReflection(server *grpc.Server) {
	options := reflection.ServerOptions{Services: server, DescriptorResolver: descriptors{}}
	grpc_reflection_v1.RegisterServerReflectionServer(server, reflection.NewServerV1(options))
	grpc_reflection_v1alpha.RegisterServerReflectionServer(server, reflection.NewServer(options))
}

type descriptors struct{}

var _ protodesc.Resolver = descriptors{}

func (descriptors) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if file, err := protoregistry.GlobalFiles.FindFileByPath(path); err == nil {
		return file, nil
	}
	return flyteidl2.Files().FindFileByPath(path)
}

func (descriptors) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(name); err == nil {
		return descriptor, nil
	}
	return flyteidl2.Files().FindDescriptorByName(name)
}
