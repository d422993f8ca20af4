package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	sdk "github.com/agenthost/agenthost/sdk/go"
)

// document is a policy's input document.
type document map[string]any

// factsOf are what a policy may rely on: the task's inputs, which whoever started the execution chose, and who asks, which
// Flyte says.
func factsOf(task *sdk.Task) (document, error) {
	values, err := task.InputValues()
	if err != nil {
		return nil, err
	}
	inputs := map[string]any{}
	for name, value := range values {
		exact, err := plain(value)
		if err != nil {
			return nil, fmt.Errorf("input %s %w", name, err)
		}
		written, err := json.Marshal(exact)
		if err != nil {
			return nil, fmt.Errorf("input %s is no JSON: %w", name, err)
		}
		inputs[name] = json.RawMessage(written)
	}
	facts := document{"inputs": inputs, "execution": execution(task), "identity": identity(task)}
	// As JSON has it: whole numbers, lists and maps, whatever Go type they were.
	data, err := json.Marshal(facts)
	if err != nil {
		return nil, fmt.Errorf("the facts are no JSON: %w", err)
	}
	return parse(data)
}

func parse(data []byte) (document, error) {
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber() // 64 bit integers stay what they are.
	var parsed document
	return parsed, decoder.Decode(&parsed)
}

func execution(task *sdk.Task) map[string]any {
	node := task.ExecutionID.GetNodeExecutionId()
	id := node.GetExecutionId()
	name := task.Template.GetId()
	if named := task.ExecutionID.GetTaskId(); named.GetName() != "" {
		name = named
	}
	return map[string]any{
		"project":   id.GetProject(),
		"domain":    id.GetDomain(),
		"name":      id.GetName(),
		"node":      node.GetNodeId(),
		"attempt":   task.ExecutionID.GetRetryAttempt(),
		"namespace": task.Metadata.GetNamespace(),
		"labels":    task.Metadata.GetLabels(),
		"task": map[string]any{
			"project": name.GetProject(), "domain": name.GetDomain(), "name": name.GetName(), "version": name.GetVersion(),
		},
	}
}

func identity(task *sdk.Task) map[string]any {
	who := task.Metadata.GetIdentity()
	return map[string]any{
		"execution_identity":  who.GetExecutionIdentity(),
		"k8s_service_account": task.Metadata.GetK8SServiceAccount(),
		"iam_role":            who.GetIamRole(),
	}
}

// plain writes Flyte's values as JSON: times in RFC 3339, durations in seconds, bytes in base64, what lies in storage by its uri
// and format. What JSON would change is refused.
func plain(value any) (any, error) {
	switch v := value.(type) {
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), nil
	case time.Duration:
		return seconds(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("has the float %v, which JSON does not have", v)
		}
		return wholeFloat(v), nil
	case sdk.File:
		return map[string]any{"uri": v.URI, "format": v.Format}, nil
	case sdk.Directory:
		return map[string]any{"uri": v.URI, "format": v.Format}, nil
	case sdk.StructuredDataset:
		return dataset(v), nil
	case sdk.Schema:
		return map[string]any{"uri": v.URI, "format": "parquet"}, nil
	case sdk.Binary:
		return map[string]any{"value": v.Value, "tag": v.Tag}, nil
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			var err error
			if list[i], err = plain(element); err != nil {
				return nil, fmt.Errorf("[%d] %w", i, err)
			}
		}
		return list, nil
	case map[string]any:
		object := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			var err error
			if object[key], err = plain(v[key]); err != nil {
				return nil, fmt.Errorf("%q %w", key, err)
			}
		}
		return object, nil
	case map[any]any: // a dict with keys that are no texts, which JSON does not have
		object := make(map[string]any, len(v))
		for key, element := range v {
			name, err := keyText(key)
			if err != nil {
				return nil, err
			}
			if _, twice := object[name]; twice {
				return nil, fmt.Errorf("has two keys that are %q as text", name)
			}
			object[name] = element
		}
		return plain(object)
	}
	return value, nil
}

// keyText is the text of a dict's key, as Python's json writes it.
func keyText(key any) (string, error) {
	switch k := key.(type) {
	case string:
		return k, nil
	case bool, int64, uint64:
		return fmt.Sprint(k), nil
	case float64:
		text := strconv.FormatFloat(k, 'g', -1, 64)
		if !math.IsNaN(k) && !math.IsInf(k, 0) {
			if !strings.ContainsAny(text, ".e") {
				text += ".0"
			}
			return text, nil
		}
	}
	return "", fmt.Errorf("has the key %v, which is neither a text nor a number", key)
}

// seconds keeps all digits, which a float of some months and nanoseconds would not.
func seconds(d time.Duration) json.Number {
	whole, nanos := d/time.Second, d%time.Second
	if nanos == 0 {
		return json.Number(strconv.FormatInt(int64(whole), 10))
	}
	sign := ""
	if d < 0 {
		sign, whole, nanos = "-", -whole, -nanos
	}
	return json.Number(strings.TrimRight(fmt.Sprintf("%s%d.%09d", sign, whole, nanos), "0"))
}

// wholeFloat writes a large float as the number that it is: encoding/json puts zeros in the place of its last digits, which
// is the same to whoever reads a float, but Rego has all digits.
func wholeFloat(f float64) any {
	if size := math.Abs(f); size > 1<<53 && size < 1e21 {
		return json.Number(strconv.FormatFloat(f, 'f', 0, 64))
	}
	return f
}

func dataset(v sdk.StructuredDataset) any {
	columns := []any{}
	for _, column := range v.Columns {
		// The type as Flyte's own JSON has it.
		if text, err := protojson.Marshal(column.Type); err == nil {
			columns = append(columns, map[string]any{"name": column.Name, "type": json.RawMessage(text)})
		}
	}
	return map[string]any{"uri": v.URI, "format": v.Format, "columns": columns}
}

// with adds what the task's custom part says to the facts.
func (d document) with(mapping map[string]any) (document, error) {
	input := maps.Clone(d)
	for name, template := range mapping {
		value, err := d.fill(template)
		if err != nil {
			return nil, fmt.Errorf("custom.input.%s: %w", name, err)
		}
		input[name] = value
	}
	return input, nil
}

// fill replaces references in a template. "$$" at its beginning is a dollar sign.
func (d document) fill(template any) (any, error) {
	switch t := template.(type) {
	case string:
		if literal, escaped := strings.CutPrefix(t, "$$"); escaped {
			return "$" + literal, nil
		}
		if reference, refers := strings.CutPrefix(t, "$."); refers {
			return d.find(reference)
		}
		return t, nil
	case []any:
		list := make([]any, len(t))
		for i, element := range t {
			value, err := d.fill(element)
			if err != nil {
				return nil, err
			}
			list[i] = value
		}
		return list, nil
	case map[string]any:
		object := make(map[string]any, len(t))
		for key, element := range t {
			value, err := d.fill(element)
			if err != nil {
				return nil, err
			}
			object[key] = value
		}
		return object, nil
	}
	return template, nil
}

func (d document) find(reference string) (any, error) {
	var value any = map[string]any(d)
	for name := range strings.SplitSeq(reference, ".") {
		if value == masked {
			return masked, nil
		}
		object, _ := value.(map[string]any)
		inner, ok := object[name]
		if !ok {
			return nil, fmt.Errorf("there is no %q in the inputs, execution or identity (a dollar sign itself is written $$)", "$."+reference)
		}
		value = inner
	}
	return value, nil
}

// masked stands in the log for what it must not show.
const masked = "[masked]"

// without masks parts of the document, which are dotted paths with * for any name. The document itself is left as it is.
func (d document) without(paths []string) document {
	var hidden any = map[string]any(d)
	for _, path := range paths {
		hidden = mask(hidden, strings.Split(path, "."))
	}
	return hidden.(map[string]any)
}

// mask reaches into lists without naming their elements.
func mask(value any, path []string) any {
	if len(path) == 0 {
		return masked
	}
	switch v := value.(type) {
	case map[string]any:
		object := maps.Clone(v)
		for name, element := range v {
			if path[0] == "*" || path[0] == name {
				object[name] = mask(element, path[1:])
			}
		}
		return object
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			list[i] = mask(element, path)
		}
		return list
	}
	return value
}
