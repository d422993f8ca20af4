package main

import (
	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/config"
)

func newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration",
		Long: `Prints the JSON Schema (draft 2020-12) of a configuration file, with a description and the default of every key. Editors with a
YAML language server use it when a file starts with
  # yaml-language-server: $schema=agenthost.schema.json`,
		Example: "  agenthost schema > agenthost.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Schema())
			return err
		},
	}
}
