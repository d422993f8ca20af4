package propeller

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/test/propeller/scripted"
	"github.com/agenthost/agenthost/test/propeller/traces"
)

func TestAJobIsAskedForByTheBytesThatWereAnswered(t *testing.T) {
	for _, meta := range [][]byte{nil, {0}, []byte("\xff\x00 any\nbytes"), bytes.Repeat([]byte{0xfe, 0x3c}, 4<<10)} {
		synctest.Test(t, func(t *testing.T) {
			_, dial := serve(t, scripted.Script{ResourceMeta: meta, Get: []traces.Reply{{Phase: "RUNNING"}}})
			p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", Round: time.Second, Resync: 5 * time.Second, Dial: dial})
			defer p.Close()
			execution := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy"}})
			time.Sleep(7 * time.Second)
			p.Restart() // so that what is asked for was written down
			time.Sleep(7 * time.Second)
			if err := execution.Abort(t.Context()); err != nil {
				t.Fatal(err)
			}
			polls := 0
			for _, call := range execution.Calls() {
				if !bytes.Equal(call.Meta, meta) {
					t.Errorf("%s is about %q, want %q", call.Method, call.Meta, meta)
				}
				if call.Method == getTask {
					polls++
				}
			}
			if size := p.LargestObject(); polls < 3 || size < len(meta)*4/3 {
				t.Errorf("%d polls, and an object of %d bytes", polls, size)
			}
		})
	}
}

func TestAWorkflowFailsWhoseTasksNeedMoreThanAnObjectHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dial := serve(t, scripted.Script{ResourceMeta: make([]byte, 100<<10), Get: []traces.Reply{{Phase: "SUCCEEDED"}}})
		p := Start(t.Context(), Options{Flyte: V1, Endpoint: "default", Round: time.Minute, Dial: dial})
		defer p.Close()
		ends := func(name string, nodes int) map[Phase]int {
			workflow := In(&core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: name}, "")
			var submitted []*Execution
			for i := range nodes {
				submitted = append(submitted, p.Submit(workflow.Node(fmt.Sprint("n", i), Task{Template: &core.TaskTemplate{Type: "asyncy"}})))
			}
			ended := map[Phase]int{}
			for _, execution := range submitted {
				result, err := execution.Wait(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ended[result.Phase]++
				if result.Phase == PermanentFailure && !strings.Contains(result.Final.Reason, "larger than etcd takes") {
					t.Errorf("a task failed: %s", result.Final.Reason)
				}
			}
			return ended
		}
		for range 2 { // what is over takes no room
			if got := ends("small", 11); got[Succeeded] != 11 {
				t.Errorf("11 tasks of 137 KiB ended as %v", got)
			}
		}
		// All were created before a round could see the end of one.
		if got := ends("large", 12); got[PermanentFailure] == 0 {
			t.Errorf("12 tasks of 137 KiB ended as %v", got)
		}
	})
}
