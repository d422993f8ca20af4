// Command modproxy publishes modules at a version in a folder that GOPROXY=file://… can name:
//
//	modproxy VERSION PROXY MODULE...
//
// A module is the folder of its go.mod. One that `go install` would refuse at a version, or that requires another of the given modules at
// another version, is an error.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: modproxy VERSION PROXY MODULE...")
		os.Exit(2)
	}
	if err := publish(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "modproxy:", err)
		os.Exit(1)
	}
}

// source is a module and the folder it is made from.
type source struct {
	module.Version
	folder string
	goMod  []byte
	file   *modfile.File
}

func publish(version, proxy string, folders []string) error {
	var sources []source
	given := map[string]bool{}
	for _, folder := range folders {
		path := filepath.Join(folder, "go.mod")
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := modfile.Parse(path, text, nil)
		if err != nil {
			return err
		}
		name := file.Module.Mod.Path
		given[name] = true
		sources = append(sources, source{module.Version{Path: name, Version: version}, folder, text, file})
	}
	for _, s := range sources {
		if err := errors.Join(s.check(given), s.write(proxy)); err != nil {
			return fmt.Errorf("%s: %w", s.Path, err)
		}
	}
	return nil
}

// check holds what `go install` asks of a main module at a version, and that the modules are of one release.
func (s source) check(given map[string]bool) error {
	if len(s.file.Replace)+len(s.file.Exclude) > 0 {
		return errors.New("go.mod has a replace or an exclude: `go install` at a version refuses it")
	}
	for _, required := range s.file.Require {
		if given[required.Mod.Path] && required.Mod.Version != s.Version.Version {
			return fmt.Errorf("go.mod requires %s, and %s is published", required.Mod, s.Version.Version)
		}
	}
	return nil
}

// write makes the files that the protocol of module proxies has for a version.
func (s source) write(proxy string) error {
	escaped, err := module.EscapePath(s.Path)
	if err != nil {
		return err
	}
	dir := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": s.Version.Version, "Time": time.Now().UTC()})
	if err != nil {
		return err
	}
	archive, err := os.Create(filepath.Join(dir, s.Version.Version+".zip"))
	if err != nil {
		return err
	}
	return errors.Join(
		zip.CreateFromDir(archive, s.Version, s.folder),
		archive.Close(),
		os.WriteFile(filepath.Join(dir, s.Version.Version+".mod"), s.goMod, 0o644),
		os.WriteFile(filepath.Join(dir, s.Version.Version+".info"), info, 0o644),
		os.WriteFile(filepath.Join(dir, "list"), []byte(s.Version.Version+"\n"), 0o644),
	)
}
