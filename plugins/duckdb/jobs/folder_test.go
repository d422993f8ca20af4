package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const shortLease = time.Second

// onMachine opens a store on a volume that machines share: this process is on one of them, and its locks are nobody else's.
func onMachine(t *testing.T, machine, dir string, quiet *atomic.Bool, work Work) *Store {
	t.Helper()
	options := Options{Dir: dir, Work: work, Lease: shortLease}
	options.setDefaults()
	process := newName()
	kept, err := openFolder(dir, process, options.Lease, options.Log)
	if err != nil {
		t.Fatal(err)
	}
	kept.machine, kept.local = machine, false
	store, err := start(t.Context(), options, process, mute{kept, quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

// mute is a backend whose signs do not arrive when it is quiet.
type mute struct {
	backend
	quiet *atomic.Bool
}

func (m mute) beat(ctx context.Context, s sign) error {
	if m.quiet != nil && m.quiet.Load() {
		return errors.New("cut off")
	}
	return m.backend.beat(ctx, s)
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func result(text string) Work {
	return func(context.Context, string, []byte, *Reporter) ([]byte, error) { return []byte(text), nil }
}

// Locks of a machine bind nobody on another, on a volume without locks: there the lease alone tells who lives.
func TestOnASharedVolumeAJobIsTakenOverWhenItsLeaseIsOver(t *testing.T) {
	dir := t.TempDir()
	began := make(chan int, 2)
	var quiet atomic.Bool
	one := onMachine(t, "one", dir, &quiet, func(ctx context.Context, _ string, _ []byte, report *Reporter) ([]byte, error) {
		began <- report.Run()
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	if err := one.Submit(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	<-began
	// What holds the lock is on the other machine, as far as this one can know.
	one.mu.Lock()
	held := one.mine["a"].hold.(*folderHold)
	one.mu.Unlock()
	held.lock.Close()
	began2 := make(chan int, 1)
	other := onMachine(t, "other", dir, nil, func(_ context.Context, _ string, _ []byte, report *Reporter) ([]byte, error) {
		began2 <- report.Run()
		return []byte("other's"), nil
	})
	// It lives, and keeps the job for several leases.
	for end := time.Now().Add(3 * shortLease); time.Now().Before(end); time.Sleep(shortLease / 10) {
		if status, err := other.Status(t.Context(), "a"); err != nil || status.State != Running || status.Attempts != 1 {
			t.Fatalf("while its owner lives the job is %+v, %v", status, err)
		}
	}
	// It gives signs no more, as a machine that is cut off.
	quiet.Store(true)
	if run := <-began2; run != 2 {
		t.Errorf("it is run %d", run)
	}
	until(t, "both know how it ended", func() bool {
		for _, store := range []*Store{one, other} {
			if status, err := store.Status(t.Context(), "a"); err != nil || string(status.Result) != "other's" {
				return false
			}
		}
		return true
	})
}

func TestAnOwnerThatIsTakenForDeadDecidesNothingAnyMore(t *testing.T) {
	dir := t.TempDir()
	goOn := make(chan struct{})
	one := onMachine(t, "one", dir, nil, func(context.Context, string, []byte, *Reporter) ([]byte, error) {
		<-goOn
		return []byte("the first's"), nil
	})
	if err := one.Submit(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	other := onMachine(t, "other", dir, nil, result("the second's"))
	// The second believes that the first is gone.
	kept, err := openFolder(dir, other.process, shortLease, other.log) // what it looks with itself is its watch's
	if err != nil {
		t.Fatal(err)
	}
	kept.machine, kept.local = "other", false
	tenant, err := kept.look(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if tenant.free() || tenant.owner() != one.process {
		t.Fatalf("%+v", tenant)
	}
	hold, status, err := tenant.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other.own("a", hold, status, "taken in the test")
	until(t, "it ends", func() bool { s, err := other.Status(t.Context(), "a"); return err == nil && s.State == Succeeded })
	close(goOn)
	one.Close()
	for _, name := range []string{endedFile, statusFile} {
		data, err := os.ReadFile(filepath.Join(dir, jobsDir, "a", name))
		if err != nil || !strings.Contains(string(data), "dGhlIHNlY29uZCdz") { // "the second's"
			t.Errorf("%s holds %s, %v", name, data, err)
		}
	}
}

// However an owner's word on how far it is and another's on how it ended cross, older versions find the end.
func TestAnEndIsNotWrittenOver(t *testing.T) {
	const rounds = 100
	dir := t.TempDir()
	f, err := openFolder(dir, "one", shortLease, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for i := range rounds {
		id := fmt.Sprintf("job%d", i)
		held, err := f.submit(t.Context(), id, nil, Status{Format: format, State: Queued})
		if err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			if err := held.write(t.Context(), Status{Format: format, State: Running}); err != nil && !isLost(err) {
				t.Error(err)
			}
		})
		both.Go(func() {
			if err := f.cancel(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		held.close()
		ended, err := os.ReadFile(filepath.Join(f.path(id), endedFile))
		if err != nil {
			t.Fatal(err)
		}
		if status, err := os.ReadFile(filepath.Join(f.path(id), statusFile)); err != nil || !bytes.Equal(status, ended) {
			t.Fatalf("round %d: status holds %s, %v; ended %s", i, status, err, ended)
		}
	}
}

// What a newer version has stored is neither run nor ended by this one, and known to be there.
func TestJobsOfANewerFormatAreLeftAlone(t *testing.T) {
	dir, objects := t.TempDir(), newMemory()
	inDir := filepath.Join(dir, jobsDir, "a")
	if err := os.MkdirAll(inDir, 0o700); err != nil {
		t.Fatal(err)
	}
	newer := []byte(`{"format":2,"state":{"what":"this version cannot know"}}`)
	if err := os.WriteFile(filepath.Join(inDir, statusFile), newer, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"jobs/a", "open/a"} {
		if _, err := objects.Put(t.Context(), key, newer, "*"); err != nil {
			t.Fatal(err)
		}
	}
	for what, options := range map[string]Options{"a directory": {Dir: dir}, "a bucket": {Objects: objects}} {
		options.Lease = shortLease
		options.Work = func(_ context.Context, id string, _ []byte, _ *Reporter) ([]byte, error) {
			if id == "a" {
				t.Errorf("%s: it was run", what)
			}
			return nil, nil
		}
		store, err := Open(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Submit(t.Context(), "b", nil); err != nil { // it is run: the scan gets past the other one
			t.Fatal(err)
		}
		until(t, "another job runs", func() bool { s, err := store.Status(t.Context(), "b"); return err == nil && s.State == Succeeded })
		if _, err := store.Status(t.Context(), "a"); !errors.Is(err, ErrNewer) {
			t.Errorf("%s: Status gave %v", what, err)
		}
		if err := store.Cancel(t.Context(), "a"); !errors.Is(err, ErrNewer) {
			t.Errorf("%s: Cancel gave %v", what, err)
		}
		if err := store.Find(t.Context(), "a"); err != nil {
			t.Errorf("%s: Find gave %v", what, err)
		}
		if err := store.Submit(t.Context(), "a", nil); err != nil {
			t.Errorf("%s: Submit gave %v", what, err)
		}
		store.Close()
	}
	if data, err := os.ReadFile(filepath.Join(inDir, statusFile)); err != nil || string(data) != string(newer) {
		t.Errorf("the status is %s, %v", data, err)
	}
	for name, of := range map[string]func() (*Store, error){
		"a directory": func() (*Store, error) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, storeFile), newer, 0o600); err != nil {
				return nil, err
			}
			return Open(t.Context(), Options{Dir: dir})
		},
		"a bucket": func() (*Store, error) {
			objects := newMemory()
			_, err := objects.Put(t.Context(), storeKey, newer, "*")
			if err != nil {
				return nil, err
			}
			return Open(t.Context(), Options{Objects: objects})
		},
	} {
		if _, err := of(); !errors.Is(err, ErrNewer) {
			t.Errorf("%s that is newer as a whole: %v", name, err)
		}
	}
}

// As the version before has left it: no owner, no format, no store.
func TestJobsOfTheVersionBeforeAreGoneOnWith(t *testing.T) {
	dir := t.TempDir()
	for id, files := range map[string]map[string]string{
		"running":   {specFile: "x", statusFile: `{"state":"running","attempts":1,"submitted":"2026-01-01T00:00:00Z"}`, lockFile: ""},
		"cancelled": {specFile: "x", statusFile: `{"state":"running","attempts":1}`, lockFile: "", cancelFile: ""},
		"done":      {specFile: "x", statusFile: `{"state":"succeeded","result":"b2xk"}`, lockFile: ""},
	} {
		at := filepath.Join(dir, jobsDir, id)
		if err := os.MkdirAll(at, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(at, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	store, err := Open(t.Context(), Options{Dir: dir, Work: result("new")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for id, want := range map[string]Status{"running": {State: Succeeded, Result: []byte("new")}, "cancelled": {State: Cancelled}, "done": {State: Succeeded, Result: []byte("old")}} {
		until(t, id+" is as it should be", func() bool {
			status, err := store.Status(t.Context(), id)
			return err == nil && status.State == want.State && string(status.Result) == string(want.Result)
		})
	}
	until(t, "the version before finds the end where it looks", func() bool {
		data, err := os.ReadFile(filepath.Join(dir, jobsDir, "running", statusFile))
		return err == nil && strings.Contains(string(data), `"succeeded"`)
	})
	until(t, "the cancelled one ends for all", func() bool {
		_, err := os.Stat(filepath.Join(dir, jobsDir, "cancelled", endedFile))
		return err == nil
	})
}

func TestAStoreKeepsItsID(t *testing.T) {
	dir, objects := t.TempDir(), newMemory()
	ids := map[string]bool{}
	for range 2 {
		for _, options := range []Options{{Dir: dir}, {Objects: objects}} {
			store, err := Open(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			ids[store.ID()] = true
			store.Close()
		}
	}
	if len(ids) != 2 || ids[""] {
		t.Errorf("two stores have the ids %v", ids)
	}
	if left, err := os.ReadDir(filepath.Join(dir, processesDir)); err != nil || len(left) > 0 {
		t.Errorf("signs of processes that ended in good order are left: %v, %v", left, err)
	}
}

// A clock that is wrong by years forgets nothing.
func TestWhatIsForgottenGoesByTheStoresClock(t *testing.T) {
	objects := newMemory()
	store, err := Open(t.Context(), Options{Objects: objects, Work: result("it"), KeepFor: time.Hour, KeepCount: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, id := range []string{"a", "b", "c"} {
		if err := store.Submit(t.Context(), id, nil); err != nil {
			t.Fatal(err)
		}
		until(t, id+" ends", func() bool { s, err := store.Status(t.Context(), id); return err == nil && s.State == Succeeded })
	}
	if err := store.Abandon(t.Context(), "given-up"); err != nil {
		t.Fatal(err)
	}
	until(t, "nothing is open", func() bool { return len(objects.keys(openKey)) == 0 })
	objects.mu.Lock()
	for key, is := range objects.objects {
		if strings.HasPrefix(key, jobsKey) {
			is.modified = is.modified.Add(-time.Minute) // all by the store's clock, which is not this machine's
			if key == jobsKey+"b" {
				is.modified = is.modified.Add(-2 * time.Hour)
			}
			objects.objects[key] = is
		}
	}
	objects.mu.Unlock()
	store.prune()
	if left := strings.Join(objects.keys(jobsKey), " "); left != "jobs/c jobs/given-up" && left != "jobs/a jobs/c jobs/given-up" {
		t.Errorf("left are %s", left)
	}
}
