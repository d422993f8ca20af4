package contender

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/test/bench/load"
)

// program is a process that runs until it is stopped.
type program struct {
	command *exec.Cmd
	ended   chan struct{}
	said    *said
	stop    sync.Once
}

// stopLimit is how long one may take to stop before it is killed.
const stopLimit = 30 * time.Second

// start runs a command, which is asked to end when ctx does.
func start(ctx context.Context, command *exec.Cmd) (*program, error) {
	p := &program{command: command, ended: make(chan struct{}), said: &said{}}
	command.Stdout, command.Stderr = p.said, p.said
	command.WaitDelay = stopLimit
	if err := command.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		_ = command.Wait()
	}()
	go func() {
		select {
		case <-ctx.Done():
			p.end()
		case <-p.ended:
		}
	}()
	return p, nil
}

// end asks the process to end, and returns when it has.
func (p *program) end() {
	p.stop.Do(func() {
		_ = p.command.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(stopLimit, func() { _ = p.command.Process.Kill() })
		defer kill.Stop()
		<-p.ended
	})
}

// reach connects to what the process serves at an address, and ends it where that fails.
func (p *program) reach(address string) (process procfs.Proc, conn *grpc.ClientConn, err error) {
	if process, err = load.Process(p.command.Process.Pid); err == nil {
		conn, err = dial(address, nil)
	}
	if err != nil {
		p.end()
	}
	return process, conn, err
}

// await waits for a line that look finds something in. It fails when the process ends first, or takes more than limit.
func await[T any](ctx context.Context, p *program, what string, limit time.Duration, look func(line []byte) (T, bool)) (found T, err error) {
	err = p.until(ctx, what, limit, func() bool {
		for _, line := range p.said.fresh() {
			var ok bool
			if found, ok = look(line); ok {
				p.said.enough()
				return true
			}
		}
		return false
	})
	return found, err
}

// until waits until a condition holds. It fails when the process ends first, or takes more than limit.
func (p *program) until(ctx context.Context, what string, limit time.Duration, holds func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("after %v", limit))
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-p.ended:
			return fmt.Errorf("%s has ended before it was %s; it said at last:\n%s", p.command.Path, what, p.said)
		case <-ctx.Done():
			return fmt.Errorf("%s, %w: not %s; it said at last:\n%s", p.command.Path, context.Cause(ctx), what, p.said)
		}
	}
	return nil
}

// said keeps the last of what a process says, and the lines that nobody has looked at until they are enough.
type said struct {
	mu         sync.Mutex
	last       []byte
	unread     []byte
	readEnough bool
}

func (s *said) Write(data []byte) (int, error) {
	const most = 16 << 10
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = append(s.last, data...)
	s.last = s.last[max(0, len(s.last)-most):]
	if !s.readEnough {
		s.unread = append(s.unread, data...)
	}
	return len(data), nil
}

// fresh are the whole lines since the last time.
func (s *said) fresh() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := bytes.LastIndexByte(s.unread, '\n') + 1
	lines := bytes.Split(s.unread[:end], []byte("\n"))
	s.unread = s.unread[end:]
	return lines
}

// enough ends the keeping of lines.
func (s *said) enough() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unread, s.readEnough = nil, true
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(string(s.last))
}

// missing adds to an error for want of a file how that is made.
func missing(err error, how string) error {
	var path *exec.Error
	if errors.As(err, &path) || errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("%w: %s", err, how)
	}
	return err
}
