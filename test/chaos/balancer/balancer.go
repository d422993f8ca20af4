// Package balancer is what stands before the host's replicas, as a Kubernetes Service with session affinity does: one address,
// and a connection to it goes to the replica that had the last one, as long as that is ready, and then to another.
//
// It balances connections, not calls: gRPC keeps one connection for all of its calls, so that a replica which is killed takes
// the calls under way with it, and nothing else.
package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// Balancer is one address.
type Balancer struct {
	listener net.Listener
	targets  func() []string
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex
	last  string            // the target of the last connection
	taken map[string]string // the targets of all connections that there were, by their clients' addresses
	lives context.Context   // that of the connections that there are now
	cut   context.CancelFunc
}

const (
	// greetingTimeout is how long a replica that is ready may take to greet: a gRPC server speaks first.
	greetingTimeout = 10 * time.Second
	// greetingLook is how often it is looked whether the replica is ready still.
	greetingLook = 100 * time.Millisecond
)

// Listen starts a balancer on a free port of the loopback. targets gives the addresses to try for a new connection, in order; the
// one that had the last connection comes first, if it is still among them.
func Listen(targets func() []string) (*Balancer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("the balancer cannot listen: %w", err)
	}
	b := &Balancer{listener: listener, targets: targets, taken: map[string]string{}}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.lives, b.cut = context.WithCancel(b.ctx)
	b.running.Go(b.accept)
	return b, nil
}

// Address is where it listens.
func (b *Balancer) Address() string { return b.listener.Addr().String() }

// Target is the replica that the connection from that address went to last, also after its end; "" if there was none.
func (b *Balancer) Target(client string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken[client]
}

// Close cuts every connection, and waits until nothing of the balancer is left.
func (b *Balancer) Close() error {
	b.cancel()
	err := b.listener.Close()
	b.running.Wait()
	return err
}

// Cut ends every connection, as a proxy or a network that fails does. Further ones are served.
func (b *Balancer) Cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut()
	b.lives, b.cut = context.WithCancel(b.ctx)
}

func (b *Balancer) accept() {
	for {
		client, err := b.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a client that went away before it was accepted
		}
		b.running.Go(func() { b.serve(client) })
	}
}

func (b *Balancer) serve(client net.Conn) {
	defer client.Close()
	server, greeting, err := b.connect()
	if err != nil {
		return
	}
	defer server.Close()
	b.mu.Lock()
	lives := b.lives
	b.taken[client.RemoteAddr().String()] = server.RemoteAddr().String()
	b.mu.Unlock()
	stop := context.AfterFunc(lives, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	if _, err := client.Write(greeting); err != nil {
		return
	}
	up := make(chan struct{})
	go func() {
		defer close(up)
		_, _ = io.Copy(server, client) // how a connection ends is the ends' affair
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
	_ = client.Close()
	<-up
}

// connect finds a replica that does not only take the connection but greets on it: one that is being stopped or killed may have
// left connections in its kernel's queue that nobody will ever serve.
func (b *Balancer) connect() (net.Conn, []byte, error) {
	dialer := net.Dialer{Timeout: greetingTimeout}
	failures := []error{errors.New("no replica took the connection")}
	for _, target := range b.order() {
		server, err := dialer.DialContext(b.ctx, "tcp", target)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		greeting, err := b.greeting(server, target)
		if err != nil {
			failures = append(failures, err, server.Close())
			continue
		}
		b.mu.Lock()
		b.last = target
		b.mu.Unlock()
		return server, greeting, nil
	}
	return nil, nil, errors.Join(failures...)
}

// greeting waits for it, but not on a replica that is not ready any more. One that is only slow keeps its client.
func (b *Balancer) greeting(server net.Conn, target string) ([]byte, error) {
	greeting := make([]byte, 4<<10)
	for started := time.Now(); ; {
		_ = server.SetReadDeadline(time.Now().Add(greetingLook)) // only a closed connection refuses, and then so does Read
		n, err := server.Read(greeting)
		switch {
		case err == nil:
			_ = server.SetReadDeadline(time.Time{})
			return greeting[:n], nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, err
		case time.Since(started) > greetingTimeout || b.ctx.Err() != nil || !slices.Contains(b.targets(), target):
			return nil, fmt.Errorf("%s has not greeted: %w", target, err)
		}
	}
}

func (b *Balancer) order() []string {
	targets := slices.Clone(b.targets())
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := slices.Index(targets, b.last); at > 0 {
		targets = slices.Insert(slices.Delete(targets, at, at+1), 0, b.last)
	}
	return targets
}
