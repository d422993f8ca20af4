// Package privatedir makes directories that nobody else can reach into, and locks them.
//
// The lock is on the directory itself (flock), not on a file in it: it cannot be lost while the directory is there, and
// systemd-tmpfiles passes over a directory that is locked, with all below it.
package privatedir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Make makes sure that dir is there, that it is this user's own and that nobody else can enter it. What is missing above it
// is made as private: it may be the directory that another call is for. what is what messages
// call it, such as "the base of run directories".
func Make(what, dir string) error { return makePrivate(what, dir, 0o077) }

// MakePassable is Make for a directory that others may pass through, to what they know the name of, but not list.
func MakePassable(what, dir string) error { return makePrivate(what, dir, 0o066) }

func makePrivate(what, dir string, others fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("cannot make %s: %w", what, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make %s: %w", what, err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("cannot look at %s: %w", what, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s %s is a %s, not a directory: remove it or choose another", what, dir, kindOf(info.Mode()))
	case ok && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("%s %s belongs to user %d, not to user %d who runs this: choose another", what, dir, stat.Uid, os.Geteuid())
	case info.Mode().Perm()&others != 0:
		return fmt.Errorf("%s %s can be entered by others (mode %04o): chmod 0700 it or choose another", what, dir, info.Mode().Perm())
	}
	return nil
}

func kindOf(mode fs.FileMode) string {
	if mode&fs.ModeSymlink != 0 {
		return "symbolic link"
	}
	return "file"
}

// ErrHeld says that somebody else holds the lock.
var ErrHeld = errors.New("it is locked by another process")

// Lock is a lock on a directory or a file, held until Close or the end of the process.
type Lock struct {
	path string
	file *os.File
}

// TryLock locks the directory at path for itself alone; ErrHeld: somebody else holds it.
func TryLock(path string) (*Lock, error) {
	return tryLock(path, os.O_RDONLY|unix.O_DIRECTORY)
}

// TryLockFile locks the file at path for itself alone, and makes it where it does not exist; ErrHeld: somebody else holds
// it. It is for those who know no other lock.
func TryLockFile(path string) (*Lock, error) {
	return tryLock(path, os.O_RDONLY|os.O_CREATE)
}

func tryLock(path string, flags int) (*Lock, error) {
	for {
		file, err := os.OpenFile(path, flags|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		l := &Lock{path: path, file: file}
		err = l.flock(unix.LOCK_EX)
		if err == nil && l.Stands() {
			return l, nil
		}
		file.Close()
		if err != nil {
			return nil, err
		}
		// It was replaced between the two calls: what is there now is another.
	}
}

// Share lets others hold the lock too, by TryShare; before it the lock must be held alone.
func (l *Lock) Share() error { return l.flock(unix.LOCK_SH) }

// TryShare locks the directory at path together with others that share it; ErrHeld: somebody holds it alone.
func TryShare(path string) (*Lock, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	l := &Lock{path: path, file: dir}
	if err := l.flock(unix.LOCK_SH); err != nil {
		dir.Close()
		return nil, err
	}
	return l, nil
}

func (l *Lock) flock(how int) error {
	for {
		err := unix.Flock(int(l.file.Fd()), how|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrHeld
		case err != nil:
			return fmt.Errorf("cannot lock %s: %w", l.path, err)
		default:
			return nil
		}
	}
}

// Stands says whether what is locked is still the one at its path.
func (l *Lock) Stands() bool {
	held, err := l.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(l.path)
	return err == nil && os.SameFile(held, there)
}

// Close gives the lock up.
func (l *Lock) Close() error { return l.file.Close() }
