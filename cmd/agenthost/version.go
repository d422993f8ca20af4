package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildVersion is the version of a release, set by its build: -ldflags "-X main.buildVersion=1.2.3".
var buildVersion string

// version is the host's version: of the release, or else what Go stamped into the binary.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	if build, ok := debug.ReadBuildInfo(); ok && build.Main.Version != "" {
		return build.Main.Version
	}
	return "(devel)"
}

// buildReport is what `agenthost version -o json` prints.
type buildReport struct {
	Version string `json:"version"`
	// Revision is the commit; empty for a build outside a checkout.
	Revision string `json:"revision,omitempty"`
	// Modified says that the checkout had changes.
	Modified bool   `json:"modified,omitempty"`
	Built    string `json:"commit_time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Modules are the versions of the libraries that shape the protocol.
	Modules map[string]string `json:"modules"`
}

func newBuildReport() buildReport {
	report := buildReport{
		Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Modules: map[string]string{},
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return report
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			report.Revision = s.Value
		case "vcs.time":
			report.Built = s.Value
		case "vcs.modified":
			report.Modified = s.Value == "true"
		}
	}
	for _, module := range build.Deps {
		switch module.Path {
		case "github.com/flyteorg/flyte/flyteidl", "github.com/hashicorp/go-plugin", "google.golang.org/grpc":
			report.Modules[module.Path] = module.Version
		}
	}
	return report
}

func newVersionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print what this binary was built from",
		Example: "  agenthost version -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := newBuildReport()
			if isData(output) {
				return printData(cmd.OutOrStdout(), output, report)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "agenthost %s (%s, %s)\n", report.Version, report.Go, report.Platform)
			return nil
		},
	}
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	return cmd
}
