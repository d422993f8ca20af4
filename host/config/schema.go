package config

import (
	"bytes"
	"embed"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"
)

// The descriptions in the schema are the comments of the fields, which are written once, where these are.
//
//go:embed access.go artifacts.go config.go limits.go sandbox.go
var sources embed.FS

// Schema is the JSON Schema (draft 2020-12) of a configuration file, for editors and for checks before a file is rolled
// out. It is generated from [Config] and the rules that Load checks by. Load is the stricter of the two: it also knows
// what a schema cannot say, such as that a port is at most 65535.
func Schema() []byte {
	comments := fieldComments()
	reflector := jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		RequiredFromJSONSchemaTags: true,
		FieldNameTag:               "koanf",
		LookupComment:              func(t reflect.Type, name string) string { return comments[t.Name()+"."+name] },
	}
	schema := reflector.Reflect(Config{})
	schema.Title = "agenthost configuration"
	refine(schema, configShape, reflect.ValueOf(*Default()))
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // people read this
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		panic("config: the schema is no JSON: " + err.Error()) // it is made of strings and numbers
	}
	return text.Bytes()
}

// refine adds what the reflector cannot know: the rules, and the defaults.
func refine(s *jsonschema.Schema, sh *shape, defaults reflect.Value) {
	switch sh.kind {
	case object:
		for _, f := range sh.fields {
			property, _ := s.Properties.Get(f.name)
			refine(property, f.shape, f.in(defaults))
			if f.required {
				s.Required = append(s.Required, f.name)
			}
		}
		if sh.short != "" {
			short(s, sh)
		}
		if sh == pluginShape {
			s.OneOf = []*jsonschema.Schema{kindSchema("command", "image", "verify"), kindSchema("command"), kindSchema("address")}
			s.OneOf[1].Required = []string{"image"} // whose program command names, where the image does not say it
		}
		return
	case table:
		if sh.keys != nil {
			s.PropertyNames = &jsonschema.Schema{}
			sh.keys.describe(s.PropertyNames)
		}
		if sh.elem.kind == object {
			refine(s.AdditionalProperties, sh.elem, reflect.ValueOf(DefaultPlugin()))
		} else if sh.elem.check != nil {
			sh.elem.check.describe(s.AdditionalProperties)
		}
		return
	case list:
		if sh.elem.kind == object {
			refine(s.Items, sh.elem, reflect.Zero(defaults.Type().Elem()))
			return
		}
		if sh.elem.check != nil {
			sh.elem.check.describe(s.Items)
		}
		if sh.check != nil {
			one := uint64(1)
			s.MinItems = &one
		}
		return
	case duration:
		s.Type, s.Pattern = "string", durationPattern
	case size:
		s.Type = ""
		s.OneOf = []*jsonschema.Schema{{Type: "integer"}, {Type: "string", Pattern: sizePattern}}
		sh.check.describe(s.OneOf[0])
	default:
		if sh.check != nil && sh.check.numbers {
			s.Type, s.OneOf = "", []*jsonschema.Schema{{Type: "integer"}, {Type: "string"}}
			sh.check.describe(s.OneOf[1])
		} else if sh.check != nil {
			sh.check.describe(s)
		}
	}
	if !defaults.IsZero() {
		s.Default = written(defaults.Interface())
	}
}

// short lets a mapping be one of the texts that set its one key.
func short(s *jsonschema.Schema, sh *shape) {
	mapping := &jsonschema.Schema{Type: s.Type, Properties: s.Properties, AdditionalProperties: s.AdditionalProperties, Required: s.Required}
	text := &jsonschema.Schema{Type: "string"}
	sh.field(sh.short).check.describe(text)
	*s = jsonschema.Schema{Description: s.Description, OneOf: []*jsonschema.Schema{text, mapping}}
}

// kindSchema is what holds for a plugin of one kind, command or address: it has that key, and none that is for the other, nor those
// that are named.
func kindSchema(kind string, without ...string) *jsonschema.Schema {
	s := &jsonschema.Schema{Required: []string{kind}, Properties: jsonschema.NewProperties()}
	for _, f := range pluginShape.fields {
		if f.only != "" && f.only != kind || slices.Contains(without, f.name) {
			s.Properties.Set(f.name, jsonschema.FalseSchema)
		}
	}
	return s
}

// describe writes a rule into a schema.
func (r *rule) describe(s *jsonschema.Schema) {
	s.Pattern = r.pattern
	for _, value := range r.enum {
		s.Enum = append(s.Enum, value)
	}
	if r.truths {
		s.Type, s.Enum = "", append(s.Enum, true, false)
	}
	if r.minimum != nil {
		s.Minimum = json.Number(strconv.FormatInt(*r.minimum, 10))
	}
	if r.maximum != nil {
		s.Maximum = json.Number(strconv.FormatInt(*r.maximum, 10))
	}
}

// written gives a value as a file would have it.
func written(value any) any {
	switch v := value.(type) {
	case time.Duration:
		text := v.String()
		for _, zero := range []string{"m0s", "h0m"} { // 1m0s is 1m
			if strings.HasSuffix(text, zero) {
				text = text[:len(text)-2]
			}
		}
		return text
	case Size:
		return v.String()
	}
	return value
}

// fieldComments reads the comments of struct fields, keyed "Type.Field".
func fieldComments() map[string]string {
	comments := map[string]string{}
	err := fs.WalkDir(sources, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := sources.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		addComments(comments, file)
		return nil
	})
	if err != nil {
		panic("config: what compiled does not parse: " + err.Error())
	}
	return comments
}

func addComments(comments map[string]string, file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		t, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if fields, ok := t.Type.(*ast.StructType); ok {
			for _, f := range fields.Fields.List {
				for _, name := range f.Names {
					comments[t.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
		return false
	})
}
