package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/admin"
)

func newUpgradeCommand() *cobra.Command {
	var output string
	var force bool
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Have a new host take over from the one that runs, without refusing a connection",
		Long: `Asks a running host, at its admin address, to start its program again, as the file is now: put the new binary in the place of
the old one first. The new host gets the arguments and the environment of the old one, reads the configuration, starts its
plugins beside those of the old one, and takes the listening sockets over when it is ready. The old one lets calls under way end
(up to shutdown_timeout), stops its plugins and ends. Under systemd the new process becomes the service's main one.

Where the new host does not get ready, or a plugin that runs now does not run there, the old one serves on and this command says
why. --force takes over without such a plugin.

Works on the host's own machine only; a container is replaced instead.

Exits with 1 if the old host serves on.`,
		Example: `  install -m 0755 agenthost-1.3.0 /usr/local/bin/agenthost && agenthost upgrade
  agenthost upgrade --admin 127.0.0.1:9091
  agenthost upgrade -o json | jq -r .pid`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := adminClient(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			shown := io.Discard
			if !isData(output) {
				shown = cmd.OutOrStdout()
			}
			waiting := waitingLineFor(cmd, output)
			report, err := host.Upgrade(ctx, force, func(line admin.UpgradeLine) {
				switch {
				case line.Started != nil:
					fmt.Fprintf(shown, "started %s, process %d; waiting for its plugins …\n", line.Started.Program, line.Started.PID)
				case line.Waits != nil:
					waiting.show(*line.Waits)
				}
			})
			waiting.clear()
			if ctx.Err() != nil {
				return &exitError{code: exitInterrupted, err: errors.New("interrupted; the old host serves on, unless the new one was just about to take over")}
			}
			if err != nil {
				return err
			}
			return showUpgrade(cmd, output, report)
		},
	}
	bindAdminFlags(cmd, streamTimeout)
	bindOutput(cmd, &output, outputText, outputJSON, outputYAML)
	cmd.Flags().BoolVar(&force, "force", false, "take over also without a plugin that runs now")
	return cmd
}

func showUpgrade(cmd *cobra.Command, output string, report admin.UpgradeReport) error {
	if isData(output) {
		if err := printData(cmd.OutOrStdout(), output, report); err != nil {
			return err
		}
	}
	if report.Error != "" {
		return &exitError{code: exitFailed, err: fmt.Errorf("the old host (process %d) serves on: %s", report.Former, report.Error), shown: isData(output)}
	}
	if isData(output) {
		return nil
	}
	for _, lost := range report.Lost {
		fmt.Fprintf(cmd.ErrOrStderr(), "agenthost: plugin %s does not run in the new host: %s\n", lost.Name, lost.Reason)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "upgraded after %s: %s (process %d) serves; %s (process %d) lets its calls end\n",
		shortly(report.Seconds), report.Version, report.PID, report.FormerVersion, report.Former)
	return nil
}

// ownProgram is the path by which this program was started, as it is to be started again: a link in it may lead elsewhere
// by then. Empty: it is not known.
func ownProgram() string {
	found, err := exec.LookPath(os.Args[0])
	if err == nil {
		found, err = filepath.Abs(found)
	}
	if err != nil {
		found, _ = os.Executable() // empty where that is not known either
	}
	return found
}
