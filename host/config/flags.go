package config

import (
	"errors"
	"strings"
)

// commandLine names the flags as a source.
const commandLine = "command line"

// flagNode makes a layer of one flag. A string is read by the type of its key, other values are what they are.
func flagNode(key string, value any, merged map[string]any) (node, Errors) {
	at := Origin{Source: commandLine}
	path, err := splitKey(key)
	if err != nil {
		return node{}, Errors{{Source: at.Source, Key: key, Message: err.Error()}}
	}
	leaf := fromGo(at, value)
	if _, isText := value.(string); isText {
		_, keepsText := valueAt(merged, path).(string)
		leaf.text = !keepsText
	}
	return nest(path, leaf), nil
}

// splitKey splits a dotted key; a part in double quotes may have dots.
func splitKey(key string) ([]string, error) {
	var path []string
	rest := key
	for {
		var part string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			if part, rest, ok = strings.Cut(quoted, `"`); !ok {
				return nil, errors.New("a quote in the key is not closed")
			}
			if rest != "" && rest[0] != '.' {
				return nil, errors.New("expected a dot after the quoted part of the key")
			}
		} else {
			i := strings.IndexByte(rest, '.')
			if i < 0 {
				i = len(rest)
			}
			part, rest = rest[:i], rest[i:]
			if part == "" {
				return nil, errors.New("a part of the key is empty; expected dotted names such as listen.grpc")
			}
		}
		path = append(path, part)
		if rest == "" {
			return path, nil
		}
		rest = rest[1:]
	}
}

// valueAt looks a path up in nested maps; nil if it is not there.
func valueAt(tree any, path []string) any {
	for _, key := range path {
		m, ok := tree.(map[string]any)
		if !ok {
			return nil
		}
		tree = m[key]
	}
	return tree
}
