package process

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/prometheus/procfs"

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
// Several hosts may share a base directory. Each holds a lock in its own root for as long as it lives, which is how
// OpenRunRoot tells the living from the dead, whatever their process ids.
type RunRoot struct {
	base, path string
	lock       *flock.Flock
	made       atomic.Int64
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
	root := &RunRoot{base: base, path: filepath.Join(base, hex.EncodeToString(id))}
	if room := maxSocketPath - socketRoom - dirRoom; len(root.path) > room {
		return nil, fmt.Errorf("the base of run directories %s is %d bytes long, but unix sockets below it leave room for %d: choose a shorter one",
			base, len(base), room-(len(root.path)-len(base)))
	}
	if err := privatedir.Make("the base of run directories", base); err != nil {
		return nil, err
	}
	unlock, err := lockBase(base)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := sweep(base); err != nil {
		return nil, err
	}
	if err := os.Mkdir(root.path, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make a run directory: %w", err)
	}
	root.lock = flock.New(filepath.Join(root.path, lockName))
	if locked, err := root.lock.TryLock(); err != nil || !locked {
		return nil, fmt.Errorf("cannot lock the new run directory %s: %w", root.path, errors.Join(err, os.RemoveAll(root.path)))
	}
	return root, nil
}

// Path is the root's directory.
func (r *RunRoot) Path() string { return r.path }

// Make makes a directory for one process, with mode 0700.
func (r *RunRoot) Make() (*RunDir, error) {
	path := filepath.Join(r.path, strconv.FormatInt(r.made.Add(1), 10))
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make a run directory: %w", err)
	}
	return &RunDir{path: path}, nil
}

// Close removes the root and everything in it, and ends processes that still name it in their environment.
func (r *RunRoot) Close() error {
	unlock, err := lockBase(r.base)
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(removeWithProcesses(r.path), r.lock.Close())
}

// RunDir is the private directory of one process.
type RunDir struct{ path string }

// Path is the directory. A process that is given it, or a file in it, in an environment variable is recognised by it:
// Remove finds its children wherever they went.
func (d *RunDir) Path() string { return d.path }

// Remove removes the directory with all in it, and kills processes whose environment still names it. It is for after
// the process has ended, and may be called more than once.
func (d *RunDir) Remove() error { return removeWithProcesses(d.path) }

func lockBase(base string) (unlock func(), err error) {
	lock := flock.New(filepath.Join(base, lockName))
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return nil, fmt.Errorf("cannot lock the base of run directories %s (is another host stuck in its start?): %w", base, err)
	}
	return func() { _ = lock.Close() }, nil
}

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
		lock := flock.New(filepath.Join(path, lockName))
		if locked, err := lock.TryLock(); err != nil || !locked {
			continue // its host lives, or it is not ours to judge
		}
		err := removeWithProcesses(path)
		_ = lock.Close()
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
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot remove the run directory: %w", err)
	}
	return nil
}

// killWhoNames kills every process that has dir, or a path below it, as the value of an environment variable. Directory
// names are random, so no other process has. Those of other users cannot be read, and are not ours.
func killWhoNames(dir string) {
	all, err := procfs.AllProcs()
	if err != nil {
		return
	}
	for _, proc := range all {
		if proc.PID == os.Getpid() {
			continue
		}
		found, err := os.FindProcess(proc.PID) // a handle: what it names cannot be replaced between look and kill
		if err != nil {
			continue
		}
		if names(proc.PID, dir) {
			found.Kill()    //nolint:errcheck // it may have ended meanwhile
			go found.Wait() //nolint:errcheck // ours only where this is the first process of a container: see reapOrphans
			continue
		}
		found.Release() //nolint:errcheck // as above
	}
}

func names(pid int, dir string) bool {
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		_, value, _ := bytes.Cut(variable, []byte{'='})
		if rest, ok := bytes.CutPrefix(value, []byte(dir)); ok && (len(rest) == 0 || rest[0] == '/') {
			return true
		}
	}
	return false
}
