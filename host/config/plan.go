package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Action is what a change of the configuration does to a plugin, or to the host.
type Action string

// The actions.
const (
	// Added: the plugin is started.
	Added Action = "added"
	// Removed: the plugin is drained and stopped.
	Removed Action = "removed"
	// Swapped: what runs has changed. The running generation is swapped for a new one, which starts beside it.
	Swapped Action = "swapped"
	// Updated: settings only. What runs goes on running.
	Updated Action = "updated"
	// Unchanged: nothing happens.
	Unchanged Action = "unchanged"
	// NeedsRestart: a running host does not take the change up. It counts from its next start.
	NeedsRestart Action = "needs-restart"
)

// Change is what a new configuration does to one plugin or to the host itself. It names keys and files, never values:
// those may be nobody's business.
type Change struct {
	// The plugin's name; absent for the host itself.
	Plugin string `json:"plugin,omitempty"`
	// One of added, removed, swapped, updated, unchanged, needs-restart.
	Action Action `json:"action"`
	// The keys that differ, in order: below plugins.<name> for a plugin, whole for the host.
	Keys []string `json:"keys,omitempty"`
	// The files whose content differs though the key that names them, which is one of keys, does not.
	Files []string `json:"files,omitempty"`
}

// String writes a change as a line, such as "duckdb: swapped: command, secrets.token (new content in /etc/secrets/token)".
func (c Change) String() string {
	text := cmp.Or(c.Plugin, "host") + ": " + strings.ReplaceAll(string(c.Action), "-", " ")
	if len(c.Keys) > 0 {
		text += ": " + strings.Join(c.Keys, ", ")
	}
	if len(c.Files) > 0 {
		text += fmt.Sprintf(" (new content in %s)", strings.Join(c.Files, ", "))
	}
	return text
}

// Plan says what putting next in the place of current does: first to the host, if anything, then to each plugin of
// either, by name. The contents of files are compared where both have been seen by a [Watcher].
func Plan(current, next *Config) []Change {
	changes := planHost(current, next)
	names := slices.Concat(sortedKeys(current.Plugins), sortedKeys(next.Plugins))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		_, was := current.Plugins[name]
		_, is := next.Plugins[name]
		switch {
		case !was:
			changes = append(changes, Change{Plugin: name, Action: Added})
		case !is:
			changes = append(changes, Change{Plugin: name, Action: Removed})
		default:
			changes = append(changes, planPlugin(name, current, next))
		}
	}
	return changes
}

func planHost(current, next *Config) []Change {
	live, restart := Change{Action: Updated}, Change{Action: NeedsRestart}
	for _, f := range configShape.fields {
		if f.name == "plugins" {
			continue
		}
		change := &restart
		if f.live {
			change = &live
		}
		change.Keys = append(change.Keys, differing(f.shape, fieldOf(current, f), fieldOf(next, f), []string{f.name})...)
	}
	return slices.DeleteFunc([]Change{live, restart}, func(c Change) bool { return len(c.Keys) == 0 })
}

func planPlugin(name string, current, next *Config) Change {
	was, is := current.Plugins[name], next.Plugins[name]
	change := Change{Plugin: name, Action: Unchanged}
	for _, f := range pluginShape.fields {
		keys := differing(f.shape, fieldOf(&was, f), fieldOf(&is, f), []string{f.name})
		change.Keys = append(change.Keys, keys...)
		if len(keys) > 0 && f.spec {
			change.Action = Swapped
		} else if len(keys) > 0 && change.Action == Unchanged {
			change.Action = Updated
		}
	}
	sum, seenThen := current.digests[name]
	if now, seenNow := next.digests[name]; seenThen && seenNow && was.Image == is.Image && sum != now {
		change.Action = Swapped
		change.Keys, change.Files = append(change.Keys, "image"), append(change.Files, is.Image)
	}
	before := current.watched(name)
	for _, file := range next.watched(name) {
		was, seenThen := current.contents[file.path]
		is, seenNow := next.contents[file.path]
		if seenThen && seenNow && was != is && slices.Contains(before, file) {
			change.Action = Swapped
			change.Keys, change.Files = append(change.Keys, file.key), append(change.Files, file.path)
		}
	}
	slices.Sort(change.Keys)
	change.Keys = slices.Compact(change.Keys)
	slices.Sort(change.Files)
	change.Files = slices.Compact(change.Files)
	return change
}

func fieldOf[T any](of *T, f field) reflect.Value {
	return f.in(reflect.ValueOf(of).Elem())
}

// differing gives the keys at and below path whose values differ, as deep as keys go.
func differing(s *shape, was, is reflect.Value, path []string) []string {
	switch s.kind {
	case object:
		var keys []string
		for _, f := range s.fields {
			keys = append(keys, differing(f.shape, f.in(was), f.in(is), append(slices.Clone(path), f.name))...)
		}
		return keys
	case table:
		return differingEntries(was, is, path)
	case list:
		if was.Len() == 0 && is.Len() == 0 && s.elem.kind != integer { // left out and empty are the same, but for ports
			return nil
		}
	}
	if reflect.DeepEqual(was.Interface(), is.Interface()) {
		return nil
	}
	return []string{keyName(path)}
}

// differingEntries compares two mappings by text, and the mappings in them.
func differingEntries(was, is reflect.Value, path []string) []string {
	names := map[string]bool{}
	for _, key := range slices.Concat(was.MapKeys(), is.MapKeys()) {
		names[key.String()] = true
	}
	var keys []string
	for _, name := range sortedKeys(names) {
		below := append(slices.Clone(path), name)
		old, now := was.MapIndex(reflect.ValueOf(name)), is.MapIndex(reflect.ValueOf(name))
		if !old.IsValid() || !now.IsValid() {
			keys = append(keys, keyName(below))
			continue
		}
		oldMap, wasMap := old.Interface().(map[string]any)
		nowMap, isMap := now.Interface().(map[string]any)
		if wasMap && isMap {
			keys = append(keys, differingEntries(reflect.ValueOf(oldMap), reflect.ValueOf(nowMap), below)...)
		} else if !reflect.DeepEqual(old.Interface(), now.Interface()) {
			keys = append(keys, keyName(below))
		}
	}
	return keys
}
