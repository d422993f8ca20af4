package jobs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

// memory is a store that is right, and away never.
type memory struct {
	mu      sync.Mutex
	objects map[string]stored
	version int
	// requests counts what was asked, by its kind.
	requests map[string]int
}

type stored struct {
	data     []byte
	version  string
	modified time.Time
}

func newMemory() *memory { return &memory{objects: map[string]stored{}, requests: map[string]int{}} }

func (m *memory) String() string { return "memory" }

func (m *memory) Get(_ context.Context, key string) ([]byte, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests["get"]++
	is, ok := m.objects[key]
	if !ok {
		return nil, "", storage.ErrAbsent
	}
	return is.data, is.version, nil
}

func (m *memory) Put(_ context.Context, key string, data []byte, version string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests["put"]++
	if is := m.objects[key]; version != storage.Any && version != is.version {
		return "", storage.ErrChanged
	}
	m.version++
	is := stored{slices.Clone(data), strconv.Itoa(m.version), time.Now()}
	m.objects[key] = is
	return is.version, nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests["delete"]++
	delete(m.objects, key)
	return nil
}

func (m *memory) List(_ context.Context, prefix string) ([]storage.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests["list"]++
	var entries []storage.Entry
	for key, is := range m.objects {
		if strings.HasPrefix(key, prefix) {
			entries = append(entries, storage.Entry{Name: key[strings.LastIndexByte(prefix, '/')+1:], Modified: is.modified})
		}
	}
	slices.SortFunc(entries, func(a, b storage.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return entries, nil
}

// keys are what is stored below a prefix.
func (m *memory) keys(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for key := range m.objects {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (m *memory) count() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	counted := m.requests
	m.requests = map[string]int{}
	return counted
}

var errAway = errors.New("the store is away")

// line is one process's way to the store, which troubles it.
type line struct {
	storage.Objects

	mu sync.Mutex
	// cut is closed when the line heals; nil where it is whole. What was asked waits for that, as a process does that is stopped.
	cut chan struct{}
	// away has requests fail; lost has as many answers get lost after the request arrived.
	away bool
	lost int
}

func (l *line) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut == nil {
		l.cut = make(chan struct{})
	}
}

func (l *line) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut != nil {
		close(l.cut)
		l.cut = nil
	}
	l.away = false
}

func (l *line) setAway() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = true
}

func (l *line) loseAnswers(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost += n
}

// pass lets a request through, or not. It does not look at the context, as a request that is in the network does not.
func (l *line) pass() error {
	for {
		l.mu.Lock()
		cut, away := l.cut, l.away
		l.mu.Unlock()
		if cut == nil {
			if away {
				return errAway
			}
			return nil
		}
		<-cut
	}
}

func (l *line) answered() error {
	if err := l.pass(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost > 0 {
		l.lost--
		return errAway
	}
	return nil
}

func (l *line) Get(ctx context.Context, key string) ([]byte, string, error) {
	if err := l.pass(); err != nil {
		return nil, "", err
	}
	data, version, err := l.Objects.Get(ctx, key)
	return data, version, errors.Join(err, l.pass())
}

func (l *line) Put(ctx context.Context, key string, data []byte, version string) (string, error) {
	if err := l.pass(); err != nil {
		return "", err
	}
	written, err := l.Objects.Put(ctx, key, data, version)
	return written, cmp.Or(err, l.answered())
}

func (l *line) Delete(ctx context.Context, key string) error {
	if err := l.pass(); err != nil {
		return err
	}
	return cmp.Or(l.Objects.Delete(ctx, key), l.answered())
}

func (l *line) List(ctx context.Context, prefix string) ([]storage.Entry, error) {
	if err := l.pass(); err != nil {
		return nil, err
	}
	entries, err := l.Objects.List(ctx, prefix)
	return entries, cmp.Or(err, l.pass())
}
