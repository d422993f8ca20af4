package e2e_test

import (
	"context"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// maxWait bounds what is bound to come.
const maxWait = time.Minute

// creationsUnderWay matches the host's metrics while calls of CreateTask are under way.
var creationsUnderWay = regexp.MustCompile(`agenthost_calls_in_flight{.*CreateTask.*} [1-9]`)

// Agent servers that run elsewhere, whose machines come and go: their tasks see nothing of it.
func TestTasksOfAgentsElsewhereSurviveTheirServers(t *testing.T) {
	for name, flyte := range map[string]propeller.Flyte{"Flyte 1": propeller.V1, "Flyte 2": propeller.V2} {
		t.Run(name, func(t *testing.T) {
			outside := &system{deleted: map[string]bool{}}
			certificate, ca := hosttest.Certificate(t, "127.0.0.1")
			servers := make([]*agentServer, 3)
			var addresses []string
			for i := range servers {
				servers[i] = &agentServer{system: outside, tls: credentials.NewServerTLSFromCert(&certificate), address: "127.0.0.1:0"}
				servers[i].start(t)
				addresses = append(addresses, servers[i].address)
			}
			h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"elsewhere": map[string]any{"address": addresses, "tls_ca": ca}}})
			p := startFlyte(t, flyte, h)

			var executions []*propeller.Execution
			submit := func(count int) {
				for range count {
					executions = append(executions, p.Submit(remoteTask(len(executions))))
				}
			}
			// A deployment that is rolled: one server after the other leaves in good order and comes back, while jobs are made.
			for _, server := range servers {
				submit(8)
				server.server.GracefulStop()
				submit(8)
				server.start(t)
			}
			// All of them are away: what Flyte begins now waits.
			for _, server := range servers {
				server.server.GracefulStop()
			}
			submit(8)
			wait.Until(t, "creations wait", func() bool { return creationsUnderWay.MatchString(h.Ask(t, "/metrics")) })
			for _, server := range servers {
				server.start(t)
			}
			wait.Until(t, "all jobs have been made, and Flyte knows it", func() bool {
				return outside.jobs() >= len(executions) && !creationsUnderWay.MatchString(h.Ask(t, "/metrics"))
			})
			// They die in the middle of polls, in turn and together.
			for _, server := range servers {
				server.server.Stop()
				awaitPolls(t, executions, len(executions)/2)
				server.start(t)
			}
			for _, server := range servers {
				server.server.Stop()
			}
			awaitPolls(t, executions, len(executions)/2)
			for _, server := range servers {
				server.start(t)
			}

			outside.finish.Store(true)
			for i, execution := range executions {
				result := ended(t, execution)
				if result.Phase != propeller.Succeeded || result.Attempts != 1 {
					t.Errorf("task %d ended as %s after %d attempts: %s", i, result.Phase, result.Attempts, result.Final.Reason)
				}
				if flyte == propeller.V2 { // which deletes each job in the end
					ctx, cancel := context.WithTimeout(t.Context(), maxWait)
					if err := execution.WaitGone(ctx); err != nil {
						t.Errorf("task %d: %v", i, err)
					}
					cancel()
				}
			}
			if made := outside.jobs(); made != len(executions) {
				t.Errorf("%d jobs were made for %d tasks", made, len(executions))
			}
			if deleted := outside.gone(); flyte == propeller.V2 && deleted != len(executions) {
				t.Errorf("%d jobs of %d were deleted", deleted, len(executions))
			}
		})
	}
}

// The way in for those who have agents already: their deployment first serves behind the host, and is then replaced by a
// plugin of the host's, while its jobs run. Its place is taken by a host here, with one that speaks the same metadata.
func TestADeploymentIsReplacedByAPluginWhileItsJobsRun(t *testing.T) {
	deployment := hosttest.Start(t, map[string]any{"plugins": map[string]any{"hello": hosttest.Plugin("hello")}})
	h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"hello": map[string]any{"address": []string{deployment.Endpoint()}, "tls": "off"}}})
	client := dial(t, h.Endpoint())
	var metas [][]byte
	for i := range 20 {
		metas = append(metas, createHello(t, client, fmt.Sprint("Ada ", i)))
	}
	h.Reload(t, map[string]any{"hello": hosttest.Plugin("hello")})
	deployment.Kill(t)
	for i, meta := range metas {
		wantGreeting(t, client, meta, fmt.Sprint("Hello, Ada ", i))
	}
}

func remoteTask(number int) propeller.Task {
	id := &core.Identifier{Project: "e2e", Domain: "development", Name: "remote", Version: "v1"}
	return propeller.Task{
		Template: &core.TaskTemplate{Id: id, Type: "remote", Interface: &core.TypedInterface{}, Custom: &structpb.Struct{}},
		Retries:  3,
		ExecutionID: &core.TaskExecutionIdentifier{TaskId: id, NodeExecutionId: &core.NodeExecutionIdentifier{
			NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "e2e", Domain: "development", Name: fmt.Sprint("remote-", number)},
		}},
	}
}

// startFlyte runs a Flyte against the host until the test ends, faster than a real one.
func startFlyte(t *testing.T, flyte propeller.Flyte, h *hosttest.Host) *propeller.Propeller {
	t.Helper()
	p := propeller.Start(t.Context(), propeller.Options{
		Flyte: flyte, Endpoint: h.Endpoint(),
		PollInterval: time.Second, Resync: 100 * time.Millisecond, Round: 50 * time.Millisecond, DeleteAfter: 200 * time.Millisecond, PollRate: -1,
	})
	t.Cleanup(p.Close)
	return p
}

// awaitPolls waits until so many more polls have been answered.
func awaitPolls(t *testing.T, executions []*propeller.Execution, more int) {
	t.Helper()
	polls := func() int {
		count := 0
		for _, execution := range executions {
			for _, call := range execution.Calls() {
				if call.Method == "GetTask" {
					count++
				}
			}
		}
		return count
	}
	before := polls()
	wait.Until(t, "Flyte has polled", func() bool { return polls() >= before+more })
}
