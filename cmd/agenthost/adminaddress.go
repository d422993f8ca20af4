package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/config"
)

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
