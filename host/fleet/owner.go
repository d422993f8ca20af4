package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
)

// owner is the one goroutine that starts, watches, restarts and stops a plugin. Everybody else reads its snapshots.
type owner struct {
	fleet      *Fleet
	configured config.Plugin
	spec       plugin.Spec
	log        *slog.Logger
	now        atomic.Pointer[snapshot] // written by run alone

	// The first start's order of events, see Fleet.settle: the owner has tried, may claim its categories, has claimed.
	attempted, admitted, decided chan struct{}

	stopping context.Context // ends when the owner is asked to stop
	askStop  context.CancelCauseFunc
	stopped  chan struct{} // closed when run has returned
}

// snapshot is what an owner's plugin is doing at one moment. It is never changed, only replaced.
type snapshot struct {
	state    State
	since    time.Time
	reason   error            // why it is not running, or was last not
	instance *plugin.Instance // the one that takes calls; nil in every state but Running
	manifest *plugin.Manifest // the last accepted one
	restarts int              // processes started after the first
	replaced chan struct{}    // closed when another snapshot takes this one's place
}

func newOwner(f *Fleet, name string, configured config.Plugin) *owner {
	o := &owner{
		fleet:      f,
		configured: configured,
		spec:       plugin.SpecOf(name, configured),
		log:        f.options.Log.With("plugin", name),
		attempted:  make(chan struct{}),
		admitted:   make(chan struct{}),
		decided:    make(chan struct{}),
		stopped:    make(chan struct{}),
	}
	o.stopping, o.askStop = context.WithCancelCause(context.Background())
	o.now.Store(&snapshot{state: Starting, since: time.Now(), replaced: make(chan struct{})})
	return o
}

// Plugin implements route.Target.
func (o *owner) Plugin() string { return o.spec.Name }

// run is the life of the plugin: start, serve until it ends, wait, start again, until the owner is asked to stop.
func (o *owner) run() {
	defer close(o.stopped)
	defer o.become(Stopped, nil, func(*snapshot) {})
	failures := newFailures(o.configured.Restart)
	// The first start is always tried: the fleet waits for its outcome. Asked to stop, it fails at once.
	for first := true; first || o.stopping.Err() == nil; first = false {
		instance, err := o.start(first)
		if err == nil {
			err = o.serve(instance)
		}
		if err != nil && o.stopping.Err() == nil {
			wait := o.failed(failures, err)
			clearUp(instance)
			select {
			case <-wait:
			case <-o.stopping.Done():
			}
		}
		clearUp(instance)
	}
}

// failed says that the plugin is not running and returns when to start it again: never after a conflict, which only
// another configuration can solve.
func (o *owner) failed(failures *failures, err error) <-chan time.Time {
	if conflict := (route.Conflict{}); errors.As(err, &conflict) {
		o.become(Refused, err, func(*snapshot) {})
		return nil
	}
	if refused := (*plugin.StartError)(nil); errors.As(err, &refused) {
		for _, wrong := range refused.KeyErrors(o.fleet.settings) {
			o.log.Error("the plugin does not accept its configuration", "source", wrong.Source, "line", wrong.Line, "key", wrong.Key, "error", wrong.Message)
		}
	}
	wait, looping := failures.next(time.Now())
	state := Restarting
	if looping {
		state = CrashLooping
	}
	o.become(state, err, func(s *snapshot) { s.restarts++ }, "restart_in", wait.Round(time.Millisecond))
	return time.After(wait)
}

// clearUp removes what an instance left behind. It is bounded by stop_timeout, and does nothing the second time.
func clearUp(instance *plugin.Instance) {
	if instance != nil {
		_ = instance.Stop(context.Background())
	}
}

// start brings up an instance and claims its categories.
func (o *owner) start(first bool) (*plugin.Instance, error) {
	environment := plugin.Environment{RunRoot: o.fleet.options.RunRoot, Log: o.fleet.options.Log, DialOptions: o.fleet.options.DialOptions}
	instance, err := plugin.Start(o.stopping, o.spec, environment)
	if first {
		close(o.attempted)
		defer close(o.decided)
		<-o.admitted
	}
	if err != nil {
		return nil, err
	}
	manifest := instance.Manifest()
	if err := o.fleet.accept(o, manifest); err != nil {
		return instance, err
	}
	o.become(Running, nil, func(s *snapshot) { s.instance, s.manifest = instance, &manifest },
		"version", manifest.Version, "pid", instance.PID())
	return instance, nil
}

// serve watches an instance until it ends, or retires it when the owner is asked to stop.
func (o *owner) serve(instance *plugin.Instance) error {
	select {
	case <-instance.Done():
		reason := instance.Err()
		if reason == nil {
			reason = fmt.Errorf("plugin %q ended by itself", o.spec.Name)
		}
		return reason
	case <-o.stopping.Done():
		o.retire(instance)
		return nil
	}
}

// retire lets the calls under way end, up to drain_timeout, and stops the instance.
func (o *owner) retire(instance *plugin.Instance) {
	o.become(Draining, nil, func(*snapshot) {}, "in_flight", instance.InFlight())
	limit := context.Background()
	if request := (*stopRequest)(nil); errors.As(context.Cause(o.stopping), &request) {
		limit = request.limit
	}
	draining, cancel := context.WithTimeout(limit, o.configured.DrainTimeout)
	defer cancel()
	if err := instance.Drain(draining); err != nil {
		o.log.Warn("calls under way at the end of the drain are cut off", "in_flight", instance.InFlight())
	}
	if err := instance.Stop(context.Background()); err != nil {
		o.log.Warn("the plugin had to be killed", "error", err)
	}
}

// become replaces the snapshot, wakes those who wait for a change, and tells people.
func (o *owner) become(state State, reason error, change func(*snapshot), details ...any) {
	old := o.now.Load()
	next := *old
	next.state, next.since, next.instance, next.replaced = state, time.Now(), nil, make(chan struct{})
	if reason != nil {
		next.reason = reason
	}
	change(&next)
	o.now.Store(&next)
	close(old.replaced)

	level := slog.LevelInfo
	attributes := append([]any{"state", state, "was", old.state, "for", next.since.Sub(old.since).Round(time.Millisecond)}, details...)
	if reason != nil {
		level = slog.LevelWarn
		attributes = append(attributes, "reason", reason)
	}
	o.log.Log(context.Background(), level, "plugin is "+string(state), attributes...)
}

// TryAcquire implements route.Target.
func (o *owner) TryAcquire(route.Want) (route.Lease, bool) { return o.now.Load().acquire() }

// acquire takes a lease on the instance of this moment.
func (s *snapshot) acquire() (route.Lease, bool) {
	if s.instance == nil {
		return route.Lease{}, false
	}
	release, ok := s.instance.Acquire()
	if !ok {
		return route.Lease{}, false
	}
	return route.Lease{Conn: s.instance.Conn(), Ended: s.instance.Done(), Release: release}, true
}

// Acquire implements route.Target.
func (o *owner) Acquire(ctx context.Context, _ route.Want) (route.Lease, error) {
	for {
		now := o.now.Load()
		if lease, ok := now.acquire(); ok {
			return lease, nil
		}
		if now.state == Stopped || now.state == Refused {
			return route.Lease{}, o.unavailable(now)
		}
		select {
		case <-now.replaced:
		case <-ctx.Done():
			return route.Lease{}, o.unavailable(o.now.Load())
		}
	}
}

// unavailable is what a caller hears who waited for the plugin in vain.
func (o *owner) unavailable(now *snapshot) error {
	if now.reason == nil {
		return fmt.Errorf("plugin %q is %s since %s", o.spec.Name, now.state, time.Since(now.since).Round(time.Millisecond))
	}
	return fmt.Errorf("plugin %q is %s since %s: %w", o.spec.Name, now.state, time.Since(now.since).Round(time.Millisecond), now.reason)
}

// stopRequest carries the limit of a stop to the owner.
type stopRequest struct{ limit context.Context }

func (*stopRequest) Error() string { return "the host is stopping" }

// stop asks the owner to drain and stop its plugin and waits until it has. The drain ends early when limit does.
func (o *owner) stop(limit context.Context) {
	o.askStop(&stopRequest{limit: limit})
	<-o.stopped
}
