package flyteconfig

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Position is where something stands.
type Position struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Key is its path within the file.
	Key string `json:"key,omitempty"`
}

type kind int

const (
	null kind = iota
	scalar
	list
	mapping
)

// value is one value of a configuration, with where it stands.
type value struct {
	kind kind
	at   Position

	text   string // of a scalar
	quoted bool   // whether it is text whatever it looks like

	items   []*value // of a list
	entries []*entry // of a mapping, in the file's order
}

type entry struct {
	name  string
	value *value
}

// maxValues is how much of a file is read: aliases make a few lines into as much as one likes.
const (
	maxValues = 200_000
	maxDepth  = 100
)

var errTooLarge = errors.New("it has more values than a configuration of Flyte's, or aliases that contain themselves")

// reader makes values of YAML's nodes.
type reader struct {
	left int
	// line is how many lines of the file are before the text that the nodes are of.
	line     int
	file     string
	findings []Finding
}

func (r *reader) value(node *yaml.Node, path []string) (*value, error) {
	if r.left--; r.left < 0 || len(path) > maxDepth {
		return nil, errTooLarge
	}
	v := &value{at: Position{File: r.file, Line: r.line + node.Line, Key: strings.Join(path, ".")}}
	switch node.Kind {
	case yaml.DocumentNode:
		if len(node.Content) == 0 {
			return v, nil
		}
		return r.value(node.Content[0], path)
	case yaml.AliasNode:
		if node.Alias == nil {
			return v, nil
		}
		return r.value(node.Alias, append(slices.Clone(path), "*")) // so that one that contains itself ends
	case yaml.SequenceNode:
		v.kind = list
		for i, child := range node.Content {
			item, err := r.value(child, append(slices.Clone(path), fmt.Sprint(i)))
			if err != nil {
				return nil, err
			}
			v.items = append(v.items, item)
		}
	case yaml.MappingNode:
		v.kind = mapping
		return v, r.entries(v, node, path)
	case yaml.ScalarNode:
		if node.ShortTag() != "!!null" {
			v.kind, v.text = scalar, node.Value
			v.quoted = node.ShortTag() == "!!str" && node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
		}
	}
	return v, nil
}

func (r *reader) entries(v *value, node *yaml.Node, path []string) error {
	lines := map[string]int{} // of the keys
	var merged []*value       // by <<, which the mapping's own keys go before
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		if key.Kind == yaml.AliasNode && key.Alias != nil {
			key = key.Alias
		}
		child, err := r.value(node.Content[i+1], append(slices.Clone(path), key.Value))
		if err != nil {
			return err
		}
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			if child.kind == list {
				merged = append(merged, child.items...)
			} else {
				merged = append(merged, child)
			}
			continue
		}
		child.at.Line = r.line + node.Content[i].Line
		if first, twice := lines[key.Value]; twice {
			r.findings = append(r.findings, Finding{Severity: SeverityError, Position: child.at, Found: child.String(),
				Why: fmt.Sprintf("the key is there already, in line %d; a file with a key twice is not read", first)})
		}
		lines[key.Value] = child.at.Line
		v.entries = append(v.entries, &entry{key.Value, child})
	}
	for _, from := range merged {
		for _, e := range from.entries {
			if _, has := lines[e.name]; !has {
				lines[e.name] = e.value.at.Line
				v.entries = append(v.entries, e)
			}
		}
	}
	return nil
}

// exactly finds a key as it is written.
func (v *value) exactly(name string) *value {
	if v == nil || v.kind != mapping {
		return nil
	}
	for _, e := range v.entries {
		if e.name == name {
			return e.value
		}
	}
	return nil
}

// entry finds a key as Flyte does, whatever its case.
func (v *value) entry(name string) *entry {
	if v == nil || v.kind != mapping {
		return nil
	}
	for _, e := range v.entries {
		if strings.EqualFold(e.name, name) {
			return e
		}
	}
	return nil
}

// path finds what a path of keys leads to; nil where there is nothing.
func (v *value) path(keys ...string) *value {
	for _, key := range keys {
		e := v.entry(key)
		if e == nil {
			return nil
		}
		v = e.value
	}
	return v
}

// texts are the scalars of a list; a scalar is several with commas in between, as Flyte reads it.
func (v *value) texts() []string {
	var found []string
	switch {
	case v == nil:
	case v.kind == scalar && v.text != "":
		found = strings.Split(v.text, ",")
	case v.kind == list:
		for _, item := range v.items {
			found = append(found, item.text)
		}
	}
	return found
}

// pairs are the entries of a mapping or of a list of mappings, which Flyte takes for one.
func (v *value) pairs() []*entry {
	switch {
	case v == nil:
	case v.kind == mapping:
		return v.entries
	case v.kind == list:
		var found []*entry
		for _, item := range v.items {
			found = append(found, item.entries...)
		}
		return found
	}
	return nil
}

// String is the value in YAML's flow form, cut where it is long.
func (v *value) String() string {
	const most = 120
	var b strings.Builder
	v.write(&b, most)
	text := b.String()
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

func (v *value) write(b *strings.Builder, most int) {
	if b.Len() > most {
		return
	}
	switch {
	case v == nil || v.kind == null:
		b.WriteString("null")
	case v.kind == scalar && strings.Contains(v.text, `"`) && !strings.ContainsAny(v.text, "'\n"):
		b.WriteString("'" + v.text + "'")
	case v.kind == scalar && (v.quoted || v.text == ""):
		fmt.Fprintf(b, "%q", v.text)
	case v.kind == scalar:
		b.WriteString(strings.Join(strings.Fields(v.text), " "))
	case v.kind == list:
		b.WriteString("[")
		for i, item := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			item.write(b, most)
		}
		b.WriteString("]")
	default:
		b.WriteString("{")
		for i, e := range v.entries {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(e.name + ": ")
			e.value.write(b, most)
		}
		b.WriteString("}")
	}
}
