package jobs

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Running counts the jobs that run, by the plugin and generation that was asked about each last, for people who look. Jobs whose end this host
// does not hear of, because another replica does or nobody asks any more, are counted until they have been silent for a while.
//
// The counts are kept as calls come: to read them costs as much with one job as with a million. Its methods may be called at any time from
// anywhere.
type Running struct {
	start time.Time
	seed  maphash.Seed
	most  int // in a shard

	// mu is held to put a job in, to take one out, and to change what is counted of it; after it, that of a shard.
	mu     sync.Mutex
	owners map[Owner]uint32
	list   atomic.Pointer[[]*counts] // by the number of the owner
	free   []uint32                  // numbers that nobody has
	swept  int                       // the shard that was swept last
	full   time.Time                 // when a job last was not counted

	shards [runningShards]runningShard
}

// Key stands for a job in Running: for its task type and resource_meta. Jobs that have these in common count as one.
type Key uint64

// Owner is who is asked about a job.
type Owner struct {
	// Plugin is empty where none serves the job's task type, and Generation where none of its was asked yet.
	Plugin, Generation string
}

// runningShard is some of the jobs. They are counted without pointers, which the garbage collector would follow.
type runningShard struct {
	mu   sync.RWMutex
	jobs map[Key]standing
}

// standing is what is known of one job. Times are seconds since start.
type standing struct {
	owner        uint32
	began, heard uint32
	applied      uint32 // guarantees that have acted on it
}

// counts are what is counted of an owner.
type counts struct {
	owner   Owner
	running int
	began   map[uint32]int // how many of them began within a minute, by its number
	first   uint32         // no minute before has any
	saved   [32]int        // by the number of the guarantee
	heard   uint32
}

const (
	// runningShards is how many maps the jobs are in, so that polls do not wait for each other.
	runningShards = 64
	// silence is how long nothing is heard of a job that is not counted any more. Flyte asks for each several times a minute.
	silence = uint32(15 * time.Minute / time.Second)
	// heardAgain is how much later a job has to be heard of for that to be written down, so that most polls only read.
	heardAgain = 60
	// maxOwners is how many owners are remembered that have no job any more.
	maxOwners = 256
)

// NewRunning returns counts of at most so many jobs. It is for many: each of its maps has an equal part of the room, and jobs fall into them
// by chance.
func NewRunning(most int) *Running {
	r := &Running{start: time.Now(), seed: maphash.MakeSeed(), most: max(1, most/runningShards), owners: map[Owner]uint32{}}
	r.list.Store(&[]*counts{})
	for i := range r.shards {
		r.shards[i].jobs = map[Key]standing{}
	}
	return r
}

// Key is the key of a job.
func (r *Running) Key(taskType string, meta []byte) Key {
	var hash maphash.Hash
	hash.SetSeed(r.seed)
	_, _ = hash.WriteString(taskType) // it cannot fail
	_ = hash.WriteByte(0)             // nor can it
	_, _ = hash.Write(meta)
	return Key(hash.Sum64())
}

func (r *Running) shardOf(job Key) *runningShard { return &r.shards[job%runningShards] }

// Heard is a call about a job: it runs. owner was asked, or would have been, and applied are the guarantees that acted, by their numbers.
func (r *Running) Heard(job Key, owner Owner, applied uint32) {
	now, s := r.now(), r.shardOf(job)
	s.mu.RLock()
	known, ok := s.jobs[job]
	s.mu.RUnlock()
	if ok && now < known.heard+heardAgain && known.applied|applied == known.applied && r.of(known.owner).owner.is(owner) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok = s.jobs[job]
	switch {
	case !ok && len(s.jobs) >= r.most:
		r.full = time.Now()
		return
	case !ok:
		known = standing{owner: r.number(owner), began: now}
		r.of(known.owner).enter(now)
	case !r.of(known.owner).owner.is(owner):
		r.of(known.owner).leave(known.began)
		known.owner = r.number(owner)
		r.of(known.owner).enter(known.began)
	}
	by := r.of(known.owner)
	by.heard = now
	by.save(applied &^ known.applied)
	known.heard, known.applied = now, known.applied|applied
	s.jobs[job] = known
}

// Ended is the call by which a job has ended. One that was not counted has no part in the counts but for what acted on it.
func (r *Running) Ended(job Key, owner Owner, applied uint32) {
	s := r.shardOf(job)
	s.mu.RLock()
	_, ok := s.jobs[job]
	s.mu.RUnlock()
	if !ok && applied == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.jobs[job]
	if !ok {
		by := r.of(r.number(owner))
		by.heard = r.now()
		by.save(applied)
		return
	}
	by := r.of(known.owner)
	by.leave(known.began)
	delete(s.jobs, job)
	if !by.owner.is(owner) {
		by = r.of(r.number(owner))
	}
	by.heard = r.now()
	by.save(applied &^ known.applied)
}

// is says that a job of one owner stays his when other was asked: without a generation nobody was, and the plugin alone is known.
func (o Owner) is(other Owner) bool {
	return o.Plugin == other.Plugin && (o.Generation == other.Generation || other.Generation == "")
}

func (r *Running) now() uint32 { return uint32(time.Since(r.start) / time.Second) }

// of is what is counted of the owner with a number.
func (r *Running) of(number uint32) *counts { return (*r.list.Load())[number] }

// number is that of an owner, which is remembered from now on.
func (r *Running) number(owner Owner) uint32 {
	if known, ok := r.owners[owner]; ok {
		return known
	}
	if len(r.owners) >= maxOwners {
		r.forgetOwner()
	}
	fresh := &counts{owner: owner, began: map[uint32]int{}}
	list := slices.Clone(*r.list.Load()) // polls read the one before
	number := uint32(len(list))
	if n := len(r.free); n > 0 {
		number, r.free = r.free[n-1], r.free[:n-1]
		list[number] = fresh
	} else {
		list = append(list, fresh)
	}
	r.list.Store(&list)
	r.owners[owner] = number
	return number
}

// forgetOwner forgets the owner that was asked longest ago, of those that have no job.
func (r *Running) forgetOwner() {
	var oldest *counts
	for _, number := range r.owners {
		if c := r.of(number); c.running == 0 && (oldest == nil || c.heard < oldest.heard) {
			oldest = c
		}
	}
	if oldest != nil {
		r.free = append(r.free, r.owners[oldest.owner])
		delete(r.owners, oldest.owner)
	}
}

func (c *counts) enter(began uint32) {
	minute := began / 60
	if c.running == 0 || minute < c.first {
		c.first = minute
	}
	c.running++
	c.began[minute]++
}

func (c *counts) leave(began uint32) {
	minute := began / 60
	c.running--
	if c.began[minute]--; c.began[minute] == 0 {
		delete(c.began, minute)
	}
}

func (c *counts) save(applied uint32) {
	for ; applied != 0; applied &= applied - 1 {
		c.saved[bits.TrailingZeros32(applied)]++
	}
}

// Sweep takes out some of the jobs of which nothing was heard for long. It is to be called every few seconds.
func (r *Running) Sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.swept = (r.swept + 1) % runningShards
	s, now := &r.shards[r.swept], r.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for job, known := range s.jobs {
		if now > known.heard+silence {
			r.of(known.owner).leave(known.began)
			delete(s.jobs, job)
		}
	}
}

// Count is what is counted of an owner.
type Count struct {
	Owner
	// Running is how many jobs run.
	Running int
	// Oldest is when this host first heard of the one that it has known longest, to the minute; zero where none runs.
	Oldest time.Time
	// Saved is how many jobs each guarantee has acted on, by its number, those included that have ended. Where that was with several owners, the
	// first counts.
	Saved [32]int
}

// Counts are those of all owners, by plugin and then those with the most jobs first.
func (r *Running) Counts() []Count {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Count, 0, len(r.owners))
	for owner, number := range r.owners {
		c := r.of(number)
		count := Count{Owner: owner, Running: c.running, Saved: c.saved}
		if c.running > 0 {
			count.Oldest = r.start.Add(time.Duration(c.oldest()) * time.Minute)
		}
		all = append(all, count)
	}
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Plugin, b.Plugin), cmp.Compare(b.Running, a.Running), cmp.Compare(a.Generation, b.Generation))
	})
	return all
}

// oldest is the first minute that has a job.
func (c *counts) oldest() uint32 {
	if c.began[c.first] == 0 {
		first := true
		for minute := range c.began {
			if first || minute < c.first {
				c.first, first = minute, false
			}
		}
	}
	return c.first
}

// Full says that within the last while there were more jobs than are counted.
func (r *Running) Full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.full.IsZero() && time.Since(r.full) < time.Duration(silence)*time.Second
}
