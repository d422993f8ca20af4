// Package replica runs the real host, as an operating system or Kubernetes does: it starts the program, waits until it says that
// it is ready, ends it by a signal.
package replica

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Replica is one `agenthost serve`, over several lives.
type Replica struct {
	// Name is for people, and names the log.
	Name string
	// Program is the host's binary, Config its configuration file.
	Program, Config string
	// Env is added to this process's environment.
	Env []string
	// Logs is the folder for its log, <name>.log, which all its lives share.
	Logs string

	mu   sync.Mutex
	life *life
}

// life is one process.
type life struct {
	command *exec.Cmd
	// grpc and admin are its addresses; written before ready is closed.
	grpc, admin string
	ready       chan struct{}
	ended       chan struct{} // closed when the process has ended and its log was read
	leaving     bool          // it was told to end; under the replica's mu
	err         error         // how it ended; written before ended is closed
}

// Start starts the program and waits until it is ready, or has ended, or ctx has.
func (r *Replica) Start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(r.Logs, r.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	started := &life{ready: make(chan struct{}), ended: make(chan struct{})}
	started.command = exec.Command(r.Program, "serve", "--config", r.Config)
	started.command.Env = append([]string{"AGENTHOST_LOG__LEVEL=info"}, os.Environ()...) // a test may want to see more
	started.command.Env = append(started.command.Env, append([]string{
		"AGENTHOST_LISTEN__GRPC=127.0.0.1:0", "AGENTHOST_LISTEN__ADMIN=127.0.0.1:0", "AGENTHOST_LOG__FORMAT=json",
	}, r.Env...)...)
	stderr, err := started.command.StderrPipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	if err := started.command.Start(); err != nil {
		return errors.Join(fmt.Errorf("the host cannot be started: %w: run `make build` first", err), log.Close())
	}
	r.mu.Lock()
	r.life = started
	r.mu.Unlock()
	go started.follow(stderr, log)
	select {
	case <-started.ready:
		return nil
	case <-started.ended:
		return fmt.Errorf("%s ended before it was ready: %w; see its log", r.Name, started.err)
	case <-ctx.Done():
		return fmt.Errorf("%s is not ready: %w; see its log", r.Name, ctx.Err())
	}
}

// follow writes the log away, reads from it what the host says of itself, and waits for the end.
func (l *life) follow(stderr io.Reader, log *os.File) {
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		_, _ = log.WriteString(line) // a full disk loses a log, and no more
		var entry struct{ Msg, GRPC, Admin string }
		if l.grpc == "" && strings.Contains(line, "agenthost is ready") && // after an upgrade another host says so on the same pipe
			json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "agenthost is ready" {
			l.grpc, l.admin = entry.GRPC, entry.Admin
			close(l.ready)
		}
		if err != nil {
			break
		}
	}
	l.err = l.command.Wait()
	_ = log.Close()
	close(l.ended)
}

// Signal sends a signal. After SIGTERM or SIGKILL the replica counts as not ready.
func (r *Replica) Signal(signal syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life == nil {
		return fmt.Errorf("%s was never started", r.Name)
	}
	if signal == syscall.SIGTERM || signal == syscall.SIGKILL {
		r.life.leaving = true
	}
	return r.life.command.Process.Signal(signal)
}

// Wait waits for the end of the process. Its error says how it ended, if not well.
func (r *Replica) Wait(ctx context.Context) error {
	r.mu.Lock()
	current := r.life
	r.mu.Unlock()
	if current == nil {
		return nil
	}
	select {
	case <-current.ended:
		return current.err
	case <-ctx.Done():
		return fmt.Errorf("%s has not ended: %w", r.Name, ctx.Err())
	}
}

// Ready gives the addresses while the replica is ready.
func (r *Replica) Ready() (grpc, admin string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life == nil || r.life.leaving {
		return "", "", false
	}
	select {
	case <-r.life.ended:
		return "", "", false
	default:
	}
	select {
	case <-r.life.ready:
		return r.life.grpc, r.life.admin, true
	default:
		return "", "", false
	}
}

// PID is the process's.
func (r *Replica) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life == nil {
		return 0
	}
	return r.life.command.Process.Pid
}

// Ask gives what the admin address answers for a path.
func (r *Replica) Ask(ctx context.Context, path string) ([]byte, error) {
	_, admin, ok := r.Ready()
	if !ok {
		return nil, fmt.Errorf("%s is not ready", r.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+path, nil)
	if err != nil {
		return nil, err
	}
	request.Close = true // so that asking leaves no connection behind, here or there
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s for %s", r.Name, response.Status, path)
	}
	return body, err
}
