package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/plugins/opa/policy"
)

// decision is what a policy decided. Its zero value denies.
type decision struct {
	Allowed bool
	Reasons []string
	// Document is the policy's object, or one made of the above.
	Document map[string]any
}

// decide reads a policy's value. What does not clearly allow, denies; a value that is no decision at all is an error, so
// that a broken policy does not look like one that says no.
func decide(path policy.Path, kind Kind, result json.RawMessage) (decision, error) {
	if result == nil {
		return denied(fmt.Sprintf("the policy %s is undefined for this input: there is no such rule, or none of its conditions holds", path)), nil
	}
	var value any
	decoder := json.NewDecoder(bytes.NewReader(result))
	decoder.UseNumber() // Rego's numbers have any number of digits.
	if err := decoder.Decode(&value); err != nil {
		return decision{}, policy.Broken("the value of %s is no JSON: %w", path, err)
	}
	switch v := value.(type) {
	case bool:
		if kind == "" || kind == Boolean {
			return fromBoolean(path, v), nil
		}
	case map[string]any:
		if kind == "" || kind == Object {
			return fromObject(path, v)
		}
	case []any:
		if kind == Denials {
			return fromDenials(path, v)
		}
	}
	wanted := map[Kind]string{"": "a boolean or an object", Boolean: "a boolean", Object: "an object", Denials: "a set of reasons"}[kind]
	hint := ""
	if _, list := value.([]any); list {
		hint = "; a set of reasons against it is read with decision: denials"
	}
	return decision{}, policy.Broken("the value of %s must be %s, but it is %s%s", path, wanted, kindOf(value), hint)
}

func fromBoolean(path policy.Path, allowed bool) decision {
	if !allowed {
		return denied(fmt.Sprintf("the policy %s is false for this input", path))
	}
	return made(true, nil)
}

func fromObject(path policy.Path, object map[string]any) (decision, error) {
	allowed, ok := object["allow"].(bool)
	if !ok {
		return decision{}, policy.Broken("the value of %s must have a boolean allow, but it is %s", path, kindOf(object["allow"]))
	}
	d := decision{Allowed: allowed, Reasons: []string{}, Document: object}
	if given, has := object["reasons"]; has {
		list, isList := given.([]any)
		if !isList {
			return decision{}, policy.Broken("the reasons of %s must be a list, but they are %s", path, kindOf(given))
		}
		d.Reasons = texts(list)
	}
	if !allowed && len(d.Reasons) == 0 {
		d.Reasons = []string{fmt.Sprintf("the policy %s denies without a reason", path)}
	}
	return d, nil
}

func fromDenials(path policy.Path, list []any) (decision, error) {
	if len(list) == 0 {
		return made(true, nil), nil
	}
	for _, element := range list {
		if text, isText := element.(string); isText && text == "" {
			return decision{}, policy.Broken("the policy %s denies for an empty reason", path)
		}
	}
	return made(false, texts(list)), nil
}

func denied(reason string) decision { return made(false, []string{reason}) }

func made(allowed bool, reasons []string) decision {
	reasons = slices.Concat([]string{}, reasons)
	list := make([]any, len(reasons))
	for i, reason := range reasons {
		list[i] = reason
	}
	return decision{allowed, reasons, map[string]any{"allow": allowed, "reasons": list}}
}

// texts are reasons as text: an object's msg or message, else its JSON.
func texts(list []any) []string {
	all := make([]string, 0, len(list))
	for _, element := range list {
		all = append(all, text(element))
	}
	return all
}

func text(reason any) string {
	switch r := reason.(type) {
	case string:
		return r
	case map[string]any:
		for _, key := range []string{"msg", "message", "reason"} {
			if said, ok := r[key].(string); ok {
				return said
			}
		}
	}
	var data strings.Builder
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(reason) // It came out of JSON.
	return strings.TrimSuffix(data.String(), "\n")
}

// checkNumbers refuses a number with more digits than an output can have: Rego's have any number, an integer has 64 bits and a
// float 17 digits.
func checkNumbers(value any, path string) error {
	switch v := value.(type) {
	case json.Number:
		if !isExact(v.String()) {
			return fmt.Errorf("%s is %s, which neither 64 bits nor a float hold: round it in the policy, or make it a text with sprintf", strings.TrimPrefix(path, "."), v)
		}
	case []any:
		for i, element := range v {
			if err := checkNumbers(element, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if err := checkNumbers(v[name], path+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// isExact says whether an integer of 64 bits or a float is the number.
func isExact(number string) bool {
	if _, err := strconv.ParseInt(number, 10, 64); err == nil {
		return true
	}
	if _, err := strconv.ParseUint(number, 10, 64); err == nil {
		return true
	}
	float, err := strconv.ParseFloat(number, 64)
	digits, _, _ := strings.Cut(strings.ToLower(number), "e")
	if err != nil || float == 0 {
		return err == nil && !strings.ContainsAny(digits, "123456789")
	}
	given, ok := new(big.Rat).SetString(number)
	if !strings.ContainsAny(number, ".eE") {
		return ok && given.Cmp(new(big.Rat).SetFloat64(float)) == 0
	}
	// Of a fraction its shortest text counts: no float is a tenth.
	kept, _ := new(big.Rat).SetString(strconv.FormatFloat(float, 'g', -1, 64))
	return ok && given.Cmp(kept) == 0
}

func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null or missing"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case []any:
		return "a list or set"
	case map[string]any:
		return "an object"
	}
	return "a number"
}

// summary is the decision for people.
func (d decision) summary() string {
	if d.Allowed {
		return "allowed"
	}
	return "denied: " + strings.Join(d.Reasons, "; ")
}
