package propeller

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// cache is Flyte's auto-refresh cache: workers poll the items in it, each one when it is put in and then at every resync, until it is
// terminal. Rounds only read it. Its flaws are kept: an item is queued at each resync whether or not its last poll has
// ended, so that slow polls pile up; a poll works on the item as it was when queued, so that two of one item under way lose one of
// two failures; and what was never terminal stays, and is polled, for ever.
type cache struct {
	opts  *Options
	queue *queue
	poll  func(context.Context, item) item
	alive atomic.Int32 // workers

	mu       sync.Mutex
	items    map[string]item
	toDelete map[string]struct{}
	// queued holds when items were put in that no worker has taken yet.
	queued map[string]time.Time
}

// item is a task's job in the cache: a value, replaced by each poll.
type item struct {
	state
	resource *resource // the agent's last answer; nil before the first
}

func (i item) terminal(flyte Flyte) bool {
	return i.phase.terminal() || i.resource != nil && i.resource.terminal(flyte)
}

func newCache(opts *Options, poll func(context.Context, item) item) *cache {
	return &cache{
		opts: opts, queue: newQueue(opts), poll: poll,
		items: map[string]item{}, toDelete: map[string]struct{}{}, queued: map[string]time.Time{},
	}
}

func (c *cache) start(ctx context.Context, running *sync.WaitGroup) {
	running.Go(func() { c.queue.run(ctx) })
	running.Go(func() { c.resync(ctx) })
	for range c.opts.Workers {
		c.alive.Add(1)
		running.Go(func() {
			defer c.alive.Add(-1)
			c.work(ctx)
		})
	}
}

// getOrCreate gives the item, and puts it in and has it polled at once if it is new.
func (c *cache) getOrCreate(ctx context.Context, id string, fresh item) item {
	c.mu.Lock()
	defer c.mu.Unlock()
	if present, ok := c.items[id]; ok {
		return present
	}
	c.items[id] = fresh
	c.queued[id] = time.Now()
	c.queue.add(ctx, queued{id, fresh})
	return fresh
}

// deleteLater removes the item in the course of the next poll of any item, or at the next resync.
func (c *cache) deleteLater(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.toDelete[id] = struct{}{}
}

func (c *cache) resync(ctx context.Context) {
	ticker := time.NewTimer(c.opts.Resync)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, entry := range c.due() {
			c.queue.add(ctx, entry)
		}
		ticker.Reset(c.opts.Resync)
	}
}

func (c *cache) due() []queued {
	c.mu.Lock()
	defer c.mu.Unlock()
	var due []queued
	for id, present := range c.items {
		if _, ok := c.toDelete[id]; ok {
			c.delete(id)
			continue
		}
		since, waiting := c.queued[id]
		if waiting && time.Since(since) > 5*c.opts.Resync {
			delete(c.queued, id) // lost on its way, Flyte thinks
			waiting = false
		}
		if !waiting && !present.terminal(c.opts.Flyte) {
			due = append(due, queued{id, present})
		}
	}
	return due
}

// work is one worker. It ends when it meets an item that has no resource_meta: a sync answer that was not terminal. The real worker
// panics there, and nothing starts another.
func (c *cache) work(ctx context.Context) {
	for {
		var next queued
		select {
		case <-ctx.Done():
			return
		case next = <-c.queue.ready:
		}
		c.mu.Lock()
		delete(c.queued, next.id)
		present, ok := c.items[next.id]
		c.mu.Unlock()
		if !ok || present.terminal(c.opts.Flyte) {
			continue
		}
		if next.item.meta == nil {
			return
		}
		updated := c.poll(ctx, next.item)
		if ctx.Err() != nil {
			return
		}
		c.update(next.id, updated)
	}
}

func (c *cache) update(id string, updated item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if present, ok := c.items[id]; ok && !present.terminal(c.opts.Flyte) {
		c.items[id] = updated
	}
	for gone := range c.toDelete {
		c.delete(gone)
	}
}

// delete needs c.mu.
func (c *cache) delete(id string) {
	delete(c.items, id)
	delete(c.toDelete, id)
}

// queued is an item on its way to a worker, as it was when it set out.
type queued struct {
	id   string
	item item
}

// queue delays each entry by at least 5 ms, and by more where the rate limit asks for it, and then hands them to workers in order.
type queue struct {
	limit *rate.Limiter
	added chan delayed
	ready chan queued
}

type delayed struct {
	entry queued
	at    time.Time
}

func newQueue(opts *Options) *queue {
	limit := rate.Inf
	if opts.PollRate > 0 {
		limit = rate.Limit(opts.PollRate)
	}
	return &queue{limit: rate.NewLimiter(limit, opts.PollBurst), added: make(chan delayed), ready: make(chan queued)}
}

func (q *queue) add(ctx context.Context, entry queued) {
	delay := max(5*time.Millisecond, q.limit.Reserve().Delay())
	select {
	case q.added <- delayed{entry, time.Now().Add(delay)}:
	case <-ctx.Done():
	}
}

// run owns the entries on their way. Delays do not shrink from one entry to the next, as the limiter's reservations come one after
// the other, so that a plain slice is in order.
func (q *queue) run(ctx context.Context) {
	var waiting []delayed
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var out chan queued
		var first queued
		if len(waiting) > 0 {
			if wait := time.Until(waiting[0].at); wait > 0 {
				timer.Reset(wait)
			} else {
				out, first = q.ready, waiting[0].entry
			}
		}
		select {
		case <-ctx.Done():
			return
		case more := <-q.added:
			waiting = append(waiting, more)
		case out <- first:
			waiting = waiting[1:]
		case <-timer.C:
		}
	}
}
