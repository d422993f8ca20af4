package adminclient

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// probeLimit is how long a host may take to answer when it is asked again and again.
const probeLimit = 5 * time.Second

// Probes finds hosts by the addresses of their probes: host:port or http://host:port for one, dns:///name:port for all that a name leads
// to, which is asked for each time.
func Probes(addresses []string) (func(context.Context) ([]Client, error), error) {
	type place struct {
		host, port string
		all        bool
	}
	var places []place
	for _, address := range addresses {
		rest, all := strings.CutPrefix(address, "dns:///")
		if !all && strings.Contains(address, "://") {
			location, err := url.Parse(address)
			if err != nil || location.Scheme != "http" || strings.Trim(location.Path, "/") != "" || location.RawQuery != "" {
				return nil, fmt.Errorf("%s: expected http://host:port, host:port, or dns:///name:port for all hosts of a name", address)
			}
			rest = location.Host
		}
		host, port, err := net.SplitHostPort(rest)
		if err != nil || host == "" || port == "" || strings.ContainsAny(rest, "/?# ") {
			return nil, fmt.Errorf("%s: expected http://host:port, host:port, or dns:///name:port for all hosts of a name", address)
		}
		places = append(places, place{host, port, all})
	}
	return func(ctx context.Context) ([]Client, error) {
		var found []string
		for _, p := range places {
			if !p.all {
				found = append(found, net.JoinHostPort(p.host, p.port))
				continue
			}
			hosts, err := net.DefaultResolver.LookupHost(ctx, p.host)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errNoHosts, err)
			}
			for _, host := range hosts {
				found = append(found, net.JoinHostPort(host, p.port))
			}
		}
		slices.Sort(found)
		clients := []Client{}
		for _, address := range slices.Compact(found) {
			clients = append(clients, Client{Address: address, Limit: probeLimit})
		}
		return clients, nil
	}, nil
}

// Asked is a host whose admin address is known.
func Asked(host Client) func(context.Context) ([]Client, error) {
	host.Limit = probeLimit
	return func(context.Context) ([]Client, error) { return []Client{host}, nil }
}
