package config

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Places are where a host keeps its files and answers, as far as a configuration says it that may be broken elsewhere. What it does not say is
// empty.
type Places struct{ RunDir, StateDir, Admin, AdminToken string }

// PlacesOf reads them from what can be read of a configuration: a file that is none is searched line by line.
func PlacesOf(sources Sources) Places {
	var p Places
	for _, file := range readFiles(sources.Files) {
		if file.err != nil {
			continue
		}
		root, _ := file.parse()
		p.take(func(path ...string) string {
			if root.value != nil {
				return root.textAt(path)
			}
			return lineOf(file.bytes, path)
		}, filepath.Dir(file.path))
	}
	for _, v := range variables(sources.Environ) {
		p.take(func(path ...string) string {
			if v.name == envPrefix+envForm(strings.Join(path, "__")) {
				return v.value
			}
			return ""
		}, ".")
	}
	for _, key := range sortedKeys(sources.Flags) {
		p.take(func(path ...string) string {
			if text, ok := sources.Flags[key].(string); ok && key == strings.Join(path, ".") {
				return text
			}
			return ""
		}, ".")
	}
	return p
}

// take takes over what a layer says.
func (p *Places) take(text func(...string) string, folder string) {
	for _, place := range []struct {
		into   *string
		value  string
		absent func(string, string) string
	}{
		{&p.RunDir, text("run_dir"), besideFile}, {&p.StateDir, text("state_dir"), besideFile}, {&p.Admin, text("listen", "admin"), socketBesideFile},
		{&p.AdminToken, text("listen", "admin_token"), secretBesideFile},
	} {
		if place.value != "" {
			*place.into = place.absent(folder, place.value)
		}
	}
}

// textAt is the text at a path of a tree; empty where there is none.
func (n node) textAt(path []string) string {
	for _, key := range path {
		entries, _ := n.value.([]entry)
		i := slices.IndexFunc(entries, func(e entry) bool { return e.key == key })
		if i < 0 {
			return ""
		}
		n = entries[i].value
	}
	text, _ := n.value.(string)
	return text
}

// lineOf finds a key of the top level, and its text, in a file in YAML that cannot be parsed.
func lineOf(content []byte, path []string) string {
	if len(path) > 1 {
		return ""
	}
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(path[0]) + `:[ \t]+["']?([^"'\s#]+)`).FindSubmatch(content)
	if line == nil {
		return ""
	}
	return string(line[1])
}

// DefaultRunDir is where a host has its files that says nothing of it.
func DefaultRunDir(environ []string) string { return defaultRunDir(environ) }
