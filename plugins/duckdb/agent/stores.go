package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/jobs"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// stores are where jobs are.
type stores struct {
	// main takes new ones.
	main *jobs.Store
	// former is that of state_dir, where jobs are kept elsewhere now and were there: they go on. nil for none.
	former *jobs.Store
	// objects are what main keeps them in, where that is a bucket.
	objects *storage.Bucket
	// place says where main is.
	place     string
	elsewhere *absences
}

func openStores(ctx context.Context, config Config, store *storage.Storage, work jobs.Work) (*stores, error) {
	options := jobs.Options{
		Work:       work,
		Concurrent: config.MaxConcurrent,
		Slots:      make(chan struct{}, config.MaxConcurrent),
		Attempts:   config.MaxAttempts,
		Stops:      config.MaxStops,
		KeepFor:    config.Retention.MaxAge.Std(),
		KeepCount:  config.Retention.MaxJobs,
		Lease:      config.Lease.Std(),
		Log:        slog.Default(),
	}
	s := &stores{elsewhere: newAbsences(config.StoreGoneAfter.Std())}
	if config.Jobs == "" {
		return s, s.openFolder(ctx, options, "state_dir", config.StateDir)
	}
	location, err := storage.Parse(config.Jobs)
	if err != nil {
		return nil, sdk.ConfigError{Key: "jobs", Message: err.Error()}
	}
	if location.IsLocal() {
		err = s.openFolder(ctx, options, "jobs", location.Path)
	} else {
		err = s.openBucket(ctx, options, store, config.Jobs)
	}
	if err == nil && (!location.IsLocal() || location.Path != filepath.Clean(config.StateDir)) {
		err = s.openFormer(ctx, options, config.StateDir)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stores) openFolder(ctx context.Context, options jobs.Options, key, dir string) error {
	options.Dir = dir
	var err error
	if s.main, err = jobs.Open(ctx, options); err != nil {
		return sdk.ConfigError{Key: key, Message: err.Error()}
	}
	s.place = dir
	kind, err := storage.FileSystem(dir)
	if err != nil {
		return sdk.ConfigError{Key: key, Message: err.Error()}
	}
	switch {
	case kind.Shared:
		options.Log.Info("jobs are kept in a directory that machines may share: replicas of the host answer for each other's if it is one for all of them",
			"dir", dir, "store", s.main.ID())
	case kind.Passing:
		options.Log.Warn("jobs are kept in a directory that goes with the container or machine, and that no other replica of the host has: its jobs go too, and another replica cannot answer for them; several replicas need the config key jobs, one needs a volume",
			"dir", dir, "file_system", kind.Name, "store", s.main.ID())
	default:
		options.Log.Info("jobs are kept on this machine: a replica of the host elsewhere cannot answer for them; several replicas need the config key jobs",
			"dir", dir, "file_system", kind.Name, "store", s.main.ID())
	}
	return nil
}

func (s *stores) openBucket(ctx context.Context, options jobs.Options, store *storage.Storage, uri string) error {
	var err error
	if s.objects, err = store.Objects(ctx, uri); err != nil {
		return sdk.ConfigError{Key: "jobs", Message: err.Error()}
	}
	options.Objects, s.place = s.objects, uri
	s.main, err = jobs.Open(ctx, options)
	if away, ok := errors.AsType[*fault.Error](err); ok && away.Retryable {
		return sdk.Unavailable("jobs: %w", err)
	}
	if err != nil {
		return sdk.ConfigError{Key: "jobs", Message: err.Error()}
	}
	options.Log.Info("jobs are kept where all replicas of the host find them", "jobs", uri, "store", s.main.ID())
	return nil
}

// openFormer goes on with the jobs that state_dir has from before there was another store.
func (s *stores) openFormer(ctx context.Context, options jobs.Options, dir string) error {
	entries, err := os.ReadDir(filepath.Join(dir, "jobs"))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return sdk.ConfigError{Key: "state_dir", Message: err.Error()}
	}
	options.Dir = dir
	if s.former, err = jobs.Open(ctx, options); err != nil {
		return sdk.ConfigError{Key: "state_dir", Message: err.Error()}
	}
	options.Log.Info("the jobs that are in state_dir are gone on with, and forgotten by their age: new ones are made elsewhere", "dir", dir, "store", s.former.ID())
	return nil
}

func (s *stores) close() {
	for _, store := range s.all() {
		store.Close()
	}
	if s.objects != nil {
		if err := s.objects.Close(); err != nil {
			slog.Warn("cannot close the connections to the store of jobs", "error", err)
		}
	}
}

func (s *stores) all() []*jobs.Store {
	var all []*jobs.Store
	for _, store := range []*jobs.Store{s.main, s.former} {
		if store != nil {
			all = append(all, store)
		}
	}
	return all
}

// errElsewhere is about a job in a store that this plugin has not: another replica's, or one that is gone.
var errElsewhere = errors.New("it is in another store")

// isElsewhere tells that this process cannot know how a job is, and that another one may.
func isElsewhere(err error) bool {
	return errors.Is(err, errElsewhere) || errors.Is(err, jobs.ErrNewer)
}

// of is the store that a job is in.
func (s *stores) of(ctx context.Context, meta Meta) (*jobs.Store, error) {
	for _, store := range s.all() {
		if meta.Store == store.ID() {
			return store, nil
		}
	}
	if meta.Store != "" {
		return nil, fmt.Errorf("job %s: %w than this plugin's: it was made in %s, and this plugin has %s, in %s",
			meta.Job, errElsewhere, meta.Store, s.main.ID(), s.place)
	}
	// An older version's, which is in state_dir.
	if s.former != nil && !errors.Is(s.former.Find(ctx, meta.Job), jobs.ErrUnknown) {
		return s.former, nil
	}
	return s.main, nil
}

// jobOf is the attempt's job, or the one to make.
func (s *stores) jobOf(ctx context.Context, task *sdk.Task) (store *jobs.Store, id string, err error) {
	for _, store := range s.all() {
		former, ok, err := formerJob(ctx, store, task)
		if err != nil || ok {
			return store, former, err
		}
	}
	id = jobID(task.IdempotencyKey)
	if s.former != nil {
		if err := s.former.Find(ctx, id); !errors.Is(err, jobs.ErrUnknown) {
			return s.former, id, nil
		}
	}
	return s.main, id, nil
}

// formerJob finds the attempt's job where it was made under the former key, which other attempts could have too: they have
// other output prefixes.
func formerJob(ctx context.Context, store *jobs.Store, task *sdk.Task) (id string, found bool, err error) {
	key := task.FormerIdempotencyKey()
	if key == "" {
		return "", false, nil
	}
	id = jobID(key)
	data, err := store.Spec(ctx, id)
	if errors.Is(err, jobs.ErrUnknown) {
		return "", false, nil
	} else if err != nil {
		return "", false, sdk.Unavailable("%w", err)
	}
	var former spec
	if err := json.Unmarshal(data, &former); err != nil {
		return "", false, fmt.Errorf("job %s cannot be read back: %w", id, err)
	}
	return id, former.OutputPrefix == task.OutputPrefix, nil
}

// absences are the jobs that this process is asked about and cannot know.
//
// Such a job is RUNNING as far as Flyte hears, which is what a replica that does know it corrects. An error would count:
// Flyte forgives few in the life of a task, and the host ends a job that it hears only errors of. But somebody must end a
// job whose store is gone for good, and nobody knows that it is: so the time that it was asked for in vain decides.
type absences struct {
	goneAfter time.Duration

	mu    sync.Mutex
	since map[string]absence
	told  map[string]bool
}

type absence struct{ first, last time.Time }

func newAbsences(goneAfter time.Duration) *absences {
	return &absences{goneAfter: goneAfter, since: map[string]absence{}, told: map[string]bool{}}
}

// most bounds what is remembered of jobs that nobody asks about any more.
const most = 10_000

// asked counts the time since a job was asked for first.
func (a *absences) asked(job string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	is, known := a.since[job]
	if !known {
		is.first = now
		a.makeRoom()
	}
	is.last = now
	a.since[job] = is
	return now.Sub(is.first)
}

// makeRoom forgets the job that was not asked for for longest.
func (a *absences) makeRoom() {
	if len(a.since) < most {
		return
	}
	oldest, at := "", time.Time{}
	for job, is := range a.since {
		if oldest == "" || is.last.Before(at) {
			oldest, at = job, is.last
		}
	}
	delete(a.since, oldest)
}

// found says that a job can be known after all.
func (a *absences) found(job string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.since, job)
}

func (a *absences) isGone(job string) bool { return a.asked(job) >= a.goneAfter }

// answer is how a job is that this process cannot know.
func (a *absences) answer(job string, why error) *sdk.Resource {
	waited := a.asked(job)
	if waited >= a.goneAfter {
		return sdk.RetryableFailed(sdk.SystemError("JobStoreGone", fmt.Errorf(
			"no plugin that was asked for %s could reach where the job is kept, so it counts as lost (the plugin's config key store_gone_after): %w",
			waited.Round(time.Second), why))).WithInfo("job", job)
	}
	a.tell(why)
	return sdk.Running(fmt.Sprintf("this replica cannot tell how the job is, another may; asked in vain for %s, and given up after %s: %v",
		waited.Round(time.Second), a.goneAfter, why)).WithInfo("job", job)
}

// tell warns once of each reason.
func (a *absences) tell(why error) {
	_, reason, _ := strings.Cut(why.Error(), ": ")
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.told) > most || a.told[reason] {
		return
	}
	a.told[reason] = true
	slog.Warn("this plugin is asked about jobs that it cannot know: replicas of the host share them where the config key jobs says so", "error", why)
}
