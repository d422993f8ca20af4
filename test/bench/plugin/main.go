// Command plugin is a plugin that test/bench measures with where many have to serve task types of their own: the one that it is
// given, whose jobs never end, and the same with _sync at its end, which greets at once.
package main

import (
	"context"
	"flag"

	agent "github.com/agenthost/agenthost/sdk/go"
)

type greeter struct{}
type job struct{ Name string }

// longest name that a job keeps: of a longer one, nothing is.
const longest = 1 << 10

func (greeter) Create(_ context.Context, task *agent.Task) (job, error) {
	name, err := agent.Input[string](task, "name")
	if len(name) > longest {
		name = ""
	}
	return job{name}, err
}

// Get finds each job running: most polls do.
func (greeter) Get(context.Context, agent.Job[job]) (*agent.Resource, error) {
	return agent.Running("greeting"), nil
}
func (greeter) Delete(context.Context, agent.Job[job]) error { return nil }

type atOnce struct{}

func (atOnce) Execute(_ context.Context, task *agent.Task) (*agent.Resource, error) {
	name, err := agent.Input[string](task, "name")
	return agent.Succeeded(agent.Outputs{"greeting": "Hello, " + name}), err
}

func main() {
	taskType := flag.String("type", "bench", "its task type")
	flag.Parse()
	agent.Serve(agent.Plugin{Name: *taskType, Version: "1.0.0"},
		agent.Async(*taskType, greeter{}), agent.Sync(*taskType+"_sync", atOnce{}))
}
