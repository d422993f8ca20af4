package agent

import (
	"context"
	"errors"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// ErrReplaced is the cause with which the context of UntilReplaced ends.
var ErrReplaced = errors.New("this process of the plugin is being replaced, or the host stops")

type serverKey struct{}

// UntilReplaced returns a context for what goes on behind the calls, such as watching a job: it has the values of a call's
// context, or of that of Configure, but lives until this process of the plugin is being replaced. That is when the host has
// begun to let the calls under way end (the newer process takes all new ones already), or, with hosts that do not tell, when
// it asks the process to stop. Close comes afterwards.
//
//	go watch(agent.UntilReplaced(ctx), job)
//
// Within a call it says whether there is still time for something long. Outside of a plugin the context never ends.
func UntilReplaced(ctx context.Context) context.Context {
	values := context.WithoutCancel(ctx)
	if server, ok := ctx.Value(serverKey{}).(*Server); ok {
		return lasting{server.replaced, values}
	}
	return values
}

// lasting ends with one context and has the values of another. It hangs on neither, so that one for each call costs nothing
// that stays.
type lasting struct {
	context.Context
	values context.Context
}

func (l lasting) Value(key any) any {
	if value := l.Context.Value(key); value != nil { // by which package context finds what ends it
		return value
	}
	return l.values.Value(key)
}

// Drain is the host's word that the process is being replaced.
func (s pluginService) Drain(context.Context, *pluginv1.DrainRequest) (*pluginv1.DrainResponse, error) {
	s.server.replace(ErrReplaced)
	return &pluginv1.DrainResponse{}, nil
}
