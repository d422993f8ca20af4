package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Reference describes every key of a configuration for people, in Markdown. It says what [Schema] says, from the same
// fields, rules and comments, and what a change of the key does.
func Reference() []byte {
	r := &reference{comments: fieldComments()}
	r.print(`# Configuration

<!-- Generated from host/config/config.go: go run ./cmd/agenthost schema -o markdown > docs/reference/configuration.md -->

YAML, JSON or TOML, read strictly: an unknown key, a value of the wrong type or a key given twice is an error that names the
line. Several files merge key by key, the later ones override. Every key can also be set by a variable,
` + "`AGENTHOST_LISTEN__GRPC`" + ` for ` + "`listen.grpc`" + `, and by a flag, ` + "`--set listen.grpc=…`" + `. Both override files.

A path that starts with ` + "`./` or `../`" + ` is relative to the file it stands in. A duration is written as ` + "`30s`, `5m` or `1h30m`" + `, a
size as ` + "`64MiB`" + `.

A running host takes up changes of its files by itself. What that does to a plugin, ` + "`agenthost reload --dry-run`" + ` shows.

## The host

A change of one of these needs a restart of the host, but for ` + "`plugins`, `routes`, `create` and `access`" + `.

`)
	r.table(configShape, reflect.TypeFor[Config](), reflect.ValueOf(*Default()))
	r.print("\n## A plugin: `plugins.<name>`\n\n%s\n\n", "A plugin has either a `command` or an `address`. The marks **cmd** and **addr** show the keys that are for one of the two only. "+
		"A change of a key marked **new** makes a new generation of the plugin, for which the running one is swapped; the others are settings, which "+
		"take effect at once.")
	r.table(pluginShape, reflect.TypeFor[Plugin](), reflect.ValueOf(DefaultPlugin()))
	r.print("\n## A route: an element of `routes`\n\nA key that is left out matches anything.\n\n")
	r.table(routeShape, reflect.TypeFor[Route](), reflect.Zero(reflect.TypeFor[Route]()))
	r.print("\n## An issuer: an element of `access.issuers`\n\n")
	r.table(issuerShape, reflect.TypeFor[Issuer](), reflect.Zero(reflect.TypeFor[Issuer]()))
	r.print("\n## A rule: an element of `access.rules`\n\nWho is meant must be named, by `anyone`, `certificate` or what a token says, all of it together. " +
		"Of what is allowed, a key that is left out matches anything. A `*` in a text stands for any characters.\n\n")
	r.table(accessRuleShape, reflect.TypeFor[AccessRule](), reflect.Zero(reflect.TypeFor[AccessRule]()))
	return r.text.Bytes()
}

type reference struct {
	text     bytes.Buffer
	comments map[string]string
}

func (r *reference) print(format string, args ...any) { fmt.Fprintf(&r.text, format, args...) }

func (r *reference) table(s *shape, t reflect.Type, defaults reflect.Value) {
	r.print("| key | value | default | |\n|---|---|---|---|\n")
	r.rows(s, t, defaults, "", nil)
}

// rows writes a row for each key; above are the marks of the mapping that they are in.
func (r *reference) rows(s *shape, t reflect.Type, defaults reflect.Value, prefix string, above []string) {
	for _, f := range s.fields {
		value := f.in(defaults)
		comment := r.comments[t.Name()+"."+fieldNamed(t, f.name).Name]
		marks := slices.Clone(above)
		if f.only != "" {
			marks = append(marks, map[string]string{"command": "**cmd**", "address": "**addr**"}[f.only])
		}
		if f.spec {
			marks = append(marks, "**new**")
		}
		if f.shape.kind == object {
			r.rows(f.shape, value.Type(), value, prefix+f.name+".", marks)
			continue
		}
		usual := ""
		if f.required {
			usual = "required"
		} else if f.shape.hasDefault(value) {
			usual = fmt.Sprintf("`%v`", written(value.Interface()))
		}
		if len(marks) > 0 {
			comment = strings.Join(marks, ", ") + ": " + comment
		}
		r.print("| `%s%s` | %s | %s | %s |\n", prefix, f.name, forTable(f.shape.described()), usual, forTable(comment))
	}
}

// hasDefault says whether a default is a value that the key could be given: where it is not, the comment tells what is usual.
func (s *shape) hasDefault(value reflect.Value) bool {
	switch s.kind {
	case table, list:
		return false
	case text:
		return !value.IsZero()
	case size:
		return s.check.number(value.Int(), "") == nil
	case integer:
		return value.Kind() != reflect.Pointer && s.check.number(value.Int(), "") == nil
	}
	return true
}

// described says what a value looks like, for the reference.
func (s *shape) described() string {
	article := func(text string) string {
		for _, a := range []string{"a ", "an ", "the "} {
			text = strings.TrimPrefix(text, a)
		}
		return text
	}
	switch s.kind {
	case table:
		if s.elem.kind == free {
			return "mapping"
		}
		if s.elem.kind == object {
			return "mapping of plugins by name"
		}
		return "mapping of " + article(s.keys.want) + " to " + article(s.elem.wants())
	case list:
		if s.elem.kind == object {
			return "list of mappings"
		}
		if s.check == nil && s.elem.check != nil {
			return "list: " + s.elem.check.want
		}
	}
	return article(s.wants())
}

var forTable = strings.NewReplacer("|", `\|`, "<", "&lt;").Replace

// fieldNamed finds the field of a key.
func fieldNamed(t reflect.Type, key string) reflect.StructField {
	for f := range t.Fields() {
		if f.Tag.Get("koanf") == key {
			return f
		}
	}
	panic("config: no field for " + key) // shapes are made of these very fields
}
