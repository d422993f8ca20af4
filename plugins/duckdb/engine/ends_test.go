package engine

import (
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
)

// Whether an error of DuckDB's may be gone when the query is run again, and why: each of its types, and where a type is not
// enough, what it says.
func TestEveryErrorOfDuckDBHasTheRightEnd(t *testing.T) {
	stays := "the query and its inputs stay what they are"
	for _, c := range []struct {
		kind    duckdb.ErrorType
		message string
		passes  bool
		why     string
	}{
		{duckdb.ErrorTypeInvalid, "Invalid Error: no good", false, stays},
		{duckdb.ErrorTypeOutOfRange, "Out of Range Error: overflow in addition", false, stays},
		{duckdb.ErrorTypeConversion, "Conversion Error: could not convert string", false, stays},
		{duckdb.ErrorTypeUnknownType, "Error: no good", false, stays},
		{duckdb.ErrorTypeDecimal, "Decimal Error: no good", false, stays},
		{duckdb.ErrorTypeMismatchType, "Mismatch Type Error: no good", false, stays},
		{duckdb.ErrorTypeDivideByZero, "Divide by Zero Error: no good", false, stays},
		{duckdb.ErrorTypeObjectSize, "Object Size Error: no good", false, stays},
		{duckdb.ErrorTypeInvalidType, "Invalid type Error: no good", false, stays},
		{duckdb.ErrorTypeSerialization, "Serialization Error: no good", false, stays},
		{duckdb.ErrorTypeNotImplemented, "Not implemented Error: no good", false, "DuckDB does not learn it meanwhile"},
		{duckdb.ErrorTypeExpression, "Expression Error: no good", false, stays},
		{duckdb.ErrorTypeCatalog, "Catalog Error: Table with name t does not exist", false, stays},
		{duckdb.ErrorTypeParser, "Parser Error: syntax error", false, stays},
		{duckdb.ErrorTypePlanner, "Planner Error: no good", false, stays},
		{duckdb.ErrorTypeScheduler, "Scheduler Error: no good", false, stays},
		{duckdb.ErrorTypeExecutor, "Executor Error: no good", false, stays},
		{duckdb.ErrorTypeConstraint, "Constraint Error: NOT NULL constraint failed", false, stays},
		{duckdb.ErrorTypeIndex, "Index Error: no good", false, stays},
		{duckdb.ErrorTypeStat, "Stat Error: no good", false, stays},
		{duckdb.ErrorTypeSyntax, "Syntax Error: no good", false, stays},
		{duckdb.ErrorTypeSettings, "Settings Error: no good", false, stays},
		{duckdb.ErrorTypeBinder, "Binder Error: no good", false, stays},
		{duckdb.ErrorTypeOptimizer, "Optimizer Error: no good", false, stays},
		{duckdb.ErrorTypeNullPointer, "NullPointer Error: no good", false, stays},
		{duckdb.ErrorTypeFatal, "FATAL Error: no good", false, "the next database meets the same query"},
		{duckdb.ErrorTypeInternal, "INTERNAL Error: no good", false, "a fault of DuckDB's meets the same query again"},
		{duckdb.ErrorTypeInvalidInput, "Invalid Input Error: no good", false, stays},
		{duckdb.ErrorTypePermission, "Permission Error: no good", false, "nobody grants anything meanwhile"},
		{duckdb.ErrorTypePermission, "Permission Error: file system operations are disabled by configuration", false, "the same"},
		{duckdb.ErrorTypeParameterNotResolved, "Parameter Not Resolved Error: no good", false, stays},
		{duckdb.ErrorTypeParameterNotAllowed, "Parameter Not Allowed Error: no good", false, stays},
		{duckdb.ErrorTypeDependency, "Dependency Error: no good", false, stays},
		{duckdb.ErrorTypeMissingExtension, "Missing Extension Error: no good", false, "nobody installs it meanwhile"},
		{duckdb.ErrorTypeAutoLoad, "Extension Autoloading Error: no good", false, "the same"},
		{duckdb.ErrorTypeSequence, "Sequence Error: no good", false, stays},
		{duckdb.ErrorTypeInvalidConfiguration, "Invalid Configuration Error: no good", false, "the configuration stays what it is"},

		{duckdb.ErrorTypeTransaction, "TransactionContext Error: Conflict on update!", true, "the other writer of an attached database ends"},
		{duckdb.ErrorTypeConnection, "Connection Error: no good", true, "the server comes back"},
		{duckdb.ErrorTypeNetwork, "Network Error: no good", true, "the network gets well"},
		{duckdb.ErrorTypeInterrupt, "INTERRUPT Error: Interrupted!", true, "not Flyte's cancellation, which is its own end"},

		{duckdb.ErrorTypeOutOfMemory, "Out of Memory Error: failed to allocate data of size 16.0 MiB (900 MiB/1 GiB used)", false, "the limit stays what it is"},
		{duckdb.ErrorTypeOutOfMemory, "Out of Memory Error: failed to offload data block (10/10 MiB used) … max_temp_directory_size", false, "the same"},
		{duckdb.ErrorTypeOutOfMemory, "Out of Memory Error: Allocation failure", true, "the machine's others let go of memory"},

		{duckdb.ErrorTypeIO, `IO Error: Cannot open file "/x": No such file or directory`, false, "nobody makes it meanwhile"},
		{duckdb.ErrorTypeIO, `IO Error: Cannot open file "/x": Permission denied`, false, "nobody grants anything meanwhile"},
		{duckdb.ErrorTypeIO, `IO Error: No files found that match the pattern "/x"`, false, "nobody makes them meanwhile"},
		{duckdb.ErrorTypeIO, `IO Error: Cannot open file "/x": Too many open files`, true, "others close theirs"},
		{duckdb.ErrorTypeIO, `IO Error: Could not write file "/x": No space left on device`, true, "somebody makes room"},
		{duckdb.ErrorTypeIO, `IO Error: Could not write file "/x": Disk quota exceeded`, true, "the same"},
		{duckdb.ErrorTypeIO, `IO Error: Could not read from file "/x": Input/output error`, true, "a disk had a bad moment"},
		{duckdb.ErrorTypeIO, `IO Error: Could not read from file "/x": Stale file handle`, true, "the file is opened anew"},
		{duckdb.ErrorTypeIO, `IO Error: Could not set lock on file "/x.db": Conflicting lock is held in PID 7`, true, "the other process ends"},
		{duckdb.ErrorTypeIO, "IO Error: Could not establish connection error for HTTP HEAD to 'http://x'", true, "the server comes back"},

		{duckdb.ErrorTypeHTTP, "HTTP Error: HTTP GET error on 'http://x' (HTTP 404)", false, "there is none"},
		{duckdb.ErrorTypeHTTP, "HTTP Error: Unable to connect to URL http://x: 403 (Forbidden)", false, "nobody grants anything meanwhile"},
		{duckdb.ErrorTypeHTTP, "HTTP Error: HTTP GET error on 'http://x' (HTTP 501)", false, "the server does not learn it meanwhile"},
		{duckdb.ErrorTypeHTTP, "HTTP Error: HTTP GET error on 'http://x' (HTTP 429)", true, "the load ends"},
		{duckdb.ErrorTypeHTTP, "HTTP Error: Unable to connect to URL http://x: 503 (Service Unavailable)", true, "the server gets well"},
		{duckdb.ErrorTypeHTTP, "HTTP Error: no answer", true, "the server comes back"},
	} {
		for _, memory := range []int64{0, 1 << 30} {
			db := &database{limits: Limits{Memory: memory}}
			err := db.explain(&duckdb.Error{Type: c.kind, Msg: c.message})
			if fault.IsRetryable(err) != c.passes || !strings.HasPrefix(err.Error(), c.message) {
				t.Errorf("%v, want passes %v: %s", err, c.passes, c.why)
			}
		}
	}
	db := &database{}
	if err := db.explain(errors.New("unsupported data type: X")); fault.IsRetryable(err) {
		t.Errorf("%v: the driver does not learn it meanwhile", err)
	}
	if err := db.explain(driver.ErrBadConn); !fault.IsRetryable(err) {
		t.Errorf("%v: the next database is another", err)
	}
	if err := db.explain(fault.Retryable("storage is away")); !fault.IsRetryable(err) {
		t.Errorf("%v: what is known already was changed", err)
	}
}
