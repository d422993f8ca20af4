package process

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// AdoptOrphans runs do, and makes this process the parent of all that descend from it and lose theirs (PR_SET_CHILD_SUBREAPER):
// nothing that a Process leaves behind outlives it, or this process, however it hides. It returns what do does, when nothing is left.
//
// It must be called on the process's first thread, by a goroutine that is locked to it since its init, and nothing else may
// be started there. By this it never takes the end of a process from whoever waits for that: the kernel gives orphans to the first
// thread, every other child stays with the thread that has started it, and a thread can wait for its own alone (__WNOTHREAD).
//
// When a Process has ended, the orphans are killed that belong to none that lives: that are not in the group of one, nor name
// its run directory in their environment, nor are in its cgroup. Where only their descent would say whose they are, it is no longer known: one that has left
// its group and cleared its environment, and whose parents have ended, ends when the next Process does, whichever that is.
// Children that this process had before do not count.
func AdoptOrphans(do func() int) (int, error) {
	if unix.Gettid() != unix.Getpid() {
		return 0, errors.New("orphans are adopted by the first thread only")
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("cannot adopt orphans: %w", err)
	}
	o := &orphanage{ended: make(chan os.Signal, 1), sweeps: make(chan sweepRequest), closed: make(chan struct{}), living: map[*Process]struct{}{}}
	if !orphans.CompareAndSwap(nil, o) {
		return 0, errors.New("orphans are adopted already")
	}
	defer orphans.Store(nil)
	signal.Notify(o.ended, unix.SIGCHLD)
	defer signal.Stop(o.ended)
	o.former = adopted() // those that this program was given, as sh -c 'helper & exec program' does
	code := make(chan int, 1)
	go func() { code <- do() }()
	for {
		select {
		case <-o.ended:
			reap()
		case asked := <-o.sweeps:
			asked.done <- o.sweep(asked.group)
		case code := <-code:
			close(o.closed)
			o.sweep(0)
			return code, nil
		}
	}
}

// orphans is nil where this process adopts none.
var orphans atomic.Pointer[orphanage]

// orphanage is the first thread's. What mu guards is everybody's.
type orphanage struct {
	ended  chan os.Signal // that a child has
	sweeps chan sweepRequest
	closed chan struct{}
	former []int // children from before

	mu       sync.Mutex
	living   map[*Process]struct{}
	observed bool // somebody looks at what a Process leaves behind, and ends it
}

// sweepRequest asks for an end of what belongs to nobody. group was that of the process that has ended, and is no news.
type sweepRequest struct {
	group int
	done  chan Left
}

// Left is what a process has left behind beside its group, each as its name and id, such as "sleep (123)".
type Left struct {
	// Killed have been killed, Remain are still there: the kernel keeps them, or they come faster than they can be killed.
	Killed, Remain []string
}

// begin counts a process among the living. It is for before its start.
func (o *orphanage) begin(p *Process) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.living[p] = struct{}{}
	o.observed = o.observed || p.config.KeepGroup
}

// end counts it out, and returns when nothing is left of it.
func (o *orphanage) end(p *Process) Left {
	if o == nil {
		return Left{}
	}
	o.mu.Lock()
	delete(o.living, p)
	o.mu.Unlock()
	asked := sweepRequest{p.PID(), make(chan Left, 1)}
	select {
	case o.sweeps <- asked:
		return <-asked.done
	case <-o.closed:
		return Left{}
	}
}

// sweep kills the orphans that belong to nobody, and reaps them.
func (o *orphanage) sweep(group int) (left Left) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	killed := map[int]string{}
	for deadline := time.Now().Add(killWait); ; {
		reap()
		strays := o.strays()
		over := time.Now().After(deadline)
		for _, pid := range strays {
			if of, err := unix.Getpgid(pid); err == nil && of != group && killed[pid] == "" {
				killed[pid] = called(pid)
			}
			if over {
				left.Remain = append(left.Remain, called(pid))
			}
			unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it is a child that only this goroutine reaps
		}
		if len(strays) == 0 || over {
			left.Killed = slices.Sorted(maps.Values(killed))
			return left
		}
		select {
		case <-o.ended:
		case <-tick.C: // what was killed leaves orphans of its own, of whom nobody is told
		}
	}
}

// called is a process's name and id.
func called(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // empty: it has ended
	return fmt.Sprintf("%s (%d)", clean(strings.TrimSpace(string(name))), pid)
}

// strays are the orphans that belong to no living process.
func (o *orphanage) strays() []int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.observed {
		return nil
	}
	return slices.DeleteFunc(adopted(), func(pid int) bool { return slices.Contains(o.former, pid) || o.belongs(pid) })
}

// belongs needs mu.
func (o *orphanage) belongs(pid int) bool {
	group, err := unix.Getpgid(pid)
	if err == nil && group != unix.Getpgrp() && startedHere(group) {
		return true
	}
	for p := range o.living {
		if p.config.Group.Has(pid) {
			return true
		}
		if p.config.RunDir != "" && names(pid, p.config.RunDir) {
			return true
		}
	}
	return false
}

// startedHere says that a process is a child of another thread than the first, which has started it.
func startedHere(pid int) bool {
	return !isAdopted(pid) && isChild(pid, 0)
}

// isAdopted says that it is a child of this thread, the first.
func isAdopted(pid int) bool { return isChild(pid, unix.WNOTHREAD) }

func isChild(pid, options int) bool {
	return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL|options, nil) == nil
}

// adopted are the children of this thread, the first.
func adopted() []int {
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL|unix.WNOTHREAD, nil)
	if errors.Is(err, unix.ECHILD) {
		return nil
	}
	all, err := procfs.AllProcs()
	if err != nil {
		return nil // without /proc nobody is found
	}
	var pids []int
	for _, proc := range all {
		if isAdopted(proc.PID) {
			pids = append(pids, proc.PID)
		}
	}
	return pids
}

// reap takes the ends of the orphans that have ended.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL|unix.WNOTHREAD, nil)
		if pid <= 0 && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
