package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/tools/contract"
)

func newContractCommand() *cobra.Command {
	var dir, output string
	cmd := &cobra.Command{
		Use:   "contract --out DIR",
		Short: "Write what a plugin serves as descriptors and .proto files",
		Long: `Writes the plugin contract into a folder, for a plugin in a language that has no SDK: contract.binpb, a descriptor set, and the
same as .proto files. They hold Flyte's agent services, grpc.health.v1, go-plugin's services and the optional one of agenthost.
docs/contract.md says what they mean, and how each language's generator takes them.`,
		Example: `  agenthost contract --out contract
  protoc -I contract --cpp_out=. --grpc_out=. --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" $(cd contract && find . -name '*.proto')
  protoc --descriptor_set_in=contract/contract.binpb --ruby_out=. flyteidl/service/agent.proto
  buf generate contract/contract.binpb`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError(errors.New("--out is missing: the folder to write to"))
			}
			files, err := contract.Write(dir)
			if err != nil {
				return fmt.Errorf("--out %s: %w", dir, err)
			}
			if isData(output) {
				return printData(cmd.OutOrStdout(), output, map[string]any{"dir": dir, "files": files})
			}
			for _, file := range files {
				fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(dir, file))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "out", "", "`folder` to write to; files of the same names are replaced")
	if err := cmd.MarkFlagDirname("out"); err != nil {
		panic(err) // the flag was added above
	}
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	return cmd
}
