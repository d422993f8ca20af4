package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/privatedir"
)

// Keep keeps the root from those who clean up after others, and is to be called every minute or so: what is there gets the
// present as its times, and what was removed is made anew, such as the root itself, its lock, a process's directory, its
// secrets and its socket. It returns what was made anew since the last call.
func (r *RunRoot) Keep() (remade []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	remade, err = r.keep()
	remade = append(r.remade, remade...)
	r.remade = nil
	slices.Sort(remade)
	return remade, err
}

// keep needs mu.
func (r *RunRoot) keep() (remade []string, err error) {
	remade, err = r.stand()
	if err != nil {
		return remade, err
	}
	var failed []error
	for d := range r.dirs {
		again, err := d.keep()
		remade, failed = append(remade, again...), append(failed, err)
	}
	failed = append(failed, r.touch())
	return remade, errors.Join(failed...)
}

// stand makes the root and its lock anew where they are gone. It needs mu.
func (r *RunRoot) stand() (remade []string, err error) {
	if r.closed {
		return nil, fmt.Errorf("the run directory %s is closed", r.path)
	}
	if !r.locks.dir.Stands() {
		if err := r.make(func(string) error { return nil }); err != nil {
			return nil, err
		}
		remade = append(remade, r.path)
	}
	if !r.locks.file.Stands() {
		file, err := privatedir.TryLockFile(filepath.Join(r.path, lockName))
		if err != nil {
			return remade, fmt.Errorf("cannot lock the run directory %s again: %w", r.path, err)
		}
		r.locks.file.Close()
		r.locks.file = file
		remade = append(remade, filepath.Join(r.path, lockName))
	}
	return remade, nil
}

// touch gives what is below the base the present as its times, but for what other hosts answer for, and what processes have put
// into their directories.
func (r *RunRoot) touch() error {
	now := time.Now()
	err := filepath.WalkDir(r.base, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (filepath.Dir(path) == r.path || path != r.path && filepath.Dir(path) == r.base && isRootName(entry.Name())) {
			return fs.SkipDir
		}
		if err == nil && entry.Type()&fs.ModeSymlink == 0 {
			err = os.Chtimes(path, now, now)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil // gone meanwhile, or somebody else's, put there by a plugin
		}
		return err
	})
	for d := range r.dirs {
		d.touch(now)
	}
	return err
}

// RunDir is the private directory of one process. What the host put there comes back by Keep, if somebody removes it.
type RunDir struct {
	root *RunRoot
	path string

	// What follows is guarded by root.mu. Names are relative to path, and are used below it only (os.Root): the process may have
	// put a link in the place of anything.
	folders []string
	files   []file
	sockets map[string]int // descriptors (O_PATH) of the process's sockets
	owner   *owner         // nil: this user
}

// owner is another user whom a directory belongs to.
type owner struct{ uid, gid int }

type file struct {
	name    string
	content []byte
}

// Path is the directory. A process that is given it, or a file in it, in an environment variable is recognised by it:
// Remove finds its children wherever they went.
func (d *RunDir) Path() string { return d.path }

// Give hands the directory over to another user, with what comes into it by Folder and Write. It is for before that. Others may then
// pass through the root and the base, which they cannot list.
func (d *RunDir) Give(uid, gid int) error {
	d.root.mu.Lock()
	defer d.root.mu.Unlock()
	d.owner = &owner{uid, gid}
	d.root.passable = true
	if err := d.root.letPass(); err != nil {
		return err
	}
	return os.Lchown(d.path, uid, gid)
}

// Folder makes a folder in the directory, for nobody but the directory's user.
func (d *RunDir) Folder(name string) error {
	d.root.mu.Lock()
	defer d.root.mu.Unlock()
	within, err := os.OpenRoot(d.path)
	if err != nil {
		return err
	}
	defer within.Close()
	if err := d.mkdir(within, name); err != nil {
		return err
	}
	d.folders = append(d.folders, name)
	return nil
}

func (d *RunDir) mkdir(within *os.Root, name string) error {
	if err := within.Mkdir(name, 0o700); err != nil || d.owner == nil {
		return err
	}
	return within.Lchown(name, d.owner.uid, d.owner.gid)
}

// Write writes a new file in the directory, for nobody but the directory's user. fs.ErrExist: there is one of this name.
func (d *RunDir) Write(name string, content []byte) error {
	d.root.mu.Lock()
	defer d.root.mu.Unlock()
	within, err := os.OpenRoot(d.path)
	if err != nil {
		return err
	}
	defer within.Close()
	f := file{name, content}
	if err := d.write(within, f); err != nil {
		return err
	}
	d.files = append(d.files, f)
	return nil
}

// Holds says that a file which Write or Replace wrote has this content.
func (d *RunDir) Holds(name string, content []byte) bool {
	d.root.mu.Lock()
	defer d.root.mu.Unlock()
	at := d.fileNamed(name)
	return at >= 0 && bytes.Equal(d.files[at].content, content)
}

// Replace puts a file with other content in the place of one that Write wrote: whoever opens it reads all of the one or of the other.
func (d *RunDir) Replace(name string, content []byte) error {
	d.root.mu.Lock()
	defer d.root.mu.Unlock()
	at := d.fileNamed(name)
	if at < 0 {
		return &fs.PathError{Op: "replace", Path: filepath.Join(d.path, name), Err: fs.ErrNotExist}
	}
	within, err := os.OpenRoot(d.path)
	if err != nil {
		return err
	}
	defer within.Close()
	fresh := file{filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".new"), content} // no secret's name begins with a dot
	_ = within.Remove(fresh.name)                                                             // what a replacement left that failed
	if err := d.write(within, fresh); err != nil {
		return err
	}
	if err := within.Rename(fresh.name, name); err != nil {
		return errors.Join(err, within.Remove(fresh.name))
	}
	d.files[at].content = content
	return nil
}

// fileNamed is the index of a file that the host put there; -1: there is none.
func (d *RunDir) fileNamed(name string) int {
	return slices.IndexFunc(d.files, func(f file) bool { return f.name == name })
}

func (d *RunDir) write(within *os.Root, f file) error {
	mode := fs.FileMode(0o600)
	if d.owner != nil {
		mode = 0o400
	}
	out, err := within.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = out.Write(f.content)
	if err == nil && d.owner != nil {
		err = out.Chown(d.owner.uid, d.owner.gid)
	}
	return errors.Join(err, out.Close())
}

const (
	// maxSockets is how many sockets of a process are held; it serves on one.
	maxSockets = 8
	// maxEntries is how much of a directory is looked at for them.
	maxEntries = 1000
)

// HoldSockets takes note of the sockets that the process has made in the directory: from now on they can be connected to
// by their paths even after somebody has removed these. A process serves on one; what it makes besides is not the host's to hold.
func (d *RunDir) HoldSockets() error {
	d.root.mu.Lock()
	defer d.root.mu.Unlock()
	return d.holdSockets()
}

func (d *RunDir) holdSockets() error {
	folder, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer folder.Close()
	entries, err := folder.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if _, held := d.sockets[name]; entry.Type() != fs.ModeSocket || !held && len(d.sockets) >= maxSockets {
			continue
		}
		path := filepath.Join(d.path, name)
		descriptor, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot hold the socket %s: %w", path, err)
		}
		d.letGo(name) // the process may have made another one since
		d.sockets[name] = descriptor
	}
	return nil
}

// keep makes anew what is gone of the directory.
func (d *RunDir) keep() (remade []string, err error) {
	if err := os.Mkdir(d.path, 0o700); err == nil {
		remade = append(remade, d.path)
		if d.owner != nil {
			err = os.Lchown(d.path, d.owner.uid, d.owner.gid)
		}
		if err != nil {
			return remade, fmt.Errorf("cannot make %s anew: %w", d.path, err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make %s anew: %w", d.path, err)
	}
	within, err := os.OpenRoot(d.path)
	if err != nil {
		return remade, err
	}
	defer within.Close()
	again := func(name string, remake func() error) {
		if _, statErr := within.Lstat(name); !errors.Is(statErr, fs.ErrNotExist) {
			return
		}
		path := filepath.Join(d.path, name)
		if failed := remake(); failed != nil {
			err = errors.Join(err, fmt.Errorf("cannot make %s anew: %w", path, failed))
			return
		}
		remade = append(remade, path)
	}
	for _, folder := range d.folders {
		again(folder, func() error { return d.mkdir(within, folder) })
	}
	for _, f := range d.files {
		again(f.name, func() error { return d.write(within, f) })
	}
	for name, descriptor := range d.sockets {
		again(name, func() error { return within.Symlink(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), descriptor), name) })
	}
	return remade, errors.Join(err, d.holdSockets())
}

// touch gives the host's own in the directory its times. What is gone, or a link elsewhere by now, is not the host's own.
func (d *RunDir) touch(now time.Time) {
	within, err := os.OpenRoot(d.path)
	if err != nil {
		return
	}
	defer within.Close()
	names := append([]string{"."}, d.folders...)
	for _, f := range d.files {
		names = append(names, f.name)
	}
	for _, name := range slices.AppendSeq(names, maps.Keys(d.sockets)) {
		_ = within.Chtimes(name, now, now)
	}
}

// release lets go of the sockets. It needs root.mu.
func (d *RunDir) release() {
	delete(d.root.dirs, d)
	for name := range d.sockets {
		d.letGo(name)
	}
}

func (d *RunDir) letGo(name string) {
	if descriptor, held := d.sockets[name]; held {
		unix.Close(descriptor) // nothing was written through it
		delete(d.sockets, name)
	}
}

// Remove removes the directory with all in it, and kills processes whose environment still names it. It is for after
// the process has ended, and may be called more than once.
func (d *RunDir) Remove() error {
	d.root.mu.Lock()
	d.release()
	d.root.mu.Unlock()
	d.root.searches.kill(d.path)
	return remove(d.path)
}
