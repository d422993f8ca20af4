package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
	"google.golang.org/grpc/status"
)

// servers are those of a remote plugin: it is the connection's resolver, which tells it whom to connect to. That is every
// IP address of every configured address, without those whose health service says NOT_SERVING.
//
// Names are looked up by gRPC's own DNS resolver, again whenever a connection breaks and every so often.
//
// Health is asked for with Check, on a connection of its own per server, and not by gRPC's client-side health checking,
// which holds a Watch open: in flytekit's server each Watch takes one of ten threads, and keeps it when the client has
// gone. After the tenth connection nobody's health check is answered any more, Kubernetes' probe included.
type servers struct {
	spec   Spec
	pace   pace
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	probes sync.WaitGroup
	names  []*name // fixed by Build
	cc     resolver.ClientConn

	mu        sync.Mutex
	published []string // what cc was told last; nil before the first time
}

// name is one configured address, and the resolver.ClientConn of its own DNS resolver.
type name struct {
	all      *servers
	address  string // host:port, as configured
	host     string
	resolver resolver.Resolver

	// guarded by all.mu
	answered bool
	err      error
	servers  []*server
}

// server is one IP address and port.
type server struct {
	address string
	cancel  context.CancelFunc
	verdict verdict // guarded by servers.mu
}

type verdict int

const (
	unknown    verdict = iota
	silent             // it does not answer; the connection tries it all the same, and knows when it does
	usable             // it answers
	notServing         // its health service says so
)

func newServers(spec Spec, pace pace) *servers {
	s := &servers{spec: spec, pace: pace}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Scheme implements resolver.Builder.
func (s *servers) Scheme() string { return "agents" }

// Build implements resolver.Builder. It is called once, because the connection is never idle.
func (s *servers) Build(_ resolver.Target, cc resolver.ClientConn, options resolver.BuildOptions) (resolver.Resolver, error) {
	s.cc = cc
	for _, address := range s.spec.Address {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err // prepare has seen to it that there is none
		}
		s.names = append(s.names, &name{all: s, address: address, host: host})
	}
	for _, n := range s.names {
		target := resolver.Target{}
		target.URL.Scheme, target.URL.Path = "dns", "/"+n.address
		built, err := resolver.Get("dns").Build(target, n, options)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("%s: %w", n.address, err)
		}
		n.resolver = built
	}
	s.probes.Go(s.refresh)
	return s, nil
}

// refresh looks names up again from time to time: a new address behind one breaks no connection.
func (s *servers) refresh() {
	ticker := time.NewTicker(s.pace.list)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.ResolveNow(resolver.ResolveNowOptions{})
		case <-s.ctx.Done():
			return
		}
	}
}

// ResolveNow implements resolver.Resolver.
func (s *servers) ResolveNow(options resolver.ResolveNowOptions) {
	for _, n := range s.names {
		n.resolver.ResolveNow(options)
	}
}

// Close implements resolver.Resolver.
func (s *servers) Close() {
	for _, n := range s.names {
		if n.resolver != nil {
			n.resolver.Close()
		}
	}
	s.cancel()
	s.probes.Wait()
}

// UpdateState implements resolver.ClientConn. The error for a name without an address makes the resolver ask again.
func (n *name) UpdateState(state resolver.State) error {
	s := n.all
	s.mu.Lock()
	defer s.mu.Unlock()
	before := n.servers
	n.answered, n.err, n.servers = true, nil, nil
	for _, found := range state.Addresses {
		i := slices.IndexFunc(before, func(known *server) bool { return known.address == found.Addr })
		if i >= 0 {
			n.servers = append(n.servers, before[i])
			continue
		}
		added := &server{address: found.Addr}
		var ctx context.Context
		ctx, added.cancel = context.WithCancel(s.ctx)
		n.servers = append(n.servers, added)
		s.probes.Go(func() { s.probe(ctx, n, added) })
	}
	for _, known := range before {
		if !slices.Contains(n.servers, known) {
			known.cancel()
		}
	}
	if len(n.servers) == 0 {
		n.err = fmt.Errorf("there is no address of the name %s", n.host)
	}
	s.publish()
	if n.err != nil {
		return balancer.ErrBadResolverState
	}
	return nil
}

// ReportError implements resolver.ClientConn. What was found before stays: a name server that is down is no news of the
// servers.
func (n *name) ReportError(err error) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	n.answered, n.err = true, fmt.Errorf("the name %s could not be looked up: %w", n.host, err)
	n.all.publish()
}

// NewAddress implements resolver.ClientConn; nobody calls it any more.
func (n *name) NewAddress([]resolver.Address) {}

// ParseServiceConfig implements resolver.ClientConn.
func (n *name) ParseServiceConfig(encoded string) *serviceconfig.ParseResult {
	return n.all.cc.ParseServiceConfig(encoded)
}

// probe asks a server for its health until ctx ends. A server without a health service is not asked twice.
func (s *servers) probe(ctx context.Context, n *name, asked *server) {
	defer asked.cancel()
	options := s.spec.remoteOptions()
	if s.spec.TLS && s.spec.RemoteTLS.ServerName == "" {
		options = append(options, grpc.WithAuthority(n.host))
	}
	conn, err := grpc.NewClient("passthrough:///"+asked.address, options...)
	if err != nil {
		s.judge(asked, silent) // the connection will have the same trouble, and say so
		return
	}
	defer conn.Close()
	health := healthpb.NewHealthClient(conn)
	ticker := time.NewTicker(s.pace.health)
	defer ticker.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, s.pace.answer)
		answer, err := health.Check(limited, &healthpb.HealthCheckRequest{})
		cancel()
		switch code := status.Code(err); {
		case code == codes.OK && answer.GetStatus() == healthpb.HealthCheckResponse_NOT_SERVING:
			s.judge(asked, notServing)
		case code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled:
			s.judge(asked, silent)
		default:
			s.judge(asked, usable)
		}
		if status.Code(err) == codes.Unimplemented {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *servers) judge(asked *server, verdict verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if asked.verdict != verdict {
		asked.verdict = verdict
		s.publish()
	}
}

// publish tells the connection whom to connect to; the first time once somebody has answered, or everybody has been
// asked in vain. The caller holds s.mu.
func (s *servers) publish() {
	list := []string{}
	endpoints := []resolver.Endpoint{}
	asked, answered := true, false
	for _, n := range s.names {
		asked = asked && n.answered
		for _, found := range n.servers {
			asked = asked && found.verdict != unknown
			answered = answered || found.verdict == usable
			if found.verdict == unknown || found.verdict == notServing || slices.Contains(list, found.address) {
				continue
			}
			list = append(list, found.address)
			address := resolver.Address{Addr: found.address}
			if s.spec.TLS && s.spec.RemoteTLS.ServerName == "" {
				address.ServerName = n.host
			}
			endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{address}})
		}
	}
	if s.published == nil && !asked && !answered || s.published != nil && slices.Equal(list, s.published) {
		return
	}
	s.published = list
	_ = s.cc.UpdateState(resolver.State{Endpoints: endpoints}) // fails where there is none, which trouble tells better
}

// trouble is why there is nobody to connect to; nil where there is somebody. unhealthy says that they all are, by their
// own words.
func (s *servers) trouble() (unhealthy bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.published) > 0 {
		return false, nil
	}
	var reasons []string
	for _, n := range s.names {
		if n.err != nil {
			reasons = append(reasons, n.err.Error())
		}
		for _, found := range n.servers {
			if found.verdict == notServing {
				unhealthy = true
				reasons = append(reasons, fmt.Sprintf("the health service of %s says NOT_SERVING", found.address))
			}
		}
	}
	if len(reasons) == 0 {
		return false, nil
	}
	return unhealthy, errors.New(strings.Join(reasons, "; "))
}
