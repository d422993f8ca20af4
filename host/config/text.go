package config

import (
	"errors"
	"strconv"
	"strings"
)

// fromText reads a text from a variable or flag as the kind of value its key wants.
func fromText(n node, s *shape) (node, error) {
	value, _ := n.value.(string)
	n.text = false
	switch s.kind {
	case integer:
		i, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return node{}, errors.New("not a whole number")
		}
		n.value = i
	case list:
		if s.elem.kind != object && !strings.HasPrefix(strings.TrimSpace(value), "[") {
			elements := []node{}
			for part := range strings.SplitSeq(value, ",") {
				if part = strings.TrimSpace(part); part != "" {
					elements = append(elements, node{Origin: n.Origin, value: part, text: s.elem.kind != text})
				}
			}
			n.value = elements
			return n, nil
		}
		return fromYAMLText(n)
	case object, table, free, decimal, truth:
		return fromYAMLText(n)
	}
	return n, nil // durations and sizes are written as text everywhere
}

// fromYAMLText reads a text as a YAML file would have it, so that 4 is a number, true a truth and {a: b} a mapping.
func fromYAMLText(n node) (node, error) {
	value, _ := n.value.(string)
	parsed, errs := parseYAML(n.Source, []byte(value))
	if len(errs) > 0 {
		return node{}, errors.New(errs[0].Message)
	}
	if entries, ok := parsed.mapping(); ok && len(entries) == 0 && strings.TrimSpace(value) == "" {
		parsed.value = "" // a variable that is set to nothing is an empty text, not an empty mapping
	}
	return parsed.withOrigin(n.Origin), nil
}

// withOrigin makes a whole tree stem from one place.
func (n node) withOrigin(at Origin) node {
	n.Origin = at
	switch value := n.value.(type) {
	case []entry:
		for i := range value {
			value[i].at, value[i].value = at, value[i].value.withOrigin(at)
		}
	case []node:
		for i := range value {
			value[i] = value[i].withOrigin(at)
		}
	}
	return n
}
