package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
)

func newStatusCommand() *cobra.Command {
	var output string
	var watch bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a running host and its plugins are doing",
		Long: `Asks a running host, at its admin address, for the state of each plugin: version, process, uptime, restarts, task categories,
calls in flight, memory. The address is --admin, else that of the configuration, else 127.0.0.1:9090.

Exits with 1 if the host does not answer.`,
		Example: `  agenthost status
  agenthost status --watch
  agenthost status --admin 10.0.0.7:9090 -o json | jq '.plugins[] | select(.state != "running")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			address, err := adminAddress(cmd)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if !watch {
				return showStatus(ctx, address, output, cmd.OutOrStdout())
			}
			return watchStatus(ctx, address, output, interval, cmd.OutOrStdout())
		},
	}
	bindConfigFlags(cmd)
	bindOutput(cmd, &output, outputTable, outputJSON)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again until interrupted")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "how `long` to wait between two looks with --watch")
	return cmd
}

// adminAddress finds where the host answers operators. A host that listens everywhere is asked on the loopback.
func adminAddress(cmd *cobra.Command) (string, error) {
	address := config.Default().Listen.Admin
	if cmd.Flags().Changed("admin") {
		address, _ = cmd.Flags().GetString("admin")
	} else {
		settings, err := loadConfig(cmd)
		switch {
		case err == nil:
			address = settings.Listen.Admin
		case !errors.Is(err, errNoConfig):
			return "", fmt.Errorf("%w\nthe address of a running host can be given with --admin host:port", err)
		}
	}
	if address == "" {
		return "", errors.New("the configuration turns the admin address off (listen.admin is empty), so no host can be asked; see its log instead")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", usageError(fmt.Errorf("--admin %s: expected host:port such as 127.0.0.1:9090", address))
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

func showStatus(ctx context.Context, address, output string, out io.Writer) error {
	raw, status, err := fetchStatus(ctx, address)
	if err != nil {
		return err
	}
	if output == outputJSON {
		_, err := out.Write(raw)
		return err
	}
	_, err = io.WriteString(out, renderStatus(status))
	return err
}

// watchStatus shows the status until ctx ends. On a terminal it stays in one place; elsewhere each look follows the
// last, as one JSON value or table after the other. A host that does not answer is shown as such: it may come back.
func watchStatus(ctx context.Context, address, output string, interval time.Duration, out io.Writer) error {
	const home, clear = "\x1b[H", "\x1b[J"
	inPlace := output != outputJSON && isTerminal(out)
	ticker := time.NewTicker(max(interval, 100*time.Millisecond))
	defer ticker.Stop()
	if inPlace {
		fmt.Fprint(out, home, clear)
	}
	for {
		var screen strings.Builder
		err := showStatus(ctx, address, output, &screen)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if output == outputJSON {
				_ = printJSON(&screen, map[string]string{"error": err.Error()}) // to memory
			} else {
				fmt.Fprintf(&screen, "%v\n", err)
			}
		}
		if inPlace {
			fmt.Fprint(out, home, strings.ReplaceAll(screen.String(), "\n", "\x1b[K\n"), clear)
		} else if _, err := io.WriteString(out, screen.String()); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// fetchStatus asks the host, and gives its answer both as it came and as it is understood.
func fetchStatus(ctx context.Context, address string) ([]byte, admin.Status, error) {
	var status admin.Status
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/status", nil)
	if err != nil {
		return nil, status, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, status, fmt.Errorf("no host answers at %s: %w\nIs it running, and is this its listen.admin? Another address is given with --admin host:port", address, rootCause(err))
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return nil, status, fmt.Errorf("the host at %s broke off its answer: %w", address, err)
	}
	if response.StatusCode != http.StatusOK || json.Unmarshal(raw, &status) != nil {
		return nil, status, fmt.Errorf("what answers at %s (%s) is not the admin address of an agenthost", address, response.Status)
	}
	return raw, status, nil
}

// rootCause is the end of a chain of errors: without the method and URL that net/http puts before it.
func rootCause(err error) error {
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Err
	}
	return err
}

func renderStatus(status admin.Status) string {
	ready := "ready"
	if !status.Host.Ready {
		ready = "NOT READY"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "agenthost %s  %s  pid %d  up %s  grpc %s\n", status.Host.Version, ready, status.Host.PID, uptime(status.Host.UptimeSeconds), status.Host.GRPC)
	if len(status.Plugins) == 0 {
		b.WriteString("no plugins are configured\n")
		return b.String()
	}
	w := table.NewWriter()
	w.SetStyle(table.StyleLight)
	w.Style().Format.Header = text.FormatDefault
	w.Style().Options = table.OptionsNoBordersAndSeparators
	w.AppendHeader(table.Row{"PLUGIN", "STATE", "VERSION", "PID", "UPTIME", "RESTARTS", "IN FLIGHT", "MEMORY", "CPU", "TASK TYPES"})
	for _, p := range status.Plugins {
		running := p.PID != 0
		w.AppendRow(table.Row{
			p.Name, p.State, orDash(p.Version != "", p.Version), orDash(running, p.PID), orDash(running, uptime(p.UptimeSeconds)),
			p.Restarts, p.InFlight, orDash(running, memory(p.MemoryBytes)), orDash(running, fmt.Sprintf("%.1fs", p.CPUSeconds)), categories(p.Categories),
		})
	}
	for line := range strings.SplitSeq(w.Render(), "\n") {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	for _, p := range status.Plugins {
		if p.Reason == "" {
			continue
		}
		verb := "is"
		if p.State == "running" {
			verb = "runs now; before:"
		}
		fmt.Fprintf(&b, "%s %s %s\n", p.Name, verb, reason(p))
	}
	return b.String()
}

func reason(p admin.PluginStatus) string {
	if p.State == "running" {
		return p.Reason
	}
	return p.State + ": " + p.Reason
}

func categories(all []admin.Category) string {
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = categoryName(c.Name, c.Version)
		if c.Sync {
			names[i] += " (sync)"
		}
	}
	return orDash(len(names) > 0, strings.Join(names, ", "))
}

func orDash(there bool, value any) string {
	if !there {
		return "-"
	}
	return fmt.Sprint(value)
}

// uptime writes a time span in its two largest units.
func uptime(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// memory writes bytes in whole MiB, which is as fine as memory is worth reading.
func memory(bytes uint64) string {
	return fmt.Sprintf("%d MiB", (bytes+(1<<20)/2)>>20)
}
