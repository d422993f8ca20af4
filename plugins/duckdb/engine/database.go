package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/query"
)

// database is one query's DuckDB, used through one connection.
type database struct {
	limits Limits
	pool   *sql.DB
	conn   *sql.Conn
}

func openDatabase(ctx context.Context, limits Limits, scratch string) (*database, error) {
	connector, err := duckdb.NewConnector("", nil)
	if err != nil {
		return nil, fault.Retryable("cannot open DuckDB: %w", err)
	}
	db := &database{limits: limits, pool: sql.OpenDB(connector)}
	if db.conn, err = db.pool.Conn(ctx); err != nil {
		db.close()
		return nil, fault.Retryable("cannot open DuckDB: %w", err)
	}
	settings := []string{
		// Flyte's instants are UTC; the machine's time zone must not change a result.
		"TimeZone = 'UTC'",
		"temp_directory = " + query.Literal(filepath.Join(scratch, "spill")),
		"secret_directory = " + query.Literal(filepath.Join(scratch, "secrets")),
		"extension_directory = " + query.Literal(filepath.Join(scratch, "extensions")),
		"autoinstall_known_extensions = false",
		"autoload_known_extensions = false",
		"allow_community_extensions = false",
		"allow_persistent_secrets = false",
		// Progress is computed only for a progress bar, which need not be shown.
		"enable_progress_bar = true",
		"enable_progress_bar_print = false",
		"progress_bar_time = 0",
		// A file is looked at for its schema before it is read.
		"parquet_metadata_cache = true",
	}
	if limits.Memory > 0 {
		settings = append(settings, fmt.Sprintf("memory_limit = '%dB'", limits.Memory))
	}
	if limits.Spill > 0 {
		settings = append(settings, fmt.Sprintf("max_temp_directory_size = '%dB'", limits.Spill))
	}
	if limits.Threads > 0 {
		settings = append(settings, fmt.Sprintf("threads = %d", limits.Threads))
	}
	if err := db.set(ctx, settings...); err != nil {
		db.close()
		return nil, err
	}
	return db, nil
}

// lock takes from the SQL that follows what it has no business with. The files named stay in reach, as the views on
// inputs need them.
func (db *database) lock(ctx context.Context, files []string) error {
	if !db.limits.ExternalAccess {
		settings := []string{"allowed_paths = " + list(files)}
		if len(db.limits.AllowPaths) > 0 {
			settings = append(settings, "allowed_directories = "+list(db.limits.AllowPaths))
		}
		if err := db.set(ctx, append(settings, "enable_external_access = false")...); err != nil {
			return err
		}
	}
	return db.set(ctx, "lock_configuration = true")
}

func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = query.Literal(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (db *database) set(ctx context.Context, settings ...string) error {
	for _, setting := range settings {
		if _, err := db.conn.ExecContext(ctx, "SET "+setting); err != nil {
			return fault.Final("cannot set up DuckDB: SET %s: %w", setting, err)
		}
	}
	return nil
}

// close ends the database and frees its memory.
func (db *database) close() {
	if db.conn != nil {
		_ = db.conn.Close() // nothing in it is to be kept
	}
	_ = db.pool.Close()
}

// shape is what can be known of a statement before it runs.
type shape struct {
	kind    duckdb.StmtType
	columns []column
}

type column struct {
	name string
	// info is nil for a type that the driver cannot describe.
	info duckdb.TypeInfo
	// sqlType is the type as DuckDB writes it, where somebody has asked for it.
	sqlType string
}

func (c column) String() string { return fmt.Sprintf("column %q (%s)", c.name, c.sqlType) }

// prepare checks a statement: its syntax, that every name in it exists, that it may run at all. Statements that it
// depends on must have run.
func (db *database) prepare(ctx context.Context, statement query.Statement) (shape, error) {
	// Preparing some statements, such as PIVOT, runs parts of them.
	if word := deadly.FindString(statement.Text); word != "" && !db.limits.ExternalAccess {
		return shape{}, fault.Final("%s is not allowed here (the plugin's config key external_access opens more)", word)
	}
	var found shape
	err := db.raw(func(conn *duckdb.Conn) error {
		prepared, err := conn.PrepareContext(ctx, statement.Text)
		if err != nil {
			return err
		}
		stmt := prepared.(*duckdb.Stmt)
		defer func() { _ = stmt.Close() }()
		if stmt.NumInput() > 0 {
			return fault.Final("the SQL has parameters without a name (? or $1): write $NAME with the name of an input")
		}
		if found.kind, err = stmt.StatementType(); err != nil {
			return err
		}
		count, err := stmt.ColumnCount()
		if err != nil {
			return err
		}
		for i := range count {
			name, err := stmt.ColumnName(i)
			if err != nil {
				return err
			}
			// What the driver cannot describe stays nil: a struct with nameless fields, or a type newer than the driver.
			info, err := stmt.ColumnTypeInfo(i)
			if err != nil {
				info = nil
			}
			found.columns = append(found.columns, column{name: name, info: info})
		}
		return nil
	})
	if err != nil {
		return shape{}, err
	}
	return found, db.permit(found.kind, statement)
}

// deadly is what must not run in a locked database. A log on a path that is out of reach (CALL enable_logging) makes DuckDB
// end the whole process when the database closes; the others could hide that call from this look at the text.
var deadly = regexp.MustCompile(`(?i)enable_logging|json_execute_serialized_sql|\bquery"?\s*\(|\bu&["']`)

// permit keeps a locked database's SQL from statements that write files or hide what they run: DuckDB lets a COPY write
// to every path that may be read, so an input on this machine could be overwritten.
func (db *database) permit(kind duckdb.StmtType, statement query.Statement) error {
	if db.limits.ExternalAccess {
		return nil
	}
	if len(db.limits.AllowPaths) > 0 {
		return nil
	}
	switch kind {
	case duckdb.STATEMENT_TYPE_COPY, duckdb.STATEMENT_TYPE_EXPORT, duckdb.STATEMENT_TYPE_ATTACH, duckdb.STATEMENT_TYPE_LOAD,
		duckdb.STATEMENT_TYPE_EXTENSION, duckdb.STATEMENT_TYPE_PREPARE, duckdb.STATEMENT_TYPE_EXECUTE:
	case duckdb.STATEMENT_TYPE_EXPLAIN:
		if !statement.Has("COPY") && !statement.Has("EXPORT") {
			return nil
		}
	default:
		return nil
	}
	return fault.Final("%s is not allowed here: a task's SQL reads its inputs and gives one result (the plugin's config keys external_access and allow_paths open more)", statement.Verb())
}

// execute runs a statement for its effect and returns the rows that it changed.
func (db *database) execute(ctx context.Context, statement query.Statement) (int64, error) {
	if _, err := db.prepare(ctx, statement); err != nil {
		return 0, err
	}
	return db.exec(ctx, statement.Text)
}

func (db *database) exec(ctx context.Context, text string) (int64, error) {
	result, err := db.conn.ExecContext(ctx, text)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (db *database) raw(do func(*duckdb.Conn) error) error {
	return db.conn.Raw(func(conn any) error { return do(conn.(*duckdb.Conn)) })
}

const progressInterval = 250 * time.Millisecond

// follow reports the progress of whatever runs, until the returned function is called.
func (db *database) follow(report Reporter) (stop func()) {
	handle, ok := db.handle()
	if !ok {
		return func() {}
	}
	done := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			progress := mapping.QueryProgress(handle)
			if percent, rows, _ := mapping.QueryProgressTypeMembers(&progress); percent >= 0 {
				report.Progress(percent, rows)
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		following.Wait()
	})
}

// handle is DuckDB's own connection, by which another goroutine may ask for the progress of a running statement. The
// driver offers no way to it, so it is read from its private field; a driver without that field gives no progress.
func (db *database) handle() (handle mapping.Connection, ok bool) {
	err := db.raw(func(conn *duckdb.Conn) error {
		field := reflect.ValueOf(conn).Elem().FieldByName("conn")
		if field.Kind() != reflect.Struct || field.FieldByName("Ptr").Kind() != reflect.UnsafePointer {
			return errors.New("the driver has changed")
		}
		handle.Ptr = field.FieldByName("Ptr").UnsafePointer()
		return nil
	})
	return handle, err == nil && handle.Ptr != nil
}

// explain makes an error of DuckDB's, or of its driver's, one for the task's author. Those of package fault pass.
func (db *database) explain(err error) error {
	if _, done := errors.AsType[*fault.Error](err); done {
		return err
	}
	own, is := errors.AsType[*duckdb.Error](err)
	switch {
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone):
		return fault.Retryable("DuckDB has ended within this query: %w", err)
	case !is:
		// The driver's own, about a type or value that it cannot handle.
		return fault.Final("%w", err)
	}
	message := strings.TrimSpace(own.Msg)
	switch {
	case own.Type == duckdb.ErrorTypeOutOfMemory && strings.Contains(message, "max_temp_directory_size"):
		return fault.Final("%s\nThe query may spill %s to disk (the plugin's config key spill_limit).", message, Size(db.limits.Spill))
	case own.Type == duckdb.ErrorTypeOutOfMemory && db.limits.Memory > 0 && !passes(own):
		return fault.Final("%s\nThe query may use %s of memory (the plugin's config key memory_limit).", message, Size(db.limits.Memory))
	case own.Type == duckdb.ErrorTypeIO && strings.Contains(message, "No space left"):
		return fault.Retryable("%s\nThe plugin's scratch directory is full.", message)
	case own.Type == duckdb.ErrorTypePermission && strings.Contains(message, "file system operations are disabled"):
		return fault.Final("%s\nA task's SQL reads its inputs by their names (the plugin's config keys external_access and allow_paths open more).", message)
	case passes(own):
		return fault.Retryable("%s", message)
	default:
		return fault.Final("%s", message)
	}
}

// passes tells whether an error of DuckDB's may be gone at the next try. Of a query in a database of its own, on files that do
// not change, few are: those about the machine, and about what the SQL reaches beyond its inputs, where the operator lets it.
func passes(err *duckdb.Error) bool {
	switch err.Type {
	case duckdb.ErrorTypeTransaction, duckdb.ErrorTypeConnection, duckdb.ErrorTypeNetwork, duckdb.ErrorTypeInterrupt:
		return true // another writer of an attached database; a server; a stop that was not asked for by Flyte
	case duckdb.ErrorTypeOutOfMemory:
		return strings.Contains(err.Msg, "Allocation failure") // the machine's, not the query's limit
	case duckdb.ErrorTypeIO:
		return passingIO.MatchString(err.Msg)
	case duckdb.ErrorTypeHTTP:
		status := httpStatus.FindStringSubmatch(err.Msg)
		return status == nil || passingStatus.MatchString(status[1])
	}
	return false
}

var (
	// passingIO is how an operating system tells of what fault.Passes calls passing, and DuckDB of a server that does not answer
	// and of a database file that another process writes.
	passingIO = regexp.MustCompile(`(?i)no space left|quota exceeded|too many open files|input/output error|temporarily unavailable|` +
		`stale file handle|cannot allocate memory|resource busy|timed out|timeout|connection|could not set lock|interrupted system call`)
	httpStatus    = regexp.MustCompile(`(?:HTTP |: )(\d{3})\b`)
	passingStatus = regexp.MustCompile(`^(408|425|429|500|502|503|504)$`)
)

// Size writes bytes as people do, such as 1.5 GiB.
func Size(bytes int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	size, unit := float64(bytes), 0
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	return fmt.Sprintf("%.4g %s", size, units[unit])
}

func fileSize(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}
