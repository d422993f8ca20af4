package flyteconfig

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agenthost/agenthost/proto/nearest"
)

// shape is what a key of a plugin's section may have.
type shape struct {
	is     shapeKind
	fields []field // of an object, and of each of objectByName
	open   bool    // it has other keys, which are none of ours
}

type shapeKind int

const (
	anything shapeKind = iota
	text
	boolean
	whole
	number
	duration
	texts
	textByName     // a mapping whose keys are names, with text
	wholeByName    // with whole numbers
	durationByName // with durations
	object
	objectByName
)

type field struct {
	name string
	shape
}

func objectOf(fields ...field) shape { return shape{is: object, fields: fields} }

// sectionOf is what the section of a plugin may have, by the structs that Flyte decodes it into.
func sectionOf(n names, flyte Flyte) shape {
	deployment := []field{
		{"endpoint", shape{is: text}},
		{"insecure", shape{is: boolean}},
		{"defaultServiceConfig", shape{is: text}},
		{"timeouts", shape{is: durationByName}},
		{"defaultTimeout", shape{is: duration}},
	}
	if flyte.Two() {
		deployment = append(deployment, field{"project", shape{is: text}}, field{"domain", shape{is: text}})
	}
	limiter := objectOf(field{"qps", shape{is: number}}, field{"burst", shape{is: whole}})
	constraint := objectOf(field{"Value", shape{is: whole}})
	fields := []field{
		{"webApi", objectOf(
			field{"resourceQuotas", shape{is: wholeByName}},
			field{"readRateLimiter", limiter},
			field{"writeRateLimiter", limiter},
			field{"caching", objectOf(
				field{"size", shape{is: whole}},
				field{"resyncInterval", shape{is: duration}},
				field{"workers", shape{is: whole}},
				field{"maxSystemFailures", shape{is: whole}},
			)},
			field{"resourceMeta", shape{}},
		)},
		{"resourceConstraints", objectOf(field{"ProjectScopeResourceConstraint", constraint}, field{"NamespaceScopeResourceConstraint", constraint})},
		{n.byDefault, objectOf(deployment...)},
		{n.deployments, shape{is: objectByName, fields: deployment}},
		{n.forTypes, shape{is: textByName}},
		{"supportedTaskTypes", shape{is: texts}},
		{"pollInterval", shape{is: duration}},
	}
	if flyte.Two() {
		fields = append(fields, field{"connectorApps", shape{is: objectByName, fields: deployment}}, field{"logs", shape{}})
	}
	return objectOf(fields...)
}

// rootOf is what of the rest is ours: how plugins are enabled and chosen.
func rootOf(flyte Flyte) shape {
	taskPlugins := []field{{"default-for-task-types", shape{is: textByName}}}
	if !flyte.Two() {
		taskPlugins = append(taskPlugins, field{"enabled-plugins", shape{is: texts}})
	}
	open := func(fields ...field) shape { return shape{is: object, fields: fields, open: true} }
	return open(field{"tasks", open(field{"task-plugins", open(taskPlugins...)})}, field{"plugins", open(field{agentNames.plugin, shape{}})})
}

// ranges are the numbers that Flyte takes; with others the plugin does not start, nor does Flyte.
var ranges = map[string][2]float64{
	"size":           {10, 500_000},
	"workers":        {1, 10_000},
	"resyncInterval": {5, 3600}, // seconds
	"burst":          {5, 10_000},
	"qps":            {1, 100_000},
}

// told is a finding about a value.
type told func(severity Severity, v *value, why string)

const (
	notStarted = "%s does not start with it"
	noEffect   = "Flyte ignores it"
)

// conforms tells what of a value Flyte cannot read, and what it ignores.
func (s shape) conforms(v *value, asker string, tell told) {
	refuse := func(expected string) {
		tell(SeverityError, v, "expected "+expected+"; "+fmt.Sprintf(notStarted, asker))
	}
	if v == nil || v.kind == null && s.is != object {
		return
	}
	switch s.is {
	case anything:
	case text:
		if v.kind != scalar {
			refuse("text, in quotes")
		}
	case boolean:
		s.boolean(v, refuse)
	case whole, number:
		if _, ok := v.number(); !ok && (v.quoted || v.text != "true" && v.text != "false") {
			refuse("a number")
		}
	case duration:
		s.duration(v, refuse, tell)
	case texts:
		if v.kind == mapping || v.kind == list && slices.ContainsFunc(v.items, func(item *value) bool { return item.kind == mapping || item.kind == list }) {
			refuse("a list of names")
		}
	case textByName, wholeByName, durationByName:
		s.byName(v, asker, refuse, tell)
	case objectByName:
		if v.kind == scalar || v.kind == list && slices.ContainsFunc(v.items, func(item *value) bool { return item.kind != mapping }) {
			refuse("a mapping of names")
		}
		for _, e := range v.pairs() {
			objectOf(s.fields...).conforms(e.value, asker, tell)
		}
	case object:
		s.object(v, asker, refuse, tell)
	}
}

func (s shape) object(v *value, asker string, refuse func(string), tell told) {
	switch v.kind {
	case null:
		if !s.open && s.fields[0].name != "endpoint" { // a deployment without anything is one
			tell(SeverityWarning, v, "without a value it is left out; take the key away")
		}
		return
	case scalar, list:
		refuse("a mapping")
		return
	case mapping:
	}
	var known []string
	for _, f := range s.fields {
		known = append(known, f.name)
	}
	seen := map[string]string{}
	for _, e := range v.entries {
		if first, again := seen[strings.ToLower(e.name)]; again && first != e.name {
			tell(SeverityError, e.value, "the key is there twice in different case; Flyte takes either")
		}
		seen[strings.ToLower(e.name)] = e.name
		i := slices.IndexFunc(s.fields, func(f field) bool { return strings.EqualFold(f.name, e.name) })
		if i < 0 && s.open {
			continue
		}
		if i < 0 {
			why := "there is no such key, so that " + noEffect
			if meant := nearest.Name(e.name, known); meant != "" {
				why += "; did you mean " + meant + "?"
			}
			tell(SeverityError, e.value, why)
			continue
		}
		f := s.fields[i]
		f.conforms(e.value, asker, tell)
		if limits, has := ranges[f.name]; has {
			inRange(e.value, f, limits, asker, tell)
		}
	}
}

func inRange(v *value, f field, limits [2]float64, asker string, tell told) {
	n, ok := v.number()
	unit := ""
	if f.is == duration {
		var d time.Duration
		d, ok = v.duration()
		n, unit = d.Seconds(), " s"
	}
	if ok && (n < limits[0] || n > limits[1]) {
		tell(SeverityError, v, fmt.Sprintf("expected %v to %v%s; "+notStarted, limits[0], limits[1], unit, asker))
	}
}

func (s shape) boolean(v *value, refuse func(string)) {
	if v.kind != scalar {
		refuse("true or false")
		return
	}
	_, isNumber := v.number()
	if v.text == "" || isNumber && !v.quoted {
		return
	}
	if _, err := strconv.ParseBool(v.text); err != nil { // "no" is false to Flyte before 1.16.6, and a mistake afterwards
		refuse("true or false")
	}
}

func (s shape) duration(v *value, refuse func(string), tell told) {
	if v.kind == mapping {
		tell(SeverityError, v, "expected a duration such as 10s or 1m30s; "+noEffect)
		return
	}
	if _, ok := v.duration(); !ok {
		refuse("a duration such as 10s or 1m30s")
		return
	}
	if n, isNumber := v.number(); isNumber && !v.quoted && n != 0 {
		tell(SeverityError, v, "a number without a unit is nanoseconds; write 10s, or 1m30s")
	}
}

func (s shape) byName(v *value, asker string, refuse func(string), tell told) {
	if v.kind == scalar || v.kind == list && slices.ContainsFunc(v.items, func(item *value) bool { return item.kind != mapping }) {
		refuse("a list of one mapping each")
		return
	}
	below := map[shapeKind]shapeKind{textByName: text, wholeByName: whole, durationByName: duration}[s.is]
	for _, e := range v.pairs() {
		shape{is: below}.conforms(e.value, asker, tell)
	}
}

// number is what Flyte reads as one: texts are, too, and an empty one is 0.
func (v *value) number() (float64, bool) {
	if v.kind != scalar {
		return 0, false
	}
	if v.text == "" {
		return 0, true
	}
	if n, err := strconv.ParseInt(v.text, 0, 64); err == nil {
		return float64(n), true
	}
	n, err := strconv.ParseFloat(v.text, 64)
	return n, err == nil && !math.IsNaN(n)
}

// duration is what Flyte reads as one.
func (v *value) duration() (time.Duration, bool) {
	if v == nil || v.kind != scalar {
		return 0, false
	}
	if v.text == "" {
		return 0, true
	}
	if d, err := time.ParseDuration(v.text); err == nil {
		return d, true
	}
	if n, isNumber := v.number(); isNumber && !v.quoted && n > -1e18 && n < 1e18 {
		return time.Duration(n), true
	}
	return 0, false
}
