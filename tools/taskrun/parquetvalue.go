package taskrun

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// parquetRow makes a row readable, cell by cell from what the file holds: the library's own values are Go's nearest types,
// which have no unsigned numbers, exact decimals or intervals.
func parquetRow(schema *parquet.Schema, halves map[int]bool, stored parquet.Row) []any {
	leaves := make([][]parquet.Value, len(schema.Columns()))
	for _, value := range stored {
		if halves[value.Column()] && !value.IsNull() {
			float := parquet.FloatValue(half(binary.LittleEndian.Uint16(value.ByteArray())))
			value = float.Level(value.RepetitionLevel(), value.DefinitionLevel(), value.Column())
		}
		leaves[value.Column()] = append(leaves[value.Column()], value)
	}
	row := make([]any, len(schema.Fields()))
	for i, field := range schema.Fields() {
		row[i] = parquetNode(field, take(&leaves, field), levels{})
	}
	return row
}

// halvesOf gives the columns of 16 bit floats, which the library's schema has as bytes.
func halvesOf(file *parquet.File) map[int]bool {
	halves, column := map[int]bool{}, 0
	for _, element := range file.Metadata().Schema {
		if element.NumChildren.Valid {
			continue
		}
		_, isHalf := element.LogicalType.Value.(*format.Float16Type)
		halves[column] = isHalf && element.TypeLength.V == 2
		column++
	}
	return halves
}

// levels are how often what holds a node may repeat, and be missing or repeat.
type levels struct{ repetition, definition int }

// take cuts off the leaves of the next node.
func take(leaves *[][]parquet.Value, node parquet.Node) [][]parquet.Value {
	n := leavesOf(node)
	taken := (*leaves)[:n]
	*leaves = (*leaves)[n:]
	return taken
}

func leavesOf(node parquet.Node) int {
	if node.Leaf() {
		return 1
	}
	n := 0
	for _, field := range node.Fields() {
		n += leavesOf(field)
	}
	return n
}

// parquetNode gives the value of one node of the schema, of which the leaves hold the parts.
func parquetNode(node parquet.Node, leaves [][]parquet.Value, at levels) any {
	first := leaves[0][0]
	switch {
	case node.Optional():
		at.definition++
		if first.DefinitionLevel() < at.definition {
			return nil
		}
	case node.Repeated():
		at.repetition, at.definition = at.repetition+1, at.definition+1
		list := []any{}
		if first.DefinitionLevel() < at.definition {
			return list
		}
		for len(leaves[0]) > 0 {
			list = append(list, parquetPresent(node, nextElement(leaves, at.repetition), at))
		}
		return list
	}
	return parquetPresent(node, leaves, at)
}

// nextElement cuts off the leaves of the first element of a list, which ends where its level repeats.
func nextElement(leaves [][]parquet.Value, repetition int) [][]parquet.Value {
	element := make([][]parquet.Value, len(leaves))
	for i, values := range leaves {
		end := 1
		for end < len(values) && values[end].RepetitionLevel() > repetition {
			end++
		}
		element[i], leaves[i] = values[:end], values[end:]
	}
	return element
}

// parquetPresent is parquetNode for one that is there.
func parquetPresent(node parquet.Node, leaves [][]parquet.Value, at levels) any {
	if node.Leaf() {
		return parquetLeaf(leaves[0][0], node.Type())
	}
	fields := node.Fields()
	values := make([]any, len(fields))
	for i, field := range fields {
		values[i] = parquetNode(field, take(&leaves, field), at)
	}
	if kind := node.Type().LogicalType(); kind != nil && len(fields) == 1 {
		elements, _ := values[0].([]any)
		switch kind.Value.(type) {
		case *format.ListType:
			return listElements(fields[0], elements)
		case *format.MapType:
			return mapEntries(fields[0], elements)
		}
	}
	object := make(map[string]any, len(fields))
	for i, field := range fields {
		object[field.Name()] = values[i]
	}
	return object
}

// listElements takes off the group that parquet's lists have around each element.
func listElements(around parquet.Node, elements []any) any {
	if around.Leaf() || len(around.Fields()) != 1 {
		return elements
	}
	name := around.Fields()[0].Name()
	for i := range elements {
		object, _ := elements[i].(map[string]any)
		elements[i] = object[name]
	}
	return elements
}

// mapEntries gives a map, or its entries as they are where two of its keys read the same.
func mapEntries(entry parquet.Node, entries []any) any {
	if entry.Leaf() || len(entry.Fields()) != 2 {
		return entries
	}
	names := []string{entry.Fields()[0].Name(), entry.Fields()[1].Name()}
	if i := slices.Index(names, "key"); i == 1 {
		slices.Reverse(names)
	}
	object := make(map[string]any, len(entries))
	for i := range entries {
		pair, _ := entries[i].(map[string]any)
		object[wholeText(pair[names[0]])] = pair[names[1]]
	}
	if len(object) < len(entries) {
		return entries
	}
	return object
}

// parquetLeaf writes one stored value by its column's type.
func parquetLeaf(stored parquet.Value, column parquet.Type) any {
	if stored.IsNull() {
		return nil
	}
	if converted := column.ConvertedType(); converted != nil && *converted == deprecated.Interval {
		return interval(stored.ByteArray())
	}
	if logical := column.LogicalType(); logical != nil {
		if value, known := logicalValue(stored, logical.Value); known {
			return value
		}
	}
	switch stored.Kind() {
	case parquet.Boolean:
		return stored.Boolean()
	case parquet.Int32:
		return int64(stored.Int32())
	case parquet.Int64:
		return stored.Int64()
	case parquet.Int96:
		parts := stored.Int96() // nanoseconds of a Julian day
		const epoch = 2440588
		day, nanos := int64(int32(parts[2])), int64(parts[1])<<32|int64(parts[0])
		return timestamp(time.Unix((day-epoch)*24*60*60, nanos))
	case parquet.Float:
		return number(float64(stored.Float()), 32)
	case parquet.Double:
		return number(stored.Double(), 64)
	}
	bytes := slices.Clone(stored.ByteArray()) // the reader uses them again
	if utf8.Valid(bytes) {
		return string(bytes)
	}
	return bytes
}

// logicalValue writes a value of a type that parquet has by an annotation alone.
func logicalValue(stored parquet.Value, logical any) (value any, known bool) {
	switch kind := logical.(type) {
	case *format.IntType:
		if kind.IsSigned {
			return nil, false
		}
		if stored.Kind() == parquet.Int64 {
			return stored.Uint64(), true
		}
		return uint64(stored.Uint32()), true
	case *format.DecimalType:
		return exactDecimal(stored, kind.Scale), true
	case *format.DateType:
		return time.Unix(0, 0).UTC().AddDate(0, 0, int(stored.Int32())).Format(time.DateOnly), true
	case *format.TimestampType:
		if kind.Unit.Value == nil {
			return nil, false
		}
		unit := int64(kind.Unit.Value.Duration())
		perSecond := int64(time.Second) / unit
		return timestamp(time.Unix(stored.Int64()/perSecond, stored.Int64()%perSecond*unit)), true
	case *format.TimeType:
		if kind.Unit.Value == nil {
			return nil, false
		}
		count := stored.Int64()
		if stored.Kind() == parquet.Int32 {
			count = int64(stored.Int32())
		}
		return timeOfDay(count * int64(kind.Unit.Value.Duration())), true
	case *format.UUIDType:
		if id := stored.ByteArray(); len(id) == 16 {
			return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]), true
		}
	}
	return nil, false
}

func timestamp(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// timeOfDay writes nanoseconds since midnight. A day may end with 24:00:00.
func timeOfDay(nanos int64) string {
	seconds := nanos / int64(time.Second)
	return fmt.Sprintf("%02d:%02d:%02d%s", seconds/3600, seconds/60%60, seconds%60, fraction(nanos%int64(time.Second), 9))
}

// interval writes parquet's months, days and milliseconds as ISO 8601 has them.
func interval(stored []byte) any {
	if len(stored) != 12 {
		return stored
	}
	months, days, millis := binary.LittleEndian.Uint32(stored), binary.LittleEndian.Uint32(stored[4:]), binary.LittleEndian.Uint32(stored[8:])
	return fmt.Sprintf("P%dM%dDT%d%sS", months, days, millis/1000, fraction(int64(millis%1000), 3))
}

// fraction writes the digits behind a point, without zeros at the end.
func fraction(n int64, digits int) string {
	if n == 0 {
		return ""
	}
	for n%10 == 0 {
		n, digits = n/10, digits-1
	}
	return fmt.Sprintf(".%0*d", digits, n)
}

// half reads a float of 16 bits.
func half(bits uint16) float32 {
	exponent, mantissa := int(bits>>10&0x1f), float64(bits&0x3ff)
	var size float64
	switch exponent {
	case 0:
		size = math.Ldexp(mantissa, -24)
	case 0x1f:
		size = math.Inf(1)
		if mantissa != 0 {
			return float32(math.NaN())
		}
	default:
		size = math.Ldexp(mantissa+0x400, exponent-25)
	}
	if bits&0x8000 != 0 {
		size = math.Copysign(size, -1)
	}
	return float32(size)
}

// exactDecimal writes a decimal from what the file holds: the reader would make an inexact float of it.
func exactDecimal(stored parquet.Value, scale int32) any {
	switch stored.Kind() {
	case parquet.Int32:
		return decimal(big.NewInt(int64(stored.Int32())), scale)
	case parquet.Int64:
		return decimal(big.NewInt(stored.Int64()), scale)
	default:
		return decimal(twosComplement(stored.ByteArray()), scale)
	}
}

func decimal(unscaled *big.Int, scale int32) string {
	denominator := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	return new(big.Rat).SetFrac(unscaled, denominator).FloatString(int(scale))
}

// twosComplement reads a signed big-endian number.
func twosComplement(bytes []byte) *big.Int {
	n := new(big.Int).SetBytes(bytes)
	if len(bytes) > 0 && bytes[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(bytes)*8)))
	}
	return n
}
