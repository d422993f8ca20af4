package gateway

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
)

// maxDeletePause is how far apart two failed deletions of one job are at most; jobs may have one name.
const maxDeletePause = 30 * time.Minute

// delete answers DeleteTask. Flyte 2 deletes every job, long forgotten ones too, and repeats a deletion that fails without
// bound, while it keeps the task's record. So a job that is gone is deleted.
//
// So is, after a while, one that no plugin serves. Until then it may run and cost money, and the plugin may be back with the
// next configuration: the deletion fails, and Flyte repeats it.
func (g *Gateway) delete(ctx context.Context, c *routedCall) (*frame, error) {
	if err := g.limits.of(c.route).acquireRate(ctx, c, 0); err != nil {
		return nil, err
	}
	asking, cancel := withWordsTime(ctx)
	defer cancel()
	var got reply
	var err error
	if c.record != nil {
		got, err = g.deleteRecorded(asking, c) // G15
	} else {
		got, err = g.ask(asking, c)
	}
	switch {
	case err == nil || !g.enabled.Has(guarantee.UnknownJobs): // G7
	case got.answered && status.Code(err) == codes.NotFound:
		g.record(c, guarantee.UnknownJobs) // G7
		got.message.set(nil)
		err = nil
	case tooLarge(err) && g.enabled.Has(guarantee.SizeLimits): // it answers with a message what it has done, and that says nothing
		g.record(c, guarantee.SizeLimits) // G10
		got.message, err = &frame{}, nil
	case ctx.Err() == nil && c.unserved() && g.statuses.Failed(c.job, maxDeletePause).Failing >= c.route.Policy.MaxStale:
		g.record(c, guarantee.UnknownJobs) // G7
		job, _ := c.method.read(c.request.bytes())
		c.logTo(g.log).Warn("no plugin came that could delete a job, and Flyte is told that it is deleted: if it still runs, it goes on",
			"task_type", c.info.category.Name, "resource_meta", cut(strconv.Quote(string(job.meta)), maxReason), "after", c.route.Policy.MaxStale)
		got.message, err = &frame{}, nil
	}
	if err == nil {
		c.ended = true
		g.creates.Gone(c.job)
		g.statuses.Forget(c.job) // how long it could not be deleted
	}
	return deliver(ctx, got), err
}
