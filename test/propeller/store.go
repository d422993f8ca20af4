package propeller

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Store is where outputs lie: Flyte's blob store.
type Store interface {
	// Read gives a file's content. Its error wraps fs.ErrNotExist where there is none.
	Read(ctx context.Context, uri string) ([]byte, error)
	// Write makes a file, or replaces it.
	Write(ctx context.Context, uri string, data []byte) error
}

// NewStore gives a store of local files, for plain paths and file:// URIs, and of memory, for all other URIs.
func NewStore() Store { return &store{memory: map[string][]byte{}} }

type store struct {
	mu     sync.Mutex
	memory map[string][]byte
}

func (s *store) Read(_ context.Context, uri string) ([]byte, error) {
	if file, ok := localFile(uri); ok {
		return os.ReadFile(file)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.memory[uri]
	if !ok {
		return nil, fmt.Errorf("%s: %w", uri, fs.ErrNotExist)
	}
	return data, nil
}

func (s *store) Write(_ context.Context, uri string, data []byte) error {
	if file, ok := localFile(uri); ok {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		return os.WriteFile(file, data, 0o644)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory[uri] = data
	return nil
}

func localFile(uri string) (string, bool) {
	if file, ok := strings.CutPrefix(uri, "file://"); ok {
		return file, true
	}
	return uri, !strings.Contains(uri, "://")
}
