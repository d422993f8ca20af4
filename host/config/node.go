package config

// node is a value as a layer gave it, before anything is known of its type, with where it stands. The parsers make
// trees of nodes, and read (read.go) turns them into checked values.
type node struct {
	Origin
	// value is a mapping ([]entry), a sequence ([]node) or a scalar: nil, bool, int64, uint64, float64, string.
	value any
	// text marks a scalar that is a string only because its source knows nothing else, such as a variable: the key's type
	// decides what it means.
	text bool
}

// entry is one key of a mapping, in the order of the source.
type entry struct {
	key   string
	at    Origin
	value node
}

// mapping gives the entries of a mapping node; false for any other node.
func (n node) mapping() ([]entry, bool) {
	entries, ok := n.value.([]entry)
	return entries, ok
}

// nest puts a value below a path of keys.
func nest(path []string, value node) node {
	for i := len(path) - 1; i >= 0; i-- {
		value = node{Origin: value.Origin, value: []entry{{key: path[i], at: value.Origin, value: value}}}
	}
	return value
}
