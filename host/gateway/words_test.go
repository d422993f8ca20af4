package gateway

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/wait"
)

// hanging is an agent that answers nothing.
func hanging(t *testing.T) *agentServer {
	return startAgent(t, func(call *received, _ grpc.ServerStream) error {
		<-call.context.Done()
		return status.FromContextError(call.context.Err()).Err()
	})
}

func TestACallThatAHangingPluginDoesNotAnswerSaysSo(t *testing.T) {
	agent := hanging(t)
	for method, made := range map[string]func(ctx context.Context, f *front) error{
		"CreateTask": func(ctx context.Context, f *front) error { return f.made(ctx, "CreateTask", create("x")) },
		"GetTask":    func(ctx context.Context, f *front) error { return f.made(ctx, "GetTask", get("x")) },
		"DeleteTask": func(ctx context.Context, f *front) error {
			return f.made(ctx, "DeleteTask", &admin.DeleteTaskRequest{ResourceMeta: []byte("job"), TaskCategory: &admin.TaskCategory{Name: "x"}})
		},
		"ExecuteTaskSync": func(ctx context.Context, f *front) error { _, err := f.sync(ctx, syncRequest()); return err },
	} {
		served := asyncAgent("x")
		if method == "ExecuteTaskSync" {
			served = syncAgent("x")
		}
		f := startGateway(t, agent, served)
		ctx, cancel := context.WithTimeout(soon(t), 2*time.Second)
		err := made(ctx, f)
		cancel()
		want := `plugin "echo" did not answer ` + method + ` for "x" in time`
		if got := status.Convert(err); got.Code() != codes.DeadlineExceeded || got.Message() != want {
			t.Errorf("%s: %v, want %q", method, err, want)
		}
	}
}

func (f *front) made(ctx context.Context, method string, message proto.Message) error {
	_, err := f.call(ctx, async1+method, message)
	return err
}

// A connection to a server elsewhere has ports of its own in what grpc says of it.
func TestABrokenConnectionIsToldInTheSameWordsEveryTime(t *testing.T) {
	told := map[string]bool{}
	for range 2 {
		agent := startAgent(t, func(call *received, _ grpc.ServerStream) error { <-call.context.Done(); return nil })
		f := startGateway(t, agent, asyncAgent("x"))
		go func() {
			wait.Until(t, "the call is there", func() bool { return agent.calls("CreateTask") == 1 })
			agent.server.Stop()
		}()
		ctx, cancel := context.WithTimeout(soon(t), 3*time.Second)
		err := f.made(ctx, "CreateTask", create("x"))
		cancel()
		told[status.Convert(err).Message()] = true
	}
	if len(told) != 1 {
		t.Errorf("one reason, and the texts %v", told)
	}
}

func TestErrorsAreCutToWhatClientsRead(t *testing.T) {
	for name, text := range map[string]string{
		"plain":    "begins " + strings.Repeat("x", 100<<10) + " ends",
		"encoded":  "begins " + strings.Repeat("ä%\n", 20<<10) + " ends",
		"at limit": "begins " + strings.Repeat("x", maxErrorText-12) + " ends",
	} {
		for _, details := range []int{0, 100, 100 << 10} {
			agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
				stream.SetTrailer(metadata.Pairs("a-small", "one", "large", strings.Repeat("x", 100<<10)))
				s := status.New(codes.FailedPrecondition, text)
				if details > 0 {
					var err error
					if s, err = s.WithDetails(&errdetails.ErrorInfo{Reason: strings.Repeat("d", details)}); err != nil {
						return err
					}
				}
				return s.Err()
			})
			f := startGateway(t, agent, asyncAgent("x"))
			trailer := metadata.MD{}
			_, err := f.call(soon(t), async1+"CreateTask", create("x"), grpc.Trailer(&trailer))
			got := status.Convert(err)
			if got.Code() != codes.FailedPrecondition || !strings.HasPrefix(got.Message(), `plugin "echo": begins`) || !strings.HasSuffix(got.Message(), "ends") || !utf8.ValidString(got.Message()) {
				t.Errorf("%s, details of %d: %v %.60q … %d bytes", name, details, got.Code(), got.Message(), len(got.Message()))
			}
			if size := encoded(got.Message()) + base64(proto.Size(got.Proto())); len(got.Details()) > 0 && size > 8<<10-1<<10 || encoded(got.Message()) > maxErrorText {
				t.Errorf("%s, details of %d: %d bytes are sent", name, details, size)
			}
			if want := details == 100; want != (len(got.Details()) == 1) {
				t.Errorf("%s, details of %d: %d arrive", name, details, len(got.Details()))
			}
			if len(trailer.Get("large")) > 0 || len(trailer.Get("a-small")) != 1 {
				t.Errorf("%s: the trailer %v", name, trailer)
			}
			if got := f.recorded(t, guarantee.SizeLimits); got != 1 {
				t.Errorf("%s: counted %d times", name, got)
			}
		}
	}
}

func TestAnErrorThatFitsIsLeftAsItIs(t *testing.T) {
	err := status.Error(codes.NotFound, strings.Repeat("x", maxErrorText))
	if got, shortened := fitted(err); shortened || got.Error() != err.Error() {
		t.Errorf("%v, %v", got, shortened)
	}
}

// A wait that a limit ended in vain takes another time each time.
func TestAFullPluginSaysTheSameEveryTime(t *testing.T) {
	agent := hanging(t)
	told := map[string]bool{}
	f := startClaims(t, nil, route.Claim{Target: agent, Manifest: plugin.Manifest{Agents: []plugin.Agent{asyncAgent("x")}}, Policy: route.Policy{Concurrency: 1}})
	ctx, cancel := context.WithTimeout(soon(t), 10*time.Second)
	defer cancel()
	go func() { _ = f.made(ctx, "CreateTask", create("x")) }()
	wait.Until(t, "the plugin is full", func() bool { return agent.calls("CreateTask") == 1 })
	for _, maxWait := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
		brief, cancel := context.WithTimeout(ctx, maxWait)
		told[status.Convert(f.made(brief, "CreateTask", create("x"))).Message()] = true
		cancel()
	}
	if len(told) != 1 {
		t.Errorf("one reason, and the texts %v", told)
	}
}
