// Package cgroup is what the kernel's control groups say of the host, and what the host has them do with plugins.
package cgroup

import (
	"errors"
	"fmt"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// MemoryLimit is how many bytes of memory this process and what shares its cgroup may take: the lowest limit of its cgroup
// and of those above it that can be seen. Not limited: false. It reads files: ask once.
func MemoryLimit() (bytes uint64, limited bool, err error) {
	bytes, err = memlimit.FromCgroup()
	switch {
	case errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("cannot read the memory limit of the host's cgroup: %w", err)
	}
	return bytes, true, nil
}
