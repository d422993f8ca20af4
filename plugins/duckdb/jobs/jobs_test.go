package jobs_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/jobs"
)

// The test binary run with this variable is a process that works on the state directory it names.
const childVariable = "JOBS_TEST_STATE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// child begins every job, says so, and never ends one.
func child(dir string) {
	store, err := jobs.Open(context.Background(), jobs.Options{Dir: dir, Work: func(ctx context.Context, id string, _ []byte, _ *jobs.Reporter) ([]byte, error) {
		fmt.Println("began", id)
		<-ctx.Done()
		fmt.Println("told to stop", id, context.Cause(ctx))
		return nil, context.Cause(ctx)
	}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := store.Submit(context.Background(), lines.Text(), []byte("spec")); err != nil {
			fmt.Println(err)
		}
	}
	store.Close()
}

type process struct {
	t       *testing.T
	command *exec.Cmd
	in      io.WriteCloser
	lines   *bufio.Scanner
}

func startProcess(t *testing.T, dir string) *process {
	t.Helper()
	p := &process{t: t, command: exec.Command(os.Args[0])}
	p.command.Env = append(os.Environ(), childVariable+"="+dir)
	p.command.Stderr = os.Stderr
	var err error
	if p.in, err = p.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

func (p *process) says(want string) {
	p.t.Helper()
	if !p.lines.Scan() || p.lines.Text() != want {
		p.t.Fatalf("the process said %q (%v), want %q", p.lines.Text(), p.lines.Err(), want)
	}
}

func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}

func open(t *testing.T, dir string, work jobs.Work, change ...func(*jobs.Options)) *jobs.Store {
	t.Helper()
	options := jobs.Options{Dir: dir, Work: work, Concurrent: 2}
	for _, c := range change {
		c(&options)
	}
	store, err := jobs.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func submit(t *testing.T, store *jobs.Store, id, spec string) {
	t.Helper()
	if err := store.Submit(t.Context(), id, []byte(spec)); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until the job is as wanted.
func eventually(t *testing.T, store *jobs.Store, id string, wanted func(jobs.Status) bool) jobs.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := store.Status(t.Context(), id)
		if err == nil && wanted(status) {
			return status
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("job %s is still %+v, %v", id, status, err)
		}
	}
}

func ended(status jobs.Status) bool { return status.State.Ended() }

func in(state jobs.State) func(jobs.Status) bool {
	return func(status jobs.Status) bool { return status.State == state }
}

func echo(_ context.Context, id string, spec []byte, _ *jobs.Reporter) ([]byte, error) {
	return []byte(id + " did " + string(spec)), nil
}

// untilStopped works until it is told not to.
func untilStopped(ctx context.Context, _ string, _ []byte, _ *jobs.Reporter) ([]byte, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestAJobIsDoneAndRememberedByTheNextProcess(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir, echo)
	submit(t, store, "a", "this")
	status := eventually(t, store, "a", ended)
	if status.State != jobs.Succeeded || string(status.Result) != "a did this" || status.Attempts != 1 {
		t.Errorf("got %+v", status)
	}
	store.Close()

	again := open(t, dir, func(context.Context, string, []byte, *jobs.Reporter) ([]byte, error) {
		return nil, errors.New("a finished job was done again")
	})
	submit(t, again, "a", "that")
	if status := eventually(t, again, "a", ended); string(status.Result) != "a did this" {
		t.Errorf("got %+v", status)
	}
	lines, err := again.Log(t.Context(), "a")
	if err != nil || len(lines) != 2 || lines[0].Text != "queued" || lines[1].Text != "succeeded" || lines[0].Time.IsZero() {
		t.Errorf("its log is %+v, %v", lines, err)
	}
}

func TestTheSameIDIsOneJobHoweverOftenItIsSubmitted(t *testing.T) {
	var runs atomic.Int32
	store := open(t, t.TempDir(), func(context.Context, string, []byte, *jobs.Reporter) ([]byte, error) {
		runs.Add(1)
		return nil, nil
	})
	failures := make(chan error)
	for range 20 {
		go func() { failures <- store.Submit(t.Context(), "once", nil) }()
	}
	for range 20 {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	eventually(t, store, "once", ended)
	if n := runs.Load(); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

func TestErrorsEndAJobAsTheySay(t *testing.T) {
	store := open(t, t.TempDir(), func(_ context.Context, id string, _ []byte, _ *jobs.Reporter) ([]byte, error) {
		switch id {
		case "final":
			return nil, fault.Final("wrong %s", "SQL")
		case "retryable":
			return nil, fault.Retryable("storage away")
		case "panic":
			panic("oh")
		}
		return nil, errors.New("odd")
	})
	for id, want := range map[string]jobs.Status{
		"final":     {State: jobs.Failed, Message: "wrong SQL"},
		"retryable": {State: jobs.Retryable, Message: "storage away"},
		"odd":       {State: jobs.Retryable, Message: "odd"},
		"panic":     {State: jobs.Failed, Message: "the plugin failed inside (a panic: oh); its log has the details"},
	} {
		submit(t, store, id, "")
		if got := eventually(t, store, id, ended); got.State != want.State || got.Message != want.Message {
			t.Errorf("%s: got %+v", id, got)
		}
	}
}

func TestOnlySoManyRunAtATimeAndTheOthersSayThatTheyWait(t *testing.T) {
	release := make(chan struct{})
	store := open(t, t.TempDir(), func(ctx context.Context, _ string, _ []byte, _ *jobs.Reporter) ([]byte, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, nil
	})
	for _, id := range []string{"a", "b", "c"} {
		submit(t, store, id, "")
	}
	count := func(state jobs.State) (n int, stage string) {
		for _, id := range []string{"a", "b", "c"} {
			if status, err := store.Status(t.Context(), id); err == nil && status.State == state {
				n, stage = n+1, status.Stage
			}
		}
		return n, stage
	}
	eventually(t, store, "a", func(jobs.Status) bool {
		running, _ := count(jobs.Running)
		queued, stage := count(jobs.Queued)
		return running == 2 && queued == 1 && strings.Contains(stage, "waiting for one of 2")
	})
	close(release)
	for _, id := range []string{"a", "b", "c"} {
		eventually(t, store, id, in(jobs.Succeeded))
	}
}

func TestCancellingEndsAJobWhetherItRunsOrWaits(t *testing.T) {
	store := open(t, t.TempDir(), untilStopped, func(o *jobs.Options) { o.Concurrent = 1 })
	submit(t, store, "running", "")
	eventually(t, store, "running", in(jobs.Running))
	submit(t, store, "waiting", "")
	for _, id := range []string{"waiting", "running", "running", "unknown"} {
		if err := store.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"waiting", "running"} {
		if status := eventually(t, store, id, func(s jobs.Status) bool { return !s.Finished.IsZero() }); status.State != jobs.Cancelled {
			t.Errorf("%s: %+v", id, status)
		}
	}
}

func TestCancellingLeavesAFinishedJobAsItIs(t *testing.T) {
	store := open(t, t.TempDir(), echo)
	submit(t, store, "a", "x")
	eventually(t, store, "a", in(jobs.Succeeded))
	if err := store.Cancel(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if status := eventually(t, store, "a", ended); status.State != jobs.Succeeded {
		t.Errorf("got %+v", status)
	}
}

func TestUnknownJobsAreUnknown(t *testing.T) {
	store := open(t, t.TempDir(), echo)
	for _, id := range []string{"nothing", "", ".new-1", "../../etc", "a/b", strings.Repeat("x", 300)} {
		if _, err := store.Status(t.Context(), id); !errors.Is(err, jobs.ErrUnknown) {
			t.Errorf("Status(%q): %v", id, err)
		}
		if _, err := store.Log(t.Context(), id); !errors.Is(err, jobs.ErrUnknown) {
			t.Errorf("Log(%q): %v", id, err)
		}
		if err := store.Cancel(t.Context(), id); err != nil {
			t.Errorf("Cancel(%q): %v", id, err)
		}
	}
	if err := store.Submit(t.Context(), "../evil", nil); err == nil {
		t.Error("an id that leads out of the directory was taken")
	}
}

func TestAKilledProcessLosesNoJob(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, dir)
	fmt.Fprintln(p.in, "first")
	p.says("began first")
	fmt.Fprintln(p.in, "second") // waits, as only one runs at a time
	store := open(t, dir, echo)
	eventually(t, store, "second", in(jobs.Queued))
	// A job that another process has is answered for, and left alone.
	if status := eventually(t, store, "first", in(jobs.Running)); status.Attempts != 1 {
		t.Errorf("got %+v", status)
	}
	p.kill()
	for _, id := range []string{"first", "second"} {
		if status := eventually(t, store, id, ended); string(status.Result) != id+" did spec" {
			t.Errorf("got %+v", status)
		}
	}
	if status, _ := store.Status(t.Context(), "first"); status.Attempts != 2 {
		t.Errorf("got %+v", status)
	}
}

func TestAProcessThatStopsHandsItsJobsOver(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, dir)
	fmt.Fprintln(p.in, "a")
	p.says("began a")
	store := open(t, dir, echo)
	p.in.Close()
	p.says("told to stop a the process is stopping")
	if status := eventually(t, store, "a", ended); status.State != jobs.Succeeded || status.Attempts != 1 {
		t.Errorf("stopping in good order counted as a crash: %+v", status)
	}
}

func TestAnotherProcessCanCancelAJob(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, dir)
	fmt.Fprintln(p.in, "a")
	p.says("began a")
	store := open(t, dir, echo)
	if err := store.Cancel(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if status, err := store.Status(t.Context(), "a"); err != nil || status.State != jobs.Cancelled {
		t.Errorf("at once: %+v, %v", status, err)
	}
	p.says("told to stop a cancelled")
	eventually(t, store, "a", func(s jobs.Status) bool { return !s.Finished.IsZero() })
}

func TestAJobCancelledWhileNobodyRunsItNeverRuns(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, dir)
	fmt.Fprintln(p.in, "a")
	p.says("began a")
	p.kill()
	if err := os.WriteFile(filepath.Join(dir, "jobs", "a", "cancel"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	store := open(t, dir, func(context.Context, string, []byte, *jobs.Reporter) ([]byte, error) {
		return nil, errors.New("it ran")
	})
	if status := eventually(t, store, "a", func(s jobs.Status) bool { return !s.Finished.IsZero() }); status.State != jobs.Cancelled {
		t.Errorf("got %+v", status)
	}
}

func TestAJobThatKillsEveryProcessIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		p := startProcess(t, dir)
		if i == 0 {
			fmt.Fprintln(p.in, "deadly")
		}
		p.says("began deadly")
		p.kill()
	}
	store := open(t, dir, echo, func(o *jobs.Options) { o.Attempts = 2 })
	status := eventually(t, store, "deadly", ended)
	if status.State != jobs.Retryable || !strings.Contains(status.Message, "died 2 times") {
		t.Errorf("got %+v", status)
	}
}

// A host that watches the plugin's memory stops it in good order, for a query that takes too much each time.
func TestAJobUnderWhichTheProcessIsAlwaysStoppedIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		p := startProcess(t, dir)
		if i == 0 {
			fmt.Fprintln(p.in, "greedy")
		}
		p.says("began greedy")
		p.in.Close()
		p.says("told to stop greedy the process is stopping")
		_ = p.command.Wait()
	}
	store := open(t, dir, echo, func(o *jobs.Options) { o.Stops = 2 })
	status := eventually(t, store, "greedy", ended)
	if status.State != jobs.Retryable || !strings.Contains(status.Message, "was stopped 2 times") || status.Attempts != 0 {
		t.Errorf("got %+v", status)
	}
}

func TestOldAndSurplusFinishedJobsAreForgotten(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir, echo)
	for _, id := range []string{"a", "b", "c"} {
		submit(t, store, id, "")
		eventually(t, store, id, ended)
	}
	store.Close()
	// Each store prunes when it opens.
	few := open(t, dir, echo, func(o *jobs.Options) { o.KeepCount = 2 })
	waitForUnknown(t, few, "a")
	if _, err := few.Status(t.Context(), "b"); err != nil {
		t.Error(err)
	}
	few.Close()
	none := open(t, dir, echo, func(o *jobs.Options) { o.KeepFor = time.Nanosecond })
	waitForUnknown(t, none, "b")
	waitForUnknown(t, none, "c")
	none.Close()
	if left, _ := filepath.Glob(dir + "/jobs/*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func waitForUnknown(t *testing.T, store *jobs.Store, id string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if _, err := store.Status(t.Context(), id); errors.Is(err, jobs.ErrUnknown) {
			return
		}
	}
	t.Fatalf("job %s is still known", id)
}

func TestProgressAndStageAreSeenByEveryProcess(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir, func(ctx context.Context, _ string, _ []byte, report *jobs.Reporter) ([]byte, error) {
		report.Stage("half way to %s", "Oz")
		report.Progress(50, 7)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	other := open(t, dir, echo)
	submit(t, store, "a", "")
	eventually(t, store, "a", func(s jobs.Status) bool { return s.Stage == "half way to Oz" && s.Percent == 50 && s.Rows == 7 })
	eventually(t, other, "a", func(s jobs.Status) bool { return s.Stage == "half way to Oz" })
	if err := other.Cancel(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, store, "a", func(s jobs.Status) bool { return !s.Finished.IsZero() })
}

func TestADamagedJobHarmsNoOther(t *testing.T) {
	dir := t.TempDir()
	for id, content := range map[string]string{"torn": "{\"state\":", "empty": ""} {
		if err := os.MkdirAll(filepath.Join(dir, "jobs", id), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "jobs", id, "status"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := open(t, dir, echo)
	submit(t, store, "fine", "x")
	eventually(t, store, "fine", in(jobs.Succeeded))
	if _, err := store.Status(t.Context(), "torn"); err == nil || errors.Is(err, jobs.ErrUnknown) {
		t.Errorf("a torn status is reported as %v", err)
	}
}

func TestWhatIsOnDiskIsForItsOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir, echo)
	submit(t, store, "a", "private")
	eventually(t, store, "a", ended)
	err := filepath.WalkDir(filepath.Join(dir, "jobs"), func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	spec, err := os.ReadFile(filepath.Join(dir, "jobs", "a", "spec"))
	if err != nil || !bytes.Equal(spec, []byte("private")) {
		t.Errorf("its spec is %q, %v", spec, err)
	}
	if names, _ := os.ReadDir(filepath.Join(dir, "jobs", "a")); slices.ContainsFunc(names, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }) {
		t.Errorf("half-written files are left: %v", names)
	}
}

func TestADirectoryThatCannotBeUsedIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := jobs.Open(t.Context(), jobs.Options{Dir: file, Work: echo}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
}
