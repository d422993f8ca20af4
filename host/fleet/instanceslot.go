package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/sandbox"
)

// instance is one running plugin, a process of ours or a server elsewhere.
type instance interface {
	Conn() grpc.ClientConnInterface
	Manifest() plugin.Manifest
	PID() int
	Started() time.Time
	Usage() (process.Usage, error)
	Memory(from uint64) (uint64, error)
	MemoryLimit() (bytes uint64, watched bool)
	Sandbox() *sandbox.Granted
	HoldsSecret(name string, value []byte) bool
	RenewSecret(name string, value []byte) error
	Done() <-chan struct{}
	Err() error
	Acquire() (release func(), ok bool)
	InFlight() int
	Sound() bool
	Silence() plugin.Silence
	OOMKills() uint64
	Metrics(ctx context.Context) ([]byte, error)
	Drain(ctx context.Context) error
	Stop(ctx context.Context) error
}

// instanceSlot keeps one instance of a generation running: start, serve until it ends, wait, start again, until the generation
// is retired. Its goroutine is the only one that writes.
type instanceSlot struct {
	generation *generation
	number     int
	log        *slog.Logger
	ctx        context.Context // ends when the instance slot, or its generation, is retired
	cancel     context.CancelFunc
	retired    chan struct{} // closed when run has returned
	orders     chan memoryOrder
	failures   *failures // of run alone

	mu       sync.Mutex
	state    State
	since    time.Time
	reason   error     // why it is not running, or was last not
	reasonAt time.Time // when that was so
	instance instance  // the one that takes calls; nil in every state but Running and Unresponsive
	is       *route.Instance
	silence  silence // of that one
	health   lastHealth
	next     time.Time // when it is started again; zero: nothing is waited for
	restarts int       // processes started after the first
	files    startedFiles
	pulling  string // how much of its image has come; empty while none is pulled
	eating   eating
}

func newInstanceSlot(g *generation, number int) *instanceSlot {
	s := &instanceSlot{generation: g, number: number, log: g.log.With("instance", number), retired: make(chan struct{}), orders: make(chan memoryOrder, 1), state: Starting, since: time.Now()}
	s.ctx, s.cancel = context.WithCancel(g.ctx)
	return s
}

// gone says that nothing is left of the slot.
func (s *instanceSlot) gone() bool {
	select {
	case <-s.retired:
		return true
	default:
		return false
	}
}

// run is the life of the instance slot.
func (s *instanceSlot) run() {
	defer func() {
		close(s.retired)
		s.generation.supervisor.notify() // or nobody who waits for the slot to go would look again
	}()
	defer s.become(Stopped, nil, nil, "")
	g := s.generation
	s.failures = newFailures(g.configured().Restart)
	for first := true; first || s.ctx.Err() == nil; first = false {
		began := time.Now()
		files := filesOf(g.spec)
		s.mu.Lock()
		s.files = files
		s.mu.Unlock()
		started, err := s.start()
		if err == nil {
			started, err = s.serve(started)
		}
		if started != nil {
			s.countKills(started)
		} else if failed := (*plugin.StartError)(nil); errors.As(err, &failed) {
			g.supervisor.oomKills.Add(int64(failed.OOMKills))
		}
		if err != nil && s.ctx.Err() == nil {
			sound := started != nil && started.Sound()
			wait, looping := s.failed(sound)
			state := Restarting
			if looping {
				state = CrashLooping
			}
			s.mu.Lock()
			s.restarts++
			s.mu.Unlock()
			next := "next start in " + wait.Round(time.Millisecond).String()
			if sound {
				next += ", or when a call waits for it"
			}
			s.become(state, err, nil, next)
			clearUp(started)
			if s.tell(report{err: err, looping: looping}) == nil {
				over := time.Now().Add(wait)
				early := over
				if sound {
					early = began.Add(restartsApart)
				}
				s.startsAt(over)
				s.generation.supervisor.demand.pause(s.ctx, early, over)
				s.startsAt(time.Time{})
			}
		}
		clearUp(started)
	}
}

// startsAt notes when the next start is due; zero: none is waited for.
func (s *instanceSlot) startsAt(next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

// serve lets an instance take calls, and those that take its place. It returns the last one, and why that has ended, or nil after the
// slot was retired.
func (s *instanceSlot) serve(running instance) (last instance, ended error) {
	var former instance
	for reason := error(nil); ; {
		s.mu.Lock()
		s.eating.calm = time.Now().Add(s.eating.wait)
		s.mu.Unlock()
		// It is there for calls before the supervisor hears of it, who may flip the table to it at once.
		s.become(Running, reason, running, fmt.Sprintf("pid %d", running.PID()))
		err := s.tell(report{instance: running})
		if former != nil {
			s.departBehind(former)
		}
		if err != nil {
			return running, err
		}
		next, why := s.watch(running)
		if next == nil {
			return running, why
		}
		former, running, reason = running, next, why
	}
}

// failed counts a failure, and says how long to wait before the next start.
func (s *instanceSlot) failed(sound bool) (wait time.Duration, looping bool) {
	wait, looping = s.failures.next(time.Now(), sound)
	s.mu.Lock()
	s.eating.wait = wait
	s.mu.Unlock()
	return wait, looping
}

// start starts an instance. A pull may take long: others do not wait for it longer than for any other start.
func (s *instanceSlot) start() (instance, error) {
	p := &pull{slot: s}
	late := time.AfterFunc(s.generation.spec.StartTimeout, func() {
		if p.going() {
			_ = s.tell(report{lags: true}) // retired: then nobody waits
		}
	})
	defer late.Stop()
	started, err := s.generation.start(s.ctx, s.number, p.progress)
	p.end()
	return started, err
}

// tell hands a report to the supervisor and returns its answer; an error too when the instance slot is retired meanwhile.
func (s *instanceSlot) tell(r report) error {
	r.slot, r.answer = s, make(chan error, 1)
	select {
	case s.generation.supervisor.reports <- r:
	case <-s.ctx.Done():
		return errRetired
	}
	select {
	case err := <-r.answer:
		return err
	case <-s.ctx.Done():
		return errRetired
	}
}

// watch returns why the instance has ended, or nil after the generation was retired and the instance with it; or the instance that
// takes its place, and why.
func (s *instanceSlot) watch(running instance) (next instance, why error) {
	found := newExamination()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go s.examine(ctx, running, found)
	for {
		select {
		case <-running.Done():
			return nil, s.endOf(running)
		case err := <-found.sick:
			return nil, err
		case is := <-found.changes:
			s.hear(running, is)
		case o := <-s.orders:
			switch {
			case o.instance != running: // it was for one before
			case o.remedy == replace:
				return s.succeed(running, o, found)
			case o.remedy == yield:
				return nil, s.yield(running, s.overMemory(o, "it is started again when its calls under way have ended"))
			}
		case <-s.ctx.Done():
			s.retire(running)
			return nil, nil
		}
	}
}

// endOf is why an instance has ended that nobody has stopped.
func (s *instanceSlot) endOf(ended instance) error {
	if err := ended.Err(); err != nil {
		return err
	}
	return fmt.Errorf("plugin %q ended by itself", s.generation.spec.Name)
}

// retire lets the calls under way end, up to drain_timeout, and stops the instance.
func (s *instanceSlot) retire(running instance) {
	s.become(Draining, nil, nil, fmt.Sprintf("%d calls in flight", running.InFlight()))
	s.depart(running)
}

// depart lets the calls under way end, up to drain_timeout, and stops an instance that gets no new ones.
func (s *instanceSlot) depart(running instance) {
	draining, cancel := context.WithTimeout(s.generation.supervisor.drainLimit, s.generation.configured().DrainTimeout)
	defer cancel()
	defer context.AfterFunc(s.generation.expedited, cancel)()
	defer s.departing(running, cancel)()
	if err := running.Drain(draining); err != nil {
		s.log.Warn("calls under way at the end of the drain are cut off", "in_flight", running.InFlight())
	}
	if err := running.Stop(context.Background()); err != nil {
		s.log.Warn("the plugin did not stop in good order", "error", err)
	}
}

// become changes the state, emits the event, and wakes those who wait for an instance.
func (s *instanceSlot) become(state State, reason error, running instance, detail string) {
	s.mu.Lock()
	was, since := s.state, s.since
	if s.instance != running {
		s.is = nil
		if running != nil {
			s.is = &route.Instance{Generation: s.generation.id, PID: running.PID()}
		}
		s.silence, s.health = silence{}, lastHealth{}
		if running != nil && !s.generation.spec.Remote() {
			s.health = lastHealth{time.Now(), healthpb.HealthCheckResponse_SERVING.String()} // or it would not have come up
		}
	}
	s.state, s.since, s.instance = state, time.Now(), running
	if reason != nil {
		s.reason, s.reasonAt = reason, s.since
	}
	s.mu.Unlock()
	s.generation.supervisor.changed(Event{
		Plugin: s.generation.spec.Name, Generation: s.generation.id, OfInstance: true, Instance: s.number,
		State: state, Was: was, Cause: cause(reason, detail), Lasted: time.Since(since),
	}, reason != nil)
}

// acquire takes a lease on the instance slot's instance.
func (s *instanceSlot) acquire() (route.Lease, bool) {
	s.mu.Lock()
	running, is := s.instance, s.is
	s.mu.Unlock()
	if running == nil {
		return route.Lease{}, false
	}
	release, ok := running.Acquire()
	if !ok {
		return route.Lease{}, false
	}
	remote, _ := running.(route.Remote)
	return route.Lease{
		Generation: s.generation.id, Instance: is, Tally: &s.generation.tally.Tally, Watched: s, Conn: running.Conn(), Remote: remote, Ended: running.Done(), Release: release,
	}, true
}

// load is the number of calls in flight; ok is false where there is no instance.
func (s *instanceSlot) load() (inFlight int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance == nil {
		return 0, false
	}
	return s.instance.InFlight(), true
}

// clearUp removes what an instance left behind. It is bounded by stop_timeout, and does nothing the second time.
func clearUp(i instance) {
	if i != nil {
		_ = i.Stop(context.Background())
	}
}

func cause(reason error, detail string) string {
	switch {
	case reason == nil:
		return detail
	case detail == "":
		return reason.Error()
	default:
		return reason.Error() + "; " + detail
	}
}
