package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Errors is everything that is wrong with a configuration, in the order in which the layers were read.
type Errors []KeyError

// KeyError is one thing that is wrong.
type KeyError struct {
	// Where the value came from: a file's path as it was given, "environment variable NAME" or "command line".
	Source string `json:"source"`
	// The line in the file, counted from 1; absent where it is not known.
	Line int `json:"line,omitempty"`
	// The dotted key, such as plugins.duckdb.command; absent where the source as a whole is meant. A part that has a
	// dot itself is quoted.
	Key string `json:"key,omitempty"`
	// What was expected and what was found.
	Message string `json:"message"`
}

// Error writes one line: file:line: key: message.
func (e KeyError) Error() string {
	var b strings.Builder
	b.WriteString(e.Source)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Key != "" {
		fmt.Fprintf(&b, ": %s", e.Key)
	}
	fmt.Fprintf(&b, ": %s", e.Message)
	return b.String()
}

// Error writes one error as it is, several as a list, one a line.
func (e Errors) Error() string {
	if len(e) == 1 {
		return e[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d errors in the configuration:", len(e))
	for _, each := range e {
		fmt.Fprintf(&b, "\n  %s", each.Error())
	}
	return b.String()
}

// Unwrap lets errors.As find a KeyError.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i := range e {
		out[i] = e[i]
	}
	return out
}

// Origin is where a key got its value.
type Origin struct {
	// Source is as in [KeyError]: a file, a variable, the command line; "default" where nothing set the key.
	Source string
	// Line is the line in the file, or 0.
	Line int
}

// String writes the origin as errors do: file:line.
func (o Origin) String() string {
	if o.Line > 0 {
		return fmt.Sprintf("%s:%d", o.Source, o.Line)
	}
	return o.Source
}

// origins maps keys, joined by delim, to where they were last set.
type origins map[string]Origin

// Origin says where the key at path was set, or else the nearest key above it: for showing what a plugin says of its
// `config:` block beside the file it stems from. Origin("plugins", "duckdb", "config", "threads") is an example.
func (c *Config) Origin(path ...string) Origin { return c.origins.of(path) }

func (o origins) of(path []string) Origin {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if origin, ok := o[strings.Join(path, delim)]; ok {
			return origin
		}
	}
	return Origin{Source: "default"}
}

// ErrorAt makes the KeyError for a key that Load accepted and somebody else refuses, such as the plugin whose config it is.
func (c *Config) ErrorAt(message string, path ...string) KeyError {
	origin := c.Origin(path...)
	return KeyError{Source: origin.Source, Line: origin.Line, Key: keyName(path), Message: message}
}

// keyName writes a path as people do: dotted, and quoted where a part has a dot itself.
func keyName(path []string) string {
	parts := slices.Clone(path)
	for i, p := range parts {
		if p == "" || strings.ContainsFunc(p, func(r rune) bool { return r == '.' || r == '"' || r <= ' ' || !unicode.IsPrint(r) }) {
			parts[i] = fmt.Sprintf("%q", p)
		}
	}
	return strings.Join(parts, ".")
}
