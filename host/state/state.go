// Package state is the directory for what must outlive a host: files that are written whole or not at all.
//
//	dir, err := state.Open("/var/lib/agenthost/state")
//	err = dir.Write("keys/create", 1, key)              // 1: the format of what is written
//	key, format, err := dir.Read("keys/create", 1)      // 1: the newest format that this host knows
//
// Hosts may share the directory: replicas on one machine do, and so do the old and the new host during an upgrade. Each
// finds a file as one of them wrote it, never half of it. What only one of them may act on, it locks: see [Dir.Lock].
package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/privatedir"
)

const (
	// header leads each file, before the number of its format and a newline.
	header = "agenthost-state "
	// unfinished leads the names of files that are being written.
	unfinished = ".new-"
)

// Dir is an open state directory. Its methods may be called from any goroutine. Names of files are relative, with a
// slash between a folder and what is in it; folders are made as they are needed.
type Dir struct {
	path string

	mu   sync.Mutex       // guards what follows
	lock *privatedir.Lock // shared, for as long as the directory is open
}

// Open opens the state directory at path, which is made where it does not exist; where it does, it must be this user's
// own, and nobody else's to enter. What a host that was killed left half written is removed.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s as the state directory: %w", path, err)
	}
	d := &Dir{path: path}
	if err := d.open(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Dir) open() error {
	if err := privatedir.Make("the state directory", d.path); err != nil {
		return err
	}
	lock, err := privatedir.TryLock(d.path)
	switch {
	case err == nil: // no other host has it open, so nobody is writing
		err = errors.Join(d.sweep(), lock.Share())
	case errors.Is(err, privatedir.ErrHeld):
		lock, err = shareSoon(d.path)
	}
	if err != nil {
		return fmt.Errorf("cannot open the state directory %s: %w", d.path, err)
	}
	d.lock = lock
	return nil
}

// shareSoon shares a lock that is held alone for no longer than a sweep takes.
func shareSoon(path string) (lock *privatedir.Lock, err error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if lock, err = privatedir.TryShare(path); !errors.Is(err, privatedir.ErrHeld) || time.Now().After(deadline) {
			return lock, err
		}
	}
}

// sweep removes what was never finished. It needs the lock alone.
func (d *Dir) sweep() error {
	return filepath.WalkDir(d.path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && strings.HasPrefix(entry.Name(), unfinished) {
			err = os.Remove(path)
		}
		return err
	})
}

// Close lets go of the directory; what is in it stays.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lock.Close()
}

// Path is where a file is, for messages; "" is the directory itself.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

// Write puts a file in the place of the one with this name, if there is one, with mode 0600. When it returns without an
// error the file is on the disk; until then, and after an error, there is what was there before.
func (d *Dir) Write(name string, format int, data []byte) error {
	err := d.write(name, append(fmt.Appendf(nil, "%s%d\n", header, format), data...))
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", d.Path(name), err)
	}
	return nil
}

func (d *Dir) write(name string, content []byte) error {
	if err := check(name); err != nil {
		return err
	}
	path := d.Path(name)
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	next, err := os.CreateTemp(folder, unfinished)
	if err != nil {
		return err
	}
	_, err = next.Write(content)
	if err == nil {
		err = next.Sync()
	}
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return syncDir(folder)
}

// Read gives a file and the format in which it was written. Without such a file the error is fs.ErrNotExist; where the
// format is newer than newest, the error is a [NewerError].
func (d *Dir) Read(name string, newest int) (data []byte, format int, err error) {
	if err := check(name); err != nil {
		return nil, 0, err
	}
	content, err := os.ReadFile(d.Path(name))
	if err != nil {
		return nil, 0, err
	}
	first, data, whole := bytes.Cut(content, []byte{'\n'})
	number, known := strings.CutPrefix(string(first), header)
	format, err = strconv.Atoi(number)
	if !whole || !known || err != nil {
		return nil, 0, fmt.Errorf("%s is not a file that a host wrote: its first line is not %q and a number", d.Path(name), header)
	}
	if format > newest {
		return nil, format, &NewerError{Path: d.Path(name), Format: format, Newest: newest}
	}
	return data, format, nil
}

// ReadOwn reads a file of a state directory that is not open, which a host of this user has written, or one of root; path is where it is.
func ReadOwn(dir, name string, newest int) (data []byte, path string, err error) {
	d := &Dir{path: dir}
	path = d.Path(name)
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return nil, path, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if user := os.Geteuid(); int(info.Uid) != user && info.Uid != 0 || info.Mode&0o022 != 0 {
		return nil, path, fmt.Errorf("%s is not believed: it belongs to user %d and has mode %04o", path, info.Uid, info.Mode&0o777)
	}
	data, _, err = d.Read(name, newest)
	return data, path, err
}

// NewerError says that a newer host wrote a file in a format that this host does not know.
type NewerError struct {
	Path           string
	Format, Newest int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s was written by a newer host: it has format %d, and this one reads up to %d", e.Path, e.Format, e.Newest)
}

// Remove removes a file, or a folder with all in it. What is not there is no error.
func (d *Dir) Remove(name string) error {
	if err := check(name); err != nil {
		return err
	}
	path := d.Path(name)
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// List gives the names of what is in a folder ("": the directory itself), sorted: files, and folders with a slash at their
// end. A folder that is not there is an empty one.
func (d *Dir) List(folder string) ([]string, error) {
	if folder != "" {
		if err := check(folder); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(d.Path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		switch {
		case entry.IsDir():
			names = append(names, entry.Name()+"/")
		case entry.Type().IsRegular() && !strings.HasPrefix(entry.Name(), unfinished):
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// ErrLocked says that another living host holds a lock.
var ErrLocked = privatedir.ErrHeld

// Lock makes a folder this host's own until unlock is called or the process ends, however it does: a host that gets the
// lock of a folder which it did not make knows that the host that made it is dead. ErrLocked: another one holds it.
func (d *Dir) Lock(folder string) (unlock func() error, err error) {
	if err := check(folder); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(d.Path(folder), 0o700); err != nil {
		return nil, err
	}
	lock, err := privatedir.TryLock(d.Path(folder))
	if err != nil {
		return nil, err
	}
	return lock.Close, nil
}

// Keep keeps the directory from being taken for forgotten by those who clean up after others: all in it gets the present
// as its times. Where the directory itself is gone it is made anew.
func (d *Dir) Keep() error {
	if err := d.remake(); err != nil {
		return err
	}
	now := time.Now()
	return filepath.WalkDir(d.path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			if info, statErr := entry.Info(); statErr == nil && info.Mode().Perm()&0o200 == 0 {
				return fs.SkipDir // a plugin's, which nobody may write to, and whose times tell that nobody has
			}
		}
		if err == nil && (entry.IsDir() || entry.Type().IsRegular()) {
			err = os.Chtimes(path, now, now)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another host has removed it meanwhile
		}
		return err
	})
}

// remake makes the directory anew where it is gone.
func (d *Dir) remake() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock.Stands() {
		return nil
	}
	gone := d.lock
	if err := d.open(); err != nil {
		return err
	}
	return gone.Close()
}

func check(name string) error {
	if !filepath.IsLocal(filepath.FromSlash(name)) || strings.HasPrefix(filepath.Base(name), unfinished) {
		return fmt.Errorf("%q is no name for a file in the state directory", name)
	}
	return nil
}

// syncDir makes the names in a folder last.
func syncDir(folder string) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // some file systems cannot
		return err
	}
	return nil
}
