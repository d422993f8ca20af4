package engine

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/query"
)

// inputFile is one file of an input.
type inputFile struct {
	path string
	// below is the file's path below what the task named. Only its directories can be partitions.
	below string
}

// part is the files of an input that are read alike: they have one schema and one set of partitions.
type part struct {
	files   []string
	reader  string
	options []string
	columns []tableColumn
	// partitions are the keys below what the task named, foreign those above, which DuckDB makes columns of as well.
	partitions, foreign []string
	// columnsOption writes the columns' types into the options, for readers that would otherwise look for them again.
	columnsOption bool
	// looksAgain says that DuckDB looks for the types each time that a statement names the files.
	looksAgain bool
}

type tableColumn struct {
	name, sqlType string
	// null is true for a column that has no type in its file since it has no values.
	null bool
}

// table is the SELECT that reads an input's files as one table; again says that each statement with it looks at all files first.
//
// DuckDB takes the columns and types of the first file, casts what the others have to them and drops what the first does not
// have. Here columns go by their names, and a type is widened only to one that has an equal value for each; an error names the
// file, the column and both types.
// daysAsText leaves the days and instants of JSON text.
func (l *loader) table(ctx context.Context, reader string, files []inputFile, daysAsText bool) (text string, again bool, err error) {
	var parts []*part
	switch reader {
	case "read_parquet":
		parts, err = l.parquetParts(ctx, files)
	case "read_csv":
		parts, err = l.csvParts(ctx, files)
	default:
		parts, err = l.jsonParts(ctx, files, daysAsText)
	}
	if err != nil {
		return "", false, err
	}
	types := partitionTypes(files)
	for _, p := range parts {
		if err := p.partition(types); err != nil {
			return "", false, err
		}
	}
	if len(parts) == 1 {
		p := parts[0]
		return "SELECT * " + exclude(p.foreign) + " FROM " + p.source(), p.looksAgain, nil
	}
	columns, err := unite(parts)
	if err != nil {
		return "", false, err
	}
	var selects []string
	for _, p := range parts {
		var fields []string
		for _, column := range columns {
			fields = append(fields, p.field(column))
		}
		selects = append(selects, "SELECT "+strings.Join(fields, ", ")+" FROM "+p.source())
		again = again || p.looksAgain
	}
	return strings.Join(selects, " UNION ALL "), again, nil
}

func exclude(names []string) string {
	if len(names) == 0 {
		return ""
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = query.Name(name)
	}
	return "EXCLUDE (" + strings.Join(quoted, ", ") + ")"
}

func (p *part) source() string {
	arguments := append([]string{list(p.files)}, p.options...)
	if p.columnsOption {
		var types []string
		for _, column := range p.columns {
			if !slices.Contains(p.partitions, column.name) {
				types = append(types, query.Literal(column.name)+": "+query.Literal(column.sqlType))
			}
		}
		arguments = append(arguments, "columns = {"+strings.Join(types, ", ")+"}")
	}
	return p.reader + "(" + strings.Join(arguments, ", ") + ")"
}

func (p *part) find(name string) (tableColumn, bool) {
	for _, column := range p.columns {
		if strings.EqualFold(column.name, name) {
			return column, true
		}
	}
	return tableColumn{}, false
}

// unite gives all columns of all parts, each with a type that holds the values of every part.
func unite(parts []*part) ([]tableColumn, error) {
	var all []tableColumn
	for _, p := range parts {
		for _, column := range p.columns {
			i := slices.IndexFunc(all, func(c tableColumn) bool { return strings.EqualFold(c.name, column.name) })
			switch {
			case i < 0:
				all = append(all, column)
			case column.null:
			case all[i].null:
				all[i].sqlType, all[i].null = column.sqlType, false
			default:
				wider, ok := widen(all[i].sqlType, column.sqlType)
				// The text of a CSV file can be read as it is.
				text := p.reader == "read_csv" && (all[i].sqlType == "VARCHAR" || column.sqlType == "VARCHAR")
				if !ok && !text {
					return nil, fmt.Errorf("%s has the column %q as %s, but the files before it as %s, and neither type holds all values of the other: cast it where the file is written, or read the files by their paths", p.files[0], column.name, column.sqlType, all[i].sqlType)
				}
				if text {
					wider = "VARCHAR"
				}
				all[i].sqlType = wider
			}
		}
	}
	for _, p := range parts {
		for i, column := range p.columns {
			at := slices.IndexFunc(all, func(c tableColumn) bool { return strings.EqualFold(c.name, column.name) })
			if p.reader == "read_csv" && all[at].sqlType == "VARCHAR" && !slices.Contains(p.partitions, column.name) {
				p.columns[i].sqlType = "VARCHAR"
			}
		}
	}
	return all, nil
}

// field is a column of the table as an expression over this part.
func (p *part) field(column tableColumn) string {
	name := query.Name(column.name)
	own, ok := p.find(column.name)
	if !ok || own.null {
		return "NULL::" + column.sqlType + " AS " + name
	}
	from := query.Name(own.name)
	if own.sqlType == column.sqlType {
		return from + " AS " + name
	}
	cast := from + "::" + column.sqlType
	if slices.Contains(instants, own.sqlType) {
		holds := "TRY_CAST(" + from + " AS " + column.sqlType + ") IS NOT NULL"
		if column.sqlType == "TIMESTAMP_NS" {
			// Beyond it not even TRY_CAST goes on (DuckDB 1.5.3).
			holds = from + " BETWEEN '1677-09-22' AND '2262-04-11'"
		}
		message := fmt.Sprintf("the column %s of %s is %s and %s in another file of its input, but has a value that this does not hold: ", name, p.files[0], own.sqlType, column.sqlType)
		cast = "CASE WHEN " + from + " IS NULL OR " + holds + " THEN " + cast + " ELSE error(" + query.Literal(message) + " || " + from + "::VARCHAR) END"
	}
	if whole, ok := integers[own.sqlType]; ok && whole.bits > 32 && column.sqlType == "DOUBLE" {
		message := fmt.Sprintf("the column %s of %s is %s and DOUBLE in another file of its input, but has a value that no DOUBLE equals: ", name, p.files[0], own.sqlType)
		cast = "CASE WHEN " + from + " IS NULL OR " + cast + "::HUGEINT = " + from + " THEN " + cast + " ELSE error(" + query.Literal(message) + " || " + from + ") END"
	}
	return cast + " AS " + name
}

var integers = map[string]struct {
	bits, digits int
	signed       bool
}{
	"TINYINT": {8, 3, true}, "SMALLINT": {16, 5, true}, "INTEGER": {32, 10, true}, "BIGINT": {64, 19, true}, "HUGEINT": {128, 39, true},
	"UTINYINT": {8, 3, false}, "USMALLINT": {16, 5, false}, "UINTEGER": {32, 10, false}, "UBIGINT": {64, 20, false}, "UHUGEINT": {128, 39, false},
}

// instants are DuckDB's types of instants without a time zone. Each holds the values of those before it, or the cast fails.
var instants = []string{"DATE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP", "TIMESTAMP_NS"}

var decimalPattern = regexp.MustCompile(`^DECIMAL\((\d+),(\d+)\)$`)

// widen gives the type that has an equal value for each value of both. That of a 64-bit integer as a DOUBLE is for the cast
// to check.
func widen(a, b string) (string, bool) {
	if a == b {
		return a, true
	}
	for range 2 {
		if wider, ok := widenTo(a, b); ok {
			return wider, true
		}
		a, b = b, a
	}
	return "", false
}

func widenTo(a, b string) (string, bool) {
	if strings.HasSuffix(a, "[]") && strings.HasSuffix(b, "[]") {
		a, b = strings.TrimSuffix(a, "[]"), strings.TrimSuffix(b, "[]")
		wider, ok := widen(a, b)
		if wider == "DOUBLE" && (integers[a].bits > 32 || integers[b].bits > 32) {
			return "", false // a cast of a whole list is not checked
		}
		if wider == "TIMESTAMP_NS" && a != b {
			return "", false // which fails without the column's name beyond 2262
		}
		return wider + "[]", ok
	}
	whole, isWhole := integers[a]
	other, isOther := integers[b]
	switch {
	case isWhole && isOther:
		return widenIntegers(whole.bits, other.bits, whole.signed, other.signed)
	case a == "FLOAT" && b == "DOUBLE", isWhole && whole.bits <= 64 && (b == "FLOAT" || b == "DOUBLE"):
		return "DOUBLE", true
	case isWhole && b == "VARCHAR":
		return "VARCHAR", true
	}
	if precision, scale, ok := decimal(b); ok {
		digits, fraction := whole.digits, 0
		if !isWhole {
			p, s, ok := decimal(a)
			if !ok {
				return "", false
			}
			digits, fraction = p-s, s
		}
		digits, fraction = max(digits, precision-scale), max(fraction, scale)
		return fmt.Sprintf("DECIMAL(%d,%d)", digits+fraction, fraction), digits+fraction <= 38
	}
	first, second := slices.Index(instants, a), slices.Index(instants, b)
	if first >= 0 && second >= 0 {
		return instants[max(first, second)], true
	}
	return "", false
}

func widenIntegers(a, b int, aSigned, bSigned bool) (string, bool) {
	bits, signed := max(a, b), aSigned || bSigned
	if aSigned != bSigned {
		unsigned := a
		if aSigned {
			unsigned = b
		}
		bits = max(bits, 2*unsigned)
	}
	for name, whole := range integers {
		if whole.bits == bits && whole.signed == signed {
			return name, true
		}
	}
	return "", false
}

func decimal(sqlType string) (precision, scale int, ok bool) {
	found := decimalPattern.FindStringSubmatch(sqlType)
	if found == nil {
		return 0, 0, false
	}
	precision, err := strconv.Atoi(found[1])
	if err != nil {
		return 0, 0, false
	}
	scale, err = strconv.Atoi(found[2])
	return precision, scale, err == nil
}

// sortParts sorts files into parts by a text that says how they are read.
func sortParts(files []inputFile, reader string, key func(inputFile) string) []*part {
	var parts []*part
	byKey := map[string]*part{}
	for _, file := range files {
		partitions := partitionsOf(file.below)
		full := partitionsOf(file.path)
		var foreign []string
		if len(partitions) > 0 {
			for _, pair := range full[:len(full)-len(partitions)] {
				foreign = append(foreign, pair.key)
			}
		}
		var names []string
		for _, pair := range partitions {
			names = append(names, pair.key)
		}
		id := fmt.Sprintf("%q %q %s", names, foreign, key(file))
		if byKey[id] == nil {
			byKey[id] = &part{reader: reader, partitions: names, foreign: foreign}
			parts = append(parts, byKey[id])
		}
		byKey[id].files = append(byKey[id].files, file.path)
	}
	return parts
}

// parquetParts looks at the schema of every file, in one query.
func (l *loader) parquetParts(ctx context.Context, files []inputFile) ([]*part, error) {
	var paths []string
	for _, file := range files {
		paths = append(paths, file.path)
	}
	schemas := map[string]string{}
	rows, err := l.db.conn.QueryContext(ctx, `
		SELECT file_name, coalesce(max("precision"), 0), coalesce(arg_max(name, "precision"), ''), coalesce(bool_or(`+dropsNanos+`), false), md5(list(
			{n: name, c: num_children, t: type, l: logical_type, v: converted_type, p: "precision", s: scale, d: duckdb_type} ORDER BY column_id)::VARCHAR)
		FROM parquet_schema(`+list(paths)+`) GROUP BY file_name`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var file, widest, schema string
		var precision int64
		var nanos bool
		if err := rows.Scan(&file, &precision, &widest, &nanos, &schema); err != nil {
			return nil, err
		}
		if nanos {
			if err := wantWholeMicros(file); err != nil {
				return nil, fault.Final("%w", err)
			}
		}
		if precision > 38 {
			// Final at once: SQL that reads the file by its path would get the wrong numbers.
			return nil, fault.Final("%s has the column %q as DECIMAL of %d digits, and DuckDB's have 38 (DuckDB 1.5.3 reads other numbers from it): write it as text, or with fewer digits", file, widest, precision)
		}
		schemas[file] = schema
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	parts := sortParts(files, "read_parquet", func(f inputFile) string { return schemas[f.path] })
	for _, p := range parts {
		if p.columns, err = l.describe(ctx, "read_parquet("+list(p.files[:1])+", hive_partitioning = false)"); err != nil {
			return nil, err
		}
		if len(parts) > 1 {
			if err := l.lookAtColumns(ctx, p); err != nil {
				return nil, err
			}
		}
	}
	return parts, nil
}

// lookAtColumns finds the columns that were written without a type, which DuckDB gives as INTEGER, and refuses those that DuckDB
// gives other names, since another file of the input may have the name for another column.
func (l *loader) lookAtColumns(ctx context.Context, p *part) error {
	rows, err := l.db.conn.QueryContext(ctx, "SELECT name, coalesce(num_children, 0), coalesce(logical_type, '') FROM parquet_schema("+list(p.files[:1])+") ORDER BY column_id")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var column int
	var inside int64 // elements of the present column that are still to come
	for first := true; rows.Next(); first = false {
		var children int64
		var name, logical string
		if err := rows.Scan(&name, &children, &logical); err != nil {
			return err
		}
		if first {
			continue // the root
		}
		if inside > 0 {
			inside += children - 1
			continue
		}
		if column < len(p.columns) {
			if read := p.columns[column].name; read != name {
				return fmt.Errorf("%s has the column %q (%s), which DuckDB reads as %q since it has no name or that of another but for its case: give it one of its own", p.files[0], name, p.columns[column].sqlType, read)
			}
			p.columns[column].null = strings.HasPrefix(logical, "NullType")
		}
		column++
		inside = children
	}
	return rows.Err()
}

// csvParts has DuckDB look at all of each file once: by a part of it, DuckDB takes a code 01234 that comes later for 1234.
func (l *loader) csvParts(ctx context.Context, files []inputFile) ([]*part, error) {
	options := map[string][]string{}
	columns := map[string][]tableColumn{}
	var filled []inputFile
	for _, file := range files {
		found, err := l.sniffAll(ctx, file.path)
		if err != nil {
			return nil, err
		}
		options[file.path], columns[file.path] = found.options, found.columns
		empty, err := l.isEmpty(ctx, file.path, found)
		if err != nil {
			return nil, err
		}
		if empty {
			continue
		}
		filled = append(filled, file)
		if err := l.keepDigits(ctx, file.path, found); err != nil {
			return nil, err
		}
	}
	if len(filled) > 0 {
		files = filled // not even the columns of the others are known
	}
	parts := sortParts(files, "read_csv", func(f inputFile) string { return fmt.Sprintf("%q %v", options[f.path], columns[f.path]) })
	for _, p := range parts {
		p.options, p.columns, p.columnsOption = options[p.files[0]], slices.Clone(columns[p.files[0]]), true
	}
	return parts, nil
}

// dialect is how a CSV file is to be read.
type dialect struct {
	options []string
	columns []tableColumn
	comment string
	skipped int64
	header  bool
	// days and instants are the formats by which DuckDB reads a DATE and a TIMESTAMP.
	days, instants string
}

// sniffAll refuses a file of which DuckDB would leave out lines without a word: those before the first that has as many fields as
// the last ones, and those that begin with a #.
func (l *loader) sniffAll(ctx context.Context, file string) (dialect, error) {
	found, err := l.sniff(ctx, file, "")
	if err != nil {
		return dialect{}, err
	}
	if found.comment != "" {
		all, err := l.sniff(ctx, file, ", comment = ''")
		if err != nil || len(all.columns) != len(found.columns) || all.skipped > 0 {
			return dialect{}, fmt.Errorf("%s has lines that begin with %s, which DuckDB would leave out: read it by its path, with read_csv's option comment", file, found.comment)
		}
		found = all
	}
	if found.skipped == 0 {
		return found, nil
	}
	var text bool
	lines := fmt.Sprintf("read_csv(%s, auto_detect = false, header = false, columns = {l: 'VARCHAR'}, delim = chr(1), quote = '', escape = '')", query.Literal(file))
	err = l.db.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT coalesce(bool_or(trim(l) <> ''), false) FROM (FROM %s LIMIT %d)", lines, found.skipped)).Scan(&text)
	if err == nil && text {
		err = fmt.Errorf("%s has %d lines at its beginning with another number of fields than the rest, which DuckDB would leave out: read it by its path, with read_csv's option skip", file, found.skipped)
	}
	return found, err
}

// isEmpty tells whether a CSV file has no lines; DuckDB gives it a column all the same.
func (l *loader) isEmpty(ctx context.Context, file string, found dialect) (bool, error) {
	if found.header || len(found.columns) != 1 {
		return false, nil
	}
	var empty bool
	p := part{files: []string{file}, reader: "read_csv", options: append(slices.Clone(found.options), "hive_partitioning = false"), columns: found.columns, columnsOption: true}
	err := l.db.conn.QueryRowContext(ctx, "SELECT count(*) = 0 FROM (FROM "+p.source()+" LIMIT 1)").Scan(&empty)
	return empty, err
}

func (l *loader) sniff(ctx context.Context, file, with string) (dialect, error) {
	const columnsOf = `SELECT {d: Delimiter, q: Quote, e: Escape, n: NewLineDelimiter, c: Comment, s: SkipRows::VARCHAR, h: HasHeader::VARCHAR,
		x: DateFormat, y: TimestampFormat}, c.name, c.type FROM (SELECT *, unnest(Columns) AS c FROM sniff_csv(`
	rows, err := l.db.conn.QueryContext(ctx, columnsOf+query.Literal(file)+", sample_size = -1"+with+"))")
	if err != nil {
		return dialect{}, err
	}
	defer func() { _ = rows.Close() }()
	var found dialect
	for rows.Next() {
		var told any
		var column tableColumn
		if err := rows.Scan(&told, &column.name, &column.sqlType); err != nil {
			return dialect{}, err
		}
		found.columns = append(found.columns, column)
		fields, ok := told.(map[string]any)
		if found.options != nil || !ok {
			continue
		}
		found.options = []string{"auto_detect = false"}
		for _, option := range [][2]string{{"d", "delim"}, {"q", "quote"}, {"e", "escape"}, {"n", "new_line"}, {"c", "comment"}, {"s", "skip"}, {"h", "header"}, {"x", "dateformat"}, {"y", "timestampformat"}} {
			text, ok := fields[option[0]].(string)
			if !ok {
				continue
			}
			switch {
			case text == "(empty)":
				text = ""
			case option[1] == "dateformat" && text == "%Y-%m-%d":
				continue // DuckDB's own way to write a day, by which it reads the years beyond 9999, those BC and infinity as well
			case option[1] == "dateformat":
				found.days = text
			case option[1] == "timestampformat":
				found.instants = text
			case option[1] == "comment":
				found.comment = text
			case option[1] == "header":
				found.header = text == "true"
			case option[1] == "skip":
				if found.skipped, err = strconv.ParseInt(text, 10, 64); err != nil {
					return dialect{}, fmt.Errorf("DuckDB would skip %q lines of %s: %w", text, file, err)
				}
			}
			found.options = append(found.options, option[1]+" = "+query.Literal(text))
		}
	}
	return found, rows.Err()
}

// rounded is a condition in SQL: that a text is a number that no DOUBLE equals, or if it is not a whole one, that is not what its DOUBLE
// gives with as many digits. %[1]s is the text.
const rounded = `((length(%[1]s) > 15 OR contains(%[1]s, 'e') OR contains(%[1]s, 'E')) AND coalesce(CASE
	WHEN regexp_full_match(%[1]s, '\s*[-+]?[0-9]+\s*') THEN coalesce(TRY_CAST(TRY_CAST(%[1]s AS DOUBLE) AS HUGEINT) <> TRY_CAST(%[1]s AS HUGEINT), true)
	WHEN regexp_full_match(%[1]s, '\s*[-+]?[0-9]*[.]?[0-9]*([eE][-+]?[0-9]+)?\s*') THEN ` + digits + ` <> '' AND ` + digits + ` <> ` + digitsAgain + `
	END, false))`

const (
	digits      = `ltrim(regexp_replace(regexp_replace(%[1]s, '[eE].*$', ''), '[^0-9]', '', 'g'), '0')`
	digitsAgain = `coalesce(regexp_replace(regexp_replace(format('{:.' || (greatest(length(` + digits + `), 1) - 1) || 'e}', TRY_CAST(%[1]s AS DOUBLE)), 'e.*$', ''), '[^0-9]', '', 'g'), '')`
)

// cut is a condition in SQL: that a text has a fraction of a second that microseconds do not hold.
const cut = `regexp_matches(%[1]s, '[.][0-9]{6}0*[1-9]')`

// twoWays is a condition in SQL: that all texts of a column can be read by another format too, which gives other instants.
func twoWays(column, format string) string {
	condition := "false"
	for _, other := range otherFormats(format) {
		read := "try_strptime(" + column + ", " + query.Literal(other) + ")"
		condition += " OR bool_and(" + column + " IS NULL OR " + read + " IS NOT NULL) AND bool_or(" + read + " <> try_strptime(" + column + ", " + query.Literal(format) + "))"
	}
	return condition
}

var (
	dayOfFormat = regexp.MustCompile(`%[dmyY]([^%a-zA-Z])%[dmyY]([^%a-zA-Z])%[dmyY]`)
	dayOrders   = map[string][]string{"Y": {"%d-%m-%Y", "%m-%d-%Y"}, "y": {"%d-%m-%y", "%m-%d-%y", "%y-%m-%d"}}
)

// otherFormats are those with the parts of a day in another order: DuckDB takes 01/02/2024 for the first of February.
func otherFormats(format string) []string {
	day := dayOfFormat.FindString(format)
	year := "y"
	if strings.Contains(day, "%Y") {
		year = "Y"
	}
	if day == "" || strings.HasPrefix(day, "%Y") {
		return nil
	}
	var others []string
	for _, order := range dayOrders[year] {
		if order = strings.ReplaceAll(order, "-", day[2:3]); order != day {
			others = append(others, strings.Replace(format, day, order, 1))
		}
	}
	return others
}

// keepDigits leaves columns text whose values DuckDB would round or guess: a code of 20 digits as a DOUBLE, an instant's nanoseconds, a
// day such as 01/02/2024.
func (l *loader) keepDigits(ctx context.Context, file string, of dialect) error {
	columns := of.columns
	asText := part{files: []string{file}, reader: "read_csv", options: append(slices.Clone(of.options), "hive_partitioning = false"), columnsOption: true}
	var lost []string
	var looked []int
	for i, column := range columns {
		asText.columns = append(asText.columns, tableColumn{name: column.name, sqlType: "VARCHAR"})
		name := query.Name(column.name)
		var condition string
		switch column.sqlType {
		case "DOUBLE":
			condition = "bool_or(" + fmt.Sprintf(rounded, name) + ")"
		case "DATE":
			condition = twoWays(name, of.days)
		case "TIME":
			condition = "bool_or(" + fmt.Sprintf(cut, name) + ")"
		case "TIMESTAMP", "TIMESTAMP WITH TIME ZONE":
			condition = "bool_or(" + fmt.Sprintf(cut, name) + ") OR " + twoWays(name, of.instants)
		}
		if condition == "" || condition == "false" {
			continue
		}
		looked = append(looked, i)
		lost = append(lost, "coalesce("+condition+", false)")
	}
	if len(looked) == 0 {
		return nil
	}
	found, err := l.looks(ctx, lost, asText)
	if err != nil {
		return err
	}
	for i, column := range looked {
		if found[i] {
			columns[column].sqlType = "VARCHAR"
		}
	}
	return nil
}

// jsonParts has DuckDB look at all objects of all files: by a part of them, it rounds a 2.5 that comes later.
func (l *loader) jsonParts(ctx context.Context, files []inputFile, daysAsText bool) ([]*part, error) {
	parts := sortParts(files, "read_json", func(inputFile) string { return "" })
	for _, p := range parts {
		whole := []string{"union_by_name = true", "sample_size = -1", fmt.Sprintf("maximum_sample_files = %d", len(p.files))}
		var err error
		if p.columns, err = l.describe(ctx, "read_json("+list(p.files)+", hive_partitioning = false, "+strings.Join(whole, ", ")+")"); err != nil {
			return nil, err
		}
		guessed, err := l.guessedDays(ctx, p)
		if err != nil {
			return nil, err
		}
		if daysAsText || guessed {
			for i, column := range p.columns {
				p.columns[i].sqlType = hasDay.ReplaceAllString(column.sqlType, "VARCHAR")
			}
		}
		if err := l.narrowJSON(ctx, p); err != nil {
			return nil, err
		}
		rounded, err := l.roundedJSON(ctx, p)
		if err != nil {
			return nil, err
		}
		if p.looksAgain = foundByMore(p.columns); p.looksAgain {
			p.options = whole
		} else {
			p.columnsOption = true
		}
		for _, i := range rounded {
			if p.looksAgain {
				return nil, fmt.Errorf("%s has the column %q as %s, with a number that no DOUBLE equals: write it as text, or give the keys other names", p.files[0], p.columns[i].name, p.columns[i].sqlType)
			}
			p.columns[i].sqlType = "JSON"
		}
	}
	return parts, nil
}

// guessedDays tells whether texts that DuckDB takes for days or instants do not begin with the year: it reads 31-12-20 as a day of
// 2031, and 01-02-2024 as the first of February.
func (l *loader) guessedDays(ctx context.Context, p *part) (bool, error) {
	const guess = `coalesce(bool_or(regexp_matches(%s::VARCHAR, '"\s*[0-9]{1,2}[^0-9a-zA-Z:"][0-9]{1,2}[^0-9a-zA-Z:"][0-9]{2}')), false)`
	asJSON := part{files: p.files, reader: p.reader, columnsOption: true, options: []string{"hive_partitioning = false"}}
	var guesses []string
	for _, column := range p.columns {
		switch {
		case !hasDay.MatchString(column.sqlType):
		case isRenamed(p.columns, column):
			found, err := l.looks(ctx, []string{fmt.Sprintf(guess, "json")}, part{files: p.files, reader: "read_json_objects"})
			if err != nil || found[0] {
				return err == nil, err
			}
		default:
			asJSON.columns = append(asJSON.columns, tableColumn{name: column.name, sqlType: "JSON"})
			guesses = append(guesses, fmt.Sprintf(guess, query.Name(column.name)))
		}
	}
	if len(guesses) == 0 {
		return false, nil
	}
	found, err := l.looks(ctx, guesses, asJSON)
	return slices.Contains(found, true), err
}

// narrowJSON makes BIGINT of the columns that are HUGEINT only since DuckDB takes positive numbers for UBIGINT and negative ones for
// BIGINT.
func (l *loader) narrowJSON(ctx context.Context, p *part) error {
	wide := part{files: p.files, reader: p.reader, columnsOption: true, options: []string{"hive_partitioning = false"}}
	var fit []string
	for _, column := range p.columns {
		if column.sqlType == "HUGEINT" {
			wide.columns = append(wide.columns, column)
			fit = append(fit, "coalesce(bool_and("+query.Name(column.name)+" BETWEEN -9223372036854775808 AND 9223372036854775807), true)")
		}
	}
	if len(fit) == 0 || foundByMore(p.columns) {
		return nil
	}
	fits, err := l.looks(ctx, fit, wide)
	if err != nil {
		return err
	}
	for i, column := range wide.columns {
		if fits[i] {
			at := slices.IndexFunc(p.columns, func(c tableColumn) bool { return c.name == column.name })
			p.columns[at].sqlType = "BIGINT"
		}
	}
	return nil
}

// looks gives what conditions are of a part.
func (l *loader) looks(ctx context.Context, conditions []string, of part) ([]bool, error) {
	found := make([]bool, len(conditions))
	into := make([]any, len(conditions))
	for i := range found {
		into[i] = &found[i]
	}
	err := l.db.conn.QueryRowContext(ctx, "SELECT "+strings.Join(conditions, ", ")+" FROM "+of.source()).Scan(into...)
	return found, err
}

// roundedJSON finds the columns that DuckDB reads as DOUBLE, or with DOUBLE inside, though they have a whole number of many digits
// that no DOUBLE equals, or a number that is beyond all of them. Other numbers of JSON are the DOUBLEs next to them: DuckDB writes
// even the JSON of them anew.
func (l *loader) roundedJSON(ctx context.Context, p *part) ([]int, error) {
	const anyRounded = `coalesce(bool_or(len(list_filter(regexp_extract_all(%s::VARCHAR, '(?:^|[\[,:])\s*(-?[0-9]{16,}[.eE]?|-?[0-9][.0-9]*[eE][+]?[0-9]{3,})', 1),
		lambda n: right(n, 1) NOT IN ('.', 'e', 'E') AND CASE WHEN regexp_matches(n, '[.eE]') THEN coalesce(isinf(TRY_CAST(n AS DOUBLE)), true)
			ELSE coalesce(TRY_CAST(TRY_CAST(n AS DOUBLE) AS HUGEINT) <> TRY_CAST(n AS HUGEINT), true) END)) > 0), false)`
	var columns, unnamed []int
	asJSON := part{files: p.files, reader: p.reader, columnsOption: true, options: []string{"hive_partitioning = false"}}
	var rounds []string
	for i, column := range p.columns {
		switch {
		case !hasDouble.MatchString(column.sqlType):
		case isRenamed(p.columns, column):
			unnamed = append(unnamed, i)
		default:
			columns = append(columns, i)
			asJSON.columns = append(asJSON.columns, tableColumn{name: column.name, sqlType: "JSON"})
			rounds = append(rounds, fmt.Sprintf(anyRounded, query.Name(column.name)))
		}
	}
	var rounded []int
	if len(columns) > 0 {
		found, err := l.looks(ctx, rounds, asJSON)
		if err != nil {
			return nil, err
		}
		for i, column := range columns {
			if found[i] {
				rounded = append(rounded, column)
			}
		}
	}
	if len(unnamed) > 0 {
		// Which keys these are is not known: all of the objects are looked at.
		found, err := l.looks(ctx, []string{fmt.Sprintf(anyRounded, "json")}, part{files: p.files, reader: "read_json_objects"})
		if err != nil {
			return nil, err
		}
		if found[0] {
			rounded = append(rounded, unnamed...)
		}
	}
	return rounded, nil
}

var (
	hasDouble = regexp.MustCompile(`\bDOUBLE\b`)

	hasDay  = regexp.MustCompile(`\b(DATE|TIMESTAMP)(_[A-Z]+| WITH TIME ZONE)?\b`)
	renamed = regexp.MustCompile(`^(.+)_[0-9]+$`)
)

// foundByMore says that DuckDB found JSON's columns by more than their names and types, which are all that it can be told. It
// found days and instants by a format, without which it reads another day (31-12-20) and drops the offset of an instant, and
// columns by their keys, of which it renames those that differ in case alone: "A" beside "a" is the column A_1.
func foundByMore(columns []tableColumn) bool {
	return slices.ContainsFunc(columns, func(c tableColumn) bool { return hasDay.MatchString(c.sqlType) || isRenamed(columns, c) })
}

// isRenamed tells whether a column of JSON may have another name than its key.
func isRenamed(columns []tableColumn, c tableColumn) bool {
	key := renamed.FindStringSubmatch(c.name)
	return key != nil && slices.ContainsFunc(columns, func(other tableColumn) bool { return strings.EqualFold(other.name, key[1]) })
}

func (l *loader) describe(ctx context.Context, from string) ([]tableColumn, error) {
	rows, err := l.db.conn.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE FROM "+from+")")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var columns []tableColumn
	for rows.Next() {
		var column tableColumn
		if err := rows.Scan(&column.name, &column.sqlType); err != nil {
			return nil, err
		}
		columns = append(columns, column)
	}
	return columns, rows.Err()
}

// partition makes columns of the part's partitions. What its files have themselves wins.
func (p *part) partition(types map[string]string) error {
	var own []string
	for _, key := range p.partitions {
		if _, ok := p.find(key); ok {
			own = append(own, key)
		}
	}
	if len(own) == len(p.partitions) {
		p.partitions, p.foreign = nil, nil
		p.options = append(p.options, "hive_partitioning = false")
		return nil
	}
	if len(own) > 0 {
		return fmt.Errorf("%s has the column %q, which is a directory's name as well, but not the other directories' names: leave it out of the file, or write all of them into it", p.files[0], own[0])
	}
	for _, key := range p.foreign {
		_, taken := p.find(key)
		if taken || slices.Contains(p.partitions, key) {
			return fmt.Errorf("%s has the column %q, which is also the name of a directory above the input, which DuckDB would read instead: give the column another name", p.files[0], key)
		}
	}
	var hive []string
	for _, key := range p.partitions {
		hive = append(hive, query.Literal(key)+": "+types[key])
		p.columns = append(p.columns, tableColumn{name: key, sqlType: types[key]})
	}
	p.options = append(p.options, "hive_partitioning = true", "hive_types = {"+strings.Join(hive, ", ")+"}")
	return nil
}

type partitionPair struct{ key, value string }

// partitionsOf reads the directories KEY=VALUE of a path, as DuckDB does.
func partitionsOf(path string) []partitionPair {
	var pairs []partitionPair
	for segment := range strings.SplitSeq(filepath.ToSlash(filepath.Dir(path)), "/") {
		key, value, ok := strings.Cut(segment, "=")
		if ok && key != "" && !strings.Contains(value, "=") {
			pairs = append(pairs, partitionPair{key, value})
		}
	}
	return pairs
}

// partitionTypes are the types of all partitions: numbers and times where none loses anything by it, else text.
func partitionTypes(files []inputFile) map[string]string {
	values := map[string][]string{}
	for _, file := range files {
		for _, pair := range partitionsOf(file.below) {
			value, err := url.PathUnescape(pair.value)
			if err != nil {
				value = pair.value
			}
			if value != "__HIVE_DEFAULT_PARTITION__" {
				values[pair.key] = append(values[pair.key], value)
			} else if values[pair.key] == nil {
				values[pair.key] = []string{}
			}
		}
	}
	types := map[string]string{}
	for key, values := range values {
		types[key] = "VARCHAR"
		for sqlType, fits := range map[string]func(string) bool{
			"BIGINT": func(s string) bool {
				n, err := strconv.ParseInt(s, 10, 64)
				return err == nil && strconv.FormatInt(n, 10) == s
			},
			"DATE":      func(s string) bool { return isTime(s, time.DateOnly) },
			"TIMESTAMP": func(s string) bool { return isTime(s, time.DateTime) },
		} {
			if len(values) > 0 && !slices.ContainsFunc(values, func(s string) bool { return !fits(s) }) {
				types[key] = sqlType
			}
		}
	}
	return types
}

func isTime(text, layout string) bool {
	_, err := time.Parse(layout, text)
	return err == nil
}

// view makes the input a table. What cannot be one is remembered for the error of the SQL that names it: the SQL may as
// well read the files in its own way.
func (l *loader) view(ctx context.Context, name, uri string, from source, files []inputFile) error {
	reader, err := tableFormat(from, files[0].path)
	if err != nil {
		l.notTables = append(l.notTables, fmt.Sprintf("input %q is no table: %v.", name, err))
		return nil
	}
	again, err := l.create(ctx, name, reader, files, false)
	if err != nil && again && reader == "read_json" {
		// DuckDB found days in some texts that it then does not read by one format.
		if _, retried := l.create(ctx, name, reader, files, true); retried == nil {
			err = nil
		}
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if _, final := errors.AsType[*fault.Error](err); final {
		return fault.Final("input %q: %w", name, err)
	}
	err = l.db.explain(err)
	if faulty, ok := errors.AsType[*fault.Error](err); ok && faulty.Retryable {
		return err
	}
	l.notTables = append(l.notTables, fmt.Sprintf("input %q (%s) cannot be read as a table: %v", name, uri, err))
	return nil
}

func (l *loader) create(ctx context.Context, name, reader string, files []inputFile, daysAsText bool) (again bool, err error) {
	text, again, err := l.table(ctx, reader, files, daysAsText)
	if err != nil {
		return again, err
	}
	kind := "VIEW"
	if again {
		kind = "TABLE" // read once; it is spilled where memory is short
	}
	_, err = l.db.exec(ctx, "CREATE "+kind+" "+query.Name(name)+" AS "+text)
	return again, err
}
