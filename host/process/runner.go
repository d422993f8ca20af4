package process

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/hashicorp/go-plugin/runner"
)

var _ runner.Runner = (*Process)(nil)

// Name is the process's name. With Start, it and the methods below are go-plugin's runner.Runner.
func (p *Process) Name() string { return p.config.Name }

// ID is the process id; empty before the start, by which go-plugin knows that there is nothing to kill.
func (p *Process) ID() string {
	if pid := p.PID(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}

// Wait returns when the process has ended, or with ctx's error when that ends first.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kill kills the group at once; a process that is only just starting is killed as soon as it has. It returns an error
// only if the process is still there some seconds later.
func (p *Process) Kill(context.Context) error {
	if p.doom() || p.ended() {
		return nil
	}
	if p.kill() == Unkillable {
		return fmt.Errorf("process %d is still there %v after SIGKILL: the kernel keeps it", p.PID(), killWait)
	}
	return nil
}

// Stdout yields the handshake line, then nothing until its end. Closing it gives up the handshake.
func (p *Process) Stdout() io.ReadCloser { return p.output.handshakes }

// Stderr yields what the process printed, on either pipe, as lines of JSON that go-plugin's log parser takes.
func (p *Process) Stderr() io.ReadCloser { return p.output.logs }

// Diagnose says what is known of a process that did not make its handshake.
func (p *Process) Diagnose(context.Context) string {
	var said []string
	if reason := p.HandshakeProblem(); reason != "" {
		said = append(said, reason)
	}
	if p.ended() {
		said = append(said, "it "+p.Exit().String())
	}
	if last := p.LastOutput(); len(last) > 0 {
		said = append(said, "last output: "+Excerpt(last, tailLines))
	}
	return strings.Join(said, "; ")
}

// PluginToHost is the identity: both sides see the same files and addresses.
func (p *Process) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin is the identity, as PluginToHost.
func (p *Process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
