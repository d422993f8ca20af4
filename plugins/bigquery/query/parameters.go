package query

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	rest "google.golang.org/api/bigquery/v2"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

const named = "NAMED"

// bind makes every input a named parameter, @name in SQL. An input takes the place of a parameter of its name that the
// task's own configuration holds. They are parameters of the API's, since those of Google's client cannot be empty arrays.
func (s *settings) bind(task *sdk.Task) error {
	inputs := task.Inputs.GetLiterals()
	if len(inputs) == 0 {
		return nil
	}
	if len(s.checked.Query.QueryParameters) > 0 && s.checked.Query.ParameterMode != named {
		return sdk.InvalidArgument("the task's QueryJobConfig has positional parameters (?), so its inputs cannot be named ones (@name): give all of them names")
	}
	own, _ := s.ofQuery["queryParameters"].([]any)
	all := slices.DeleteFunc(own, func(parameter any) bool {
		fields, _ := parameter.(map[string]any)
		name, _ := fields["name"].(string)
		_, isInput := inputs[name]
		return isInput
	})
	declared := task.Template.GetInterface().GetInputs().GetVariables()
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		kind, value, err := parameter(inputs[name], declared[name].GetType())
		if err != nil {
			return sdk.InvalidArgument("input %q cannot be a query parameter: %w", name, err)
		}
		all = append(all, &rest.QueryParameter{Name: name, ParameterType: kind, ParameterValue: value})
	}
	s.ofQuery["parameterMode"], s.ofQuery["queryParameters"] = named, all
	return nil
}

func parameter(l *core.Literal, declared *core.LiteralType) (*rest.QueryParameterType, *rest.QueryParameterValue, error) {
	kind, err := typeOf(l, declared)
	if err != nil {
		return nil, nil, err
	}
	value, err := valueOf(l, kind)
	return kind, value, err
}

// simple are BigQuery's types of the simple Flyte types. A datetime is a DATETIME in UTC, as it is with flytekit's agent.
var simple = map[core.SimpleType]string{
	core.SimpleType_INTEGER:  "INT64",
	core.SimpleType_FLOAT:    "FLOAT64",
	core.SimpleType_STRING:   "STRING",
	core.SimpleType_BOOLEAN:  "BOOL",
	core.SimpleType_DATETIME: "DATETIME",
	core.SimpleType_DURATION: "INTERVAL",
	core.SimpleType_BINARY:   "BYTES",
}

const array = "ARRAY"

func typeOf(l *core.Literal, declared *core.LiteralType) (*rest.QueryParameterType, error) {
	switch t := declared.GetType().(type) {
	case *core.LiteralType_Simple:
		if name, ok := simple[t.Simple]; ok {
			return &rest.QueryParameterType{Type: name}, nil
		}
		return nil, unfit(t.Simple.String())
	case *core.LiteralType_EnumType:
		return &rest.QueryParameterType{Type: "STRING"}, nil
	case *core.LiteralType_UnionType:
		variant, err := variantOf(l, t.UnionType)
		if err != nil {
			return nil, err
		}
		return typeOf(l.GetScalar().GetUnion().GetValue(), variant)
	case *core.LiteralType_CollectionType:
		return arrayOf(l, t.CollectionType)
	case nil:
		return nil, fmt.Errorf("the task's interface does not declare its type")
	}
	return nil, unfit(fmt.Sprintf("%T", declared.GetType())[len("*core.LiteralType_"):])
}

func unfit(what string) error {
	return fmt.Errorf("it is a %s; int, float, str, bool, datetime, date, timedelta, bytes, enums, optional ones and lists of them can be parameters", what)
}

func arrayOf(l *core.Literal, element *core.LiteralType) (*rest.QueryParameterType, error) {
	var kind *rest.QueryParameterType
	for i, one := range l.GetCollection().GetLiterals() {
		if literal.IsNone(one) {
			continue // of whatever type the others have
		}
		its, err := typeOf(one, element)
		switch {
		case err != nil:
			return nil, fmt.Errorf("element %d: %w", i, err)
		case kind == nil:
			kind = its
		case its.Type != kind.Type:
			return nil, fmt.Errorf("element %d is %s, and those before it are %s: BigQuery's arrays have elements of one type", i, its.Type, kind.Type)
		}
	}
	if kind == nil {
		var sample *core.Literal
		if elements := l.GetCollection().GetLiterals(); len(elements) > 0 {
			sample = elements[0]
		}
		var err error
		if kind, err = typeOf(sample, element); err != nil {
			return nil, fmt.Errorf("its elements: %w", err)
		}
	}
	if kind.Type == array {
		return nil, fmt.Errorf("BigQuery has no arrays of arrays")
	}
	return &rest.QueryParameterType{Type: array, ArrayType: kind}, nil
}

// variantOf is the type of a union that the literal has, or the only one that it could have were it not None.
func variantOf(l *core.Literal, union *core.UnionType) (*core.LiteralType, error) {
	if l != nil && !literal.IsNone(l) {
		return l.GetScalar().GetUnion().GetType(), nil
	}
	var some []*core.LiteralType
	for _, variant := range union.GetVariants() {
		if variant.GetSimple() != core.SimpleType_NONE || variant.GetType() == nil {
			some = append(some, variant)
		}
	}
	if len(some) != 1 {
		return nil, fmt.Errorf("it is None, and of %d types that it could have BigQuery needs to be told one: make it an Optional of a single type", len(some))
	}
	return some[0], nil
}

func valueOf(l *core.Literal, kind *rest.QueryParameterType) (*rest.QueryParameterValue, error) {
	for l.GetScalar().GetUnion() != nil {
		l = l.GetScalar().GetUnion().GetValue()
	}
	switch {
	case l.GetOffloadedMetadata() != nil:
		return nil, fmt.Errorf("it is so large that Flyte has put it into storage, at %s: raise min-size-in-mb-for-offloading in FlytePropeller's literal-offloading-config, or pass a table", l.GetOffloadedMetadata().GetUri())
	case literal.IsNone(l):
		return &rest.QueryParameterValue{}, nil
	case kind.Type == array:
		return elementsOf(l, kind.ArrayType)
	}
	text, err := textOf(l, kind.Type)
	if err != nil {
		return nil, err
	}
	// Sent even when empty: a value without it is NULL.
	return &rest.QueryParameterValue{Value: text, ForceSendFields: []string{"Value"}}, nil
}

func elementsOf(l *core.Literal, kind *rest.QueryParameterType) (*rest.QueryParameterValue, error) {
	value := &rest.QueryParameterValue{ArrayValues: []*rest.QueryParameterValue{}, ForceSendFields: []string{"ArrayValues"}}
	for i, element := range l.GetCollection().GetLiterals() {
		one, err := valueOf(element, kind)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		value.ArrayValues = append(value.ArrayValues, one)
	}
	return value, nil
}

// textOf writes a value of the very type that is declared: BigQuery would make one of another as well as it can.
func textOf(l *core.Literal, kind string) (string, error) {
	if binary := l.GetScalar().GetBinary(); binary != nil && kind == "BYTES" {
		if binary.GetTag() != "" {
			return "", fmt.Errorf("it is %s, not bytes", binary.GetTag())
		}
		return base64.StdEncoding.EncodeToString(binary.GetValue()), nil
	}
	var of string
	var text func() (string, error)
	written := func(text string) func() (string, error) { return func() (string, error) { return text, nil } }
	switch p := l.GetScalar().GetPrimitive().GetValue().(type) {
	case *core.Primitive_Integer:
		of, text = "INT64", written(strconv.FormatInt(p.Integer, 10))
	case *core.Primitive_FloatValue:
		of, text = "FLOAT64", written(strconv.FormatFloat(p.FloatValue, 'g', -1, 64))
	case *core.Primitive_StringValue:
		of, text = "STRING", written(p.StringValue)
	case *core.Primitive_Boolean:
		of, text = "BOOL", written(strconv.FormatBool(p.Boolean))
	case *core.Primitive_Datetime:
		of, text = "DATETIME", func() (string, error) { return datetime(p.Datetime) }
	case *core.Primitive_Duration:
		of, text = "INTERVAL", func() (string, error) { return interval(p.Duration) }
	}
	if of == "" || of != kind {
		return "", fmt.Errorf("it is %s, which is no %s", literalName(l), kind)
	}
	return text()
}

// literalName says what a literal is, for people.
func literalName(l *core.Literal) string {
	switch v := l.GetValue().(type) {
	case *core.Literal_Collection:
		return "a list"
	case *core.Literal_Map:
		return "a dict"
	case *core.Literal_Scalar:
		if primitive := v.Scalar.GetPrimitive().GetValue(); primitive != nil {
			return strings.ToLower(fmt.Sprintf("%T", primitive)[len("*core.Primitive_"):])
		}
		if v.Scalar.GetValue() != nil {
			return strings.ToLower(fmt.Sprintf("%T", v.Scalar.GetValue())[len("*core.Scalar_"):])
		}
	}
	return "nothing"
}

const micro = 1000 // nanoseconds, the finest that BigQuery has

func datetime(at *timestamppb.Timestamp) (string, error) {
	if err := at.CheckValid(); err != nil {
		return "", fmt.Errorf("BigQuery's DATETIME has the years 1 to 9999: %w", err)
	}
	if at.GetNanos()%micro != 0 {
		return "", fmt.Errorf("%s is finer than a microsecond, which a DATETIME is not", at.AsTime().Format(time.RFC3339Nano))
	}
	return at.AsTime().Format("2006-01-02T15:04:05.000000"), nil
}

// interval writes a duration as BigQuery's canonical INTERVAL, years-months days hours:minutes:seconds, of which each part
// has a sign of its own. A Go duration would end at 292 years; protobuf's and BigQuery's hold 10000.
func interval(d *durationpb.Duration) (string, error) {
	if err := d.CheckValid(); err != nil {
		return "", fmt.Errorf("it is no duration: %w", err)
	}
	const day = 24 * 60 * 60
	seconds, nanos := d.GetSeconds(), d.GetNanos()
	sign := ""
	if seconds < 0 || nanos < 0 {
		sign, seconds, nanos = "-", -seconds, -nanos
	}
	if nanos%micro != 0 {
		return "", fmt.Errorf("%s%d.%09d s is finer than a microsecond, which an INTERVAL is not", sign, seconds, nanos)
	}
	days, of := seconds/day, seconds%day
	text := "0-0 "
	if days > 0 {
		text += sign
	}
	text += strconv.FormatInt(days, 10) + " "
	if of > 0 || nanos > 0 {
		text += sign
	}
	text += fmt.Sprintf("%d:%d:%d", of/3600, of/60%60, of%60)
	if nanos > 0 {
		text += strings.TrimRight(fmt.Sprintf(".%06d", nanos/micro), "0")
	}
	return text, nil
}
