package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/query"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

// loader brings a query's inputs into its database: files and datasets as views of the input's name, everything else as
// variables. Only what the SQL mentions is brought in; an input that it does not use costs nothing.
type loader struct {
	engine  *Engine
	db      *database
	query   Query
	script  query.Script
	report  Reporter
	scratch string

	// files are the local files behind the views and path variables.
	files []string
	// notTables are the file inputs that became no view, with the reason.
	notTables []string
	// offloaded counts the bytes of literals that were read from storage.
	offloaded int64
}

func (l *loader) load(ctx context.Context) error {
	parameters, err := l.parameters()
	if err != nil {
		return err
	}
	var loaded []string
	for _, name := range slices.Sorted(maps.Keys(l.query.Inputs)) {
		if parameters[name] == nil && !l.mentions(name) {
			continue
		}
		if parameters[name] == nil && isOffloaded(l.query.Inputs[name]) && !mayBeTable(l.query.InputTypes[name]) {
			continue
		}
		literal, err := l.inline(ctx, name, l.query.Inputs[name])
		if err != nil {
			return err
		}
		if source, ok := sourceOf(literal); ok {
			if err := l.loadFiles(ctx, name, source, parameters[name]); err != nil {
				return err
			}
			loaded = append(loaded, name)
			continue
		}
		if parameters[name] == nil {
			continue
		}
		bound, err := bind(literal, l.query.InputTypes[name])
		if err != nil {
			return fault.Final("input %q %w", name, err)
		}
		if err := l.setVariable(ctx, parameters[name], bound); err != nil {
			return fault.Final("input %q cannot be bound: %w", name, err)
		}
	}
	if len(loaded) > 0 {
		l.report.Note("inputs ready: %s", strings.Join(loaded, ", "))
	}
	return nil
}

// mentions tells whether the SQL has the name as a word. Whether that is a table's is for DuckDB to say; that SQL without the
// word names no table by it is certain.
func (l *loader) mentions(name string) bool {
	word := regexp.MustCompile(`(?i)(^|[^\pL\pN_])` + regexp.QuoteMeta(name) + `($|[^\pL\pN_])`)
	return slices.ContainsFunc(l.script.Statements, func(s query.Statement) bool { return word.MatchString(s.Text) })
}

// parameters maps inputs to the spellings by which the SQL uses them. DuckDB does not tell upper from lower case in
// parameters, so neither does this, unless two inputs differ in nothing else.
func (l *loader) parameters() (map[string][]string, error) {
	used := map[string][]string{}
	for _, parameter := range l.script.Parameters {
		var found []string
		if _, ok := l.query.Inputs[parameter]; ok {
			found = []string{parameter}
		} else {
			for name := range l.query.Inputs {
				if strings.EqualFold(name, parameter) {
					found = append(found, name)
				}
			}
		}
		switch len(found) {
		case 0:
			return nil, fault.Final("the SQL uses $%s, but the task has no such input; it has: %s", parameter, names(l.query.Inputs))
		case 1:
			used[found[0]] = append(used[found[0]], parameter)
		default:
			slices.Sort(found)
			return nil, fault.Final("the SQL uses $%s, which could be any of the inputs %s: write it as one of them is written", parameter, strings.Join(found, ", "))
		}
	}
	return used, nil
}

// setVariable goes by way of a table, whose declared type the driver's appender follows exactly.
func (l *loader) setVariable(ctx context.Context, spellings []string, bound value) error {
	const table = "agenthost_input"
	sqlType := bound.sqlType
	if sqlType == "" {
		sqlType = "VARCHAR"
	}
	// The appender would encode JSON once more, so it crosses as text.
	stored := strings.ReplaceAll(sqlType, "JSON", "VARCHAR")
	if _, err := l.db.exec(ctx, "CREATE TABLE "+table+" (v "+stored+")"); err != nil {
		return err
	}
	err := l.db.raw(func(conn *duckdb.Conn) error {
		appender, err := duckdb.NewAppenderFromConn(conn, "", table)
		if err != nil {
			return err
		}
		if err := appender.AppendRow(bound.data); err != nil {
			return errors.Join(err, appender.Close())
		}
		return appender.Close()
	})
	if err != nil {
		return err
	}
	from := "(SELECT v::" + sqlType + " FROM " + table + ")"
	if text, zero := floatsText(bound.data); zero {
		from = "CAST(" + text + " AS " + sqlType + ")"
	}
	for _, spelling := range spellings {
		if _, err := l.db.exec(ctx, "SET VARIABLE "+query.Name(spelling)+" = "+from); err != nil {
			return err
		}
	}
	_, err = l.db.exec(ctx, "DROP TABLE "+table)
	return err
}

// floatsText is a list or map of floats as SQL, where one of them is a negative zero: the subquery by which other values become a
// variable gives 0.0 for it inside of lists and maps (DuckDB 1.5.3).
func floatsText(data any) (text string, zero bool) {
	var parts []string
	part := func(before string, element any) {
		text, has := floatsText(element)
		parts = append(parts, before+text)
		zero = zero || has
	}
	switch v := data.(type) {
	case float64:
		return "CAST('" + strings.TrimPrefix(strconv.FormatFloat(v, 'g', -1, 64), "+") + "' AS DOUBLE)", v == 0 && math.Signbit(v)
	case []any:
		for _, element := range v {
			part("", element)
		}
		return "[" + strings.Join(parts, ", ") + "]", zero
	case duckdb.OrderedMap:
		values := v.Values()
		for i, key := range v.Keys() {
			part(query.Literal(key.(string))+": ", values[i])
		}
		return "MAP {" + strings.Join(parts, ", ") + "}", zero
	}
	return "NULL", false
}

// source is where a file or dataset input lies.
type source struct {
	uris []string
	// format as the literal says it; "" where it does not.
	format string
	// dataset is true for what is a table by its nature, and parquet unless it says otherwise.
	dataset bool
}

// sourceOf tells whether a literal is a file or dataset, or a list of them, which is one table.
func sourceOf(literal *core.Literal) (source, bool) {
	switch v := literal.GetValue().(type) {
	case *core.Literal_Scalar:
		switch s := v.Scalar.GetValue().(type) {
		case *core.Scalar_StructuredDataset:
			return source{[]string{s.StructuredDataset.GetUri()}, s.StructuredDataset.GetMetadata().GetStructuredDatasetType().GetFormat(), true}, true
		case *core.Scalar_Schema:
			return source{[]string{s.Schema.GetUri()}, "", true}, true
		case *core.Scalar_Blob:
			return source{[]string{s.Blob.GetUri()}, s.Blob.GetMetadata().GetType().GetFormat(), false}, true
		case *core.Scalar_Union:
			return sourceOf(s.Union.GetValue())
		}
	case *core.Literal_Collection:
		var all source
		for i, element := range v.Collection.GetLiterals() {
			one, ok := sourceOf(element)
			if !ok || i > 0 && one.dataset != all.dataset {
				return source{}, false
			}
			all = source{append(all.uris, one.uris...), one.format, one.dataset}
		}
		return all, len(all.uris) > 0
	}
	return source{}, false
}

// mayBeTable tells whether an input of a declared type can be files or datasets.
func mayBeTable(declared *core.LiteralType) bool {
	switch t := declared.GetType().(type) {
	case *core.LiteralType_CollectionType:
		return mayBeTable(t.CollectionType)
	case *core.LiteralType_UnionType:
		return slices.ContainsFunc(t.UnionType.GetVariants(), mayBeTable)
	case *core.LiteralType_Blob, *core.LiteralType_StructuredDatasetType, *core.LiteralType_Schema, nil:
		return true
	}
	return false
}

// loadFiles makes a view of the input, and sets variables to the paths of its files where the SQL asks for them.
func (l *loader) loadFiles(ctx context.Context, name string, from source, spellings []string) error {
	var files []inputFile
	for i, uri := range from.uris {
		at := filepath.Join(l.scratch, "inputs", fmt.Sprintf("%s-%d", name, i))
		found, err := l.fetch(ctx, name, uri, at)
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	var all []string
	for _, file := range files {
		all = append(all, file.path)
	}
	l.files = append(l.files, all...)
	if spellings != nil {
		paths := value{"VARCHAR", all[0]}
		if len(all) > 1 {
			paths = value{"VARCHAR[]", all}
		}
		if err := l.setVariable(ctx, spellings, paths); err != nil {
			return fault.Final("input %q cannot be bound: %w", name, err)
		}
	}
	return l.view(ctx, name, from.uris[0], from, files)
}

// fetch returns the local files of a uri, downloaded if they have to be.
func (l *loader) fetch(ctx context.Context, name, uri, scratch string) ([]inputFile, error) {
	named := func(err error) error { return ofInput(name, err) }
	if err := l.permitInput(uri); err != nil {
		return nil, named(err)
	}
	objects, err := l.engine.storage.List(ctx, uri)
	if err != nil {
		return nil, named(err)
	}
	if objects[0].Local == "" {
		var size int64
		for _, object := range objects {
			size += object.Size
		}
		l.report.Stage("fetching input %q, %s in %d files", name, Size(size), len(objects))
	}
	var files []inputFile
	var fetched int64
	for _, object := range objects {
		if object.Local != "" {
			file, err := plainPath(object, scratch)
			if err != nil {
				return nil, named(err)
			}
			files = append(files, inputFile{file, object.Path})
			continue
		}
		to := filepath.Join(scratch, globCharacters.Replace(filepath.FromSlash(object.Path)))
		if !strings.HasPrefix(to, scratch+string(filepath.Separator)) {
			return nil, named(fault.Final("%s has a name that leads out of its directory", object.Path))
		}
		if err := l.engine.storage.Download(ctx, object, to); err != nil {
			return nil, named(err)
		}
		fetched += object.Size
		l.report.Progress(100*float64(len(files)+1)/float64(len(objects)), 0)
		files = append(files, inputFile{to, object.Path})
	}
	if fetched > 0 {
		l.report.Note("fetched input %q, %s", name, Size(fetched))
	}
	return files, nil
}

// ofInput says which input an error is about.
func ofInput(name string, err error) error {
	var faulty *fault.Error
	if !errors.As(err, &faulty) {
		return err
	}
	if faulty.Retryable {
		return fault.Retryable("input %q: %w", name, err)
	}
	return fault.Final("input %q: %w", name, err)
}

// globCharacters would make DuckDB look for other files than the one named.
var globCharacters = strings.NewReplacer("*", "_", "?", "_", "[", "_", "]", "_")

// plainPath is the real path of a local input, or of a link to it where that path would be read as a pattern.
func plainPath(object storage.Object, scratch string) (string, error) {
	file, err := filepath.EvalSymlinks(object.Local)
	if err != nil {
		return "", fault.File("cannot read %s: %w", object.Local, err)
	}
	// A link inside of the input may lead to where the directories have other names, which can be partitions.
	moved := len(partitionsOf(object.Path)) > 0 && !strings.HasSuffix(filepath.ToSlash(file), "/"+object.Path)
	if globCharacters.Replace(file) == file && !moved {
		return file, nil
	}
	link := filepath.Join(scratch, globCharacters.Replace(filepath.FromSlash(object.Path)))
	if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
		return "", fault.File("cannot link %s: %w", file, err)
	}
	if err := os.Symlink(file, link); err != nil {
		return "", fault.File("cannot link %s: %w", file, err)
	}
	return link, nil
}

// permitInput keeps files of this machine that are nobody's data from being read as a task's input.
func (l *loader) permitInput(uri string) error {
	location, err := storage.Parse(uri)
	if err != nil {
		return fault.Final("%w", err)
	}
	if !location.IsLocal() {
		return l.engine.permitObject(uri)
	}
	if !l.engine.limits.LocalInputs {
		return fault.Final("%s is a file on the plugin's machine, which may not be an input (the plugin's config key local_inputs)", uri)
	}
	paths := []string{location.Path}
	if actual, err := filepath.EvalSymlinks(location.Path); err == nil {
		paths = append(paths, actual)
	}
	for _, denied := range append([]string{"/proc", "/sys", "/dev"}, l.engine.limits.DenyInputs...) {
		for _, path := range paths {
			if within(path, denied) || within(denied, path) {
				return fault.Final("%s may not be an input: %s is not for tasks", uri, denied)
			}
		}
	}
	return nil
}

// permitObject keeps what the plugin has in a bucket for itself from tasks. What is no uri fails elsewhere.
func (e *Engine) permitObject(uri string) error {
	location, err := storage.Parse(uri)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	for _, denied := range e.denied {
		same := location.Scheme == denied.Scheme && location.Bucket == denied.Bucket
		here, there := path.Clean("/"+location.Path), path.Clean("/"+denied.Path)
		if same && (within(here, there) || within(there, here)) {
			return fault.Final("%s may be neither read nor written: %s is not for tasks", uri, denied)
		}
	}
	return nil
}

// within tells whether a cleaned path is a directory or something below it.
func within(path, directory string) bool {
	below, err := filepath.Rel(directory, path)
	return err == nil && below != ".." && !strings.HasPrefix(below, "../")
}

// tableFormat is the DuckDB function that reads the files, of which one is given.
func tableFormat(from source, file string) (string, error) {
	if reader := readerOf(from.format); reader != "" {
		return reader, nil
	}
	if from.format != "" && from.dataset {
		return "", fmt.Errorf("its format is %q, not parquet, csv or json", from.format)
	}
	if reader := readerOf(extension(file)); reader != "" {
		return reader, nil
	}
	if from.dataset || isParquet(file) {
		return "read_parquet", nil
	}
	return "", fmt.Errorf("its format is %q and its file is named %s: only parquet, csv and json can be", from.format, filepath.Base(file))
}

func readerOf(format string) string {
	format = strings.ToLower(strings.TrimPrefix(format, "."))
	for _, compression := range []string{".gz", ".zst", ".gzip", ".zstd"} {
		format = strings.TrimSuffix(format, compression)
	}
	switch format {
	case "parquet":
		return "read_parquet"
	case "csv", "tsv":
		return "read_csv"
	case "json", "jsonl", "ndjson":
		return "read_json"
	}
	return ""
}

// extension is the part of a file's name after the first dot, so that "a.csv.gz" gives "csv.gz".
func extension(file string) string {
	base := filepath.Base(file)
	for _, compression := range []string{".gz", ".zst"} {
		base = strings.TrimSuffix(base, compression)
	}
	return filepath.Ext(base)
}

func isParquet(file string) bool {
	const magic = "PAR1"
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(magic))
	_, err = f.Read(head)
	return err == nil && string(head) == magic
}

// explain makes an error of the task's SQL one for its author.
func (l *loader) explain(err error) error {
	explained := l.db.explain(err)
	var own *duckdb.Error
	var faulty *fault.Error
	if !errors.As(err, &own) || !errors.As(explained, &faulty) {
		return explained
	}
	message := faulty.Message
	for _, parameter := range l.script.Parameters {
		message = strings.ReplaceAll(message, "getvariable("+query.Literal(parameter)+")", "$"+parameter)
	}
	if own.Type == duckdb.ErrorTypeCatalog && len(l.notTables) > 0 {
		message += "\n" + strings.Join(l.notTables, "\n")
	}
	if faulty.Retryable {
		return fault.Retryable("%s", message)
	}
	return fault.Final("%s", message)
}
