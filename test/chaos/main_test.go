package main

import (
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/chaos/agent"
	"github.com/agenthost/agenthost/test/hosttest"
)

// The programs are without the race detector, which makes processes slow.
func TestMain(m *testing.M) {
	agent.Main()
	hosttest.Main(m, "cmd/agenthost", "plugins/hello", "test/chaos")
}

func TestNoJobIsLostInAShortChaos(t *testing.T) {
	err := runChaos(t.Context(), options{
		host: hosttest.Program("agenthost"), plugin: hosttest.Program("chaos"),
		length: 15 * time.Second, maxWait: 45 * time.Second, jobs: 300, seed: 11, out: t.Output(),
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPollsDoNotFailWhileAPluginIsSwapped(t *testing.T) {
	err := runSwap(t.Context(), swapOptions{
		host: hosttest.Program("agenthost"), plugin: hosttest.Program("hello"),
		calls: 10_000, callers: 16, every: 200 * time.Millisecond, out: t.Output(),
	})
	if err != nil {
		t.Error(err)
	}
}
