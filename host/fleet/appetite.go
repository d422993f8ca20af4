package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/docker/go-units"
)

// This file is what the fleet decides about memory that no cgroup limits plugin by plugin, as in a container: there the kernel ends
// whichever process it likes, and with memory.oom.group (the kubelet's default with cgroups of version 2) the host and all plugins at
// once. So whoever takes too much is restarted before. judge is a function of values; the watch (watchmemory.go) looks and acts.

// room is the memory that all share.
type room struct {
	limit uint64 // of the container; 0: none
	used  uint64 // of it, without what the kernel can give back
	free  uint64 // what a new process can have
	host  uint64 // what the host itself takes, for people
}

// phase is how far an instance is.
type phase int

const (
	atWork    phase = iota
	replacing       // it serves, and its successor is starting
	leaving         // its calls under way may end, then it goes
)

// appetite is what one instance takes.
type appetite struct {
	plugin   string
	instance int
	phase    phase
	used     uint64
	limit    uint64    // sandbox.memory; 0: none
	watched  bool      // no cgroup holds the limit
	fresh    uint64    // what it took when it came up: so much its successor will; 0: not known
	calm     time.Time // until then it was started again so recently that restart's backoff applies
}

// remedy is what is to be done about an instance.
type remedy int

const (
	none remedy = iota
	// replace starts its successor first; it serves until that is ready, and its calls under way may end.
	replace
	// yield has it end its calls under way and go, before it is started again.
	yield
	// cut has one that is leaving go at once.
	cut
)

// order is a remedy for one of the appetites that judge was given.
type order struct {
	of     int // its index
	remedy remedy
	why    string
}

const (
	// leastReserve and reservePart are how much of a container's memory is left when somebody has to go.
	leastReserve = 64 << 20
	reservePart  = 20
	// leastGain is what a restart has to give back at least where nothing says how much a plugin may take.
	leastGain = 16 << 20
)

func (r room) reserve() uint64 { return max(r.limit/reservePart, leastReserve) }

// near says that the container is about to be full, full that there is no time for anything any more.
func (r room) near() bool { return r.limit > 0 && r.used+r.reserve() >= r.limit }
func (r room) full() bool { return r.limit > 0 && r.used+r.reserve()/2 >= r.limit }

// judge says who has to be restarted. It is helpless where the container is about to be full, and no plugin could give
// anything back.
func judge(now time.Time, r room, all []appetite) (orders []order, helpless bool) {
	underWay := false
	for i, a := range all {
		underWay = underWay || a.phase != atWork
		if remedy := a.remedy(now, r); remedy != none {
			orders = append(orders, order{i, remedy, fmt.Sprintf("it used %s of %s (sandbox.memory)", size(a.used), size(a.limit))})
		}
	}
	switch {
	case !r.near():
		return orders, false
	case underWay:
		return append(orders, expedite(r, all)...), false
	case len(orders) > 0:
		return orders, false
	}
	greediest, share := blame(r, all)
	if greediest < 0 {
		return nil, true
	}
	why := fmt.Sprintf("the container uses %s of %s, and it %s, where its share is %s", size(r.used), size(r.limit), size(all[greediest].used), size(share))
	return []order{{greediest, yield, why}}, false
}

// remedy is what a limit of its own asks for. The successor comes first where there is room for two, and where the instance was not
// started again a moment ago. Who goes on growing meanwhile, or while its calls end, is not waited for.
func (a appetite) remedy(now time.Time, r room) remedy {
	most := a.limit
	if a.phase != atWork {
		most += most / 2
	}
	switch {
	case !a.watched || a.limit == 0 || a.used < most:
		return none
	case a.phase == leaving:
		return cut
	case a.phase == replacing, a.fresh == 0, now.Before(a.calm), r.near(), r.free < a.fresh+a.fresh/4:
		return yield
	}
	return replace
}

// expedite ends what was to end calmly, the largest first, when there is no time for that any more.
func expedite(r room, all []appetite) []order {
	if !r.full() {
		return nil
	}
	largest := -1
	for i, a := range all {
		if a.phase != atWork && (largest < 0 || a.used > all[largest].used) {
			largest = i
		}
	}
	why := fmt.Sprintf("the container uses %s of %s", size(r.used), size(r.limit))
	if all[largest].phase == leaving {
		return []order{{largest, cut, why}}
	}
	return []order{{largest, yield, why}}
}

// blame is the instance that is furthest beyond its share and would give something back; -1: none.
func blame(r room, all []appetite) (greediest int, share uint64) {
	shares := sharesOf(r, all)
	greediest = -1
	var most uint64
	for i, a := range all {
		if a.used < shares[i] || a.used < a.fresh+leastGain {
			continue
		}
		if beyond := a.used - shares[i]; greediest < 0 || beyond > most {
			greediest, share, most = i, shares[i], beyond
		}
	}
	return greediest, share
}

// sharesOf divides what others than the plugins leave, without the reserve: whoever has a limit has that, and the others get equal parts
// of the rest. Where the limits are more than there is, each is worth less.
func sharesOf(r room, all []appetite) []uint64 {
	var taken, limits, without uint64
	for _, a := range all {
		taken += a.used
		limits += a.limit
		if a.limit == 0 {
			without++
		}
	}
	others := r.used - min(r.used, taken) // the host, the kernel for it, files in memory
	there := r.limit - min(r.limit, others+r.reserve())
	shares := make([]uint64, len(all))
	for i, a := range all {
		switch {
		case a.limit == 0:
			shares[i] = (there - min(there, limits)) / without
		case limits > there:
			shares[i] = uint64(float64(a.limit) * float64(there) / float64(limits))
		default:
			shares[i] = a.limit
		}
	}
	return shares
}

// The pauses between two looks at the memory: whoever is far from all limits is looked at seldom.
const (
	calmPause   = 250 * time.Millisecond
	watchPause  = 100 * time.Millisecond
	alarmPause  = 50 * time.Millisecond
	costOfLooks = 10 // a look may take this part of the pause after it
)

// pause is how long to wait after a look that took so long.
func pause(r room, all []appetite, took time.Duration) time.Duration {
	fullest := 0.0
	if r.limit > 0 {
		fullest = float64(r.used) / float64(r.limit)
	}
	for _, a := range all {
		if a.watched && a.limit > 0 {
			fullest = max(fullest, float64(a.used)/float64(a.limit))
		}
	}
	wait := calmPause
	switch {
	case fullest >= 0.75:
		wait = alarmPause
	case fullest >= 0.5:
		wait = watchPause
	}
	return max(wait, costOfLooks*took)
}

// largestFirst orders appetites for people.
func largestFirst(all []appetite) []appetite {
	return slices.SortedStableFunc(slices.Values(all), func(a, b appetite) int { return cmp.Compare(b.used, a.used) })
}

func size(bytes uint64) string {
	return units.CustomSize("%.4g%s", float64(bytes), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB"})
}
