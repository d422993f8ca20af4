package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/state"
)

func openState(t *testing.T, path string) *state.Dir {
	t.Helper()
	dir, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

func opens(by, of *createKeys) bool {
	_, err := record.Open(by.current.Load(), record.Record{Plugin: "p"}.Seal(of.current.Load()))
	return err == nil
}

func TestHostsWithOneStateDirectoryHaveOneKeyAndOthersAnother(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	settings := config.Create{OnRecord: config.On}
	path := filepath.Join(t.TempDir(), "state")
	hosts := make([]*createKeys, 10)
	var all sync.WaitGroup
	for i := range hosts {
		dir := openState(t, path)
		all.Go(func() { hosts[i] = openCreateKeys(t.Context(), settings, dir, log) })
	}
	all.Wait()
	for _, h := range hosts {
		if !opens(h, hosts[0]) || h.warning() != ownKeysWarning {
			t.Errorf("opens: %v, warning: %q", opens(h, hosts[0]), h.warning())
		}
	}
	other := openCreateKeys(t.Context(), config.Create{OnRecord: config.Off}, openState(t, filepath.Join(t.TempDir(), "state")), log)
	if opens(other, hosts[0]) || other.warning() != "" {
		t.Errorf("another host opens: %v, warning: %q", opens(other, hosts[0]), other.warning())
	}
}

func TestCreateKeysAreReadAgainAndTheLastOnesStayWhereThatFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first, second := record.NewKey(), record.NewKey()
	write(first)
	dir := openState(t, filepath.Join(t.TempDir(), "state"))
	synctest.Test(t, func(t *testing.T) {
		settings := config.Create{OnRecord: config.On, Keys: "file://" + file}
		log := slog.New(slog.DiscardHandler)
		k := openCreateKeys(t.Context(), settings, dir, log)
		go k.run(t.Context())
		before := *k.current.Load()
		if k.warning() != "" {
			t.Errorf("warning: %q", k.warning())
		}
		write([]byte("no key"))
		time.Sleep(keysReread + time.Second)
		if k.current.Load() == nil || !strings.Contains(k.warning(), "create.keys: line 1 is not 32 bytes in base64") || strings.Contains(k.warning(), "no key") {
			t.Errorf("warning: %q", k.warning())
		}
		write(append(second, first...))
		time.Sleep(keysReread)
		if _, err := record.Open(k.current.Load(), record.Record{Plugin: "p"}.Seal(&before)); err != nil || k.warning() != "" {
			t.Errorf("the former key: %v, warning: %q", err, k.warning())
		}
		if _, err := record.Open(&before, record.Record{Plugin: "p"}.Seal(k.current.Load())); err == nil {
			t.Error("the new key does not seal")
		}
	})
}

func TestAHostWithoutItsKeysStartsAndSaysSo(t *testing.T) {
	k := openCreateKeys(t.Context(), config.Create{OnRecord: config.On, Keys: "file:///nowhere/keys"}, openState(t, filepath.Join(t.TempDir(), "state")), slog.New(slog.DiscardHandler))
	if k.current.Load() != nil || !strings.Contains(k.warning(), "create.keys: cannot be read") {
		t.Errorf("warning: %q", k.warning())
	}
}
