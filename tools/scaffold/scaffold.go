// Package scaffold writes a new plugin's project: a program that serves one agent, its tests, and what it takes to verify
// and to run it. The projects are templates/<language>, beside templates/common, which every language gets.
//
// What comes out builds and passes as it is: an author begins with something that works.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

//go:embed all:templates
var templates embed.FS

// common are the files that every language gets.
const common = "common"

// Project says what to write.
type Project struct {
	// Name of the plugin: lower-case letters, digits and dashes, such as warehouse-query. Its task type is the same with
	// underscores.
	Name string
	// Language is one of Languages.
	Language string
	// SDK is a checkout of agenthost that the project takes its SDK from. Empty: the published SDK of Version.
	SDK string
	// Version is that of the published SDK, without a leading v.
	Version string
}

// Languages returns what there are templates for, sorted.
func Languages() []string {
	entries, err := templates.ReadDir("templates")
	if err != nil {
		panic(err) // they are embedded
	}
	var languages []string
	for _, entry := range entries {
		if entry.Name() != common {
			languages = append(languages, entry.Name())
		}
	}
	return languages
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

const maxName = 40

// Check says what is wrong with the project, if anything.
func (p Project) Check() error {
	switch {
	case !validName.MatchString(p.Name):
		return fmt.Errorf("%q is no name for a plugin: lower-case letters, digits and single dashes, beginning with a letter, such as warehouse-query", p.Name)
	case len(p.Name) > maxName:
		return fmt.Errorf("the name %q has %d characters, and %d is the limit", p.Name, len(p.Name), maxName)
	case !slices.Contains(Languages(), p.Language):
		return fmt.Errorf("--lang %q: there is %s", p.Language, strings.Join(Languages(), ", "))
	}
	switch reason, err := p.taken(); {
	case err != nil:
		return err
	case reason != "":
		return fmt.Errorf("%q is no name for a plugin in %s: %s; take another, such as %s-tasks", p.Name, p.Language, reason, p.Name)
	}
	if p.SDK == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(p.SDK, "proto", "contract.binpb")); err != nil {
		return fmt.Errorf("--sdk %s is no checkout of agenthost: %w", p.SDK, err)
	}
	return nil
}

// Write writes the project into dir, which must be empty or not exist, and returns the paths of its files, sorted. It
// writes all or nothing.
func (p Project) Write(dir string) ([]string, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	switch entries, err := os.ReadDir(dir); {
	case err == nil && len(entries) > 0:
		return nil, fmt.Errorf("%s is not empty (it has %s): name another folder with --dir, or empty it", dir, entries[0].Name())
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	files, err := p.render()
	if err != nil {
		return nil, err
	}
	var written []string
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil { //nolint:gosec // source code is for everybody to read
			return nil, err
		}
		written = append(written, name)
	}
	slices.Sort(written)
	return written, nil
}

// render makes the files in memory, by path.
func (p Project) render() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, set := range []string{common, p.Language} {
		root := path.Join("templates", set)
		err := fs.WalkDir(templates, root, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			source, err := templates.ReadFile(name)
			if err != nil {
				return err
			}
			content, err := p.fill(name, string(source))
			if err != nil {
				return err
			}
			to, err := p.fill(name, strings.TrimPrefix(name, root+"/"))
			if err != nil {
				return err
			}
			file := strings.TrimSuffix(string(to), ".tmpl")
			if path.Ext(file) == ".go" { // which aligns and sorts by what the name is
				if content, err = format.Source(content); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			files[file] = content
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// fill executes one template. Its delimiters are [[ and ]]: the languages have uses of their own for braces.
func (p Project) fill(name, source string) ([]byte, error) {
	parsed, err := template.New(name).Delims("[[", "]]").Option("missingkey=error").Parse(source)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, p)
	return out.Bytes(), err
}

// Snake is the name with underscores: the task type, and the name of modules.
func (p Project) Snake() string { return strings.ReplaceAll(p.Name, "-", "_") }

// Pascal is the name as a type's.
func (p Project) Pascal() string {
	var name strings.Builder
	for word := range strings.SplitSeq(p.Name, "-") {
		name.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return name.String()
}
