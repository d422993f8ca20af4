package main

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/test/chaos/agent"
	"github.com/agenthost/agenthost/test/chaos/procs"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
	"github.com/agenthost/agenthost/tools/verify"
)

// Guests are hello agents, in any language, that take part in a run: behind the same hosts, killed and swapped like the others.
// They know nothing of the ledger; what they are held to is that each of their tasks ends with its greeting.

// guestJobs is how many tasks each guest gets.
const guestJobs = 60

// guest is one of them.
type guest struct {
	name    string // its plugin's, and the domain of its tasks
	command []string
	dir     string
	reads   string // where the packages are that its program loads
	release int    // another one is another spec
}

// readGuests reads the verify.yaml of each folder, which says how the agent is started.
func readGuests(folders []string) ([]*guest, error) {
	var guests []*guest
	checkout, err := filepath.Abs(".")
	if err != nil {
		return nil, err
	}
	for i, folder := range folders {
		spec, err := filepath.Abs(filepath.Join(folder, "verify.yaml"))
		if err != nil {
			return nil, err
		}
		subject, err := verify.ReadSpec(spec)
		if err != nil {
			return nil, fmt.Errorf("guest %s: %w", folder, err)
		}
		command := slices.Clone(subject.Command)
		for i, word := range command {
			// In a configuration these would be relative to that.
			program := i == 0 && strings.Contains(word, "/") && !filepath.IsAbs(word)
			if program || strings.HasPrefix(word, "../") {
				command[i] = filepath.Join(subject.Dir, word)
			}
		}
		guests = append(guests, &guest{name: fmt.Sprintf("guest%d", i+1), command: command, dir: subject.Dir, reads: checkout})
	}
	return guests, nil
}

// configureGuests adds the guests to a configuration. They all serve one task type, so that rules say which task is whose.
func (s *settings) configureGuests(plugins map[string]any) (routes []any) {
	for _, g := range s.guests {
		plugins[g.name] = map[string]any{
			"command": g.command, "dir": g.dir, "sandbox": map[string]any{"read": []string{g.reads}},
			"env":           map[string]any{procs.Variable: s.mark, "GUEST_RELEASE": strconv.Itoa(g.release)},
			"start_timeout": "30s", "stop_timeout": "3s", "drain_timeout": "3s",
			"restart": map[string]any{"initial_backoff": "50ms", "max_backoff": "500ms"},
		}
		routes = append(routes, map[string]any{"task": "hello", "domain": g.name, "plugin": g.name})
	}
	return routes
}

// swapGuest gives a guest another spec.
func (s *settings) swapGuest(g *guest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.release++
	return s.write()
}

// guestJob is one task of a guest.
type guestJob struct {
	name, guest string
	flyte       propeller.Flyte
	submit      time.Duration
	result      propeller.Result
	err, gone   error
}

// runGuests submits the guests' tasks, kills and swaps guests meanwhile, and waits for the tasks' ends.
func (c *chaos) runGuests(ctx context.Context) []*guestJob {
	if len(c.settings.guests) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.length+c.maxWait)
	defer cancel()
	random := mathrand.New(mathrand.NewPCG(c.seed, 3)) //nolint:gosec // it is to be repeatable
	var jobs []*guestJob
	var running sync.WaitGroup
	for _, g := range c.settings.guests {
		for i := range guestJobs {
			j := &guestJob{
				name: fmt.Sprintf("%s-%d", g.name, i), guest: g.name, flyte: propeller.Flyte(1 + i%2),
				submit: time.Duration(random.Float64() * 0.9 * float64(c.length)),
			}
			jobs = append(jobs, j)
			running.Go(func() { j.run(ctx, c.flytes[j.flyte]) })
		}
	}
	troubled, cancel := context.WithTimeout(ctx, c.length)
	defer cancel()
	for second := 1; wait.For(troubled, time.Second); second++ {
		if victims := c.guestProcesses(); len(victims) > 0 && syscall.Kill(victims[random.IntN(len(victims))].PID, syscall.SIGKILL) == nil {
			c.guestKills++
		}
		if second%5 == 0 {
			if err := c.settings.swapGuest(c.settings.guests[random.IntN(len(c.settings.guests))]); err == nil {
				c.guestSwaps++
			}
		}
	}
	running.Wait()
	return jobs
}

// guestProcesses are the marked processes that are no agents of the run's own.
func (c *chaos) guestProcesses() []procs.Process {
	var guests []procs.Process
	for _, p := range procs.Marked(c.mark) {
		if len(p.Arguments) < 2 || p.Arguments[1] != agent.Marker {
			for _, g := range c.settings.guests {
				if len(p.Arguments) > 0 && filepath.Base(p.Arguments[0]) == filepath.Base(g.command[0]) {
					guests = append(guests, p)
					break
				}
			}
		}
	}
	return guests
}

func (j *guestJob) run(ctx context.Context, flyte *propeller.Propeller) {
	if !wait.For(ctx, j.submit) {
		j.err = ctx.Err()
		return
	}
	execution := flyte.Submit(j.task())
	j.result, j.err = execution.Wait(ctx)
	j.gone = execution.WaitGone(ctx)
}

func (j *guestJob) task() propeller.Task {
	text := func(name string) *core.VariableMap {
		kind := &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}
		return &core.VariableMap{Variables: map[string]*core.Variable{name: {Type: kind}}}
	}
	id := &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "chaos", Domain: j.guest, Name: "hello", Version: "v1"}
	return propeller.Task{
		Template: &core.TaskTemplate{
			Id: id, Type: "hello", Custom: &structpb.Struct{},
			Interface: &core.TypedInterface{Inputs: text("name"), Outputs: text("greeting")},
		},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{
			"name": primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: j.name}}),
		}},
		ExecutionID: &core.TaskExecutionIdentifier{
			TaskId: id,
			NodeExecutionId: &core.NodeExecutionIdentifier{
				NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "chaos", Domain: j.guest, Name: j.name},
			},
		},
		OutputPrefix: "mem://chaos/" + j.name,
		Retries:      retries, // a hello agent does not declare idempotent_create: a kill within CreateTask costs an attempt
	}
}

// judgeGuests holds the guests' tasks to their greetings.
func (v *verdict) judgeGuests(jobs []*guestJob) {
	for _, j := range jobs {
		switch {
		case j.err != nil:
			v.violate(stuck, "a guest's task is not over", nil, "%s: %v", j.name, j.err)
		case j.result.Phase != propeller.Succeeded || word(j.result.Outputs, "greeting") != "Hello, "+j.name:
			v.violate(lost, "wrong end of a guest's task", nil, "%s ended as %s: %s, %v", j.name, j.result.Phase, short(j.result.Final.Reason), j.result.Outputs)
		case j.gone != nil:
			v.violate(stuck, "a guest's task cannot be deleted", nil, "%s: %v", j.name, j.gone)
		}
	}
	v.guests = len(jobs)
}
