package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/secret"
	"github.com/agenthost/agenthost/host/state"
)

// createKeys are the keys that accepted tasks are sealed with: those of create.keys or, without that, one of the host's own.
type createKeys struct {
	dir *state.Dir
	log *slog.Logger

	mu       sync.Mutex // guards what follows
	settings config.Create
	own      []byte // the host's own key, once it was read: should somebody remove the file, it is written again

	current atomic.Pointer[record.Keys]
	problem atomic.Pointer[string] // why they are not as they should be; nil where they are
}

const (
	// keysFile is the host's own key in the state directory, and keysFormat its format: as record.ParseKeys reads it.
	keysFile   = "keys/create"
	keysFormat = 1
	// keysReread is how often create.keys is read again, and keysTimeout for how long a store is asked.
	keysReread  = 30 * time.Second
	keysTimeout = 10 * time.Second
)

// ownKeysWarning is what operators of several replicas have to know.
const ownKeysWarning = "create.keys is not set: only this host can make good the tasks that it accepts; set it where there are several replicas"

func openCreateKeys(ctx context.Context, settings config.Create, dir *state.Dir, log *slog.Logger) *createKeys {
	k := &createKeys{dir: dir, log: log}
	k.apply(ctx, settings)
	return k
}

// apply takes up what the configuration says.
func (k *createKeys) apply(ctx context.Context, settings config.Create) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settings = settings
	k.read(ctx)
}

// read reads the keys. Where that fails the last ones stay.
func (k *createKeys) read(ctx context.Context) {
	var keys *record.Keys
	var err error
	if k.settings.Keys != "" {
		keys, err = k.configured(ctx)
	} else if keys, err = k.ownKeys(); err != nil {
		err = fmt.Errorf("the host has no key of its own, and accepts no task whose job cannot be made at once: %w", err)
	}
	switch {
	case err != nil:
		k.failed(err)
		return
	case k.settings.Keys == "" && k.settings.OnRecord == config.On:
		k.failed(errors.New(ownKeysWarning))
	case k.problem.Swap(nil) != nil:
		k.log.Info("the keys for tasks whose job cannot be made at once are there")
	}
	k.current.Store(keys)
}

// configured reads the keys of create.keys. The host's own key opens beside them: a host that had only that has accepted tasks
// with it, which go on.
func (k *createKeys) configured(ctx context.Context) (*record.Keys, error) {
	text, keys, err := readCreateKeys(ctx, k.settings.Keys)
	if err != nil {
		return nil, err
	}
	if own, _, err := k.dir.Read(keysFile, keysFormat); err == nil {
		k.own = own
	}
	if both, err := record.ParseKeys(slices.Concat(text, []byte("\n"), k.own)); err == nil { // a spoilt own key opens nothing
		keys = both
	}
	return keys, nil
}

// ownKeys reads the key that the host, or another with the same state directory, has made, and makes one where there is none.
func (k *createKeys) ownKeys() (*record.Keys, error) {
	text, _, err := k.dir.Read(keysFile, keysFormat)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = k.makeOwnKeys()
	}
	if err != nil {
		return nil, err
	}
	keys, err := record.ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.dir.Path(keysFile), err)
	}
	k.own = text
	return keys, nil
}

// makeOwnKeys makes a key, once, however many hosts begin at the same time.
func (k *createKeys) makeOwnKeys() ([]byte, error) {
	for deadline := time.Now().Add(keysTimeout); ; time.Sleep(10 * time.Millisecond) {
		unlock, err := k.dir.Lock("keys")
		switch {
		case errors.Is(err, state.ErrLocked) && time.Now().Before(deadline):
			continue
		case err != nil:
			return nil, err
		}
		text, _, err := k.dir.Read(keysFile, keysFormat)
		if errors.Is(err, fs.ErrNotExist) {
			if text = k.own; text == nil {
				text = record.NewKey()
			}
			err = k.dir.Write(keysFile, keysFormat, text)
		}
		return text, errors.Join(err, unlock())
	}
}

// run reads the keys again and again until ctx ends, so that keys can be replaced.
func (k *createKeys) run(ctx context.Context) {
	ticker := time.NewTicker(keysReread)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			k.mu.Lock()
			k.read(ctx)
			k.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// ReadCreateKeys reads the keys at a source as create.keys names it.
func ReadCreateKeys(ctx context.Context, source string) (*record.Keys, error) {
	_, keys, err := readCreateKeys(ctx, source)
	return keys, err
}

func readCreateKeys(ctx context.Context, source string) (text []byte, keys *record.Keys, err error) {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	text, err = secret.Read(ctx, source)
	if err == nil {
		keys, err = record.ParseKeys(text)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("create.keys: %w", err)
	}
	return text, keys, nil
}

// failed remembers what is wrong, and logs it once.
func (k *createKeys) failed(err error) {
	why := err.Error()
	if last := k.problem.Swap(&why); last == nil || *last != why {
		k.log.Warn("tasks may not be accepted as they should be", "problem", why)
	}
}

// warning is what is wrong with the keys; empty where nothing is.
func (k *createKeys) warning() string { return textOf(&k.problem) }
