package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/proto/fields"
)

// BenchmarkPoll is GetTask, the call that Flyte makes most, from 64 callers over real sockets: with nothing remembered,
// and with what each guarantee adds. Machines are noisy: compare medians of several runs (-count).
func BenchmarkPoll(b *testing.B) {
	const metaBytes = 100
	agent := startAgent(b, func(_ *received, stream grpc.ServerStream) error { return stream.SendMsg(frameOf(running)) })
	agent.forgetful = true
	for _, c := range []struct {
		name   string
		policy route.Policy
		meta   []byte
	}{
		{"nothing", route.Policy{}, make([]byte, metaBytes)},
		{"max_stale", usual, make([]byte, metaBytes)},
		{"max_stale_pinned", usual, envelope{plugin: "echo", generation: "0123456789abcdef", meta: make([]byte, metaBytes)}.seal(nil)},
		{"max_stale_rate", route.Policy{MaxStale: time.Minute, Rate: 1e9, Burst: 1e9}, make([]byte, metaBytes)},
		{"min_interval", route.Policy{MinInterval: time.Hour}, make([]byte, metaBytes)},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := startClaims(b, nil, agent.claims(c.policy, asyncAgent("x")))
			request := frameOf(&admin.GetTaskRequest{TaskType: "x", ResourceMeta: c.meta, TaskCategory: &admin.TaskCategory{Name: "x"}})
			message, err := fields.Set(request.bytes(), getOutputPrefix, []byte("s3://bucket/"+strings.Repeat("p", 80)))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetParallelism(32) // times the processors
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					_, err := f.callRaw(ctx, async1+"GetTask", message)
					cancel()
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkAround is what the gateway does around a poll's call to the plugin, and nothing else.
func BenchmarkAround(b *testing.B) {
	for _, c := range []struct {
		name   string
		policy route.Policy
	}{{"nothing", route.Policy{}}, {"max_stale", usual}} {
		b.Run(c.name, func(b *testing.B) {
			f := startClaims(b, nil, route.Claim{Target: instant{}, Policy: c.policy, Manifest: manifestOf(asyncAgent("x"))})
			get := method{name: "GetTask", read: readPoll, polls: true, repeatable: true, target: pluginAsync + "GetTask", generation: flyte1}
			message := frameOf(&admin.GetTaskRequest{ResourceMeta: make([]byte, 100), TaskCategory: &admin.TaskCategory{Name: "x"}}).bytes()
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				request := &frame{}
				request.set(message)
				c, err := f.gateway.plan(b.Context(), get, request)
				if err == nil {
					_, err = f.gateway.poll(ctx, c)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// instant is a plugin that answers at once.
type instant struct{ grpc.ClientConnInterface }

var instantAnswer = frameOf(running).bytes()

func (instant) Plugin() string { return "instant" }

func (i instant) TryAcquire(route.Want) (route.Lease, bool) {
	return route.Lease{Conn: i, Release: func() {}}, true
}

func (i instant) Acquire(context.Context, route.Want) (route.Lease, error) {
	panic("it is always there")
}

func (instant) Trouble() (route.Trouble, bool) { return route.Trouble{}, false }

func (instant) Invoke(_ context.Context, _ string, _, response any, _ ...grpc.CallOption) error {
	response.(*frame).set(instantAnswer) //nolint:forcetypeassert // it is the gateway's own
	return nil
}
