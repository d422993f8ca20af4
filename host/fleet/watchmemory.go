package fleet

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/procfs"

	"github.com/agenthost/agenthost/host/cgroup"
)

// eater is an instance of a slot, whose appetite has the same index.
type eater struct {
	slot     *instanceSlot
	instance instance
}

// beginWatch is for the first Apply.
func (f *Fleet) beginWatch() {
	ctx, stop := context.WithCancel(context.Background())
	f.stopWatch, f.watchingEnd = stop, make(chan struct{})
	go func() {
		defer close(f.watchingEnd)
		f.watchMemory(ctx)
	}()
}

func (f *Fleet) endWatch() {
	if f.stopWatch != nil {
		f.stopWatch()
		<-f.watchingEnd
	}
}

// watchMemory restarts who takes too much memory, until ctx ends.
func (f *Fleet) watchMemory(ctx context.Context) {
	helpless := false
	for wait := calmPause; ; {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		began := time.Now()
		f.kills.Look()
		r := f.room()
		eaters, all := f.appetites(r)
		orders, nobody := judge(time.Now(), r, all)
		for _, o := range orders {
			eaters[o.of].slot.obey(memoryOrder{o, eaters[o.of].instance})
		}
		if nobody && !helpless {
			var taken []any
			for _, a := range largestFirst(all) {
				taken = append(taken, a.plugin, size(a.used))
			}
			f.options.Log.Warn("the container is about to run out of memory, and a restart of no plugin would give any back: give the container more",
				append([]any{"used", size(r.used), "limit", size(r.limit), "host", size(r.host)}, taken...)...)
		}
		helpless = nobody
		wait = pause(r, all, time.Since(began))
	}
}

// lookAtRoom is the room that this process's container and machine have.
func lookAtRoom(container *cgroup.Container) func() room {
	return func() room {
		r := room{free: math.MaxUint64}
		if available, err := cgroup.Available(); err == nil { // else only the container counts
			r.free = available
		}
		if container == nil {
			return r
		}
		used, err := container.Charged()
		if err != nil {
			return r // it can only be watched plugin by plugin
		}
		r.limit, r.used = container.Limit, used
		if r.used > r.limit/2 { // perhaps only with what can be given back
			if r.used, err = container.Used(); err != nil {
				return room{free: r.free}
			}
		}
		r.free = min(r.free, r.limit-min(r.limit, r.used+r.reserve()))
		if self, err := procfs.Self(); err == nil {
			if status, err := self.NewStatus(); err == nil {
				r.host = status.RssAnon + status.RssShmem
			}
		}
		return r
	}
}

// appetites are what all instances take that somebody watches: with a container's limit those without one of their own, too.
func (f *Fleet) appetites(r room) (eaters []eater, all []appetite) {
	for _, s := range f.all() {
		v := s.view.Load()
		for _, g := range []*generation{v.current, v.canary, v.candidate} {
			if g == nil || g.spec.Remote() {
				continue
			}
			for _, slot := range *g.visible.Load() {
				for _, e := range slot.eaters() {
					if a, ok := slot.appetite(e, r); ok {
						eaters, all = append(eaters, e), append(all, a)
					}
				}
			}
		}
	}
	return eaters, all
}

// eaters are the instances of a slot that take memory: the one that takes calls, and those that leave.
func (s *instanceSlot) eaters() (all []eater) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance != nil {
		all = append(all, eater{s, s.instance})
	}
	for _, d := range s.eating.departing {
		all = append(all, eater{s, d.instance})
	}
	return all
}

func (s *instanceSlot) appetite(e eater, r room) (appetite, bool) {
	a := appetite{plugin: s.generation.spec.Name, instance: s.number}
	if a.limit, a.watched = e.instance.MemoryLimit(); !a.watched && r.limit == 0 {
		return a, false
	}
	s.mu.Lock()
	isNew := e.instance == s.instance && s.eating.freshOf != s.instance
	s.mu.Unlock()
	exactFrom := uint64(math.MaxUint64)
	switch {
	case isNew, r.near():
		exactFrom = 0
	case a.watched:
		exactFrom = a.limit
	}
	used, err := e.instance.Memory(exactFrom)
	if err != nil {
		return a, false // it has just ended
	}
	a.used = used
	s.mu.Lock()
	defer s.mu.Unlock()
	if isNew {
		s.eating.fresh, s.eating.freshOf = used, e.instance
	}
	a.calm = s.eating.calm
	switch e.instance {
	case s.eating.replacing:
		a.phase = replacing
	case s.instance:
	default:
		a.phase = leaving
	}
	if s.eating.freshOf == e.instance {
		a.fresh = s.eating.fresh
	}
	return a, true
}
