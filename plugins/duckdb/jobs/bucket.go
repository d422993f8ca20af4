package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

const (
	storeKey     = "store"
	processesKey = "processes/"
	openKey      = "open/"
	jobsKey      = "jobs/"
	probeKey     = "probes/"
)

// bucket keeps jobs as objects.
//
// All that changes of a job is one object, its record, and who replaces it does so under the condition that nobody has since
// he read it. So of all who end a job, or take it over, one does. What to do is an object of its own, which is there for as
// long as the job has not ended: listing those objects finds what is to be done.
type bucket struct {
	objects storage.Objects
	store   string
	process string
	// interval is how often to look for work of processes that are gone.
	interval time.Duration

	// What follows is the watch's. half are jobs that were found without a record, as one is that is being made; seen are others'
	// jobs, and absent their processes that give no sign.
	half   map[string]bool
	seen   map[string]seenJob
	absent map[string]bool
}

// seenJob is another process's job as it was. Its record is not read again for as long as that process gives signs: there may be
// thousands that wait for their turn.
type seenJob struct {
	*bucketTenancy
	at time.Time
}

const seenFor = time.Minute

// record is all that changes of a job.
type record struct {
	Format int `json:"format"`
	// Write names this content, so that who wrote it knows it again where the answer was lost.
	Write string `json:"write"`
	// Owner is the process that has the job, "" for none; Fence counts them.
	Owner     string `json:"owner,omitempty"`
	Fence     int    `json:"fence"`
	Abandoned bool   `json:"abandoned,omitempty"`
	Status    Status `json:"status"`
	Lines     []Line `json:"lines,omitempty"`
}

// task is what to do.
type task struct {
	Format int    `json:"format"`
	Spec   []byte `json:"spec"`
}

func openBucket(ctx context.Context, objects storage.Objects, process string, lease time.Duration) (*bucket, error) {
	b := &bucket{objects: objects, process: process, interval: min(2*time.Second, lease/8), half: map[string]bool{}, seen: map[string]seenJob{}, absent: map[string]bool{}}
	if err := b.probe(ctx); err != nil {
		return nil, fmt.Errorf("cannot keep jobs in %s: %w", objects, err)
	}
	if err := b.identify(ctx); err != nil {
		return nil, fmt.Errorf("cannot keep jobs in %s: %w", objects, err)
	}
	return b, nil
}

// probe makes sure that the store knows conditions: one that ignores them would let two processes have one job.
func (b *bucket) probe(ctx context.Context) error {
	key := probeKey + b.process
	version, err := b.objects.Put(ctx, key, []byte("1"), storage.None)
	if err != nil {
		return err
	}
	defer func() { _ = b.objects.Delete(context.WithoutCancel(ctx), key) }() // pruned later if need be
	if _, err := b.objects.Put(ctx, key, []byte("2"), storage.None); !errors.Is(err, storage.ErrChanged) {
		return ignoresConditions("If-None-Match", err)
	}
	if _, err := b.objects.Put(ctx, key, []byte("3"), version); err != nil {
		return fmt.Errorf("it does not replace an object of which it has named the version: %w", err)
	}
	if _, err := b.objects.Put(ctx, key, []byte("4"), version); !errors.Is(err, storage.ErrChanged) {
		return ignoresConditions("If-Match", err)
	}
	return nil
}

func ignoresConditions(which string, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("it ignores the condition of a write (%s), by which replicas agree on whose a job is: take a store that has conditional writes, or a shared volume", which)
}

// identify reads the store's id, which the first process makes.
func (b *bucket) identify(ctx context.Context) error {
	for {
		data, _, err := b.objects.Get(ctx, storeKey)
		if err == nil {
			var is identity
			if err := decode(storeKey, data, &is); err != nil {
				return err
			}
			if is.ID == "" {
				return fmt.Errorf("its object %s names no store", storeKey)
			}
			b.store = is.ID
			return nil
		}
		if !errors.Is(err, storage.ErrAbsent) {
			return err
		}
		if data, err = json.Marshal(identity{Format: format, ID: newName()}); err != nil {
			return err
		}
		if _, err := b.objects.Put(ctx, storeKey, data, storage.None); err != nil && !errors.Is(err, storage.ErrChanged) {
			return err
		}
	}
}

func (b *bucket) id() string { return b.store }

func (b *bucket) pace() (quick, idle, report time.Duration) {
	return b.interval, 5 * b.interval, 5 * time.Second
}

// read gets a job's record.
func (b *bucket) read(ctx context.Context, id string) (record, string, error) {
	data, version, err := b.objects.Get(ctx, jobsKey+id)
	if errors.Is(err, storage.ErrAbsent) {
		return record{}, "", ErrUnknown
	} else if err != nil {
		return record{}, "", err
	}
	var is record
	if err := decode("its record", data, &is); err != nil {
		return record{}, "", err
	}
	return is, version, nil
}

// replace writes a record in the place of a version. Where that is not the current one any more the answer is storage.ErrChanged,
// but for a write of which only the answer was lost.
func (b *bucket) replace(ctx context.Context, id string, to *record, version string) (string, error) {
	to.Format, to.Write = format, newName()
	data, err := json.Marshal(to)
	if err != nil {
		return "", err
	}
	written, err := b.objects.Put(ctx, jobsKey+id, data, version)
	if !errors.Is(err, storage.ErrChanged) {
		return written, err
	}
	now, version, readErr := b.read(ctx, id)
	if readErr == nil && now.Write == to.Write {
		return version, nil
	}
	if readErr != nil && !errors.Is(readErr, ErrUnknown) && !errors.Is(readErr, ErrNewer) {
		return "", readErr
	}
	return "", err
}

func (b *bucket) submit(ctx context.Context, id string, spec []byte, status Status) (hold, error) {
	data, err := json.Marshal(task{Format: format, Spec: spec})
	if err != nil {
		return nil, err
	}
	// First, so that no record is without it. Another that makes the same job has written the same.
	if _, err := b.objects.Put(ctx, openKey+id, data, storage.Any); err != nil {
		return nil, err
	}
	made := record{Owner: b.process, Fence: 1, Status: status}
	version, err := b.replace(ctx, id, &made, storage.None)
	if errors.Is(err, storage.ErrChanged) {
		// What is left open of a job that has ended meanwhile, the watch takes away.
		return nil, errTaken
	}
	if err != nil {
		return nil, err
	}
	return b.hold(id, made, version, spec), nil
}

func (b *bucket) find(ctx context.Context, id string) error {
	is, _, err := b.read(ctx, id)
	switch {
	case errors.Is(err, ErrNewer):
		return nil // there is one
	case err != nil:
		return err
	case is.Abandoned:
		return ErrAbandoned
	}
	return nil
}

func (b *bucket) abandon(ctx context.Context, id string) error {
	for {
		is, version, err := b.read(ctx, id)
		switch {
		case errors.Is(err, ErrUnknown):
			now := time.Now()
			is, version = record{Status: Status{Format: format, State: Cancelled, Submitted: now, Finished: now}}, storage.None
		case err != nil:
			return err
		case is.Abandoned:
			return nil
		case !is.Status.State.Ended():
			is.cancel()
		}
		is.Abandoned = true
		_, err = b.replace(ctx, id, &is, version)
		if errors.Is(err, storage.ErrChanged) {
			continue
		}
		if err != nil {
			return err
		}
		return b.settle(ctx, id)
	}
}

// cancel ends the job. What its owner notes of that is not stored any more.
func (r *record) cancel() {
	now := time.Now()
	r.Status.State, r.Status.Stage, r.Status.Percent, r.Status.Rows, r.Status.Finished = Cancelled, "", 0, 0, now
	r.Lines = append(r.Lines, Line{Time: now, Text: string(Cancelled)})
}

// settle says that there is nothing to do for a job any more.
func (b *bucket) settle(ctx context.Context, id string) error {
	return b.objects.Delete(ctx, openKey+id)
}

func (b *bucket) cancel(ctx context.Context, id string) error {
	for {
		is, version, err := b.read(ctx, id)
		if errors.Is(err, ErrUnknown) || err == nil && is.Status.State.Ended() {
			return nil
		}
		if err != nil {
			return err
		}
		is.cancel()
		_, err = b.replace(ctx, id, &is, version)
		if errors.Is(err, storage.ErrChanged) {
			continue
		}
		if err != nil {
			return err
		}
		return b.settle(ctx, id)
	}
}

func (b *bucket) spec(ctx context.Context, id string) ([]byte, error) {
	data, _, err := b.objects.Get(ctx, openKey+id)
	if errors.Is(err, storage.ErrAbsent) {
		return nil, ErrUnknown
	} else if err != nil {
		return nil, err
	}
	var is task
	if err := decode("what it is to do", data, &is); err != nil {
		return nil, err
	}
	return is.Spec, nil
}

func (b *bucket) status(ctx context.Context, id string) (Status, error) {
	is, _, err := b.read(ctx, id)
	return is.Status, err
}

func (b *bucket) lines(ctx context.Context, id string) ([]Line, error) {
	is, _, err := b.read(ctx, id)
	return is.Lines, err
}

func (b *bucket) open(ctx context.Context) ([]string, error) {
	entries, err := b.objects.List(ctx, openKey)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(entries))
	listed := make(map[string]bool, len(entries))
	for _, entry := range entries {
		if validID.MatchString(entry.Name) {
			ids = append(ids, entry.Name)
			listed[entry.Name] = true
		}
	}
	maps.DeleteFunc(b.seen, func(id string, _ seenJob) bool { return !listed[id] })
	maps.DeleteFunc(b.half, func(id string, _ bool) bool { return !listed[id] })
	return ids, nil
}

func (b *bucket) look(ctx context.Context, id string) (tenancy, error) {
	if known, ok := b.seen[id]; ok && !b.absent[known.owner()] && time.Since(known.at) < seenFor {
		return known.bucketTenancy, nil
	}
	delete(b.seen, id)
	is, version, err := b.read(ctx, id)
	switch {
	case errors.Is(err, ErrUnknown):
		return b.lookHalf(id)
	case err != nil:
		return nil, err
	case is.Status.State.Ended():
		if err := b.settle(ctx, id); err != nil {
			return nil, err
		}
		return nil, errEnded
	}
	delete(b.half, id)
	found := &bucketTenancy{bucket: b, id: id, record: is, version: version}
	if !found.free() {
		b.seen[id] = seenJob{found, time.Now()}
	}
	return found, nil
}

// lookHalf is for a job without a record. Who made it may be about to write that, or dead; seen twice, the job is anybody's: if he
// comes back he finds it taken, and that is no error.
func (b *bucket) lookHalf(id string) (tenancy, error) {
	if !b.half[id] {
		b.half[id] = true
		return nil, ErrUnknown
	}
	delete(b.half, id)
	now := time.Now()
	return &bucketTenancy{bucket: b, id: id, record: record{Status: Status{Format: format, State: Queued, Submitted: now}}, version: storage.None}, nil
}

type bucketTenancy struct {
	bucket  *bucket
	id      string
	record  record
	version string
}

func (t *bucketTenancy) owner() string { return t.record.Owner }

// free counts a job of this process too: it does not work on it, and has made it in a call that saw no answer.
func (t *bucketTenancy) free() bool {
	return t.record.Owner == "" || t.record.Owner == t.bucket.process
}

func (t *bucketTenancy) leave() {}

func (t *bucketTenancy) take(ctx context.Context) (hold, Status, error) {
	delete(t.bucket.seen, t.id)
	spec, err := t.bucket.spec(ctx, t.id)
	if errors.Is(err, ErrUnknown) {
		return nil, Status{}, errLost // it has ended
	} else if err != nil {
		return nil, Status{}, err
	}
	t.record.Owner, t.record.Fence = t.bucket.process, t.record.Fence+1
	version, err := t.bucket.replace(ctx, t.id, &t.record, t.version)
	if errors.Is(err, storage.ErrChanged) {
		return nil, Status{}, errLost
	}
	if err != nil {
		return nil, Status{}, err
	}
	return t.bucket.hold(t.id, t.record, version, spec), t.record.Status, nil
}

func (b *bucket) hold(id string, is record, version string, spec []byte) *bucketHold {
	return &bucketHold{bucket: b, id: id, task: spec, writing: make(chan struct{}, 1), version: version, record: is}
}

// bucketHold is a job whose record this process wrote last.
type bucketHold struct {
	bucket *bucket
	id     string
	task   []byte

	// writing has one who reads or writes the record, and waits for the store; it guards version.
	writing chan struct{}
	version string
	// mu guards what follows, and is never held for long.
	mu     sync.Mutex
	record record
	lost   error
}

func (h *bucketHold) enter(ctx context.Context) error {
	select {
	case h.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *bucketHold) leave() { <-h.writing }

func (h *bucketHold) fence() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.record.Fence
}

func (h *bucketHold) close() {}

func (h *bucketHold) spec(context.Context) ([]byte, error) { return h.task, nil }

// note keeps the line for the next write.
func (h *bucketHold) note(line Line) error {
	const most = 500
	h.mu.Lock()
	defer h.mu.Unlock()
	h.record.Lines = append(h.record.Lines, line)
	if surplus := len(h.record.Lines) - most; surplus > 0 {
		h.record.Lines = slices.Delete(h.record.Lines, 0, surplus)
	}
	return nil
}

func (h *bucketHold) write(ctx context.Context, status Status) error {
	return h.change(ctx, func(is *record) { is.Status = status })
}

func (h *bucketHold) end(ctx context.Context, status Status) error {
	if err := h.write(ctx, status); err != nil {
		return err
	}
	// It has ended. What is left to do if this fails, the watch does.
	_ = h.bucket.settle(ctx, h.id)
	return nil
}

func (h *bucketHold) release(ctx context.Context, status Status) error {
	return h.change(ctx, func(is *record) { is.Status, is.Owner = status, "" })
}

func (h *bucketHold) change(ctx context.Context, change func(*record)) error {
	if err := h.enter(ctx); err != nil {
		return err
	}
	defer h.leave()
	for {
		h.mu.Lock()
		next, lost := h.record, h.lost
		next.Lines = slices.Clone(next.Lines)
		h.mu.Unlock()
		if lost != nil {
			return lost
		}
		change(&next)
		version, err := h.bucket.replace(ctx, h.id, &next, h.version)
		if err == nil {
			h.version = version
			return nil
		}
		if !errors.Is(err, storage.ErrChanged) {
			return err
		}
		if err := h.whyLost(ctx); err != nil {
			return err
		}
		// It was this process itself, in a call that saw no answer.
	}
}

func (h *bucketHold) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

func (h *bucketHold) verify(ctx context.Context) error {
	if err := h.enter(ctx); err != nil {
		return err
	}
	defer h.leave()
	return h.whyLost(ctx)
}

// whyLost reads the record, and says whose it is. The caller holds writing.
func (h *bucketHold) whyLost(ctx context.Context) error {
	is, version, err := h.bucket.read(ctx, h.id)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case errors.Is(err, ErrUnknown), errors.Is(err, ErrNewer):
		h.lost = errLost
	case err != nil:
		return err
	case is.Status.State == Cancelled:
		h.lost = cmp.Or(h.lost, errCancelled)
	case is.Status.State.Ended(), is.Owner != h.bucket.process, is.Fence != h.record.Fence:
		h.lost = errLost
	default:
		h.version = version
	}
	return h.lost
}

func (b *bucket) beat(ctx context.Context, s sign) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = b.objects.Put(ctx, processesKey+b.process, data, storage.Any)
	return err
}

func (b *bucket) sign(ctx context.Context, process string) (sign, error) {
	data, _, err := b.objects.Get(ctx, processesKey+process)
	delete(b.absent, process)
	if errors.Is(err, storage.ErrAbsent) {
		b.absent[process] = true
		return sign{}, nil
	} else if err != nil {
		return sign{}, err
	}
	var s sign
	if err := json.Unmarshal(data, &s); err != nil {
		return sign{}, err
	}
	return s, nil
}

func (b *bucket) leave(ctx context.Context) error {
	return b.objects.Delete(ctx, processesKey+b.process)
}

// prune forgets finished jobs that are too old or too many, by the store's own clock. What was abandoned must not come back
// before its time, however many there are.
func (b *bucket) prune(ctx context.Context, keepFor time.Duration, keepCount int) error {
	now, err := b.now(ctx)
	if err != nil {
		return err
	}
	// In this order: a job that is listed was open before, and where it is not open after, it has ended.
	jobs, err := b.objects.List(ctx, jobsKey)
	if err != nil {
		return err
	}
	ids, err := b.open(ctx)
	if err != nil {
		return err
	}
	open := make(map[string]bool, len(ids))
	for _, id := range ids {
		open[id] = true
	}
	jobs = slices.DeleteFunc(jobs, func(e storage.Entry) bool { return open[e.Name] })
	slices.SortFunc(jobs, func(a, c storage.Entry) int {
		return cmp.Or(c.Modified.Compare(a.Modified), strings.Compare(a.Name, c.Name))
	})
	for i, job := range jobs {
		old := now.Sub(job.Modified) > keepFor
		if i < keepCount && !old {
			continue
		}
		if is, _, err := b.read(ctx, job.Name); !old && (err != nil || is.Abandoned) {
			continue
		}
		if err := b.objects.Delete(ctx, jobsKey+job.Name); err != nil {
			return err
		}
	}
	return b.forgetSigns(ctx, now)
}

// now is the time by the store's clock, since that of this machine may be wrong.
func (b *bucket) now(ctx context.Context) (time.Time, error) {
	key := probeKey + b.process
	if _, err := b.objects.Put(ctx, key, []byte("now"), storage.Any); err != nil {
		return time.Time{}, err
	}
	entries, err := b.objects.List(ctx, key)
	if err != nil {
		return time.Time{}, err
	}
	if err := b.objects.Delete(ctx, key); err != nil {
		return time.Time{}, err
	}
	if len(entries) != 1 {
		return time.Time{}, fmt.Errorf("%s does not list what was written to it", b.objects)
	}
	return entries[0].Modified, nil
}

func (b *bucket) forgetSigns(ctx context.Context, now time.Time) error {
	for _, prefix := range []string{processesKey, probeKey} {
		entries, err := b.objects.List(ctx, prefix)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if entry.Name == b.process || now.Sub(entry.Modified) < longGone {
				continue
			}
			if err := b.objects.Delete(ctx, prefix+entry.Name); err != nil {
				return err
			}
		}
	}
	return nil
}
