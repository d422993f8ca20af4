package agent_test

import (
	"context"
	"errors"
	"testing"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

type callValue struct{}

func TestWhatGoesOnBehindACallEndsWhenTheProcessIsReplaced(t *testing.T) {
	for name, replace := range map[string]func(*agenttest.Client){
		"by a host that tells":      (*agenttest.Client).Replace,
		"by one that only stops it": func(c *agenttest.Client) { _ = c.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			behind := make(chan context.Context, 1)
			client := agenttest.Run(t, agent.Async("query", funcs{create: func(ctx context.Context, _ *agent.Task) (meta, error) {
				behind <- agent.UntilReplaced(context.WithValue(ctx, callValue{}, "kept"))
				return meta{}, nil
			}}))
			if _, err := client.Create(t.Context(), agenttest.Task{Type: "query"}); err != nil {
				t.Fatal(err)
			}
			ctx := <-behind
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			if ctx.Err() != nil || ctx.Value(callValue{}) != "kept" {
				t.Fatalf("after the call: %v, value %v", ctx.Err(), ctx.Value(callValue{}))
			}
			replace(client)
			<-inner.Done()
			if !errors.Is(context.Cause(inner), agent.ErrReplaced) {
				t.Errorf("it ended because of %v", context.Cause(inner))
			}
		})
	}
}

func TestAReplacedProcessStillTakesCalls(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{}))
	client.Replace()
	client.Replace()
	if _, err := client.Create(t.Context(), agenttest.Task{Type: "query"}); err != nil {
		t.Error(err)
	}
}

func TestOutsideOfAPluginNothingIsReplaced(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lasting := agent.UntilReplaced(ctx)
	cancel()
	if lasting.Err() != nil {
		t.Error(lasting.Err())
	}
}
