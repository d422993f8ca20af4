package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/state"
	"github.com/agenthost/agenthost/host/tracing"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// cloud is the service behind a plugin, which keeps jobs by their attempt's key. Any number of processes of the plugin use it.
type cloud struct {
	mu      sync.Mutex
	jobs    map[string]*cloudJob
	made    int
	refuse  error         // what creations are refused with
	slow    time.Duration // what a creation takes
	deadly  string        // the output prefix of a task that kills the process that creates it
	created []string      // output prefixes, in order
	deaths  int
}

type cloudJob struct {
	name               string
	prefix             string
	connection         []byte
	deleted, abandoned bool
}

// link is the process of the plugin that one host has. It is a connection and a route.Target; all its time is the test's.
type link struct {
	cloud *cloud
	name  string

	mu     sync.Mutex
	up     chan struct{} // closed while the process is there
	since  time.Time     // when it went away
	ended  chan struct{} // of the process that is there
	frozen chan struct{} // nil while it answers; closed when it does again
}

func newLink(c *cloud) *link {
	l := &link{cloud: c, name: "finder", up: make(chan struct{}), ended: make(chan struct{})}
	close(l.up)
	return l
}

func (l *link) Plugin() string { return l.name }

func (l *link) set(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.up:
		if !up {
			l.up, l.since = make(chan struct{}), time.Now()
			close(l.ended)
		}
	default:
		if up {
			l.ended = make(chan struct{})
			close(l.up)
		}
	}
}

// freeze stops the process as SIGSTOP does, and thaws it.
func (l *link) freeze(frozen bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if frozen {
		l.frozen = make(chan struct{})
	} else {
		close(l.frozen)
		l.frozen = nil
	}
}

func (l *link) TryAcquire(want route.Want) (route.Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.up:
		return route.Lease{Generation: "g1", Conn: l, Ended: l.ended, Release: func() {}}, true
	default:
		return route.Lease{}, false
	}
}

func (l *link) Acquire(ctx context.Context, want route.Want) (route.Lease, error) {
	for {
		l.mu.Lock()
		up := l.up
		l.mu.Unlock()
		select {
		case <-up:
			if lease, ok := l.TryAcquire(want); ok {
				return lease, nil
			}
		case <-ctx.Done():
			trouble, _ := l.Trouble()
			return route.Lease{}, trouble
		}
	}
}

func (l *link) Trouble() (route.Trouble, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.up:
		return route.Trouble{}, false
	default:
		return route.Trouble{Since: l.since, Reason: `plugin "finder" is restarting: it was killed`}, true
	}
}

func (l *link) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("there are no streams here")
}

// Invoke is a call of the process. It ends without an answer when the process does.
func (l *link) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	l.mu.Lock()
	ended, frozen := l.ended, l.frozen
	l.mu.Unlock()
	for _, option := range options {
		if taker, ok := option.(grpc.PeerCallOption); ok {
			taker.PeerAddr.Addr = &net.UnixAddr{Name: "plugin"}
		}
	}
	if frozen != nil {
		select {
		case <-frozen:
		case <-ended:
			return status.Error(codes.Unavailable, "the connection broke")
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	answer, err := l.cloud.answer(ctx, l, method, args.(*frame).bytes(), ended)
	if errors.Is(err, errDied) {
		return status.Error(codes.Unavailable, "the connection broke")
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	for _, option := range options {
		if header, ok := option.(grpc.HeaderCallOption); ok {
			*header.HeaderAddr = metadata.Pairs("content-type", "application/grpc")
		}
	}
	if err == nil {
		reply.(*frame).set(answer)
	}
	return err
}

var errDied = errors.New("the process died")

// answer is what the plugin does.
func (c *cloud) answer(ctx context.Context, l *link, method string, message []byte, ended chan struct{}) ([]byte, error) {
	sent, _ := metadata.FromOutgoingContext(ctx)
	switch method[strings.LastIndex(method, "/")+1:] {
	case "CreateTask":
		request := &admin.CreateTaskRequest{}
		if err := proto.Unmarshal(message, request); err != nil {
			return nil, err
		}
		key := sent.Get(pluginv1.IdempotencyKeyHeader)[0]
		finds, gives := len(sent.Get(pluginv1.FindOnlyHeader)) > 0, len(sent.Get(pluginv1.AbandonHeader)) > 0
		c.mu.Lock()
		slow, deadly := c.slow, c.deadly
		c.mu.Unlock()
		if !finds && !gives {
			if deadly != "" && request.GetOutputPrefix() == deadly {
				c.mu.Lock()
				c.deaths++
				c.mu.Unlock()
				l.set(false)
				l.set(true)
				return nil, errDied
			}
			select {
			case <-time.After(slow):
			case <-ended:
				return nil, errDied
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		job := c.jobs[key]
		switch {
		case gives && job == nil:
			c.jobs[key] = &cloudJob{prefix: request.GetOutputPrefix(), abandoned: true}
			return nil, nil
		case gives:
			job.deleted, job.abandoned = true, true
			return nil, nil
		case job != nil && job.abandoned:
			return nil, status.Error(codes.Aborted, "it was given up")
		case finds && job == nil:
			return nil, status.Error(codes.NotFound, "no job has this key")
		case job == nil && c.refuse != nil:
			return nil, c.refuse
		case job == nil:
			c.made++
			job = &cloudJob{name: fmt.Sprint("job ", c.made), prefix: request.GetOutputPrefix()}
			job.connection, _ = protowire.ConsumeBytes(request.ProtoReflect().GetUnknown()[min(1, len(request.ProtoReflect().GetUnknown())):])
			c.jobs[key] = job
			c.created = append(c.created, job.prefix)
		}
		return proto.Marshal(&admin.CreateTaskResponse{ResourceMeta: []byte(job.name)})
	case "GetTask":
		request := &admin.GetTaskRequest{}
		if err := proto.Unmarshal(message, request); err != nil {
			return nil, err
		}
		job := c.byName(request.GetResourceMeta())
		switch {
		case job == nil:
			return nil, status.Errorf(codes.NotFound, "there is no job %q", request.GetResourceMeta())
		case job.deleted:
			return proto.Marshal(&admin.GetTaskResponse{Resource: &admin.Resource{Phase: core.TaskExecution_FAILED, Message: "cancelled"}})
		}
		return proto.Marshal(&admin.GetTaskResponse{Resource: &admin.Resource{Phase: core.TaskExecution_RUNNING, Message: job.prefix}})
	case "DeleteTask":
		request := &admin.DeleteTaskRequest{}
		if err := proto.Unmarshal(message, request); err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, job := range c.jobs {
			if job.name == string(request.GetResourceMeta()) {
				job.deleted = true
			}
		}
		return nil, nil
	case "GetTaskMetrics":
		request := &admin.GetTaskMetricsRequest{}
		if err := proto.Unmarshal(message, request); err != nil {
			return nil, err
		}
		if c.byName(request.GetResourceMeta()) == nil {
			return nil, status.Error(codes.NotFound, "no such job")
		}
		return nil, nil
	}
	return nil, status.Errorf(codes.Unimplemented, "%s", method)
}

// byName returns a copy of a job as it is now; nil where there is none.
func (c *cloud) byName(meta []byte) *cloudJob {
	return c.find(func(job *cloudJob) bool { return job.name == string(meta) && job.name != "" })
}

func (c *cloud) find(wanted func(*cloudJob) bool) *cloudJob {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, job := range c.jobs {
		if wanted(job) {
			found := *job
			return &found
		}
	}
	return nil
}

// count is how many jobs were made.
func (c *cloud) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made
}

// refusing has creations refused from now on; nil: no longer.
func (c *cloud) refusing(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = err
}

func newCloud() *cloud { return &cloud{jobs: map[string]*cloudJob{}} }

// replica is a host of which only the gateway runs, with no network.
type replica struct {
	*Gateway
	link     *link
	registry *prometheus.Registry
}

func testKeys(t *testing.T) func() *record.Keys {
	t.Helper()
	keys, err := record.ParseKeys(record.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return func() *record.Keys { return keys }
}

// finding is the manifest of a plugin that finds its jobs.
func finding() plugin.Manifest {
	m := manifestOf(asyncAgent("x"))
	m.Capabilities = []string{pluginv1.CapabilityIdempotentCreate, pluginv1.CapabilityFindByKey}
	return m
}

func startReplica(l *link, keys func() *record.Keys, change func(*Options, *route.Claim)) *replica {
	registry := prometheus.NewRegistry()
	creation := DefaultCreation()
	creation.OnRecord, creation.Keys = true, keys
	options := Options{Routes: &route.Current{}, MaxMessageSize: 64 << 20, Log: slog.New(slog.DiscardHandler), Metrics: registry, Creation: creation}
	claim := route.Claim{Target: l, Policy: usual, Manifest: finding()}
	if change != nil {
		change(&options, &claim)
	}
	table, _ := route.NewTable(claim)
	options.Routes.Publish(table)
	return &replica{New(options), l, registry}
}

// stop ends the host as a kill does: nothing is waited for.
func (r *replica) stop() {
	r.closing.Lock()
	r.cancel()
	r.closing.Unlock()
	r.detached.Wait()
	r.server.Stop()
}

// call makes a call as a caller with Flyte's deadline.
func (r *replica) call(name string, g generation, message proto.Message) ([]byte, error) {
	ctx, cancel := context.WithTimeout(peer.NewContext(context.Background(), &peer.Peer{Addr: &net.TCPAddr{}}), 10*time.Second)
	defer cancel()
	for _, m := range []method{
		{name: "CreateTask", operation: "create", read: readCreate, creates: true},
		{name: "GetTask", operation: "get", read: readPoll, repeatable: true, polls: true},
		{name: "DeleteTask", operation: "delete", read: readJob(getTaskCategory), repeatable: true, deletes: true},
		{name: "GetTaskMetrics", operation: "get_metrics", read: readJob(metricTaskCategory), repeatable: true},
	} {
		if m.name != name {
			continue
		}
		m.generation, m.target = g, pluginAsync+m.name
		m.served, m.asked = tracing.NewMethod("/x.X/"+m.name), tracing.NewMethod(m.target)
		answer, err := r.unary(m)(nil, ctx, func(request any) error {
			request.(*frame).set(frameOf(message).bytes())
			return nil
		}, nil)
		if err != nil {
			return nil, err
		}
		return bytes.Clone(answer.(*frame).bytes()), nil
	}
	panic("there is no method " + name)
}

func (r *replica) create(request *admin.CreateTaskRequest) ([]byte, error) {
	raw, err := r.call("CreateTask", flyte1, request)
	if err != nil {
		return nil, err
	}
	response := &admin.CreateTaskResponse{}
	err = proto.Unmarshal(raw, response)
	return response.GetResourceMeta(), err
}

func pollOf(meta []byte, request *admin.CreateTaskRequest) *admin.GetTaskRequest {
	poll := &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: request.GetTemplate().GetType()}}
	poll.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, getOutputPrefix, protowire.BytesType), request.GetOutputPrefix()))
	return poll
}

func (r *replica) poll(meta []byte, request *admin.CreateTaskRequest) (*admin.Resource, error) {
	raw, err := r.call("GetTask", flyte1, pollOf(meta, request))
	if err != nil {
		return nil, err
	}
	response := &admin.GetTaskResponse{}
	err = proto.Unmarshal(raw, response)
	return response.GetResource(), err
}

func (r *replica) delete(meta []byte, request *admin.CreateTaskRequest) error {
	_, err := r.call("DeleteTask", flyte1, &admin.DeleteTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: request.GetTemplate().GetType()}})
	return err
}

// inBubble runs a test with two replicas of a host, each with a process of the plugin.
func inBubble(t *testing.T, change func(*Options, *route.Claim), test func(t *testing.T, c *cloud, one, two *replica)) {
	t.Helper()
	keys := testKeys(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		one, two := startReplica(newLink(c), keys, change), startReplica(newLink(c), keys, change)
		defer two.stop()
		defer one.stop()
		test(t, c, one, two)
	})
}

func (r *replica) mustPoll(t *testing.T, meta []byte, request *admin.CreateTaskRequest, phase core.TaskExecution_Phase, says string) {
	t.Helper()
	got, err := r.poll(meta, request)
	if err != nil || got.GetPhase() != phase || !strings.Contains(got.GetMessage(), says) {
		t.Errorf("a poll reads %v, %v; want %v with %q", got, err, phase, says)
	}
}

func TestATaskOfAPluginThatIsAwayIsAcceptedAndMadeWhenThePluginIsBack(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, two *replica) {
		request := attempt("x", 0)
		one.link.set(false)
		began := time.Now()
		meta, err := one.create(request)
		if err != nil || !record.Is(meta) {
			t.Fatalf("got %q, %v", meta, err)
		}
		if took := time.Since(began); took > troubleAfter+100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		one.mustPoll(t, meta, request, core.TaskExecution_QUEUED, "restarting: it was killed")
		began = time.Now()
		if second, err := one.create(attempt("x", 1)); err != nil || !record.Is(second) || time.Since(began) > 100*time.Millisecond {
			t.Errorf("the next one: %v after %v", err, time.Since(began))
		}
		one.link.set(true)
		time.Sleep(time.Second)
		one.mustPoll(t, meta, request, core.TaskExecution_RUNNING, request.GetOutputPrefix())
		two.mustPoll(t, meta, request, core.TaskExecution_RUNNING, request.GetOutputPrefix()) // it finds the job
		if c.count() != 2 {
			t.Errorf("%d jobs were made of two tasks", c.count())
		}
		if n := recordedIn(t, one.registry, guarantee.OnRecord); n != 2 {
			t.Errorf("counted %d times", n)
		}
	})
}

func TestATaskOnRecordIsMadeByAnotherReplicaWhenTheOneThatAcceptedItIsGone(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, two *replica) {
		request := attempt("x", 0)
		one.link.set(false)
		meta, err := one.create(request)
		if err != nil {
			t.Fatal(err)
		}
		one.stop()
		two.mustPoll(t, meta, request, core.TaskExecution_RUNNING, request.GetOutputPrefix())
		if c.count() != 1 {
			t.Errorf("%d jobs", c.count())
		}
		if err := two.delete(meta, request); err != nil {
			t.Fatal(err)
		}
		if !c.byName([]byte("job 1")).deleted {
			t.Error("the job goes on")
		}
		two.mustPoll(t, meta, request, core.TaskExecution_FAILED, "was deleted")
	})
}

func TestADeletedTaskIsNeverMade(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, two *replica) {
		request := attempt("x", 0)
		one.link.set(false)
		meta, err := one.create(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := two.delete(meta, request); err != nil { // the first one does not know
			t.Fatal(err)
		}
		one.link.set(true)
		time.Sleep(10 * time.Second)
		for _, r := range []*replica{one, two} {
			r.mustPoll(t, meta, request, core.TaskExecution_FAILED, "was deleted")
			if err := r.delete(meta, request); err != nil {
				t.Errorf("deleted once more: %v", err)
			}
		}
		if c.count() != 0 {
			t.Errorf("%d jobs", c.count())
		}
	})
}

func TestASilentPluginHoldsUpFiveCallsAndTheOthersGoOnRecord(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, _ *replica) {
		one.link.freeze(true)
		var all sync.WaitGroup
		var mu sync.Mutex
		var took []time.Duration
		for i := range 20 {
			all.Go(func() {
				began := time.Now()
				meta, err := one.create(attempt("x", uint32(i)))
				if err != nil || !record.Is(meta) {
					t.Errorf("got %q, %v", meta, err)
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
			})
		}
		all.Wait()
		for _, d := range took {
			if d > troubleAfter+2*troubleLook {
				t.Errorf("a caller waited for %v", d)
			}
		}
		one.link.freeze(false)
		time.Sleep(time.Second)
		if c.count() != 20 {
			t.Errorf("%d jobs of 20 tasks", c.count())
		}
	})
}

// They are made one by one when the plugin is back, and each that waits for its turn would hold one of Flyte's workers.
func TestThoseInWhoseCreationAPluginDiedWaitNoLongerThanOthers(t *testing.T) {
	for _, test := range []struct {
		finds   bool
		waiting int
	}{{finds: true}, {waiting: maxWaiting}} {
		change := func(_ *Options, c *route.Claim) {
			if !test.finds {
				c.Manifest.Capabilities = []string{pluginv1.CapabilityIdempotentCreate}
			}
		}
		inBubble(t, change, func(t *testing.T, c *cloud, one, _ *replica) {
			c.slow = 100 * time.Millisecond
			var all sync.WaitGroup
			var mu sync.Mutex
			waited := 0
			for i := range 20 {
				all.Go(func() {
					began := time.Now()
					meta, err := one.create(attempt("x", uint32(i)))
					mu.Lock()
					defer mu.Unlock()
					switch {
					case time.Since(began) > 2*troubleAfter:
						waited++
					case test.finds && !record.Is(meta):
						t.Errorf("one that can go on record gets %q, %v", meta, err)
					case !test.finds && !strings.Contains(fmt.Sprint(err), "restarting: it was killed; as many tasks wait for it"):
						t.Errorf("one that cannot is refused with %v", err)
					}
				})
			}
			time.Sleep(50 * time.Millisecond)
			one.link.set(false)
			all.Wait()
			if waited != test.waiting {
				t.Errorf("%+v: %d of 20 waited", test, waited)
			}
			one.link.set(true)
			time.Sleep(time.Minute)
			if test.finds && c.count() != 20 {
				t.Errorf("%d jobs of 20 tasks", c.count())
			}
		})
	}
}

// A plugin that is back takes them, however long their turn takes to come: nobody is refused for that.
func TestThoseWhoWaitForTheirTurnAreNotRefusedByAPluginThatIsThere(t *testing.T) {
	change := func(_ *Options, c *route.Claim) {
		c.Manifest.Capabilities = []string{pluginv1.CapabilityIdempotentCreate}
	}
	inBubble(t, change, func(t *testing.T, c *cloud, one, _ *replica) {
		c.slow = 300 * time.Millisecond
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if _, err := one.create(attempt("x", uint32(i))); err != nil {
					t.Errorf("task %d: %v", i, err)
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		one.link.set(false)
		one.link.set(true)
		all.Wait()
	})
}

func TestASlowCreationIsAnsweredWithARecordInsteadOfBeingLost(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, _ *replica) {
		c.slow = 30 * time.Second
		request := attempt("x", 0)
		meta, err := one.create(request)
		if err != nil || !record.Is(meta) {
			t.Fatalf("got %q, %v", meta, err)
		}
		got, err := one.poll(meta, request)
		if err != nil || got.GetPhase() == core.TaskExecution_FAILED {
			t.Errorf("meanwhile: %v, %v", got, err)
		}
		time.Sleep(time.Minute)
		one.mustPoll(t, meta, request, core.TaskExecution_RUNNING, request.GetOutputPrefix())
		if c.count() != 1 {
			t.Errorf("%d jobs", c.count())
		}
	})
}

func TestATaskThatWaitsForTooLongEndsByAHostThatKnowsThatItHasNoJob(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, two *replica) {
		request := attempt("x", 0)
		c.refusing(status.Error(codes.Unavailable, "the service has its holidays"))
		meta, err := one.create(request)
		if err != nil {
			t.Fatal(err)
		}
		two.link.set(false)
		time.Sleep(DefaultCreation().MaxWait + time.Minute)
		one.mustPoll(t, meta, request, pluginv1.PhaseRetryableFailed, "the service has its holidays")
		two.mustPoll(t, meta, request, core.TaskExecution_RUNNING, "not known yet") // it cannot ask
		c.refusing(nil)
		two.link.set(true)
		two.mustPoll(t, meta, request, core.TaskExecution_FAILED, "deleted") // what was said is not taken back
		if c.count() != 0 {
			t.Errorf("%d jobs", c.count())
		}
	})
}

func TestARefusedTaskSpendsARetryUnlessNoRetryCanHelp(t *testing.T) {
	for name, test := range map[string]struct {
		final []codes.Code
		retry uint32
		phase core.TaskExecution_Phase
	}{
		"by default":        {nil, 1, pluginv1.PhaseRetryableFailed},
		"the first attempt": {[]codes.Code{codes.InvalidArgument}, 0, pluginv1.PhaseRetryableFailed},
		"for good":          {[]codes.Code{codes.InvalidArgument}, 1, core.TaskExecution_FAILED},
	} {
		change := func(o *Options, _ *route.Claim) { o.Creation.FinalCodes = test.final }
		inBubble(t, change, func(t *testing.T, c *cloud, one, _ *replica) {
			c.refusing(status.Error(codes.InvalidArgument, "no such table"))
			request := attempt("x", test.retry)
			one.link.set(false)
			meta, err := one.create(request)
			if err != nil {
				t.Fatal(err)
			}
			one.link.set(true)
			time.Sleep(time.Second)
			one.mustPoll(t, meta, request, test.phase, "InvalidArgument: no such table")

			// And the same where the refusal comes while the caller waits.
			meta, err = one.create(attempt("x", test.retry+10))
			switch {
			case test.phase == core.TaskExecution_FAILED && err == nil:
				one.mustPoll(t, meta, request, test.phase, "no such table")
			case test.final == nil && status.Code(err) != codes.InvalidArgument:
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestAPoisonousTaskEndsAndCostsOthersNothing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, _ *replica) {
		poison := attempt("x", 1000)
		c.deadly, c.slow = poison.GetOutputPrefix(), 10*time.Millisecond
		var all sync.WaitGroup
		metas := make([][]byte, 100)
		for i := range metas {
			all.Go(func() {
				var err error
				if metas[i], err = one.create(attempt("x", uint32(i))); err != nil {
					t.Errorf("task %d: %v", i, err)
				}
			})
		}
		meta, err := one.create(poison)
		all.Wait()
		if err != nil {
			t.Fatal(err)
		}
		one.mustPoll(t, meta, poison, core.TaskExecution_FAILED, `plugin "finder" died 3 times while it began this "x" task`)
		time.Sleep(time.Minute)
		for i, meta := range metas {
			one.mustPoll(t, meta, attempt("x", uint32(i)), core.TaskExecution_RUNNING, fmt.Sprint("n0/", i))
		}
		if c.count() != 100 {
			t.Errorf("%d jobs of 100 good tasks", c.count())
		}
	})
}

func TestWhatFlyteCannotKeepWaitsWithItsCall(t *testing.T) {
	for name, change := range map[string]func(*Options, *route.Claim){
		"one record":      func(o *Options, _ *route.Claim) { o.Creation.RecordMax = 100 },
		"the execution's": func(o *Options, _ *route.Claim) { o.Creation.RecordMaxPerExecution = 100 },
		"switched off":    func(o *Options, _ *route.Claim) { o.Creation.OnRecord = false },
		"without a key":   func(o *Options, _ *route.Claim) { o.Creation.Keys = func() *record.Keys { return nil } },
		"a plugin cannot find": func(_ *Options, c *route.Claim) {
			c.Manifest.Capabilities = []string{pluginv1.CapabilityIdempotentCreate}
		},
		"without the guarantee": func(o *Options, _ *route.Claim) { o.Without = guarantee.SetOf(guarantee.OnRecord) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, change, func(t *testing.T, c *cloud, one, _ *replica) {
				one.link.set(false)
				began := time.Now()
				_, err := one.create(attempt("x", 0))
				if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "restarting: it was killed") || time.Since(began) < 8*time.Second {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				time.AfterFunc(time.Second, func() { one.link.set(true) })
				if meta, err := one.create(attempt("x", 1)); err != nil || record.Is(meta) {
					t.Errorf("a plugin that comes back: %q, %v", meta, err)
				}
			})
		})
	}
}

func TestAFanOutDuringAPauseStaysWithinWhatFlyteCanKeep(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, _ *replica) {
		one.link.set(false)
		time.AfterFunc(60*time.Second, func() { one.link.set(true) })
		total, sealed := 0, 0
		for i := range 200 {
			request := attempt("x", uint32(i))
			request.Template.Interface = &core.TypedInterface{Outputs: &core.VariableMap{Variables: map[string]*core.Variable{"o0": {Description: strings.Repeat("what it is ", 20)}}}}
			meta, err := one.create(request)
			if err != nil {
				t.Fatalf("task %d: %v", i, err)
			}
			if record.Is(meta) {
				total += len(meta)
				sealed++
			}
		}
		if total > DefaultCreation().RecordMaxPerExecution || sealed < 100 {
			t.Errorf("%d records take %d bytes", sealed, total)
		}
	})
}

func TestFewCallsWaitForAPluginInTroubleAndTheRestIsRefusedWithTheReason(t *testing.T) {
	for _, test := range []struct {
		without guarantee.Set
		back    bool // before a second is over
		waiting int
	}{{waiting: maxWaiting}, {back: true, waiting: 20}, {without: guarantee.SetOf(guarantee.Fairness), waiting: 20}} {
		change := func(o *Options, c *route.Claim) { c.Manifest.Capabilities, o.Without = nil, test.without }
		inBubble(t, change, func(t *testing.T, _ *cloud, one, _ *replica) {
			one.link.set(false)
			var all sync.WaitGroup
			var mu sync.Mutex
			waited := 0
			began := time.Now()
			for i := range 20 {
				all.Go(func() {
					_, err := one.create(attempt("x", uint32(i)))
					mu.Lock()
					defer mu.Unlock()
					if time.Since(began) > 2*troubleAfter || err == nil {
						waited++
					} else if !strings.Contains(err.Error(), "restarting: it was killed; as many tasks wait for it") {
						t.Errorf("it is refused with %v", err)
					}
				})
			}
			if test.back {
				time.Sleep(troubleAfter / 2)
				one.link.set(true)
			}
			all.Wait()
			if waited != test.waiting {
				t.Errorf("%+v: %d of 20 waited", test, waited)
			}
			if n := recordedIn(t, one.registry, guarantee.Fairness); n != 20-test.waiting {
				t.Errorf("%+v: counted %d times", test, n)
			}
		})
	}
}

func TestAJobThatNobodyKnowsOfIsDeletedAfterAWhile(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*Options, *route.Claim)
		again   bool
		deleted bool
	}{
		"nobody asks":         {deleted: true},
		"Flyte asks again":    {again: true},
		"it is not to be":     {change: func(_ *Options, c *route.Claim) { c.Manifest.Capabilities = []string{pluginv1.CapabilityKeepUnclaimed} }},
		"switched off":        {change: func(o *Options, _ *route.Claim) { o.Creation.OrphanGrace = 0 }},
		"without a guarantee": {change: func(o *Options, _ *route.Claim) { o.Without = guarantee.SetOf(guarantee.NoOrphans) }},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(o *Options, c *route.Claim) {
				c.Manifest.Capabilities = nil
				if test.change != nil {
					test.change(o, c)
				}
			}
			inBubble(t, change, func(t *testing.T, c *cloud, one, _ *replica) {
				c.slow = 9 * time.Second
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				time.AfterFunc(5*time.Second, cancel) // Flyte restarts
				m := method{name: "CreateTask", operation: "create", read: readCreate, creates: true, target: pluginAsync + "CreateTask"}
				_, err := one.unary(m)(nil, ctx, func(request any) error {
					request.(*frame).set(frameOf(attempt("x", 0)).bytes())
					return nil
				}, nil)
				if status.Code(err) != codes.Canceled {
					t.Fatalf("got %v", err)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				stacks := make([]byte, 1<<20)
				if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte("gateway.(*Gateway).leave")) {
					t.Errorf("a goroutine waits for a job to be claimed:\n%s", stacks)
				}
				if test.again {
					if meta, err := one.create(attempt("x", 0)); err != nil || string(meta) != "job 1" {
						t.Errorf("asked again: %q, %v", meta, err)
					}
				}
				time.Sleep(DefaultCreation().OrphanGrace + time.Minute)
				if got := c.byName([]byte("job 1")).deleted; got != test.deleted {
					t.Errorf("deleted: %v", got)
				}
				if n := recordedIn(t, one.registry, guarantee.NoOrphans); (n == 1) != test.deleted {
					t.Errorf("counted %d times", n)
				}
			})
		})
	}
}

func TestARecordThatThisHostCannotReadIsNeverGivenToAPlugin(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, _ *replica) {
		request := attempt("x", 0)
		foreign := record.Record{Plugin: "finder", Request: frameOf(request).bytes()}.Seal(testKeys(t)())
		changed := record.Record{Plugin: "finder", Request: frameOf(request).bytes()}.Seal(one.keys())
		changed[len(changed)-1]++
		newer := append([]byte("\xffagenthost\x05"), "whatever it holds"...)
		sealed := record.Seal{TaskType: "x", Meta: foreign}
		elsewhere, spoilt := sealed.Seal(testKeys(t)()), sealed.Seal(one.keys())
		spoilt[len(spoilt)-1]++
		for name, test := range map[string]struct {
			meta []byte
			says string
		}{
			"foreign": {foreign, "other create.keys"}, "changed": {changed, "has been changed"}, "newer": {newer, "newer host"},
			"a foreign seal": {elsewhere, "other create.keys"}, "a changed seal": {spoilt, "has been changed"}, "a foreign record in a seal": {sealed.Seal(one.keys()), "other create.keys"},
		} {
			one.mustPoll(t, test.meta, request, core.TaskExecution_RUNNING, test.says)
			if err := one.delete(test.meta, request); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: deleted: %v", name, err)
			}
			_, err := one.call("GetTaskMetrics", flyte1, &admin.GetTaskMetricsRequest{ResourceMeta: test.meta, TaskCategory: &admin.TaskCategory{Name: "x"}})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("%s: metrics: %v", name, err)
			}
		}
		if len(c.jobs) != 0 {
			t.Error("something was made")
		}
	})
}

func TestMetricsOfATaskOnRecordAreThoseOfItsJob(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, _ *cloud, one, two *replica) {
		one.link.set(false)
		meta, err := one.create(attempt("x", 0))
		if err != nil {
			t.Fatal(err)
		}
		ask := &admin.GetTaskMetricsRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}}
		if _, err := one.call("GetTaskMetrics", flyte1, ask); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the task has no job") {
			t.Errorf("before there is a job: %v", err)
		}
		if _, err := two.call("GetTaskMetrics", flyte1, ask); err != nil {
			t.Errorf("at another replica: %v", err)
		}
	})
}

func TestTheConnectionOfFlyte2IsNotOnRecordAndComesWithThePoll(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, two *replica) {
		connection := func(secret string) []byte {
			return protowire.AppendString(protowire.AppendTag(nil, createConnection, protowire.BytesType), secret)
		}
		request := attempt("x", 0)
		request.ProtoReflect().SetUnknown(connection("first secret"))
		one.link.set(false)
		raw, err := one.call("CreateTask", flyte2, request)
		if err != nil {
			t.Fatal(err)
		}
		response := &admin.CreateTaskResponse{}
		if err := proto.Unmarshal(raw, response); err != nil {
			t.Fatal(err)
		}
		opened, err := record.Open(one.keys(), response.GetResourceMeta())
		if err != nil || bytes.Contains(opened.Request, []byte("first secret")) {
			t.Errorf("on record is %q, %v", opened.Request, err)
		}
		one.stop()
		poll := pollOf(response.GetResourceMeta(), request)
		poll.ProtoReflect().SetUnknown(append(poll.ProtoReflect().GetUnknown(), connection("second secret")...))
		if _, err := two.call("GetTask", flyte2, poll); err != nil {
			t.Fatal(err)
		}
		if job := c.byName([]byte("job 1")); job == nil || string(job.connection) != "second secret" {
			t.Errorf("made with %+v", job)
		}
	})
}

// Whatever happens to the processes of a plugin and to the hosts: an accepted task has one job, unless it was deleted.
func TestEveryAcceptedTaskHasOneJobHoweverItsCallsAndFailuresInterleave(t *testing.T) {
	keys := testKeys(t)
	rapid.Check(t, func(rt *rapid.T) {
		type step struct{ do, host, task int }
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{rapid.IntRange(0, 8).Draw(t, "do"), rapid.IntRange(0, 1).Draw(t, "host"), rapid.IntRange(0, 3).Draw(t, "task")}
		}), 5, 40).Draw(rt, "steps")
		var wrong []string
		synctest.Test(t, func(t *testing.T) {
			c := newCloud()
			links := []*link{newLink(c), newLink(c)}
			hosts := []*replica{startReplica(links[0], keys, nil), startReplica(links[1], keys, nil)}
			defer func() {
				for _, h := range hosts {
					h.stop()
				}
			}()
			var mu sync.Mutex
			metas, deleted := map[int][]byte{}, map[int]bool{}
			asked := map[int]bool{} // whose delete was begun, even where its host ended in it
			say := func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				wrong = append(wrong, fmt.Sprintf(format, args...))
			}
			begun := map[int]bool{}
			var calls sync.WaitGroup
			for _, s := range steps {
				h := hosts[s.host]
				mu.Lock()
				meta, gone := metas[s.task], deleted[s.task]
				mu.Unlock()
				switch s.do {
				case 0, 1:
					if begun[s.task] {
						continue
					}
					begun[s.task] = true
					calls.Go(func() {
						got, err := h.create(attempt("x", uint32(s.task)))
						switch {
						case errors.Is(h.ctx.Err(), context.Canceled): // the host was killed: Flyte's call failed with it
						case err != nil:
							say("the creation of %d failed: %v", s.task, err)
						default:
							mu.Lock()
							defer mu.Unlock()
							metas[s.task] = got
						}
					})
				case 2, 3:
					if meta == nil {
						continue
					}
					calls.Go(func() {
						got, err := h.poll(meta, attempt("x", uint32(s.task)))
						if h.ctx.Err() == nil && (err != nil || got.GetPhase() == core.TaskExecution_FAILED && !gone) {
							mu.Lock()
							mayBeGone := asked[s.task]
							mu.Unlock()
							if err != nil || !mayBeGone {
								say("a poll of %d: %v, %v", s.task, got, err)
							}
						}
					})
				case 4:
					if meta == nil {
						continue
					}
					mu.Lock()
					deleted[s.task], asked[s.task] = true, true
					mu.Unlock()
					calls.Go(func() {
						for h.ctx.Err() == nil && h.delete(meta, attempt("x", uint32(s.task))) != nil { // as Flyte 2 does
							time.Sleep(time.Second)
						}
						if h.ctx.Err() != nil { // and to whom it finds
							mu.Lock()
							deleted[s.task] = false
							delete(metas, s.task)
							mu.Unlock()
						}
					})
				case 5:
					h.link.set(false)
				case 6:
					h.link.set(true)
				case 7:
					h.stop()
					hosts[s.host] = startReplica(h.link, keys, nil)
				case 8:
					time.Sleep(time.Duration(1+s.task) * 700 * time.Millisecond)
				}
				synctest.Wait()
			}
			for _, l := range links {
				l.set(true)
			}
			calls.Wait()
			time.Sleep(time.Minute)
			for task, meta := range metas {
				request := attempt("x", uint32(task))
				for i, h := range hosts {
					got, err := h.poll(meta, request)
					time.Sleep(3 * time.Second)
					if err == nil && !deleted[task] {
						got, err = h.poll(meta, request)
					}
					switch {
					case err != nil:
						say("at the end host %d says of %d: %v", i, task, err)
					case deleted[task] && got.GetPhase() != core.TaskExecution_FAILED:
						say("at the end host %d says of %d, which was deleted: %v", i, task, got)
					case !deleted[task] && (got.GetPhase() != core.TaskExecution_RUNNING || got.GetMessage() != request.GetOutputPrefix()):
						say("at the end host %d says of %d: %v", i, task, got)
					}
				}
			}
			seen := map[string]bool{}
			for _, prefix := range c.created {
				if seen[prefix] {
					say("two jobs were made for %s", prefix)
				}
				seen[prefix] = true
			}
			for task := range deleted {
				if job := c.jobOf(attempt("x", uint32(task)).GetOutputPrefix()); deleted[task] && job != nil && !job.deleted && !job.abandoned {
					say("the job of %d goes on, which was deleted", task)
				}
			}
		})
		if len(wrong) > 0 {
			rt.Fatalf("%s", strings.Join(wrong, "\n"))
		}
	})
}

func (c *cloud) jobOf(prefix string) *cloudJob {
	return c.find(func(job *cloudJob) bool { return job.prefix == prefix })
}

func TestPendingTasksAreListedAndCanBeCancelled(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, two *replica) {
		one.link.set(false)
		metas := [][]byte{}
		for i := range 3 {
			meta, err := one.create(attempt("x", uint32(i)))
			if err != nil {
				t.Fatal(err)
			}
			metas = append(metas, meta)
			time.Sleep(time.Second)
		}
		pending := one.Pending()
		if len(pending) != 3 || pending[0].Plugin != "finder" || pending[0].TaskType != "x" || pending[0].Execution != "e" || pending[0].Project != "p" ||
			pending[0].Node != "n0" || pending[1].Retry != 1 || !strings.Contains(pending[0].Waits, "restarting") || pending[0].Accepted.IsZero() {
			t.Fatalf("pending: %+v", pending)
		}
		if len(two.Pending()) != 0 {
			t.Error("another replica knows of them")
		}
		for _, wrong := range []string{"", "zz", pending[0].ID + "00", strings.Repeat("0", 64)} {
			if err := one.CancelPending(t.Context(), wrong); err == nil {
				t.Errorf("%q was cancelled", wrong)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := one.CancelPending(ctx, pending[0].ID); err == nil || !strings.Contains(err.Error(), `plugin "finder" could not be told`) {
			t.Errorf("cancelled while the plugin is away: %v", err)
		}
		one.link.set(true)
		time.AfterFunc(time.Millisecond, func() { one.link.set(false) })
		time.Sleep(time.Second)
		one.mustPoll(t, metas[0], attempt("x", 0), core.TaskExecution_FAILED, "deleted")

		one.link.set(false)
		meta, err := one.create(attempt("x", 3))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(100*time.Millisecond, func() { one.link.set(true) })
		if err := one.CancelPending(t.Context(), one.Pending()[0].ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for _, r := range []*replica{one, two} {
			r.mustPoll(t, meta, attempt("x", 3), core.TaskExecution_FAILED, "deleted")
		}
		if len(one.Pending()) != 0 {
			t.Errorf("still pending: %+v", one.Pending())
		}
		if err := one.CancelPending(t.Context(), pending[2].ID); err == nil {
			t.Error("a task with a job was cancelled")
		}
	})
}

func TestATaskOfAPluginThatWasJustTakenOutIsMadeWhenThePluginIsBack(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, _ *replica) {
		manifest := finding()
		manifest.CategoryCapabilities = map[plugin.Category][]string{{Name: "x"}: manifest.Capabilities}
		now := time.Now()
		table, _ := route.Rules(nil).TableAfter([]route.Removed{{Plugin: "finder", Manifest: manifest, At: now, Until: now.Add(2 * time.Minute)}})
		one.routes.Publish(table)
		meta, err := one.create(attempt("x", 0))
		if err != nil || !record.Is(meta) {
			t.Fatalf("got %q, %v", meta, err)
		}
		one.mustPoll(t, meta, attempt("x", 0), core.TaskExecution_QUEUED, "was taken out of the configuration")
		time.Sleep(20 * time.Second)
		back, _ := route.NewTable(route.Claim{Target: one.link, Policy: usual, Manifest: finding()})
		one.routes.Publish(back)
		time.Sleep(time.Second)
		one.mustPoll(t, meta, attempt("x", 0), core.TaskExecution_RUNNING, "n0/0")
		if c.count() != 1 {
			t.Errorf("%d jobs", c.count())
		}
	})
}

func TestFewCallsWaitForAPluginThatWasJustTakenOut(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, _ *cloud, one, _ *replica) {
		now := time.Now()
		table, _ := route.Rules(nil).TableAfter([]route.Removed{{Plugin: "finder", Manifest: manifestOf(asyncAgent("x")), At: now, Until: now.Add(2 * time.Minute)}})
		one.routes.Publish(table)
		var all sync.WaitGroup
		var mu sync.Mutex
		waited := 0
		for i := range 20 {
			all.Go(func() {
				_, err := one.create(attempt("x", uint32(i)))
				mu.Lock()
				defer mu.Unlock()
				if time.Since(now) > 2*troubleAfter {
					waited++
				} else if !strings.Contains(err.Error(), "was taken out of the configuration; as many tasks wait for it") {
					t.Errorf("it is refused with %v", err)
				}
			})
		}
		all.Wait()
		if waited != maxWaiting {
			t.Errorf("%d of 20 waited", waited)
		}
	})
}

// intentsIn are those of a host with a state directory.
func intentsIn(t *testing.T, path string) *record.Intents {
	t.Helper()
	dir, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	intents, err := record.OpenIntents(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return intents
}

// A plugin that cannot find its jobs must not be sent a task twice.
func TestATaskOfAPluginThatCannotFindIsAcceptedWhileItWasProvablyNeverSent(t *testing.T) {
	path, keys := filepath.Join(t.TempDir(), "state"), testKeys(t)
	local := func(intents *record.Intents) func(*Options, *route.Claim) {
		return func(o *Options, c *route.Claim) {
			c.Manifest.Capabilities, o.Intents, o.Creation.Local = nil, intents, true
		}
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		first, second := intentsIn(t, path), intentsIn(t, path)
		one, two := startReplica(newLink(c), keys, local(first)), startReplica(newLink(c), keys, local(second))
		defer func() { two.stop() }()

		metas := map[uint32][]byte{}
		one.link.set(false)
		for i := range uint32(3) {
			meta, err := one.create(attempt("x", i))
			if err != nil || !record.Is(meta) {
				t.Fatalf("got %q, %v", meta, err)
			}
			metas[i] = meta
		}
		one.mustPoll(t, metas[0], attempt("x", 0), core.TaskExecution_QUEUED, "restarting: it was killed")
		two.mustPoll(t, metas[0], attempt("x", 0), core.TaskExecution_QUEUED, "another host, which alone can make its job")
		if err := two.delete(metas[0], attempt("x", 0)); status.Code(err) != codes.Unavailable {
			t.Errorf("deleted at the other host: %v", err)
		}
		if err := one.delete(metas[2], attempt("x", 2)); err != nil {
			t.Errorf("deleted before there is a job: %v", err)
		}
		one.link.set(true)
		time.Sleep(10 * time.Second)
		one.mustPoll(t, metas[0], attempt("x", 0), core.TaskExecution_RUNNING, "n0/0")
		one.mustPoll(t, metas[2], attempt("x", 2), core.TaskExecution_FAILED, "deleted")
		if c.count() != 2 {
			t.Errorf("%d jobs of two tasks", c.count())
		}

		// One that waits, and one whose answer is lost, when the host dies.
		one.link.set(false)
		waiting, err := one.create(attempt("x", 10))
		if err != nil {
			t.Fatal(err)
		}
		lost, err := one.create(attempt("x", 11))
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Put(pendingID(one, 11), record.Intent{Stage: record.Sent, Record: mustGet(t, first, pendingID(one, 11)).Record}); err != nil {
			t.Fatal(err)
		}
		one.stop()
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		three := startReplica(newLink(c), keys, local(intentsIn(t, path)))
		defer three.stop()
		three.mustPoll(t, metas[0], attempt("x", 0), core.TaskExecution_RUNNING, "n0/0") // the job that the first host made
		if got, err := three.poll(waiting, attempt("x", 10)); err != nil || got.GetPhase() == core.TaskExecution_FAILED {
			t.Errorf("what waited: %v, %v", got, err)
		}
		three.mustPoll(t, lost, attempt("x", 11), pluginv1.PhaseRetryableFailed, "nobody knows whether it has made one")
		time.Sleep(time.Second)
		three.mustPoll(t, waiting, attempt("x", 10), core.TaskExecution_RUNNING, "n0/10")
		if err := three.delete(metas[0], attempt("x", 0)); err != nil || !c.jobOf("s3://bucket/e/n0/0").deleted {
			t.Errorf("deleted by the later host: %v", err)
		}
		if c.count() != 3 {
			t.Errorf("%d jobs of three tasks", c.count())
		}
		time.Sleep(DefaultCreation().MaxWait)
		two.mustPoll(t, waiting, attempt("x", 10), pluginv1.PhaseRetryableFailed, "is gone")
	})
}

func pendingID(r *replica, retry uint32) string {
	for _, p := range r.Pending() {
		if p.Retry == retry {
			return p.ID
		}
	}
	return ""
}

func mustGet(t *testing.T, intents *record.Intents, id string) record.Intent {
	t.Helper()
	intent, err := intents.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return intent
}

// What is over its limits goes on record too.
func TestATaskBeyondItsPluginsLimitsGoesOnRecord(t *testing.T) {
	change := func(_ *Options, c *route.Claim) { c.Policy.Concurrency, c.Policy.Wait = 1, time.Minute }
	inBubble(t, change, func(t *testing.T, c *cloud, one, _ *replica) {
		c.slow = 5 * time.Second
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				if _, err := one.create(attempt("x", uint32(i))); err != nil {
					t.Errorf("task %d: %v", i, err)
				}
			})
		}
		all.Wait()
		time.Sleep(10 * time.Minute)
		if c.count() != 10 || len(one.Pending()) != 0 {
			t.Errorf("%d jobs of 10 tasks, %d pending", c.count(), len(one.Pending()))
		}
	})
}

// several runs a test with a host that has plugins for the task types x0, x1, …
func several(t *testing.T, plugins int, change func(*route.Claim), test func(t *testing.T, c *cloud, r *replica, links []*link)) {
	t.Helper()
	keys := testKeys(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		links := make([]*link, plugins)
		claims := make([]route.Claim, plugins)
		for i := range links {
			links[i] = newLink(c)
			links[i].name = fmt.Sprint("finder", i)
			manifest := manifestOf(asyncAgent(fmt.Sprint("x", i)))
			manifest.Capabilities = finding().Capabilities
			claims[i] = route.Claim{Target: links[i], Policy: usual, Manifest: manifest}
			if change != nil {
				change(&claims[i])
			}
		}
		r := startReplica(links[0], keys, nil)
		defer r.stop()
		table, _ := route.NewTable(claims...)
		r.routes.Publish(table)
		test(t, c, r, links)
	})
}

// Each of them is not known to be silent while it has only a few calls, but together they have all of Flyte's workers.
func TestManySilentPluginsTogetherHoldUpNoMoreThanOne(t *testing.T) {
	several(t, 7, nil, func(t *testing.T, c *cloud, r *replica, links []*link) {
		var all sync.WaitGroup
		for i, l := range links {
			l.freeze(true)
			for n := range maxWaiting - 1 {
				all.Go(func() {
					began := time.Now()
					meta, err := r.create(attempt(fmt.Sprint("x", i), uint32(100*i+n)))
					if took := time.Since(began); err != nil || !record.Is(meta) || took > troubleAfter+2*troubleLook {
						t.Errorf("plugin %d, task %d: %v after %v", i, n, err, took)
					}
				})
			}
		}
		all.Wait()
		for _, l := range links {
			l.freeze(false)
		}
		time.Sleep(time.Second)
		if c.count() != 7*(maxWaiting-1) {
			t.Errorf("%d jobs of %d tasks", c.count(), 7*(maxWaiting-1))
		}
	})
}

func TestCallsThatWaitForManyPluginsLeaveWorkersForThoseThatAreWell(t *testing.T) {
	cannotFind := func(c *route.Claim) { c.Manifest.Capabilities = nil }
	several(t, 4, cannotFind, func(t *testing.T, _ *cloud, r *replica, links []*link) {
		var all sync.WaitGroup
		var mu sync.Mutex
		waited := 0
		for i, l := range links {
			l.set(false)
			for n := range maxWaiting {
				all.Go(func() {
					began := time.Now()
					_, err := r.create(attempt(fmt.Sprint("x", i), uint32(100*i+n)))
					mu.Lock()
					defer mu.Unlock()
					if time.Since(began) > 2*troubleAfter {
						waited++
					} else if !strings.Contains(err.Error(), "as many tasks wait for it, or for other plugins, as may") {
						t.Errorf("it is refused with %v", err)
					}
				})
			}
		}
		all.Wait()
		if waited != maxWaitingInAll {
			t.Errorf("%d of 20 waited", waited)
		}
	})
}

// A plugin that does not know find and abandon would make a job of either call.
func TestAPluginThatDoesNotFindItsJobsIsNeverAskedTo(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *cloud, one, two *replica) {
		request := attempt("x", 0)
		one.link.set(false)
		meta, err := one.create(request)
		if err != nil {
			t.Fatal(err)
		}
		// Another version comes at both hosts, which takes such calls for creations.
		for _, r := range []*replica{one, two} {
			other, _ := route.NewTable(route.Claim{Target: r.link, Policy: usual, Manifest: manifestOf(asyncAgent("x"))})
			r.routes.Publish(other)
		}
		one.link.set(true)
		time.Sleep(time.Minute)
		one.mustPoll(t, meta, request, core.TaskExecution_QUEUED, "does not find its jobs by their key")
		two.mustPoll(t, meta, request, core.TaskExecution_RUNNING, "does not find its jobs by their key")
		for _, r := range []*replica{one, two} {
			if err := r.delete(meta, request); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "does not find its jobs by their key") {
				t.Errorf("deleted: %v", err)
			}
		}
		if len(c.jobs) != 0 {
			t.Errorf("it made %d jobs", len(c.jobs))
		}
	})
}

func TestAPendingTaskOfAPluginThatCannotFindIsCancelledWithoutAskingIt(t *testing.T) {
	intents := intentsIn(t, filepath.Join(t.TempDir(), "state"))
	change := func(o *Options, c *route.Claim) {
		c.Manifest.Capabilities, o.Intents, o.Creation.Local = nil, intents, true
	}
	inBubble(t, change, func(t *testing.T, c *cloud, one, _ *replica) {
		one.link.set(false)
		meta, err := one.create(attempt("x", 0))
		if err != nil {
			t.Fatal(err)
		}
		id := one.Pending()[0].ID
		if err := one.CancelPending(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		one.link.set(true)
		time.Sleep(time.Minute)
		one.mustPoll(t, meta, attempt("x", 0), core.TaskExecution_FAILED, "deleted")
		if _, err := intents.Get(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("its intent: %v", err)
		}
		if len(c.jobs) != 0 {
			t.Errorf("it made %d jobs", len(c.jobs))
		}
	})
}

// It is told apart and ended whatever its plugin can, and stays so after a restart of the host.
func TestAPoisonousTaskOfAPluginThatCannotFindEndsToo(t *testing.T) {
	path, keys := filepath.Join(t.TempDir(), "state"), testKeys(t)
	idempotent := func(intents *record.Intents, local bool) func(*Options, *route.Claim) {
		return func(o *Options, c *route.Claim) {
			c.Manifest.Capabilities = []string{pluginv1.CapabilityIdempotentCreate}
			o.Intents, o.Creation.Local = intents, local
		}
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		poison := attempt("x", 0)
		c.deadly = poison.GetOutputPrefix()
		plain := startReplica(newLink(c), keys, idempotent(nil, false))
		defer plain.stop()
		for range 2 { // it is not sent again
			if _, err := plain.create(poison); err == nil || !strings.Contains(err.Error(), "died 3 times while it began") {
				t.Errorf("got %v", err)
			}
		}
		if c.deaths != maxDeaths {
			t.Errorf("the plugin died %d times", c.deaths)
		}

		first := intentsIn(t, path)
		one := startReplica(newLink(c), keys, idempotent(first, true))
		one.link.set(false)
		meta, err := one.create(poison)
		if err != nil || !record.Is(meta) {
			t.Fatalf("got %q, %v", meta, err)
		}
		one.link.set(true)
		time.Sleep(time.Minute)
		one.mustPoll(t, meta, poison, core.TaskExecution_FAILED, "died 3 times while it began")
		one.stop()
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		two := startReplica(newLink(c), keys, idempotent(intentsIn(t, path), true))
		defer two.stop()
		two.mustPoll(t, meta, poison, core.TaskExecution_FAILED, "died 3 times while it began")
		if c.deaths != 2*maxDeaths {
			t.Errorf("the plugin died %d times", c.deaths)
		}
	})
}

// What is accepted at the moment at which it would be sent to a plugin that does not answer waits here.
func TestATaskForASilentPluginThatCannotFindIsAcceptedUnsent(t *testing.T) {
	intents := intentsIn(t, filepath.Join(t.TempDir(), "state"))
	change := func(o *Options, c *route.Claim) {
		c.Manifest.Capabilities, o.Intents, o.Creation.Local = nil, intents, true
	}
	inBubble(t, change, func(t *testing.T, c *cloud, one, _ *replica) {
		one.link.freeze(true)
		var first sync.WaitGroup
		for i := range maxWaiting {
			first.Go(func() {
				if _, err := one.create(attempt("x", uint32(i))); err == nil || !strings.Contains(err.Error(), `plugin "finder" does not answer`) {
					t.Errorf("task %d, which was sent: %v", i, err)
				}
			})
		}
		time.Sleep(2 * troubleAfter)
		began := time.Now()
		meta, err := one.create(attempt("x", 100))
		if err != nil || !record.Is(meta) || time.Since(began) > troubleAfter {
			t.Fatalf("%q, %v after %v", meta, err, time.Since(began))
		}
		first.Wait()
		one.link.freeze(false)
		time.Sleep(time.Minute)
		one.mustPoll(t, meta, attempt("x", 100), core.TaskExecution_RUNNING, "n0/100")
	})
}
