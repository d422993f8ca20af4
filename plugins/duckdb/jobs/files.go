package jobs

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// acquire locks a job's directory for this process, or fails at once. Closing the file lets go; so does dying.
func acquire(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// writeFile replaces a file so that a reader, or a crash, meets the old or the new one, never a part.
func writeFile(dir, name string, data []byte) error {
	return place(dir, name, data, os.Rename)
}

// createFile makes a file of which a reader, or a crash, meets all or nothing. Of all machines and processes that make it, one
// does; the others get os.ErrExist.
func createFile(dir, name string, data []byte) error {
	return place(dir, name, data, link)
}

func place(dir, name string, data []byte, move func(from, to string) error) error {
	file, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // a rename has done so
	defer file.Close()
	if _, err := file.Write(data); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return move(file.Name(), filepath.Join(dir, name))
}

// link gives a file its name unless there is one of that name. NFS has hard links; what has none, such as SMB, may have a rename
// that replaces nothing.
func link(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrExist):
		// NFS repeats a request whose answer was lost, and then finds what the first one did.
		var info unix.Stat_t
		if unix.Stat(from, &info) == nil && info.Nlink == 2 {
			return nil
		}
		return err
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EMLINK):
		if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err != nil {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
		return nil
	}
	return err
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

func writeStatus(dir string, status Status) error {
	data, err := json.Marshal(status)
	if err != nil {
		return err
	}
	return writeFile(dir, statusFile, data)
}

// createStatus decides how a job ended.
func createStatus(dir string, status Status) error {
	data, err := json.Marshal(status)
	if err != nil {
		return err
	}
	return place(dir, endedFile, data, func(from, to string) error {
		if err := link(from, to); err != nil {
			return err
		}
		// It is decided. Older versions look for it here, and cannot where there are no links.
		_ = os.Rename(from, filepath.Join(dir, statusFile))
		return nil
	})
}

// readStatus is how a job ended, or how far it is. One that older versions have cancelled, and not ended yet, is Cancelled
// provisionally.
func readStatus(dir string) (Status, error) {
	data, err := os.ReadFile(filepath.Join(dir, endedFile))
	if errors.Is(err, os.ErrNotExist) {
		data, err = os.ReadFile(filepath.Join(dir, statusFile))
	}
	if err != nil {
		return Status{}, err
	}
	var status Status
	if err := decode("its status", data, &status); err != nil {
		return Status{}, err
	}
	if !status.State.Ended() {
		if _, err := os.Stat(filepath.Join(dir, cancelFile)); err == nil {
			status.State, status.provisional = Cancelled, true
		}
	}
	return status, nil
}
