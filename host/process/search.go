package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/prometheus/procfs"
)

// searches are those for what processes have left behind. Each reads the environments of all processes there are, so whoever needs one
// while another goes on shares the next: when hundreds of processes end at once, that is a few.
type searches struct {
	mu   sync.Mutex
	next *search    // the one that has not begun; nil: nobody waits for one
	one  sync.Mutex // held by the one that goes on
}

type search struct {
	dirs []string
	over chan struct{}
}

// kill is killWhoNames by a search that begins after the call.
func (s *searches) kill(dir string) {
	s.mu.Lock()
	shared := s.next
	first := shared == nil
	if first {
		shared = &search{over: make(chan struct{})}
		s.next = shared
	}
	shared.dirs = append(shared.dirs, dir)
	s.mu.Unlock()
	if !first {
		<-shared.over
		return
	}
	s.one.Lock()
	defer s.one.Unlock()
	s.mu.Lock()
	s.next = nil // whoever comes now is too late for this one
	s.mu.Unlock()
	killWhoNames(shared.dirs...)
	close(shared.over)
}

// killWhoNames kills every process that has one of the directories, or a path below it, as the value of an environment variable.
// Their names are random, so no other process has. Those of other users cannot be read, and are not ours.
func killWhoNames(dirs ...string) {
	all, err := procfs.AllProcs()
	if err != nil {
		return
	}
	for _, proc := range all {
		if proc.PID == os.Getpid() {
			continue
		}
		found, err := os.FindProcess(proc.PID) // a handle: what it names cannot be replaced between look and kill
		if err != nil {
			continue
		}
		if names(proc.PID, dirs...) {
			found.Kill() //nolint:errcheck // it may have ended meanwhile
		}
		found.Release() //nolint:errcheck // it cannot fail
	}
}

func names(pid int, dirs ...string) bool {
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		_, value, _ := bytes.Cut(variable, []byte{'='})
		for _, dir := range dirs {
			if rest, ok := bytes.CutPrefix(value, []byte(dir)); ok && (len(rest) == 0 || rest[0] == '/') {
				return true
			}
		}
	}
	return false
}
