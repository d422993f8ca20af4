package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// connecting is a Connect under way. Each step finds in it what the steps before it made.
type connecting struct {
	spec  Spec
	log   *slog.Logger
	pace  pace
	step  string
	late  error // that it took too long
	types int   // that may be listed

	servers  *servers
	conn     *grpc.ClientConn
	manifest Manifest
}

func connect(ctx context.Context, spec Spec, env Environment, pace pace) (*Remote, error) {
	spec = spec.withDefaults()
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	late := fmt.Errorf("not done within %v", spec.StartTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, spec.StartTimeout, late)
	defer cancel()

	c := &connecting{spec: spec, log: env.Log.With("plugin", spec.Name), pace: pace, late: late, types: env.MaxTaskTypes}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{StepPrepare, c.prepare},
		{StepConnect, c.reach}, // goes over into StepHealth where that is what is wrong
		{StepList, c.listAgents},
	} {
		c.step = step.name
		if err := step.run(ctx); err != nil {
			if c.conn != nil {
				c.conn.Close()
			}
			failed := &StartError{Plugin: spec.Name, Step: c.step, Err: err, Fault: faultAt(c.step, err, true, false, 0)}
			if advised := (*failure)(nil); errors.As(err, &advised) {
				failed.Advice = advised.advice
			}
			return nil, failed
		}
	}
	return newRemote(c), nil
}

func (c *connecting) prepare(context.Context) error {
	switch {
	case c.spec.Name == "":
		return errors.New("the plugin has no name")
	case len(c.spec.Address) == 0:
		return advise(errors.New("there is no address to connect to"), "set address: [host:port, …]")
	}
	for _, address := range c.spec.Address {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			return advise(fmt.Errorf("the address %q is not host:port", address), "write it like agents.example.com:8000")
		}
	}
	if c.spec.TLS {
		if _, err := c.spec.RemoteTLS.load(); err != nil {
			return err
		}
	}
	return nil
}

// reach makes the connection and waits until a server has taken it, or until all have been tried in vain.
func (c *connecting) reach(ctx context.Context) error {
	c.servers = newServers(c.spec, c.pace)
	target := url.URL{Scheme: c.servers.Scheme(), Path: "/" + c.spec.Address[0]}
	conn, err := grpc.NewClient(target.String(), append(c.spec.remoteOptions(),
		grpc.WithResolvers(c.servers), grpc.WithDefaultServiceConfig(remoteServiceConfig))...)
	if err != nil {
		return fmt.Errorf("cannot make a connection: %w", err)
	}
	c.conn = conn
	conn.Connect()
	for {
		state := conn.GetState()
		switch state { //nolint:exhaustive // the others are on the way to these
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure:
			return c.unreachable(ctx)
		}
		if !conn.WaitForStateChange(ctx, state) {
			return advise(fmt.Errorf("%s: no connection: %w", strings.Join(c.spec.Address, ", "), context.Cause(ctx)), "check that the host may reach it: is there a firewall or network policy?")
		}
	}
}

// unreachable says why there is no connection.
func (c *connecting) unreachable(ctx context.Context) error {
	all := strings.Join(c.spec.Address, ", ")
	if unhealthy, err := c.servers.trouble(); unhealthy {
		c.step = StepHealth
		return advise(fmt.Errorf("%s: %w", all, err), "it is asked again: wait until it is ready, or look at its log")
	} else if err != nil {
		return advise(fmt.Errorf("%s: %w", all, err), "check address: in the plugin's configuration, and that the host can look the name up")
	}
	_, err := listRemote(ctx, c.conn, c.types)
	if err == nil {
		return nil // it came up just now
	}
	said := status.Convert(err).Message()
	return advise(fmt.Errorf("%s: %s", all, said), c.connectAdvice(said))
}

// connectAdvice knows what Go's net and crypto/tls say, and what to do then.
func (c *connecting) connectAdvice(said string) string {
	for _, known := range []struct{ says, advice string }{
		{"first record does not look like a TLS handshake", "the server does not speak TLS: set tls: off for this plugin, or let it serve TLS"},
		{"signed by unknown authority", "set tls_ca: to the certificate of the authority that signed the server's"},
		{"certificate is valid for", "set tls_server_name: to a name in the server's certificate"},
		{"doesn't contain any IP SANs", "set tls_server_name: to a name in the server's certificate"},
		{"certificate is not valid for any names", "set tls_server_name: to a name in the server's certificate"},
		{"certificate has expired", "renew the server's certificate, or set the clocks right"},
		{"remote error: tls:", "the server refuses the host: does it want a certificate of the host's (tls_cert and tls_key), one of its own authority?"},
		{"tls_c", "correct the file: it is read for each connection"},
		{"connection refused", "check address: in the plugin's configuration, and that the server runs"},
	} {
		if strings.Contains(said, known.says) {
			return known.advice
		}
	}
	if !c.spec.TLS {
		return "check that it is a gRPC server; if it speaks TLS, set tls: on for this plugin"
	}
	return "check that it is a gRPC server with TLS; one that cuts connections may also want another certificate of the host's, or any (tls_cert and tls_key)"
}

func (c *connecting) listAgents(ctx context.Context) error {
	agents, err := listRemote(ctx, c.conn, c.types)
	c.manifest = Manifest{Name: c.spec.Name, Agents: agents}
	switch {
	case ctx.Err() != nil || status.Code(err) == codes.DeadlineExceeded:
		return advise(fmt.Errorf("ListAgents was not answered: %w", cmp.Or(context.Cause(ctx), c.late)), "look at the server's log: it takes connections, but does not answer")
	case status.Code(err) == codes.Unimplemented:
		return advise(errors.New("it does not serve flyteidl.service.AgentMetadataService/ListAgents"),
			"the host learns from it what to send where; is it an agent server (flytekit's pyflyte serve connector) at this address?")
	case status.Code(err) == codes.Unauthenticated || status.Code(err) == codes.PermissionDenied:
		return advise(fmt.Errorf("ListAgents failed: %w", err), "the host sends no credentials but tls_cert: let the server trust that, or the network it comes from")
	case errors.As(err, new(*failure)):
		return err
	case err != nil:
		return advise(fmt.Errorf("ListAgents failed: %w", err), "look at the server's log")
	}
	return nil
}

// listRemote asks one of the servers for its agents. The error is the call's, or what is wrong with the list.
func listRemote(ctx context.Context, conn *grpc.ClientConn, maxTypes int) ([]Agent, error) {
	answer, err := service.NewAgentMetadataServiceClient(conn).ListAgents(ctx, &admin.ListAgentsRequest{})
	if err != nil {
		return nil, err
	}
	return agentsOf(answer.GetAgents(), maxTypes)
}

// sameAgents compares lists whose order says nothing.
func sameAgents(one, other []Agent) bool { return reflect.DeepEqual(sorted(one), sorted(other)) }

func sorted(agents []Agent) []Agent {
	agents = slices.Clone(agents)
	for i := range agents {
		agents[i].Categories = slices.SortedFunc(slices.Values(agents[i].Categories), func(a, b Category) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
		})
	}
	slices.SortFunc(agents, func(a, b Agent) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Categories[0].Name, b.Categories[0].Name), cmp.Compare(a.Categories[0].Version, b.Categories[0].Version))
	})
	return agents
}

func namesOf(agents []Agent) string {
	names := make([]string, 0, len(agents))
	for _, agent := range agents {
		names = append(names, fmt.Sprintf("%s %s", agent.Name, agent.Categories))
	}
	return strings.Join(names, ", ")
}
