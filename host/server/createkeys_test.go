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

// A task that was accepted with the host's own key is opened with it for as long as the host lives, and by those after it.
func TestTheOwnKeyOfAHostOutlivesItsFileAndTheWayToOthers(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, record.NewKey(), 0o600); err != nil {
		t.Fatal(err)
	}
	log, dir := slog.New(slog.DiscardHandler), openState(t, filepath.Join(t.TempDir(), "state"))
	alone, shared := config.Create{OnRecord: config.On}, config.Create{OnRecord: config.On, Keys: "file://" + keys}
	k := openCreateKeys(t.Context(), alone, dir, log)
	accepted := record.Record{Plugin: "p"}.Seal(k.current.Load())
	goesOn := func(k *createKeys, when string) {
		t.Helper()
		if _, err := record.Open(k.current.Load(), accepted); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}

	if err := os.RemoveAll(dir.Path("")); err != nil {
		t.Fatal(err)
	}
	k.apply(t.Context(), alone) // as every 30 s
	goesOn(k, "after somebody has removed the state directory")
	goesOn(openCreateKeys(t.Context(), alone, dir, log), "at the next host")

	k.apply(t.Context(), shared)
	goesOn(k, "after the change to create.keys")
	next := openCreateKeys(t.Context(), shared, dir, log)
	goesOn(next, "at the next host, with create.keys")
	other := openCreateKeys(t.Context(), shared, openState(t, filepath.Join(t.TempDir(), "state")), log)
	if !opens(other, k) || !opens(other, next) || k.warning() != "" {
		t.Errorf("a replica cannot open what create.keys seal; warning: %q", k.warning())
	}
}
