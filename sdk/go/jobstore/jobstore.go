// Package jobstore keeps jobs in files, so that they outlive the process that made them: for agents whose jobs have no service behind
// them that remembers.
//
//	store, err := jobstore.Open[Job]("/var/lib/queue")    // sandbox: {write: [/var/lib/queue]}
//	job, _, err := store.Add(task.IdempotencyKey, job)    // in Create: the first of an attempt counts
//	job, err := store.Get(id)                             // in Get
//	job, err = store.Update(id, func(j *Job) error { … }) // behind the calls
//
// A folder holds one JSON file a job, which is replaced as a whole: whoever reads sees one state or the next, also after a crash. Any
// number of processes use it at a time, such as a newer generation of the plugin while the older one drains. A job type may get
// further fields: what an older file lacks is zero, and a newer one's are dropped where an older process writes it again.
package jobstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agent "github.com/agenthost/agenthost/sdk/go"
)

const (
	// format is the version of the files: those of a higher one are left alone.
	format = 1
	suffix = ".json"
	// lockFile and whatever else begins with a dot is no job.
	lockFile = ".lock"
	maxName  = 255
	// abandoned is how old a file is that was begun and is no job yet, until it is removed.
	abandoned = time.Hour
)

// Store is a folder of jobs. Its methods may be called at any time, from any process.
type Store[J any] struct{ dir string }

// file is what a job's file holds.
type file[J any] struct {
	Format int `json:"format"`
	Job    J   `json:"job"`
}

// Open opens a folder, which is made where it is missing, for its owner alone.
func Open[J any](dir string) (*Store[J], error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the job store cannot be opened (does the plugin's sandbox have it in `write:`?): %w", err)
	}
	s := &Store[J]{dir}
	return s, s.locked(s.clearUp)
}

// clearUp removes what processes left that ended while they wrote.
func (s *Store[J]) clearUp() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !strings.HasPrefix(entry.Name(), ".new-") || time.Since(info.ModTime()) < abandoned {
			continue // it is a job, or gone by now
		}
		if err := os.Remove(filepath.Join(s.dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Add keeps a job unless there is one of that id, made by whichever process; it returns the one that is kept.
func (s *Store[J]) Add(id string, job J) (kept J, added bool, err error) {
	err = s.locked(func() error {
		kept, err = s.Get(id)
		if !isNotFound(err) {
			return err
		}
		kept, added = job, true
		return s.write(id, job)
	})
	return kept, added && err == nil, err
}

// Put keeps a job in the place of one of the same id.
func (s *Store[J]) Put(id string, job J) error {
	return s.locked(func() error { return s.write(id, job) })
}

// Update changes a job, and returns it. No other change comes between; nothing changes where the function returns an error.
func (s *Store[J]) Update(id string, change func(job *J) error) (job J, err error) {
	err = s.locked(func() error {
		if job, err = s.Get(id); err != nil {
			return err
		}
		if err := change(&job); err != nil {
			return err
		}
		return s.write(id, job)
	})
	return job, err
}

// Get returns a job: NOT_FOUND where there is none.
func (s *Store[J]) Get(id string) (job J, err error) {
	path, err := s.path(id)
	if err != nil {
		return job, err
	}
	return read[J](path, id)
}

// Delete forgets a job. One that is not there is forgotten already.
func (s *Store[J]) Delete(id string) error {
	path, err := s.path(id)
	if err != nil {
		return err
	}
	return s.locked(func() error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// Jobs returns all jobs by their ids. Those that cannot be read are missing, and the error names their files.
func (s *Store[J]) Jobs() (map[string]J, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	jobs := map[string]J{}
	var unread []error
	for _, entry := range entries {
		name, isJob := strings.CutSuffix(entry.Name(), suffix)
		if !isJob || strings.HasPrefix(name, ".") {
			continue
		}
		id, err := url.QueryUnescape(name)
		if err != nil {
			unread = append(unread, fmt.Errorf("%s is no file of a job: %w", filepath.Join(s.dir, entry.Name()), err))
			continue
		}
		switch job, err := read[J](filepath.Join(s.dir, entry.Name()), id); {
		case err == nil:
			jobs[id] = job
		case !isNotFound(err): // which was deleted meanwhile
			unread = append(unread, err)
		}
	}
	return jobs, errors.Join(unread...)
}

func isNotFound(err error) bool { return status.Code(err) == codes.NotFound }

// path is where a job is.
func (s *Store[J]) path(id string) (string, error) {
	name := url.QueryEscape(id) + suffix
	if strings.HasPrefix(name, ".") {
		name = "%2E" + name[1:]
	}
	if id == "" || len(name) > maxName {
		return "", agent.InvalidArgument("the id of a job must have 1 to %d bytes, as a file's name without %s: %q", maxName-len(suffix), suffix, id)
	}
	return filepath.Join(s.dir, name), nil
}

func read[J any](path, id string) (job J, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return job, agent.NotFound("there is no job %q", id)
	}
	if err != nil {
		return job, err
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil || version.Format < 1 {
		return job, agent.FailedPrecondition("%s is not the file of a job: it is damaged, or of something else; remove it to go on without the job", path)
	}
	if version.Format > format {
		return job, agent.FailedPrecondition("%s has format %d, and this version of the plugin reads up to %d: a newer one has written it", path, version.Format, format)
	}
	var whole file[J]
	if err := json.Unmarshal(data, &whole); err != nil {
		return job, agent.FailedPrecondition("%s has a job of another type: %v", path, err)
	}
	return whole.Job, nil
}

// write replaces a job's file as a whole, and returns when it is on the disk.
func (s *Store[J]) write(id string, job J) (err error) {
	path, err := s.path(id)
	if err != nil {
		return err
	}
	data, err := json.Marshal(file[J]{format, job})
	if err != nil {
		return fmt.Errorf("job %q cannot be written as JSON: %w", id, err)
	}
	fresh, err := os.CreateTemp(s.dir, ".new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(fresh.Name()) // what went wrong before is to be told
		}
	}()
	_, err = fresh.Write(append(data, '\n'))
	if err := errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh.Name(), path); err != nil {
		return err
	}
	return syncFolder(s.dir)
}

// syncFolder sees to it that a new name is on the disk.
func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// locked does something while no other process, and nobody else in this one, changes the folder.
func (s *Store[J]) locked(do func() error) error {
	lock, err := os.OpenFile(filepath.Join(s.dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // with which the lock goes
	if err := exclusively(lock); err != nil {
		return fmt.Errorf("%s cannot be locked: %w", lock.Name(), err)
	}
	return do()
}
