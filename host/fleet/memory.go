package fleet

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/agenthost/agenthost/host/plugin"
)

// memory is what plugins said of themselves, kept in a folder over restarts of the host: one file each. A plugin that
// cannot be started after a restart would else take its task types off the list, and Flyte 1 hands jobs of a type that is not
// listed to its container plugin. The zero value remembers nothing.
type memory struct {
	dir string
	log *slog.Logger
}

func (m memory) file(name string) string { return filepath.Join(m.dir, url.PathEscape(name)+".json") }

// remember keeps a plugin's manifest. Where that fails the host works on, and only its next start knows less.
func (m memory) remember(name string, manifest plugin.Manifest) {
	if m.dir == "" {
		return
	}
	if err := m.write(name, manifest); err != nil {
		m.log.Warn("what the plugin serves cannot be kept for the next start of the host", "plugin", name, "error", err)
	}
}

// write replaces the file, so that nobody finds half of one: replicas may share the folder.
func (m memory) write(name string, manifest plugin.Manifest) error {
	content, err := json.Marshal(fileOf(manifest))
	if err != nil {
		return err
	}
	if known, err := os.ReadFile(m.file(name)); err == nil && bytes.Equal(known, content) {
		return nil
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	next, err := os.CreateTemp(m.dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = next.Write(content)
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), m.file(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}

// recall gives what a plugin last said of itself; false where that is not known.
func (m memory) recall(name string) (plugin.Manifest, bool) {
	if m.dir == "" {
		return plugin.Manifest{}, false
	}
	content, err := os.ReadFile(m.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return plugin.Manifest{}, false
	}
	var file manifestFile
	if err == nil {
		err = json.Unmarshal(content, &file)
	}
	manifest := file.manifest()
	if err == nil && len(manifest.Agents) == 0 {
		err = fmt.Errorf("%s names no agents", m.file(name))
	}
	if err != nil {
		m.log.Warn("what the plugin served before the host was restarted cannot be read", "plugin", name, "error", err)
		return plugin.Manifest{}, false
	}
	return manifest, true
}

// manifestFile is a manifest in JSON, whose objects have no keys of two parts.
type manifestFile struct {
	plugin.Manifest
	CategoryCapabilities []categoryCapabilities `json:",omitempty"`
}

type categoryCapabilities struct {
	Category     plugin.Category
	Capabilities []string
}

func fileOf(manifest plugin.Manifest) manifestFile {
	file := manifestFile{Manifest: manifest}
	for category, capabilities := range manifest.CategoryCapabilities {
		file.CategoryCapabilities = append(file.CategoryCapabilities, categoryCapabilities{category, capabilities})
	}
	slices.SortFunc(file.CategoryCapabilities, func(a, b categoryCapabilities) int {
		return cmp.Or(cmp.Compare(a.Category.Name, b.Category.Name), cmp.Compare(a.Category.Version, b.Category.Version))
	})
	return file
}

func (f manifestFile) manifest() plugin.Manifest {
	manifest := f.Manifest
	manifest.CategoryCapabilities = nil
	for _, of := range f.CategoryCapabilities {
		if manifest.CategoryCapabilities == nil {
			manifest.CategoryCapabilities = map[plugin.Category][]string{}
		}
		manifest.CategoryCapabilities[of.Category] = of.Capabilities
	}
	return manifest
}

// forget is for plugins that are wanted no longer.
func (m memory) forget(name string) {
	if m.dir == "" {
		return
	}
	if err := os.Remove(m.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warn("what a removed plugin served cannot be forgotten", "plugin", name, "error", err)
	}
}
