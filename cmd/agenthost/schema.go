package main

import (
	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/config"
)

const outputMarkdown = "markdown"

func newSchemaCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration",
		Long: `Prints the JSON Schema (draft 2020-12) of a configuration file, with a description and the default of every key. Editors with a
YAML language server use it when a file starts with
  # yaml-language-server: $schema=agenthost.schema.json

With -o markdown it prints the same for people to read.`,
		Example: `  agenthost schema > agenthost.schema.json
  agenthost schema -o markdown | less`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch output {
			case outputYAML:
				return printYAML(cmd.OutOrStdout(), config.Schema())
			case outputMarkdown:
				_, err := cmd.OutOrStdout().Write(config.Reference())
				return err
			}
			_, err := cmd.OutOrStdout().Write(config.Schema())
			return err
		},
	}
	bindOutput(cmd, &output, outputJSON, outputYAML, outputMarkdown)
	return cmd
}
