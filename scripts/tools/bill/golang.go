package main

import (
	"cmp"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"
)

// ours are the modules that the image's own licence is about.
const ours = "github.com/agenthost/agenthost"

// goModules are those that were linked into programs, and Go's own library.
func goModules(programs []string) ([]part, error) {
	cache, err := goEnv("GOMODCACHE")
	if err != nil {
		return nil, err
	}
	root, err := goEnv("GOROOT")
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, program := range programs {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return nil, err
		}
		license, err := os.ReadFile(filepath.Join(root, "LICENSE"))
		if err != nil {
			return nil, err
		}
		version := strings.TrimPrefix(info.GoVersion, "go")
		parts = append(parts, part{name: "std", version: version, purl: "pkg:golang/std@" + version, texts: []string{string(license)}})
		for _, dep := range info.Deps {
			if dep.Path == ours || strings.HasPrefix(dep.Path, ours+"/") {
				continue
			}
			used := cmp.Or(dep.Replace, dep)
			found, err := goTexts(cache, used.Path, used.Version)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", dep.Path, err)
			}
			parts = append(parts, part{name: used.Path, version: used.Version, purl: "pkg:golang/" + used.Path + "@" + used.Version, texts: found})
		}
	}
	return parts, nil
}

func goEnv(name string) (string, error) {
	value, err := exec.Command("go", "env", name).Output()
	return strings.TrimSpace(string(value)), err
}

// goTexts are a module's texts.
func goTexts(cache, path, version string) ([]string, error) {
	escaped, err := module.EscapePath(path)
	if err != nil {
		return nil, err
	}
	return textsIn(filepath.Join(cache, escaped+"@"+version))
}
