package jobs

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

const (
	storeFile     = "store"
	processesDir  = "processes"
	jobsDir       = "jobs"
	specFile      = "spec"
	statusFile    = "status"
	endedFile     = "ended"
	logFile       = "log"
	cancelFile    = "cancel"
	lockFile      = "lock"
	abandonedFile = "abandoned"
	ownerPrefix   = "owner."
)

// folder keeps jobs in a directory of this machine, or of a volume that machines share.
type folder struct {
	root, dir string
	store     string
	process   string
	// machine is where locks tell who lives; local, that they do so for all who can reach the directory.
	machine string
	local   bool
	// interval is how often to look for work of processes that are gone.
	interval time.Duration
	log      *slog.Logger
	// locked is the watch's.
	locked map[string]lockedJob
}

// owner is what an owner.<n> holds.
type owner struct {
	// Process is "" where the one before has let go of the job.
	Process string `json:"process"`
	Machine string `json:"machine"`
}

func openFolder(root, process string, lease time.Duration, log *slog.Logger) (*folder, error) {
	f := &folder{root: root, dir: filepath.Join(root, jobsDir), process: process, machine: machineID(), interval: min(500*time.Millisecond, lease/8), log: log, locked: map[string]lockedJob{}}
	cannot := func(err error) error { return fmt.Errorf("cannot keep jobs in %s: %w", root, err) }
	if err := errors.Join(os.MkdirAll(f.dir, 0o700), os.MkdirAll(filepath.Join(root, processesDir), 0o700)); err != nil {
		return nil, cannot(err)
	}
	kind, err := storage.FileSystem(root)
	if err != nil {
		return nil, cannot(err)
	}
	f.local = !kind.Shared
	if f.store, err = f.identify(); err != nil {
		return nil, cannot(err)
	}
	f.sweep()
	return f, nil
}

// identify reads the store's id, which the first process makes.
func (f *folder) identify() (string, error) {
	data, err := json.Marshal(identity{Format: format, ID: newName()})
	if err != nil {
		return "", err
	}
	path := filepath.Join(f.root, storeFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := createFile(f.root, storeFile, data); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
	data, err = os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var is identity
	if err := decode(path, data, &is); err != nil {
		return "", err
	}
	if is.ID == "" {
		return "", fmt.Errorf("%s names no store", path)
	}
	return is.ID, nil
}

// machineID tells machines apart for as long as they run: locks of processes that are gone do not outlive it.
func machineID() string {
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		return strings.TrimSpace(string(id))
	}
	return newName()
}

func (f *folder) id() string { return f.store }

func (f *folder) pace() (quick, idle, report time.Duration) {
	return f.interval, f.interval, time.Second
}

func (f *folder) path(id string) string { return filepath.Join(f.dir, id) }

func (f *folder) submit(_ context.Context, id string, spec []byte, status Status) (hold, error) {
	dir, err := os.MkdirTemp(f.dir, ".new-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // renamed already when all went well
	// Locked before it can be seen, so that no other process takes it first.
	lock, err := acquire(dir)
	if err != nil {
		return nil, err
	}
	mine, err := json.Marshal(owner{Process: f.process, Machine: f.machine})
	if err == nil {
		err = errors.Join(
			writeFile(dir, specFile, spec),
			writeStatus(dir, status),
			// As long as the lock tells, a crash of the machine that leaves it empty does no harm.
			os.WriteFile(filepath.Join(dir, ownerPrefix+"1"), mine, 0o600),
		)
	}
	if err == nil {
		err = os.Rename(dir, f.path(id))
		if errors.Is(err, os.ErrExist) {
			err = errTaken
		}
	}
	if err == nil {
		err = syncDir(f.dir)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &folderHold{folder: f, dir: f.path(id), number: 1, lock: lock}, nil
}

func (f *folder) find(_ context.Context, id string) error {
	if _, err := os.Stat(f.path(id)); err != nil {
		return absent(err)
	}
	switch _, err := os.Stat(filepath.Join(f.path(id), abandonedFile)); {
	case err == nil:
		return ErrAbandoned
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	return nil
}

func absent(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return ErrUnknown
	}
	return err
}

// abandon lets a directory take the place of a job that was never submitted. Processes that submit and abandon at the same time all
// rename a directory to that of the id, which succeeds for one of them.
func (f *folder) abandon(ctx context.Context, id string) error {
	for {
		taken, err := f.occupy(id)
		if !taken {
			return err
		}
		forgotten, err := f.giveUp(ctx, id)
		if !forgotten {
			return err
		}
	}
}

// occupy takes the place of a job that was never submitted; taken says that there is one, or was given up before.
func (f *folder) occupy(id string) (taken bool, err error) {
	dir, err := os.MkdirTemp(f.dir, ".new-*")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // renamed already when all went well
	now := time.Now()
	err = errors.Join(
		writeFile(dir, abandonedFile, nil),
		writeStatus(dir, Status{Format: format, State: Cancelled, Submitted: now, Finished: now}),
	)
	if err == nil {
		err = os.Rename(dir, f.path(id))
	}
	if errors.Is(err, os.ErrExist) {
		return true, nil
	}
	if err == nil {
		err = syncDir(f.dir)
	}
	return false, err
}

// giveUp says of a job that its id is given up, and ends it; forgotten says that the job is gone.
func (f *folder) giveUp(ctx context.Context, id string) (forgotten bool, err error) {
	err = writeFile(f.path(id), abandonedFile, nil)
	if err == nil {
		err = syncDir(f.path(id))
	}
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err == nil {
		err = f.cancel(ctx, id)
	}
	return false, err
}

func (f *folder) cancel(_ context.Context, id string) error {
	status, err := readStatus(f.path(id))
	if errors.Is(err, os.ErrNotExist) || err == nil && status.State.Ended() && !status.provisional {
		return nil
	}
	if err != nil {
		return err
	}
	status.State, status.Stage, status.Percent, status.Rows, status.Finished = Cancelled, "", 0, 0, time.Now()
	err = createStatus(f.path(id), status)
	if errors.Is(err, os.ErrExist) {
		return nil // it has ended meanwhile
	}
	if err == nil {
		err = writeFile(f.path(id), cancelFile, nil) // for an older version that may have it
	}
	return ignoreAbsent(err)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (f *folder) spec(_ context.Context, id string) ([]byte, error) {
	spec, err := os.ReadFile(filepath.Join(f.path(id), specFile))
	if err != nil {
		return nil, absent(err)
	}
	return spec, nil
}

func (f *folder) status(_ context.Context, id string) (Status, error) {
	status, err := readStatus(f.path(id))
	if err != nil {
		return Status{}, absent(err)
	}
	return status, nil
}

func (f *folder) lines(_ context.Context, id string) ([]Line, error) {
	if _, err := readStatus(f.path(id)); err != nil {
		return nil, absent(err)
	}
	return readLog(f.path(id))
}

// open lists the directories of jobs, in no order that means anything.
func (f *folder) open(context.Context) ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}

func (f *folder) look(_ context.Context, id string) (tenancy, error) {
	dir := f.path(id)
	if status, err := readStatus(dir); err != nil || status.State.Ended() && !status.provisional {
		return nil, cmp.Or(err, errEnded)
	}
	lock, err := acquire(dir)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return f.lookLocked(id)
	} else if err != nil {
		return nil, err
	}
	delete(f.locked, id)
	// Only now does the status stand still, where locks tell.
	status, err := readStatus(dir)
	if err == nil && status.State.Ended() && !status.provisional {
		err = errEnded
	}
	found := &folderTenancy{folder: f, dir: dir, lock: lock}
	if err == nil {
		found.has, found.number, err = currentOwner(dir)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return found, nil
}

// lookLocked is look where another process has the lock: most jobs, twice a second.
func (f *folder) lookLocked(id string) (tenancy, error) {
	if known, ok := f.locked[id]; ok && time.Since(known.at) < lookAgain {
		return &known.folderTenancy, nil
	}
	found := folderTenancy{folder: f, dir: f.path(id)}
	var err error
	if found.has, found.number, err = currentOwner(found.dir); err != nil {
		return nil, err
	}
	f.locked[id] = lockedJob{found, time.Now()}
	return &found, nil
}

const lookAgain = 5 * time.Second

// lockedJob is a job that another process had the lock of.
type lockedJob struct {
	folderTenancy
	at time.Time
}

// currentOwner is the one with the highest fence. A job that an older version made has none: fence 0.
func currentOwner(dir string) (has owner, number int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return owner{}, 0, err
	}
	for _, entry := range entries {
		text, found := strings.CutPrefix(entry.Name(), ownerPrefix)
		if n, err := strconv.Atoi(text); found && err == nil {
			number = max(number, n)
		}
	}
	if number == 0 {
		return owner{}, 0, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, ownerPrefix+strconv.Itoa(number)))
	if err != nil {
		return owner{}, 0, err
	}
	if json.Unmarshal(data, &has) != nil {
		has = owner{} // cut off by the crash of a machine, which its lock did not survive
	}
	return has, number, nil
}

type folderTenancy struct {
	folder *folder
	dir    string
	// lock is nil where another process has it.
	lock   *os.File
	has    owner
	number int
}

func (t *folderTenancy) owner() string { return t.has.Process }

// free believes the lock where it is known to bind the owner: on the same machine, or where there is but one. Machines that share
// a volume may each have locks of their own.
func (t *folderTenancy) free() bool {
	return t.lock != nil && (t.has.Process == "" || t.folder.local || t.has.Machine == t.folder.machine)
}

func (t *folderTenancy) leave() {
	if t.lock != nil {
		t.lock.Close()
	}
}

func (t *folderTenancy) take(context.Context) (hold, Status, error) {
	taken, status, err := t.next()
	if err != nil {
		t.leave()
		return nil, Status{}, err
	}
	return taken, status, nil
}

func (t *folderTenancy) next() (*folderHold, Status, error) {
	if t.has.Process == "" && t.lock == nil {
		return nil, Status{}, errLost // an older version's, or one that is being taken
	}
	mine, err := json.Marshal(owner{Process: t.folder.process, Machine: t.folder.machine})
	if err != nil {
		return nil, Status{}, err
	}
	err = createFile(t.dir, ownerPrefix+strconv.Itoa(t.number+1), mine)
	if errors.Is(err, os.ErrExist) {
		return nil, Status{}, errLost
	} else if err != nil {
		return nil, Status{}, err
	}
	status, err := readStatus(t.dir)
	if err != nil {
		return nil, Status{}, err
	}
	if status.provisional {
		status.State = Queued // an older version was told to cancel it: its end is this owner's to store
	}
	return &folderHold{folder: t.folder, dir: t.dir, number: t.number + 1, lock: t.lock}, status, nil
}

// folderHold is a job whose owner.<number> is this process's. Its lock is nil where it was taken from a process that is stopped.
type folderHold struct {
	folder *folder
	dir    string
	number int
	lock   *os.File
}

func (h *folderHold) fence() int { return h.number }

func (h *folderHold) close() {
	if h.lock != nil {
		h.lock.Close()
	}
}

func (h *folderHold) spec(ctx context.Context) ([]byte, error) {
	return h.folder.spec(ctx, filepath.Base(h.dir))
}

func (h *folderHold) write(_ context.Context, status Status) error {
	if err := h.check(); err != nil {
		return err
	}
	if err := writeStatus(h.dir, status); err != nil {
		return err
	}
	return h.settle()
}

// settle puts an end that was decided between check and a write back into the status file, where older versions look for it.
func (h *folderHold) settle() error {
	ended, err := os.ReadFile(filepath.Join(h.dir, endedFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = writeFile(h.dir, statusFile, ended)
	}
	return cmp.Or(err, h.check())
}

func (h *folderHold) note(line Line) error {
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(h.dir, logFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(append(data, '\n'))
	return err
}

func (h *folderHold) end(_ context.Context, status Status) error {
	err := createStatus(h.dir, status)
	switch {
	case errors.Is(err, os.ErrExist):
		return cmp.Or(h.check(), errLost)
	case errors.Is(err, os.ErrNotExist):
		return errLost // and forgotten
	case err != nil:
		return err
	}
	return nil
}

func (h *folderHold) check() error {
	if _, err := os.Stat(filepath.Join(h.dir, endedFile)); err == nil {
		if status, err := readStatus(h.dir); err == nil && status.State == Cancelled {
			return errCancelled
		}
		return errLost
	}
	if _, err := os.Stat(filepath.Join(h.dir, cancelFile)); err == nil {
		return errCancelled
	}
	if _, err := os.Stat(filepath.Join(h.dir, ownerPrefix+strconv.Itoa(h.number+1))); err == nil {
		return errLost
	}
	return nil
}

func (h *folderHold) verify(context.Context) error {
	if _, err := os.Stat(h.dir); errors.Is(err, os.ErrNotExist) {
		return errLost
	}
	return h.check()
}

func (h *folderHold) release(_ context.Context, status Status) error {
	if err := h.check(); err != nil {
		return err
	}
	nobody, err := json.Marshal(owner{Machine: h.folder.machine})
	if err == nil {
		err = writeStatus(h.dir, status)
	}
	if err == nil {
		err = h.settle()
	}
	if err == nil {
		err = createFile(h.dir, ownerPrefix+strconv.Itoa(h.number+1), nobody)
	}
	return err
}

// beat writes the sign in place: other machines that have the file open see it then, and not one that has replaced it.
func (f *folder) beat(_ context.Context, s sign) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(f.root, processesDir, f.process), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// It only grows, as the number in it does, so that nothing old is left behind it.
	_, err = file.WriteAt(data, 0)
	return errors.Join(err, file.Close())
}

func (f *folder) sign(_ context.Context, process string) (sign, error) {
	data, err := os.ReadFile(filepath.Join(f.root, processesDir, filepath.Base(process)))
	if errors.Is(err, os.ErrNotExist) {
		return sign{}, nil
	} else if err != nil {
		return sign{}, err
	}
	var s sign
	if err := json.Unmarshal(data, &s); err != nil {
		return sign{}, err
	}
	return s, nil
}

func (f *folder) leave(context.Context) error {
	return ignoreAbsent(os.Remove(filepath.Join(f.root, processesDir, f.process)))
}

// prune forgets finished jobs that are too old or too many. What was abandoned takes no room, and must not come back before its
// time. All ages are by the clock that the file system has: that of another machine may be wrong.
func (f *folder) prune(ctx context.Context, keepFor time.Duration, keepCount int) error {
	now, err := f.now()
	if err != nil {
		return err
	}
	ids, err := f.open(ctx)
	if err != nil {
		return err
	}
	type finished struct {
		id string
		at time.Time
	}
	var jobs []finished
	for _, id := range ids {
		if at, ok := modified(f.path(id), abandonedFile); ok && now.Sub(at) <= keepFor {
			continue
		}
		if status, err := readStatus(f.path(id)); err != nil || !status.State.Ended() || status.provisional {
			continue
		}
		at, ok := modified(f.path(id), endedFile)
		if !ok {
			at, _ = modified(f.path(id), statusFile)
		}
		jobs = append(jobs, finished{id, at})
	}
	slices.SortFunc(jobs, func(a, b finished) int { return cmp.Or(b.at.Compare(a.at), strings.Compare(a.id, b.id)) })
	for i, job := range jobs {
		if i < keepCount && now.Sub(job.at) <= keepFor {
			continue
		}
		if err := f.forget(job.id); err != nil {
			return fmt.Errorf("job %s: %w", job.id, err)
		}
	}
	return f.forgetSigns(now)
}

func modified(dir, name string) (time.Time, bool) {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return time.Time{}, false
	}
	return info.ModTime(), true
}

// now is the time by the file system's clock.
func (f *folder) now() (time.Time, error) {
	file, err := os.CreateTemp(f.dir, ".now-*")
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = os.Remove(file.Name()) }() // swept later if need be
	defer file.Close()
	if _, err := file.WriteString("now"); err != nil {
		return time.Time{}, err
	}
	info, err := file.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// longGone is how old a sign is that nobody waits for any more.
const longGone = 24 * time.Hour

func (f *folder) forgetSigns(now time.Time) error {
	dir := filepath.Join(f.root, processesDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		at, ok := modified(dir, entry.Name())
		if !ok || entry.Name() == f.process || now.Sub(at) < longGone {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// forget removes a job in one step, so that nobody meets half of it.
func (f *folder) forget(id string) error {
	gone := filepath.Join(f.dir, ".old-"+id)
	if err := os.Rename(f.path(id), gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(gone)
}

// sweep removes what a crash left half made or half removed. What is young may be another process's, at work on it now.
func (f *folder) sweep() {
	const young = time.Minute
	now, err := f.now()
	if err != nil {
		return
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && strings.HasPrefix(entry.Name(), ".") && now.Sub(info.ModTime()) > young {
			if err := os.RemoveAll(filepath.Join(f.dir, entry.Name())); err != nil {
				f.log.Warn("cannot remove what a crash left", "file", entry.Name(), "error", err)
			}
		}
	}
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
