package hostile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// onFiles are attempts on files of the host's and of other plugins.
var onFiles = map[string]attempt{
	"secret-source":        func(w World) (string, error) { return read(w.SecretSource) },
	"secret-source-link":   func(w World) (string, error) { return throughLink(w, os.Link) },
	"secret-source-alias":  func(w World) (string, error) { return throughLink(w, os.Symlink) },
	"secret-source-root":   func(w World) (string, error) { return read("/proc/self/root" + w.SecretSource) },
	"victim-secret":        func(w World) (string, error) { return read(w.SecretFile) },
	"config-read":          func(w World) (string, error) { return read(w.Config) },
	"config-write":         func(w World) (string, error) { return openToWrite(w.Config) },
	"config-mode":          func(w World) (string, error) { return setMode(w.Config) },
	"config-replace":       func(w World) (string, error) { return create(filepath.Dir(w.Config)) },
	"config-rename":        func(w World) (string, error) { return rename(w.Config) },
	"run-dir-list":         func(w World) (string, error) { return list(w.RunDir) },
	"run-dir-write":        func(w World) (string, error) { return create(w.RunDir) },
	"run-dir-victim-write": func(w World) (string, error) { return create(filepath.Dir(w.VictimSocket)) },
	"state-dir-list":       func(w World) (string, error) { return list(w.StateDir) },
	"state-dir-write":      func(w World) (string, error) { return create(w.StateDir) },
	"programs-write":       func(w World) (string, error) { return create(w.Programs) },
	"host-program-rename":  func(w World) (string, error) { return rename(filepath.Join(w.Programs, "agenthost")) },
	"inherited":            inherited,
	"kernel-settings":      func(World) (string, error) { return openToWrite("/proc/sys/kernel/core_pattern") },
	"kernel-log":           func(World) (string, error) { return openToWrite("/dev/kmsg") },
	"machine-disk":         machineDisk,
}

// throughLink reads a secret under another name.
func throughLink(w World, link func(old, new string) error) (string, error) {
	path := filepath.Join(w.Own, "link")
	defer os.Remove(path)
	if err := link(w.SecretSource, path); err != nil {
		return "", err
	}
	return read(path)
}

// openToWrite opens a file to append to it, and leaves it as it is.
func openToWrite(path string) (string, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return "", err
	}
	return "can write to " + path, file.Close()
}

// setMode sets the mode of a file to what it is.
func setMode(path string) (string, error) {
	if err := os.Chmod(path, 0o600); err != nil {
		return "", err
	}
	return "set the mode of " + path, nil
}

// create puts a file into a folder, and takes it away again.
func create(dir string) (string, error) {
	path := filepath.Join(dir, ".hostile")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	return "made " + path, errors.Join(file.Close(), os.Remove(path))
}

// rename gives a file another name for a moment.
func rename(path string) (string, error) {
	aside := path + ".aside"
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	return "renamed " + path, os.Rename(aside, path)
}

func list(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) == 0 {
		return "", fmt.Errorf("%s shows nothing", dir)
	}
	return fmt.Sprintf("%s has %s, and %d more", dir, entries[0].Name(), len(entries)-1), nil
}

// inherited looks for descriptors that the host did not mean to hand down: this process has its own, and pipes.
func inherited(w World) (string, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", entry.Name()))
		if err != nil {
			continue // the folder's own, which is closed by now
		}
		for _, foreign := range []string{w.Config, w.RunDir, w.StateDir, filepath.Dir(w.SecretSource), w.Programs} {
			if target == foreign || len(target) > len(foreign) && target[:len(foreign)+1] == foreign+"/" {
				return fmt.Sprintf("descriptor %s is %s", entry.Name(), target), nil
			}
		}
	}
	return "", fmt.Errorf("none of %d descriptors is the host's", len(entries))
}

// machineDisk opens the first block device to read it.
func machineDisk(World) (string, error) {
	entries, err := os.ReadDir("/sys/class/block")
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		path := filepath.Join("/dev", entry.Name())
		var about unix.Stat_t
		if unix.Stat(path, &about) != nil || about.Mode&unix.S_IFMT != unix.S_IFBLK {
			continue
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", fmt.Errorf("open %s: %w", path, err)
		}
		return "can read " + path, unix.Close(fd)
	}
	return "", lack("no block device is in /dev")
}
