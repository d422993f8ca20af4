package history

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/state"
	"github.com/agenthost/agenthost/test/wait"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("HISTORY_TEST_DIR"); path != "" {
		actAsHost(path)
	}
	goleak.VerifyTestMain(m)
}

// actAsHost is the test binary run again as a host that will be killed: it says that it has started, and then says more and more.
func actAsHost(path string) {
	dir, err := state.Open(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	h := Open(dir, "history/mine", nil, slog.New(slog.DiscardHandler))
	h.Add(Event{State: HostStarted, Cause: "to be killed"})
	for n := 1; ; n++ {
		h.Add(Event{Plugin: "a", State: "running", Cause: fmt.Sprint("for the time ", n)})
		if n == 100 {
			fmt.Println("started")
		}
		time.Sleep(time.Millisecond) // it is killed while it writes
	}
}

func stateDir(t *testing.T) *state.Dir {
	t.Helper()
	dir, err := state.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

func open(t *testing.T, dir *state.Dir) *History {
	t.Helper()
	h := Open(dir, "history/mine", nil, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { h.Close(time.Minute) })
	return h
}

// long is before all events.
var long = time.Unix(1, 0)

func all(t *testing.T, h *History, q Query) (events []Event) {
	t.Helper()
	if q.Since.IsZero() {
		q.Since = long
	}
	for e := range h.Events(t.Context(), q) {
		events = append(events, e)
	}
	return events
}

func states(events []Event) string {
	var states []string
	for _, e := range events {
		states = append(states, e.State)
	}
	return strings.Join(states, ", ")
}

func TestWhatHappenedIsKnownInTheNextLife(t *testing.T) {
	dir := stateDir(t)
	instance := 1
	e := Event{
		Time: time.Now().Round(0), Plugin: "duckdb", Generation: "3fa1b2c4d5e6", Instance: &instance, State: "restarting", Was: "running", Cause: "killed by <SIGKILL>", Seconds: 1.5,
		By: "process 7 of user 0", Changes: []config.Change{{Plugin: "duckdb", Action: config.Swapped, Keys: []string{"env.TOKEN"}, Files: []string{"/bin/duckdb"}}},
	}
	h := open(t, dir)
	h.Add(e)
	if got := all(t, h, Query{}); len(got) != 1 {
		t.Fatalf("at once it knows %+v", got)
	}
	h.Close(time.Minute)

	h = open(t, dir)
	e.Host, e.Seq = os.Getpid(), 1
	h.Add(Event{Plugin: "hello", State: "running"})
	got := all(t, h, Query{Plugin: "duckdb"})
	if diff := cmp.Diff([]Event{e}, got); diff != "" {
		t.Error(diff)
	}
	if got := states(all(t, h, Query{})); got != "restarting, running" {
		t.Errorf("of all plugins it knows %s", got)
	}
	if got := all(t, h, Query{Since: time.Now().Add(time.Hour)}); len(got) > 0 {
		t.Errorf("of what is to come it knows %+v", got)
	}
	if got := states(all(t, h, Query{Limit: 1})); got != "running" {
		t.Errorf("the last one is %s", got)
	}
	if info, err := os.Stat(dir.Path("history/mine/" + current)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
}

func TestAHostThatIsKilledLeavesItsEventsAndIsToldOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), "HISTORY_TEST_DIR="+path)
	said, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "started\n" {
		t.Errorf("it said %q: %v", line, err)
	}
	dir, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	beside := open(t, dir)
	if got := states(all(t, beside, Query{Plugin: ""})); strings.Contains(got, HostLost) {
		t.Error("a living host is told to be lost")
	}
	beside.Close(time.Minute)
	host.Process.Kill()
	host.Wait()

	h := open(t, dir)
	var lost, told []Event
	for _, e := range all(t, h, Query{}) {
		switch {
		case e.State == HostLost:
			lost = append(lost, e)
		case e.Plugin == "a":
			told = append(told, e)
		}
	}
	if len(lost) != 1 || lost[0].Host != host.Process.Pid || !strings.Contains(lost[0].Cause, HostStarted) {
		t.Errorf("the lost host is told of as %+v", lost)
	}
	if len(told) < 90 || told[len(told)-1].Cause != fmt.Sprint("for the time ", len(told)) {
		t.Errorf("%d of its events are left, the last one is %+v", len(told), told[max(0, len(told)-1):])
	}
	h.Close(time.Minute)
	if got := strings.Count(states(all(t, open(t, dir), Query{})), HostLost); got != 1 {
		t.Errorf("it is told %d times", got)
	}
}

func TestWhoFollowsMissesNothingAndSeesNothingTwice(t *testing.T) {
	h := open(t, stateDir(t))
	const events = 3000
	ahead := make(chan struct{}, readerBuffer/4) // no further than a reader may lag behind
	var adding sync.WaitGroup
	adding.Go(func() {
		for n := range events {
			ahead <- struct{}{}
			h.Add(Event{Plugin: "a", State: "running", Seconds: float64(n)})
			h.Add(Event{Plugin: "b", State: "running"})
		}
	})
	wait.Until(t, "there is a past", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.seq > 100 })
	next := 0.0
	for e := range h.Events(t.Context(), Query{Since: long, Plugin: "a", Follow: true}) {
		if e.Seconds != next {
			t.Fatalf("event %v follows %v", e.Seconds, next-1)
		}
		if next++; next == events {
			break
		}
		<-ahead
	}
	adding.Wait()
	if len(h.readers) > 0 {
		t.Errorf("%d readers are left", len(h.readers))
	}
}

func TestWhoFollowsComesToTheEndWithTheHost(t *testing.T) {
	h := open(t, nil)
	ended := make(chan []Event)
	go func() {
		var seen []Event
		for e := range h.Events(context.Background(), Query{Follow: true}) {
			seen = append(seen, e)
		}
		ended <- seen
	}()
	wait.Until(t, "it follows", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.readers) == 1 })
	h.Add(Event{State: HostStopped})
	h.Close(time.Minute)
	if seen := <-ended; states(seen) != HostStopped {
		t.Errorf("it has seen %v", seen)
	}
	h.Add(Event{State: "afterwards"}) // does no harm
	for range h.Events(t.Context(), Query{Follow: true}) {
		t.Error("there is something to follow after the end")
	}
}

func TestHostsThatShareTheHistoryKeepAllOfIt(t *testing.T) {
	dir := stateDir(t)
	hosts := []*History{open(t, dir), open(t, dir)}
	const each = 2000
	var writing sync.WaitGroup
	for n, h := range hosts {
		h.host = 1000 + n
		writing.Go(func() {
			for i := range each {
				h.Add(Event{Plugin: fmt.Sprint("of host ", n), State: "running", Cause: strings.Repeat("x", i%500)})
				if i%100 == 0 {
					wait.Until(t, "it is written", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.queue) == 0 })
				}
			}
		})
	}
	writing.Wait()
	for _, h := range hosts {
		h.Close(time.Minute)
	}
	h := open(t, dir)
	for n := range hosts {
		if got := len(all(t, h, Query{Plugin: fmt.Sprint("of host ", n)})); got != each {
			t.Errorf("of host %d there are %d events", n, got)
		}
	}
}

func TestItIsBounded(t *testing.T) {
	dir := stateDir(t)
	path := dir.Path("history/mine/" + current)
	h, beside := open(t, dir), open(t, dir)
	const events = 12_000
	for n := range events {
		e := Event{Plugin: "a", State: "running", Seconds: float64(n), Cause: strings.Repeat("words ", 200), By: strings.Repeat("b", 1000)}
		h.Add(e)
		if n%1000 == 0 {
			beside.Add(e)
			wait.Until(t, "it is written", func() bool {
				h.mu.Lock()
				defer h.mu.Unlock()
				return len(h.queue)+len(h.writing) == 0
			})
		}
	}
	h.Close(time.Minute)
	beside.Close(time.Minute)
	var size int64
	for _, name := range []string{current, former} {
		info, err := os.Stat(dir.Path("history/mine/" + name))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > MaxBytes+4<<20 { // a batch is written as a whole
		t.Errorf("%s and its like are %d bytes long", path, size)
	}
	got := all(t, open(t, dir), Query{})
	if len(got) < 2000 || len(got) > MaxEvents || got[len(got)-1].Seconds != events-1 {
		t.Errorf("it knows %d events, the last one is %+v", len(got), got[len(got)-1])
	}
	if cause := got[0].Cause; len(cause) > maxCause || len(got[0].By) > maxBy {
		t.Errorf("an event has a cause of %d bytes", len(cause))
	}
}

func TestALongEventIsCut(t *testing.T) {
	var changes []config.Change
	for n := range 1000 {
		changes = append(changes, config.Change{Plugin: fmt.Sprint("p", n), Action: config.Swapped, Keys: strings.Split(strings.Repeat("key ", 1000), " ")})
	}
	dir := stateDir(t)
	h := open(t, dir)
	h.Add(Event{State: Reloaded, Changes: changes})
	h.Add(Event{Plugin: "a", State: "running", Cause: strings.Repeat("ü\x01\xff", 5000)})
	h.Close(time.Minute)
	content, err := os.ReadFile(dir.Path("history/mine/" + current))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(content) {
		if len(line) > maxLine {
			t.Errorf("a line is %d bytes long", len(line))
		}
	}
	if got := states(all(t, open(t, dir), Query{})); got != Reloaded+", running" {
		t.Errorf("it reads %s", got)
	}
}

func TestABrokenFileIsPassedOverLineByLine(t *testing.T) {
	good := func(n int) string {
		line, err := json.Marshal(Event{Time: time.Unix(int64(n), 0), State: fmt.Sprint("good", n), Host: 1})
		if err != nil {
			t.Fatal(err)
		}
		return string(line) + "\n"
	}
	dir := stateDir(t)
	write := func(name, content string) {
		path := dir.Path("history/mine/" + name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(former, good(10)+"\x00\x00\x00\n{}\nnull\n[]\n"+good(11))
	write(current, "\n"+strings.Repeat("x", 3*maxLine)+"\n"+strings.Repeat(`{"changes":[`, 2000)+"\n"+good(12)+`{"time":"2026-11-29T10:00:00Z","state":1}`+"\n"+`{"time":"never","state":"x"}`+"\n"+good(13)+`{"time":"2026-11-29T10:0`)
	var log bytes.Buffer
	h := Open(dir, "history/mine", nil, slog.New(slog.NewTextHandler(&log, nil)))
	h.Add(Event{State: "new"})
	h.Close(time.Minute)
	if got := states(all(t, h, Query{})); got != "good10, good11, good12, good13, new" {
		t.Errorf("it reads %s", got)
	}
	all(t, h, Query{})
	if told := log.String(); strings.Count(told, "no events") != 2 { // once, of two files
		t.Errorf("it says: %s", told)
	}
	if info, err := os.Stat(dir.Path("history/mine/" + current)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v: %v", info.Mode(), err)
	}
}

func TestWhatIsNoFileOfAHostIsNeitherReadNorWritten(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(`{"time":"2026-11-29T10:00:00Z","state":"secret"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, make := range map[string]func(path string) error{
		"a link":   func(path string) error { return os.Symlink(secret, path) },
		"a pipe":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := stateDir(t)
			path := dir.Path("history/mine/" + current)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			h := open(t, dir)
			h.Add(Event{State: "running"})
			wait.Until(t, "it is lost", func() bool { lost, _ := h.Lost(); return lost == 1 })
			if _, why := h.Lost(); !strings.Contains(why, path) {
				t.Errorf("it says: %s", why)
			}
			if got := states(all(t, h, Query{})); got != "running" { // from memory
				t.Errorf("it knows %s", got)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			h.Add(Event{State: "running again"})
			wait.Until(t, "it is kept again", func() bool { _, why := h.Lost(); return why == "" })
			if got := states(all(t, h, Query{})); got != "running, running again" {
				t.Errorf("then it knows %s", got)
			}
		})
	}
	if content, err := os.ReadFile(secret); err != nil || bytes.Contains(content, []byte("running")) {
		t.Errorf("what the link led to is %q: %v", content, err)
	}
}

func TestADiskThatIsFullLosesEventsAndSaysSo(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		t.Fatalf("a file system of a test's own takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir, err := state.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var log bytes.Buffer
	h := Open(dir, "history/mine", nil, slog.New(slog.NewTextHandler(&log, nil)))
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 48<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		h.Add(Event{Plugin: "a", State: "running", Cause: strings.Repeat("x", 900)})
		wait.Until(t, "it is written or lost", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.queue)+len(h.writing) == 0 })
		if lost, _ := h.Lost(); lost > 0 {
			break
		}
		if n > 100 {
			t.Fatal("a full disk takes all of it")
		}
	}
	if _, why := h.Lost(); !strings.Contains(why, "no space left on device") || !strings.Contains(why, disk) {
		t.Errorf("it says: %s", why)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.Add(Event{Plugin: "b", State: "running"})
	wait.Until(t, "it is kept again", func() bool { _, why := h.Lost(); return why == "" })
	h.Close(time.Minute)
	if got := all(t, open(t, dir), Query{Plugin: "b"}); len(got) != 1 { // the line before it is torn
		t.Errorf("of b it knows %+v", got)
	}
	if told := log.String(); strings.Count(told, "events are lost") != 1 || strings.Count(told, "kept in the history again") != 1 {
		t.Errorf("the log: %s", told)
	}
}

func TestASecretIsTakenOut(t *testing.T) {
	dir := stateDir(t)
	h := Open(dir, "history/mine", func(text string) string { return strings.ReplaceAll(text, "hunter2", "***") }, slog.New(slog.DiscardHandler))
	h.Add(Event{State: "failed", Cause: "password hunter2 is wrong"})
	h.Close(time.Minute)
	if content, err := os.ReadFile(dir.Path("history/mine/" + current)); err != nil || bytes.Contains(content, []byte("hunter2")) || !bytes.Contains(content, []byte("***")) {
		t.Errorf("it keeps %s: %v", content, err)
	}
}

// FuzzRead holds that no bytes of a file make the reader fail or give what cannot be given on.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-29T10:00:00Z","plugin":"a","state":"running","seconds":1}` + "\n"))
	f.Add([]byte(`{"time":"2026-11-29T10:00:00+23:59","plugin":"a","state":"x","changes":[{"action":"swapped","keys":["a"]}],"instance":-1,"host":1e3}` + "\n\n{"))
	f.Add([]byte("\x00\xff\n" + strings.Repeat("[", 20000) + "\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		count := 0
		refused, err := readEvents(bytes.NewReader(content), Query{Limit: 10}, func(e Event) {
			count++
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatalf("%+v cannot be given on: %v", e, err)
			}
			if len(e.Cause) > maxCause || len(e.Changes) > maxChanges {
				t.Fatalf("%+v is too long", e)
			}
			if again, known := decode(line, time.Time{}); !known || !again.Time.Equal(e.Time) || again.State != e.State && strings.ToValidUTF8(e.State, "\ufffd") == e.State {
				t.Fatalf("%s is read as %+v", line, again)
			}
		})
		if err != nil || count+refused > bytes.Count(content, []byte("\n")) {
			t.Fatalf("%d events, %d refused: %v", count, refused, err)
		}
	})
}

func TestWhatWasBeforeIsLeftOut(t *testing.T) {
	var content bytes.Buffer
	encoder := json.NewEncoder(&content)
	for n := range 10_000 {
		if err := encoder.Encode(Event{Time: long.Add(time.Duration(n) * time.Second), State: "running"}); err != nil {
			t.Fatal(err)
		}
	}
	since, count := long.Add(9_990*time.Second), 0
	if refused, err := readEvents(&content, Query{Since: since}, func(Event) { count++ }); err != nil || refused > 0 || count != 10 {
		t.Errorf("%d events, %d refused: %v", count, refused, err)
	}
}
