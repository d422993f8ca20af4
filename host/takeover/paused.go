package takeover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Pausable is a listener that can stop to accept connections without refusing any: they wait in the kernel's queue,
// which the new host shares.
type Pausable struct {
	acceptor
	closed chan struct{}
	once   sync.Once
	inside sync.RWMutex // read-locked while the system is asked for a connection

	mu      sync.Mutex
	resumed chan struct{} // open while it is paused
}

// acceptor is what the listeners of TCP and of unix sockets have in common.
type acceptor interface {
	net.Listener
	SetDeadline(time.Time) error
	syscall.Conn
}

// NewPausable wraps a listener.
func NewPausable(l net.Listener) (*Pausable, error) {
	a, ok := l.(acceptor)
	if !ok {
		return nil, fmt.Errorf("a listener of type %T is none that can be handed over", l)
	}
	resumed := make(chan struct{})
	close(resumed)
	return &Pausable{acceptor: a, closed: make(chan struct{}), resumed: resumed}, nil
}

// Accept implements net.Listener. While the listener is paused it waits.
func (p *Pausable) Accept() (net.Conn, error) {
	for {
		p.inside.RLock()
		conn, err := p.acceptor.Accept()
		p.inside.RUnlock()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return conn, err
		}
		p.mu.Lock()
		resumed := p.resumed
		p.mu.Unlock()
		select {
		case <-resumed:
		case <-p.closed:
			return nil, net.ErrClosed
		}
	}
}

// Pause has Accept wait. When it returns, nothing is accepted any more.
func (p *Pausable) Pause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resumed = make(chan struct{})
	if err := p.SetDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	p.inside.Lock() // an Accept under way ends at once
	defer p.inside.Unlock()
	return nil
}

// Resume ends a pause.
func (p *Pausable) Resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.SetDeadline(time.Time{})
	close(p.resumed)
	return err
}

// KeepPath says whether the path of a unix socket outlives Close: it does where another process has taken the listener over.
// It is nothing to listeners of TCP.
func (p *Pausable) KeepPath(keep bool) {
	if socket, ok := p.acceptor.(*net.UnixListener); ok {
		socket.SetUnlinkOnClose(!keep)
	}
}

// Close closes the listener here; another process that shares it keeps it.
func (p *Pausable) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.acceptor.Close()
}
