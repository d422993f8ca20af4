package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/agenthost/agenthost/tools/terminal"
)

// The values of --output, which is the form of the result in every command: one form for people, text or a table, and the same
// data as JSON or YAML.
const (
	outputText  = "text"
	outputTable = "table"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

// bindOutput gives a command --output with the given values, the first one being the default.
func bindOutput(cmd *cobra.Command, target *string, values ...string) {
	*target = values[0]
	cmd.Flags().VarP(&choice{target, values}, "output", "o", "`form` of the result: "+oneOf(values))
	if err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added above
	}
}

// isData says whether a result in this form is for a program, to which nothing else is told meanwhile.
func isData(output string) bool { return output == outputJSON || output == outputYAML }

// printData prints a result as JSON or YAML. The YAML is the JSON in another notation, in the same order.
func printData(out io.Writer, output string, value any) error {
	if output != outputYAML {
		return printJSON(out, value)
	}
	var text bytes.Buffer
	if err := printJSON(&text, value); err != nil {
		return err
	}
	return printYAML(out, text.Bytes())
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// printYAML writes JSON as YAML.
func printYAML(out io.Writer, text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	document, err := yamlNode(decoder)
	if err != nil {
		return err
	}
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	return encoder.Encode(document)
}

// yamlNode makes a node of the next value. A decoder of tokens, because a map would lose the order of the keys.
func yamlNode(decoder *json.Decoder) (*yaml.Node, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	node := &yaml.Node{}
	switch value := token.(type) {
	case json.Number:
		node.Kind, node.Value = yaml.ScalarNode, value.String()
		return node, nil
	case json.Delim:
		node.Kind = yaml.SequenceNode
		if value == '{' {
			node.Kind = yaml.MappingNode
		}
		for decoder.More() {
			child, err := yamlNode(decoder) // in an object first a key, then its value
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, child)
		}
		_, err := decoder.Token() // the end
		return node, err
	}
	if err := node.Encode(token); err != nil { // which quotes a string that would be read as something else
		return nil, err
	}
	text, isText := token.(string)
	if isText && terminal.Unsafe(text) { // which becomes an escape, and so must be where there are some
		node.Style = yaml.DoubleQuotedStyle
	}
	if isText && node.Tag != "!!str" { // but for "<<"
		node.Tag, node.Style = "!!str", yaml.DoubleQuotedStyle
	}
	return node, nil
}

// choice is a flag that takes one of a few values.
type choice struct {
	target *string
	values []string
}

func (c *choice) String() string {
	if c.target == nil {
		return ""
	}
	return *c.target
}

func (c *choice) Type() string { return "string" }

func (c *choice) Set(value string) error {
	if !slices.Contains(c.values, value) {
		return fmt.Errorf("expected %s", oneOf(c.values))
	}
	*c.target = value
	return nil
}

// oneOf writes values as a choice: "a, b or c".
func oneOf(values []string) string {
	last := len(values) - 1
	if last == 0 {
		return values[0]
	}
	return strings.Join(values[:last], ", ") + " or " + values[last]
}
