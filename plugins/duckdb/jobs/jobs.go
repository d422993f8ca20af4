// Package jobs keeps work that must outlive the process that took it on. Once Submit has returned, the job ends, even if
// every process that works on it is killed: another process with the same store runs it again.
//
// A store is a state directory, or a prefix in a bucket. Several processes may share it: an old and a new generation of a
// plugin for a while, replicas of a host for good. Every process answers for every job, and cancels every job.
//
// A job belongs to one process, its owner, and has a fence: a number that counts its owners. In a directory the owner
// holds a lock, which the operating system frees when it dies, and another process takes the job over within a second.
// Where no lock tells, since the machines are others or the owner is stopped, the owner's lease does: it shows its sign
// anew all the time, and who sees that sign unchanged for as long as the lease is takes the job over (lease.go). So two
// processes may work on one job: one that was given up wrongly does not know it yet. But there is one end: whoever decides
// first how a job ends, its worker or who cancels it, has decided it.
//
//	<dir>/store                  the store's id
//	<dir>/processes/<process>    the sign of a process
//	<dir>/jobs/<id>/spec         what to do; written once, never changed
//	<dir>/jobs/<id>/owner.<n>    the owner with fence n; made once, by whoever is first
//	<dir>/jobs/<id>/status       how far it is; written by the owner, replaced atomically
//	<dir>/jobs/<id>/ended        how it ended; made once, by whoever is first
//	<dir>/jobs/<id>/log          lines for people; appended by the owner
//	<dir>/jobs/<id>/cancel       exists: the job is to be cancelled, as older versions say it
//	<dir>/jobs/<id>/abandoned    exists: the id is given up; made by any process
//	<dir>/jobs/<id>/lock         held by the owner
//
//	<prefix>/store               the store's id
//	<prefix>/processes/<process> the sign of a process
//	<prefix>/open/<id>           what to do; it is gone when the job has ended
//	<prefix>/jobs/<id>           all else of the job, replaced under the condition that nobody else has
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"runtime/debug"
	"sync"
	"time"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

// ErrUnknown is the answer for a job that was never submitted, or finished so long ago that it has been forgotten.
var ErrUnknown = errors.New("no such job")

// ErrAbandoned is the answer for an id that was given up.
var ErrAbandoned = errors.New("it was abandoned")

// ErrNewer is the answer for what a newer version of the plugin has stored in a way that this one does not know.
var ErrNewer = errors.New("a newer version of the plugin has stored it")

// Work does a job. A nil error makes the returned bytes the job's result. An error ends the job too: a *fault.Error as
// it says, anything else as a failure worth another try. When ctx is cancelled Work must return soon; why is in
// context.Cause.
type Work func(ctx context.Context, id string, spec []byte, report *Reporter) (result []byte, err error)

// Options of Open. Work is required, and Dir or Objects.
type Options struct {
	// Dir is the directory that jobs are kept in; it is made with mode 0700.
	Dir string
	// Objects are where jobs are kept in the place of Dir.
	Objects storage.Objects
	// Work does the jobs.
	Work Work
	// Concurrent is how many jobs this process runs at a time; the others wait. 0 means 1.
	Concurrent int
	// Slots, where it is not nil, has room for Concurrent jobs, and is shared with other stores of this process.
	Slots chan struct{}
	// Attempts is how many processes may die while they run one job before it is given up as the likely cause. 0 means 3.
	Attempts int
	// Stops is how many processes may stop in good order while they run one job before it is given up: a host that watches the
	// plugin's memory stops it so whenever the job takes too much. 0 means 30.
	Stops int
	// KeepFor is how long a finished job is remembered. 0 means a week.
	KeepFor time.Duration
	// KeepCount is how many finished jobs are remembered at most, the latest ones. 0 means 10000.
	KeepCount int
	// Lease is how long this process may give no sign of life before another takes its jobs over. 0 means 20 s.
	Lease time.Duration
	// Log takes what happens to jobs. nil means nowhere.
	Log *slog.Logger
}

// DefaultLease and DefaultStops are the Lease and the Stops of Options that name none.
const (
	DefaultLease = 20 * time.Second
	DefaultStops = 30
)

func (o *Options) setDefaults() {
	if o.Concurrent <= 0 {
		o.Concurrent = 1
	}
	if o.Slots == nil {
		o.Slots = make(chan struct{}, o.Concurrent)
	}
	if o.Attempts <= 0 {
		o.Attempts = 3
	}
	if o.Stops <= 0 {
		o.Stops = DefaultStops
	}
	if o.KeepFor <= 0 {
		o.KeepFor = 7 * 24 * time.Hour
	}
	if o.KeepCount <= 0 {
		o.KeepCount = 10_000
	}
	if o.Lease <= 0 {
		o.Lease = DefaultLease
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

const (
	// Finished jobs are forgotten lazily.
	pruneInterval = 10 * time.Minute
	// lastWords is how long a process that stops may take to hand a job over.
	lastWords = 5 * time.Second
	// patience is how long one look at a store may take.
	patience = 15 * time.Second
)

var (
	errCancelled = errors.New("cancelled")
	errClosing   = errors.New("the process is stopping")
)

// isLost says that an owner has no say in a job any more.
func isLost(err error) bool { return errors.Is(err, errLost) || errors.Is(err, errCancelled) }

// Store is one process's view of a store. It is safe for concurrent use.
type Store struct {
	options Options
	backend backend
	process string
	log     *slog.Logger
	slots   chan struct{}
	closing context.Context
	close   context.CancelCauseFunc
	working sync.WaitGroup
	// wake has the watch look now.
	wake chan struct{}

	// witness is the watch's.
	witness *witness

	mu sync.Mutex
	// mine are the jobs that this process owns.
	mine map[string]*owned
	// busy are those that it is about to own.
	busy map[string]int
	// finished remembers which directories need no look again.
	finished map[string]bool
	// beaten is when the last heartbeat that arrived was sent, needed since when there are jobs that it is for.
	beaten, needed time.Time
	beats          uint64
	// doubt says that it came late, so that others may have taken jobs over.
	doubt bool
}

// owned is a job of this process.
type owned struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	hold     hold
	reporter *Reporter
}

// Open starts to work on what the store holds. Close it to stop. What the store does not do is an error: one that is away,
// or may not be written to, or knows no conditional writes.
func Open(ctx context.Context, options Options) (*Store, error) {
	options.setDefaults()
	process := newName()
	var backend backend
	var err error
	if options.Objects != nil {
		backend, err = openBucket(ctx, options.Objects, process, options.Lease)
	} else {
		backend, err = openFolder(options.Dir, process, options.Lease, options.Log)
	}
	if err != nil {
		return nil, err
	}
	return start(ctx, options, process, backend)
}

func start(ctx context.Context, options Options, process string, backend backend) (*Store, error) {
	s := &Store{
		options:  options,
		backend:  backend,
		process:  process,
		log:      options.Log,
		slots:    options.Slots,
		wake:     make(chan struct{}, 1),
		witness:  newWitness(),
		mine:     map[string]*owned{},
		busy:     map[string]int{},
		finished: map[string]bool{},
	}
	if err := s.beat(ctx); err != nil {
		return nil, err
	}
	s.closing, s.close = context.WithCancelCause(context.Background())
	s.working.Go(s.watch)
	s.working.Go(s.live)
	return s, nil
}

// ID is the store's own name, which it keeps: processes with one ID share their jobs.
func (s *Store) ID() string { return s.backend.id() }

// Close stops this process's jobs without ending them: they stay unfinished for whoever has the store next.
// It returns when their work has stopped.
func (s *Store) Close() {
	s.mu.Lock()
	first := s.closing.Err() == nil
	s.close(errClosing)
	s.mu.Unlock()
	s.working.Wait()
	if first {
		ctx, cancel := s.afterClosing()
		defer cancel()
		if err := s.backend.leave(ctx); err != nil {
			s.log.Warn("cannot remove the sign of this process", "error", err)
		}
	}
}

func (s *Store) afterClosing() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(s.closing), lastWords)
}

var validID = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,127}$`)

// Submit makes a job, which starts at once or when one of the running ones ends. When it returns nil the job is stored.
// A second job of the same id is the first one: Submit changes nothing then. For an id that was given up the answer is ErrAbandoned.
func (s *Store) Submit(ctx context.Context, id string, spec []byte) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("%q cannot be a job's id", id)
	}
	if s.closing.Err() != nil {
		return errClosing
	}
	if err := s.Find(ctx, id); !errors.Is(err, ErrUnknown) {
		return err
	}
	s.mark(id, 1)
	defer s.mark(id, -1)
	status := Status{Format: format, State: Queued, Submitted: time.Now()}
	hold, err := s.backend.submit(ctx, id, spec, status)
	for try := 1; errors.Is(err, errTaken) && try < 3; try++ {
		if found := s.Find(ctx, id); !errors.Is(found, ErrUnknown) {
			return found // somebody was faster
		}
		hold, err = s.backend.submit(ctx, id, spec, status)
	}
	if err != nil {
		return fmt.Errorf("cannot store job %s: %w", id, err)
	}
	s.own(id, hold, status, "queued")
	return nil
}

// mark counts those who are about to own a job.
func (s *Store) mark(id string, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[id] += by; s.busy[id] == 0 {
		delete(s.busy, id)
	}
}

// Find says whether there is a job of an id, submitted by any process: nil, ErrUnknown or ErrAbandoned.
func (s *Store) Find(ctx context.Context, id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("job %q: %w", id, ErrUnknown)
	}
	return about(id, s.backend.find(ctx, id))
}

// Abandon gives an id up: a job of it is cancelled, and none can be submitted for as long as finished jobs are remembered.
func (s *Store) Abandon(ctx context.Context, id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("%q cannot be a job's id", id)
	}
	if err := s.backend.abandon(ctx, id); err != nil {
		return fmt.Errorf("cannot abandon job %s: %w", id, err)
	}
	s.interrupt(id)
	return nil
}

// Spec returns what a job is to do, or ErrUnknown. One that has ended may be unknown.
func (s *Store) Spec(ctx context.Context, id string) ([]byte, error) {
	if !validID.MatchString(id) {
		return nil, fmt.Errorf("job %q: %w", id, ErrUnknown)
	}
	spec, err := s.backend.spec(ctx, id)
	return spec, about(id, err)
}

// Status tells how far a job is, or ErrUnknown.
func (s *Store) Status(ctx context.Context, id string) (Status, error) {
	if !validID.MatchString(id) {
		return Status{}, fmt.Errorf("job %q: %w", id, ErrUnknown)
	}
	s.mu.Lock()
	job := s.mine[id]
	s.mu.Unlock()
	// Another process may have ended the job, or gone on with it while this one was stopped.
	if job != nil && job.ctx.Err() == nil {
		err := job.hold.verify(ctx)
		if err == nil {
			return job.reporter.snapshot(), nil
		}
		if !isLost(err) {
			return Status{}, about(id, err)
		}
		job.cancel(err)
	}
	status, err := s.backend.status(ctx, id)
	return status, about(id, err)
}

// Log returns a job's lines, oldest first, or ErrUnknown.
func (s *Store) Log(ctx context.Context, id string) ([]Line, error) {
	if !validID.MatchString(id) {
		return nil, fmt.Errorf("job %q: %w", id, ErrUnknown)
	}
	lines, err := s.backend.lines(ctx, id)
	return lines, about(id, err)
}

// Cancel ends a job that has not ended, whichever process runs it. A job that has ended, or is not known, is left as it is.
func (s *Store) Cancel(ctx context.Context, id string) error {
	if !validID.MatchString(id) {
		return nil
	}
	if err := s.backend.cancel(ctx, id); err != nil {
		return fmt.Errorf("cannot cancel job %s: %w", id, err)
	}
	s.interrupt(id)
	return nil
}

// interrupt stops the work on a job that was cancelled.
func (s *Store) interrupt(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if job := s.mine[id]; job != nil {
		job.cancel(errCancelled)
	}
}

func about(id string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("job %s: %w", id, err)
}

// live shows that this process lives, for as long as it has jobs.
func (s *Store) live() {
	tick := time.NewTicker(s.options.Lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-s.closing.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		needed := len(s.mine)+len(s.busy) > 0
		s.mu.Unlock()
		if !needed {
			continue
		}
		ctx, cancel := context.WithTimeout(s.closing, s.options.Lease/2)
		if err := s.beat(ctx); err != nil && s.closing.Err() == nil {
			s.log.Warn("cannot renew the lease on this process's jobs: another process may take them over", "error", err)
		}
		cancel()
	}
}

func (s *Store) beat(ctx context.Context) error {
	s.mu.Lock()
	s.beats++
	now := sign{Process: s.process, Beat: s.beats, Lease: s.options.Lease}
	s.mu.Unlock()
	sent := time.Now()
	if err := s.backend.beat(ctx, now); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mine) > 0 && time.Since(s.beaten) >= s.options.Lease && time.Since(s.needed) >= s.options.Lease {
		s.doubt = true
		s.lookNow()
	}
	s.beaten = sent
	return nil
}

// lookNow has the watch look at the jobs without waiting.
func (s *Store) lookNow() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// watch takes over jobs that nobody works on, and notices what other processes decide of this one's.
func (s *Store) watch() {
	quick, idle, _ := s.backend.pace()
	var pruned time.Time
	for {
		pause := idle
		if s.scan() {
			pause = quick
		}
		if time.Since(pruned) >= pruneInterval {
			pruned = time.Now()
			s.prune()
		}
		timer := time.NewTimer(pause)
		select {
		case <-s.closing.Done():
			timer.Stop()
			return
		case <-s.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// scan looks at each job that has not ended, and says whether there are any.
func (s *Store) scan() (some bool) {
	ctx, cancel := context.WithTimeout(s.closing, patience)
	defer cancel()
	ids, err := s.backend.open(ctx)
	if err != nil {
		if s.closing.Err() == nil {
			s.log.Error("cannot list the jobs", "error", err)
		}
		return true
	}
	listed := make(map[string]bool, len(ids))
	round := round{store: s, ctx: ctx, gone: map[string]bool{}}
	for _, id := range ids {
		listed[id] = true
		s.mu.Lock()
		settled := s.mine[id] != nil || s.busy[id] > 0 || s.finished[id]
		s.mu.Unlock()
		if !settled && s.closing.Err() == nil {
			round.adopt(id)
			some = some || !s.isFinished(id)
		}
	}
	s.witness.keep(round.gone)
	s.mu.Lock()
	for id := range s.finished {
		if !listed[id] {
			delete(s.finished, id)
		}
	}
	s.mu.Unlock()
	return s.checkMine(ctx, listed) || some
}

func (s *Store) isFinished(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished[id]
}

// checkMine stops the work on jobs that are not this process's any more. Those that are not listed, and all after a heartbeat that
// came late, are looked up.
func (s *Store) checkMine(ctx context.Context, listed map[string]bool) (some bool) {
	s.mu.Lock()
	mine, doubt := maps.Clone(s.mine), s.doubt
	s.doubt = false
	s.mu.Unlock()
	for id, job := range mine {
		err := job.hold.check()
		if err == nil && (doubt || !listed[id]) {
			err = job.hold.verify(ctx)
		}
		switch {
		case isLost(err):
			job.cancel(err)
		case err != nil && doubt:
			s.mu.Lock()
			s.doubt = true
			s.mu.Unlock()
		}
	}
	return len(mine) > 0
}

func (s *Store) prune() {
	ctx, cancel := context.WithTimeout(s.closing, pruneInterval)
	defer cancel()
	if err := s.backend.prune(ctx, s.options.KeepFor, s.options.KeepCount); err != nil && s.closing.Err() == nil {
		s.log.Warn("cannot forget finished jobs", "error", err)
	}
}

// round is one look at all jobs.
type round struct {
	store *Store
	ctx   context.Context
	// gone has the processes that own open jobs, and whether they are gone.
	gone map[string]bool
}

// adopt takes a job whose owner is gone.
func (r *round) adopt(id string) {
	s := r.store
	found, err := s.backend.look(r.ctx, id)
	if errors.Is(err, errEnded) {
		s.mu.Lock()
		s.finished[id] = true
		s.mu.Unlock()
		return
	}
	if err != nil {
		return // it is damaged, newer, or the store is away: polls say so
	}
	if !found.free() && !r.isGone(found.owner()) {
		found.leave()
		return
	}
	// Marked so that a call which makes the job now, and is not done, can be told from one that never ended.
	s.mu.Lock()
	settled := s.mine[id] != nil || s.busy[id] > 0
	if !settled {
		s.busy[id]++
	}
	s.mu.Unlock()
	if settled {
		found.leave()
		return
	}
	defer s.mark(id, -1)
	hold, status, err := found.take(r.ctx)
	if err != nil {
		if !isLost(err) && !errors.Is(err, errEnded) {
			s.log.Warn("cannot take a job over", "job", id, "error", err)
		}
		return
	}
	s.own(id, hold, status, "taken up again: the process that had it is gone")
}

// isGone says whether a process has shown no sign of life for its lease.
func (r *round) isGone(process string) bool {
	if process == "" {
		return false // only its lock tells of an older version's owner
	}
	if gone, known := r.gone[process]; known {
		return gone
	}
	from := time.Now()
	now, err := r.store.backend.sign(r.ctx, process)
	gone := false
	if err != nil {
		r.store.witness.blind(process)
	} else {
		gone = r.store.witness.looked(process, now, max(now.Lease, r.store.options.Lease), from, time.Now())
	}
	r.gone[process] = gone
	return gone
}

func (s *Store) own(id string, hold hold, status Status, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil || s.mine[id] != nil {
		hold.close()
		return
	}
	ctx, cancel := context.WithCancelCause(s.closing)
	job := &owned{ctx: ctx, cancel: cancel, hold: hold, reporter: newReporter(hold, status, s.log.With("job", id))}
	if len(s.mine) == 0 {
		s.needed = time.Now()
	}
	s.mine[id] = job
	job.reporter.Note("%s", why)
	if time.Since(s.beaten) >= s.options.Lease/4 {
		s.working.Go(s.beatOnce)
	}
	s.working.Go(func() {
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			cancel(nil)
			delete(s.mine, id)
			hold.close()
		}()
		s.run(ctx, id, job)
	})
}

// beatOnce renews the lease of a process that had no jobs for a while.
func (s *Store) beatOnce() {
	ctx, cancel := context.WithTimeout(s.closing, s.options.Lease/2)
	defer cancel()
	if err := s.beat(ctx); err != nil && s.closing.Err() == nil {
		s.log.Warn("cannot renew the lease on this process's jobs", "error", err)
	}
}

// run is the life of an owned job: wait, work, record the end.
func (s *Store) run(ctx context.Context, id string, job *owned) {
	_, _, interval := s.backend.pace()
	following, stop := context.WithCancel(ctx)
	var follower sync.WaitGroup
	follower.Go(func() { job.reporter.follow(following, interval, job.cancel) })
	var result []byte
	if err := job.hold.check(); isLost(err) {
		job.cancel(err)
	}
	err := s.wait(ctx, job.reporter)
	if err == nil {
		result, err = s.attempt(ctx, id, job)
		<-s.slots
	}
	stop()
	follower.Wait()
	switch {
	// A result that is there is kept, even if nobody wants to wait for it any more, unless somebody has said already that it is cancelled.
	case err == nil:
		s.end(ctx, job, Succeeded, "", result)
	case errors.Is(context.Cause(ctx), errCancelled):
		s.end(ctx, job, Cancelled, "", nil)
	case errors.Is(context.Cause(ctx), errLost):
		job.reporter.log.Warn("the job was taken over by another process, or has ended there: this one has no say in it any more")
	case errors.Is(context.Cause(ctx), errClosing):
		s.release(job)
	case fault.IsRetryable(err):
		s.end(ctx, job, Retryable, err.Error(), nil)
	default:
		s.end(ctx, job, Failed, err.Error(), nil)
	}
}

// end stores how the job ended. A store that is away for a while costs no result.
func (s *Store) end(ctx context.Context, job *owned, state State, message string, result []byte) {
	status := job.reporter.snapshot()
	status.State, status.Stage, status.Percent, status.Rows = state, "", 0, 0
	status.Message, status.Result, status.Finished = message, result, time.Now()
	if message == "" {
		job.reporter.Note("%s", state)
	} else {
		job.reporter.Note("%s: %s", state, message)
	}
	err := insist(s.closing, func() error {
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err := job.hold.end(try, status)
		if err != nil && !isLost(err) {
			job.reporter.log.Error("cannot store how the job ended: if that stays so, it will run again", "error", err)
		}
		return err
	})
	switch {
	case err == nil:
		job.reporter.set(status)
	case isLost(err):
		job.reporter.log.Info("the end of the job was decided elsewhere", "this_end", state)
	}
}

// insist tries until it works, or the job is lost, or ctx ends.
func insist(ctx context.Context, try func() error) error {
	const longest = 5 * time.Second
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, longest) {
		err := try()
		if err == nil || isLost(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// release gives an unfinished job back. Stopping in good order is no attempt, and counted apart.
func (s *Store) release(job *owned) {
	status := job.reporter.snapshot()
	if status.State == Running {
		status.Attempts--
		status.Stops++
	}
	status.State, status.Stage, status.Percent, status.Rows = Queued, "", 0, 0
	job.reporter.Note("stopped with the process; the next one takes it up")
	ctx, cancel := s.afterClosing()
	defer cancel()
	if err := job.hold.release(ctx, status); err != nil && !isLost(err) {
		job.reporter.log.Warn("cannot hand the job over: others take it when the lease of this process is over", "error", err)
	}
	job.reporter.set(status)
}

func (s *Store) wait(ctx context.Context, report *Reporter) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	report.Stage("waiting for one of %d running queries to end", cap(s.slots))
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) attempt(ctx context.Context, id string, job *owned) (result []byte, err error) {
	report := job.reporter
	status := report.snapshot()
	if n := status.Attempts; n >= s.options.Attempts {
		return nil, fault.Retryable("the plugin's process died %d times while it ran this query, so this attempt is given up: the query, or one that ran beside it, may need more memory than the plugin has (the plugin's config keys memory_limit and max_concurrent)", n)
	}
	if n := status.Stops; n >= s.options.Stops {
		return nil, fault.Retryable("the plugin was stopped %d times while it ran this query, so this attempt is given up: a host that restarts it for its memory says so in its log and status (the host's key sandbox.memory; the plugin's memory_limit, max_concurrent and max_stops)", n)
	}
	spec, err := job.hold.spec(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read what job %s is to do: %w", id, err)
	}
	status.State, status.Stage, status.Started = Running, "starting", time.Now()
	status.Attempts++
	err = insist(ctx, func() error {
		err := job.hold.write(ctx, status)
		if err != nil && !isLost(err) && ctx.Err() == nil {
			report.log.Error("cannot record the start of the job", "error", err)
		}
		return err
	})
	if err != nil {
		if isLost(err) {
			job.cancel(err)
		}
		return nil, fmt.Errorf("cannot record the start of job %s: %w", id, err)
	}
	report.set(status)
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a job panicked", "job", id, "panic", p, "stack", string(debug.Stack()))
			err = fault.Final("the plugin failed inside (a panic: %v); its log has the details", p)
		}
	}()
	return s.options.Work(ctx, id, spec, report)
}
