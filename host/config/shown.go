package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ShownKey is a key of a plugin that was set, for people who may not know its secrets.
type ShownKey struct {
	// Key is its name within the plugin's, dotted.
	Key string
	// Value is empty where it is not for everybody.
	Value string
	// Origin is where it was set, as in errors.
	Origin string
}

// Shown are the keys of a plugin that were set, in the order of the reference. Values are there only of keys of a kind that cannot hold a
// secret, whatever somebody writes into it: numbers, durations, sizes, switches, and texts of which a fixed few are allowed.
func (c *Config) Shown(plugin string) []ShownKey {
	p, ok := c.Plugins[plugin]
	if !ok {
		return nil
	}
	shown := showing{config: c, above: []string{"plugins", plugin}}
	shown.object(pluginShape, reflect.ValueOf(p), nil)
	return shown.keys
}

// showing is what is shown so far of what is at the path above.
type showing struct {
	config *Config
	above  []string
	keys   []ShownKey
}

func (s *showing) object(of *shape, value reflect.Value, path []string) {
	for _, f := range of.fields {
		s.value(f.shape, reflect.Indirect(f.in(value)), append(slices.Clone(path), f.name))
	}
}

func (s *showing) value(of *shape, value reflect.Value, path []string) {
	switch {
	case !value.IsValid(): // a pointer to nothing: it was left out
	case of.kind == object:
		s.object(of, value, path)
	case of.kind == list && of.elem.kind == object && of.check == nil:
		for i := range value.Len() {
			s.object(of.elem, value.Index(i), append(slices.Clone(path), strconv.Itoa(i)))
		}
	case of.kind == table:
		keys := value.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			s.add(append(slices.Clone(path), key.String()), "")
		}
	case of.open(value):
		s.add(path, strings.Trim(fmt.Sprint(written(value.Interface())), "[]"))
	default:
		s.add(path, "")
	}
}

// add shows a key if it was set.
func (s *showing) add(path []string, value string) {
	whole := slices.Concat(s.above, path)
	if origin, set := s.config.origins[strings.Join(whole, delim)]; set {
		s.keys = append(s.keys, ShownKey{Key: keyName(path), Value: value, Origin: origin.String()})
	}
}

// open says that a value of this shape cannot be a secret.
func (s *shape) open(value reflect.Value) bool {
	switch s.kind {
	case integer, decimal, truth, duration, size:
		return true
	case list:
		return s.elem.kind == integer
	case text:
		return s.check != nil && slices.Contains(s.check.enum, value.String())
	}
	return false
}
