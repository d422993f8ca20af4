package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

// makeScratch makes a directory for one run of a query, which drop removes. It is locked for as long as the run lasts, so that
// other processes can tell it from what was left by one that died.
func (e *Engine) makeScratch(q Query) (scratch string, drop func(), err error) {
	// The database's locks compare real paths.
	root, err := filepath.EvalSymlinks(e.limits.Scratch)
	if err != nil {
		return "", nil, fault.File("cannot use the scratch directory: %w", err)
	}
	scratch = filepath.Join(root, fmt.Sprintf("duckdb-%s.%d", q.ID, max(q.Run, 1)))
	// Left by a process that died while it ran this query.
	if err := os.RemoveAll(scratch); err != nil {
		return "", nil, fault.File("cannot clear the scratch directory: %w", err)
	}
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return "", nil, fault.File("cannot make a scratch directory: %w", err)
	}
	lock, err := os.Open(scratch)
	if err != nil {
		return "", nil, fault.File("cannot use the scratch directory: %w", err)
	}
	_ = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) // where there are no locks, nothing is swept
	return scratch, func() {
		_ = os.RemoveAll(scratch) // what stays is swept
		lock.Close()
	}, nil
}

// scratchName is what directories of makeScratch are called, and no others in a directory that is not the plugin's alone.
var scratchName = regexp.MustCompile(`^duckdb-[0-9A-Za-z_-]+\.[0-9]+$`)

// sweepScratch removes what processes that died have left, where locks tell who lives. What is young may be about to be locked.
func sweepScratch(root string) {
	const young = time.Minute
	kind, err := storage.FileSystem(root)
	if err != nil || kind.Shared {
		return
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !entry.IsDir() || !scratchName.MatchString(entry.Name()) || time.Since(info.ModTime()) < young {
			continue
		}
		dir := filepath.Join(root, entry.Name())
		lock, err := os.Open(dir)
		if err != nil {
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(dir) // the next process tries again
		}
		lock.Close()
	}
}
