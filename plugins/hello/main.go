// Command hello is the smallest Flyte agent: its tasks greet whom their input names.
package main

import (
	"context"

	agent "github.com/agenthost/agenthost/sdk/go"
)

type hello struct{}
type job struct{ Name string }

func (hello) Create(_ context.Context, task *agent.Task) (job, error) {
	name, err := agent.Input[string](task, "name")
	return job{name}, err
}

func (hello) Get(_ context.Context, j agent.Job[job]) (*agent.Resource, error) {
	return agent.Succeeded(agent.Outputs{"greeting": "Hello, " + j.Meta.Name}), nil
}
func (hello) Delete(context.Context, agent.Job[job]) error { return nil }

func main() {
	agent.Serve(agent.Plugin{Name: "hello", Version: "1.0.0"}, agent.Async("hello", hello{}))
}
