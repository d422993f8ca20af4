package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/proto/agentclient"
)

const (
	largeInput      = 12 << 20
	concurrentCalls = 200
	workers         = 16
	givenUpCalls    = 100

	// A round of calls may leave the process this much larger. It is generous: heaps with garbage collectors, arenas and
	// thread stacks grow in steps. A process that grows more gets further rounds, since one that has merely not settled
	// stops growing, and one that leaks does not. Node takes about 100 MiB before it settles: the young generation of each
	// of its threads grows to 48 MiB.
	leakBytes  = 16 << 20
	leakFiles  = 16
	leakRounds = 8
)

// loadChecks are about much at once, large things, and callers that give up.
func loadChecks() []*Check {
	return []*Check{
		{
			Name:   "load/large-message",
			Reason: "FlytePropeller sends inputs inline, however large they are, and most gRPC libraries refuse more than 4 MiB by default",
			Advice: "raise the server's limit for received messages (max_receive_message_length, max_decoding_message_size, …) to no limit",
			run:    largeMessage,
		},
		{
			Name:   "load/concurrent",
			Reason: "FlytePropeller polls many tasks at once, and a failed poll counts against a task for ever",
			Advice: "serve calls concurrently and do not bound their number below 200; never block the thread or loop that serves",
			run:    concurrent,
		},
		{
			Name:   "load/metrics",
			Reason: "the host asks for the plugin's own metrics whenever it is asked for its own, and leaves out what comes later than a second",
			Advice: "answer PluginService/Metrics from memory: neither wait for calls under way nor for what you measure",
			run:    metricsUnderLoad,
		},
		{
			Name:   "load/deadline",
			Reason: "each call has a deadline, and work for a caller that is gone must not pile up",
			Advice: "pass the call's context or deadline on to whatever you wait for, and release what you hold when it is over",
			run: givenUp(func(ctx context.Context, n int) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Duration(n%10)*200*time.Microsecond)
			}),
		},
		{
			Name:   "load/cancellation",
			Reason: "FlytePropeller cancels its calls when it restarts, and the host when its caller is gone",
			Advice: "pass the call's context on to whatever you wait for, and release what you hold when it is cancelled",
			run: givenUp(func(ctx context.Context, n int) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Duration(n%10)*200*time.Microsecond, cancel)
				return ctx, cancel
			}),
		},
		{
			Name:   "load/leak",
			Reason: "a plugin runs for weeks and is polled every few seconds for every task",
			Advice: "look for what each call leaves behind: entries in maps, open files and connections, threads; a heap profile after some thousand calls shows it",
			run:    leaks,
		},
	}
}

// load is a mixture of calls that a plugin must be able to answer by the thousands.
type load struct {
	calls []func(context.Context) error
	names []string
	next  atomic.Int64
	close func(context.Context)
}

func (l *load) add(name string, call func(context.Context) error) {
	l.calls, l.names = append(l.calls, call), append(l.names, name)
}

// one makes one call, each time another.
func (l *load) one(ctx context.Context) error {
	return l.calls[int(l.next.Add(1))%len(l.calls)](ctx)
}

// loadOn is the mixture for a process: health, the list of agents, and a poll, of a finished job where there is one.
func (k *kit) loadOn(ctx context.Context, i *instance) (*load, error) {
	c := callerOn(i.conn)
	l := &load{close: func(context.Context) {}}
	l.add("Check", c.health)
	listed, err := k.agents(ctx)
	if err == nil {
		l.add("ListAgents", func(ctx context.Context) error {
			_, err := service.NewAgentMetadataServiceClient(c.Conn).ListAgents(ctx, &admin.ListAgentsRequest{})
			return err
		})
	}
	kinds := map[bool]bool{}
	for _, agent := range listed {
		kinds[agent.GetIsSync()] = true
	}
	if samples, err := k.samplesOf(ctx, false); err == nil && !k.failedBefore("tasks/completes") {
		s := samples[0]
		request, err := k.request(s)
		if err != nil {
			return nil, err
		}
		finished, err := k.complete(ctx, c, s, request, nil)
		if err != nil {
			return nil, err
		}
		l.add("GetTask", func(ctx context.Context) error { _, err := c.Get(ctx, finished.job); return err })
		l.close = func(ctx context.Context) { _ = k.deleteJob(ctx, i, s, finished.job, "DeleteTask") } // tasks/delete-finished tells
	} else if kinds[false] && !k.failedBefore("unknown/") {
		l.add("GetTask", func(ctx context.Context) error { _, err := c.Get(ctx, unknownJob()); return err })
	}
	return l, nil
}

// onLoad is a check under load on the shared process.
func (k *kit) onLoad(ctx context.Context, check func(*instance, *load) (string, error)) (string, error) {
	i, err := k.able(ctx)
	if err != nil {
		return "", err
	}
	l, err := k.loadOn(ctx, i)
	if err != nil {
		return "", err
	}
	defer l.close(ctx)
	return check(i, l)
}

func concurrent(ctx context.Context, k *kit) (string, error) {
	return k.onLoad(ctx, func(_ *instance, l *load) (string, error) {
		began := time.Now()
		tally := newTally()
		var calls sync.WaitGroup
		for range concurrentCalls {
			calls.Go(func() {
				ctx, cancel := k.call(ctx)
				defer cancel()
				tally.add(l.one(ctx))
			})
		}
		calls.Wait()
		if err := tally.lost(); err != nil {
			return "", failed("of %d calls at once, %v", concurrentCalls, err)
		}
		return fmt.Sprintf("%d calls at once (%s) in %v", concurrentCalls, strings.Join(l.names, ", "), time.Since(began).Round(time.Millisecond)), nil
	})
}

// givenUp is a check that makes calls which their callers give up, unary and streaming ones, and looks at what follows.
func givenUp(giveUp func(context.Context, int) (context.Context, context.CancelFunc)) func(context.Context, *kit) (string, error) {
	return func(ctx context.Context, k *kit) (string, error) {
		return k.onLoad(ctx, func(i *instance, l *load) (string, error) {
			kinds, _ := k.kinds(ctx) // without a list of agents there are no sync ones
			var calls sync.WaitGroup
			for n := range givenUpCalls {
				calls.Go(func() {
					ctx, cancel := giveUp(ctx, n)
					defer cancel()
					if kinds[true] && n%2 == 0 {
						_ = openSync(ctx, callerOn(i.conn)) // given up as well
						return
					}
					_ = l.one(ctx)
				})
			}
			calls.Wait()
			for n := range l.calls {
				if err := k.untilFree(ctx, l.calls[n]); lost(err) {
					return "", failed("after %d calls whose callers gave up, %s: %s", givenUpCalls, l.names[n], describeError(err))
				}
			}
			return fmt.Sprintf("well after %d calls", givenUpCalls), nil
		})
	}
}

// untilFree makes a call, again where the plugin says that it is still busy with calls that were given up.
func (k *kit) untilFree(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := k.call(ctx)
	defer cancel()
	for {
		err := call(ctx)
		if status.Code(err) != codes.ResourceExhausted {
			return err
		}
		select {
		case <-time.After(firstPoll):
		case <-ctx.Done():
			return err
		}
	}
}

// openSync begins a sync call and waits, without ever sending anything.
func openSync(ctx context.Context, c caller) error {
	stream, err := service.NewSyncAgentServiceClient(c.Conn).ExecuteTaskSync(ctx)
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

func largeMessage(ctx context.Context, k *kit) (string, error) {
	i, err := k.at(ctx, ready)
	if err != nil {
		return "", err
	}
	request, isSync, err := k.largeRequest(ctx)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, k.taskTimeout())
	defer cancel()
	c := callerOn(i.conn)
	var meta []byte
	if isSync {
		_, err = c.sync(ctx, request)
	} else {
		meta, err = c.create(ctx, request)
	}
	if lost(err) || status.Code(err) == codes.OutOfRange || errors.Is(err, io.EOF) {
		return "", failed("a task with an input of %d MiB: %s", largeInput>>20, describeError(err))
	}
	if err != nil {
		return fmt.Sprintf("%d MiB, answered with %s", largeInput>>20, describeError(err)), nil
	}
	if !isSync {
		category := &admin.TaskCategory{Name: request.GetTemplate().GetType(), Version: request.GetTemplate().GetTaskTypeVersion()}
		_ = c.Delete(ctx, agentclient.Job{Category: category, Meta: meta}) // tasks/delete tells
	}
	return fmt.Sprintf("%d MiB, answered with OK", largeInput>>20), nil
}

// largeRequest is a task with a large input: a sample, or a bare one that the plugin is free to refuse.
func (k *kit) largeRequest(ctx context.Context) (request *admin.CreateTaskRequest, isSync bool, err error) {
	for _, isSync := range []bool{false, true} {
		if samples, err := k.samplesOf(ctx, isSync); err == nil {
			if request, err = k.request(samples[0]); err != nil {
				return nil, false, err
			}
			request = proto.CloneOf(request)
			addLargeInput(request)
			return request, isSync, nil
		}
	}
	for _, isSync := range []bool{false, true} {
		categories, err := k.categoriesOf(ctx, isSync)
		if err != nil {
			return nil, false, err
		}
		if len(categories) == 0 {
			continue
		}
		request := &admin.CreateTaskRequest{
			Template: &core.TaskTemplate{Type: categories[0].GetName(), TaskTypeVersion: categories[0].GetVersion()},
			Inputs:   &core.LiteralMap{},
		}
		addLargeInput(request)
		return request, isSync, nil
	}
	return nil, false, skipped("it has no task categories")
}

func addLargeInput(request *admin.CreateTaskRequest) {
	if request.Inputs == nil {
		request.Inputs = &core.LiteralMap{}
	}
	if request.Inputs.Literals == nil {
		request.Inputs.Literals = map[string]*core.Literal{}
	}
	request.Inputs.Literals["agenthost_verify_large"] = &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{
		Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: strings.Repeat("x", largeInput)}}},
	}}}
}

func leaks(ctx context.Context, k *kit) (string, error) {
	k.drop() // what earlier checks made it take would be given back meanwhile, and hide what it loses
	return k.onLoad(ctx, func(i *instance, l *load) (string, error) {
		calls := k.options.LeakCalls
		if err := k.many(ctx, l, max(calls/5, workers)); err != nil { // warm up: code, caches, connections and threads are there once
			return "", err
		}
		before, err := i.usage()
		if err != nil {
			return "", err
		}
		var grown []string
		for range leakRounds {
			if err := k.many(ctx, l, calls); err != nil {
				return "", err
			}
			after, err := i.usage()
			if err != nil {
				return "", err
			}
			bytes, files := after.rss-before.rss, after.files-before.files
			grown = append(grown, fmt.Sprintf("%+.1f MiB, %+d files", float64(bytes)/(1<<20), files))
			if bytes <= leakBytes && files <= leakFiles {
				return fmt.Sprintf("%d calls: %s; now %d MiB, %d files", calls, strings.Join(grown, ", then "), after.rss>>20, after.files), nil
			}
			before = after
		}
		return "", failed("it grows with every %d calls: %s", calls, strings.Join(grown, ", then "))
	})
}

// many makes calls, some at a time.
func (k *kit) many(ctx context.Context, l *load, calls int) error {
	tally := newTally()
	var left atomic.Int64
	left.Store(int64(calls))
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for left.Add(-1) >= 0 && ctx.Err() == nil && tally.lost() == nil {
				ctx, cancel := k.call(ctx)
				tally.add(l.one(ctx))
				cancel()
			}
		})
	}
	working.Wait()
	if err := tally.lost(); err != nil {
		return failed("%v", err)
	}
	return nil
}

// callAll makes each call of the load several times, some at a time, and counts what they get.
func (k *kit) callAll(ctx context.Context, l *load, tally *tally) {
	var calls sync.WaitGroup
	for range workers {
		calls.Go(func() {
			for range l.calls {
				ctx, cancel := k.call(ctx)
				tally.add(l.one(ctx))
				cancel()
			}
		})
	}
	calls.Wait()
}

// keepCalling makes calls, some at a time, until stop, which waits for those under way.
func (k *kit) keepCalling(ctx context.Context, l *load, tally *tally) (stop func()) {
	var enough atomic.Bool
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for !enough.Load() && ctx.Err() == nil {
				ctx, cancel := k.call(ctx)
				tally.add(l.one(ctx))
				cancel()
			}
		})
	}
	return func() { enough.Store(true); working.Wait() }
}

// tally counts what calls got.
type tally struct {
	mu     sync.Mutex
	counts map[codes.Code]int
	first  map[codes.Code]error
}

func newTally() *tally { return &tally{counts: map[codes.Code]int{}, first: map[codes.Code]error{}} }

func (t *tally) add(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	code := status.Code(err)
	if t.counts[code]++; t.counts[code] == 1 {
		t.first[code] = err
	}
}

// lost is about the calls that got no answer of the plugin's code.
func (t *tally) lost() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for code, err := range t.first {
		if lost(err) {
			return fmt.Errorf("%d got %s", t.counts[code], describeError(err))
		}
	}
	return nil
}

// beyond is about calls that got a code which none got before.
func (t *tally) beyond(before *tally, which string) error {
	for code, err := range t.first {
		if before.counts[code] == 0 {
			return failed("of the calls %s, %d got %s", which, t.counts[code], describeError(err))
		}
	}
	return nil
}

func (t *tally) total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := 0
	for _, n := range t.counts {
		sum += n
	}
	return sum
}
