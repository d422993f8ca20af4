package cgroup

import (
	"slices"
	"sync"
	"time"
)

// Kills counts what the kernel ends for want of memory around processes that have no cgroup which does: in the container, or, where nothing
// limits that, on the machine. Its methods may be called on nil, which knows of none.
type Kills struct {
	count func() uint64

	mu      sync.Mutex
	looks   []look      // the oldest that still matters first
	claimed []time.Time // when a kill was put down to a process
}

// look is the count at one moment.
type look struct {
	at    time.Time
	kills uint64
}

const (
	// killWindow is how long before a process's end is seen the kernel may have counted its kill.
	killWindow = 5 * time.Second
	// killLook is how often the count is read at most while no process ends.
	killLook = time.Second
)

// WatchKills begins with what has been counted so far. The container may be nil.
func WatchKills(container *Container) *Kills {
	count := func() uint64 { return oomKillsOfMachine("/proc/vmstat") }
	if container != nil {
		count = func() uint64 { return oomKills(container.path) }
	}
	k := &Kills{count: count}
	k.Look()
	return k
}

func oomKillsOfMachine(vmstat string) uint64 { return count("", vmstat, "oom_kill") }

// Look notes the count, and forgets what lies back too far to be the end of a process now. Somebody has to, every second or so.
func (k *Kills) Look() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); len(k.looks) == 0 || now.Sub(k.looks[len(k.looks)-1].at) >= killLook {
		k.look(now)
	}
}

func (k *Kills) look(now time.Time) (kills uint64) {
	kills = k.count()
	k.looks = append(k.looks, look{now, kills})
	for len(k.looks) > 1 && now.Sub(k.looks[1].at) >= killWindow {
		k.looks = k.looks[1:]
	}
	k.claimed = slices.DeleteFunc(k.claimed, func(at time.Time) bool { return !at.After(k.looks[0].at) })
	return kills
}

// Claim says whether a process that SIGKILL has just ended was probably killed for want of memory: the count has risen, and no other process
// has ended by that.
func (k *Kills) Claim() bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	kills := k.look(now)
	if kills-k.looks[0].kills <= uint64(len(k.claimed)) {
		return false
	}
	k.claimed = append(k.claimed, now)
	return true
}
