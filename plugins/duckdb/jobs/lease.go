package jobs

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// newName is a name that nobody else has.
func newName() string {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails
	return hex.EncodeToString(random)
}

// sign is what a process leaves in the store to show that it lives: each of its heartbeats is another one.
type sign struct {
	// Process is the one it is of.
	Process string `json:"process"`
	// Beat counts up.
	Beat uint64 `json:"beat"`
	// Lease is how long the sign may stay the same before the process counts as gone.
	Lease time.Duration `json:"lease"`
}

// witness tells which processes are gone: those whose sign it has seen unchanged for a lease, by its own clock. What other
// clocks say does not count, nor does time in which it did not look: then the process may have lived unseen.
//
// A process therefore keeps its jobs for certain for a lease from its last heartbeat.
type witness struct{ seen map[string]sighting }

type sighting struct {
	sign sign
	// since is when the sign had been read for the first time, last when it was read last.
	since, last time.Time
}

func newWitness() *witness { return &witness{seen: map[string]sighting{}} }

// looked takes down the sign of a process, which was read between the two times, and says whether the process is gone.
func (w *witness) looked(process string, now sign, lease time.Duration, from, to time.Time) (gone bool) {
	before, known := w.seen[process]
	if !known || before.sign != now || from.Sub(before.last) > lease/2 {
		w.seen[process] = sighting{sign: now, since: to, last: to}
		return false
	}
	before.last = to
	w.seen[process] = before
	return from.Sub(before.since) >= lease
}

// blind says that a process's sign cannot be read.
func (w *witness) blind(process string) { delete(w.seen, process) }

// keep forgets all processes but those that are keys of the map.
func (w *witness) keep(processes map[string]bool) {
	for process := range w.seen {
		if _, kept := processes[process]; !kept {
			delete(w.seen, process)
		}
	}
}
