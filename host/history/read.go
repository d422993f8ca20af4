package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxRead is how much of one file is read, its end: hosts leave none that is longer by more than a few lines.
const maxRead = maxFile + 1<<20

// read gives the newest events of a query. The problem is for what could not be read, beside which there may be events.
func (f *file) read(q Query) (events []Event, problem error) {
	var files []*os.File
	for _, name := range []string{current, former} { // in this order: the current one may become the former meanwhile
		opened, err := openFor(f.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			problem = errors.Join(problem, fmt.Errorf("%s: %w", f.path(name), err))
		default:
			defer opened.Close()
			files = append(files, opened)
		}
	}
	if len(files) == 2 && isSame(files[0], files[1]) {
		files = files[:1]
	}
	for i := len(files) - 1; i >= 0; i-- {
		refused, err := readEvents(files[i], q, func(e Event) {
			events = append(events, e)
			if len(events) >= 2*q.Limit { // so that it is moved seldom
				events = append(events[:0], events[len(events)-q.Limit:]...)
			}
		})
		if err != nil {
			problem = errors.Join(problem, fmt.Errorf("%s: %w", files[i].Name(), err))
		}
		if refused > 0 {
			problem = errors.Join(problem, fmt.Errorf("%s: %d of its lines are no events, and are left out", files[i].Name(), refused))
		}
	}
	return events[max(0, len(events)-q.Limit):], problem
}

// openFor opens the end of a file.
func openFor(path string) (*os.File, error) {
	opened, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	if err == nil {
		err = believable(info)
	}
	if err == nil && info.Size() > maxRead {
		_, err = opened.Seek(-maxRead, io.SeekEnd)
	}
	if err != nil {
		opened.Close()
		return nil, err
	}
	return opened, nil
}

func isSame(a, b *os.File) bool {
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// readEvents gives the events of a query to take. A line that is none is counted; the last one may be half written.
func readEvents(from io.Reader, q Query, take func(Event)) (refused int, err error) {
	lines := bufio.NewReaderSize(io.LimitReader(from, maxRead), maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		whole := err == nil
		for errors.Is(err, bufio.ErrBufferFull) { // longer than any that a host writes
			_, err = lines.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return refused, err
		}
		switch e, known := decode(line, q.Since); {
		case !whole && errors.Is(err, io.EOF), len(bytes.TrimSpace(line)) == 0:
		case !whole, !known:
			refused++
		case e != nil && q.wants(*e) && (q.only == nil || q.only(*e)):
			take(*e)
		}
		if errors.Is(err, io.EOF) {
			return refused, nil
		}
	}
}

// prefix is what lines begin with.
var prefix = []byte(`{"time":"`)

// decode reads a line; it is known but nil, where it is known to be of before since.
func decode(line []byte, since time.Time) (e *Event, known bool) {
	if rest, ok := bytes.CutPrefix(line, prefix); ok && !since.IsZero() { // most of a long history is of before
		if stamp, _, ok := bytes.Cut(rest, []byte{'"'}); ok {
			if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil && at.Before(since) {
				return nil, true
			}
		}
	}
	e = &Event{}
	if json.Unmarshal(line, e) != nil || e.Time.IsZero() || e.State == "" {
		return nil, false
	}
	if e.Time.Before(since) {
		return nil, true
	}
	bounded := e.bounded()
	return &bounded, true
}
