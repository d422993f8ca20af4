package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/agenthost/agenthost/host/cgroup"
)

const (
	// A heap may grow to five times what lives in it, which is a few MiB: with Go's default of two a busy host spends a seventh of its time
	// on collecting garbage.
	mostGarbagePercent = 400
	// What the host remembers of 100,000 jobs lives long, and is no reason to leave five times as much lie about: beyond so many bytes of
	// garbage it is collected, but not before there is half as much as what lives, which would take more time than the calls.
	mostGarbage         = 64 << 20
	leastGarbagePercent = 50

	// garbageInterval is how often what lives is looked at.
	garbageInterval = 2 * time.Second

	// memoryShare is the part of its cgroup's memory up to which the host's own heap may grow before garbage is collected more often: the
	// plugins live from the rest.
	memoryShare = 2
)

// boundGarbage bounds how much memory the host takes beyond what lives in it, until ctx ends. GOGC and GOMEMLIMIT override it.
func boundGarbage(ctx context.Context) {
	if limit, limited, err := cgroup.MemoryLimit(); err == nil && limited && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(min(limit, 1<<62) / memoryShare))
	}
	if os.Getenv("GOGC") != "" {
		return
	}
	percent := mostGarbagePercent
	debug.SetGCPercent(percent)
	go func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		ticker := time.NewTicker(garbageInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				metrics.Read(live)
				if now := garbagePercent(live[0].Value.Uint64()); now != percent {
					percent = now
					debug.SetGCPercent(percent)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
}

// garbagePercent is how much garbage there may be, as a part of so many bytes that live. It is rounded: setting it stops the world.
func garbagePercent(live uint64) int {
	const step = 25
	percent := uint64(mostGarbagePercent)
	if live > 0 {
		percent = min(percent, (100*mostGarbage/live+step/2)/step*step)
	}
	return int(max(percent, leastGarbagePercent)) //nolint:gosec // it is small
}
