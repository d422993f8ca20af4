package creation

import (
	"sync"
	"testing"

	"github.com/agenthost/agenthost/test/chaos/agent"
	"github.com/agenthost/agenthost/test/hosttest"
)

// The programs are without the race detector, which makes processes slow.
func TestMain(m *testing.M) {
	agent.Main()
	hosttest.Main(m, "cmd/agenthost", "test/chaos")
}

func TestNoAttemptIsBurntInAShortTrouble(t *testing.T) {
	var running sync.WaitGroup
	for _, name := range Names() {
		running.Go(func() {
			o := Short()
			o.Host, o.Plugin, o.Only, o.Out = hosttest.Program("agenthost"), hosttest.Program("chaos"), []string{name}, t.Output()
			if err := Run(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
}
