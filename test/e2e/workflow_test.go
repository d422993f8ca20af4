package e2e_test

import (
	"fmt"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// Flyte gives the tasks of a subworkflow that is used twice, or repeated, equal ids: they differ in output prefix and inputs only. Each
// gets its own answer, also from a plugin that finds its jobs by the attempt's key, and when Flyte asks again.
func TestEachUseOfASubworkflowHasItsOwnJob(t *testing.T) {
	h := hosttest.Start(t, map[string]any{"plugins": map[string]any{"duckdb": duckdb(t)}})
	flyte := startFlyte(t, propeller.V1, h)
	workflow := propeller.In(&core.WorkflowExecutionIdentifier{Project: "e2e", Domain: "development", Name: "f1"}, t.TempDir())
	once, twice, again := workflow.Subworkflow("n0", 0), workflow.Subworkflow("n1", 0), workflow.Subworkflow("n0", 1)
	places := []func(propeller.Task) propeller.Task{
		func(task propeller.Task) propeller.Task { return workflow.Node("n0", task) },
		func(task propeller.Task) propeller.Task { return once.Node("n0", task) },
		func(task propeller.Task) propeller.Task { return twice.Node("n0", task) },
		func(task propeller.Task) propeller.Task { return again.Node("n0", task) },
		func(task propeller.Task) propeller.Task { return once.Subworkflow("n0", 0).Node("n0", task) },
		func(task propeller.Task) propeller.Task { return twice.Dynamic("n3", 0, "dn0", task) },
		func(task propeller.Task) propeller.Task { return twice.Element("n4", 0, task) },
		func(task propeller.Task) propeller.Task { return twice.Element("n4", 1, task) },
	}
	var executions []*propeller.Execution
	for n, place := range places {
		executions = append(executions, flyte.Submit(place(sqlTask("select $n as n", n))))
	}
	flyte.Restart() // creations whose answers it has not written down come again
	for n, execution := range executions {
		result := ended(t, execution)
		got := result.Outputs.GetLiterals()["n"].GetScalar().GetPrimitive().GetInteger()
		if result.Phase != propeller.Succeeded || got != int64(n) {
			t.Errorf("task %d answers %d: %s, %s", n, got, result.Phase, result.Final.Reason)
		}
	}

	const forever = "select count(*) as n from range(10000000) a, range(10000000) b where hash(a.range, b.range) % 7 = $n"
	first, second := flyte.Submit(once.Node("n9", sqlTask(forever, 3))), flyte.Submit(twice.Node("n9", sqlTask(forever, 4)))
	for _, execution := range []*propeller.Execution{first, second} {
		wait.Until(t, "the query runs", func() bool {
			history := execution.History()
			return len(history) > 0 && history[len(history)-1].Phase == propeller.Running
		})
	}
	if err := first.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitPolls(t, []*propeller.Execution{second}, 3)
	if history := second.History(); history[len(history)-1].Phase != propeller.Running {
		t.Errorf("the deletion of the one job made the other %v", history[len(history)-1])
	}
	if err := second.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// sqlTask is a query with a number n that goes in and comes out.
func sqlTask(sql string, n int) propeller.Task {
	number := &core.VariableMap{Variables: map[string]*core.Variable{"n": {Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_INTEGER}}}}}
	return propeller.Task{
		Template: &core.TaskTemplate{
			Id: &core.Identifier{Project: "e2e", Domain: "development", Name: fmt.Sprint("query-", sql), Version: "v1"}, Type: "duckdb_query",
			Interface: &core.TypedInterface{Inputs: number, Outputs: number}, Custom: &structpb.Struct{},
			Target: &core.TaskTemplate_Sql{Sql: &core.Sql{Statement: sql, Dialect: core.Sql_ANSI}},
		},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"n": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
			Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_Integer{Integer: int64(n)}}}}}}}},
	}
}
