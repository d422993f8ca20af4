package query

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/api/bigquery/v2"

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

// settings reads the BigQuery settings among a task's custom part, and names those that the API does not have.
func settings(custom map[string]any) (*bigquery.JobConfiguration, []string, error) {
	config := &bigquery.JobConfiguration{Query: &bigquery.JobConfigurationQuery{}}
	var ignored []string
	for _, key := range slices.Sorted(maps.Keys(custom)) {
		value := custom[key]
		switch {
		case value == nil || slices.Contains(ofTask, key):
			continue
		case slices.Contains(notOurs, key):
			ignored = append(ignored, key)
			continue
		}
		var into any = config.Query
		if slices.Contains(ofJob, key) {
			into = config
		}
		unknown, err := set(into, key, value)
		if err != nil {
			return nil, nil, sdk.InvalidArgument("the custom part of the task: %s is not what BigQuery's API takes there: %w", key, err)
		}
		if unknown != "" {
			ignored = append(ignored, unknown)
		}
	}
	return config, ignored, nil
}

// set sets one key. What it returns names the part of it that the API does not have.
func set(into any, key string, value any) (unknown string, err error) {
	strict, err := decode(into, key, value, true)
	if !strict {
		// Whole numbers are text in BigQuery's JSON; whoever writes a custom part by hand writes them as numbers.
		value = quoted(value)
		strict, err = decode(into, key, value, true)
	}
	name, isUnknown := unknownField(err)
	if strict || !isUnknown {
		return "", err
	}
	if name == key {
		return key, nil
	}
	_, err = decode(into, key, value, false)
	return key + "." + name, err
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
