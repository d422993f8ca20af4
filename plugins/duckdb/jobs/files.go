package jobs

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	specFile      = "spec"
	statusFile    = "status"
	logFile       = "log"
	cancelFile    = "cancel"
	lockFile      = "lock"
	abandonedFile = "abandoned"
)

// acquire locks a job's directory for this process, or fails at once. Closing the file lets go; so does dying.
func acquire(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// writeFile replaces a file so that a reader, or a crash, meets the old or the new one, never a part.
func writeFile(dir, name string, data []byte) error {
	file, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // gone already when all went well
	defer file.Close()
	if _, err := file.Write(data); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), filepath.Join(dir, name))
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

func cancelled(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, cancelFile))
	return err == nil
}

func appendLine(dir string, line Line) error {
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, logFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(append(data, '\n'))
	return err
}

// readLog leaves out a line that a crash cut off.
func readLog(dir string) ([]Line, error) {
	file, err := os.Open(filepath.Join(dir, logFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer file.Close()
	var lines []Line
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var line Line
		if json.Unmarshal(scanner.Bytes(), &line) == nil {
			lines = append(lines, line)
		}
	}
	return lines, scanner.Err()
}

// ids are the directories of jobs, in no order that means anything.
func (s *Store) ids() []string {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.log.Error("cannot list the jobs", "dir", s.dir, "error", err)
		return nil
	}
	var ids []string
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			ids = append(ids, entry.Name())
		}
	}
	return ids
}

// prune forgets finished jobs that are too old or too many. What was abandoned takes no room, and must not come back before its
// time.
func (s *Store) prune() {
	type finished struct {
		id string
		at time.Time
	}
	var jobs []finished
	for _, id := range s.ids() {
		dir := filepath.Join(s.dir, id)
		if info, err := os.Stat(filepath.Join(dir, abandonedFile)); err == nil {
			if time.Since(info.ModTime()) <= s.options.KeepFor {
				continue
			}
		}
		if status, err := readStatus(dir); err == nil && status.State.Ended() {
			jobs = append(jobs, finished{id, status.Finished})
		}
	}
	slices.SortFunc(jobs, func(a, b finished) int { return cmp.Or(b.at.Compare(a.at), strings.Compare(a.id, b.id)) })
	for i, job := range jobs {
		if i < s.options.KeepCount && time.Since(job.at) <= s.options.KeepFor {
			continue
		}
		if err := s.forget(job.id); err != nil {
			s.log.Warn("cannot forget a finished job", "job", job.id, "error", err)
		}
	}
}

// forget removes a job in one step, so that nobody meets half of it.
func (s *Store) forget(id string) error {
	gone := filepath.Join(s.dir, ".old-"+id)
	if err := os.Rename(filepath.Join(s.dir, id), gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.mu.Lock()
	delete(s.finished, id)
	s.mu.Unlock()
	return os.RemoveAll(gone)
}

// sweep removes what a crash left half made or half removed. What is young may be another process's, at work on it now.
func (s *Store) sweep() {
	const young = time.Minute
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && strings.HasPrefix(entry.Name(), ".") && time.Since(info.ModTime()) > young {
			if err := os.RemoveAll(filepath.Join(s.dir, entry.Name())); err != nil {
				s.log.Warn("cannot remove what a crash left", "file", entry.Name(), "error", err)
			}
		}
	}
}
