package badplugin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/test/callservice"
)

// server is a plugin that gets as far as serving.
type server struct {
	opts              *options
	cookie            string
	protocolVersion   uint
	noPluginService   bool
	noMetadataService bool
	alsoVersion       uint   // a further version of the protocol that it claims to speak
	maxReceive        int    // the largest message that it takes; 0: any
	serving           func() // called once, when the first call comes: the handshake is made
	interceptors      []grpc.UnaryServerInterceptor
	exchange          *callservice.Server // nil: each call comes by itself
}

// change is how a mode makes a good server a bad one.
type change func(*server)

func serve(o *options, changes ...change) {
	s := &server{opts: o, cookie: pluginv1.MagicCookieValue, protocolVersion: pluginv1.ProtocolVersion, serving: func() {}}
	for _, change := range changes {
		change(s)
	}
	recorder := newRecorder(o.record)
	var once sync.Once
	serving := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		once.Do(s.serving)
		return next(ctx, req)
	}
	set := plugin.PluginSet{"flyte": &services{server: s}}
	versions := map[int]plugin.PluginSet{int(s.protocolVersion): set}
	if s.alsoVersion > 0 {
		versions[int(s.alsoVersion)] = set
	}
	if s.maxReceive == 0 {
		s.maxReceive = math.MaxInt32
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  s.protocolVersion,
			MagicCookieKey:   pluginv1.MagicCookieKey,
			MagicCookieValue: s.cookie,
		},
		VersionedPlugins: versions,
		Logger:           hclog.New(&hclog.LoggerOptions{Output: os.Stderr, JSONFormat: true, Level: hclog.Info}),
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(options,
				grpc.MaxRecvMsgSize(s.maxReceive),
				grpc.ForceServerCodecV2(recorder),
				grpc.ChainUnaryInterceptor(append([]grpc.UnaryServerInterceptor{serving, recorder.unary}, s.interceptors...)...),
				grpc.ChainStreamInterceptor(recorder.stream),
			)...)
		},
	})
}

// services registers what the plugin serves.
type services struct {
	plugin.NetRPCUnsupportedPlugin
	server *server
}

func (p *services) GRPCServer(_ *plugin.GRPCBroker, registrar *grpc.Server) error {
	agent := newEcho(p.server.opts)
	service.RegisterAsyncAgentServiceServer(registrar, agent)
	service.RegisterSyncAgentServiceServer(registrar, agent)
	if !p.server.noMetadataService {
		service.RegisterAgentMetadataServiceServer(registrar, &registry{agents: parseAgents(p.server.opts)})
	}
	if p.server.exchange != nil {
		p.server.exchange.Methods, p.server.exchange.Call = callsOf(agent)
		pluginv1.RegisterCallServiceServer(registrar, p.server.exchange)
	}
	if !p.server.noPluginService {
		pluginv1.RegisterPluginServiceServer(registrar, &about{opts: p.server.opts})
	}
	return nil
}

func (p *services) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin's side")
}

// about answers Describe and Configure.
type about struct {
	pluginv1.UnimplementedPluginServiceServer
	opts *options
}

func (a *about) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	response := &pluginv1.DescribeResponse{
		Name:         a.opts.name,
		Version:      a.opts.version,
		Sdk:          &pluginv1.Sdk{Name: "badplugin", Version: "0", Language: runtime.Version()},
		ConfigSchema: a.opts.schema,
	}
	for promised := range strings.FieldsFuncSeq(a.opts.capabilities, func(r rune) bool { return r == ',' }) {
		if category, capability, single := strings.Cut(promised, "="); single {
			response.CategoryCapabilities = append(response.CategoryCapabilities,
				&pluginv1.CategoryCapabilities{Name: category, Capabilities: []string{capability}})
		} else {
			response.Capabilities = append(response.Capabilities, promised)
		}
	}
	return response, nil
}

func (a *about) Configure(_ context.Context, request *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	response := &pluginv1.ConfigureResponse{}
	if !a.opts.strict {
		return response, nil
	}
	refuse := func(key, message string) {
		response.Errors = append(response.Errors, &pluginv1.ConfigError{Key: key, Message: message})
	}
	var block map[string]any
	if err := json.Unmarshal([]byte(request.GetConfig()), &block); err != nil {
		refuse("", "is not a JSON object: "+err.Error())
	}
	for key, value := range block {
		if _, isNumber := value.(float64); key != "threads" {
			refuse(key, "unknown key: the only one is threads")
		} else if !isNumber {
			refuse(key, "must be a number")
		}
	}
	return response, nil
}

func (a *about) Drain(_ context.Context, request *pluginv1.DrainRequest) (*pluginv1.DrainResponse, error) {
	say(realStderr, fmt.Sprintf(`{"@level":"info","@message":"drains within %v"}`, request.GetTimeout().AsDuration().Round(time.Minute)))
	return &pluginv1.DrainResponse{}, nil
}

// intercept puts itself before one method.
func intercept(method string, do func(ctx context.Context, next func() (any, error)) (any, error)) change {
	return func(s *server) {
		s.interceptors = append(s.interceptors, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if info.FullMethod != method {
				return next(ctx, req)
			}
			return do(ctx, func() (any, error) { return next(ctx, req) })
		})
	}
}

func answer(method string, with func() (any, error)) change {
	return intercept(method, func(context.Context, func() (any, error)) (any, error) { return with() })
}

// unknown is what a plugin does that has not heard of a method.
func unknown(method string) change {
	return answer(method, func() (any, error) { return nil, status.Error(codes.Unimplemented, "unknown method") })
}

func fail(method string) change {
	return answer(method, func() (any, error) { return nil, status.Error(codes.Internal, "the agent registry is broken") })
}

func hang(method string) change {
	return intercept(method, func(context.Context, func() (any, error)) (any, error) { select {} })
}

func list(agents ...*admin.Agent) change {
	return answer(methodList, func() (any, error) { return &admin.ListAgentsResponse{Agents: agents}, nil })
}

// atAgentCall does something in the middle of each agent call after the first o.calls.
func atAgentCall(o *options, do func()) change {
	var calls atomic.Int64
	return func(s *server) {
		s.interceptors = append(s.interceptors, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if strings.Contains(info.FullMethod, ".AsyncAgentService/") && calls.Add(1) > int64(o.calls) {
				do()
			}
			return next(ctx, req)
		})
	}
}

// certificate is one as it stands in a handshake line.
func certificate() string { return base64.RawStdEncoding.EncodeToString(selfSigned().Certificate[0]) }
