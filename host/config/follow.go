package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// follower has the system tell when one of some files may have changed.
//
// It watches directories, never files: a watch on a file follows the inode, and is lost as soon as an editor replaces the
// file, while the directory tells of writing, replacing, removing and putting back alike. A file that is reached over symbolic
// links, as each file of a Kubernetes volume is (host.yaml -> ..data/host.yaml, ..data -> ..2026_11_23), changes when one of the
// links does, so that the directory of every link on the way is watched as well. Where a directory is missing the nearest one
// above it is watched.
type follower struct {
	notify *fsnotify.Watcher
	// dirs are the directories that are watched; names the paths whose changes matter, all others in dirs being noise.
	dirs, names map[string]bool
}

func newFollower() (*follower, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("the system gives no notifications: %w%s", err, limitBehind(err))
	}
	return &follower{notify: notify, dirs: map[string]bool{}, names: map[string]bool{}}, nil
}

// limitBehind names the limit of the system that is reached, if one is: the kernel's own words say nothing of it.
func limitBehind(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return " (all of this user's inotify instances or the process's files are in use: see fs.inotify.max_user_instances)"
	case errors.Is(err, syscall.ENOSPC):
		return " (all of this user's inotify watches are in use: see fs.inotify.max_user_watches)"
	}
	return ""
}

func (f *follower) close() { _ = f.notify.Close() }

// follow watches for changes of these files from now on, and of no others. It is called again after every change, because
// a change can move the directories that matter. The error is for the first directory that cannot be watched; the rest is.
func (f *follower) follow(paths []string) error {
	var problem error
	const enough = 10 // directories that go on moving will be seen again at the next change
	for range enough {
		dirs, names := waysTo(paths)
		problem = nil
		for _, dir := range sortedKeys(dirs) { // also those that are watched: a directory may be another one under the same name
			if err := f.notify.Add(dir); err != nil && !errors.Is(err, os.ErrNotExist) && problem == nil {
				problem = fmt.Errorf("%s cannot be watched: %w%s", dir, err, limitBehind(err))
			}
		}
		for dir := range f.dirs {
			if !dirs[dir] {
				_ = f.notify.Remove(dir) // if it is gone, so is the watch
			}
		}
		f.dirs, f.names = dirs, names
		// A directory that appeared before the one above it was watched has told nobody.
		if again, _ := waysTo(paths); maps.Equal(again, dirs) {
			break
		}
	}
	return problem
}

// matters says whether an event may be about one of the files.
func (f *follower) matters(event fsnotify.Event) bool {
	return f.names[event.Name] || f.dirs[event.Name]
}

// waysTo gives the directories in which the ways to the files could change, and the names in them that count.
func waysTo(paths []string) (dirs, names map[string]bool) {
	dirs, names = map[string]bool{}, map[string]bool{}
	for _, path := range paths {
		if absolute, err := filepath.Abs(path); err == nil {
			walk(absolute, func(dir, name string) { dirs[dir], names[name] = true, true })
		}
	}
	return dirs, names
}

// walk goes the way that the system goes to open a path, and reports each symbolic link, what is missing, and the end.
func walk(path string, report func(dir, name string)) {
	const root, maxLinks = string(filepath.Separator), 40 // as the kernel
	dir, links := root, 0
	ahead := strings.Split(path, root)
	for len(ahead) > 0 {
		part := ahead[0]
		ahead = ahead[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			dir = filepath.Dir(dir)
			continue
		}
		name := filepath.Join(dir, part)
		info, err := os.Lstat(name)
		switch {
		case err != nil:
			report(dir, name)
			return
		case info.Mode()&os.ModeSymlink != 0:
			report(dir, name)
			target, err := os.Readlink(name)
			if links++; err != nil || links > maxLinks {
				return
			}
			if filepath.IsAbs(target) {
				dir = root
			}
			ahead = append(strings.Split(target, root), ahead...)
		case len(ahead) == 0:
			report(dir, name)
			return
		default:
			dir = name
		}
	}
}
