package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/agenthost/agenthost/tools/adminclient"
)

// sparkSteps is how many of the host's steps, of 5 s each, a sparkline has.
const sparkSteps = 12

// callsOf are the calls per second of each plugin over the last minute; nil where the host does not know.
func callsOf(ctx context.Context, host adminclient.Client) map[string][]float64 {
	series, err := host.Series(ctx, sparkSteps)
	if err != nil { // it is too old to have one, or the status says why
		return nil
	}
	calls := map[string][]float64{}
	for _, p := range series.Plugins {
		calls[p.Name] = p.Calls
	}
	return calls
}

// sparkline draws values, the highest of which is the full height, with the last one as a number: ▁▂▅█ 3.2.
func sparkline(values []float64) string {
	if len(values) == 0 {
		return "-"
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	most := largest(values)
	var b strings.Builder
	for _, value := range values {
		height := 0
		if most > 0 && value > 0 {
			height = int(math.Ceil(value / most * float64(len(bars)-1)))
		}
		b.WriteRune(bars[height])
	}
	return b.String() + fmt.Sprintf(" %.1f", values[len(values)-1])
}
