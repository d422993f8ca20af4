package agent_test

import (
	agent "github.com/agenthost/agenthost/sdk/go"
)

// everyInput is what README.md shows of inputs. It only has to be compiled.
//
//nolint:ineffassign,wastedassign,staticcheck // as the page has them, one beside the other
func everyInput(task *agent.Task) []any {
	var inputs, custom struct{}
	limit, err := agent.Input[int](task, "limit")                 // also time.Time, []float64, map[string]string, …
	table, err := agent.Input[agent.StructuredDataset](task, "t") // URI, Format, Columns; also agent.File, agent.Directory
	region, err := agent.InputOr(task, "region", "eu")            // absent or None: "eu"
	err = task.DecodeInputs(&inputs)                              // all into one struct, by snake case or `input:"name,optional"`
	values, err := task.InputValues()                             // map[string]any
	err = task.Custom(&custom)                                    // the template's custom part, by json tags
	sql := task.Template.GetSql().GetStatement()
	return []any{limit, table, region, values, sql, err}
}

var _ = everyInput
