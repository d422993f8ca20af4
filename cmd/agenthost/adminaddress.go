package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/server"
	"github.com/agenthost/agenthost/tools/adminclient"
)

// bindAdminFlags gives a command that asks a running host the flags that adminClient reads.
func bindAdminFlags(cmd *cobra.Command, timeout string) {
	bindConfigFlags(cmd)
	cmd.Flags().Duration("timeout", 0, timeout)
}

// The usages of --timeout.
const (
	answerTimeout = "how `long` the host may take to answer; 0: 10s"
	streamTimeout = "how `long` it may take in all; 0: for as long as the host is heard"
)

// adminClient finds the host that a command asks.
func adminClient(cmd *cobra.Command) (adminclient.Client, error) {
	address, source, err := adminAddress(cmd)
	if err != nil {
		return adminclient.Client{}, err
	}
	client := adminclient.Client{Address: address}
	client.Limit, _ = cmd.Flags().GetDuration("timeout")
	if client.Limit < 0 {
		return client, usageError(fmt.Errorf("--timeout %v: expected a time span such as 30s", client.Limit))
	}
	if source != "" {
		tokens, err := server.ReadAdminTokens(cmd.Context(), source)
		if err == nil {
			client.Token = tokens[0].Secret
		} else if cmd.Flags().Changed("set") { // else it is the host's to read, and there is the one that it has written
			return client, err
		}
	}
	return client, nil
}

// quickly is the client for a completion, which nobody waits for.
func quickly(client adminclient.Client) adminclient.Client {
	client.Limit = time.Second
	return client
}

// adminAddress finds where the host answers operators, and where to read a token for it. A host that listens everywhere is asked
// on the loopback.
func adminAddress(cmd *cobra.Command) (address, token string, err error) {
	settings, err := loadConfig(cmd)
	given := cmd.Flags().Changed("admin")
	switch {
	case settings == nil && given: // which is for when the configuration cannot be read, too
		settings = config.Default()
	case settings == nil:
		return "", "", fmt.Errorf("%w\nthe address of a running host can be given with --admin host:port", err)
	}
	address = settings.Listen.Admin
	if given {
		address, _ = cmd.Flags().GetString("admin")
	}
	if address == "" {
		return "", "", errors.New("the configuration turns the admin address off (listen.admin is empty), so no host can be asked; see its log instead")
	}
	if _, isSocket := config.UnixPath(address); isSocket {
		return address, settings.Listen.AdminToken, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", "", usageError(fmt.Errorf("--admin %s: expected host:port such as 127.0.0.1:9090, or unix:/path", address))
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), settings.Listen.AdminToken, nil
}
