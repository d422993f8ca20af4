package jobstore_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/sdk/go/jobstore"
)

type job struct {
	Count int    `json:"count"`
	By    string `json:"by,omitempty"`
}

func open(t *testing.T, dir string) *jobstore.Store[job] {
	t.Helper()
	store, err := jobstore.Open[job](dir)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestAJobOutlivesWhoMadeIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	for _, id := range []string{"a", "..", ".hidden", "a/b", "ä b%", strings.Repeat("f", 64)} {
		if kept, added, err := open(t, dir).Add(id, job{Count: 1}); err != nil || !added || kept.Count != 1 {
			t.Fatalf("%q: %+v, %v, %v", id, kept, added, err)
		}
		if kept, added, err := open(t, dir).Add(id, job{Count: 2}); err != nil || added || kept.Count != 1 {
			t.Errorf("%q a second time: %+v, %v, %v", id, kept, added, err)
		}
		changed, err := open(t, dir).Update(id, func(j *job) error { j.Count++; return nil })
		if err != nil || changed.Count != 2 {
			t.Errorf("%q: %+v, %v", id, changed, err)
		}
		if got, err := open(t, dir).Get(id); err != nil || got.Count != 2 {
			t.Errorf("%q: %+v, %v", id, got, err)
		}
	}
	jobs, err := open(t, dir).Jobs()
	if ids := slices.Sorted(maps.Keys(jobs)); err != nil || fmt.Sprintf("%q", ids) != fmt.Sprintf("%q", []string{"..", ".hidden", "a", "a/b", strings.Repeat("f", 64), "ä b%"}) {
		t.Errorf("jobs are %q, %v", ids, err)
	}
	for id := range jobs {
		for range 2 {
			if err := open(t, dir).Delete(id); err != nil {
				t.Error(err)
			}
		}
		if _, err := open(t, dir).Get(id); status.Code(err) != codes.NotFound {
			t.Errorf("%q after its deletion: %v", id, err)
		}
	}
	if outside, err := filepath.Glob(filepath.Join(dir, "..", "*")); err != nil || len(outside) != 1 {
		t.Errorf("beside the folder there are %q, %v", outside, err)
	}
}

func TestAFailedChangeChangesNothing(t *testing.T) {
	store := open(t, t.TempDir())
	if err := store.Put("a", job{Count: 1}); err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	if _, err := store.Update("a", func(j *job) error { j.Count = 9; return no }); !errors.Is(err, no) {
		t.Error(err)
	}
	if got, err := store.Get("a"); err != nil || got.Count != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := store.Update("b", func(*job) error { return nil }); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
}

func TestWhatIsNoJobOfThisVersionIsRefusedByItsFile(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	if err := store.Put("good", job{Count: 1}); err != nil {
		t.Fatal(err)
	}
	for id, c := range map[string]struct{ text, says string }{
		"newer": {`{"format":2,"job":{}}`, "has format 2, and this version of the plugin reads up to 1"},
		"half":  {`{"format":1,"jo`, "is not the file of a job"},
		"empty": {``, "is not the file of a job"},
		"other": {`{"count":1}`, "is not the file of a job"},
		"type":  {`{"format":1,"job":{"count":"many"}}`, "has a job of another type"},
	} {
		path := filepath.Join(dir, id+".json")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := store.Get(id)
		_, listing := store.Jobs()
		for _, err := range []error{err, listing} {
			if err == nil || !strings.Contains(err.Error(), path+" "+c.says) {
				t.Errorf("%s: %v", id, err)
			}
		}
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s: %v", id, err)
		}
		if _, added, err := store.Add(id, job{}); added || err == nil {
			t.Errorf("%s is overwritten", id)
		}
	}
	if jobs, _ := store.Jobs(); len(jobs) != 1 || jobs["good"].Count != 1 {
		t.Errorf("jobs are %v", jobs)
	}
	for _, id := range []string{"", strings.Repeat("x", 251)} {
		if err := store.Put(id, job{}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("id %q: %v", id, err)
		}
	}
}

func TestWhatAProcessLeftHalfWrittenIsNoJobAndIsRemoved(t *testing.T) {
	dir := t.TempDir()
	old, fresh := filepath.Join(dir, ".new-1"), filepath.Join(dir, ".new-2")
	for _, left := range []string{old, fresh} {
		if err := os.WriteFile(left, []byte(`{"for`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	if jobs, err := open(t, dir).Jobs(); err != nil || len(jobs) != 0 {
		t.Errorf("jobs are %v, %v", jobs, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".new-*")); err != nil || len(left) != 1 || left[0] != fresh {
		t.Errorf("left are %q, %v", left, err)
	}
}

const storeVariable = "JOBSTORE_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(storeVariable); dir != "" {
		if err := count(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const counts = 50

// count is what each of several processes does to one job.
func count(dir string) error {
	store, err := jobstore.Open[job](dir)
	if err != nil {
		return err
	}
	for range counts {
		if _, _, err := store.Add("a", job{}); err != nil {
			return err
		}
		if _, err := store.Update("a", func(j *job) error { j.Count++; return nil }); err != nil {
			return err
		}
	}
	return nil
}

func TestNoChangeOfAnyProcessIsLost(t *testing.T) {
	dir := t.TempDir()
	var running sync.WaitGroup
	for range 3 {
		running.Go(func() {
			process := exec.Command(os.Args[0])
			process.Env = append(os.Environ(), storeVariable+"="+dir)
			if said, err := process.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, said)
			}
		})
		running.Go(func() {
			if err := count(dir); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	if got, err := open(t, dir).Get("a"); err != nil || got.Count != 6*counts {
		t.Errorf("%+v, %v", got, err)
	}
}
