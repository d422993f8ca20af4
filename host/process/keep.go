package process

import (
	"errors"
	"fmt"
	"io/fs"
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
	var failed []error
	for d := range r.dirs {
		again, err := d.keep()
		remade, failed = append(remade, again...), append(failed, err)
	}
	failed = append(failed, r.touch())
	return remade, errors.Join(failed...)
}

// touch gives what is below the base the present as its times, but for what other hosts answer for.
func (r *RunRoot) touch() error {
	now := time.Now()
	return filepath.WalkDir(r.base, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path != r.path && filepath.Dir(path) == r.base && isRootName(entry.Name()) {
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
}

// RunDir is the private directory of one process. What the host put there comes back by Keep, if somebody removes it.
type RunDir struct {
	root *RunRoot
	path string

	// What follows is guarded by root.mu.
	folders []string
	files   []file
	sockets map[string]int // descriptors (O_PATH) of the process's sockets, by their paths
	owner   *owner         // nil: this user
}

// owner is another user whom a directory belongs to.
type owner struct{ uid, gid int }

// own hands a file or folder over; a nil owner leaves it as it is.
func (o *owner) own(path string) error {
	if o == nil {
		return nil
	}
	return os.Lchown(path, o.uid, o.gid)
}

type file struct {
	path    string
	content []byte
}

// Path is the directory. A process that is given it, or a file in it, in an environment variable is recognised by it:
// Remove finds its children wherever they went.
func (d *RunDir) Path() string { return d.path }

// Give hands the directory over to another user, with what comes into it by Folder and Write. It is for before that. Others may then pass
// through the root and the base, which they cannot list.
func (d *RunDir) Give(uid, gid int) error {
	d.root.mu.Lock()
	defer d.root.mu.Unlock()
	d.owner = &owner{uid, gid}
	d.root.passable = true
	if err := d.root.letPass(); err != nil {
		return err
	}
	return d.owner.own(d.path)
}

func (d *RunDir) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return d.owner.own(path)
}

// Folder makes a folder in the directory, for nobody but the directory's user.
func (d *RunDir) Folder(name string) error {
	d.root.mu.Lock()
	defer d.root.mu.Unlock()
	path := filepath.Join(d.path, name)
	if err := d.mkdir(path); err != nil {
		return err
	}
	d.folders = append(d.folders, path)
	return nil
}

// Write writes a new file in the directory, for nobody but the directory's user. fs.ErrExist: there is one of this name.
func (d *RunDir) Write(name string, content []byte) error {
	d.root.mu.Lock()
	defer d.root.mu.Unlock()
	f := file{filepath.Join(d.path, name), content}
	if err := f.write(d.owner); err != nil {
		return err
	}
	d.files = append(d.files, f)
	return nil
}

func (f file) write(to *owner) error {
	mode := fs.FileMode(0o600)
	if to != nil {
		mode = 0o400
	}
	out, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = out.Write(f.content)
	if err == nil && to != nil {
		err = out.Chown(to.uid, to.gid)
	}
	return errors.Join(err, out.Close())
}

// HoldSockets takes note of the sockets that the process has made in the directory: from now on they can be connected to
// by their paths even after somebody has removed these.
func (d *RunDir) HoldSockets() error {
	d.root.mu.Lock()
	defer d.root.mu.Unlock()
	return d.holdSockets()
}

func (d *RunDir) holdSockets() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(d.path, entry.Name())
		if entry.Type() != fs.ModeSocket {
			continue
		}
		descriptor, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot hold the socket %s: %w", path, err)
		}
		d.letGo(path) // the process may have made another one since
		d.sockets[path] = descriptor
	}
	return nil
}

// keep makes anew what is gone of the directory.
func (d *RunDir) keep() (remade []string, err error) {
	again := func(path string, remake func() error) {
		if _, statErr := os.Lstat(path); !errors.Is(statErr, fs.ErrNotExist) {
			return
		}
		if failed := remake(); failed != nil {
			err = errors.Join(err, fmt.Errorf("cannot make %s anew: %w", path, failed))
			return
		}
		remade = append(remade, path)
	}
	for _, folder := range append([]string{d.path}, d.folders...) {
		again(folder, func() error { return d.mkdir(folder) })
	}
	for _, f := range d.files {
		again(f.path, func() error { return f.write(d.owner) })
	}
	for path, descriptor := range d.sockets {
		again(path, func() error { return os.Symlink(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), descriptor), path) })
	}
	return remade, errors.Join(err, d.holdSockets())
}

// release lets go of the sockets. It needs root.mu.
func (d *RunDir) release() {
	delete(d.root.dirs, d)
	for path := range d.sockets {
		d.letGo(path)
	}
}

func (d *RunDir) letGo(path string) {
	if descriptor, held := d.sockets[path]; held {
		unix.Close(descriptor) // nothing was written through it
		delete(d.sockets, path)
	}
}

// Remove removes the directory with all in it, and kills processes whose environment still names it. It is for after
// the process has ended, and may be called more than once.
func (d *RunDir) Remove() error {
	d.root.mu.Lock()
	d.release()
	d.root.mu.Unlock()
	return removeWithProcesses(d.path)
}
