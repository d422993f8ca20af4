package creation

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/test/chaos/agent"
	"github.com/agenthost/agenthost/test/chaos/ledger"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// task is one of a scenario.
type task struct {
	plugin    plugin
	execution *core.WorkflowExecutionIdentifier
	node      string
	number    int64
	text      string
	// after is when it comes, from the beginning of the trouble.
	after time.Duration

	submitted time.Time
	running   *propeller.Execution
	result    propeller.Result
	// err is set where the task does not end.
	err error
}

// nodes is how many tasks of Options.Many are in one execution.
const nodes = 200

// newTasks are those of a plugin.
func (w *world) newTasks(p plugin) []*task {
	count := w.Tasks
	switch {
	case p.emulated():
		count /= 3 // an emulator takes its time for a job, which is that of the hosts
	case p.many:
		count = w.Many
	case w.scenario.cuts:
		count = min(count, 4) // fewer than make the host think that the plugin hangs
	}
	tasks := make([]*task, count)
	for i := range tasks {
		t := &task{plugin: p, number: int64(i), text: fmt.Sprintf("text of %d, ünïcödé", i), node: "n0"}
		name := fmt.Sprintf("%s-%04d", p.name, i)
		if p.many {
			name, t.node = fmt.Sprintf("%s-%d", p.name, i/nodes), fmt.Sprintf("n%d", i%nodes+1)
		}
		t.execution = &core.WorkflowExecutionIdentifier{Project: "chaos", Domain: "production", Name: name}
		if !p.atOnce {
			t.after = w.Length * time.Duration(10*i+3) / time.Duration(10*count) // shortly after what happens at a round time
		}
		w.plans.Store(t.name(), ledger.Plan{End: ledger.Succeeded, Runs: w.scenario.runs})
		tasks[i] = t
	}
	return tasks
}

// name is the ledger's for it.
func (t *task) name() string { return agent.TaskName(t.execution.GetName(), t.node) }

// taskType is that of the plugin's tasks.
func (p plugin) taskType() string {
	switch p.guest {
	case duckDB:
		return "duckdb_query"
	case bigQuery:
		return "bigquery_query_job_task"
	case databricks, snowflake:
		return p.name
	default:
		return agent.TaskType(p.name)
	}
}

// table says that the output of the plugin's tasks is a table, and not a number and a text.
func (p plugin) table() bool { return p.guest == bigQuery || p.guest == snowflake }

// Statements do in SQL what ledger.Outputs does, but for Snowflake's: its emulator tells what queries were given.
const (
	ofDuckDB    = "select $number * $number + 1 as number, reverse($text) as text"
	ofBigQuery  = "select @number * @number + 1 as number, reverse(@text) as text"
	ofSnowflake = "select %(number)s as n, %(text)s as t"
)

// answer is what a job of the task has to answer.
func (t *task) answer() answer {
	number, text := t.number, t.text
	if t.plugin.guest != snowflake {
		number, text = ledger.Outputs(number, text)
	}
	return answer{strconv.FormatInt(number, 10), text}
}

// flyteTask is what Flyte is given. Jobs that write files do so below a folder.
func (t *task) flyteTask(folder string) propeller.Task {
	simple := func(kind core.SimpleType) *core.Variable {
		return &core.Variable{Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: kind}}}
	}
	inputs := &core.VariableMap{Variables: map[string]*core.Variable{"number": simple(core.SimpleType_INTEGER), "text": simple(core.SimpleType_STRING)}}
	outputs := inputs
	if t.plugin.table() {
		dataset := &core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{StructuredDatasetType: &core.StructuredDatasetType{}}}
		outputs = &core.VariableMap{Variables: map[string]*core.Variable{"results": {Type: dataset}}}
	}
	template := &core.TaskTemplate{
		Id:   &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "chaos", Domain: "production", Name: "task." + t.plugin.name, Version: "v1"},
		Type: t.plugin.taskType(), Custom: &structpb.Struct{}, Interface: &core.TypedInterface{Inputs: inputs, Outputs: outputs},
	}
	sql := func(statement string) *core.TaskTemplate_Sql {
		return &core.TaskTemplate_Sql{Sql: &core.Sql{Statement: statement, Dialect: core.Sql_ANSI}}
	}
	root := "" // Flyte's own
	switch t.plugin.guest {
	case duckDB:
		template.Target = sql(ofDuckDB)
	case bigQuery:
		template.Target = sql(ofBigQuery)
		template.Custom.Fields = map[string]*structpb.Value{"ProjectID": structpb.NewStringValue("chaos"), "Location": structpb.NewStringValue("EU")}
	case snowflake:
		template.Target = sql(ofSnowflake)
		template.Config = map[string]string{"user": "FLYTE", "account": "acme-eu1", "database": "LAKE", "schema": "PUBLIC", "warehouse": "SMALL"}
	case databricks:
		root = folder
		template.Target = &core.TaskTemplate_Container{Container: &core.Container{Image: "chaos", Args: []string{
			"--output-prefix", "{{.outputPrefix}}", "--number", "{{.inputs.number}}", "--text", "{{.inputs.text}}",
		}}}
		template.Custom.Fields = map[string]*structpb.Value{"databricksConf": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"run_name": structpb.NewStringValue(t.name()), "existing_cluster_id": structpb.NewStringValue("1"),
		}})}
	default:
	}
	return propeller.In(t.execution, root).Node(t.node, propeller.Task{
		Template: template,
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{
			"number": literal(&core.Primitive{Value: &core.Primitive_Integer{Integer: t.number}}),
			"text":   literal(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: t.text}}),
		}},
	})
}

func literal(primitive *core.Primitive) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: primitive}}}}
}

// run gives the task to Flyte when its time has come, and waits for its end.
func (t *task) run(ctx context.Context, w *world) {
	if !wait.For(ctx, t.after) {
		t.err = ctx.Err()
		return
	}
	w.mu.Lock()
	t.submitted, t.running = time.Now(), w.flyte.Submit(t.flyteTask(w.path("outputs")))
	w.mu.Unlock()
	t.result, t.err = t.running.Wait(ctx)
}

// runTasks runs them all while there is trouble.
func (w *world) runTasks(ctx context.Context) error {
	w.mu.Lock()
	for _, p := range w.scenario.plugins {
		w.tasks = append(w.tasks, w.newTasks(p)...)
	}
	w.mu.Unlock()
	if w.scenario.creating > 0 {
		for _, p := range w.scenario.plugins {
			w.ledger.SetWeather(p.name, ledger.Weather{Until: time.Now().Add(time.Hour), Delay: w.scenario.creating, Late: true})
		}
	}
	if w.scenario.begin != nil {
		if err := w.scenario.begin(w); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, w.Length+settleLimit)
	defer cancel()
	var running sync.WaitGroup
	for _, t := range w.tasks {
		running.Go(func() { t.run(ctx, w) })
	}
	err := w.scenario.trouble(ctx, w)
	if err != nil {
		cancel()
	}
	running.Wait()
	return err
}

// warmUp runs a task of each plugin, before there is any trouble: plugins have answered, and Flyte knows their types.
func (w *world) warmUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hostLimit)
	defer cancel()
	for _, p := range w.scenario.plugins {
		t := &task{plugin: p, node: "n0", execution: &core.WorkflowExecutionIdentifier{Project: "chaos", Domain: "production", Name: "warm-" + p.name}}
		w.plans.Store(t.name(), ledger.Plan{End: ledger.Succeeded})
		t.run(ctx, w)
		if t.err != nil {
			return t.err
		}
		if t.result.Phase != propeller.Succeeded {
			return fmt.Errorf("before there was any trouble a task of %s ended as %s: %s", p.name, t.result.Phase, t.result.Final.Reason)
		}
	}
	return nil
}

// submitted counts the tasks that there are, made the jobs of them, and answered those whose CreateTask was.
func (w *world) submitted() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tasks)
}

func (w *world) made() int {
	made := 0
	for _, t := range w.tasks {
		made += len(w.ledger.Task(t.name()).Jobs)
	}
	return made
}

func (w *world) answered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	answered := 0
	for _, t := range w.tasks {
		if t.running == nil {
			continue
		}
		for _, call := range t.running.Calls() {
			if call.Method == "CreateTask" && call.Code == codes.OK {
				answered++
			}
		}
	}
	return answered
}
