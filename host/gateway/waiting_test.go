package gateway

import (
	"context"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/test/wait"
)

func TestWhichCallsWaitAndForWhatIsKnownWhileTheyDo(t *testing.T) {
	agent := startMaker(t)
	f := startClaims(t, nil, agent.claims(route.Policy{Concurrency: 1, Wait: time.Hour, Rate: 1000, Burst: 1000}, asyncAgent("x")))
	if got, want := f.gateway.Limits(), []InEffect{{Plugin: "echo", Concurrency: 1, Wait: time.Hour, Rate: 1000, Burst: 1000}}; !reflect.DeepEqual(got, want) {
		t.Errorf("the limits are %+v", got)
	}
	var all sync.WaitGroup
	all.Go(func() { f.create(t, attempt("x", 0)) })
	<-agent.reached
	began := time.Now()
	for i := range 3 {
		all.Go(func() { f.create(t, attempt("x", uint32(i+1))) })
	}
	wait.Until(t, "three wait for their place", func() bool {
		waiting := f.gateway.Waiting()
		return len(waiting) == 1 && waiting[0].Plugin == "echo" && waiting[0].On == OnConcurrency && waiting[0].Calls == 3
	})
	if since := f.gateway.Waiting()[0].Oldest; since.Before(began) || since.After(time.Now()) {
		t.Errorf("the oldest waits since %v", since)
	}
	if got := f.gateway.Limits()[0].UnderWay; got != 1 {
		t.Errorf("%d are under way", got)
	}
	all.Go(func() { f.create(t, attempt("x", 0)) }) // the first one once more
	wait.Until(t, "it waits for the job", func() bool {
		waiting := f.gateway.Waiting()
		return len(waiting) == 2 && waiting[1].On == OnJob && waiting[1].Calls == 1
	})
	close(agent.proceed)
	all.Wait()
	if got := f.gateway.Waiting(); len(got) != 0 {
		t.Errorf("%+v wait still", got)
	}
	if got := f.gateway.Limits()[0].UnderWay; got != 0 {
		t.Errorf("%d are under way still", got)
	}
}

// unanswering is a plugin that does not answer.
type unanswering struct{ reason string }

func (s unanswering) Silent() (route.Trouble, bool) { return route.Trouble{Reason: s.reason}, true }

func TestACallThatHasNoAnswerIsToldThatThePluginGivesNone(t *testing.T) {
	const reason = `plugin "echo" does not answer: health checks have no answer`
	agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
		<-stream.Context().Done()
		return stream.Context().Err()
	})
	agent.watched = unanswering{reason}
	f := startClaims(t, nil, agent.claims(route.Policy{}, asyncAgent("x")))
	for _, method := range []string{"GetTask", "DeleteTask"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := f.call(ctx, async1+method, get("x"))
		if status.Code(err) != codes.DeadlineExceeded || !strings.Contains(err.Error(), reason) || ctx.Err() != nil {
			t.Errorf("%s: %v (the deadline: %v)", method, err, ctx.Err())
		}
		cancel()
	}
	f.publish(t, agent.claims(route.Policy{MaxStale: time.Hour}, asyncAgent("x")))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if answer, err := f.call(ctx, async1+"GetTask", get("x")); err != nil || !strings.Contains(string(answer), reason) {
		t.Errorf("from memory: %q, %v", answer, err)
	}
}
