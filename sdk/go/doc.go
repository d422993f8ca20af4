// Package agent is how a Flyte agent is written in Go, as a plugin of agenthost.
//
//	type job struct{ Name string `json:"name"` }
//
//	type hello struct{}
//
//	func (hello) Create(ctx context.Context, task *agent.Task) (job, error) {
//		name, err := agent.Input[string](task, "name")
//		return job{Name: name}, err
//	}
//
//	func (hello) Get(ctx context.Context, j agent.Job[job]) (*agent.Resource, error) {
//		return agent.Succeeded(agent.Outputs{"greeting": "Hello, " + j.Meta.Name}), nil
//	}
//
//	func (hello) Delete(ctx context.Context, j agent.Job[job]) error { return nil }
//
//	func main() {
//		agent.Serve(agent.Plugin{Name: "hello", Version: "1.0.0"}, agent.Async("hello", hello{}))
//	}
//
// An agent's methods are called concurrently, with the caller's deadline in their context. What they return or get
// wrong becomes this:
//
//   - an error made with NotFound, InvalidArgument, Unavailable, … or package status keeps its code;
//   - an ended context is DEADLINE_EXCEEDED or CANCELLED;
//   - every other error is INTERNAL, with the agent's name;
//   - a panic is INTERNAL too, and its stack goes to the log, never to the caller.
//
// Log with package slog: after Serve its default logger writes to the host's log, with level and fields.
//
// Package agenttest runs a plugin in tests, in process or as a subprocess.
package agent
