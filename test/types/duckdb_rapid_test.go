package types

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/big"
	"os"
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/test/types/table"
)

// checks makes up values: as many as TYPES_CHECKS says.
func (b *bench) checks(check func(*rapid.T)) {
	b.t.Helper()
	count := os.Getenv("TYPES_CHECKS")
	if count == "" {
		count = "100"
	}
	if err := flag.Set("rapid.checks", count); err != nil {
		b.t.Fatalf("TYPES_CHECKS=%s: %v", count, err)
	}
	rapid.Check(b.t, func(t *rapid.T) {
		fail := b.fail
		b.fail = t.Fatalf
		defer func() { b.fail = fail }()
		check(t)
	})
}

// madeUp is a type of the engine's with a value.
type madeUp struct {
	name string
	value
}

// nested draws a type with parts, up to a depth, and a value of it.
func nested(t *rapid.T, depth int) madeUp {
	of := nestedType(t, depth)
	return madeUp{of.name, of.draw(t)}
}

// drawnType is a type of which values can be drawn.
type drawnType struct {
	name string
	draw func(*rapid.T) value
}

func nestedType(t *rapid.T, depth int) drawnType {
	kind := "leaf"
	if depth > 0 {
		kind = rapid.SampledFrom([]string{"leaf", "list", "struct", "map"}).Draw(t, "kind")
	}
	var of drawnType
	switch kind {
	case "leaf":
		of = rapid.SampledFrom(leaves).Draw(t, "type")
	case "list":
		element := nestedType(t, depth-1)
		of = drawnType{element.name + "[]", func(t *rapid.T) value {
			v := list()
			var parts []string
			for range rapid.IntRange(0, 3).Draw(t, "length") {
				v.items = append(v.items, element.draw(t))
				parts = append(parts, v.items[len(v.items)-1].sql)
			}
			return v.of("CAST([%s] AS %s[])", strings.Join(parts, ", "), element.name)
		}}
	case "struct":
		var names []string
		var fields []drawnType
		for i := range rapid.IntRange(1, 3).Draw(t, "fields") {
			fields = append(fields, nestedType(t, depth-1))
			names = append(names, fmt.Sprintf("%q %s", fmt.Sprintf("f %d", i), fields[i].name))
		}
		of = drawnType{"STRUCT(" + strings.Join(names, ", ") + ")", func(t *rapid.T) value {
			v := dict()
			var parts []string
			for i := range fields {
				name := fmt.Sprintf("f %d", i)
				v.fields = append(v.fields, entryOf(name, fields[i].draw(t)))
				parts = append(parts, quoted(name)+": "+v.fields[i].value.sql)
			}
			return v.of("{%s}", strings.Join(parts, ", "))
		}}
	default:
		element := nestedType(t, depth-1)
		of = drawnType{"MAP(VARCHAR, " + element.name + ")", func(t *rapid.T) value {
			v := dict()
			var parts []string
			for _, key := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zé" ']{0,4}`), 0, 3, rapid.ID[string]).Draw(t, "keys") {
				v.fields = append(v.fields, entryOf(key, element.draw(t)))
				parts = append(parts, quoted(key)+": "+v.fields[len(v.fields)-1].value.sql)
			}
			return v.of("CAST(MAP {%s} AS MAP(VARCHAR, %s))", strings.Join(parts, ", "), element.name)
		}}
	}
	draw := of.draw
	of.draw = func(t *rapid.T) value {
		if rapid.IntRange(0, 7).Draw(t, "null") == 7 {
			return value{null: true}.of("CAST(NULL AS %s)", of.name)
		}
		return draw(t)
	}
	return of
}

var leaves = []drawnType{
	leaf("BOOLEAN", func(t *rapid.T) value { return truth(rapid.Bool().Draw(t, "bool")) }),
	leaf("TINYINT", func(t *rapid.T) value { return number(fmt.Sprint(rapid.Int8().Draw(t, "int"))) }),
	leaf("BIGINT", func(t *rapid.T) value { return number(fmt.Sprint(rapid.Int64().Draw(t, "int"))) }),
	leaf("UBIGINT", func(t *rapid.T) value { return number(fmt.Sprint(rapid.Uint64().Draw(t, "int"))) }),
	leaf("HUGEINT", func(t *rapid.T) value { return number(huge(t).String()) }),
	leaf("FLOAT", func(t *rapid.T) value { return drawnFloat(float64(rapid.Float32().Draw(t, "float")), 32) }),
	leaf("DOUBLE", func(t *rapid.T) value { return drawnFloat(rapid.Float64().Draw(t, "float"), 64) }),
	leaf("DECIMAL(18,4)", func(t *rapid.T) value {
		const most = 999_999_999_999_999_999
		return decimalOf(big.NewInt(rapid.Int64Range(-most, most).Draw(t, "decimal")), 4)
	}),
	leaf("DECIMAL(38,10)", func(t *rapid.T) value {
		return decimalOf(new(big.Int).Rem(huge(t), new(big.Int).Exp(big.NewInt(10), big.NewInt(38), nil)), 10)
	}),
	leaf("VARCHAR", func(t *rapid.T) value {
		// DuckDB's parser ends a statement at a NUL.
		return text(strings.ReplaceAll(rapid.String().Draw(t, "text"), "\x00", ""))
	}),
	leaf("DATE", func(t *rapid.T) value {
		day := time.Unix(86400*rapid.Int64Range(-719162, 2932896).Draw(t, "day"), 0).UTC()
		return instant(day.Format(time.DateOnly))
	}),
	{"TIMESTAMP", func(t *rapid.T) value {
		micros := rapid.Int64Range(-62135596800_000000, 253402300799_999999).Draw(t, "instant")
		return value{at: new(big.Int).Mul(big.NewInt(micros), big.NewInt(1000))}.of("make_timestamp(%d)", micros)
	}},
	{"BLOB", func(t *rapid.T) value {
		raw := rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "bytes")
		return value{raw: append([]byte{}, raw...)}.of("unhex('%x')", raw)
	}},
}

func leaf(name string, draw func(*rapid.T) value) drawnType {
	return drawnType{name, func(t *rapid.T) value {
		v := draw(t)
		return v.of("CAST(%s AS %s)", quoted(*v.text), name)
	}}
}

// huge draws an integer of 128 bits.
func huge(t *rapid.T) *big.Int {
	high, low := rapid.Int64().Draw(t, "high"), rapid.Uint64().Draw(t, "low")
	n := new(big.Int).Lsh(big.NewInt(high), 64)
	return n.Add(n, new(big.Int).SetUint64(low))
}

func drawnFloat(f float64, bits int) value {
	s := strconv.FormatFloat(f, 'g', -1, bits)
	v := value{text: &s, float: &f}
	if !math.IsInf(f, 0) && !math.IsNaN(f) {
		v.number = new(big.Rat).SetFloat64(f)
	}
	return v
}

func decimalOf(unscaled *big.Int, scale int) value {
	n := new(big.Rat).SetFrac(unscaled, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
	s := n.FloatString(scale)
	return value{text: &s, number: n}
}

// duckdbMakesUpOutputs gives made-up values as a dict and as a column of a dataset.
func duckdbMakesUpOutputs(b *bench) {
	b.checks(func(t *rapid.T) {
		v := nested(t, 3)
		names := [][]string{{`column "c"`}, {v.name, "HUGEINT"}}
		b.run([]probe{
			{cell: table.Cell{Direction: "out"}, sql: "SELECT {'k': " + v.sql + "} AS c", reads: []reading{{"out", "dict", dict(entryOf("k", v.value))}}, names: names},
			{cell: table.Cell{Direction: "out"}, sql: "SELECT " + v.sql + " AS c", reads: []reading{{"out", dataset, list(v.value)}}, names: names},
		})
	})
}

// duckdbMakesUpParameters takes made-up dicts and gives them back.
func duckdbMakesUpParameters(b *bench) {
	b.checks(func(t *rapid.T) {
		made, err := json.Marshal(map[string]any{"k": anything(t, 3)})
		if err != nil {
			t.Fatal(err)
		}
		inputs, want := b.given("dict", []string{"loads(" + strconv.QuoteToASCII(string(made)) + ")"})
		b.run([]probe{{
			cell: table.Cell{Direction: "in"}, sql: "SELECT $x AS out", inputs: map[string]input{"x": inputs[0]},
			reads: []reading{{"out", "dict", want[0]}}, names: [][]string{{`input "x"`}},
		}})
	})
}

// anything draws a value of JSON.
func anything(t *rapid.T, depth int) any {
	kinds := []string{"null", "bool", "int", "uint", "float", "text"}
	if depth > 0 {
		kinds = append(kinds, "list", "dict")
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "bool":
		return rapid.Bool().Draw(t, "bool")
	case "int":
		return rapid.Int64().Draw(t, "int")
	case "uint":
		return rapid.Uint64().Draw(t, "uint")
	case "float":
		return json.Number(floatText(rapid.Float64().Draw(t, "float")))
	case "text":
		return rapid.String().Draw(t, "text")
	case "list":
		all := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			all = append(all, anything(t, depth-1))
		}
		return all
	case "dict":
		all := map[string]any{}
		for _, key := range rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "keys") {
			all[key] = anything(t, depth-1)
		}
		return all
	}
	return nil
}

// floatText keeps a float one for Python.
func floatText(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}
