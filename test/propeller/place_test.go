package propeller

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/test/propeller/scripted"
	"github.com/agenthost/agenthost/test/propeller/traces"
)

func TestNodesOfSubworkflowsDifferInTheirOutputPrefixesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent, dial := serve(t, scripted.Script{Create: []traces.Reply{{GRPCCode: "UNAVAILABLE"}, {}}, Get: []traces.Reply{{Phase: "SUCCEEDED"}}})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", Round: time.Second, Dial: dial})
		defer p.Close()
		workflow := In(&core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: "f1"}, "")
		task := Task{Template: &core.TaskTemplate{Type: "asyncy", Id: &core.Identifier{Name: "t"}}, Retries: 1}
		for _, placed := range []Task{
			workflow.Node("n0", task),                                               // whose first creation fails
			workflow.Subworkflow("n0", 0).Node("n0", task),                          // used once
			workflow.Subworkflow("n1", 0).Node("n0", task),                          // used twice
			workflow.Subworkflow("n1", 1).Node("n0", task),                          // and that use repeated
			workflow.Subworkflow("n2", 0).Subworkflow("n0", 0).Node("n0", task),     // one that a subworkflow uses
			workflow.Dynamic("n3", 1, "dn0", task), workflow.Element("n4", 2, task), // unique by their ids
			workflow.Subworkflow("n1", 0).Dynamic("n3", 0, "dn0", task), workflow.Subworkflow("n1", 0).Element("n4", 2, task),
		} {
			if result, err := p.Submit(placed).Wait(t.Context()); err != nil || result.Phase != Succeeded {
				t.Fatalf("%+v, %v", result, err)
			}
		}
		var sent []string
		for _, call := range agent.Calls() {
			if call.Method != createTask {
				continue
			}
			request := &admin.CreateTaskRequest{}
			if err := proto.Unmarshal(call.Frames[0], request); err != nil {
				t.Fatal(err)
			}
			id := request.GetTaskExecutionMetadata().GetTaskExecutionId()
			sent = append(sent, fmt.Sprint(id.GetNodeExecutionId().GetNodeId(), " ", id.GetRetryAttempt(), " ", request.GetOutputPrefix()))
		}
		want := []string{
			"n0 0 mem://p-d/f1-n0-0", "n0 1 mem://p-d/f1-n0-1",
			"n0 0 mem://p-d/f1-n0-0-n0-0", "n0 0 mem://p-d/f1-n1-0-n0-0", "n0 0 mem://p-d/f1-n1-1-n0-0", "n0 0 mem://p-d/f1-n2-0-n0-0-n0-0",
			"n3-1-dn0 0 mem://p-d/f1-n3-1-dn0-0", "n4-n2 0 mem://p-d/f1-n4-n2-0",
			"n1-0-n3-0-dn0 0 mem://p-d/f1-n1-0-n3-0-dn0-0", "n1-0-n4-n2 0 mem://p-d/f1-n1-0-n4-n2-0",
		}
		if !slices.Equal(sent, want) {
			t.Errorf("Flyte sends\n%q, want\n%q", sent, want)
		}
	})
}
