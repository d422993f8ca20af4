package process

import (
	"os"
	"testing"
	"time"
)

func forAStatus() time.Duration { return usageFor }

// A status asks about every process of every plugin.
func TestUsageOfManyProcessesReadsProcOnce(t *testing.T) {
	var usages groupUsages
	first, err := usages.since(time.Time{}, forAStatus)
	if err != nil {
		t.Fatal(err)
	}
	read := usages.at
	for range 300 {
		if _, err := usages.since(read.Add(-time.Minute), forAStatus); err != nil {
			t.Fatal(err)
		}
	}
	if !usages.at.Equal(read) {
		t.Error("/proc was read again within the second")
	}
	if len(first) == 0 {
		t.Error("no process group was found")
	}

	if _, err := usages.since(time.Now(), forAStatus); err != nil {
		t.Fatal(err)
	}
	if usages.at.Equal(read) {
		t.Error("a process that was started since is looked for in what was read before")
	}
	usages.at = usages.at.Add(-usageFor)
	old := usages.at
	if _, err := usages.since(time.Time{}, forAStatus); err != nil || usages.at.Equal(old) {
		t.Errorf("what is older than %v was not read again (%v)", usageFor, err)
	}
}

func BenchmarkReadGroups(b *testing.B) {
	for b.Loop() {
		if _, err := readGroups(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResidentOf(b *testing.B) {
	for b.Loop() {
		residentOf(os.Getpid())
	}
}

func BenchmarkUnreclaimable(b *testing.B) {
	for b.Loop() {
		unreclaimable(os.Getpid())
	}
}
