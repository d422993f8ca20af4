package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/query"
)

// writable is the statement as it can be written to parquet without loss: DuckDB writes the nearest DOUBLE for integers of 128 bits,
// milliseconds of an INTERVAL, and infinite days as days.
func writable(ctx context.Context, p production, shape shape) (string, error) {
	names, err := p.db.types(ctx, p.statement)
	if err != nil {
		return "", err
	}
	var aliases, fields []string
	changed := false
	for i, name := range names {
		shape.columns[i].sqlType = name
		column := shape.columns[i]
		of, err := parseType(name)
		if err != nil {
			return "", fault.Final("%s %w", column, err)
		}
		alias := fmt.Sprintf("c%d", i)
		field, err := of.written(alias, column)
		if err != nil {
			return "", fault.Final("%s %w", column, err)
		}
		changed = changed || field != alias
		aliases, fields = append(aliases, alias), append(fields, field+" AS "+query.Name(column.name))
	}
	if !changed {
		return selectable(p.statement), nil
	}
	return "SELECT " + strings.Join(fields, ", ") + " FROM (" + selectable(p.statement) + ") AS r(" + strings.Join(aliases, ", ") + ")", nil
}

// written is a column as it is written: an error of the query where it has a value that parquet does not hold.
func (t sqlType) written(alias string, column column) (string, error) {
	if t.name == "HUGEINT" || t.name == "UHUGEINT" {
		return fmt.Sprintf("CASE WHEN %[1]s IS NULL OR TRY_CAST(%[1]s::DOUBLE AS %[2]s) = %[1]s THEN %[1]s::DOUBLE ELSE error(%[3]s || %[1]s) END", alias, t.name,
			query.Literal(column.String()+" is DOUBLE in parquet, but has a value that no DOUBLE equals (cast it to BIGINT or VARCHAR in the SQL): ")), nil
	}
	lost, err := t.lost(alias, 0)
	if err != nil {
		return "", err
	}
	field := alias
	if stored := t.stored(); stored.String() != t.String() {
		field = "CAST(" + alias + " AS " + stored.String() + ")"
	}
	if lost == "" {
		return field, nil
	}
	message := query.Literal(column.String() + " has a value that parquet does not hold (cast it to VARCHAR in the SQL): ")
	return fmt.Sprintf("CASE WHEN %s THEN error(%s || %s::VARCHAR) ELSE %s END", lost, message, alias, field), nil
}

// stored is the type as it is written: LISTs for ARRAYs, since of a NULL ARRAY DuckDB 1.5.3 writes what other readers of parquet refuse,
// and the text of what loses its offset otherwise.
func (t sqlType) stored() sqlType {
	switch t.name {
	case "ARRAY":
		t.name, t.size = "LIST", ""
	case "TIME WITH TIME ZONE":
		t.name = "VARCHAR"
	}
	parts := make([]sqlField, len(t.parts))
	for i, part := range t.parts {
		parts[i] = sqlField{part.name, part.stored()}
	}
	t.parts = parts
	return t
}

// lost is the condition, "" for never, that a value of the type is not held by parquet.
func (t sqlType) lost(value string, depth int) (string, error) {
	var any []string
	part := func(of sqlType, expression string) error {
		lost, err := of.lost(expression, depth+1)
		if lost != "" {
			any = append(any, lost)
		}
		return err
	}
	elements := func(of sqlType, list string) error {
		element := fmt.Sprintf("e%d", depth)
		lost, err := of.lost(element, depth+1)
		if lost != "" {
			any = append(any, fmt.Sprintf("coalesce(len(list_filter(%s, lambda %s: %s)) > 0, false)", list, element, lost))
		}
		return err
	}
	switch t.name {
	case "LIST":
		if err := elements(t.parts[0].sqlType, value); err != nil {
			return "", err
		}
	case "ARRAY":
		if err := elements(t.parts[0].sqlType, value+"::"+t.parts[0].String()+"[]"); err != nil {
			return "", err
		}
	case "MAP":
		if err := elements(t.parts[0].sqlType, "map_keys("+value+")"); err != nil {
			return "", err
		}
		if err := elements(t.parts[1].sqlType, "map_values("+value+")"); err != nil {
			return "", err
		}
	case "STRUCT":
		for _, field := range t.parts {
			if field.name == "" {
				return "", fmt.Errorf("is a row without names: name its fields, such as {'a': 1}")
			}
			if err := part(field.sqlType, "struct_extract("+value+", "+query.Literal(field.name)+")"); err != nil {
				return "", err
			}
		}
	case "UNION":
		for _, member := range t.parts {
			if err := part(member.sqlType, "union_extract("+value+", "+query.Literal(member.name)+")"); err != nil {
				return "", err
			}
		}
	case "DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE":
		return "coalesce(NOT isfinite(" + value + "), false)", nil
	case "TIME":
		return "coalesce(" + value + " = TIME '24:00:00', false)", nil
	case "INTERVAL":
		// Parquet's has months, days and milliseconds of 32 bits without a sign.
		return fmt.Sprintf(`coalesce(datepart('year', %[1]s) < 0 OR datepart('month', %[1]s) < 0 OR datepart('day', %[1]s) < 0 OR datepart('hour', %[1]s) NOT BETWEEN 0 AND 1192
			OR datepart('minute', %[1]s) < 0 OR datepart('microseconds', %[1]s) < 0 OR datepart('microseconds', %[1]s) %% 1000 <> 0, false)`, value), nil
	case "HUGEINT", "UHUGEINT":
		return "", fmt.Errorf("has integers of 128 bits, which parquet does not: cast them to BIGINT, DOUBLE or VARCHAR in the SQL")
	default:
		if !t.inParquet() {
			return "", fmt.Errorf("has the type %s, which parquet does not: cast it to VARCHAR in the SQL", t.name)
		}
	}
	return strings.Join(any, " OR "), nil
}

// inParquet says that parquet holds all values of a type without parts, if only as their text.
func (t sqlType) inParquet() bool {
	return t.isPlain() || slices.Contains([]string{"JSON", "UUID", "TIME_NS", "TIME WITH TIME ZONE", "BIT", "GEOMETRY"}, t.name)
}
