package types

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is one that goes in: all that can be told of it when it comes back. A part that is nil it does not have.
type value struct {
	// sql is an expression that gives it.
	sql  string
	null bool
	// text is the engine's own; plain says that the value is text by its nature.
	text  *string
	plain bool
	// number is a finite one, float also NaN, the infinities and the negative zero.
	number *big.Rat
	float  *float64
	truth  *bool
	// at is an instant in nanoseconds of 1970, midnight of a day; clock a time of day, span a length of time.
	at, clock, span *big.Int
	day             bool
	// months and days are the parts of an interval beside its span, which is then without them.
	months, days int64
	interval     bool
	raw          []byte
	items        []value
	fields       []field
	// parsed is what a JSON text says, stored what a value is in a file, turned the same in another order.
	parsed, stored, turned *value
}

// field is one of a struct or map. typed is its key where that need not be text.
type field struct {
	key   string
	value value
	typed *value
}

func (f field) isKey(got told) (how []string, ok bool) {
	if f.typed != nil {
		return f.typed.judge(got)
	}
	return nil, got.kind == "str" && got.text == f.key
}

// asText and the others are how a value may come back otherwise and still be told.
const (
	asText   = "as its text"
	asISO    = "as its text in ISO 8601"
	asFloat  = "as the float that prints as it does"
	asJSON   = "as its JSON"
	asCount  = "as the number of its unit, which is all that parquet has of a duration"
	asStored = "as a struct of the tag's number and the members"
	midnight = "as midnight, UTC"
)

// judge says whether what came back is the value, and how it was widened.
func (v value) judge(got told) (how []string, ok bool) {
	if how, ok := v.judgeForm(got); ok {
		return how, ok
	}
	if v.parsed != nil {
		return v.parsed.judge(got)
	}
	if v.turned != nil {
		return v.turned.judge(got)
	}
	if v.stored != nil {
		how, ok := v.stored.judge(got)
		return together(how, []string{asStored}), ok
	}
	return nil, false
}

func (v value) judgeForm(got told) (how []string, ok bool) {
	switch got.kind {
	case "none":
		return nil, v.null
	case "bool":
		return nil, v.truth != nil && strconv.FormatBool(*v.truth) == got.text
	case "int":
		if v.span != nil && !v.interval {
			return []string{asCount}, v.span.String() == got.text || v.span.String() == got.text+"000"
		}
		return nil, v.number != nil && v.number.RatString() == got.text
	case "decimal":
		number, fine := new(big.Rat).SetString(got.text)
		return nil, fine && v.number != nil && v.number.Cmp(number) == 0
	case "float":
		number, err := strconv.ParseFloat(got.text, 64)
		if err != nil {
			return nil, false
		}
		return v.judgeFloat(number)
	case "str", "uuid":
		return v.judgeText(got)
	case "text": // of a text of JSON, which is not JSON once more
		return nil, v.text != nil && *v.text == got.text
	case "bytes":
		raw, err := hex.DecodeString(got.text)
		if v.interval {
			return []string{"as parquet's INTERVAL, 12 bytes to pyarrow"}, err == nil && v.isInterval(raw)
		}
		return nil, err == nil && v.raw != nil && string(v.raw) == string(raw)
	case "datetime":
		if v.day {
			how = []string{midnight}
		}
		return how, isNumber(v.at, got.text)
	case "date":
		days, err := strconv.ParseInt(got.text, 10, 64)
		return nil, err == nil && v.day && v.at != nil && v.at.Cmp(nanos(days, 86400)) == 0
	case "time":
		return nil, isNumber(v.clock, got.text)
	case "timedelta":
		whole := v.span
		if v.interval {
			if v.months != 0 {
				return nil, false
			}
			whole = new(big.Int).Add(v.span, nanos(v.days, 86400))
		}
		return nil, isNumber(whole, got.text)
	case "list":
		return v.judgeList(got.list)
	case "dict":
		return v.judgeDict(got.dict)
	}
	return nil, false
}

func isNumber(want *big.Int, text string) bool { return want != nil && want.String() == text }

// nanos is a number of lengths, each of so many seconds, in nanoseconds.
func nanos(count, seconds int64) *big.Int {
	return new(big.Int).Mul(big.NewInt(count), big.NewInt(seconds*1e9))
}

func (v value) judgeFloat(number float64) (how []string, ok bool) {
	if v.float != nil {
		return nil, math.Float64bits(*v.float) == math.Float64bits(number) || math.IsNaN(*v.float) && math.IsNaN(number)
	}
	exact := new(big.Rat).SetFloat64(number)
	if v.number == nil || exact == nil || math.Signbit(number) && number == 0 {
		return nil, false
	}
	if exact.Cmp(v.number) == 0 {
		return nil, true
	}
	printed, fine := new(big.Rat).SetString(strconv.FormatFloat(number, 'g', -1, 64))
	return []string{asFloat}, fine && !v.number.IsInt() && printed.Cmp(v.number) == 0
}

func (v value) judgeText(got told) (how []string, ok bool) {
	if v.text != nil && *v.text == got.text {
		if !v.plain && got.kind == "str" {
			how = []string{asText}
		}
		return how, true
	}
	switch {
	case v.at != nil && (v.moment().Format(time.RFC3339Nano) == got.text || v.moment().Format("2006-01-02T15:04:05.999999999") == got.text),
		v.at != nil && v.isMoment(got.text), v.day && v.moment().Format(time.DateOnly) == got.text, v.span != nil && !v.interval && isLength(got.text, v.span):
		return []string{asISO}, true
	case v.float != nil && !v.plain:
		if number, err := strconv.ParseFloat(got.text, 64); err == nil {
			_, ok := v.judgeFloat(number)
			return []string{asText}, ok
		}
	}
	if parsed, fine := parsedJSON(got.text); fine && got.kind == "str" {
		_, ok := v.judgeForm(parsed)
		return []string{asJSON}, ok
	}
	return nil, false
}

// parsedJSON is what a text of JSON tells; text that is none is not fine.
func parsedJSON(text string) (got told, fine bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var parsed any
	if err := decoder.Decode(&parsed); err != nil || decoder.More() {
		return told{}, false
	}
	if _, again := parsed.(string); again {
		return told{kind: "text", text: parsed.(string)}, true
	}
	return tellJSON(parsed), true
}

func tellJSON(parsed any) told {
	switch v := parsed.(type) {
	case nil:
		return told{kind: "none"}
	case bool:
		return told{kind: "bool", text: strconv.FormatBool(v)}
	case string:
		return told{kind: "str", text: v}
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return told{kind: "float", text: v.String()}
		}
		return told{kind: "int", text: v.String()}
	case []any:
		got := told{kind: "list"}
		for _, element := range v {
			got.list = append(got.list, tellJSON(element))
		}
		return got
	}
	got := told{kind: "dict"}
	for key, element := range parsed.(map[string]any) {
		got.dict = append(got.dict, entry{told{kind: "str", text: key}, tellJSON(element)})
	}
	return got
}

// isMoment says that a text with an offset is the instant.
func (v value) isMoment(text string) bool {
	at, err := time.Parse(time.RFC3339Nano, text)
	return err == nil && at.Equal(v.moment())
}

var length = regexp.MustCompile(`^(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?$`)

// isLength says that a text is a length of time in ISO 8601.
func isLength(text string, want *big.Int) bool {
	parts := length.FindStringSubmatch(text)
	if parts == nil {
		return false
	}
	whole := new(big.Rat)
	for i, seconds := range []int64{86400, 3600, 60, 1} {
		if part, ok := new(big.Rat).SetString(parts[i+2]); ok {
			whole.Add(whole, part.Mul(part, big.NewRat(seconds*1e9, 1)))
		}
	}
	if parts[1] != "" {
		whole.Neg(whole)
	}
	return whole.Cmp(new(big.Rat).SetInt(want)) == 0
}

func (v value) moment() time.Time {
	seconds, rest := new(big.Int).DivMod(v.at, big.NewInt(1e9), new(big.Int))
	return time.Unix(seconds.Int64(), rest.Int64()).UTC()
}

// isInterval reads parquet's INTERVAL: months, days and milliseconds.
func (v value) isInterval(raw []byte) bool {
	if len(raw) != 12 {
		return false
	}
	months, days, millis := binary.LittleEndian.Uint32(raw), binary.LittleEndian.Uint32(raw[4:]), binary.LittleEndian.Uint32(raw[8:])
	span := new(big.Int).Mul(big.NewInt(int64(millis)), big.NewInt(1e6))
	return int64(months) == v.months && int64(days) == v.days && span.Cmp(v.span) == 0
}

func (v value) judgeList(got []told) (how []string, ok bool) {
	if v.items == nil || len(v.items) != len(got) {
		return nil, false
	}
	for i := range got {
		widened, ok := v.items[i].judge(got[i])
		if !ok {
			return nil, false
		}
		how = together(how, widened)
	}
	return how, true
}

func (v value) judgeDict(got []entry) (how []string, ok bool) {
	if v.fields == nil || len(v.fields) != len(got) {
		return nil, false
	}
	for _, want := range v.fields {
		at := slices.IndexFunc(got, func(e entry) bool {
			widened, ok := want.isKey(e.key)
			how = together(how, widened)
			return ok
		})
		if at < 0 {
			return nil, false
		}
		widened, ok := want.value.judge(got[at].value)
		if !ok {
			return nil, false
		}
		how = together(how, widened)
	}
	return how, true
}

func together(how, more []string) []string {
	for _, one := range more {
		if !slices.Contains(how, one) {
			how = append(how, one)
		}
	}
	return how
}

func (v value) String() string {
	if v.sql != "" {
		return v.sql
	}
	if v.text != nil {
		return strconv.Quote(*v.text)
	}
	return fmt.Sprintf("%+v", told{})
}

// of gives a value another expression.
func (v value) of(format string, args ...any) value {
	v.sql = fmt.Sprintf(format, args...)
	return v
}

func text(s string) value { return value{text: &s, plain: true} }

func number(s string) value {
	n, ok := new(big.Rat).SetString(s)
	if !ok {
		panic(s)
	}
	return value{text: &s, number: n}
}

func float(s string, f float64) value {
	return value{text: &s, float: &f, number: new(big.Rat).SetFloat64(f)}
}

func truth(b bool) value {
	s := strconv.FormatBool(b)
	return value{text: &s, truth: &b}
}

func list(items ...value) value { return value{items: append([]value{}, items...)} }

func dict(fields ...field) value { return value{fields: append([]field{}, fields...)} }

// both are the values of two files, of which either may come first.
func both(a, b []value) value {
	v, turned := list(slices.Concat(a, b)...), list(slices.Concat(b, a)...)
	v.turned = &turned
	return v
}

// entryOf is one of a dict.
func entryOf(key string, v value) field { return field{key: key, value: v} }

// instant reads a text such as "2016-12-31 23:59:59.999999"; the year may have a sign and more than four digits.
func instant(s string) value {
	day, clock, timed := strings.Cut(s, " ")
	negative := strings.HasPrefix(day, "-")
	parts := strings.Split(strings.TrimPrefix(day, "-"), "-")
	var numbers []int
	for _, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil {
			panic(err)
		}
		numbers = append(numbers, n)
	}
	if negative {
		numbers[0] = -numbers[0]
	}
	seconds := time.Date(numbers[0], time.Month(numbers[1]), numbers[2], 0, 0, 0, 0, time.UTC).Unix()
	at := nanos(seconds, 1)
	if timed {
		at.Add(at, clockOf(clock))
	}
	return value{text: &s, at: at, day: !timed}
}

// clockOf is a time of day in nanoseconds: "23:59:59.5".
func clockOf(s string) *big.Int {
	var hours, minutes int64
	var seconds string
	if _, err := fmt.Sscanf(strings.ReplaceAll(s, ":", " "), "%d %d %s", &hours, &minutes, &seconds); err != nil {
		panic(s)
	}
	rest, ok := new(big.Rat).SetString(seconds)
	if !ok {
		panic(s)
	}
	rest.Mul(rest, big.NewRat(1e9, 1))
	return new(big.Int).Add(nanos(hours*3600+minutes*60, 1), rest.Num())
}

// interval has months, days and microseconds beside them.
func interval(text string, months, days, micros int64) value {
	return value{text: &text, interval: true, months: months, days: days, span: new(big.Int).Mul(big.NewInt(micros), big.NewInt(1000))}
}

// valueOf is what was told as a value: for what goes from one file into another.
func valueOf(got told) value {
	s := got.text
	switch got.kind {
	case "none":
		return value{null: true}
	case "bool":
		return truth(s == "true")
	case "int", "decimal":
		return number(s)
	case "float":
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			panic(s)
		}
		return float(strconv.FormatFloat(f, 'g', -1, 64), f)
	case "str":
		return text(s)
	case "uuid":
		v := text(s)
		raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
		if err != nil {
			panic(s)
		}
		v.raw = raw
		return v
	case "bytes":
		raw, err := hex.DecodeString(s)
		if err != nil {
			panic(s)
		}
		return value{raw: append([]byte{}, raw...)}
	case "list":
		v := list()
		for _, element := range got.list {
			v.items = append(v.items, valueOf(element))
		}
		return v
	case "dict":
		v := dict()
		for _, e := range got.dict {
			key := valueOf(e.key)
			v.fields = append(v.fields, field{value: valueOf(e.value), typed: &key})
		}
		return v
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		panic(got.String())
	}
	switch got.kind {
	case "datetime":
		return value{at: n}
	case "date":
		return value{at: n.Mul(n, big.NewInt(86400*1e9)), day: true}
	case "time":
		return value{clock: n}
	case "timedelta":
		return value{span: n}
	}
	panic(got.String())
}
