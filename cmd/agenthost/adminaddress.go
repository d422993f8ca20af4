package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// wellKnownRun is where the images and units have run_dir.
const wellKnownRun = "/run/agenthost"

// hostPlaces finds a host on this machine whose configuration is broken: by what can be read of that, by the token that a host has
// written to its run directory, whose name has the port, and else at the default address. why says by which.
func hostPlaces(sources config.Sources) (places config.Places, why string) {
	places = config.PlacesOf(sources)
	if _, port, err := net.SplitHostPort(places.Admin); places.Admin != "" && (err != nil || port != "0") { // 0 is any port
		return places, "as the configuration says"
	}
	places.Admin = ""
	var latest time.Time
	var tried []string
	for _, dir := range []string{places.RunDir, wellKnownRun, config.DefaultRunDir(sources.Environ)} {
		if dir == "" || slices.Contains(tried, dir) {
			continue
		}
		tried = append(tried, dir)
		tokens, _ := filepath.Glob(filepath.Join(dir, "*", "*", "admin-*.token")) // the pattern is a sound one
		for _, token := range tokens {
			info, err := os.Stat(token)
			port := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(token), "admin-"), ".token")
			if err == nil && info.ModTime().After(latest) { // living hosts touch theirs
				latest, places.Admin, why = info.ModTime(), "127.0.0.1:"+port, "by "+token
			}
		}
	}
	if places.Admin == "" {
		places.Admin, why = config.Default().Listen.Admin, "the default; no host has written a token in "+strings.Join(tried, ", ")
	}
	return places, why
}

// adminAddress finds where the host answers operators, and where to read a token for it. A host that listens everywhere is asked
// on the loopback.
func adminAddress(cmd *cobra.Command) (address, token string, err error) {
	settings, err := loadConfig(cmd)
	given := cmd.Flags().Changed("admin")
	switch {
	case settings == nil && given: // which is for when the configuration cannot be read, too
		settings = config.Default()
	case settings == nil: // a host runs on with what was sound, and is most looked for now
		sources, sourcesErr := configSources(cmd)
		if sourcesErr != nil {
			return "", "", sourcesErr
		}
		places, why := hostPlaces(sources)
		settings = config.Default()
		settings.Listen.Admin, settings.Listen.AdminToken = places.Admin, places.AdminToken
		fmt.Fprintf(cmd.ErrOrStderr(), "agenthost: the configuration is broken, and a host is looked for at %s (%s); --admin host:port says another address: %v\n", places.Admin, why, err)
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
