package engine

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/agenthost/agenthost/plugins/duckdb/query"
)

// sqlType is a type as DuckDB writes it. The driver's own description lacks JSON inside of other types, and has none for
// some types.
type sqlType struct {
	// name of a scalar type, such as DECIMAL(5,2); LIST, ARRAY, STRUCT, MAP or UNION of others.
	name string
	// size is an array's.
	size string
	// parts are the element of a list or array, key and value of a map, the fields of a struct, the members of a union.
	parts []sqlField
}

type sqlField struct {
	name string // "" where a struct has no names
	sqlType
}

func parseType(text string) (sqlType, error) {
	p := typeParser{text: text}
	parsed := p.parse()
	if p.at != len(text) || p.failed {
		return sqlType{}, fmt.Errorf("is of the type %s, which this plugin does not know", text)
	}
	return parsed, nil
}

type typeParser struct {
	text   string
	at     int
	failed bool
}

func (p *typeParser) rest() string { return p.text[p.at:] }

func (p *typeParser) skip(token string) bool {
	if !strings.HasPrefix(p.rest(), token) {
		return false
	}
	p.at += len(token)
	return true
}

func (p *typeParser) parse() sqlType {
	var t sqlType
	switch {
	case p.skip("STRUCT("):
		t = sqlType{name: "STRUCT", parts: p.fields(true)}
	case p.skip("UNION("):
		t = sqlType{name: "UNION", parts: p.fields(true)}
	case p.skip("MAP("):
		t = sqlType{name: "MAP", parts: p.fields(false)}
		p.failed = p.failed || len(t.parts) != 2
	default:
		t.name = p.scalar()
	}
	for p.skip("[") {
		end := strings.IndexByte(p.rest(), ']')
		if end < 0 {
			p.failed = true
			return t
		}
		size := p.rest()[:end]
		p.at += end + 1
		name := "ARRAY"
		if size == "" {
			name = "LIST"
		}
		t = sqlType{name: name, size: size, parts: []sqlField{{sqlType: t}}}
	}
	return t
}

// fields reads up to the closing parenthesis.
func (p *typeParser) fields(named bool) []sqlField {
	var fields []sqlField
	for !p.failed {
		var field sqlField
		if named {
			field.name = p.fieldName()
		}
		field.sqlType = p.parse()
		fields = append(fields, field)
		if p.skip(")") {
			return fields
		}
		p.failed = p.failed || !p.skip(", ")
	}
	return fields
}

func (p *typeParser) fieldName() string {
	if !strings.HasPrefix(p.rest(), `"`) {
		end := strings.IndexAny(p.rest(), " ,()[")
		if end < 0 || p.rest()[end] != ' ' || strings.HasPrefix(p.rest()[end:], " WITH TIME ZONE") {
			return ""
		}
		name := p.rest()[:end]
		p.at += end + 1
		return name
	}
	var name strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		if p.text[p.at] == '"' {
			p.at++
			if !strings.HasPrefix(p.rest(), `"`) {
				p.failed = p.failed || !p.skip(" ")
				return name.String()
			}
		}
		name.WriteByte(p.text[p.at])
	}
	p.failed = true
	return ""
}

func (p *typeParser) scalar() string {
	start, depth, quoted := p.at, 0, false
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0 && (c == ')' || c == ',' || c == '['):
			return p.text[start:p.at]
		}
	}
	return p.text[start:p.at]
}

// texts are the types that the driver gives wrongly or not at all (JSON by way of float64, TIME_NS not, 24:00
// as 00:00 or as the next day), and that have an exact text: DuckDB's own.
var texts = []string{"JSON", "UUID", "TIME", "TIME WITH TIME ZONE", "TIME_NS", "BIT"}

var plainTypes = []string{
	"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "BIGNUM", "FLOAT",
	"DOUBLE", "VARCHAR", "BLOB", "DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "INTERVAL", `"NULL"`, "NULL",
}

func (t sqlType) isPlain() bool {
	return slices.Contains(plainTypes, t.name) || strings.HasPrefix(t.name, "DECIMAL(") || strings.HasPrefix(t.name, "ENUM(")
}

// readable is the type, as SQL, by which the driver gives the values exactly; an error where there is none.
func (t sqlType) readable() (string, error) {
	var parts []string
	for i, part := range t.parts {
		text, err := part.readable()
		if err != nil {
			return "", err
		}
		switch t.name {
		case "STRUCT", "UNION":
			if part.name == "" {
				return "", fmt.Errorf("is a row without names: name its fields, such as {'a': 1}")
			}
			text = query.Name(part.name) + " " + text
		case "MAP":
			if i > 0 {
				break
			}
			if len(part.parts) > 0 || part.sqlType.name == "BLOB" {
				return "", fmt.Errorf("is a MAP with keys of the type %s, which have no exact text: cast them in the SQL", part.sqlType)
			}
			text = "VARCHAR"
		}
		parts = append(parts, text)
	}
	switch t.name {
	case "LIST", "ARRAY":
		return parts[0] + "[" + t.size + "]", nil
	case "STRUCT", "UNION", "MAP":
		return t.name + "(" + strings.Join(parts, ", ") + ")", nil
	}
	switch {
	case slices.Contains(texts, t.name):
		return "VARCHAR", nil
	case t.isPlain():
		return t.name, nil
	}
	return "", fmt.Errorf("is of the type %s, which this plugin cannot give: cast it in the SQL", t.name)
}

func (t sqlType) String() string {
	var parts []string
	for _, part := range t.parts {
		text := part.String()
		if part.name != "" {
			text = query.Name(part.name) + " " + text
		}
		parts = append(parts, text)
	}
	switch t.name {
	case "LIST", "ARRAY":
		return parts[0] + "[" + t.size + "]"
	case "STRUCT", "UNION", "MAP":
		return t.name + "(" + strings.Join(parts, ", ") + ")"
	}
	return t.name
}

// exact gives a value of the readable type its own type back.
func (t sqlType) exact(data any) any {
	switch v := data.(type) {
	case string:
		switch {
		case t.name == "JSON":
			return jsonText(v)
		case slices.Contains(texts, t.name):
			return exactText{t.name, v}
		}
	case time.Time:
		// The other types' infinite values are in no year that Flyte has.
		if nanos := v.UnixNano(); t.name == "TIMESTAMP_NS" && (nanos == math.MaxInt64 || nanos == -math.MaxInt64) {
			return exactText{endlessName, "infinity"}
		}
	case []any:
		for i := range v {
			v[i] = t.parts[0].exact(v[i])
		}
	case map[string]any:
		for _, field := range t.parts {
			v[field.name] = field.exact(v[field.name])
		}
	case duckdb.OrderedMap:
		var exact duckdb.OrderedMap
		values := v.Values()
		for i, key := range v.Keys() {
			exact.Set(key, t.parts[1].exact(values[i]))
		}
		return exact
	case duckdb.Union:
		for _, member := range t.parts {
			if member.name == v.Tag {
				v.Value = member.exact(v.Value)
			}
		}
		return v
	}
	return data
}

// jsonText is JSON as DuckDB has it.
type jsonText string

// exactText is a value that Flyte has no type for, as DuckDB writes it.
type exactText struct{ name, text string }

const endlessName = "TIMESTAMP_NS without an end"

// endless says that it is an instant that none of Flyte's is.
func (t exactText) endless() bool { return t.name == endlessName }

// types are the types of a query's columns.
func (db *database) types(ctx context.Context, statement query.Statement) ([]string, error) {
	rows, err := db.conn.QueryContext(ctx, "SELECT column_type FROM (DESCRIBE "+selectable(statement)+")")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var types []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		types = append(types, name)
	}
	return types, rows.Err()
}
