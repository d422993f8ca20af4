package process_test

import (
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/process"
)

// Those who remove directories at the same time share searches: each still finds its own when Remove returns.
func TestDirectoriesRemovedAtOnceEachTakeTheirProcessesAlong(t *testing.T) {
	root, err := process.OpenRunRoot(shortDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	const count = 12
	var dirs [count]*process.RunDir
	var left [count]*process.Process
	for i := range dirs {
		if dirs[i], err = root.Make(); err != nil {
			t.Fatal(err)
		}
		left[i] = shell(t, "exec sleep 1000", "SOMEWHERE="+filepath.Join(dirs[i].Path(), "below"))
	}
	var all sync.WaitGroup
	for i := range count - 1 {
		all.Go(func() {
			if err := dirs[i].Remove(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i, p := range left[:count-1] {
		if exit := awaitEnd(t, p); exit.Signal != syscall.SIGKILL {
			t.Errorf("process %d ended by itself: %v", i, exit)
		}
	}
	if gone(left[count-1].PID()) {
		t.Error("the process of a directory that stays was ended")
	}
}
