package flyteconfig

import (
	"bytes"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Setting is one line of what Flyte is to be told.
type Setting struct {
	// Key is its path, as it is printed.
	Key   string `json:"key"`
	Value any    `json:"value"`
	Why   string `json:"why"`
}

// Settings are what the target is to be told, in the order of its configuration.
func (t Target) Settings() []Setting {
	var all []Setting
	for _, s := range t.printed() {
		all = append(all, Setting{strings.Join(t.Form.place(s.key), "."), s.value, s.why})
	}
	return all
}

func (t Target) printed() []setting {
	var printed []setting
	for _, s := range t.settings(t.Flyte.names()) {
		if !s.onlyChecked {
			printed = append(printed, s)
		}
	}
	return printed
}

// Print writes the settings as YAML, with the reason of each as a comment: a file for Flyte's configuration, or for helm's --values.
func (t Target) Print() ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	told := ""
	for _, s := range t.printed() {
		why := s.why
		if why == told { // several keys have it
			why = ""
		} else {
			told = why
		}
		s.write(root, t.Form.place(s.key), why)
	}
	if t.Form == FormBinary && strings.HasPrefix(t.Endpoint, "k8s:") {
		writeRules(root)
	}
	root.HeadComment = comment(t.head())
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

// head says what the file is.
func (t Target) head() string {
	what := map[Form]string{
		FormConfig: "A file beside those of its configuration, which are merged in the order of their names.",
		FormBinary: "Values of the chart flyte-binary.",
		FormCore:   "Values of the chart flyte-core.",
	}[t.Form]
	switch n := t.Flyte.names(); {
	case t.Flyte.Two():
		return "Flyte 2. " + what
	case n == agentNames:
		return "Flyte 1 up to 1.15.0. " + what
	case t.Form != FormConfig && t.Flyte.before(16, 0):
		return "Flyte 1.15.1 to 1.15.3. " + what
	default:
		return "Flyte 1 from 1.15.1 on. " + what
	}
}

// write puts a setting into a document.
func (s setting) write(root *yaml.Node, path []string, why string) {
	last := len(path) - 1
	for i, key := range path[:last] {
		kind := yaml.MappingNode
		if s.listed && i == last-1 {
			kind = yaml.SequenceNode
		}
		root = child(root, key, kind)
	}
	key := textNode(path[last])
	if s.listed {
		item := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, nodeOf(s.value)}, HeadComment: comment(why)}
		root.Content = append(root.Content, item)
		return
	}
	key.HeadComment = comment(why)
	root.Content = append(root.Content, key, nodeOf(s.value))
}

// child is the mapping or sequence at a key, made where there is none.
func child(parent *yaml.Node, key string, kind yaml.Kind) *yaml.Node {
	for i := 0; i+1 < len(parent.Content); i += 2 {
		if parent.Content[i].Value == key {
			return parent.Content[i+1]
		}
	}
	made := &yaml.Node{Kind: kind}
	parent.Content = append(parent.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, made)
	return made
}

func nodeOf(value any) *yaml.Node {
	switch value := value.(type) {
	case []string:
		node := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, text := range value {
			node.Content = append(node.Content, textNode(text))
		}
		return node
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(value)}
	case int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(value)}
	case string:
		return textNode(value)
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
}

// textNode is text that stays text, whatever it looks like.
func textNode(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	switch {
	case strings.HasPrefix(text, "{"):
		node.Style = yaml.SingleQuotedStyle
	case text == "<<": // which the encoder takes for a merge
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

// writeRules lets Flyte watch endpoints, which the chart's own rules do not.
func writeRules(root *yaml.Node) {
	rule := &yaml.Node{Kind: yaml.MappingNode}
	for _, field := range []struct {
		key   string
		value []string
	}{{"apiGroups", []string{""}}, {"resources", []string{"endpoints"}}, {"verbs", []string{"watch"}}} {
		rule.Content = append(rule.Content, textNode(field.key), nodeOf(field.value))
	}
	rules := child(child(root, "rbac", yaml.MappingNode), "extraRules", yaml.SequenceNode)
	rule.HeadComment = comment("k8s:// watches the endpoints of the host's Service, which the chart's own rules do not allow. A list takes the place of the one in values before it.")
	rules.Content = append(rules.Content, rule)
}

// comment wraps text for a comment. The encoder puts the # before each line.
func comment(text string) string {
	const width = 100
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
