package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// eating is what an instance slot knows of its memory.
type eating struct {
	wait      time.Duration // after the last failure
	calm      time.Time     // see appetite
	replacing instance      // the one whose successor is starting
	fresh     uint64        // what the instance freshOf took when it came up
	freshOf   instance
	departing []departure
	restarts  int      // for its memory's sake
	kills     uint64   // how often the kernel has ended something of killsOf for want of memory
	killsOf   instance // the last one that was asked
}

// departure is an instance whose calls under way may end.
type departure struct {
	instance instance
	since    time.Time
	cut      context.CancelFunc // which no more may, then
}

// memoryOrder is an order for the slot of an instance.
type memoryOrder struct {
	order
	instance instance
}

// countKills counts what the kernel has ended of an instance for want of memory since it was last asked. It tells of it while the instance
// lives: then it was one that the instance had started.
func (s *instanceSlot) countKills(running instance) {
	s.mu.Lock()
	kills, known := running.OOMKills(), uint64(0)
	if s.eating.killsOf == running {
		known = s.eating.kills
	}
	s.eating.kills, s.eating.killsOf = max(kills, known), running
	s.mu.Unlock()
	if kills <= known {
		return
	}
	g := s.generation
	g.supervisor.oomKills.Add(int64(kills - known))
	select {
	case <-running.Done(): // its end says why
	default:
		g.supervisor.emit(Event{
			Generation: g.id, OfInstance: true, Instance: s.number, State: EventOOMKilled, Was: Running,
			Cause: fmt.Sprintf("the kernel has killed %d of the processes that it had started for want of memory (OOM)", kills-known),
		}, true)
	}
}

// overMemory tells that an instance takes too much, and what becomes of it.
func (s *instanceSlot) overMemory(o memoryOrder, how string) error {
	g := s.generation
	s.mu.Lock()
	s.eating.restarts++
	s.mu.Unlock()
	g.supervisor.emit(Event{Generation: g.id, OfInstance: true, Instance: s.number, State: EventOverMemory, Was: Running, Cause: o.why + "; " + how}, true)
	return fmt.Errorf("plugin %q was restarted: %s", g.spec.Name, o.why)
}

// succeed starts the instance that takes the place of a running one, which serves meanwhile. Where there is no time for that, or where
// the successor does not start, the instance is ended as by yield.
func (s *instanceSlot) succeed(running instance, o memoryOrder, found examination) (next instance, why error) {
	why = s.overMemory(o, "a new process takes its place")
	s.replacing(running)
	defer s.replacing(nil)
	type start struct {
		instance instance
		err      error
	}
	starts := make(chan start, 1)
	go func() {
		started, err := s.start()
		starts <- start{started, err}
	}()
	serves, ended := true, running.Done()
	stop := func(reason error) { // only its calls under way may end
		serves, ended = false, nil
		s.become(Restarting, reason, nil, "its successor is starting")
		s.departBehind(running)
	}
	for {
		select {
		case started := <-starts:
			switch {
			case started.err == nil:
				return started.instance, s.succeeded(running, why)
			case s.ctx.Err() != nil:
				s.retire(running)
				return nil, nil
			case serves:
				return nil, s.yield(running, errors.Join(why, started.err))
			default:
				return nil, errors.Join(why, started.err)
			}
		case <-ended:
			stop(s.endOf(running))
		case err := <-found.sick:
			if serves {
				stop(err)
			}
		case is := <-found.changes:
			if serves {
				s.hear(running, is)
			}
		case o := <-s.orders:
			if serves && o.instance == running && o.remedy == yield {
				stop(fmt.Errorf("plugin %q was restarted: %s", s.generation.spec.Name, o.why))
			}
		}
	}
}

// succeeded counts a restart for which no call had to wait. Where they are a loop the supervisor hears of it, as of any.
func (s *instanceSlot) succeeded(former instance, why error) error {
	_, looping := s.failed(former.Sound())
	s.mu.Lock()
	s.restarts++
	s.mu.Unlock()
	if looping {
		_ = s.tell(report{err: why, looping: true}) // retired: who serves next hears it
	}
	return why
}

// yield ends an instance when its calls under way have ended. It returns why.
func (s *instanceSlot) yield(running instance, why error) error {
	s.become(Draining, why, nil, fmt.Sprintf("%d calls in flight", running.InFlight()))
	s.depart(running)
	return why
}

// departBehind is depart while the slot goes on.
func (s *instanceSlot) departBehind(former instance) {
	s.generation.supervisor.running.Go(func() { s.depart(former) })
}

func (s *instanceSlot) replacing(running instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eating.replacing = running
}

// departing notes an instance that departs, until gone is called.
func (s *instanceSlot) departing(running instance, cut context.CancelFunc) (gone func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eating.departing = append(s.eating.departing, departure{running, time.Now(), cut})
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.eating.departing = slices.DeleteFunc(s.eating.departing, func(d departure) bool { return d.instance == running })
	}
}

// obey carries out an order for one of the slot's instances. It does not wait.
func (s *instanceSlot) obey(o memoryOrder) {
	if o.remedy != cut {
		select {
		case s.orders <- o:
		default: // the one before is not carried out yet: the next look sees what became of it
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.eating.departing {
		if d.instance == o.instance {
			s.log.Warn("its calls under way are cut off", "problem", o.why)
			d.cut()
		}
	}
}
