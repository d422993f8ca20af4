package server

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/state"
)

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(line)
}

// take gives what was written since the last call.
func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.buffer.Reset()
	return b.buffer.String()
}

func TestTheHostLooksAfterItsFilesEveryMinute(t *testing.T) {
	dir, err := os.MkdirTemp("", "ah") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	runRoot, err := process.OpenRunRoot(filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	defer runRoot.Close()
	stateDir, err := state.Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer stateDir.Close()

	synctest.Test(t, func(t *testing.T) {
		var logged lockedBuffer
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			keepFiles(ctx, runRoot, stateDir, slog.New(slog.NewTextHandler(&logged, nil)))
		}()
		minute := func() {
			time.Sleep(keepInterval)
			synctest.Wait()
		}
		minute()
		if said := logged.take(); said != "" {
			t.Errorf("with nothing missing it says %s", said)
		}
		for _, gone := range []string{filepath.Join(dir, "run"), filepath.Join(dir, "state")} {
			if err := os.RemoveAll(gone); err != nil {
				t.Fatal(err)
			}
		}
		minute()
		for _, path := range []string{runRoot.Path(), stateDir.Path("")} {
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		}
		if said := logged.take(); strings.Count(said, "\n") != 1 || !strings.Contains(said, runRoot.Path()) {
			t.Errorf("it says %s", said)
		}

		// What cannot be made anew is told once, not every minute.
		if err := os.RemoveAll(filepath.Join(dir, "run")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "run"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		minute()
		minute()
		if said := logged.take(); strings.Count(said, "level=ERROR") != 1 || !strings.Contains(said, "is a file, not a directory") {
			t.Errorf("it says %s", said)
		}
		if err := os.Remove(filepath.Join(dir, "run")); err != nil {
			t.Fatal(err)
		}
		minute()
		if _, err := os.Stat(runRoot.Path()); err != nil {
			t.Error(err)
		}
		cancel()
		<-done
	})
}
