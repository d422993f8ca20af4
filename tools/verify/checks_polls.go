package verify

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/plugin"
)

const pollsAWorker = 13

// hostPolls asks about a job that nobody knows, as the host polls and through gRPC, and expects the same.
func hostPolls(ctx context.Context, k *kit) (string, error) {
	i, err := k.able(ctx)
	if err != nil {
		return "", err
	}
	if kinds, err := k.kinds(ctx); err != nil || !kinds[false] || k.failedBefore("unknown/") {
		return "", skipped("there is nothing to poll")
	}
	unknown := unknownJob()
	asking, cancel := k.call(ctx)
	_, want := callerOn(i.conn).Get(asking, unknown)
	cancel()
	trusted, err := i.trusted()
	if err != nil {
		return "", err
	}
	conn := plugin.NewConn(i.conn, i.shake.network, i.shake.address, trusted, slog.New(slog.DiscardHandler))
	defer conn.Close()
	if err := k.awaitPollConnection(ctx, conn); err != nil {
		return "", err
	}
	request := &admin.GetTaskRequest{TaskType: unknown.Category.GetName(), TaskCategory: unknown.Category, ResourceMeta: unknown.Meta}
	return k.pollMany(ctx, conn, request, want)
}

// awaitPollConnection waits until polls have a connection of their own.
func (k *kit) awaitPollConnection(ctx context.Context, conn *plugin.Conn) error {
	ctx, cancel := k.call(ctx)
	defer cancel()
	for !conn.PollStats().Connected {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return warned("polls have no connection of their own: no second connection within %v", k.options.CallTimeout)
		}
	}
	return nil
}

// pollMany polls with all workers at once.
func (k *kit) pollMany(ctx context.Context, conn *plugin.Conn, request *admin.GetTaskRequest, want error) (string, error) {
	codec := grpc.ForceCodecV2(hostCodec{encoding.GetCodecV2(proto.Name)})
	began := time.Now()
	results := make(chan error, workers*pollsAWorker)
	var polling sync.WaitGroup
	for range workers {
		polling.Go(func() {
			for range pollsAWorker {
				ctx, cancel := k.call(ctx)
				results <- conn.Invoke(ctx, service.AsyncAgentService_GetTask_FullMethodName, request, &admin.GetTaskResponse{}, codec)
				cancel()
			}
		})
	}
	polling.Wait()
	close(results)
	for err := range results {
		if status.Code(err) != status.Code(want) {
			return "", failed("a poll is answered with %s, and through gRPC with %s", answerName(err), answerName(want))
		}
	}
	if stats := conn.PollStats(); stats.Fallback > 0 {
		return "", warned("%d of %d polls, %d at once, do not go by the connection for polls", stats.Fallback, cap(results), workers)
	}
	return fmt.Sprintf("%d polls, %d at once, in %v", cap(results), workers, time.Since(began).Round(time.Millisecond)), nil
}

// hostCodec is protobuf's by plain application/grpc, like the host's, whose calls with it go by the connection for polls.
type hostCodec struct{ encoding.CodecV2 }

func (hostCodec) Name() string { return "" }
