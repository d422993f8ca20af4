package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cgroups are the folders of the jail's control groups: one in each of version 1's hierarchies, or the one of version 2. Without
// memory among them the machine lacks it.
type cgroups struct {
	folders map[string]string // by controller
}

// controllers are what a host may hand on to its plugins.
var controllers = []string{"memory", "pids", "cpu"}

const cgroupRoot = "/sys/fs/cgroup"

// cgroupsOf are the cgroups of a name. They need not be there.
func cgroupsOf(name string) cgroups {
	g := cgroups{folders: map[string]string{}}
	for _, controller := range controllers {
		for _, folder := range []string{filepath.Join(cgroupRoot, controller, ownGroup(controller), name), filepath.Join(cgroupRoot, name)} {
			if _, err := os.Stat(folder); err == nil && g.folders[controller] == "" {
				g.folders[controller] = folder
			}
		}
	}
	return g
}

// ownGroup is this process's group in a hierarchy of version 1.
func ownGroup(controller string) string {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && fields[1] == controller {
			return fields[2]
		}
	}
	return ""
}

// makeCgroups makes those that this process may, and bounds them.
func makeCgroups(name string) (cgroups, error) {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "memory", "memory.limit_in_bytes")); err == nil {
		for _, controller := range controllers {
			_ = os.Mkdir(filepath.Join(cgroupRoot, controller, ownGroup(controller), name), 0o755) // as all cgroups are
		}
	} else if os.Mkdir(filepath.Join(cgroupRoot, name), 0o755) == nil { // as all cgroups are
		for _, controller := range controllers { // where it is one for all
			_ = os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+"+controller), 0)
		}
	}
	g := cgroupsOf(name)
	var all []error
	for _, limit := range []struct {
		controller, file string
		value            int
	}{
		{"memory", "memory.limit_in_bytes", memoryLimit}, {"memory", "memory.max", memoryLimit}, {"pids", "pids.max", tasksLimit},
	} {
		path := filepath.Join(g.folders[limit.controller], limit.file)
		if _, err := os.Stat(path); err == nil && g.folders[limit.controller] != "" {
			all = append(all, os.WriteFile(path, []byte(strconv.Itoa(limit.value)), 0))
		}
	}
	if err := errors.Join(all...); err != nil {
		g.remove()
		return g, fmt.Errorf("a cgroup cannot be bounded: %w", err)
	}
	return g, nil
}

// bounded says whether a host in them has the memory that it is to have.
func (g cgroups) bounded() bool {
	for _, file := range []string{"memory.limit_in_bytes", "memory.max"} {
		content, err := os.ReadFile(filepath.Join(g.folders["memory"], file))
		if err == nil && strings.TrimSpace(string(content)) == strconv.Itoa(memoryLimit) {
			return true
		}
	}
	return false
}

// enter moves this process into them.
func (g cgroups) enter() error {
	for controller, folder := range g.folders {
		if err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("the cgroup for %s: %w", controller, err)
		}
	}
	return nil
}

// delegate gives them to a user, as service managers do.
func (g cgroups) delegate(uid int) error {
	for _, folder := range g.folders {
		for _, path := range []string{folder, filepath.Join(folder, "cgroup.procs"), filepath.Join(folder, "tasks"), filepath.Join(folder, "cgroup.subtree_control")} {
			if err := os.Chown(path, uid, uid); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// remove removes them with those that hosts made below, as soon as nothing runs in them.
func (g cgroups) remove() {
	for _, folder := range g.folders {
		for range 100 {
			if removeBelow(folder) {
				break
			}
			time.Sleep(20 * time.Millisecond) // a process that was killed is still leaving
		}
	}
}

func removeBelow(folder string) bool {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return true
	}
	for _, entry := range entries {
		if entry.IsDir() {
			removeBelow(filepath.Join(folder, entry.Name()))
		}
	}
	return os.Remove(folder) == nil
}
