package agent_test

import (
	"math"
	"testing"

	agent "github.com/agenthost/agenthost/sdk/go"
)

func TestProgressIsSaidInTheMessageAndAsANumber(t *testing.T) {
	for _, c := range []struct {
		fraction, kept float64
		text, message  string
	}{
		{0.4, 0.4, "4 of 10 files", "40%: 4 of 10 files"},
		{0.29, 0.29, "", "29%"},
		{0.999, 0.999, "", "99%"}, // it is not at its end
		{1, 1, "", "100%"},
		{7, 1, "", "100%"},
		{-1, 0, "", "0%"},
		{math.NaN(), 0, "", "0%"},
	} {
		running := agent.Running("").WithProgress(c.fraction, c.text)
		if running.Message != c.message || running.CustomInfo["progress"] != c.kept {
			t.Errorf("%v: %q, %v", c.fraction, running.Message, running.CustomInfo)
		}
	}
}
