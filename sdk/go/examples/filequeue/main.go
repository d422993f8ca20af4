// A queue in files, for work that no service does and that takes longer than a call may: here the checksums of files. Create puts a job
// into a folder, a worker behind the calls takes it up, and Get reads what became of it.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/jobstore"
)

func main() {
	q := &queue{added: make(chan struct{}, 1)}
	agent.Serve(agent.Plugin{Name: "filequeue", Version: "1.0.0"},
		agent.Async("checksum", q, agent.IdempotentCreate()), agent.Configure(q.configure))
}

type config struct {
	Folder string `json:"folder" jsonschema:"required,description=Where the jobs are. The plugin's sandbox has to let it write there."`
}

// job is what a file of the folder holds. A newer version of the plugin may add fields.
type job struct {
	Path    string    `json:"path"`
	Made    time.Time `json:"made"`
	Size    int64     `json:"size"`
	SHA256  string    `json:"sha256"`  // once it is done
	Problem string    `json:"problem"` // once it has failed
}

type queue struct {
	jobs  *jobstore.Store[job]
	added chan struct{} // the worker is to look
}

func (q *queue) configure(ctx context.Context, c config) (err error) {
	if q.jobs, err = jobstore.Open[job](c.Folder); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(c.Folder, ".worker"), os.O_RDWR|os.O_CREATE, 0o600) // no job's file begins with a dot
	if err != nil {
		return err
	}
	go q.work(agent.UntilReplaced(ctx), lock) // nobody needs to wait for it: it may be killed at any time
	return nil
}

// meta is what Flyte keeps. A job is named by its attempt's key, so that a Create that is repeated finds it.
type meta struct{ ID string }

func (q *queue) Create(_ context.Context, task *agent.Task) (meta, error) {
	path, err := agent.Input[string](task, "path")
	if err != nil {
		return meta{}, err
	}
	_, _, err = q.jobs.Add(task.IdempotencyKey, job{Path: path, Made: time.Now()}) // unless it is there
	select {
	case q.added <- struct{}{}:
	default: // the worker is about to look
	}
	return meta{task.IdempotencyKey}, err
}

func (q *queue) Get(_ context.Context, j agent.Job[meta]) (*agent.Resource, error) {
	now, err := q.jobs.Get(j.Meta.ID)
	switch {
	case err != nil:
		return nil, err
	case now.Problem != "":
		return agent.Failed(agent.UserError("Unreadable", errors.New(now.Problem))), nil
	case now.SHA256 != "":
		return agent.Succeeded(agent.Outputs{"sha256": now.SHA256, "size": now.Size}), nil
	}
	return agent.Running("it is in the queue"), nil
}

// Delete takes the job's file away, and what the worker finds out of it is kept nowhere.
func (q *queue) Delete(_ context.Context, j agent.Job[meta]) error { return q.jobs.Delete(j.Meta.ID) }

// work goes on until a newer process takes over. One process works at a time: the kernel takes the lock back however it ends.
func (q *queue) work(replaced context.Context, lock *os.File) {
	defer lock.Close()
	for syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil && replaced.Err() == nil {
		time.Sleep(100 * time.Millisecond)
	}
	for replaced.Err() == nil {
		jobs, err := q.jobs.Jobs()
		for _, id := range slices.SortedFunc(maps.Keys(jobs), func(a, b string) int { return jobs[a].Made.Compare(jobs[b].Made) }) {
			switch j := jobs[id]; {
			case j.SHA256 == "" && j.Problem == "":
				err = errors.Join(err, q.do(replaced, id, j.Path))
			case time.Since(j.Made) > 30*24*time.Hour: // Flyte need not delete what has ended
				err = errors.Join(err, q.jobs.Delete(id))
			}
		}
		if err != nil {
			slog.Error("some jobs of the queue stay as they are", "error", err)
		}
		select {
		case <-q.added:
		case <-time.After(5 * time.Second): // another process may have made one
		case <-replaced.Done():
		}
	}
}

// do begins at the beginning, also what a process had begun that was killed.
func (q *queue) do(replaced context.Context, id, path string) error {
	var size int64
	sum := sha256.New()
	file, err := os.Open(path)
	if err == nil {
		interrupt := context.AfterFunc(replaced, func() { file.Close() }) // which ends a read that goes on
		size, err = io.Copy(sum, file)
		interrupt()
		file.Close()
	}
	checksum, problem := hex.EncodeToString(sum.Sum(nil)), ""
	if err != nil {
		checksum, problem = "", err.Error()
	}
	_, err = q.jobs.Update(id, func(j *job) error {
		if replaced.Err() == nil { // or else the next process does it
			j.Size, j.SHA256, j.Problem = size, checksum, problem
		}
		return nil
	})
	if status.Code(err) == codes.NotFound { // it was deleted meanwhile
		err = nil
	}
	return err
}
