// Package agenttest runs a plugin in tests and talks to it as the host does, in Go values.
//
//	func TestGreets(t *testing.T) {
//		client := agenttest.Run(t, agent.Async("hello", hello{}))
//		result := client.RunTask(t.Context(), agenttest.Task{Type: "hello", Inputs: map[string]any{"name": "Ada"}})
//		if got := agenttest.Output[string](t, result, "greeting"); got != "Hello, Ada" {
//			t.Errorf("greeting = %q", got)
//		}
//	}
//
// Run serves the agents in process, which is quick and lets a debugger in. Command starts the built program as the host
// does, with the handshake, mutual TLS and a log, which shows what Run cannot. Both give the same Client.
package agenttest
