package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Anchors are followed by copying, and a few lines of them can ask for more copies than there is memory.
const (
	maxYAMLNodes = 100_000
	maxYAMLDepth = 100
)

// parseYAML reads nodes rather than values: nodes know their lines, and they show a key that is given twice.
func parseYAML(source string, content []byte) (root node, errs Errors) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF): // nothing but comments: an empty configuration
		return node{Origin: Origin{Source: source}, value: []entry{}}, nil
	case err != nil:
		return node{}, Errors{yamlError(source, err)}
	}
	p := &yamlParser{source: source}
	root = p.node(&document, 0)
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case err == nil:
		p.fail(&second, "a second YAML document (after ---); a file holds one, give several files instead")
	case !errors.Is(err, io.EOF):
		p.errors = append(p.errors, yamlError(source, err))
	}
	if root.value == nil && len(p.errors) == 0 { // a document that is empty but for `---`
		root.value = []entry{}
	}
	return root, p.errors
}

type yamlParser struct {
	source string
	path   []string
	nodes  int
	errors Errors
}

func (p *yamlParser) node(n *yaml.Node, depth int) node {
	at := Origin{Source: p.source, Line: n.Line}
	p.nodes++
	if p.nodes > maxYAMLNodes || depth > maxYAMLDepth {
		if p.nodes < math.MaxInt/2 {
			p.nodes = math.MaxInt / 2 // say it once
			p.fail(n, fmt.Sprintf("more than %d values or %d levels deep, anchors followed; no configuration is", maxYAMLNodes, maxYAMLDepth))
		}
		return node{Origin: at}
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return p.node(n.Content[0], depth)
	case yaml.AliasNode:
		return p.node(n.Alias, depth+1)
	case yaml.MappingNode:
		return node{Origin: at, value: p.mapping(n, depth+1)}
	case yaml.SequenceNode:
		elements := make([]node, 0, len(n.Content))
		for _, element := range n.Content {
			elements = append(elements, p.node(element, depth+1))
		}
		return node{Origin: at, value: elements}
	default:
		return node{Origin: at, value: p.scalar(n)}
	}
}

func (p *yamlParser) mapping(n *yaml.Node, depth int) []entry {
	entries := []entry{}
	lines := map[string]int{}
	var merged []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			merged = append(merged, p.merge(value, depth)...)
			continue
		}
		name := key
		if key.Kind == yaml.AliasNode {
			name = key.Alias
		}
		if name.Kind != yaml.ScalarNode {
			p.fail(key, "a key must be a plain word, got a mapping or a list")
			continue
		}
		p.path = append(p.path, name.Value)
		at := Origin{Source: p.source, Line: key.Line}
		if line, twice := lines[name.Value]; twice {
			p.errors = append(p.errors, duplicate(at, p.path, line))
		} else {
			entries = append(entries, entry{key: name.Value, at: at, value: p.node(value, depth)})
			lines[name.Value] = key.Line
		}
		p.path = p.path[:len(p.path)-1]
	}
	for _, e := range merged { // what a mapping says itself wins over what it merges in
		if _, own := lines[e.key]; !own {
			lines[e.key] = e.at.Line
			entries = append(entries, e)
		}
	}
	return entries
}

// merge gives the entries that `<<:` names: a mapping's, or those of each mapping of a list, the first one winning.
func (p *yamlParser) merge(n *yaml.Node, depth int) []entry {
	value := p.node(n, depth)
	if entries, ok := value.mapping(); ok {
		return entries
	}
	elements, ok := value.value.([]node)
	var all []entry
	for _, element := range elements {
		entries, isMapping := element.mapping()
		ok = ok && isMapping
		all = append(all, entries...)
	}
	if !ok {
		p.fail(n, "<< merges mappings, got something else")
	}
	return all
}

func (p *yamlParser) scalar(n *yaml.Node) any {
	switch n.Tag {
	case "!!null", "!!bool", "!!int", "!!float":
		var value any
		if err := n.Decode(&value); err != nil {
			p.fail(n, yamlError(p.source, err).Message)
			return nil
		}
		switch v := value.(type) {
		case int:
			return int64(v)
		case float64:
			if math.IsInf(v, 0) || math.IsNaN(v) {
				p.fail(n, fmt.Sprintf("%s is not a number that a configuration can carry", n.Value))
				return nil
			}
		}
		return value
	case "!!str", "!!timestamp", "!!merge", "!": // a date is what was written: nothing here wants a date
		return n.Value
	}
	p.fail(n, fmt.Sprintf("the YAML tag %s is not understood", n.Tag))
	return nil
}

func (p *yamlParser) fail(n *yaml.Node, message string) {
	p.errors = append(p.errors, KeyError{Source: p.source, Line: n.Line, Key: keyName(p.path), Message: message})
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// yamlError takes the line out of the parser's message.
func yamlError(source string, err error) KeyError {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	return KeyError{Source: source, Line: line, Message: "not valid YAML: " + message}
}
