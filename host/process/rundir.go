package process

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/internal/privatedir"
)

const (
	// maxSocketPath is what sockaddr_un holds, without the final zero.
	maxSocketPath = 107
	// socketRoom is kept below a run directory for the name of a socket and its slash: go-plugin's Go side takes 17
	// ("/plugin" and ten digits), other languages may take more.
	socketRoom = 30
	// dirRoom is for a run directory's number and its slash.
	dirRoom = 7
	// lockWait bounds the wait for another host that is just starting or stopping on the same base directory.
	lockWait = 10 * time.Second

	lockName = "lock"
)

// RunRoot is one host's private directory, with a subdirectory for each process that it runs: sockets, secrets and
// whatever else must not be seen by others and must not outlive the host.
//
// Several hosts may share a base directory. Each locks its own root for as long as it lives, which is how OpenRunRoot
// tells the living from the dead, whatever their process ids.
//
// Base directories are often where others clean up by age, and a host may run for months: see Keep.
type RunRoot struct {
	base, path string

	mu     sync.Mutex // guards what follows
	locks  *rootLocks
	made   int
	remade []string // by Make, until Keep tells
	dirs   map[*RunDir]struct{}
	closed bool
	// passable says that a directory in it belongs to another user.
	passable bool

	searches searches
}

// OpenRunRoot makes a root below base, and removes the roots that dead hosts left there, with the processes that they
// left running. base is made where it does not exist; where it does, it must be a directory of this user's own, and
// nobody else's to enter. It must be short, because unix sockets in it have at most 107 bytes for their paths.
func OpenRunRoot(base string) (*RunRoot, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s as the base of run directories: %w", base, err)
	}
	id := make([]byte, 4)
	rand.Read(id) // never fails
	root := &RunRoot{base: base, path: filepath.Join(base, hex.EncodeToString(id)), dirs: map[*RunDir]struct{}{}}
	if room := maxSocketPath - socketRoom - dirRoom; len(root.path) > room {
		return nil, fmt.Errorf("the base of run directories %s is %d bytes long, but unix sockets below it leave room for %d: choose a shorter one",
			base, len(base), room-(len(root.path)-len(base)))
	}
	if err := root.make(sweep); err != nil {
		return nil, err
	}
	return root, nil
}

// make makes the base, where it is not there, and the root, locked. In between, under the base's lock, comes first.
func (r *RunRoot) make(first func(base string) error) error {
	if err := privatedir.MakePassable("the base of run directories", r.base); err != nil {
		return err
	}
	unlock, err := lockBase(r.base)
	if err != nil {
		return err
	}
	defer unlock()
	if err := first(r.base); err != nil {
		return err
	}
	if err := os.Mkdir(r.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make a run directory: %w", err)
	}
	locks, err := lockRoot(r.path)
	if err != nil {
		return fmt.Errorf("cannot lock the run directory %s: %w", r.path, err)
	}
	if r.locks != nil {
		r.locks.close()
	}
	r.locks = locks
	return r.letPass()
}

// letPass lets other users through the base and the root to the directories that are theirs. They can list neither, and enter
// nothing else.
func (r *RunRoot) letPass() error {
	if !r.passable {
		return nil
	}
	return errors.Join(os.Chmod(r.base, 0o711), os.Chmod(r.path, 0o711))
}

// Path is the root's directory.
func (r *RunRoot) Path() string { return r.path }

// Make makes a directory for one process, with mode 0700.
func (r *RunRoot) Make() (*RunDir, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	remade, err := r.stand()
	if len(remade) > 0 && err == nil { // then more is gone
		var more []string
		more, err = r.keep()
		remade = append(remade, more...)
	}
	r.remade = append(r.remade, remade...)
	if err != nil {
		return nil, err
	}
	r.made++
	d := &RunDir{root: r, path: filepath.Join(r.path, strconv.Itoa(r.made)), sockets: map[string]int{}}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make a run directory: %w", err)
	}
	r.dirs[d] = struct{}{}
	return d, nil
}

// Close removes the root and everything in it, and ends processes that still name it in their environment.
func (r *RunRoot) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	for d := range r.dirs {
		d.release()
	}
	unlock, err := lockBase(r.base)
	if errors.Is(err, fs.ErrNotExist) { // somebody removed it all; processes may still be there
		unlock, err = func() {}, nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(removeWithProcesses(r.path), r.locks.close())
}

func lockBase(base string) (unlock func(), err error) {
	for deadline := time.Now().Add(lockWait); ; time.Sleep(20 * time.Millisecond) {
		locks, err := lockRoot(base)
		if err == nil {
			return func() { _ = locks.close() }, nil
		}
		if !errors.Is(err, privatedir.ErrHeld) || time.Now().After(deadline) {
			return nil, fmt.Errorf("cannot lock the base of run directories %s (is another host stuck in its start?): %w", base, err)
		}
	}
}

// rootLocks are the two locks of a root, or of the base: on the directory itself, which cannot go without it; and on a
// file in it, which is all that hosts of former releases know.
type rootLocks struct{ dir, file *privatedir.Lock }

// lockRoot takes both; privatedir.ErrHeld: somebody holds one of them.
func lockRoot(path string) (*rootLocks, error) {
	dir, err := privatedir.TryLock(path)
	if err != nil {
		return nil, err
	}
	file, err := privatedir.TryLockFile(filepath.Join(path, lockName))
	if err != nil {
		dir.Close()
		return nil, err
	}
	return &rootLocks{dir, file}, nil
}

func (l *rootLocks) close() error { return errors.Join(l.dir.Close(), l.file.Close()) }

// sweep removes the roots whose hosts are dead. It needs the base's lock, under which roots are made.
func sweep(base string) error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return fmt.Errorf("cannot sweep the base of run directories: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() || !isRootName(entry.Name()) {
			continue // the base's own lock, or nothing of ours
		}
		path := filepath.Join(base, entry.Name())
		locks, err := lockRoot(path)
		if err != nil {
			continue // its host lives, or it is not ours to judge
		}
		err = removeWithProcesses(path)
		_ = locks.close()
		if err != nil {
			return fmt.Errorf("cannot sweep what a dead host left: %w", err)
		}
	}
	return nil
}

func isRootName(name string) bool {
	id, err := hex.DecodeString(name)
	return err == nil && len(id) == 4
}

func removeWithProcesses(dir string) error {
	killWhoNames(dir)
	return remove(dir)
}

func remove(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot remove the run directory: %w", err)
	}
	return nil
}
