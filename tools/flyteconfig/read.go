package flyteconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Source is a file with configuration: of Flyte's own, objects of Kubernetes among which are ConfigMaps, or values of Flyte's charts.
type Source struct {
	Name string
	Text []byte
}

// layer is one file of Flyte's configuration.
type layer struct {
	name  string
	value *value
}

// configuration is what one Flyte reads: the files of its directory, in the order in which they are merged.
type configuration struct {
	form   Form
	layers []layer
	// values are those that the layers of a chart are made of.
	values *value
	// name is that of a ConfigMap.
	name string
}

// document is one of YAML's.
type document struct {
	value *value
	line  int
}

// documents reads a file. Its findings are what YAML itself has against it.
func documents(source Source) ([]document, []Finding) {
	return documentsAt(source.Name, source.Text, 0, "")
}

func documentsAt(file string, content []byte, line int, key string) (found []document, findings []Finding) {
	at := Position{File: file, Line: line, Key: key}
	defer func() {
		if recover() != nil { // a parser of others', on any text
			found, findings = nil, []Finding{{Severity: SeverityError, Position: at, Why: "it cannot be read as YAML"}}
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	left := maxValues
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return found, findings
		}
		if err != nil {
			return found, append(findings, Finding{Severity: SeverityError, Position: at, Why: "it cannot be read as YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")})
		}
		r := reader{left: left, line: line, file: file}
		var path []string
		if key != "" {
			path = []string{key}
		}
		read, err := r.value(&node, path)
		if err != nil {
			return found, append(findings, Finding{Severity: SeverityError, Position: at, Why: err.Error()})
		}
		left = r.left
		found = append(found, document{read, line + node.Line})
		findings = append(findings, r.findings...)
	}
}

// configurations are what is to be checked of some files: those of Flyte's own are merged, and so are values; each ConfigMap is a
// directory of its own.
func configurations(sources []Source, form Form) ([]configuration, []Finding) {
	var findings []Finding
	var plain, values configuration
	var maps []configuration
	for _, source := range sources {
		read, wrong := documents(source)
		findings = append(findings, wrong...)
		objects := 0
		for i, d := range read {
			if isObject(d.value) {
				objects++
				made, wrong := configMaps(source.Name, d.value)
				maps, findings = append(maps, made...), append(findings, wrong...)
				continue
			}
			if i > objects && d.value.kind == mapping {
				findings = append(findings, Finding{Severity: SeverityError, Position: d.value.at, Why: "Flyte reads the first document of a file only; put this one into a file of its own"})
				continue
			}
			if d.value.kind == null {
				continue
			}
			if d.value.kind != mapping {
				findings = append(findings, Finding{Severity: SeverityError, Position: d.value.at, Found: d.value.String(), Why: "expected a mapping"})
				continue
			}
			chart, content := formOf(d.value, form)
			if chart == FormConfig {
				plain.layers = append(plain.layers, layer{source.Name, content})
				continue
			}
			if values.form != "" && values.form != chart {
				findings = append(findings, Finding{Severity: SeverityError, Position: content.at, Why: fmt.Sprintf("these are values of %s, those before it of %s; check one chart at a time, or say which by --form", chart, values.form)})
				continue
			}
			values.form = chart
			values.values = overlay(values.values, content)
		}
	}
	var all []configuration
	if len(plain.layers) > 0 {
		plain.form = FormConfig
		all = append(all, plain)
	}
	if values.form != "" {
		all = append(all, values)
	}
	relevant := slices.DeleteFunc(slices.Clone(maps), func(c configuration) bool { return !c.aboutPlugins() })
	if len(relevant) == 0 && len(maps) > 0 && len(all) == 0 {
		relevant = maps[:1]
	}
	return append(all, relevant...), findings
}

// isObject says whether it is one of Kubernetes'.
func isObject(v *value) bool {
	return v.exactly("kind") != nil && v.exactly("apiVersion") != nil
}

// configMaps are those in an object, each of which is a directory of files.
func configMaps(file string, object *value) (found []configuration, findings []Finding) {
	if kind := object.exactly("kind"); kind.text != "ConfigMap" {
		if strings.HasSuffix(kind.text, "List") {
			if items := object.exactly("items"); items != nil {
				for _, item := range items.items {
					made, wrong := configMaps(file, item)
					found, findings = append(found, made...), append(findings, wrong...)
				}
			}
		}
		return found, findings
	}
	made := configuration{form: FormConfig}
	if name := object.path("metadata", "name"); name != nil {
		made.name = name.text
	}
	data := object.exactly("data")
	if data == nil {
		return nil, nil
	}
	files := slices.Clone(data.entries)
	slices.SortFunc(files, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	for _, f := range files {
		if f.value.kind != scalar {
			continue
		}
		line := f.value.at.Line // of a block's |, above its first line
		if !strings.Contains(f.value.text, "\n") {
			line--
		}
		read, wrong := documentsAt(file, []byte(f.value.text), line, f.value.at.Key)
		if len(read) == 0 || read[0].value.kind != mapping { // another kind of file
			continue
		}
		findings = append(findings, wrong...)
		made.layers = append(made.layers, layer{f.name, read[0].value})
		for _, d := range read[1:] {
			if d.value.kind == mapping {
				findings = append(findings, Finding{Severity: SeverityError, Position: d.value.at, Why: "Flyte reads the first document of a file only; put this one into a file of its own"})
			}
		}
	}
	return []configuration{made}, findings
}

// aboutPlugins says whether it has anything to do with what is checked.
func (c configuration) aboutPlugins() bool {
	return slices.ContainsFunc(c.layers, func(l layer) bool {
		v := undotted(l.value)
		return v.path("tasks", "task-plugins") != nil || v.path("plugins", agentNames.plugin) != nil || v.path("plugins", connectorNames.plugin) != nil
	})
}

// formOf says what a file is by its keys, and gives what is in it: values may be those of a chart that has Flyte's as a part.
func formOf(v *value, form Form) (Form, *value) {
	if form != "" {
		if inner := v.exactly(string(form)); inner != nil && inner.kind == mapping {
			return form, inner
		}
		return form, v
	}
	has := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return v.exactly(key) != nil })
	}
	switch {
	case has("configuration", "enabled_plugins", "flyte-core-components"):
		return FormBinary, v
	case has("configmap", "flytepropeller", "flyteadmin"),
		v.path("flyteconnector", "plugin_config") != nil, v.path("flyteagent", "plugin_config") != nil:
		return FormCore, v
	}
	for _, chart := range []Form{FormBinary, FormCore} {
		if inner := v.exactly(string(chart)); inner != nil && inner.kind == mapping {
			return chart, inner
		}
	}
	return FormConfig, v
}

// flyte is the version that a configuration is for, as far as its keys say.
func (c configuration) flyte() Flyte {
	has := func(path ...string) bool {
		if c.values.path(path...) != nil {
			return true
		}
		return slices.ContainsFunc(c.layers, func(l layer) bool { return undotted(l.value).path(path...) != nil })
	}
	enabled := func(plugin string) bool {
		for _, path := range [][]string{
			{"tasks", "task-plugins", "enabled-plugins"},
			{"enabled_plugins", "tasks", "task-plugins", "enabled-plugins"},
			{"configuration", "inline", "tasks", "task-plugins", "enabled-plugins"},
			{"configmap", "enabled_plugins", "tasks", "task-plugins", "enabled-plugins"},
		} {
			if slices.Contains(cleaned(c.values.path(path...).texts()), plugin) || slices.ContainsFunc(c.layers, func(l layer) bool {
				return slices.Contains(cleaned(undotted(l.value).path(path...).texts()), plugin)
			}) {
				return true
			}
		}
		return false
	}
	section := func(plugin string) bool {
		return has("plugins", plugin) || has("configuration", "inline", "plugins", plugin) || has("configmap", "k8s", "plugins", plugin) || has("configmap", "enabled_plugins", "plugins", plugin)
	}
	switch {
	case has("runs"), has("executor"), has("flyte-core-components", "runs"), has("flyte-core-components", "executor"), has("configuration", "inline", "executor"):
		return Flyte2
	case section(connectorNames.plugin), enabled(connectorNames.plugin), has("configuration", "connectorService"), has("flyteconnector"):
		return FlyteConnectors
	case section(agentNames.plugin), enabled(agentNames.plugin), has("configuration", "agentService"), has("flyteagent"):
		return FlyteAgents
	}
	return FlyteConnectors
}
