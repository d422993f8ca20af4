// Package takeover hands the listeners of a host over to a new one while both run, so that an upgrade refuses no
// connection.
//
// The old host starts the new one with its listeners and one end of a socket:
//
//	successor, err := takeover.Start(program, args, listeners)
//	report, err := successor.Await(ctx)                        // until the new host has started its plugins
//	err = successor.Commit(ctx)                                // or successor.Abandon()
//
// and the new one, which accepts no connection before it is told to:
//
//	predecessor, err := takeover.Inherit()                     // nil: this host was started by nobody like that
//	listener, ok := predecessor.Listener("grpc", "0.0.0.0:8000")
//	err = predecessor.Ready(ctx, report)                       // or predecessor.Fail(err)
//	…
//	predecessor.Accepts()
//
// Until Commit has returned the old host is as it was, whatever becomes of the new one.
package takeover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/guard"
)

const (
	// Variable tells the new host what it was given, as JSON: a handover, or, from a host of a former release, its listeners alone.
	Variable = "AGENTHOST_TAKEOVER"
	// firstFile is the descriptor of the socket; those of the listeners follow.
	firstFile = 3
	// stopWait is how long a new host that is not wanted may take to stop its plugins before it is killed.
	stopWait = 15 * time.Second
)

// Listener is one listener that is handed over.
type Listener struct {
	// Key is what it is for, Address what the configuration says of it, such as "0.0.0.0:8000".
	Key, Address string
	// Lasting says that somebody else keeps it open when the last host has ended, as systemd does.
	Lasting bool `json:",omitempty"`
	// Listener is nil in the new host where it has been taken.
	Listener net.Listener `json:"-"`
}

// handover is what the old host gives to the new one beside its socket. The variables of the old host come on the socket when
// the new one asks for them, which it does once nobody else can read its memory. A release that does not know this refuses the
// handover, and does not start without them.
type handover struct{ Listeners []Listener }

// Report is what a new host says once it has started its plugins, or that it could not.
type Report struct {
	// Version is the new host's.
	Version string
	// Plugins are what became of them.
	Plugins []Plugin
	// Error is why the new host cannot take over; empty where it can.
	Error string
}

// Plugin is a plugin of the new host.
type Plugin struct {
	Name    string
	Running bool
	// Reason is why it is not running.
	Reason string
}

// Successor is a new host, seen from the old one.
type Successor struct {
	cmd    *exec.Cmd
	socket net.Conn
	said   *bufio.Reader // on socket
	ended  chan struct{} // closed when it has ended
	err    error         // how; written before ended is closed
}

// Start starts a new host with the listeners. Its environment, directory and standard files are this process's; but what may be
// secret in the environment is given to it on request, for it not to stand where other processes can read it.
func Start(program string, args []string, listeners []Listener) (*Successor, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	said, err := json.Marshal(handover{listeners})
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	s := &Successor{cmd: exec.Command(program, args...), socket: ours, said: bufio.NewReader(ours), ended: make(chan struct{})}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	s.cmd.Env = append(guard.Shown(os.Environ()), Variable+"="+string(said))
	s.cmd.ExtraFiles = []*os.File{theirs}
	for _, l := range listeners {
		file, err := fileOf(l.Listener)
		if err != nil {
			return nil, errors.Join(err, ours.Close())
		}
		defer file.Close()
		s.cmd.ExtraFiles = append(s.cmd.ExtraFiles, file)
	}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start %s: %w", program, err), ours.Close())
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

// socketPair is a stream between two processes: a connection here, a file for the other.
func socketPair() (net.Conn, *os.File, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket for the new host: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "takeover"), os.NewFile(uintptr(ends[1]), "takeover")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

// fileOf is a listener's socket once more. Its File method will not do: what that returns is made blocking when a process is started with it,
// and with it the listener here, since they share that flag. An Accept would then wait in the kernel, where no deadline reaches it.
func fileOf(l net.Listener) (*os.File, error) {
	conn, ok := l.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("a listener of type %T cannot be handed over", l)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var file *os.File
	controlled := raw.Control(func(socket uintptr) {
		var another int
		if another, err = unix.FcntlInt(socket, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			file = os.NewFile(uintptr(another), "listener")
		}
	})
	return file, errors.Join(controlled, err)
}

// PID is the new host's process id.
func (s *Successor) PID() int { return s.cmd.Process.Pid }

// Await waits until the new host has started its plugins. An error says why it will not take over.
func (s *Successor) Await(ctx context.Context) (Report, error) {
	defer context.AfterFunc(ctx, func() { _ = s.socket.SetDeadline(time.Unix(1, 0)) })()
	line, err := s.said.ReadBytes('\n')
	if err == nil && string(line) == environmentWord {
		if err := s.giveEnvironment(); err != nil {
			return Report{}, err
		}
		line, err = s.said.ReadBytes('\n')
	}
	switch {
	case ctx.Err() != nil:
		return Report{}, fmt.Errorf("the new host is not ready: %w", context.Cause(ctx))
	case errors.Is(err, io.EOF):
		<-s.ended // it closes the socket by ending, and no other way
		return Report{}, fmt.Errorf("the new host ended before it was ready (%s): the log may say why", howEnded(s.err))
	case err != nil:
		return Report{}, fmt.Errorf("the new host cannot be heard: %w", err)
	}
	var report Report
	if err := json.Unmarshal(line, &report); err != nil {
		return Report{}, fmt.Errorf("the new host is not understood: %w", err)
	}
	if report.Error != "" {
		return report, fmt.Errorf("the new host cannot start: %s", report.Error)
	}
	return report, nil
}

// giveEnvironment writes the length of this process's environment in a line, and then the environment.
func (s *Successor) giveEnvironment() error {
	all := guard.Environment()
	if _, err := fmt.Fprintf(s.socket, "%d\n%s", len(all), all); err != nil {
		return fmt.Errorf("the new host does not take the environment: %w", err)
	}
	return nil
}

func howEnded(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// Commit lets the new host accept connections, and returns when it does. After an error it is to be abandoned.
func (s *Successor) Commit(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = s.socket.SetDeadline(time.Unix(1, 0)) })()
	if _, err := s.socket.Write([]byte(goWord)); err != nil {
		return fmt.Errorf("the new host has gone: %w", err)
	}
	if answer, err := s.said.ReadString('\n'); answer != goesWord {
		return fmt.Errorf("the new host does not accept connections: %w", errors.Join(err, ctx.Err()))
	}
	return s.socket.Close()
}

const (
	// environmentWord is how the new host asks for the environment.
	environmentWord = "environment\n"
	// goWord is what the old host says when the new one may accept connections, goesWord what the new one says when it does.
	goWord   = "go\n"
	goesWord = "goes\n"
)

// Abandon ends the new host, and returns when it has ended.
func (s *Successor) Abandon() {
	_ = s.socket.Close()                      // which it takes as a no
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.AfterFunc(stopWait, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	<-s.ended
}

// Predecessor is the old host, seen from the new one. All methods may be called on nil, where there is none.
type Predecessor struct {
	socket    net.Conn
	listeners []Listener
}

// Inherit takes what the old host has handed over, once; nil where this process was not started by one.
func Inherit() (*Predecessor, error) {
	said, ok := os.LookupEnv(Variable)
	if !ok {
		return nil, nil
	}
	if err := os.Unsetenv(Variable); err != nil {
		return nil, err
	}
	p := &Predecessor{}
	given, into := handover{}, any(&p.listeners)
	if brings(said) {
		into = &given
	}
	if err := json.Unmarshal([]byte(said), into); err != nil {
		return nil, fmt.Errorf("%s: %w: it is for a host that upgrades, and for nobody else to set", Variable, err)
	}
	if brings(said) {
		p.listeners = given.Listeners
	}
	err := inherited(firstFile, func(file *os.File) (err error) { p.socket, err = net.FileConn(file); return err })
	for i := range p.listeners {
		l := &p.listeners[i]
		err = errors.Join(err, inherited(firstFile+1+i, func(file *os.File) (err error) { l.Listener, err = net.FileListener(file); return err }))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	if brings(said) {
		if err := p.takeEnvironment(); err != nil {
			return nil, fmt.Errorf("cannot take the environment of the old host: %w", err)
		}
	}
	return p, nil
}

// BringsEnvironment says that this process was started by a host from which Inherit will take the environment.
func BringsEnvironment() bool { return brings(os.Getenv(Variable)) }

func brings(said string) bool { return strings.HasPrefix(said, "{") }

func (p *Predecessor) takeEnvironment() error {
	if _, err := p.socket.Write([]byte(environmentWord)); err != nil {
		return err
	}
	var length int
	from := bufio.NewReader(p.socket) // the old host says nothing more before it has heard a report
	if _, err := fmt.Fscanf(from, "%d\n", &length); err != nil {
		return err
	}
	all := make([]byte, length)
	if _, err := io.ReadFull(from, all); err != nil {
		return err
	}
	return guard.SetEnvironment(all)
}

func inherited(descriptor int, take func(*os.File) error) error {
	file := os.NewFile(uintptr(descriptor), fmt.Sprintf("inherited descriptor %d", descriptor))
	defer file.Close()
	return take(file)
}

// Listener is the listener for this key, where the old host has it at the same configured address.
func (p *Predecessor) Listener(key, address string) (net.Listener, bool) {
	if p == nil {
		return nil, false
	}
	for i := range p.listeners {
		if l := &p.listeners[i]; l.Key == key && l.Address == address && l.Listener != nil {
			taken := l.Listener
			l.Listener = nil
			return taken, true
		}
	}
	return nil, false
}

// Lasting says whether somebody else keeps the listener for this key, which the old host had, when the last host has ended.
func (p *Predecessor) Lasting(key string) bool {
	return p != nil && slices.ContainsFunc(p.listeners, func(l Listener) bool { return l.Key == key && l.Lasting })
}

// Ready tells the old host that this one has started, closes the listeners that were not taken, and returns nil when this
// one is to accept connections, of which it tells by Accepts.
func (p *Predecessor) Ready(ctx context.Context, report Report) error {
	for _, l := range p.listeners {
		if l.Listener != nil {
			l.Listener.Close()
		}
	}
	if err := p.tell(report); err != nil {
		return fmt.Errorf("the old host has gone: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = p.socket.SetReadDeadline(time.Unix(1, 0)) })()
	if answer, err := bufio.NewReader(p.socket).ReadString('\n'); answer != goWord {
		return fmt.Errorf("the old host goes on, and this one is not wanted: %w", errors.Join(err, ctx.Err()))
	}
	return nil
}

// Accepts tells the old host that this one accepts connections.
func (p *Predecessor) Accepts() {
	if p == nil {
		return
	}
	_, _ = p.socket.Write([]byte(goesWord)) // who does not hear it has gone, and needs no telling
	_ = p.socket.Close()
}

// Fail tells the old host why this one does not start. After Accepts it has no effect.
func (p *Predecessor) Fail(reason error) {
	if p == nil || reason == nil {
		return
	}
	_ = p.tell(Report{Error: strings.TrimSpace(reason.Error())}) // who does not hear it sees the end of the process
	_ = p.socket.Close()
}

func (p *Predecessor) tell(report Report) error {
	line, err := json.Marshal(report)
	if err != nil {
		return err
	}
	_, err = p.socket.Write(append(line, '\n'))
	return err
}
