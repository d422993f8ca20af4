package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/agenthost/agenthost/host/process"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Instance is one running subprocess of a plugin, ready for work when Start returns it. All methods may be called at
// any time from any goroutine.
type Instance struct {
	spec     Spec
	running  running
	manifest Manifest

	done chan struct{} // closed when the process has ended; by watch

	stop    sync.Once
	stopErr error // written by stop

	calls calls

	metricless atomic.Bool // it has no metrics of its own

	mu    sync.Mutex // guards what follows
	asked bool       // Stop was called
	err   error      // why the process ended
}

// ErrKilled is in the error of a Stop that took SIGKILL: what a plugin does at its end was cut off.
var ErrKilled = errors.New("it ended neither when asked nor on SIGTERM, and was killed")

func newInstance(s *start) *Instance {
	i := &Instance{spec: s.spec, running: s.running, manifest: s.manifest, done: make(chan struct{})}
	go i.watch()
	return i
}

// watch waits for the end of the process, and says why it came.
func (i *Instance) watch() {
	<-i.running.proc.Done()
	exit := i.running.proc.Exit()
	removed := i.running.rundir.Remove() // sockets and secrets do not outlive the process
	if left := i.running.proc.Left(); len(left.Killed) > 0 {
		i.running.log.Warn("processes were killed that no plugin alive answers for", "killed", left.Killed, "remain", left.Remain)
	}

	i.mu.Lock()
	asked := i.asked
	if !asked {
		i.err = errors.Join(fmt.Errorf("plugin %s: %s%s", i.spec.Name, exit, lastOutput(i.running.proc.LastOutput())), removed)
	}
	i.mu.Unlock()
	i.calls.refuse()
	close(i.done)
}

// Conn is the connection to the plugin: go-plugin's own, with answers of up to MaxAnswer, and one for polls beside it (a Conn). After
// the process has ended it answers UNAVAILABLE, until Stop closes it.
func (i *Instance) Conn() grpc.ClientConnInterface { return i.running.served }

// Manifest is what the plugin said of itself when it started. It is not to be changed.
func (i *Instance) Manifest() Manifest { return i.manifest }

// PID is the process id of the plugin, which is also that of its process group.
func (i *Instance) PID() int { return i.running.proc.PID() }

// Started is when the process was started.
func (i *Instance) Started() time.Time { return i.running.proc.Started() }

// Usage is what the plugin's process group takes now; an error once it has ended.
func (i *Instance) Usage() (process.Usage, error) { return i.running.proc.Usage() }

// OOMKills is how many processes, of it and what it has started, the kernel has ended for want of memory up to now, as far as that is known.
func (i *Instance) OOMKills() uint64 { return i.running.proc.OOMKills() }

// Done is closed when the process has ended, for whatever reason.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Err says why the process ended: its exit code or signal, and the last it printed. It is nil before Done is closed,
// and stays so where Stop was called first.
func (i *Instance) Err() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err
}

// Acquire counts a call in. ok is false once the instance drains or has ended: the call must go elsewhere. After true,
// release counts it out; it may be called more than once.
func (i *Instance) Acquire() (release func(), ok bool) { return i.calls.acquire() }

// InFlight is the number of calls acquired and not yet released.
func (i *Instance) InFlight() int { return i.calls.count() }

// Sound says that nothing speaks against the plugin itself: it has answered a call on one of its agents, or never got one.
func (i *Instance) Sound() bool { return i.running.served.Answered() || i.calls.untouched() }

// Silence says what the plugin's calls tell of whether it answers.
func (i *Instance) Silence() Silence { return i.running.served.Silence() }

// Drain refuses new calls from now on, tells the plugin so, and returns when none is in flight. When ctx ends first, the error
// says how many are left.
func (i *Instance) Drain(ctx context.Context) error {
	i.calls.refuse()
	told := make(chan struct{})
	go func() {
		defer close(told)
		i.tellDrain(ctx)
	}()
	err := i.calls.drain(ctx)
	<-told
	if err != nil {
		return fmt.Errorf("plugin %s: drain: %w", i.spec.Name, err)
	}
	return nil
}

// DrainWait is how long a plugin may take to hear that it drains.
const DrainWait = time.Second

// tellDrain tells the plugin that it is to go. Older plugins do not want to know.
func (i *Instance) tellDrain(ctx context.Context) {
	request := &pluginv1.DrainRequest{}
	if end, bounded := ctx.Deadline(); bounded {
		request.Timeout = durationpb.New(time.Until(end))
	}
	ctx, cancel := context.WithTimeout(ctx, DrainWait)
	defer cancel()
	_, err := pluginv1.NewPluginServiceClient(i.running.conn).Drain(ctx, request)
	if err != nil && status.Code(err) != codes.Unimplemented {
		i.running.log.Debug("the plugin could not be told that it drains", "error", err)
	}
}

// Stop ends the process, always: it is asked to shut down, then gets SIGTERM, then SIGKILL, within the spec's
// StopTimeout or until ctx ends, plus a few seconds for the kernel at most. Everything that belonged to it is removed;
// calls in flight end with UNAVAILABLE. Stop must be called for every instance, also for one whose process has ended by
// itself. Later calls wait for the first and return its result. The error wraps ErrKilled where it took SIGKILL.
func (i *Instance) Stop(ctx context.Context) error {
	i.stop.Do(func() { i.stopErr = i.doStop(ctx) })
	return i.stopErr
}

func (i *Instance) doStop(ctx context.Context) error {
	i.mu.Lock()
	i.asked = true
	i.mu.Unlock()
	i.calls.refuse()

	ctx, cancel := context.WithTimeout(ctx, i.spec.StopTimeout)
	defer cancel()
	began := time.Now()
	ending, err := i.running.end(ctx)
	if ending == process.Killed {
		err = errors.Join(fmt.Errorf("%w after %v", ErrKilled, time.Since(began).Round(time.Millisecond)), err)
	}
	if ending != process.Unkillable {
		<-i.done
	}
	i.running.log.Debug("stopped", "ending", ending.String(), "pid", i.PID())
	if err != nil {
		return fmt.Errorf("plugin %s: stop: %w", i.spec.Name, err)
	}
	return nil
}
