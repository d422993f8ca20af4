package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// reader turns one layer's nodes into checked values by their shapes. It goes on after a mistake, to find them all.
type reader struct {
	// folder is what ./ and ../ are relative to.
	folder  string
	path    []string
	errors  Errors
	origins origins
	// lists are the keys of the lists that were read: a list replaces that of a lower layer with all that is in it.
	lists []string
}

// read gives the value as koanf merges and decodes it: map[string]any for mappings, the field's own Go type for the rest.
// A value that is wrong is reported and comes out nil.
func (r *reader) read(n node, s *shape) any {
	r.origins[strings.Join(r.path, delim)] = n.Origin
	if n.text && s.kind != text {
		parsed, err := fromText(n, s)
		if err != nil {
			return r.fail(n, "expected %s, got %q: %v", s.wants(), n.value, err)
		}
		n = parsed
	}
	switch s.kind {
	case object, table:
		if s.short != "" && s.field(s.short).isText(n) {
			return r.short(n, s)
		}
		return r.mapping(n, s)
	case list:
		return r.list(n, s)
	case text:
		return r.text(n, s)
	case integer:
		i, ok := n.value.(int64)
		if !ok {
			return r.wrongType(n, s)
		}
		if err := s.check.number(i, strconv.FormatInt(i, 10)); err != nil {
			return r.fail(n, "%v", err)
		}
		return int(i)
	case decimal:
		return r.decimal(n, s)
	case truth:
		value, ok := n.value.(bool)
		if !ok {
			return r.wrongType(n, s)
		}
		return value
	case duration:
		return r.duration(n, s)
	case size:
		return r.size(n, s)
	default:
		return r.free(n)
	}
}

// short reads the text that stands in the place of a mapping and sets one key of it.
func (r *reader) short(n node, s *shape) any {
	value, sound := r.text(n, s.field(s.short)).(string)
	if !sound {
		return nil
	}
	r.origins[strings.Join(append(r.path, s.short), delim)] = n.Origin
	return map[string]any{s.short: value}
}

func (r *reader) mapping(n node, s *shape) any {
	entries, ok := n.mapping()
	if !ok {
		return r.wrongType(n, s)
	}
	out := make(map[string]any, len(entries))
	for _, e := range entries {
		key, below := r.key(e, s)
		if below == nil {
			continue
		}
		r.path = append(r.path, key)
		value := r.read(e.value, below)
		r.origins[strings.Join(r.path, delim)] = e.at
		r.path = r.path[:len(r.path)-1]
		if value != nil || below.kind == free {
			out[key] = value
		}
	}
	return out
}

// key checks a key and gives the shape of what stands below it, nil where the key is wrong.
func (r *reader) key(e entry, s *shape) (string, *shape) {
	fail := func(message string) (string, *shape) {
		r.errors = append(r.errors, KeyError{Source: e.at.Source, Line: e.at.Line, Key: keyName(append(r.path, e.key)), Message: message})
		return e.key, nil
	}
	if s.kind == object {
		below := s.field(e.key)
		if below == nil {
			return fail("unknown key" + didYouMean(r.path, e.key, s))
		}
		return e.key, below
	}
	if err := s.keys.text(e.key); err != nil {
		return fail(err.Error())
	}
	if strings.Contains(e.key, delim) {
		return fail("a key cannot have a zero byte in it")
	}
	if s.keys != nil && s.keys.resolve != nil {
		return s.keys.resolve(r.folder, e.key), s.elem
	}
	return e.key, s.elem
}

func (r *reader) list(n node, s *shape) any {
	elements, ok := n.value.([]node)
	if !ok {
		return r.wrongType(n, s)
	}
	r.lists = append(r.lists, strings.Join(r.path, delim))
	if s.elem.kind != text {
		return r.objects(elements, s.elem)
	}
	out := make([]string, 0, len(elements))
	sound := true
	for i, element := range elements {
		r.path = append(r.path, strconv.Itoa(i))
		value, ok := r.text(element, s.elem).(string)
		r.path = r.path[:len(r.path)-1]
		sound = sound && ok
		if s.check != nil && s.check.resolve != nil {
			value = s.check.resolve(r.folder, value)
		}
		out = append(out, value)
	}
	if !sound {
		return nil
	}
	if s.check != nil && s.check.list != nil {
		if err := s.check.list(out); err != nil {
			return r.fail(n, "%v", err)
		}
	}
	return out
}

// objects reads a list of mappings. What is wrong in one of them is reported, the rest of it is read all the same.
func (r *reader) objects(elements []node, s *shape) any {
	out := make([]any, 0, len(elements))
	for i, element := range elements {
		r.path = append(r.path, strconv.Itoa(i))
		out = append(out, r.read(element, s))
		r.path = r.path[:len(r.path)-1]
	}
	return out
}

func (r *reader) text(n node, s *shape) any {
	value, ok := n.value.(string)
	if number, isNumber := n.value.(int64); isNumber && s.check != nil && s.check.numbers {
		value, ok = strconv.FormatInt(number, 10), true
	}
	if truth, isTruth := n.value.(bool); isTruth && s.check != nil && s.check.truths {
		value, ok = TLSOff, true
		if truth {
			value = TLSOn
		}
	}
	if !ok {
		return r.wrongType(n, s)
	}
	if err := s.check.text(value); err != nil {
		return r.fail(n, "%v", err)
	}
	if s.check != nil && s.check.resolve != nil {
		value = s.check.resolve(r.folder, value)
	}
	return value
}

// isText says whether a node is a text, or what is as good as one here.
func (s *shape) isText(n node) bool {
	if _, isTruth := n.value.(bool); isTruth {
		return s.check != nil && s.check.truths
	}
	_, isText := n.value.(string)
	return isText
}

func (r *reader) decimal(n node, s *shape) any {
	var value float64
	switch given := n.value.(type) {
	case int64:
		value = float64(given)
	case uint64:
		value = float64(given)
	case float64:
		value = given
	default:
		return r.wrongType(n, s)
	}
	if err := s.check.fraction(value); err != nil {
		return r.fail(n, "%v", err)
	}
	return value
}

func (r *reader) duration(n node, s *shape) any {
	value, ok := n.value.(string)
	if !ok {
		return r.wrongType(n, s)
	}
	d, err := time.ParseDuration(value)
	if err != nil || !durationRegexp.MatchString(value) {
		return r.fail(n, "expected %s, got %q", s.wants(), value)
	}
	if err := s.check.number(int64(d), value); err != nil {
		return r.fail(n, "%v", err)
	}
	return d
}

func (r *reader) size(n node, s *shape) any {
	var bytes Size
	var shown string
	switch value := n.value.(type) {
	case int64:
		bytes, shown = Size(value), strconv.FormatInt(value, 10)
	case string:
		var err error
		if bytes, err = ParseSize(value); err != nil {
			return r.fail(n, "%v", err)
		}
		shown = value
	default:
		return r.wrongType(n, s)
	}
	if err := s.check.number(int64(bytes), shown); err != nil {
		return r.fail(n, "%v", err)
	}
	return bytes
}

// free takes whatever is there: the plugin will judge it.
func (r *reader) free(n node) any {
	switch value := n.value.(type) {
	case []entry:
		return r.mapping(n, &shape{kind: table, elem: &shape{kind: free}})
	case []node:
		r.lists = append(r.lists, strings.Join(r.path, delim))
		out := make([]any, len(value))
		for i, element := range value {
			r.path = append(r.path, strconv.Itoa(i))
			out[i] = r.free(element)
			r.path = r.path[:len(r.path)-1]
		}
		return out
	case float64: // TOML has numbers that JSON, which carries them to the plugin, has not
		if math.IsInf(value, 0) || math.IsNaN(value) {
			return r.fail(n, "%v is not a number that a configuration can carry", value)
		}
		return value
	default:
		return value
	}
}

func (r *reader) wrongType(n node, s *shape) any {
	switch value := n.value.(type) {
	case nil:
		return r.fail(n, "expected %s, got nothing; remove the key if nothing is meant", s.wants())
	case []entry:
		return r.fail(n, "expected %s, got a mapping", s.wants())
	case []node:
		return r.fail(n, "expected %s, got a list", s.wants())
	case string:
		if s.kind == list && s.elem.kind == text {
			return r.fail(n, "expected %s, got the text %q; write [%s]", s.wants(), value, value)
		}
		return r.fail(n, "expected %s, got the text %q", s.wants(), value)
	case bool:
		if s.kind != text {
			return r.fail(n, "expected %s, got %t", s.wants(), value)
		}
		return r.fail(n, "expected %s, got %t; quote it if the text is meant", s.wants(), value)
	default:
		if s.kind == duration {
			return r.fail(n, "expected %s, got %v without a unit; write %vs for seconds", s.wants(), value, value)
		}
		if s.kind == text {
			return r.fail(n, "expected %s, got the number %v; quote it if the text is meant", s.wants(), value)
		}
		return r.fail(n, "expected %s, got the number %v", s.wants(), value)
	}
}

func (r *reader) fail(n node, format string, args ...any) any {
	r.errors = append(r.errors, KeyError{Source: n.Source, Line: n.Line, Key: keyName(r.path), Message: fmt.Sprintf(format, args...)})
	return nil
}
