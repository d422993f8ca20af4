package fleet

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	statedir "github.com/agenthost/agenthost/host/state"
)

// memory is what plugins said of themselves, kept in the state directory over restarts of the host: one file each. A host that
// started without it would take a plugin's task types off the list until the plugin is up, and Flyte 1 hands jobs of a type
// that is not listed to its container plugin. The zero value remembers nothing.
type memory struct {
	state  *statedir.Dir
	folder string
	log    *slog.Logger
}

// memoryFormat is the format of the files.
const memoryFormat = 1

func (m memory) file(name string) string { return path.Join(m.folder, url.PathEscape(name)+".json") }

// remember keeps a plugin's manifest, and what ran when it said so. Where that fails the host works on, and only its next start
// knows less.
func (m memory) remember(name string, runs []string, manifest plugin.Manifest) {
	if m.state == nil {
		return
	}
	content, err := json.Marshal(fileOf(runs, manifest))
	if known, _, unread := m.state.Read(m.file(name), memoryFormat); unread == nil && bytes.Equal(known, content) {
		return
	}
	if err == nil {
		err = m.state.Write(m.file(name), memoryFormat, content)
	}
	if err != nil {
		m.log.Warn("what the plugin serves cannot be kept for the next start of the host", "plugin", name, "error", err)
	}
}

// lastServed is what a plugin said of itself, and what ran then.
type lastServed struct {
	manifest plugin.Manifest
	runs     []string
	until    time.Time // it counts
}

// recall gives what a plugin last said of itself; false where that is not known.
func (m memory) recall(name string) (lastServed, bool) {
	if m.state == nil {
		return lastServed{}, false
	}
	content, _, err := m.state.Read(m.file(name), memoryFormat)
	if errors.Is(err, fs.ErrNotExist) {
		return lastServed{}, false
	}
	var file manifestFile
	if err == nil {
		err = json.Unmarshal(content, &file)
	}
	manifest := file.manifest()
	if err == nil && len(manifest.Agents) == 0 {
		err = fmt.Errorf("%s names no agents", m.state.Path(m.file(name)))
	}
	if err != nil {
		m.log.Warn("what the plugin served before the host was restarted cannot be read", "plugin", name, "error", err)
		return lastServed{}, false
	}
	return lastServed{manifest: manifest, runs: file.Runs}, true
}

// manifestFile is a manifest in JSON, whose objects have no keys of two parts.
type manifestFile struct {
	plugin.Manifest
	Runs                 []string               // the command or the addresses
	CategoryCapabilities []categoryCapabilities `json:",omitempty"`
}

type categoryCapabilities struct {
	Category     plugin.Category
	Capabilities []string
}

func fileOf(runs []string, manifest plugin.Manifest) manifestFile {
	file := manifestFile{Manifest: manifest, Runs: runs}
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
	if m.state == nil {
		return
	}
	if err := m.state.Remove(m.file(name)); err != nil {
		m.log.Warn("what a removed plugin served cannot be forgotten", "plugin", name, "error", err)
	}
}

// expect holds what the plugin owned when the host last ran.
func (s *supervisor) expect() {
	s.fleet.routes.expect(s.name, route.ParseTaskTypes(s.desired.Load().revision.settings.TaskTypes), s)
}

// recall has the plugin's categories listed from the first moment, where it is known what it served and it is the same plugin
// still: calls wait until it is up.
func (s *supervisor) recall() {
	wanted := s.desired.Load()
	last, ok := s.fleet.memory.recall(s.name)
	if !ok {
		last, ok = s.fleet.removedLately(s.name)
	}
	if !ok || !slices.Equal(last.runs, runs(wanted.spec)) {
		return
	}
	claim := claimCategories{manifest: last.manifest, settings: wanted.revision.settings, recalled: true}
	if v := s.fleet.routes.claim(s, 0, claim.routes(s), false); v.none {
		s.log.Warn(notListed, "error", v.refusal())
		return
	}
	s.state.recalled, s.listed = &last.manifest, true
}

// owners remembers which plugin each task type belongs to. No plugin has a name with an underscore.
func (m memory) owners() route.Owners {
	owners := route.Owners{}
	if m.state == nil {
		return owners
	}
	content, _, err := m.state.Read(m.file(ownersFile), memoryFormat)
	if err == nil {
		err = json.Unmarshal(content, &owners)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Warn("which plugin each task type belonged to cannot be read", "error", err)
		return route.Owners{}
	}
	return owners
}

const ownersFile = "_owners"

func (m memory) keepOwners(owners route.Owners) {
	if m.state == nil {
		return
	}
	content, err := json.Marshal(owners)
	if err == nil {
		err = m.state.Write(m.file(ownersFile), memoryFormat, content)
	}
	if err != nil {
		m.log.Warn("which plugin each task type belongs to cannot be kept for the next start of the host", "error", err)
	}
}

// ownersKeeper keeps the owners as they are now, beside the changes of the table: hundreds of plugins that start claim one after
// another, and none of them waits for the disk. What is overtaken before its turn is not written. The zero value of memory keeps nothing.
type ownersKeeper struct {
	memory memory

	mu      sync.Mutex
	next    route.Owners  // waits for its turn
	waiting bool          // there is a next
	writing chan struct{} // closed when nothing is written or waits any longer; nil: that is so
}

func (k *ownersKeeper) keep(owners route.Owners) {
	if k.memory.state == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next, k.waiting = owners, true
	if k.writing == nil {
		k.writing = make(chan struct{})
		go k.write(k.writing)
	}
}

func (k *ownersKeeper) write(done chan struct{}) {
	for {
		k.mu.Lock()
		owners, more := k.next, k.waiting
		k.next, k.waiting = nil, false
		if !more {
			k.writing = nil
			close(done)
		}
		k.mu.Unlock()
		if !more {
			return
		}
		k.memory.keepOwners(owners)
	}
}

// flush waits until what keep was given is kept.
func (k *ownersKeeper) flush() {
	k.mu.Lock()
	writing := k.writing
	k.mu.Unlock()
	if writing != nil {
		<-writing
	}
}

// notListed is a warning.
const notListed = "what the plugin served before is not listed until it is up"

// forgetManifest drops what is remembered of a plugin that was removed; not at once, for it may have been a mistake.
func (s *supervisor) forgetManifest() {
	last, ok := s.fleet.memory.recall(s.name)
	s.fleet.memory.forget(s.name)
	if !ok {
		return
	}
	last.until = time.Now().Add(s.desired.Load().settings.Create.RemovedGrace)
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	s.fleet.recent[s.name] = last
}

// removedLately is what a plugin served that was removed a short while ago.
func (f *Fleet) removedLately(name string) (lastServed, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(f.recent, func(_ string, r lastServed) bool { return !now.Before(r.until) })
	last, ok := f.recent[name]
	return last, ok
}

// runs is what of a spec makes a plugin the one that it was: another command or address may be another plugin.
func runs(spec plugin.Spec) []string {
	if spec.Remote() {
		return spec.Address
	}
	if ref, err := artifact.Parse(spec.Image); err == nil { // another version of it is the same plugin
		return append([]string{ref.Name()}, spec.Command...)
	}
	return spec.Command
}
