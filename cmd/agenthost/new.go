package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/tools/scaffold"
)

// sdkVariable names a checkout of agenthost for those who work on it, in the place of --sdk.
const sdkVariable = "AGENTHOST_SDK"

func newNewCommand() *cobra.Command {
	var project scaffold.Project
	var dir, output string
	cmd := &cobra.Command{
		Use:   "new --lang LANGUAGE NAME",
		Short: "Begin a plugin: a project that builds and passes as it is",
		Long: `Writes a new plugin into a folder: a program with one agent, its tests, and the files that 'agenthost verify' and
'agenthost serve' need. It builds, passes its tests and is verified as it comes; ` + "`make`" + ` in the folder does each.

The task type is NAME with underscores. The SDK is the published one of this version of agenthost; with --sdk (or
$` + sdkVariable + `) it is that of a checkout.`,
		Example: `  agenthost new --lang rust warehouse-query
  agenthost new --lang python warehouse-query --dir ./agents/warehouse
  agenthost new --lang go warehouse-query --sdk ~/src/agenthost`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			project.Name = args[0]
			if project.Language == "" {
				return usageError(errors.New("--lang is missing: the language of the plugin, " + strings.Join(scaffold.Languages(), ", ")))
			}
			if err := sdkOf(&project); err != nil {
				return usageError(err)
			}
			if err := project.Check(); err != nil {
				return usageError(err)
			}
			if dir == "" {
				dir = project.Name
			}
			files, err := project.Write(dir)
			if err != nil {
				return err
			}
			if isData(output) {
				return printData(cmd.OutOrStdout(), output, map[string]any{"name": project.Name, "language": project.Language, "dir": dir, "files": files})
			}
			for _, file := range files {
				fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(dir, file))
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "\nNext:\n  cd %s\n  make build test verify\n", dir)
			return nil
		},
	}
	flags := cmd.Flags()
	languages := scaffold.Languages()
	flags.VarP(&choice{&project.Language, languages}, "lang", "l", "`language` of the plugin: "+strings.Join(languages, ", "))
	flags.StringVar(&dir, "dir", "", "`folder` to write to, which must be empty or not exist (default: NAME)")
	flags.StringVar(&project.SDK, "sdk", "", "`checkout` of agenthost to take the SDK from (default: $"+sdkVariable+", else the published SDK)")
	for _, err := range []error{ // each is a flag that does not exist
		cmd.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions(languages, cobra.ShellCompDirectiveNoFileComp)),
		cmd.MarkFlagDirname("dir"),
		cmd.MarkFlagDirname("sdk"),
	} {
		if err != nil {
			panic(err)
		}
	}
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	return cmd
}

var release = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)$`)

// sdkOf fills in where the project's SDK comes from.
func sdkOf(project *scaffold.Project) (err error) {
	if project.SDK == "" {
		project.SDK = os.Getenv(sdkVariable)
	}
	if project.SDK != "" {
		project.SDK, err = filepath.Abs(project.SDK)
		return err
	}
	match := release.FindStringSubmatch(version())
	if match == nil {
		return errors.New("this is a build of agenthost between releases (" + version() + "), for which no SDK is published: name a checkout with --sdk or $" + sdkVariable)
	}
	project.Version = match[1]
	return nil
}
