package gateway

import (
	"context"
	"sync"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"

	"github.com/agenthost/agenthost/host/route"
)

// losing is a plugin whose task type goes to another while a call waits for it: what has a place for the call then does not know
// the type any more.
type losing struct {
	*agentServer
	once sync.Once
	lose func()
}

func (l *losing) TryAcquire(want route.Want) (route.Lease, bool) {
	l.once.Do(l.lose)
	return l.agentServer.TryAcquire(want)
}

func (l *losing) Acquire(_ context.Context, want route.Want) (route.Lease, error) {
	lease, _ := l.TryAcquire(want)
	return lease, nil
}

func TestACallWhoseTaskTypeMovesMeanwhileGoesToTheNewPlugin(t *testing.T) {
	for name, call := range map[string]func(*front) error{
		"CreateTask": func(f *front) error {
			_, err := service.NewAsyncAgentServiceClient(f.conn).CreateTask(soon(t), create("x"))
			return err
		},
		"GetTask": func(f *front) error {
			_, err := service.NewAsyncAgentServiceClient(f.conn).GetTask(soon(t), &admin.GetTaskRequest{TaskCategory: &admin.TaskCategory{Name: "x"}, ResourceMeta: []byte("m")})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			was, is := startAgent(t, answering(&admin.CreateTaskResponse{})), startAgent(t, answering(&admin.CreateTaskResponse{}))
			was.name, is.name = "was", "is"
			target := &losing{agentServer: was}
			f := startGateway(t, target, asyncAgent("x"))
			target.lose = func() {
				f.publish(t, route.Claim{Target: target, Manifest: manifestOf(asyncAgent("y"))}, is.claims(route.Policy{}, asyncAgent("x")))
			}
			if err := call(f); err != nil {
				t.Fatal(err)
			}
			if was.calls(name) != 0 || is.calls(name) != 1 {
				t.Errorf("the plugin that had it got %d calls, the one that has it %d", was.calls(name), is.calls(name))
			}
		})
	}
}
