package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// bindFormerFlags keeps command lines working that were written when --output named the wanted outputs of `task run` and --format
// the form of the result. The two meanings of --output are told apart by the colon. The usage of the hidden flag is for
// docs/reference/cli.md.
func (r *taskRun) bindFormerFlags(cmd *cobra.Command) {
	output := cmd.Flags().Lookup("output")
	form := output.Value
	output.Value = &formerFlag{form, func(value string) error {
		if !strings.Contains(value, ":") {
			if err := form.Set(value); err != nil {
				return fmt.Errorf("%w; a wanted output is given with --want", err)
			}
			return nil
		}
		r.task.Outputs = append(r.task.Outputs, value)
		r.former = append(r.former, fmt.Sprintf("--output %s: a wanted output is given with --want; --output is the form of the result", value))
		return nil
	}}
	cmd.Flags().Var(&formerFlag{form, func(value string) error {
		r.former = append(r.former, "--format is called --output (-o) now")
		return form.Set(value)
	}}, "format", "`--format FORM` is `--output FORM` now, and `--output name:type` is `--want name:type`.")
	cmd.Flags().Lookup("format").Hidden = true
}

// formerFlag is a flag with a meaning that it had once.
type formerFlag struct {
	flag interface {
		String() string
		Type() string
	}
	set func(string) error
}

func (f *formerFlag) String() string         { return f.flag.String() }
func (f *formerFlag) Type() string           { return f.flag.Type() }
func (f *formerFlag) Set(value string) error { return f.set(value) }
