// Command go makes an author's mistakes, each in the creation of a task type of its own.
package main

import (
	"context"
	"fmt"
	"log"

	agent "github.com/agenthost/agenthost/sdk/go"
)

type config struct {
	Greeting string `json:"greeting,omitempty"`
}

type job struct {
	Name string `json:"name"`
}

type wired struct {
	Results chan int `json:"results"`
}

// mistaken is an agent whose creations go wrong.
type mistaken[M any] func(*agent.Task) (M, error)

// Create makes the mistake.
func (m mistaken[M]) Create(_ context.Context, task *agent.Task) (M, error) { return m(task) }

// Get is never reached.
func (m mistaken[M]) Get(context.Context, agent.Job[M]) (*agent.Resource, error) {
	return agent.Succeeded(nil), nil
}

// Delete is never reached.
func (m mistaken[M]) Delete(context.Context, agent.Job[M]) error { return nil }

func main() {
	agent.Serve(agent.Plugin{Name: "mistakes", Version: "1.0.0"},
		agent.Async("wrong_type", mistaken[job](func(task *agent.Task) (job, error) {
			count, err := agent.Input[int](task, "name")
			return job{Name: fmt.Sprint(count)}, err
		})),
		agent.Async("metadata", mistaken[wired](func(*agent.Task) (wired, error) { return wired{Results: make(chan int)}, nil })),
		agent.Async("null", mistaken[*job](func(*agent.Task) (*job, error) { return nil, nil })), //nolint:nilnil // that is the mistake
		agent.Async("panic", mistaken[job](func(*agent.Task) (job, error) {
			var names []string
			return job{Name: names[3]}, nil
		})),
		agent.Async("block", mistaken[job](func(*agent.Task) (job, error) { select {} })),
		agent.Async("secret", mistaken[job](func(*agent.Task) (job, error) {
			token, err := agent.Secret("token")
			return job{Name: token.String()}, err
		})),
		agent.Async("exit", mistaken[job](func(*agent.Task) (job, error) {
			log.Fatal("no license found")
			return job{}, nil
		})),
		agent.Configure(func(context.Context, config) error { return nil }),
	)
}
