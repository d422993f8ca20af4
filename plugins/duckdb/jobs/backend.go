package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// format is how this version stores jobs. It counts up with each change that an older version would get wrong.
const format = 1

var (
	// errTaken is the answer for an id that somebody else has made a job of.
	errTaken = errors.New("there is such a job")
	// errEnded is the answer for a job that nobody has to take over.
	errEnded = errors.New("the job has ended")
	// errLost is the answer to the owner of a job that is another's now, or that somebody has ended.
	errLost = errors.New("another process has the job")
)

// backend is where jobs are kept: directories of files (folder), or objects in a bucket.
//
// It decides two things once for all processes, whatever their clocks say and however long they were stopped: who owns a
// job, by the fence that each owner has alone; and how the job ends, which nothing changes any more.
type backend interface {
	// id is the store's own name, which no other has.
	id() string
	// submit makes a job, whose owner this process is, or answers errTaken.
	submit(ctx context.Context, id string, spec []byte, status Status) (hold, error)
	// find says whether there is a job: nil, ErrUnknown or ErrAbandoned.
	find(ctx context.Context, id string) error
	// abandon gives an id up, and cancels its job.
	abandon(ctx context.Context, id string) error
	// cancel ends a job, unless it has ended or is unknown.
	cancel(ctx context.Context, id string) error
	spec(ctx context.Context, id string) ([]byte, error)
	status(ctx context.Context, id string) (Status, error)
	lines(ctx context.Context, id string) ([]Line, error)
	// open lists the jobs that may not have ended.
	open(ctx context.Context) ([]string, error)
	// look finds out who has a job that another process may have left, or answers errEnded.
	look(ctx context.Context, id string) (tenancy, error)
	// beat shows that this process lives.
	beat(ctx context.Context, s sign) error
	// sign reads that of another process, or the zero one where there is none.
	sign(ctx context.Context, process string) (sign, error)
	// prune forgets what ended long ago, and what nobody needs.
	prune(ctx context.Context, keepFor time.Duration, keepCount int) error
	// leave takes this process's sign away.
	leave(ctx context.Context) error
	// pace: quick is how often to look for jobs of processes that are gone, idle how often where none was open last time, and
	// report how often a job's progress is stored.
	pace() (quick, idle, report time.Duration)
}

// tenancy is who has a job.
type tenancy interface {
	// owner is the process that has it, "" for none.
	owner() string
	// free says that the owner has let go of it, or is known to be dead.
	free() bool
	// take makes this process its owner, with the next fence, or answers errLost.
	take(ctx context.Context) (hold, Status, error)
	// leave ends the look without taking the job.
	leave()
}

// hold is a job in the hands of its owner. It is safe for concurrent use.
type hold interface {
	// fence counts the job's owners.
	fence() int
	// write stores how far the job is.
	write(ctx context.Context, status Status) error
	// note adds a line to the job's log.
	note(line Line) error
	// end decides how the job ends, unless that is decided, or another process owns it: errLost, or errCancelled.
	end(ctx context.Context, status Status) error
	// check says whether the job is still this process's, as far as it can be known at once: nil, errLost or errCancelled.
	check() error
	// verify asks the store.
	verify(ctx context.Context) error
	// spec is what to do.
	spec(ctx context.Context) ([]byte, error)
	// release lets another process take the job over at once.
	release(ctx context.Context, status Status) error
	// close lets go of what this process holds.
	close()
}

// decode reads what a process has stored, unless a newer version has.
func decode(what string, data []byte, into any) error {
	var header struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &header); err != nil {
		return fmt.Errorf("%s is unreadable: %w", what, err)
	}
	if header.Format > format {
		return fmt.Errorf("%s is of format %d, this version of the plugin knows up to %d: %w", what, header.Format, format, ErrNewer)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s is unreadable: %w", what, err)
	}
	return nil
}

// identity is what tells stores apart.
type identity struct {
	Format int    `json:"format"`
	ID     string `json:"id"`
}
