package process

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// killWait is how long a killed process is waited for. Only one in an uninterruptible system call takes longer than
// milliseconds, and then nothing helps but waiting for the device.
const killWait = 5 * time.Second

// Ending is what it took to end a process.
type Ending int

const (
	// AlreadyEnded says that there was nothing left to do, or that the process was never started.
	AlreadyEnded Ending = iota
	// Asked says that the process ended on the polite request.
	Asked
	// Terminated says that it took SIGTERM.
	Terminated
	// Killed says that it took SIGKILL.
	Killed
	// Unkillable says that the process was still there some seconds after SIGKILL: the kernel keeps it.
	Unkillable
)

// String is such as "ended when asked".
func (e Ending) String() string {
	switch e {
	case AlreadyEnded:
		return "had already ended"
	case Asked:
		return "ended when asked"
	case Terminated:
		return "ended on SIGTERM"
	case Killed:
		return "had to be killed"
	default:
		return "is still there after SIGKILL"
	}
}

// Stop ends the process and its group, and says what it took. First polite is called (nil: skipped), with half of the
// time that ctx leaves; then the group gets SIGTERM, for the rest of it; then SIGKILL. It returns when the process has
// ended, and at the latest a few seconds after ctx has. Where ctx has no deadline it is killed at once. A stopped (SIGSTOP)
// process is woken for its SIGTERM.
//
// An error from polite is taken as "it will not": the next step follows at once.
func (p *Process) Stop(ctx context.Context, polite func(context.Context) error) Ending {
	if p.PID() == 0 {
		return AlreadyEnded
	}
	ending := p.stop(ctx, polite)
	if ending != Unkillable {
		<-p.done
	}
	return ending
}

func (p *Process) stop(ctx context.Context, polite func(context.Context) error) Ending {
	if p.ended() {
		return AlreadyEnded
	}
	if _, ok := ctx.Deadline(); !ok {
		return p.kill()
	}
	if polite != nil && p.ask(ctx, polite) {
		return Asked
	}
	if ctx.Err() == nil {
		p.signal(unix.SIGTERM)
		p.signal(unix.SIGCONT)
		if p.await(ctx) {
			return Terminated
		}
	}
	return p.kill()
}

// ask makes the polite request and gives the process its time to follow it.
func (p *Process) ask(ctx context.Context, polite func(context.Context) error) (ended bool) {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
	defer cancel()
	answer := make(chan error, 1)
	go func() { answer <- polite(ctx) }()
	select {
	case err := <-answer:
		return err == nil && p.await(ctx) || p.ended()
	case <-p.exited:
		return true
	case <-ctx.Done():
		return p.ended()
	}
}

// doom makes a process that is not there yet one that will not live; false: it is there.
func (p *Process) doom() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doomed = p.pid == 0
	return p.doomed
}

func (p *Process) kill() Ending {
	p.signal(unix.SIGKILL)
	ctx, cancel := context.WithTimeout(context.Background(), killWait)
	defer cancel()
	if p.await(ctx) {
		return Killed
	}
	return Unkillable
}

func (p *Process) await(ctx context.Context) (ended bool) {
	select {
	case <-p.exited:
		return true
	case <-ctx.Done():
		return p.ended()
	}
}

func (p *Process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}
