package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/lane"
	"github.com/agenthost/agenthost/host/plugin"
)

const pollsAWorker = 13

// pollsByLane asks about a job that nobody knows, as the host polls and through gRPC, and expects the same.
func pollsByLane(ctx context.Context, k *kit) (string, error) {
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
	request, err := proto.Marshal(&admin.GetTaskRequest{TaskType: unknown.Category.GetName(), TaskCategory: unknown.Category, ResourceMeta: unknown.Meta})
	if err != nil {
		return "", err
	}
	trusted, err := i.trusted()
	if err != nil {
		return "", err
	}
	polls := plugin.OpenLane(i.shake.network, i.shake.address, trusted, slog.New(slog.DiscardHandler))
	defer polls.Close()
	if err := k.awaitLane(ctx, polls); err != nil {
		return "", err
	}
	return k.pollMany(ctx, polls, request, want)
}

// awaitLane waits until polls are taken.
func (k *kit) awaitLane(ctx context.Context, polls *lane.Lane) error {
	ctx, cancel := k.call(ctx)
	defer cancel()
	for !polls.Taking() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return warned("polls do not go by the host's own way: no second connection within %v", k.options.CallTimeout)
		}
	}
	return nil
}

// pollMany polls with all workers at once.
func (k *kit) pollMany(ctx context.Context, polls *lane.Lane, request []byte, want error) (string, error) {
	began := time.Now()
	results := make(chan error, workers*pollsAWorker)
	var polling sync.WaitGroup
	for range workers {
		polling.Go(func() {
			for range pollsAWorker {
				ctx, cancel := k.call(ctx)
				_, err := polls.Call(ctx, time.Time{}, request)
				cancel()
				results <- err
			}
		})
	}
	polling.Wait()
	close(results)
	notTaken := 0
	for err := range results {
		switch {
		case errors.Is(err, lane.ErrNotTaken):
			notTaken++
		case status.Code(err) != status.Code(want):
			return "", failed("a poll is answered with %s, and through gRPC with %s", answerName(err), answerName(want))
		}
	}
	if notTaken > 0 {
		return "", warned("%d of %d polls, %d at once, do not go by the host's own way", notTaken, cap(results), workers)
	}
	return fmt.Sprintf("%d polls, %d at once, in %v", cap(results), workers, time.Since(began).Round(time.Millisecond)), nil
}
