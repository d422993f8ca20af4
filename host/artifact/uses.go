package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/agenthost/agenthost/host/internal/privatedir"
)

// use is a plugin's of an artifact.
type use struct {
	Reference string // as it was asked for
	Digest    digest.Digest
	Manifest  digest.Digest
}

// pinned is the reference with its digest.
func (u use) pinned() string {
	ref, err := Parse(u.Reference)
	if err != nil {
		return u.Reference
	}
	return ref.At(u.Digest).String()
}

// usesFile is what a host notes of one plugin.
type usesFile struct {
	Plugin string
	Seen   time.Time // by its host, last
	Uses   []use
}

// forgotten is for how long what a host has noted counts that is not there: its machine's disk may have gone over to another.
const forgotten = 30 * 24 * time.Hour

func (s *Store) usesPath(plugin string) string {
	return s.path(usesName, url.PathEscape(s.options.Host), url.PathEscape(plugin)+".json")
}

func readUsesFile(path string) (usesFile, error) {
	var file usesFile
	content, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(content, &file)
	}
	return file, err
}

// user is a plugin of a host.
type user struct{ host, plugin string }

// readUses reads what all hosts have noted.
func readUses(dir string) (map[user][]use, error) {
	files, err := filepath.Glob(filepath.Join(dir, usesName, "*", "*.json"))
	if err != nil {
		return nil, err
	}
	uses := map[user][]use{}
	for _, path := range files {
		file, err := readUsesFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil { // what it names might be removed
			return nil, fmt.Errorf("cannot tell what is used: %s: %w", path, err)
		}
		if time.Since(file.Seen) < forgotten {
			uses[user{filepath.Base(filepath.Dir(path)), file.Plugin}] = file.Uses
		}
	}
	return uses, nil
}

// note adds a use to those of a plugin.
func (s *Store) note(plugin string, u use) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, err := readUsesFile(s.usesPath(plugin))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("what the plugin used cannot be read", "plugin", plugin, "error", err)
	}
	file.Uses = append(slices.DeleteFunc(file.Uses, func(known use) bool { return known.Reference == u.Reference }), u)
	return s.writeUses(plugin, file.Uses)
}

// writeUses needs the lock.
func (s *Store) writeUses(plugin string, uses []use) error {
	path := s.usesPath(plugin)
	content, err := json.Marshal(usesFile{Plugin: plugin, Seen: time.Now().UTC().Truncate(time.Hour), Uses: uses})
	if err != nil {
		return err
	}
	if known, err := os.ReadFile(path); err == nil && bytes.Equal(known, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeWhole(path, content)
}

// remembered is what a tag was when the plugin last used it.
func (s *Store) remembered(plugin string, ref Reference) (Reference, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, err := readUsesFile(s.usesPath(plugin))
	if err != nil {
		return Reference{}, false
	}
	for _, u := range slices.Backward(file.Uses) { // the last first
		if of, err := Parse(u.Reference); err == nil && of.Name() == ref.Name() && of.Tag == ref.Tag {
			return ref.At(u.Digest), true
		}
	}
	return Reference{}, false
}

// Keep says what a plugin may still need: of what else it used, what nobody needs is removed.
func (s *Store) Keep(plugin string, references []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, err := readUsesFile(s.usesPath(plugin))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err == nil && len(references) > 0:
		err = s.writeUses(plugin, slices.DeleteFunc(file.Uses, func(u use) bool { return !slices.Contains(references, u.Reference) }))
	case err == nil:
		err = os.Remove(s.usesPath(plugin))
	}
	if err != nil {
		s.log.Warn("what the plugin uses cannot be noted", "plugin", plugin, "error", err)
	}
	s.sweepSoon()
}

// KeepOnly says which plugins this host has: those that it had before need nothing any more.
func (s *Store) KeepOnly(plugins []string) {
	files, err := filepath.Glob(s.path(usesName, url.PathEscape(s.options.Host), "*.json"))
	if err != nil {
		return
	}
	for _, path := range files {
		name, err := url.PathUnescape(strings.TrimSuffix(filepath.Base(path), ".json"))
		if err == nil && !slices.Contains(plugins, name) {
			s.Keep(name, nil)
		}
	}
}

// sweepSoon has looked after what nobody needs any more.
func (s *Store) sweepSoon() {
	select {
	case s.sweeping <- struct{}{}:
	default: // somebody will look anyway
	}
}

func (s *Store) sweepOnDemand(ctx context.Context) {
	defer close(s.sweptLast)
	for {
		select {
		case <-s.sweeping:
			if removed, err := s.Sweep(); err != nil {
				s.log.Warn("what nobody uses cannot be removed", "folder", s.options.Dir, "error", err)
			} else if len(removed) > 0 {
				s.log.Info("plugins that nobody uses were removed from the store", "manifests", removed)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Sweep removes what no plugin of any host needs, and no process holds.
func (s *Store) Sweep() (removed []digest.Digest, err error) {
	gone, away, err := s.putAway()
	for _, name := range gone {
		removed = append(removed, digest.Digest("sha256:"+strings.TrimPrefix(name, folderPrefix)))
	}
	if away != "" {
		err = errors.Join(err, removeTree(away))
	}
	return removed, err
}

// putAway moves what nobody needs to where nobody finds it.
func (s *Store) putAway() (names []string, away string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	uses, err := readUses(s.options.Dir)
	if err != nil {
		return nil, "", err
	}
	needed := map[string]bool{}
	for _, of := range uses {
		for _, u := range of {
			needed[nameOf(u.Manifest)] = true
		}
	}
	folders, err := filepath.Glob(s.path(folderPrefix + "*"))
	if err != nil {
		return nil, "", err
	}
	for _, folder := range folders {
		name := filepath.Base(folder)
		if needed[name] || s.held[name] != nil {
			continue
		}
		lock, err := privatedir.TryLock(folder)
		if err != nil {
			continue // another host's
		}
		if away == "" {
			away, err = os.MkdirTemp(s.incoming, "removed-")
		}
		if err == nil {
			err = os.Rename(folder, filepath.Join(away, name))
		}
		if err = errors.Join(err, lock.Close()); err != nil {
			return names, away, err
		}
		delete(s.seals, name)
		names = append(names, name)
	}
	return names, away, nil
}
