package query

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	rest "google.golang.org/api/bigquery/v2"

	sdk "github.com/agenthost/agenthost/sdk/go"
)

// ofTask are the keys of a task's custom part that are flytekit's own, and notOurs those that the plugin decides.
var (
	ofTask  = []string{"ProjectID", "Location", "Domain"}
	notOurs = []string{"query"}
)

// ofJob are the keys that belong to the job as a whole. All others belong to its query: flytekit merges the "query" part
// of a QueryJobConfig into the custom part, side by side with its own keys.
var ofJob = []string{"dryRun", "jobTimeoutMs", "labels", "maxSlots", "reservation"}

// settings are the BigQuery settings among a task's custom part.
type settings struct {
	// checked is what the API's own types make of them. Google's client has types of its own, but not for all of them.
	checked *rest.JobConfiguration
	// given are they as they came, for the job's configuration in the JSON of the API. The types would lose what is there
	// explicitly and as good as nothing, such as false or an empty text.
	given map[string]any
	// ofQuery is the part of given for the query.
	ofQuery map[string]any
	// ignored names those that the API does not have.
	ignored []string
}

func settingsOf(custom map[string]any) (*settings, error) {
	s := &settings{checked: &rest.JobConfiguration{Query: &rest.JobConfigurationQuery{}}, ofQuery: map[string]any{}}
	s.given = map[string]any{"query": s.ofQuery}
	for _, key := range slices.Sorted(maps.Keys(custom)) {
		value := custom[key]
		switch {
		case value == nil || slices.Contains(ofTask, key):
			continue
		case slices.Contains(notOurs, key):
			s.ignored = append(s.ignored, key)
			continue
		}
		if err := s.set(key, value); err != nil {
			return nil, sdk.InvalidArgument("the custom part of the task: %s is not what BigQuery's API takes there: %w", key, err)
		}
	}
	return s, nil
}

func (s *settings) set(key string, value any) error {
	var types any = s.checked.Query
	into := s.ofQuery
	if slices.Contains(ofJob, key) {
		types, into = s.checked, s.given
	}
	value, unknown, err := check(types, key, value)
	if unknown != "" {
		s.ignored = append(s.ignored, unknown)
	}
	if value != nil {
		into[key] = value
	}
	return err
}

// check sets one key among the types. What it returns is the value as the API takes it, and the name of the part of it that
// the API does not have.
func check(types any, key string, value any) (taken any, unknown string, err error) {
	strict, err := decode(types, key, value, true)
	if !strict {
		// Whole numbers are text in BigQuery's JSON; whoever writes a custom part by hand writes them as numbers.
		value = quoted(value)
		strict, err = decode(types, key, value, true)
	}
	name, isUnknown := unknownField(err)
	switch {
	case strict:
		return value, "", nil
	case !isUnknown:
		return nil, "", err
	case name == key:
		return nil, key, nil
	}
	if _, err := decode(types, key, value, false); err != nil {
		return nil, "", err
	}
	known, err := encode(types)
	return known[key], key + "." + name, err
}

// encode is what the types hold, as JSON.
func encode(types any) (map[string]any, error) {
	data, err := json.Marshal(types)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var known map[string]any
	err = decoder.Decode(&known)
	return known, err
}

func decode(into any, key string, value any, strict bool) (bool, error) {
	data, err := json.Marshal(map[string]any{key: value})
	if err != nil {
		return false, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if strict {
		decoder.DisallowUnknownFields()
	}
	err = decoder.Decode(into)
	return err == nil, err
}

// unknownField reads the name from the only form in which encoding/json tells it.
func unknownField(err error) (string, bool) {
	if err == nil {
		return "", false
	}
	quotedName, found := strings.CutPrefix(err.Error(), "json: unknown field ")
	if !found {
		return "", false
	}
	name, err := strconv.Unquote(quotedName)
	return name, err == nil
}

// quoted is a value with all its numbers as text.
func quoted(value any) any {
	switch v := value.(type) {
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = quoted(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name := range v {
			out[name] = quoted(v[name])
		}
		return out
	}
	return value
}
