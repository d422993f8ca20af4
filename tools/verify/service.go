package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/agenthost/agenthost/host/process"
)

const (
	listeningPoll = 20 * time.Millisecond
	serviceStop   = 5 * time.Second // which it has after SIGTERM
)

// peer is the program that a plugin's tasks need beside it, listening at a port of its own.
type peer struct {
	proc    *process.Process
	address string
}

// freePort is one of the loopback that nothing listens on now, as text.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}

// startService starts the subject's service, and returns when it listens; nil where it needs none. The temporary directory is its own.
func startService(ctx context.Context, s Subject, port, temporary string) (*peer, error) {
	if len(s.Service) == 0 {
		return nil, nil
	}
	p := &peer{
		proc: process.New(process.Config{
			Name: "the service", Command: s.Service, Dir: s.Dir,
			Env:    append(os.Environ(), "TMPDIR="+temporary), // it is the author's own program, as those of build: are
			RunDir: temporary,                                 // what it leaves running while a plugin ends is not the plugin's
		}),
		address: net.JoinHostPort("127.0.0.1", port),
	}
	if err := p.proc.Start(ctx); err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	limit := s.startTimeout()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address); err == nil {
			return p, conn.Close()
		}
		select {
		case <-p.proc.Done():
			return nil, p.close()
		case <-ctx.Done():
			err := fmt.Errorf("service: %q does not listen at %s, the port that ${PORT} is, after %s%s", s.Service, p.address, limit, p.lastWords())
			return nil, errors.Join(err, p.close())
		case <-time.After(listeningPoll):
		}
	}
}

// close ends the service. The error says that it had ended before, which the plugin's results are not to be read without.
func (p *peer) close() error {
	if p == nil {
		return nil
	}
	select {
	case <-p.proc.Done():
		return fmt.Errorf("service: it %s%s", p.proc.Exit(), p.lastWords())
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), serviceStop)
	defer cancel()
	p.proc.Stop(ctx, nil)
	return nil
}

func (p *peer) lastWords() string { return lastWords(p.proc) }
