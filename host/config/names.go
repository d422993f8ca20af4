package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/proto/nearest"
)

// didYouMean ends the message for an unknown key: the nearest sibling, or else where a key of that name does exist.
func didYouMean(path []string, key string, s *shape) string {
	if near := nearest.Name(key, s.names()); near != "" {
		return fmt.Sprintf("; did you mean %s?", near)
	}
	if elsewhere := places(key, configShape, nil); len(elsewhere) > 0 {
		return fmt.Sprintf("; did you mean %s?", strings.Join(elsewhere, " or "))
	}
	if len(path) == 0 {
		return "; the keys here are " + strings.Join(s.names(), ", ")
	}
	return fmt.Sprintf("; the keys of %s are %s", keyName(path), strings.Join(s.names(), ", "))
}

// places gives the dotted forms of every key of that name; a plugin's is written plugins.<name>.….
func places(key string, s *shape, path []string) []string {
	var found []string
	for _, f := range s.fields {
		below := append(slices.Clone(path), f.name)
		if f.name == key {
			found = append(found, strings.Join(below, "."))
		}
		found = append(found, places(key, f.shape, below)...)
		if f.shape.kind == table {
			found = append(found, places(key, f.shape.elem, append(below, "<name>"))...)
		}
	}
	return found
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Keys lists the dotted keys that can be set, with those of the given plugins: for completing a command line.
func Keys(plugins []string) []string { return keysOf(configShape, nil, plugins) }

func keysOf(s *shape, path, plugins []string) []string {
	var keys []string
	for _, f := range s.fields {
		below := append(slices.Clone(path), f.name)
		switch {
		case f.shape.kind == object:
			keys = append(keys, keysOf(f.shape, below, plugins)...)
		case f.shape.kind == table && f.shape.elem.kind == object:
			for _, plugin := range plugins {
				keys = append(keys, keysOf(f.shape.elem, append(slices.Clone(below), plugin), nil)...)
			}
		default:
			keys = append(keys, keyName(below))
		}
	}
	return keys
}
