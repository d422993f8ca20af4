package fleet

import (
	"fmt"
	"sync"
	"time"
)

// progressInterval is how often the progress of a pull is an event.
const progressInterval = 10 * time.Second

// pull is the pull of one instance's image, as others see it.
type pull struct {
	slot *instanceSlot

	mu   sync.Mutex
	told time.Time // an event; zero: none is pulled
	over bool
}

// progress is told how much has come.
func (p *pull) progress(done, total int64) {
	text := fmt.Sprintf("%s of %s", mebibytes(done), mebibytes(total))
	p.slot.mu.Lock()
	p.slot.pulling = text
	p.slot.mu.Unlock()
	p.mu.Lock()
	tell := !p.over && time.Since(p.told) >= progressInterval
	if tell {
		p.told = time.Now()
	}
	p.mu.Unlock()
	if tell {
		s := p.slot
		s.generation.supervisor.changed(Event{
			Generation: s.generation.id, OfInstance: true, Instance: s.number, State: EventPulling, Was: Starting, Cause: text,
		}, false)
	}
}

// going says that an image is on its way.
func (p *pull) going() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.over && !p.told.IsZero()
}

func (p *pull) end() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.slot.mu.Lock()
	p.slot.pulling = ""
	p.slot.mu.Unlock()
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// keepImages says which images the plugin may still need: those of its generations, of the one that it may fall back on, and of
// what is configured.
func (s *supervisor) keepImages() {
	store := s.fleet.options.Artifacts
	if store == nil || s.state.stopping || s.state.stopped {
		return
	}
	wanted := s.desired.Load()
	if wanted.removed {
		return
	}
	var images []string
	for _, r := range []revision{wanted.revision, s.state.current.revision, s.state.canary.revision, s.state.candidate.revision, s.state.previous} {
		if r.spec.Image != "" {
			images = append(images, r.spec.Image)
		}
	}
	store.Keep(s.name, images)
}
