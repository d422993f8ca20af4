package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// The values of --output.
const (
	outputText  = "text"
	outputTable = "table"
	outputJSON  = "json"
)

// bindOutput gives a command --output with the given values, the first one being the default.
func bindOutput(cmd *cobra.Command, target *string, values ...string) {
	*target = values[0]
	cmd.Flags().VarP(&choice{target, values}, "output", "o", "`form` of the result: "+strings.Join(values, " or "))
	if err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
}

// choice is a flag that takes one of a few values.
type choice struct {
	target *string
	values []string
}

func (c *choice) String() string {
	if c.target == nil {
		return ""
	}
	return *c.target
}

func (c *choice) Type() string { return "string" }

func (c *choice) Set(value string) error {
	if !slices.Contains(c.values, value) {
		return fmt.Errorf("expected %s", strings.Join(c.values, " or "))
	}
	*c.target = value
	return nil
}
