// Package engine runs one task's SQL in DuckDB. Each query gets a database of its own in memory, which nothing else
// sees and which is gone when the query ends:
//
//	parse the SQL -> fetch the inputs -> make tables and variables of them -> lock the database -> run -> give the result
//
// The SQL comes from whoever may start a workflow, so the database is locked before any of it runs: unless the operator
// opens it, SQL reads its inputs and nothing else, writes nothing, loads nothing, and cannot lift its own limits.
package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/query"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

// Limits are the operator's, the same for every query.
type Limits struct {
	// Memory is how many bytes one query's database may hold before it spills to Scratch. 0: DuckDB's own limit, most of
	// the machine's memory.
	Memory int64
	// Spill is how many bytes one query may spill. 0: as many as fit.
	Spill int64
	// Threads is how many threads one query uses. 0: one for each core.
	Threads int
	// Timeout ends a query that runs longer. 0: never.
	Timeout time.Duration
	// Scratch is the directory for copies of inputs, spilled data and results on their way out.
	Scratch string
	// Inline is how many bytes all scalar outputs of a query may have together. 0: 2 MiB; FlytePropeller's own limit is 4.
	Inline int64
	// Offloaded is how many bytes the inputs of a query may have together that are values and lie in storage. 0: 128 MiB.
	Offloaded int64
	// ExternalAccess lets SQL read and write whatever the plugin's process can.
	ExternalAccess bool
	// AllowPaths are directories that SQL may read and write all the same when ExternalAccess is off.
	AllowPaths []string
	// LocalInputs lets tasks have files of this machine as inputs.
	LocalInputs bool
	// DenyInputs are directories that are never inputs, such as those with the plugin's secrets and its state.
	DenyInputs []string
	// DenyObjects are uris of buckets, below which nothing is read or written for a task.
	DenyObjects []string
}

// Query is what to run.
type Query struct {
	// ID names the query's scratch directory. Only one query of an ID may run at a time.
	ID string
	// Run counts from 1 (0 is 1) how often the query was begun: a dataset of a later run has a name of its own, since an earlier
	// run may still write.
	Run int
	// Statement is the SQL as the task has it.
	Statement string
	// Inputs by name, and the types that the task declares for them where it does.
	Inputs     map[string]*core.Literal
	InputTypes map[string]*core.LiteralType
	// Outputs that the task declares; none means that the result is of no interest.
	Outputs map[string]*core.LiteralType
	// OutputPrefix is the uri under which a dataset result is written.
	OutputPrefix string
}

// Result is what came of a query.
type Result struct {
	// Outputs holds exactly the declared ones; nil where none are.
	Outputs *core.LiteralMap
	// Rows of the result; for a statement without one, the rows it changed.
	Rows int64
	// Bytes written to OutputPrefix.
	Bytes int64
}

// Reporter hears how far a query is. Its methods are called from several goroutines.
type Reporter interface {
	// Stage says what goes on from now on.
	Stage(format string, args ...any)
	// Note says what happened.
	Note(format string, args ...any)
	// Progress says how much of the stage is done; either number may be 0 for unknown.
	Progress(percent float64, rows uint64)
}

// Engine runs queries. It is safe for concurrent use.
type Engine struct {
	limits  Limits
	denied  []storage.Location
	storage *storage.Storage
}

// New returns an engine, whose scratch directory it makes.
func New(limits Limits, store *storage.Storage) (*Engine, error) {
	if limits.Inline <= 0 {
		limits.Inline = 2 << 20
	}
	if limits.Offloaded <= 0 {
		limits.Offloaded = 128 << 20
	}
	if err := os.MkdirAll(limits.Scratch, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the scratch directory: %w", err)
	}
	e := &Engine{limits: limits, storage: store}
	for _, uri := range limits.DenyObjects {
		location, err := storage.Parse(uri)
		if err != nil {
			return nil, err
		}
		e.denied = append(e.denied, location)
	}
	sweepScratch(limits.Scratch)
	return e, nil
}

// Run runs a query to its end. Errors are *fault.Error, or the cause of ctx's cancellation, which stops a running
// statement within a second.
func (e *Engine) Run(ctx context.Context, q Query, report Reporter) (Result, error) {
	if e.limits.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, e.limits.Timeout,
			fault.Final("the query ran longer than %s (the plugin's config key query_timeout)", e.limits.Timeout))
		defer cancel()
	}
	result, err := e.run(ctx, q, report)
	if err != nil && ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	return result, err
}

func (e *Engine) run(ctx context.Context, q Query, report Reporter) (Result, error) {
	script, err := query.Parse(q.Statement)
	if err != nil {
		return Result{}, fault.Final("%w", err)
	}
	want, err := planOutput(q)
	if err == nil && len(q.Outputs) > 0 {
		err = e.permitObject(q.OutputPrefix)
	}
	if err != nil {
		return Result{}, err
	}
	scratch, drop, err := e.makeScratch(q)
	if err != nil {
		return Result{}, err
	}
	defer drop()

	db, err := openDatabase(ctx, e.limits, scratch)
	if err != nil {
		return Result{}, err
	}
	defer db.close()

	loader := loader{engine: e, db: db, query: q, script: script, report: report, scratch: scratch}
	if err := loader.load(ctx); err != nil {
		return Result{}, db.explain(err)
	}
	out := filepath.Join(scratch, "result.parquet")
	if err := db.lock(ctx, append(loader.files, out)); err != nil {
		return Result{}, err
	}

	stop := db.follow(report)
	defer stop()
	last := len(script.Statements) - 1
	for i, statement := range script.Statements[:last] {
		report.Stage("running statement %d of %d", i+1, last+1)
		if _, err := db.execute(ctx, statement); err != nil {
			return Result{}, loader.explain(err)
		}
	}
	report.Stage("running statement %d of %d", last+1, last+1)
	result, err := want.produce(ctx, production{engine: e, db: db, query: q, statement: script.Statements[last], file: out, report: report})
	if err != nil {
		return Result{}, loader.explain(err)
	}
	report.Note("%d rows, %d bytes written", result.Rows, result.Bytes)
	return result, nil
}

// names lists the names of a map for a message.
func names[V any](m map[string]V) string {
	if len(m) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
