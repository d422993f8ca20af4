package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/proto/fields"
)

// script answers polls one after the other; the last answer repeats.
func script(answers ...func(*received, grpc.ServerStream) error) func(*received, grpc.ServerStream) error {
	var mu sync.Mutex
	return func(call *received, stream grpc.ServerStream) error {
		mu.Lock()
		next := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		mu.Unlock()
		return next(call, stream)
	}
}

func inPhase(phase core.TaskExecution_Phase, message string) func(*received, grpc.ServerStream) error {
	return answering(&admin.GetTaskResponse{Resource: &admin.Resource{Phase: phase, Message: message, LogLinks: []*core.TaskLog{{Uri: "u"}}}})
}

func hang(call *received, _ grpc.ServerStream) error {
	<-call.context.Done()
	return call.context.Err()
}

// of is a poll of the job whose outputs go there.
func of(prefix string, request *admin.GetTaskRequest) *admin.GetTaskRequest {
	request.ProtoReflect().SetUnknown(fields.Append(nil, getOutputPrefix, prefix)) // flyteidl's module is older than the field
	return request
}

func TestAnyFailureOfAPollIsAnsweredWithTheLastStatusAndSaysSo(t *testing.T) {
	failures := map[string]func(*received, grpc.ServerStream) error{
		"a hang": hang,
		"garbage": func(_ *received, stream grpc.ServerStream) error {
			garbage := &frame{}
			garbage.set([]byte("\xff"))
			return stream.SendMsg(garbage)
		},
		"no answer": func(*received, grpc.ServerStream) error { return nil },
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		if code != codes.NotFound {
			failures[code.String()] = failing(code)
		}
	}
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			for _, known := range []bool{true, false} {
				answers := []func(*received, grpc.ServerStream) error{inPhase(core.TaskExecution_INITIALIZING, "half way"), failure}
				agent := startAgent(t, script(answers[map[bool]int{true: 0, false: 1}[known]:]...))
				f := startClaims(t, nil, agent.claims(usual, asyncAgent("x")))
				if known {
					if _, err := f.poll(soon(t), get("x")); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := nearlyFlytesDeadline(t)
				got, err := f.poll(ctx, get("x"))
				cancel()
				switch {
				case err != nil:
					t.Errorf("known %v: %v", known, err)
				case known && (got.GetPhase() != core.TaskExecution_INITIALIZING || got.GetLogLinks()[0].GetUri() != "u" ||
					!strings.HasPrefix(got.GetMessage(), "status of ") || !strings.HasSuffix(got.GetMessage(), ": half way") || !strings.Contains(got.GetMessage(), `plugin "echo"`)):
					t.Errorf("known: Flyte reads %v", got)
				case !known && (got.GetPhase() != core.TaskExecution_RUNNING || !strings.Contains(got.GetMessage(), "not known yet") || !strings.Contains(got.GetMessage(), `plugin "echo"`)):
					t.Errorf("not known: Flyte reads %v", got)
				}
				if n := f.recorded(t, guarantee.LastKnownStatus); n != 1 {
					t.Errorf("counted %d times", n)
				}
			}
		})
	}
}

// Flyte sends polls whether or not the last one was answered. Were they all passed on, those of a job whose status takes its
// plugin long (megabytes of it, say) would become so many that none is answered within its deadline.
func TestPollsThatAreNotAnsweredDoNotPileUpAtThePlugin(t *testing.T) {
	const polls = 50
	agent := startAgent(t, script(inPhase(core.TaskExecution_RUNNING, "known"), hang))
	f := startClaims(t, nil, agent.claims(usual, asyncAgent("x")))
	if _, err := f.poll(soon(t), get("x")); err != nil {
		t.Fatal(err)
	}
	all, cancel := context.WithCancel(soon(t))
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	for range 2 {
		asked.Go(func() { _, _ = f.poll(all, get("x")) })
	}
	for crowded := 0; crowded < polls; {
		ctx, cancel := context.WithTimeout(all, 100*time.Millisecond)
		got, err := f.poll(ctx, get("x"))
		cancel()
		if all.Err() != nil {
			t.Fatalf("polls go on being passed on: the plugin was asked %d times", agent.calls("GetTask"))
		}
		if err != nil {
			continue // the gateway answers just before the deadline; a machine that is busy is late
		}
		if strings.Contains(got.GetMessage(), "earlier polls of this job are under way") && strings.HasSuffix(got.GetMessage(), "known") {
			crowded++
		}
	}
	// Ten in the first second, and then none.
	if n := agent.calls("GetTask"); n > polls {
		t.Errorf("the plugin was asked %d times", n)
	}
}

func TestAPollOfAPluginThatIsNotThereIsAnsweredSoon(t *testing.T) {
	away := restarting{leases: make(chan route.Lease), err: errors.New(`plugin "restarting" is restarting: exit status 3`)}
	f := startClaims(t, nil, route.Claim{Target: away, Policy: usual, Manifest: plugin.Manifest{Agents: []plugin.Agent{asyncAgent("x")}}})
	began := time.Now()
	got, err := f.poll(soon(t), get("x"))
	if err != nil || got.GetPhase() != core.TaskExecution_RUNNING || !strings.Contains(got.GetMessage(), "exit status 3") {
		t.Errorf("%v, %v", got, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v, which a worker of FlytePropeller's was held", took)
	}
}

func TestAPollWhosePluginDiesIsAnsweredFromMemoryWhereNoOtherInstanceComes(t *testing.T) {
	dying, ended := dyingAgent(t)
	var released sync.WaitGroup
	target := restarting{leases: make(chan route.Lease, 1), err: errors.New("it is restarting")}
	target.leases <- leaseOn(dying, ended, &released)
	f := startClaims(t, nil, route.Claim{Target: target, Policy: usual, Manifest: plugin.Manifest{Agents: []plugin.Agent{asyncAgent("x")}}})
	if got, err := f.poll(soon(t), get("x")); err != nil || got.GetPhase() != core.TaskExecution_RUNNING {
		t.Errorf("%v, %v", got, err)
	}
	released.Wait()
}

// The host was restarted and the plugin cannot be, or somebody took it out of the configuration and will put it back.
func TestAPollOfAJobThatNoPluginServesIsAnsweredForAWhile(t *testing.T) {
	agent := startAgent(t, script(inPhase(core.TaskExecution_WAITING_FOR_RESOURCES, "in line"), inPhase(core.TaskExecution_SUCCEEDED, "")))
	f := startClaims(t, nil, agent.claims(usual, asyncAgent("x")))
	if _, err := f.poll(soon(t), get("x")); err != nil {
		t.Fatal(err)
	}
	f.publish(t)
	for range 10 {
		if got, err := f.poll(soon(t), get("x")); err != nil || got.GetPhase() != core.TaskExecution_WAITING_FOR_RESOURCES ||
			!strings.Contains(got.GetMessage(), `no plugin of this host serves task category "x"`) || !strings.HasSuffix(got.GetMessage(), "in line") {
			t.Fatalf("Flyte reads %v, %v", got, err)
		}
	}
	if got, err := f.poll(soon(t), get("never served")); err != nil || got.GetPhase() != core.TaskExecution_RUNNING {
		t.Errorf("Flyte reads %v, %v", got, err)
	}
	f.publish(t, agent.claims(usual, asyncAgent("x")))
	if got, err := f.poll(soon(t), get("x")); err != nil || got.GetPhase() != core.TaskExecution_SUCCEEDED {
		t.Errorf("Flyte reads %v, %v", got, err)
	}
}

func TestAJobThatNoPluginServesForLongHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Routes: &route.Current{}, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		defer g.Shutdown(t.Context())
		began := time.Now()
		for {
			call, err := g.plan(t.Context(), method{name: "GetTask", polls: true, read: readPoll}, frameOf(get("x")))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := g.poll(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			response := &admin.GetTaskResponse{}
			if err := proto.Unmarshal(answer.bytes(), response); err != nil {
				t.Fatal(err)
			}
			if resource := response.GetResource(); resource.GetPhase() == core.TaskExecution_FAILED {
				if took := time.Since(began); took != unservedMaxStale || !strings.Contains(resource.GetMessage(), "no plugin of this host serves") {
					t.Errorf("after %v: %v", took, resource)
				}
				return
			}
			time.Sleep(30 * time.Second)
		}
	})
}

func TestWhereNoStatusMayBeStaleErrorsPass(t *testing.T) {
	f := startClaims(t, nil, startAgent(t, script(answering(running), failing(codes.Internal))).claims(route.Policy{}, asyncAgent("x")))
	if _, err := f.poll(soon(t), get("x")); err != nil {
		t.Error(err)
	}
	if _, err := f.poll(soon(t), get("x")); status.Code(err) != codes.Internal {
		t.Errorf("got %v", err)
	}
}

func TestTheCallersOwnCancellationIsNotAnswered(t *testing.T) {
	reached := make(chan struct{})
	f := startClaims(t, nil, startAgent(t, func(call *received, stream grpc.ServerStream) error {
		close(reached)
		return hang(call, stream)
	}).claims(usual, asyncAgent("x")))
	ctx, cancel := context.WithCancel(soon(t))
	go func() {
		<-reached
		cancel()
	}()
	if _, err := f.poll(ctx, get("x")); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	f.gateway.Server().GracefulStop() // the handler has ended: what it counted is there
	if n := f.recorded(t, guarantee.LastKnownStatus); n != 0 {
		t.Errorf("counted %d times", n)
	}
}

func TestTheEndOfAJobIsNeverTakenBack(t *testing.T) {
	for _, phase := range []core.TaskExecution_Phase{core.TaskExecution_SUCCEEDED, core.TaskExecution_FAILED, core.TaskExecution_ABORTED, pluginv1.PhaseRetryableFailed} {
		agent := startAgent(t, script(inPhase(phase, "the end"), failing(codes.Unavailable)))
		f := startClaims(t, nil, agent.claims(route.Policy{MaxStale: time.Nanosecond}, asyncAgent("x")))
		want := phase
		if want == core.TaskExecution_ABORTED { // which Flyte would read without the message
			want = core.TaskExecution_FAILED
		}
		for range 3 {
			if got, err := f.poll(soon(t), of("s3://a", get("x"))); err != nil || got.GetPhase() != want || !strings.HasSuffix(got.GetMessage(), "the end") {
				t.Errorf("%v became %v, %v", phase, got, err)
			}
		}
	}
}

func TestAPluginThatAnswersAgainIsHeardAgain(t *testing.T) {
	agent := startAgent(t, script(failing(codes.Unavailable), failing(codes.Unavailable), inPhase(core.TaskExecution_SUCCEEDED, "")))
	f := startClaims(t, nil, agent.claims(usual, asyncAgent("x")))
	var phases []core.TaskExecution_Phase
	for range 3 {
		got, err := f.poll(soon(t), get("x"))
		if err != nil {
			t.Fatal(err)
		}
		phases = append(phases, got.GetPhase())
	}
	if want := []core.TaskExecution_Phase{core.TaskExecution_RUNNING, core.TaskExecution_RUNNING, core.TaskExecution_SUCCEEDED}; !slices.Equal(phases, want) {
		t.Errorf("phases %v", phases)
	}
}

func TestJobsThatShareAMetaAreNotMistakenForEachOther(t *testing.T) {
	agent := startAgent(t, script(inPhase(core.TaskExecution_SUCCEEDED, ""), failing(codes.Unavailable)))
	other := startAgent(t, failing(codes.Unavailable))
	other.name = "other"
	f := startClaims(t, nil, agent.claims(usual, asyncAgent("x"), asyncAgent("y")), other.claims(usual, asyncAgent("z")))
	polled := func(category, prefix string) core.TaskExecution_Phase {
		got, err := f.poll(soon(t), of(prefix, get(category)))
		if err != nil {
			t.Fatal(err)
		}
		return got.GetPhase()
	}
	if got := polled("x", "s3://a"); got != core.TaskExecution_SUCCEEDED {
		t.Fatalf("got %v", got)
	}
	for _, c := range [][2]string{{"x", "s3://b"}, {"x", ""}, {"y", "s3://a"}, {"z", "s3://a"}} {
		if got := polled(c[0], c[1]); got != core.TaskExecution_RUNNING {
			t.Errorf("%v was taken for another job: %v", c, got)
		}
	}
	if got := polled("x", "s3://a"); got != core.TaskExecution_SUCCEEDED {
		t.Errorf("the job itself was forgotten: %v", got)
	}
}

// Two hosts serve one plugin whose jobs share a meta. One host makes the jobs; the other polls them for a Flyte that sends no output
// prefix, to the end of the first.
func TestAReplicaDoesNotGiveAJobTheEndOfAnEarlierOneWithItsMeta(t *testing.T) {
	for name, c := range map[string]struct {
		policy route.Policy
		// then is what the plugin answers of the second job.
		then func(*received, grpc.ServerStream) error
	}{
		"the plugin cannot be asked":      {usual, failing(codes.Unavailable)},
		"polls are thinned":               {route.Policy{MinInterval: time.Hour, MaxStale: time.Minute}, inPhase(core.TaskExecution_RUNNING, "")},
		"polls are limited":               {route.Policy{Rate: 0.001, MaxStale: time.Minute}, inPhase(core.TaskExecution_RUNNING, "")},
		"polls are thinned, none stale":   {route.Policy{MinInterval: time.Hour}, inPhase(core.TaskExecution_RUNNING, "")},
		"the plugin could not for longer": {route.Policy{MaxStale: time.Hour}, failing(codes.Unavailable)},
	} {
		t.Run(name, func(t *testing.T) {
			var poll atomic.Value
			poll.Store(inPhase(core.TaskExecution_SUCCEEDED, "the first"))
			agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
				if strings.HasSuffix(call.method, "CreateTask") {
					return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}))
				}
				return poll.Load().(func(*received, grpc.ServerStream) error)(call, stream)
			})
			maker, poller := startClaims(t, nil, agent.claims(usual, asyncAgent("x"))), startClaims(t, nil, agent.claims(c.policy, asyncAgent("x")))
			maker.create(t, attempt("x", 0))
			if got, err := poller.poll(soon(t), get("x")); err != nil || got.GetPhase() != core.TaskExecution_SUCCEEDED {
				t.Fatal(got, err)
			}
			maker.create(t, attempt("x", 1))
			poll.Store(c.then)
			for range 2 {
				if got, err := poller.poll(soon(t), get("x")); err != nil || got.GetPhase() != core.TaskExecution_RUNNING {
					t.Errorf("the second job is %v, %v", got, err)
				}
			}
		})
	}
}

// Where Flyte says where the outputs go, two jobs with one meta are two, and each keeps its own end.
func TestReplicasTellJobsWithOneMetaApartByTheirOutputPrefix(t *testing.T) {
	agent := startAgent(t, script(inPhase(core.TaskExecution_SUCCEEDED, "the first"), failing(codes.Unavailable)))
	policy := route.Policy{MaxStale: time.Minute, MinInterval: time.Hour}
	poller := startClaims(t, nil, agent.claims(policy, asyncAgent("x")))
	for _, want := range []struct {
		prefix string
		phase  core.TaskExecution_Phase
	}{{"s3://a", core.TaskExecution_SUCCEEDED}, {"s3://b", core.TaskExecution_RUNNING}, {"s3://a", core.TaskExecution_SUCCEEDED}} {
		if got, err := poller.poll(soon(t), of(want.prefix, get("x"))); err != nil || got.GetPhase() != want.phase {
			t.Errorf("%s is %v, %v", want.prefix, got, err)
		}
	}
}

// A Flyte that polls without an output prefix creates with one.
func TestANewJobIsNotKnownByAnEarlierOnesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Routes: &route.Current{}, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		defer g.Shutdown(t.Context())
		poll := func() core.TaskExecution_Phase {
			call, err := g.plan(t.Context(), method{name: "GetTask", polls: true, read: readPoll}, frameOf(get("x")))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := g.poll(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			response := &admin.GetTaskResponse{}
			if err := proto.Unmarshal(answer.bytes(), response); err != nil {
				t.Fatal(err)
			}
			return response.GetResource().GetPhase()
		}
		for range 2 { // two jobs with one meta: the first was aborted, at another host
			if got := poll(); got != core.TaskExecution_RUNNING {
				t.Errorf("a job that is polled for the first time is %v", got)
			}
			time.Sleep(2 * unservedMaxStale)
		}
		for range 10 {
			poll()
			time.Sleep(unservedMaxStale / 9)
		}
		if got := poll(); got != core.TaskExecution_FAILED {
			t.Errorf("after so long, the job that is polled all the time is %v", got)
		}
	})
}

func TestANewJobDoesNotInheritTheStatusOfAnEarlierOneWithItsName(t *testing.T) {
	for _, prefix := range []string{"", "s3://bucket/e/n0/0"} { // Flyte before 1.15.1 sends it in CreateTask only
		agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
			if strings.HasSuffix(call.method, "CreateTask") {
				return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}))
			}
			return inPhase(core.TaskExecution_SUCCEEDED, "")(call, stream)
		})
		f := startClaims(t, nil, agent.claims(usual, asyncAgent("x")))
		if got, err := f.poll(soon(t), of(prefix, get("x"))); err != nil || got.GetPhase() != core.TaskExecution_SUCCEEDED {
			t.Fatal(got, err)
		}
		f.create(t, attempt("x", 0))
		agent.server.Stop()
		if got, err := f.poll(soon(t), of(prefix, get("x"))); err != nil || got.GetPhase() != core.TaskExecution_RUNNING {
			t.Errorf("with the output prefix %q, Flyte reads %v, %v", prefix, got, err)
		}
	}
}

func TestAThinnedPollIsAskedAgainWhenItsIntervalIsOver(t *testing.T) {
	agent := startAgent(t, script(inPhase(core.TaskExecution_QUEUED, ""), inPhase(core.TaskExecution_RUNNING, "")))
	f := startClaims(t, nil, agent.claims(route.Policy{MinInterval: 300 * time.Millisecond}, asyncAgent("x")))
	began, polls := time.Now(), 0
	for {
		got, err := f.poll(soon(t), get("x"))
		if err != nil {
			t.Fatal(err)
		}
		polls++
		if got.GetPhase() == core.TaskExecution_RUNNING {
			break
		}
	}
	if took := time.Since(began); took < 250*time.Millisecond || took > 10*time.Second || agent.calls("GetTask") != 2 {
		t.Errorf("%d polls became %d in %v", polls, agent.calls("GetTask"), took)
	}
}

func TestNoSecretOfAConnectionIsLoggedOrRepeated(t *testing.T) {
	const secret = "p4ssw0rd"
	var logged bytes.Buffer
	agent := startAgent(t, failing(codes.Unavailable))
	f := startClaims(t, nil, agent.claims(route.Policy{MaxStale: time.Nanosecond}, asyncAgent("x")))
	f.gateway.log = slog.New(slog.NewTextHandler(io.Writer(&logged), &slog.HandlerOptions{Level: slog.LevelDebug}))
	message, err := fields.Set(frameOf(get("x")).bytes(), 5, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	var answers []byte
	for range 3 {
		answer, err := f.callRaw(soon(t), async2+"GetTask", message)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer...)
	}
	f.gateway.Server().GracefulStop()
	if !bytes.Contains(agent.received[0].frames[0], []byte(secret)) {
		t.Fatal("the plugin did not get the secret")
	}
	if logged.Len() == 0 || bytes.Contains(logged.Bytes(), []byte(secret)) || bytes.Contains(answers, []byte(secret)) {
		t.Errorf("logged %q, answered %q", logged.String(), answers)
	}
}
