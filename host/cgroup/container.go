package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// Container is the cgroup that bounds the memory of this process and of what it starts: of those that it is in, and that can be
// seen, the one with the lowest limit. In a container it is the container's.
type Container struct {
	// Limit is in bytes.
	Limit uint64

	path  string
	usage string   // the file with what is used
	cache []string // the lines of memory.stat that the kernel can give back
}

// The same of version 2 and of version 1, where the figures of all below have a prefix.
var (
	container2 = Container{usage: "memory.current", cache: []string{"inactive_file", "active_file"}}
	container1 = Container{usage: "memory.usage_in_bytes", cache: []string{"total_inactive_file", "total_active_file"}}
)

// FindContainer finds it; nil: nothing limits the memory. It reads files: ask once.
func FindContainer() (*Container, error) {
	if _, limited, err := MemoryLimit(); err != nil || !limited {
		return nil, err
	}
	own, err := ownCgroups()
	if err != nil {
		return nil, err
	}
	machine, err := machineMemory()
	if err != nil {
		return nil, err
	}
	var lowest *Container
	look := func(path, limitFile string, kind Container) {
		for ; ; path = filepath.Dir(path) {
			limit, err := number(path, limitFile)
			switch {
			case errors.Is(err, os.ErrNotExist): // the mount point is below here, or a root's, which has none
				if _, err := os.Stat(filepath.Join(path, "cgroup.procs")); err != nil {
					return
				}
			case err == nil && limit < machine && (lowest == nil || limit < lowest.Limit): // version 1's "none" is a large number
				found := kind
				found.Limit, found.path = limit, path
				lowest = &found
			}
		}
	}
	if path := own.v1[memory]; path != "" {
		look(path, "memory.limit_in_bytes", container1)
	} else if own.v2 != "" {
		look(own.v2, "memory.max", container2)
	}
	return lowest, nil
}

// Charged is what of the limit is in use, with what can be given back. It costs less to find out than Used.
func (c *Container) Charged() (uint64, error) {
	charged, err := number(c.path, c.usage)
	if err != nil {
		return 0, fmt.Errorf("cannot read what the container uses of its memory: %w", err)
	}
	return charged, nil
}

// Used is what of the limit is in use and cannot be given back: without the cache of files, which the kernel drops before it ends
// anybody.
func (c *Container) Used() (uint64, error) {
	used, err := c.Charged()
	if err != nil {
		return 0, err
	}
	for _, name := range c.cache {
		used -= min(used, count(c.path, "memory.stat", name))
	}
	return used, nil
}

// number is what a file says that holds one; "max", which is version 2's "none", is an error.
func number(path, file string) (uint64, error) {
	content, err := os.ReadFile(filepath.Join(path, file))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
}

func machineMemory() (uint64, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	info, err := fs.Meminfo()
	if err != nil {
		return 0, fmt.Errorf("cannot read how much memory the machine has: %w", err)
	}
	if info.MemTotalBytes == nil {
		return 0, errors.New("/proc/meminfo does not say how much memory the machine has")
	}
	return *info.MemTotalBytes, nil
}

// Available is how much memory the machine can still give, caches that it would drop for it included.
func Available() (uint64, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	info, err := fs.Meminfo()
	if err != nil {
		return 0, fmt.Errorf("cannot read how much memory is available: %w", err)
	}
	if info.MemAvailableBytes == nil {
		return 0, errors.New("/proc/meminfo does not say how much memory is available")
	}
	return *info.MemAvailableBytes, nil
}
