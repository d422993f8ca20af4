package config

import (
	"slices"
	"strings"
)

// Snapshot is what a configuration was read from, for it to be read again when that is gone. It has no more secrets in it than the files
// have, and what the host's variables of the configuration say.
type Snapshot struct {
	// Files are the configuration's own, in their order.
	Files []SnapshotFile `json:"files"`
	// Environ are the variables that set keys, as NAME=value.
	Environ []string `json:"environ,omitempty"`
	// Flags are values by dotted key.
	Flags map[string]any `json:"flags,omitempty"`
}

// SnapshotFile is a file and what it held.
type SnapshotFile struct {
	Path    string `json:"path"`
	Content []byte `json:"content"`
}

func snapshotOf(sources Sources, files []readResult) Snapshot {
	s := Snapshot{Flags: sources.Flags}
	for _, file := range files {
		s.Files = append(s.Files, SnapshotFile{Path: file.path, Content: file.bytes})
	}
	for _, v := range variables(sources.Environ) {
		s.Environ = append(s.Environ, v.name+"="+v.value)
	}
	return s
}

// Snapshot is what the configuration was read from.
func (c *Config) Snapshot() Snapshot { return c.snapshot }

// Load reads the configuration from the snapshot. Of the environment only what is no key of the configuration counts, such as where the user
// has a directory for what need not last.
func (s Snapshot) Load(environ []string) (*Config, error) {
	others := slices.DeleteFunc(slices.Clone(environ), func(assignment string) bool { return strings.HasPrefix(assignment, envPrefix) })
	sources := Sources{Environ: slices.Concat(others, s.Environ), Flags: s.Flags}
	files := make([]readResult, len(s.Files))
	for i, file := range s.Files {
		files[i] = readResult{path: file.Path, bytes: file.Content}
		sources.Files = append(sources.Files, file.Path)
	}
	return load(sources, files)
}

// Emptied says that files are empty from which a configuration with plugins was read: to all appearances they are half written.
func (s Snapshot) Emptied(now *Config) bool {
	if len(now.Plugins) > 0 {
		return false
	}
	for i, file := range now.snapshot.Files {
		if isBlank(file.Content) && i < len(s.Files) && !isBlank(s.Files[i].Content) {
			return true
		}
	}
	return false
}
