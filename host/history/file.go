package history

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/state"
)

const (
	// maxFile is how long a file may be before the next is begun. There are two.
	maxFile = 4 << 20
	// current and former are the names of the two.
	current = "events.jsonl"
	former  = "events.old.jsonl"
)

// file is where events are kept: two files in a folder of the state directory, of which hosts append to one. An event is one line, written
// by one call, so that those of several hosts do not mix. append is for one goroutine; read may be called from any.
type file struct {
	dir    *state.Dir
	folder string
	out    *os.File // nil: not open
	torn   bool     // the last line of out has no end
}

func (f *file) path(name string) string { return f.dir.Path(f.folder + "/" + name) }

// append writes whole lines at the end. It is left to the system when they reach the disk: they survive the end of the process, however it
// ends, and whoever writes them does not wait.
func (f *file) append(lines []byte) error {
	if err := f.ready(); err != nil {
		return fmt.Errorf("cannot write %s: %w", f.path(current), err)
	}
	if f.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	n, err := f.out.Write(lines)
	if n > 0 {
		f.torn = err != nil
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", f.path(current), reasonOf(err))
	}
	return nil
}

// ready opens what is to be appended to: it may have been removed, or another host may have begun the next.
func (f *file) ready() error {
	if f.out != nil {
		held, err := f.out.Stat()
		there, thereErr := os.Lstat(f.path(current))
		if err == nil && thereErr == nil && os.SameFile(held, there) && held.Size() < maxFile {
			return nil
		}
		f.close()
	}
	if there, err := os.Lstat(f.path(current)); err == nil && there.Size() >= maxFile {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	return f.open()
}

func (f *file) open() error {
	path := f.path(current)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return reasonOf(err)
	}
	info, err := out.Stat()
	if err == nil {
		err = believable(info)
	}
	if err == nil && info.Mode().Perm() != 0o600 {
		err = out.Chmod(0o600)
	}
	if err != nil {
		out.Close()
		return err
	}
	f.out, f.torn = out, false
	if size := info.Size(); size > 0 {
		last := []byte{'\n'}
		_, err := out.ReadAt(last, size-1)
		f.torn = err != nil || last[0] != '\n'
	}
	return nil
}

// reasonOf is an error without the path, which is told anyway.
func reasonOf(err error) error {
	if of := (*fs.PathError)(nil); errors.As(err, &of) {
		return of.Err
	}
	return err
}

// rotate begins the next file, unless another host just does.
func (f *file) rotate() error {
	unlock, err := f.dir.Lock(f.folder)
	if errors.Is(err, state.ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	if there, statErr := os.Lstat(f.path(current)); statErr == nil && there.Size() >= maxFile {
		err = os.Rename(f.path(current), f.path(former))
	}
	return errors.Join(err, unlock())
}

func (f *file) close() {
	if f.out != nil {
		f.out.Close()
		f.out = nil
	}
}

// believable says why a file is not one that a host of this user has written, if it is not.
func believable(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file: remove it")
	case ok && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d: remove it", stat.Uid)
	}
	return nil
}

// isAlive says that a process is there.
func isAlive(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }
