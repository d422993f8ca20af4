package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/sandbox"
)

// drainGrace is how long the pipes are read on after the leader of the group has ended. Normally both are at their end
// at once, because the group dies with its leader; only a child that left the group can still hold them.
const drainGrace = 500 * time.Millisecond

// Config says what to run.
type Config struct {
	// Name is what messages call the process.
	Name string
	// Command is the program and its arguments. A program without a slash is looked up in the PATH of Env, a relative
	// one is relative to Dir.
	Command []string
	// Dir is the working directory; empty: the parent's.
	Dir string
	// Env is the whole environment, as NAME=value. Nothing is inherited.
	Env []string
	// Watch, where set, sees every line that the process prints before anything is made of it, and how many bytes of it
	// were cut off. It is called by one goroutine at a time, must not block, and must not keep the line.
	Watch func(from Stream, line []byte, cut int)
	// Hide takes what must not be shown out of what the process prints, before it is kept or passed on; nil: everything may be.
	Hide func(string) string
	// Keep, where set, gets each line that is logged, as a JSON object in hclog's form. It is called by one goroutine at a time, must not block,
	// and may keep the line.
	Keep func(pid int, line []byte)
	// Sandbox is what the process may do; nil: whatever this one may.
	Sandbox *sandbox.Policy
	// RunDir, where set, is a path that Env names and no other process's does: what names it in its own environment belongs to this
	// process.
	RunDir string
	// Group is the cgroup of the process and what it starts, which is removed with them; nil: none of its own.
	Group *cgroup.Group
	// Kills tells whether a process was probably killed for want of memory whose cgroup does not say; nil: nobody does.
	Kills *cgroup.Kills
	// KeepGroup leaves what is left of the group alone when its leader ends: for finding out what outlives it. Who sets it
	// has to end the rest.
	KeepGroup bool
}

// Stream is one of the two pipes of a process.
type Stream string

// The pipes.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Process is one process, started at most once. All methods may be called at any time from any goroutine.
type Process struct {
	config Config
	output *output

	exited chan struct{} // closed when the leader is reaped, its group killed and what else it left behind
	done   chan struct{} // closed when the output is read, too

	mu      sync.Mutex // guards what follows
	pid     int        // 0: not started
	started time.Time
	reaped  bool // the pid may belong to somebody else
	doomed  bool // killed before it was started
	sent    map[syscall.Signal]bool
	exit    Exit
	granted *sandbox.Granted
	left    Left
}

// New prepares a process. Nothing is opened before Start.
func New(config Config) *Process {
	p := &Process{config: config, output: newOutput(config.Watch, config.Hide), exited: make(chan struct{}), done: make(chan struct{}), sent: map[syscall.Signal]bool{}}
	if config.Keep != nil {
		p.output.keep = func(line []byte) { config.Keep(p.PID(), line) }
	}
	return p
}

// SetEnv replaces the environment of the Config. It is for before the start.
func (p *Process) SetEnv(env []string) { p.config.Env = env }

// Start starts the process. An error says which program could not be started and why. The context is only looked at
// before the start: it does not end the process.
func (p *Process) Start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd, err := p.config.command()
	if err != nil {
		p.config.Group.Remove()
		p.output.abandon()
		return err
	}
	stdout, stderr, err := openPipes(cmd)
	if err != nil {
		p.config.Group.Remove()
		p.output.abandon()
		return fmt.Errorf("cannot open the pipes of %s: %w", cmd.Path, err)
	}
	forked := make(chan error)
	go p.live(cmd, stdout, stderr, forked)
	return <-forked
}

// Done is closed when the process has ended and all that it printed has been read. It is never closed for a process
// that was not started.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit says how the process ended. It is the zero Exit while the process runs.
func (p *Process) Exit() Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// OOMKills is how many processes, of it and what it has started, the kernel has ended for want of memory up to now, as far as that is known.
func (p *Process) OOMKills() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.reaped && p.exit.Probably:
		return 1
	case p.reaped:
		return p.exit.Reached.OOMKills
	}
	return p.config.Group.OOMKills()
}

// Left is what it has left behind, where this process adopts orphans. It is empty while the process runs.
func (p *Process) Left() Left {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left
}

// PID is the id of the process and of its group; 0 before the start.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Granted is what the process's sandbox consists of; nil where it has none, and before the start.
func (p *Process) Granted() *sandbox.Granted {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.granted
}

// Started is when the process was started; zero before.
func (p *Process) Started() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

// live is the life of the process, from the fork to the last byte of its output. It keeps its thread for itself all
// that time: the parent-death signal fires when the thread that forked ends, not the process (golang/go#27505).
func (p *Process) live(cmd *exec.Cmd, stdout, stderr *pipe, forked chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	adopting := orphans.Load()
	adopting.begin(p)
	err := p.fork(cmd, stdout, stderr)
	stdout.closeWriter()
	stderr.closeWriter()
	if err != nil {
		adopting.end(p)
		p.config.Group.Remove()
		stdout.closeReader()
		stderr.closeReader()
		p.output.abandon()
		forked <- err
		return
	}
	p.output.follow(stdout.reader, stderr.reader)
	forked <- nil

	awaitExit(cmd.Process.Pid)
	p.reap(cmd)
	left := adopting.end(p)
	p.mu.Lock()
	p.left = left
	p.mu.Unlock()
	p.config.Group.Remove()
	close(p.exited)

	// The readers end by themselves at the end of the pipes, and are made to when a stranger holds these open.
	deadline := time.Now().Add(drainGrace)
	stdout.reader.SetReadDeadline(deadline)
	stderr.reader.SetReadDeadline(deadline)
	p.output.wait()
	stdout.closeReader()
	stderr.closeReader()
	close(p.done)
}

// fork starts the command and returns when the program runs. One that was killed meanwhile has been started too.
func (p *Process) fork(cmd *exec.Cmd, stdout, stderr *pipe) error {
	path := cmd.Path
	var launch *sandbox.Launch
	leave, err := p.config.Group.Enter(cmd.SysProcAttr)
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", path, err)
	}
	if policy := p.config.Sandbox; policy == nil {
		err = cmd.Start()
	} else {
		if user := policy.User; user != nil { // who may then open them by their names in /dev, too
			err = errors.Join(stdout.writer.Chown(int(user.UID), int(user.GID)), stderr.writer.Chown(int(user.UID), int(user.GID)))
		}
		if err == nil {
			launch, err = sandbox.Start(cmd, *policy)
		}
	}
	left := leave()
	if err != nil {
		return p.config.explain(path, err)
	}
	if left != nil { // with the thread in its cgroup, it would count as the process's
		_ = cmd.Process.Kill()
		if launch != nil {
			_, _ = launch.Wait()
		}
		_ = cmd.Wait() // killed
		return fmt.Errorf("cannot start %s: the host cannot leave its cgroup: %w", path, left)
	}
	expendable(cmd.Process.Pid)
	p.mu.Lock()
	p.pid, p.started = cmd.Process.Pid, time.Now()
	leaders.Store(p.pid, p)
	doomed := p.doomed
	p.mu.Unlock()
	if doomed {
		p.signal(unix.SIGKILL)
	}
	if launch == nil {
		return nil
	}
	granted, err := launch.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.granted = &granted
	if err == nil {
		return nil
	}
	unix.Kill(-p.pid, unix.SIGKILL) //nolint:errcheck // the launcher is about to end
	_ = cmd.Wait()                  // its end was told already
	leaders.Delete(p.pid)
	p.pid, p.started = 0, time.Time{}
	var refused *sandbox.ExecError
	if errors.As(err, &refused) {
		err = &fs.PathError{Op: "fork/exec", Path: path, Err: refused.Errno} // as without a sandbox
	}
	return p.config.explain(path, err)
}

// expendableBy is how much sooner than the host the kernel ends a process where the machine, or the container, is out of memory.
const expendableBy = 500

// expendable makes a process one that the kernel ends sooner than this one, with what it starts from now on. Every user may; where
// it does not work all the same, they are equal.
func expendable(pid int) {
	own, _ := os.ReadFile("/proc/self/oom_score_adj")
	score, _ := strconv.Atoi(strings.TrimSpace(string(own))) // 0 where it is not known, as by default
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(min(score+expendableBy, 1000))), 0o644)
}

// awaitExit returns when the process has exited, leaving it a zombie: until it is reaped, neither its pid nor its group
// id can be given to anybody else.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// reap kills what is left of the group and takes the exit status of its leader, in this order.
func (p *Process) reap(cmd *exec.Cmd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.config.KeepGroup {
		unix.Kill(-p.pid, unix.SIGKILL) //nolint:errcheck // fails only where nothing is left to kill
		p.config.Group.Kill()
	}
	leaders.Delete(p.pid)
	err := cmd.Wait()
	p.reaped = true
	p.exit = exitOf(cmd.ProcessState, err)
	p.exit.Reached = p.config.Group.Reached()
	// Who is out of memory is killed by the kernel first, and then by whoever sees its pipes end.
	p.exit.OOM = p.exit.Reached.OOMKills > 0
	if p.exit.Signal == unix.SIGKILL && !p.sent[unix.SIGKILL] && !p.exit.OOM {
		p.exit.Probably = p.config.Kills.Claim()
	}
	p.exit.Ours = p.sent[p.exit.Signal] && (p.exit.Signal != unix.SIGKILL || !p.exit.OOM)
}

// signal sends a signal to the whole group, and is a no-op once there is none.
func (p *Process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 || p.reaped {
		return
	}
	p.sent[sig] = true
	unix.Kill(-p.pid, sig) //nolint:errcheck // the group exists: its leader is not reaped
}

// Exit is how a process ended.
type Exit struct {
	// Code is the exit code; -1 where a signal ended the process.
	Code int
	// Signal is the signal that ended the process; 0: none.
	Signal syscall.Signal
	// Ours says that the signal was sent by this package, on somebody's order.
	Ours bool
	// Reached is what limits did to the process.
	Reached cgroup.Reached
	// OOM says that the kernel has ended it, or what it had started, for want of memory; Probably that it seems so: a kill was counted around
	// it.
	OOM, Probably bool
	// Err is set where the status could not be learnt.
	Err error
}

// String is such as "exited with code 3" or "was killed by SIGKILL".
func (e Exit) String() string {
	if reached := e.Reached.String(); reached != "" && !e.Ours && e.Code != 0 {
		if e.OOM && e.Signal == 0 {
			reached = "the kernel killed what it had started for want of memory (OOM): " + reached
		}
		e.Reached = cgroup.Reached{}
		return e.String() + ": " + reached
	}
	switch {
	case e.OOM && e.Signal == unix.SIGKILL && !e.Ours:
		return "was killed by the kernel for want of memory (OOM, SIGKILL)"
	case e.Probably && !e.Ours:
		return "was killed by SIGKILL, probably by the kernel for want of memory (OOM): it counted such a kill just then"
	case e.Err != nil:
		return fmt.Sprintf("ended, its status unknown: %v", e.Err)
	case e.Signal != 0:
		return "was killed by " + unix.SignalName(e.Signal)
	default:
		return fmt.Sprintf("exited with code %d", e.Code)
	}
}

func exitOf(state *os.ProcessState, err error) Exit {
	if state == nil {
		return Exit{Code: -1, Err: err}
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return Exit{Code: -1, Signal: status.Signal()}
	}
	return Exit{Code: state.ExitCode()}
}

// pipe is one of the two pipes of a process, seen from the parent.
type pipe struct{ reader, writer *os.File }

func openPipes(cmd *exec.Cmd) (stdout, stderr *pipe, err error) {
	stdout, stderr = &pipe{}, &pipe{}
	if stdout.reader, stdout.writer, err = os.Pipe(); err != nil {
		return nil, nil, err
	}
	if stderr.reader, stderr.writer, err = os.Pipe(); err != nil {
		stdout.closeReader()
		stdout.closeWriter()
		return nil, nil, err
	}
	// Files, not writers: os/exec then copies nothing, and its Wait waits for nothing but the process.
	cmd.Stdout, cmd.Stderr = stdout.writer, stderr.writer
	return stdout, stderr, nil
}

func (p *pipe) closeReader() { p.reader.Close() }
func (p *pipe) closeWriter() { p.writer.Close() }
