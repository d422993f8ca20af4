package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// crateGraph is what `cargo metadata` says.
type crateGraph struct {
	Packages []struct {
		ID       string `json:"id"`
		Name     string `json:"name"`
		Version  string `json:"version"`
		License  string `json:"license"`
		Source   string `json:"source"` // none for what is in the workspace
		Manifest string `json:"manifest_path"`
	} `json:"packages"`
	Resolve struct {
		Nodes []struct {
			ID   string `json:"id"`
			Deps []struct {
				Package string `json:"pkg"`
				Kinds   []struct {
					Kind string `json:"kind"` // empty, build or dev
				} `json:"dep_kinds"`
			} `json:"deps"`
		} `json:"nodes"`
	} `json:"resolve"`
}

// crates are those that are compiled into a program for a target.
func crates(args []string) ([]part, error) {
	if len(args) != 2 {
		return nil, errors.New("expected a target and a crate")
	}
	command := exec.Command("cargo", "metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", args[0])
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("cargo metadata: %w", err)
	}
	var graph crateGraph
	if err := json.Unmarshal(out, &graph); err != nil {
		return nil, err
	}
	reached := graph.reach(args[1])
	if len(reached) == 0 {
		return nil, fmt.Errorf("the workspace has no crate %s", args[1])
	}
	var parts []part
	for _, crate := range graph.Packages {
		if crate.Source == "" || !reached[crate.ID] {
			continue
		}
		found, err := textsIn(filepath.Dir(crate.Manifest))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			found = standard(crate.License)
		}
		parts = append(parts, part{
			name: crate.Name, version: crate.Version, purl: "pkg:cargo/" + crate.Name + "@" + crate.Version, declared: crate.License, texts: found,
		})
	}
	return parts, nil
}

// reach gives the crates that one of the workspace's needs, by way of whatever is compiled into it.
func (g *crateGraph) reach(name string) map[string]bool {
	needs := map[string][]string{}
	for _, node := range g.Resolve.Nodes {
		for _, dep := range node.Deps {
			for _, kind := range dep.Kinds {
				if kind.Kind == "" {
					needs[node.ID] = append(needs[node.ID], dep.Package)
				}
			}
		}
	}
	reached := map[string]bool{}
	var next []string
	for _, crate := range g.Packages {
		if crate.Source == "" && crate.Name == name {
			next = append(next, crate.ID)
		}
	}
	for len(next) > 0 {
		id := next[0]
		next = next[1:]
		if !reached[id] {
			reached[id] = true
			next = append(next, needs[id]...)
		}
	}
	return reached
}
