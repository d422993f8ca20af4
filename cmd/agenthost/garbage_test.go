package main

import (
	"testing"

	"pgregory.net/rapid"
)

func TestAHostThatRemembersMuchLeavesLessGarbage(t *testing.T) {
	for live, want := range map[uint64]int{
		0: mostGarbagePercent, 1: mostGarbagePercent, 8 << 20: mostGarbagePercent, 16 << 20: mostGarbagePercent,
		32 << 20: 200, 64 << 20: 100, 80 << 20: 75, 128 << 20: leastGarbagePercent, 4 << 30: leastGarbagePercent, 1 << 63: leastGarbagePercent,
	} {
		if got := garbagePercent(live); got != want {
			t.Errorf("with %d MiB that live: %d %%, want %d %%", live>>20, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		live := rapid.Uint64Range(0, 128<<20).Draw(t, "live")
		if garbage := live * uint64(garbagePercent(live)) / 100; garbage > mostGarbage*5/4 { //nolint:gosec // it is positive
			t.Errorf("with %d bytes that live there may be %d of garbage", live, garbage)
		}
	})
}
