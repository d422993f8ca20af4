package query

import (
	"math"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

const day = 24 * 60 * 60

func TestADurationIsACanonicalInterval(t *testing.T) {
	for want, duration := range map[string]*durationpb.Duration{
		"0-0 0 0:0:0":                  {},
		"0-0 0 1:30:0":                 {Seconds: 90 * 60},
		"0-0 1 2:0:1.5":                {Seconds: 26*60*60 + 1, Nanos: 500_000_000},
		"0-0 -1 -2:0:0":                {Seconds: -26 * 60 * 60},
		"0-0 -1 0:0:0":                 {Seconds: -day},
		"0-0 0 -0:0:0.000001":          {Nanos: -1000},
		"0-0 0 0:0:59.999999":          {Seconds: 59, Nanos: 999_999_000},
		"0-0 182625 0:0:0":             {Seconds: 182625 * day}, // 500 years, of which a Go duration has 292
		"0-0 -182625 -23:59:59.999999": {Seconds: -182626*day + 1, Nanos: -999_999_000},
		"0-0 3652058 23:59:59":         {Seconds: 3652059*day - 1}, // from year 1 to 9999
	} {
		if got, err := interval(duration); err != nil || got != want {
			t.Errorf("%v = %q, %v, want %q", duration, got, err, want)
		}
	}
}

func primitive(p *core.Primitive) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: p}}}}
}

func TestWhatAParameterCannotHoldIsRefused(t *testing.T) {
	duration := func(d *durationpb.Duration) *core.Literal {
		return primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: d}})
	}
	datetime := func(at *timestamppb.Timestamp) *core.Literal {
		return primitive(&core.Primitive{Value: &core.Primitive_Datetime{Datetime: at}})
	}
	mixed := &core.LiteralType{Type: &core.LiteralType_UnionType{UnionType: &core.UnionType{Variants: []*core.LiteralType{
		literal.Simple(core.SimpleType_INTEGER), literal.Simple(core.SimpleType_FLOAT), literal.Simple(core.SimpleType_STRING),
	}}}}
	for name, test := range map[string]struct {
		value    any
		declared *core.LiteralType
		want     string
	}{
		"no duration":      {duration(&durationpb.Duration{Seconds: math.MaxInt64}), literal.Simple(core.SimpleType_DURATION), "no duration"},
		"fine duration":    {duration(&durationpb.Duration{Seconds: -1, Nanos: -1}), literal.Simple(core.SimpleType_DURATION), "-1.000000001 s"},
		"fine datetime":    {datetime(&timestamppb.Timestamp{Nanos: 1}), literal.Simple(core.SimpleType_DATETIME), "00.000000001Z"},
		"year 10000":       {datetime(&timestamppb.Timestamp{Seconds: 253402300800}), literal.Simple(core.SimpleType_DATETIME), "years 1 to 9999"},
		"packed":           {literal.Binary{Value: []byte{1}, Tag: "msgpack"}, literal.Simple(core.SimpleType_BINARY), "msgpack"},
		"floats with ints": {[]any{2.5, 1<<53 + 1}, literal.ListOf(mixed), "element 1 is INT64"},
		"ints with texts":  {[]any{"a", 1}, literal.ListOf(mixed), "element 1 is INT64"},
	} {
		l, err := literal.Encode(test.value, test.declared)
		if err != nil {
			t.Fatal(err)
		}
		if kind, value, err := parameter(l, test.declared); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %+v, %+v, %v", name, kind, value, err)
		}
	}
}

func TestAnArrayTakesItsTypeFromTheElementsThatAreThere(t *testing.T) {
	declared := literal.ListOf(&core.LiteralType{Type: &core.LiteralType_UnionType{UnionType: &core.UnionType{Variants: []*core.LiteralType{
		literal.Simple(core.SimpleType_INTEGER), literal.Simple(core.SimpleType_STRING), literal.Simple(core.SimpleType_NONE),
	}}}})
	l, err := literal.Encode([]any{nil, 1<<53 + 1, nil}, declared)
	if err != nil {
		t.Fatal(err)
	}
	kind, value, err := parameter(l, declared)
	if err != nil || kind.ArrayType.Type != "INT64" || len(value.ArrayValues) != 3 || value.ArrayValues[1].Value != "9007199254740993" {
		t.Errorf("got %+v, %+v, %v", kind, value, err)
	}
}
