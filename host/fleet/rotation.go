package fleet

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/secret"
)

// A secret in a store may get another value at any time, and no store tells. So those of a running plugin are read again every
// secrets_refresh. The files of processes that reread them are replaced; for others a new generation takes the new value up, as after
// a change of a secret's file. While a store cannot be read the processes keep what they have.

const (
	// refreshTimeout is how long one reading may take.
	refreshTimeout = 30 * time.Second
	// A secret that cannot be read is asked for half as often with each failure, but at least every refreshBackoff intervals, and at
	// least every maxRefreshWait, where secrets_refresh is not longer.
	refreshBackoff = 8
	maxRefreshWait = time.Hour
	// refreshJitter is the part of each wait that is left to chance, so that not all plugins and replicas ask at once.
	refreshJitter = 0.2
)

// reading is the last one of one secret.
type reading struct {
	read     time.Time // when it last succeeded: first by the process's start
	at       time.Time // when it was last tried
	failures int       // in a row, since then
	err      error     // of the last one
	chance   float64   // of 0 to 1
}

// due says when the secret is to be read again.
func (r reading) due(interval time.Duration) time.Time {
	longest := max(interval, min(refreshBackoff*interval, maxRefreshWait))
	wait := interval
	for n := 0; n < r.failures && wait < longest; n++ {
		wait = min(2*wait, longest)
	}
	return r.at.Add(time.Duration(float64(wait) * (1 - refreshJitter*r.chance)))
}

// after is the reading that follows.
func (r reading) after(now time.Time, err error, chance float64) reading {
	if err != nil {
		return reading{read: r.read, at: now, failures: r.failures + 1, err: err, chance: chance}
	}
	return reading{read: now, at: now, chance: chance}
}

// storedSecret is one secret of a plugin that a store has.
type storedSecret struct{ name, source string }

func (s storedSecret) String() string {
	return fmt.Sprintf("secrets.%s (%s)", s.name, secret.Shown(s.source))
}

// storedSecrets are those of a spec, in order.
func storedSecrets(spec plugin.Spec) (all []storedSecret) {
	for _, name := range slices.Sorted(maps.Keys(spec.Secrets)) {
		if source := spec.Secrets[name]; secret.Stored(source) {
			all = append(all, storedSecret{name, source})
		}
	}
	return all
}

// rotation is what is known of a plugin's secrets in stores. Its goroutine alone writes.
type rotation struct {
	mu       sync.Mutex
	readings map[storedSecret]reading
	counts   SecretReads
}

// SecretReads is how often a plugin's secrets were read again from their stores, by what came of it.
type SecretReads struct{ Unchanged, Changed, Failed int }

// refreshSecrets reads the plugin's secrets again whenever they are due, until ctx ends.
func (s *supervisor) refreshSecrets(ctx context.Context) {
	for {
		signal := *s.signal.Load()
		next, waits := s.lookAtSecrets(ctx)
		var timer <-chan time.Time
		if waits {
			timer = time.After(time.Until(next))
		}
		select {
		case <-timer:
		case <-signal:
		case <-ctx.Done():
			return
		}
	}
}

// lookAtSecrets reads what is due, and says when the next one is.
func (s *supervisor) lookAtSecrets(ctx context.Context) (next time.Time, waits bool) {
	lead := s.view.Load().lead()
	if lead == nil {
		return next, false
	}
	interval, known := lead.configured().SecretsRefresh, s.knownReadings(lead)
	if interval <= 0 {
		return next, false
	}
	var rotated []string
	for _, of := range storedSecrets(lead.spec) {
		r, ok := known[of]
		if !ok {
			continue
		}
		if !time.Now().Before(r.due(interval)) {
			var swap bool
			if r, swap = s.refresh(ctx, of, r, lead); swap {
				rotated = append(rotated, of.String())
			}
		}
		if due := r.due(interval); !waits || due.Before(next) {
			next, waits = due, true
		}
	}
	if len(rotated) > 0 {
		s.fleet.rotate(ctx, s, strings.Join(rotated, ", ")+" has another value in its store")
	}
	return next, waits
}

// lead is the generation that another one of the same spec would replace; nil: there is none.
func (v *view) lead() *generation {
	switch {
	case v == nil || v.state.halted || v.state.stopping || v.state.stopped:
		return nil
	case v.canary != nil:
		return v.canary
	default:
		return v.current
	}
}

// knownReadings are the readings of a generation's secrets; the first one is that of its oldest process. Others are forgotten.
func (s *supervisor) knownReadings(g *generation) map[storedSecret]reading {
	started, running := g.oldest()
	wanted := storedSecrets(g.spec)
	s.rotation.mu.Lock()
	defer s.rotation.mu.Unlock()
	maps.DeleteFunc(s.rotation.readings, func(of storedSecret, _ reading) bool { return !slices.Contains(wanted, of) })
	for _, of := range wanted {
		if _, ok := s.rotation.readings[of]; !ok && running {
			s.rotation.readings[of] = reading{read: started, at: started, chance: rand.Float64()}
		}
	}
	return maps.Clone(s.rotation.readings)
}

// oldest says when the generation's oldest running process was started.
func (g *generation) oldest() (started time.Time, ok bool) {
	for _, running := range g.running() {
		if at := running.Started(); !ok || at.Before(started) {
			started, ok = at, true
		}
	}
	return started, ok
}

// running are the generation's instances that take calls.
func (g *generation) running() (all map[*instanceSlot]instance) {
	all = map[*instanceSlot]instance{}
	for _, slot := range *g.visible.Load() {
		slot.mu.Lock()
		if slot.instance != nil {
			all[slot] = slot.instance
		}
		slot.mu.Unlock()
	}
	return all
}

// refresh reads a secret, and hands it to processes that reread it. swap says that others of the lead have another value.
func (s *supervisor) refresh(ctx context.Context, of storedSecret, last reading, lead *generation) (now reading, swap bool) {
	asking, cancel := context.WithTimeout(ctx, refreshTimeout)
	value, err := s.fleet.reads(asking, of.source)
	cancel()
	if ctx.Err() != nil {
		return last, false
	}
	renewed := false
	if err == nil {
		renewed, swap, err = s.handOver(of, value, lead)
	}
	now = last.after(time.Now(), err, rand.Float64())
	s.rotation.mu.Lock()
	if _, wanted := s.rotation.readings[of]; wanted {
		s.rotation.readings[of] = now
	}
	switch {
	case err != nil:
		s.rotation.counts.Failed++
	case renewed || swap:
		s.rotation.counts.Changed++
	default:
		s.rotation.counts.Unchanged++
	}
	s.rotation.mu.Unlock()
	switch {
	case err != nil && last.err == nil:
		s.emit(Event{Generation: lead.id, State: EventSecretUnread, Was: Running, Cause: fmt.Sprintf("secrets.%s %v; its processes keep the value that they have", of.name, err)}, true)
	case err != nil:
		s.log.Warn("a secret can still not be read again; the plugin's processes keep the value that they have", "secret", of.name, "source", secret.Shown(of.source), "failures", now.failures, "error", err)
	case last.err != nil:
		s.log.Info("a secret can be read again", "secret", of.name, "source", secret.Shown(of.source))
	}
	return now, swap
}

// handOver gives a value to the processes of all generations that have another one and reread it.
func (s *supervisor) handOver(of storedSecret, value []byte, lead *generation) (renewed, swap bool, err error) {
	v := s.view.Load()
	for _, g := range []*generation{v.current, v.canary, v.candidate} {
		if g == nil || g.spec.Secrets[of.name] != of.source {
			continue
		}
		for slot, running := range g.running() {
			switch {
			case running.HoldsSecret(of.name, value):
			case !running.Manifest().RereadsSecrets():
				swap = swap || g == lead
			default:
				if failed := running.RenewSecret(of.name, value); failed != nil {
					select {
					case <-running.Done(): // the next process reads it
					default:
						err = failed
					}
					continue
				}
				renewed = true
				s.emit(Event{
					Generation: g.id, OfInstance: true, Instance: slot.number, State: EventSecretRenewed, Was: Running,
					Cause: fmt.Sprintf("%s has another value in its store: its file has it", of),
				}, false)
			}
		}
	}
	return renewed, swap, err
}

// rotate has a new generation of the same spec take up what its stores have now, unless one is on its way already.
func (f *Fleet) rotate(ctx context.Context, s *supervisor, because string) {
	f.applying.Lock()
	defer f.applying.Unlock()
	f.mu.Lock()
	still := f.supervisors[s.name] == s
	f.mu.Unlock()
	i := f.instructions[s.name]
	if v := s.view.Load(); ctx.Err() != nil || !still || i.Stopped != "" || v.candidate != nil || v.state.retrying {
		return
	}
	i.edition++
	f.instruct(s.name, i)
	f.move([]string{s.name}, manner{because: because})
}

// status is when each secret had last been read (the oldest of these times), and why some cannot be now. No time: there are none.
func (r *rotation) status() (read time.Time, problems []string, counts SecretReads) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for of, last := range r.readings {
		if read.IsZero() || last.read.Before(read) {
			read = last.read
		}
		if last.err != nil {
			problems = append(problems, fmt.Sprintf("secrets.%s %v", of.name, last.err))
		}
	}
	slices.Sort(problems)
	return read, problems, r.counts
}
