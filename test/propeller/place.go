package propeller

import (
	"fmt"
	"strconv"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

// Place is a workflow within an execution of Flyte 1, and puts tasks on its nodes: it says by which names Flyte calls them.
//
// The node id that Flyte sends is the node's id in its own workflow. What tells the nodes of an execution apart is another, which has
// the ids and attempts of all parents, as n0-1-n0 for node n0 of the subworkflow that n0 runs in its attempt 1. It is sent in the
// output prefix alone. So the tasks of a subworkflow that is used twice, or repeated, have equal ids. The nodes that a dynamic task
// makes, and the elements of an array node, have ids that are unique by themselves (read). Flyte hashes ids of more than 20
// characters, which the model does not.
type Place struct {
	execution *core.WorkflowExecutionIdentifier
	root      string
	parents   string // the unique id of the node above and its attempt, with a dash behind; empty in the execution's own workflow
}

// In is the workflow of an execution itself. Outputs go below root; "" is in memory.
func In(execution *core.WorkflowExecutionIdentifier, root string) Place {
	if root == "" {
		root = fmt.Sprintf("mem://%s-%s", execution.GetProject(), execution.GetDomain())
	}
	return Place{execution: execution, root: root}
}

// Subworkflow is the workflow that a node runs in one of the node's attempts.
func (p Place) Subworkflow(node string, attempt int) Place {
	p.parents += node + "-" + strconv.Itoa(attempt) + "-"
	return p
}

// Node puts the task on a node.
func (p Place) Node(node string, task Task) Task { return p.put(node, p.parents+node, task) }

// Dynamic puts the task on a node that a dynamic task has made, the one on node by, in its attempt.
func (p Place) Dynamic(by string, attempt int, node string, task Task) Task {
	id := p.parents + by + "-" + strconv.Itoa(attempt) + "-" + node
	return p.put(id, id, task)
}

// Element makes the task an element of an array node.
func (p Place) Element(node string, index int, task Task) Task {
	id := p.parents + node + "-n" + strconv.Itoa(index)
	return p.put(id, id, task)
}

func (p Place) put(id, unique string, task Task) Task {
	task.ExecutionID = &core.TaskExecutionIdentifier{
		TaskId:          task.Template.GetId(),
		NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: id, ExecutionId: p.execution},
	}
	task.OutputPrefixOf = func(attempt int) string {
		return fmt.Sprintf("%s/%s-%s-%d", p.root, p.execution.GetName(), unique, attempt)
	}
	return task
}
