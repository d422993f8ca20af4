package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/query"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

// output is a way to give a query's result, chosen by what the task declares.
type output interface {
	// produce runs the last statement and gives its result.
	produce(ctx context.Context, p production) (Result, error)
}

// production is what an output works with.
type production struct {
	engine    *Engine
	db        *database
	query     Query
	statement query.Statement
	// file is the path, in scratch, that the locked database may write.
	file   string
	report Reporter
}

// planOutput chooses: nothing declared, nothing given; one dataset takes the whole result; everything else takes the
// values of its column.
func planOutput(q Query) (output, error) {
	if len(q.Outputs) == 0 {
		return noOutput{}, nil
	}
	for name, declared := range q.Outputs {
		switch declared.GetType().(type) {
		case *core.LiteralType_StructuredDatasetType, *core.LiteralType_Schema:
			if len(q.Outputs) > 1 {
				return nil, fault.Final("the task's output %q takes the whole result, so there can be no other outputs; it declares %s", name, names(q.Outputs))
			}
			return planDataset(q, name, declared)
		case *core.LiteralType_Simple, *core.LiteralType_CollectionType, *core.LiteralType_MapValueType, *core.LiteralType_EnumType,
			*core.LiteralType_UnionType:
		default:
			return nil, fault.Final("the task's output %q is of a type that a query cannot give: declare a StructuredDataset, or values such as int and list[str]", name)
		}
	}
	return valuesOutput{}, nil
}

// noOutput runs the statement for its effect.
type noOutput struct{}

func (noOutput) produce(ctx context.Context, p production) (Result, error) {
	rows, err := p.db.execute(ctx, p.statement)
	return Result{Rows: rows}, err
}

// datasetOutput writes the result as parquet: <output prefix>/<output's name>/00000, the layout of flytekit's own
// datasets, which all its readers know.
type datasetOutput struct {
	name     string
	declared *core.LiteralType
}

func planDataset(q Query, name string, declared *core.LiteralType) (output, error) {
	if format := declared.GetStructuredDatasetType().GetFormat(); format != "" && format != "parquet" {
		return nil, fault.Final("the task declares its output %q as %s, but results are written as parquet", name, format)
	}
	if q.OutputPrefix == "" {
		return nil, fault.Final("the task's output %q is a dataset, but the request names no output prefix to write it to", name)
	}
	if _, err := storage.Parse(q.OutputPrefix); err != nil {
		return nil, fault.Final("the result cannot be written: %w", err)
	}
	return datasetOutput{name, declared}, nil
}

func (o datasetOutput) produce(ctx context.Context, p production) (Result, error) {
	shape, err := p.db.prepare(ctx, p.statement)
	if err != nil {
		return Result{}, err
	}
	if err := givesRows(shape, p.statement); err != nil {
		return Result{}, err
	}
	text, err := writable(ctx, p, shape)
	if err != nil {
		return Result{}, err
	}
	if _, err := p.db.exec(ctx, "COPY ("+text+") TO "+query.Literal(p.file)+" (FORMAT parquet, USE_TMP_FILE false)"); err != nil {
		return Result{}, err
	}
	columns, rows, err := o.inspect(ctx, p)
	if err != nil {
		return Result{}, err
	}
	result := Result{Rows: rows, Bytes: fileSize(p.file)}
	uri := storage.Join(p.query.OutputPrefix, o.name)
	if run := p.query.Run; run > 1 {
		uri += fmt.Sprintf(".run%d", run)
	}
	p.report.Stage("writing %d rows, %s, to %s", rows, Size(result.Bytes), uri)
	if err := p.engine.storage.Upload(ctx, p.file, storage.Join(uri, "00000")); err != nil {
		return Result{}, err
	}
	_ = os.Remove(p.file) // goes with the scratch directory anyway
	result.Outputs = &core.LiteralMap{Literals: map[string]*core.Literal{o.name: o.literal(uri, columns)}}
	return result, nil
}

// selectable is the statement as COPY takes it. What is no query by its grammar, such as DESCRIBE, is one in a FROM.
// The line breaks keep a statement's own last comment from swallowing the rest.
func selectable(statement query.Statement) string {
	switch statement.Verb() {
	case "DESCRIBE", "DESC", "SHOW", "SUMMARIZE":
		return "FROM (\n" + statement.Text + "\n)"
	default:
		return "\n" + statement.Text + "\n"
	}
}

// givesRows tells apart statements whose rows can be taken from those that have none, or none for another statement.
func givesRows(shape shape, statement query.Statement) error {
	if shape.kind == duckdb.STATEMENT_TYPE_SELECT && len(shape.columns) > 0 && statement.Verb() != "PRAGMA" {
		return nil
	}
	return fault.Final("the task declares an output, but its last statement is %s, which gives no result: end with a SELECT", statement.Verb())
}

// inspect reads back what was written, since a file's types can be others than the query's (a HUGEINT is a DOUBLE there).
func (o datasetOutput) inspect(ctx context.Context, p production) ([]*core.StructuredDatasetType_DatasetColumn, int64, error) {
	var rows int64
	count := "SELECT num_rows FROM parquet_file_metadata(" + query.Literal(p.file) + ")"
	if err := p.db.conn.QueryRowContext(ctx, count).Scan(&rows); err != nil {
		return nil, 0, fmt.Errorf("cannot read back the result: %w", err)
	}
	script, err := query.Parse("FROM read_parquet(" + query.Literal(p.file) + ")")
	if err != nil {
		return nil, 0, err
	}
	shape, err := p.db.prepare(ctx, script.Statements[0])
	if err != nil {
		return nil, 0, err
	}
	var columns []*core.StructuredDatasetType_DatasetColumn
	written := map[string]bool{}
	for _, column := range shape.columns {
		written[column.name] = true
		columns = append(columns, &core.StructuredDatasetType_DatasetColumn{Name: column.name, LiteralType: columnType(column.info)})
	}
	for _, declared := range o.declared.GetStructuredDatasetType().GetColumns() {
		if !written[declared.GetName()] {
			return nil, 0, fault.Final("the task declares a column %q in its output %q, but the result's columns are %s", declared.GetName(), o.name, names(written))
		}
	}
	return columns, rows, nil
}

func (o datasetOutput) literal(uri string, columns []*core.StructuredDatasetType_DatasetColumn) *core.Literal {
	scalar := &core.Scalar{Value: &core.Scalar_StructuredDataset{StructuredDataset: &core.StructuredDataset{
		Uri: uri,
		Metadata: &core.StructuredDatasetMetadata{StructuredDatasetType: &core.StructuredDatasetType{
			Columns: columns,
			Format:  "parquet",
		}},
	}}}
	if schema := o.declared.GetSchema(); schema != nil {
		scalar = &core.Scalar{Value: &core.Scalar_Schema{Schema: &core.Schema{Uri: uri, Type: schema}}}
	}
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: scalar}}
}

// columnType is the Flyte type of a dataset's column. Flyte has no types for decimals, times of day and the like; the
// nearest one stands for them here, the file itself keeps DuckDB's.
func columnType(info duckdb.TypeInfo) *core.LiteralType {
	simple := func(t core.SimpleType) *core.LiteralType {
		return &core.LiteralType{Type: &core.LiteralType_Simple{Simple: t}}
	}
	if info == nil {
		return simple(core.SimpleType_STRUCT)
	}
	switch info.InternalType() {
	case duckdb.TYPE_BOOLEAN:
		return simple(core.SimpleType_BOOLEAN)
	case duckdb.TYPE_TINYINT, duckdb.TYPE_SMALLINT, duckdb.TYPE_INTEGER, duckdb.TYPE_BIGINT, duckdb.TYPE_UTINYINT, duckdb.TYPE_USMALLINT,
		duckdb.TYPE_UINTEGER, duckdb.TYPE_UBIGINT, duckdb.TYPE_HUGEINT, duckdb.TYPE_UHUGEINT:
		return simple(core.SimpleType_INTEGER)
	case duckdb.TYPE_FLOAT, duckdb.TYPE_DOUBLE, duckdb.TYPE_DECIMAL:
		return simple(core.SimpleType_FLOAT)
	case duckdb.TYPE_TIMESTAMP, duckdb.TYPE_TIMESTAMP_S, duckdb.TYPE_TIMESTAMP_MS, duckdb.TYPE_TIMESTAMP_NS, duckdb.TYPE_TIMESTAMP_TZ,
		duckdb.TYPE_DATE:
		return simple(core.SimpleType_DATETIME)
	case duckdb.TYPE_INTERVAL:
		return simple(core.SimpleType_DURATION)
	case duckdb.TYPE_BLOB:
		return simple(core.SimpleType_BINARY)
	case duckdb.TYPE_LIST:
		return &core.LiteralType{Type: &core.LiteralType_CollectionType{CollectionType: columnType(info.Details().(*duckdb.ListDetails).Child)}}
	case duckdb.TYPE_ARRAY:
		return &core.LiteralType{Type: &core.LiteralType_CollectionType{CollectionType: columnType(info.Details().(*duckdb.ArrayDetails).Child)}}
	case duckdb.TYPE_MAP:
		if details := info.Details().(*duckdb.MapDetails); details.Key.InternalType() == duckdb.TYPE_VARCHAR {
			return &core.LiteralType{Type: &core.LiteralType_MapValueType{MapValueType: columnType(details.Value)}}
		}
		return simple(core.SimpleType_STRUCT)
	case duckdb.TYPE_STRUCT, duckdb.TYPE_UNION, duckdb.TYPE_VARIANT:
		return simple(core.SimpleType_STRUCT)
	default:
		// VARCHAR, ENUM, UUID, TIME, BIT, and whatever a later DuckDB brings.
		return simple(core.SimpleType_STRING)
	}
}

// valuesOutput gives values inside the literal itself: of a result's one row, or of whole columns for lists.
type valuesOutput struct{}

func (valuesOutput) produce(ctx context.Context, p production) (Result, error) {
	shape, err := p.db.prepare(ctx, p.statement)
	if err != nil {
		return Result{}, err
	}
	if err := givesRows(shape, p.statement); err != nil {
		return Result{}, err
	}
	var takers []taker
	for _, name := range slices.Sorted(maps.Keys(p.query.Outputs)) {
		t, err := newTaker(name, p.query.Outputs, shape.columns)
		if err != nil {
			return Result{}, err
		}
		takers = append(takers, t)
	}
	result, err := readValues(ctx, p, shape, takers)
	if err != nil {
		return Result{}, err
	}
	result.Outputs = &core.LiteralMap{Literals: map[string]*core.Literal{}}
	for _, t := range takers {
		if result.Outputs.Literals[t.name], err = t.give(result.Rows); err != nil {
			return Result{}, err
		}
	}
	return result, nil
}

// readable is the statement with the columns that are asked for in types that the driver gives exactly, and the columns' own
// types. A statement that needs none of this stays as it is.
func readable(ctx context.Context, p production, shape shape, takers []taker) (string, []sqlType, error) {
	names, err := p.db.types(ctx, p.statement)
	if err != nil {
		return "", nil, err
	}
	if len(names) != len(shape.columns) {
		return "", nil, fault.Final("the result's columns have the types %v, which is not one for each of %d", names, len(shape.columns))
	}
	types := make([]sqlType, len(names))
	aliases, fields := make([]string, len(names)), make([]string, len(names))
	changed := false
	for i, name := range names {
		shape.columns[i].sqlType = name
		aliases[i] = fmt.Sprintf("c%d", i)
		if !slices.ContainsFunc(takers, func(t taker) bool { return t.column == i || t.column < 0 }) {
			// Not even a type that the driver cannot read is in the way of other columns.
			fields[i], changed = "NULL", true
			continue
		}
		var wanted string
		if types[i], err = parseType(name); err == nil {
			wanted, err = types[i].readable()
		}
		if err != nil {
			return "", nil, fault.Final("%s, for an output, %w", shape.columns[i], err)
		}
		fields[i] = aliases[i]
		if wanted != types[i].String() {
			fields[i], changed = "CAST("+aliases[i]+" AS "+wanted+")", true
		}
	}
	if !changed {
		return p.statement.Text, types, nil
	}
	return "SELECT " + strings.Join(fields, ", ") + " FROM (" + selectable(p.statement) + ") AS r(" + strings.Join(aliases, ", ") + ")", types, nil
}

func readValues(ctx context.Context, p production, shape shape, takers []taker) (Result, error) {
	text, types, err := readable(ctx, p, shape, takers)
	if err != nil {
		return Result{}, err
	}
	rows, err := p.db.conn.QueryContext(ctx, text)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = rows.Close() }()
	row := make([]any, len(shape.columns))
	into := make([]any, len(row))
	for i := range row {
		into[i] = &row[i]
	}
	var result Result
	var size int64
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return Result{}, err
		}
		result.Rows++
		for i := range row {
			row[i] = types[i].exact(row[i])
		}
		for i := range takers {
			literal, err := takers[i].take(row, shape.columns)
			if err != nil {
				return Result{}, err
			}
			size += int64(proto.Size(literal))
		}
		if size > p.engine.limits.Inline {
			return Result{}, fault.Final("the outputs have more than %s, which is too large to pass as values (the plugin's config key inline_limit): declare a StructuredDataset", Size(p.engine.limits.Inline))
		}
	}
	return result, rows.Err()
}

// taker takes one output's values from the rows.
type taker struct {
	name     string
	declared *core.LiteralType
	// column is the index of the output's column, or -1 for a struct that is the whole row.
	column int
	// whole is true for a list of the column's values, one of each row.
	whole bool
	got   []*core.Literal
}

func newTaker(name string, outputs map[string]*core.LiteralType, columns []column) (taker, error) {
	t := taker{name: name, declared: outputs[name], column: -1}
	var have []string
	var same, alike []int
	for i, column := range columns {
		have = append(have, column.name)
		switch {
		case column.name == name:
			same = append(same, i)
		case strings.EqualFold(column.name, name):
			alike = append(alike, i)
		}
	}
	if len(same) == 0 {
		same = alike
	}
	if len(same) > 1 {
		return taker{}, fault.Final("the result has two columns %q, of which output %q could have one: give them different names", columns[same[1]].name, name)
	}
	if len(same) == 1 {
		t.column = same[0]
	}
	alone := len(outputs) == 1
	switch {
	case t.column >= 0:
	case alone && len(columns) == 1 && (!isStruct(t.declared) || isStructLike(columns[0].info)):
		t.column = 0
	case alone && isStruct(t.declared):
		return t, nil
	default:
		return taker{}, fault.Final("the task's output %q needs a column of that name; the result has: %s", name, strings.Join(have, ", "))
	}
	t.whole = depth(t.declared) > depthOf(columns[t.column].info)
	return t, nil
}

func isStruct(t *core.LiteralType) bool {
	for _, variant := range t.GetUnionType().GetVariants() {
		if isStruct(variant) {
			return true
		}
	}
	return t.GetSimple() == core.SimpleType_STRUCT
}

func isStructLike(info duckdb.TypeInfo) bool {
	if info == nil {
		return true
	}
	switch info.InternalType() {
	case duckdb.TYPE_STRUCT, duckdb.TYPE_MAP, duckdb.TYPE_VARCHAR: // JSON is a VARCHAR by its internal type
		return true
	}
	return false
}

// depth is how many lists a declared type has around its elements.
func depth(t *core.LiteralType) int {
	if element := t.GetCollectionType(); element != nil {
		return 1 + depth(element)
	}
	deepest := 0
	for _, variant := range t.GetUnionType().GetVariants() {
		deepest = max(deepest, depth(variant))
	}
	return deepest
}

func depthOf(info duckdb.TypeInfo) int {
	if info == nil {
		return 0
	}
	switch details := info.Details().(type) {
	case *duckdb.ListDetails:
		return 1 + depthOf(details.Child)
	case *duckdb.ArrayDetails:
		return 1 + depthOf(details.Child)
	}
	return 0
}

func (t *taker) take(row []any, columns []column) (*core.Literal, error) {
	if !t.whole && len(t.got) > 0 {
		return nil, fault.Final("the task's output %q takes one value, but the result has several rows: add a LIMIT 1 or an aggregate, or declare a list or StructuredDataset", t.name)
	}
	declared, what := t.declared, fmt.Sprintf("output %q", t.name)
	var data any
	if t.column < 0 {
		whole, err := t.wholeRow(row, columns)
		if err != nil {
			return nil, err
		}
		data = whole
	} else {
		data = row[t.column]
		what = fmt.Sprintf("%s, for output %q,", columns[t.column], t.name)
	}
	if t.whole {
		declared = elementOf(declared)
	}
	literal, err := toLiteral(data, declared)
	if err != nil {
		return nil, fault.Final("%s %w", what, err)
	}
	t.got = append(t.got, literal)
	return literal, nil
}

// wholeRow is a row as a struct's fields.
func (t *taker) wholeRow(row []any, columns []column) (map[string]any, error) {
	fields := fieldsOf(t.declared)
	whole := make(map[string]any, len(row))
	for i, column := range columns {
		if _, taken := whole[column.name]; taken {
			return nil, fault.Final("the result has two columns %q, of which output %q could have one: give them different names", column.name, t.name)
		}
		var field any
		var err error
		if declared := fields[column.name]; declared != nil {
			field, err = toField(row[i], declared)
		} else {
			field, err = toPlain(row[i])
		}
		if err != nil {
			return nil, fault.Final("%s, for output %q, %w", column, t.name, err)
		}
		whole[column.name] = field
	}
	return whole, nil
}

// elementOf is the element type of a list, or of an optional one.
func elementOf(t *core.LiteralType) *core.LiteralType {
	if element := t.GetCollectionType(); element != nil {
		return element
	}
	for _, variant := range t.GetUnionType().GetVariants() {
		if element := elementOf(variant); element != nil {
			return element
		}
	}
	return nil
}

func (t *taker) give(rows int64) (*core.Literal, error) {
	switch {
	case t.whole:
		list := &core.Literal{Value: &core.Literal_Collection{Collection: &core.LiteralCollection{Literals: t.got}}}
		return inUnion(list, t.declared, func(variant *core.LiteralType) bool { return variant.GetCollectionType() != nil }), nil
	case rows == 0:
		return nil, fault.Final("the task's output %q takes one value, but the result has no rows", t.name)
	default:
		return t.got[0], nil
	}
}
