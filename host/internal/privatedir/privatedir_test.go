package privatedir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/agenthost/agenthost/host/internal/privatedir"
)

func lock(t *testing.T, path string) *privatedir.Lock {
	t.Helper()
	l, err := privatedir.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestALockIsOnOneDirectoryWhateverTakesItsPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	if err := privatedir.Make("the directory", path); err != nil {
		t.Fatal(err)
	}
	first := lock(t, path)
	if _, err := privatedir.TryLock(path); !errors.Is(err, privatedir.ErrHeld) {
		t.Errorf("it is locked twice: %v", err)
	}
	if _, err := privatedir.TryShare(path); !errors.Is(err, privatedir.ErrHeld) {
		t.Errorf("it is shared with one who wants it alone: %v", err)
	}
	if !first.Stands() {
		t.Error("the lock does not stand where nothing has changed")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if first.Stands() {
		t.Error("the lock stands on a directory that is gone")
	}
	if _, err := privatedir.TryLock(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is gone is locked: %v", err)
	}
	if err := privatedir.Make("the directory", path); err != nil {
		t.Fatal(err)
	}
	if first.Stands() {
		t.Error("the lock stands on another directory")
	}
	if second := lock(t, path); !second.Stands() {
		t.Error("the new directory's lock does not stand")
	}
}

func TestALockThatIsSharedKeepsOutWhoWantsItAlone(t *testing.T) {
	path := t.TempDir()
	first := lock(t, path)
	if err := first.Share(); err != nil {
		t.Fatal(err)
	}
	second, err := privatedir.TryShare(path)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	if _, err := privatedir.TryLock(path); !errors.Is(err, privatedir.ErrHeld) {
		t.Errorf("it is locked alone beside one who shares it: %v", err)
	}
	second.Close()
	lock(t, path)
}

func TestALinkInTheDirectorysPlaceIsNotFollowed(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if l, err := privatedir.TryLock(link); err == nil {
		l.Close()
		t.Error("it locked what a link leads to")
	}
}
