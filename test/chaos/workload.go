package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/test/chaos/ledger"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// job is one task of the workload: what is to become of it, and what did.
type job struct {
	name   string // of its execution
	agent  string
	flyte  propeller.Flyte
	number int64
	text   string
	plan   ledger.Plan
	// submit and abort are when, from the start; an abort of 0 is none.
	submit, abort time.Duration

	execution *propeller.Execution
	result    propeller.Result
	// err is set where the job is stuck.
	err error
	// gone is set where Flyte 2 could not delete it.
	gone error
	// asked is when the abort began.
	asked time.Time
}

// retries is how many attempts may follow a task's first. Plenty: what is counted is whose fault each one was.
const retries = 30

// overlong is a message that Flyte could not receive, were it passed on as it is: more than 4 MiB.
const overlong = 5 << 20

// newWorkload draws the jobs for a run of some length.
func newWorkload(random *rand.Rand, count int, length time.Duration) []*job {
	part := func(from, to float64) time.Duration {
		return time.Duration((from + random.Float64()*(to-from)) * float64(length))
	}
	jobs := make([]*job, count)
	for i := range jobs {
		flyte := propeller.Flyte(1 + i%2)
		j := &job{
			name: fmt.Sprintf("v%d-%05d", flyte, i), flyte: flyte,
			number: random.Int64N(1 << 30), text: fmt.Sprintf("text of %d, ünïcödé", i),
			submit: part(0, 0.2),
			plan:   ledger.Plan{End: ledger.Succeeded, Runs: part(0.25, 0.75), Rerun: part(0.02, 0.12)},
		}
		of := drawAgent(random, flyte)
		j.agent, j.plan.Interval = of.name, of.interval
		switch chance := random.IntN(100); {
		case chance < 1:
			j.plan.End, j.plan.Message = ledger.Failed, failure(j.name)+strings.Repeat(".", overlong)+"the tail"
		case chance < 15:
			j.plan.End, j.plan.Message = ledger.Failed, failure(j.name)
		case chance < 20:
			j.plan.End, j.abort = ledger.Running, part(0.3, 0.9)
		}
		switch chance := random.IntN(100); {
		case chance < 5:
			j.plan.Retryables = 2
		case chance < 20:
			j.plan.Retryables = 1
		}
		switch of.kind {
		case synchronous:
			j.doneInOneCall(random, length)
		case silent:
			j.plan.End, j.plan.Silent, j.plan.Retryables, j.plan.Message, j.abort = ledger.Running, true, 0, "", 0
		}
		jobs[i] = j
	}
	return jobs
}

// doneInOneCall makes it a task of a sync agent: a short one, at any time.
func (j *job) doneInOneCall(random *rand.Rand, length time.Duration) {
	j.submit = time.Duration(random.Float64() * 0.9 * float64(length))
	j.plan.Retryables += random.IntN(2)
	j.plan.Runs = time.Duration(50+random.IntN(1000)) * time.Millisecond
	j.plan.Shape = []ledger.Shape{ledger.Whole, ledger.Parts, ledger.Early, ledger.Old}[random.IntN(4)]
	if j.plan.End == ledger.Running || random.IntN(8) == 0 {
		// An answer that is no end is made one by the host.
		j.plan.End, j.plan.Shape, j.plan.Message, j.abort = ledger.Failed, ledger.Open, failure(j.name), 0
	}
}

// failure is the reason of a job that truly fails.
func failure(name string) string { return "the true failure of " + name + " " }

func drawAgent(random *rand.Rand, flyte propeller.Flyte) subject {
	for {
		chance := random.IntN(100)
		for _, a := range agents {
			if chance -= a.share; chance >= 0 {
				continue
			}
			if a.serves(flyte) {
				return a
			}
			break
		}
	}
}

// task is what Flyte is given. Some ask for a version of the task type that nobody lists, as Flyte does of tasks that were registered
// long ago: the highest one takes them.
func (j *job) task() propeller.Task {
	simple := func(kind core.SimpleType) *core.Variable {
		return &core.Variable{Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: kind}}}
	}
	types := &core.VariableMap{Variables: map[string]*core.Variable{"number": simple(core.SimpleType_INTEGER), "text": simple(core.SimpleType_STRING)}}
	version := int32(0)
	if j.number%5 == 0 && named(j.agent).kind != synchronous { // Flyte takes the type of a version that is not listed for an async one
		version = 3
	}
	domain := named(j.agent).domain()
	id := &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "chaos", Domain: domain, Name: "task." + j.agent, Version: "v1"}
	return propeller.Task{
		Template: &core.TaskTemplate{
			Id: id, Type: named(j.agent).taskType(), TaskTypeVersion: version, Custom: &structpb.Struct{},
			Interface: &core.TypedInterface{Inputs: types, Outputs: types},
		},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{
			"number": primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: j.number}}),
			"text":   primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: j.text}}),
		}},
		ExecutionID: &core.TaskExecutionIdentifier{
			TaskId: id,
			NodeExecutionId: &core.NodeExecutionIdentifier{
				NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "chaos", Domain: domain, Name: j.name},
			},
		},
		OutputPrefix: "mem://chaos/" + j.name,
		Retries:      retries,
	}
}

func primitive(value *core.Primitive) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: value}}}}
}

// pollers is how many polls a Flyte has under way at most.
const pollers = 64

// flytes are the two Flytes.
type flytes map[propeller.Flyte]*propeller.Propeller

// startFlytes starts them for a run, at addresses by their purpose. With twice, Flyte 1 is given an address again.
func startFlytes(ctx context.Context, address func(propeller.Flyte, string) string, o options, twice bool) flytes {
	both := flytes{}
	for _, flyte := range []propeller.Flyte{propeller.V1, propeller.V2} {
		options := propeller.Options{
			Flyte: flyte, Endpoint: address(flyte, "first"),
			PollInterval: cmp.Or(o.discovery, time.Second), Round: 250 * time.Millisecond, DeleteAfter: 2 * time.Second, PollRate: -1,
			// As often as two processors can bear.
			Resync: max(500*time.Millisecond, time.Duration(o.jobs)*time.Millisecond), Workers: pollers, Rounds: o.jobs,
		}
		if flyte == propeller.V1 && twice {
			options.Connectors = map[string]string{"again": address(flyte, "again")}
		}
		both[flyte] = propeller.Start(ctx, options)
	}
	return both
}

func (f flytes) close() {
	for _, p := range f {
		p.Close()
	}
}

// run submits the jobs, aborts those that are to be aborted, and waits until each is over or, a while after the chaos, stuck.
func (f flytes) run(ctx context.Context, jobs []*job, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	started := time.Now()
	var running sync.WaitGroup
	for _, j := range jobs {
		running.Go(func() {
			if !wait.For(ctx, j.submit) {
				j.err = ctx.Err()
				return
			}
			j.execution = f[j.flyte].Submit(j.task())
			var aborting sync.WaitGroup
			if j.abort > 0 {
				aborting.Go(func() {
					if wait.For(ctx, j.abort-time.Since(started)) {
						j.asked = time.Now()
						j.cancel(ctx)
					}
				})
			}
			j.result, j.err = j.execution.Wait(ctx)
			aborting.Wait()
			j.gone = j.execution.WaitGone(ctx)
			j.result.Calls, j.result.History = j.execution.Calls(), j.execution.History()
		})
	}
	running.Wait()
}

// cancel aborts the task as often as it takes: Flyte 1 asks once each time.
func (j *job) cancel(ctx context.Context) {
	for j.execution.Abort(ctx) != nil {
		if !wait.For(ctx, 500*time.Millisecond) {
			return
		}
	}
}
