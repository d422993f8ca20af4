package record

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/host/state"
)

// machine is a state directory that hosts share.
type machine struct {
	path string
	log  bytes.Buffer
}

func (m *machine) open(t *testing.T) (*state.Dir, *Intents) {
	t.Helper()
	dir, err := state.Open(m.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	intents, err := OpenIntents(dir, slog.New(slog.NewTextHandler(&m.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return dir, intents
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	return &machine{path: filepath.Join(t.TempDir(), "state")}
}

func TestAnIntentIsReadAsItWasWrittenLast(t *testing.T) {
	_, intents := newMachine(t).open(t)
	for _, want := range []Intent{
		{Stage: Accepted, Record: []byte("record")},
		{Stage: Sent, Record: []byte("record")},
		{Stage: Done, Record: []byte("record"), Meta: []byte("job"), Generation: "g1"},
		{Stage: Ended, Record: []byte("record"), End: []byte("end")},
	} {
		if err := intents.Put("id", want); err != nil {
			t.Fatal(err)
		}
		got, err := intents.Get("id")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	if err := intents.Remove("id"); err != nil {
		t.Fatal(err)
	}
	if _, err := intents.Get("id"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed, and still there: %v", err)
	}
}

func TestIntentsAreTakenOverFromTheDeadAndNotFromTheLiving(t *testing.T) {
	m := newMachine(t)
	_, first := m.open(t)
	if err := first.Put("id", Intent{Stage: Sent, Record: []byte("record")}); err != nil {
		t.Fatal(err)
	}
	_, second := m.open(t)
	if _, err := second.Get("id"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("taken over from a host that lives: %v", err)
	}
	if err := first.Close(); err != nil { // it is dead
		t.Fatal(err)
	}
	if got, err := second.Get("id"); err != nil || got.Stage != Sent {
		t.Errorf("a host that was there before: %+v, %v", got, err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	dir, third := m.open(t)
	if got, err := third.Get("id"); err != nil || got.Stage != Sent {
		t.Errorf("a host that comes later: %+v, %v", got, err)
	}
	if folders, err := dir.List(intentsFolder); err != nil || len(folders) != 1 {
		t.Errorf("folders of the dead are left: %v, %v", folders, err)
	}
}

// A host of before must start on what a newer one has left, and lose nothing of it.
func TestWhatCannotBeTakenOverStaysAndKeepsNoHostFromStarting(t *testing.T) {
	m := newMachine(t)
	dir, first := m.open(t)
	for id, err := range map[string]error{
		"sound": first.Put("sound", Intent{Stage: Accepted, Record: []byte("record")}),
		"newer": dir.Write(first.path("newer"), intentFormat+1, []byte("whatever")),
	} {
		if err != nil {
			t.Fatal(id, err)
		}
	}
	if err := os.WriteFile(dir.Path(first.path("garbage")), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	_, second := m.open(t)
	if said := m.log.String(); !strings.Contains(said, "was written by a newer host") || !strings.Contains(said, "is not a file that a host wrote") {
		t.Errorf("the log says %s", said)
	}
	if got, err := second.Get("sound"); err != nil || got.Stage != Accepted {
		t.Errorf("what is sound: %+v, %v", got, err)
	}
	newer := (*state.NewerError)(nil)
	if _, err := second.Get("newer"); !errors.As(err, &newer) {
		t.Errorf("what is newer: %v", err)
	}
	for _, id := range []string{"newer", "garbage"} {
		if _, err := os.Stat(dir.Path(first.path(id))); err != nil {
			t.Errorf("%s is gone: %v", id, err)
		}
	}
}

func TestOldIntentsAreForgottenWhenTheyAreTakenOver(t *testing.T) {
	m := newMachine(t)
	dir, first := m.open(t)
	now := time.Now()
	for id, at := range map[string]struct {
		stage Stage
		at    time.Time
	}{
		"running for weeks": {Done, now.Add(-intentMemory + time.Hour)}, "of last year": {Done, now.Add(-intentMemory - time.Hour)},
		"just ended": {Ended, now.Add(-endedMemory + time.Hour)}, "long ended": {Ended, now.Add(-endedMemory - time.Hour)},
	} {
		if err := dir.Write(first.path(id), intentFormat, Intent{Stage: at.stage, Record: []byte("record")}.encode(at.at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	_, second := m.open(t)
	for id, there := range map[string]bool{"running for weeks": true, "of last year": false, "just ended": true, "long ended": false} {
		if _, err := second.Get(id); (err == nil) != there {
			t.Errorf("%s: %v", id, err)
		}
	}
}
