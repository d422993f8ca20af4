package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/plugins/duckdb/jobs"
)

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestAnotherProcessFindsAJobAndMakesNone(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir, echo)
	for range 2 {
		wantError(t, "Find before Submit", store.Find(t.Context(), "a"), jobs.ErrUnknown)
	}
	p := startProcess(t, dir)
	fmt.Fprintln(p.in, "a")
	p.says("began a")
	wantError(t, "Find", store.Find(t.Context(), "a"), nil)
	if entries, err := os.ReadDir(filepath.Join(dir, "jobs")); err != nil || len(entries) != 1 {
		t.Errorf("the jobs are %v, %v, want one", entries, err)
	}
}

func TestAnAbandonedJobEndsWhichEverProcessRunsItAndComesNotBack(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, dir)
	fmt.Fprintln(p.in, "a")
	p.says("began a")
	store := open(t, dir, echo)
	for range 2 {
		wantError(t, "Abandon", store.Abandon(t.Context(), "a"), nil)
	}
	p.says("told to stop a cancelled")
	eventually(t, store, "a", in(jobs.Cancelled))
	wantError(t, "Find", store.Find(t.Context(), "a"), jobs.ErrAbandoned)
	wantError(t, "Submit", store.Submit(t.Context(), "a", nil), jobs.ErrAbandoned)
	fmt.Fprintln(p.in, "a")
	p.says("job a: it was abandoned")
}

func TestWhatWasAbandonedIsNeverDone(t *testing.T) {
	dir := t.TempDir()
	one := open(t, dir, func(_ context.Context, id string, _ []byte, _ *jobs.Reporter) ([]byte, error) {
		t.Errorf("job %s was done", id)
		return nil, nil
	})
	for range 2 {
		wantError(t, "Abandon", one.Abandon(t.Context(), "a"), nil)
	}
	p := startProcess(t, dir)
	fmt.Fprintln(p.in, "a")
	p.says("job a: it was abandoned")
	wantError(t, "Submit", one.Submit(t.Context(), "a", nil), jobs.ErrAbandoned)
	wantError(t, "Find", one.Find(t.Context(), "a"), jobs.ErrAbandoned)
	if status, err := one.Status(t.Context(), "a"); err != nil || status.State != jobs.Cancelled {
		t.Errorf("its status is %+v, %v: who knows nothing of Abandon must not wait for it", status, err)
	}
}

func TestAFinishedJobCanBeAbandonedAndStaysFinished(t *testing.T) {
	store := open(t, t.TempDir(), echo)
	submit(t, store, "a", "this")
	eventually(t, store, "a", ended)
	wantError(t, "Abandon", store.Abandon(t.Context(), "a"), nil)
	wantError(t, "Find", store.Find(t.Context(), "a"), jobs.ErrAbandoned)
	if status, err := store.Status(t.Context(), "a"); err != nil || string(status.Result) != "a did this" {
		t.Errorf("got %+v, %v", status, err)
	}
}

func TestSubmitAndAbandonMayMeetAtAnyPoint(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	began := map[string]bool{}
	work := func(ctx context.Context, id string, _ []byte, _ *jobs.Reporter) ([]byte, error) {
		mu.Lock()
		began[id] = true
		mu.Unlock()
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	const ids = 50
	many := func(options *jobs.Options) { options.Concurrent = ids }
	stores := []*jobs.Store{open(t, dir, work, many), open(t, dir, work, many)} // as two processes
	var calls sync.WaitGroup
	results := make([][]error, ids)
	for n := range ids {
		id := fmt.Sprint("job-", n)
		results[n] = make([]error, len(stores))
		for i, store := range stores {
			calls.Go(func() { results[n][i] = store.Submit(t.Context(), id, nil) })
			calls.Go(func() { wantError(t, "Abandon", store.Abandon(t.Context(), id), nil) })
		}
	}
	calls.Wait()
	for n := range ids {
		id := fmt.Sprint("job-", n)
		wantError(t, "Find", stores[0].Find(t.Context(), id), jobs.ErrAbandoned)
		submitted := false
		for _, err := range results[n] {
			submitted = submitted || err == nil
			if err != nil {
				wantError(t, "Submit", err, jobs.ErrAbandoned)
			}
		}
		eventually(t, stores[1], id, in(jobs.Cancelled))
		mu.Lock()
		if began[id] && !submitted {
			t.Errorf("job %s was begun, and no Submit succeeded", id)
		}
		mu.Unlock()
	}
}

// Retention is about finished jobs: how many there are beside it must not bring an abandoned one back.
func TestWhatWasAbandonedIsForgottenByItsAgeAlone(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir, echo)
	wantError(t, "Abandon", store.Abandon(t.Context(), "kept"), nil)
	wantError(t, "Abandon", store.Abandon(t.Context(), "old"), nil)
	for _, id := range []string{"a", "b"} {
		submit(t, store, id, "")
		eventually(t, store, id, ended)
	}
	store.Close()
	long := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "jobs", "old", "abandoned"), long, long); err != nil {
		t.Fatal(err)
	}
	status := filepath.Join(dir, "jobs", "old", "status")
	if err := os.Chtimes(status, long, long); err != nil {
		t.Fatal(err)
	}
	pruned := open(t, dir, echo, func(options *jobs.Options) { options.KeepFor, options.KeepCount = time.Hour, 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !errors.Is(pruned.Find(t.Context(), "old"), jobs.ErrUnknown) || pruned.Find(t.Context(), "a") == nil && pruned.Find(t.Context(), "b") == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("old: %v, a: %v, b: %v", pruned.Find(t.Context(), "old"), pruned.Find(t.Context(), "a"), pruned.Find(t.Context(), "b"))
		}
	}
	wantError(t, "Find", pruned.Find(t.Context(), "kept"), jobs.ErrAbandoned)
}
