package badplugin

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/test/callservice"
)

// exchangeModes take many calls in one message, well or badly.
var exchangeModes = map[string]func(*options){
	"exchanges":             func(o *options) { serve(o, exchanges(&callservice.Server{})) },
	"exchange-ends-at-once": func(o *options) { serve(o, func(s *server) { s.exchange = &callservice.Server{} }) }, // by go-plugin's own Shutdown
	"exchange-names-nothing": func(o *options) {
		serve(o, exchanges(&callservice.Server{Greet: func(a *pluginv1.Answers) { a.Methods = nil }}))
	},
	"exchange-answers-nobody": func(o *options) {
		serve(o, exchanges(&callservice.Server{Answer: func(_ *pluginv1.Call, a *pluginv1.Answer) bool { a.Id += 1000; return true }}))
	},
	"exchange-hides-errors": func(o *options) {
		serve(o, exchanges(&callservice.Server{Answer: func(_ *pluginv1.Call, a *pluginv1.Answer) bool {
			if len(a.GetStatus()) > 0 {
				a.Status, _ = proto.Marshal(status.New(codes.Unknown, "something went wrong").Proto())
			}
			return true
		}}))
	},
	"exchange-ends-on-garbage": func(o *options) {
		serve(o, exchanges(&callservice.Server{Receive: func(calls *pluginv1.Calls) error {
			for _, call := range calls.GetCalls() {
				if _, known := calledMethods[call.GetMethod()]; known && len(call.GetRequest()) > 0 && call.GetRequest()[0] == 0xff {
					return status.Error(codes.Internal, "cannot decode a call")
				}
			}
			return nil
		}}))
	},
	"exchange-sends-anything": func(o *options) {
		serve(o, exchanges(&callservice.Server{Answer: func(_ *pluginv1.Call, a *pluginv1.Answer) bool {
			if a.GetOversize() > 0 {
				a.Message, a.Oversize = make([]byte, a.GetOversize()), 0
			}
			return true
		}}))
	},
}

// exchanges serves the stream, and lets it end in good order, which go-plugin's own Shutdown does not.
func exchanges(how *callservice.Server) change {
	stop := make(chan struct{})
	how.Stop = stop
	end := sync.OnceFunc(func() {
		close(stop)
		how.Wait()
		time.AfterFunc(100*time.Millisecond, func() { os.Exit(0) }) // what was sent last is on its way
	})
	return func(s *server) {
		s.exchange = how
		answer(methodShutdown, func() (any, error) { end(); return &emptypb.Empty{}, nil })(s)
	}
}

// calledMethods are those that come by the stream.
var calledMethods = func() map[string]grpc.MethodDesc {
	methods := map[string]grpc.MethodDesc{}
	for _, method := range service.AsyncAgentService_ServiceDesc.Methods {
		methods["/"+service.AsyncAgentService_ServiceDesc.ServiceName+"/"+method.MethodName] = method
	}
	return methods
}()

// callsOf is how an agent is called by the stream.
func callsOf(agent service.AsyncAgentServiceServer) (names []string, call func(context.Context, string, []byte) ([]byte, error)) {
	for name := range calledMethods {
		names = append(names, name)
	}
	return names, func(ctx context.Context, name string, request []byte) ([]byte, error) {
		method, ok := calledMethods[name]
		if !ok {
			return nil, status.Errorf(codes.Unimplemented, "unknown method %s", name)
		}
		answer, err := method.Handler(agent, ctx, func(into any) error {
			if err := proto.Unmarshal(request, into.(proto.Message)); err != nil { //nolint:forcetypeassert // the handler's own
				return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
			}
			return nil
		}, nil)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(answer.(proto.Message)) //nolint:forcetypeassert // the handler's own
	}
}
