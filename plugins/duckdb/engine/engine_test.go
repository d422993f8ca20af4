package engine_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench runs queries with one engine.
type bench struct {
	t      *testing.T
	engine *engine.Engine
	report *recorder
	// dir is a directory for inputs, prefix the output prefix.
	dir, prefix string
}

func newBench(t *testing.T, change ...func(*engine.Limits)) *bench {
	t.Helper()
	limits := engine.Limits{Scratch: filepath.Join(t.TempDir(), "scratch"), Memory: 1 << 30, LocalInputs: true}
	for _, c := range change {
		c(&limits)
	}
	store, err := storage.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(limits, store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := os.ReadDir(limits.Scratch)
		if err != nil || len(left) > 0 {
			t.Errorf("the scratch directory holds %v, error %v", left, err)
		}
	})
	return &bench{t: t, engine: e, report: &recorder{}, dir: t.TempDir(), prefix: t.TempDir()}
}

func (b *bench) run(q engine.Query) (engine.Result, error) {
	b.t.Helper()
	q.ID = "q"
	if q.OutputPrefix == "" {
		q.OutputPrefix = b.prefix
	}
	return b.engine.Run(b.t.Context(), q, b.report)
}

// value runs a query with one output of the type and returns it.
func (b *bench) value(sql string, declared *core.LiteralType, inputs map[string]*core.Literal) *core.Literal {
	b.t.Helper()
	result, err := b.run(engine.Query{Statement: sql, Inputs: inputs, Outputs: types{"out": declared}})
	if err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return result.Outputs.GetLiterals()["out"]
}

// text runs a query and returns its one value as text.
func (b *bench) text(sql string, inputs map[string]*core.Literal) string {
	b.t.Helper()
	return b.value(sql, str, inputs).GetScalar().GetPrimitive().GetStringValue()
}

// file writes an input file and returns its path.
func (b *bench) file(name, content string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *bench) fails(q engine.Query, want ...string) {
	b.t.Helper()
	result, err := b.run(q)
	var failure *fault.Error
	if !errors.As(err, &failure) {
		b.t.Fatalf("%s: got %+v, %v, want a failure", q.Statement, result, err)
	}
	if failure.Retryable {
		b.t.Errorf("%s: may be tried again: %v", q.Statement, err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			b.t.Errorf("%s: the error lacks %q: %v", q.Statement, w, err)
		}
	}
}

type recorder struct {
	mu      sync.Mutex
	lines   []string
	percent float64
	rows    uint64
}

func (r *recorder) Stage(format string, args ...any) { r.Note(format, args...) }

func (r *recorder) Note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) Progress(percent float64, rows uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.percent, r.rows = max(r.percent, percent), max(r.rows, rows)
}

type types = map[string]*core.LiteralType

type literals = map[string]*core.Literal

func simple(t core.SimpleType) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_Simple{Simple: t}}
}

func listOf(t *core.LiteralType) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_CollectionType{CollectionType: t}}
}

func mapOf(t *core.LiteralType) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_MapValueType{MapValueType: t}}
}

func unionOf(variants ...*core.LiteralType) *core.LiteralType {
	return &core.LiteralType{Type: &core.LiteralType_UnionType{UnionType: &core.UnionType{Variants: variants}}}
}

var (
	whole    = simple(core.SimpleType_INTEGER)
	real     = simple(core.SimpleType_FLOAT)
	str      = simple(core.SimpleType_STRING)
	truth    = simple(core.SimpleType_BOOLEAN)
	instant  = simple(core.SimpleType_DATETIME)
	duration = simple(core.SimpleType_DURATION)
	raw      = simple(core.SimpleType_BINARY)
	object   = simple(core.SimpleType_STRUCT)
	nothing  = simple(core.SimpleType_NONE)
	dataset  = &core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{StructuredDatasetType: &core.StructuredDatasetType{}}}
)

func scalar(s *core.Scalar) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: s}}
}

func primitive(p *core.Primitive) *core.Literal {
	return scalar(&core.Scalar{Value: &core.Scalar_Primitive{Primitive: p}})
}

func ofInt(v int64) *core.Literal {
	return primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: v}})
}

func ofFloat(v float64) *core.Literal {
	return primitive(&core.Primitive{Value: &core.Primitive_FloatValue{FloatValue: v}})
}

func ofString(v string) *core.Literal {
	return primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: v}})
}

func ofBool(v bool) *core.Literal {
	return primitive(&core.Primitive{Value: &core.Primitive_Boolean{Boolean: v}})
}

func ofTime(v time.Time) *core.Literal {
	return primitive(&core.Primitive{Value: &core.Primitive_Datetime{Datetime: timestamppb.New(v)}})
}

func ofDuration(v time.Duration) *core.Literal {
	return primitive(&core.Primitive{Value: &core.Primitive_Duration{Duration: durationpb.New(v)}})
}

func ofBytes(tag string, v []byte) *core.Literal {
	return scalar(&core.Scalar{Value: &core.Scalar_Binary{Binary: &core.Binary{Tag: tag, Value: v}}})
}

func ofStruct(t *testing.T, v map[string]any) *core.Literal {
	t.Helper()
	generic, err := structpb.NewStruct(v)
	if err != nil {
		t.Fatal(err)
	}
	return scalar(&core.Scalar{Value: &core.Scalar_Generic{Generic: generic}})
}

func ofNone() *core.Literal {
	return scalar(&core.Scalar{Value: &core.Scalar_NoneType{NoneType: &core.Void{}}})
}

func ofUnion(v *core.Literal, variant *core.LiteralType) *core.Literal {
	return scalar(&core.Scalar{Value: &core.Scalar_Union{Union: &core.Union{Value: v, Type: variant}}})
}

func ofList(v ...*core.Literal) *core.Literal {
	return &core.Literal{Value: &core.Literal_Collection{Collection: &core.LiteralCollection{Literals: v}}}
}

func ofMap(v literals) *core.Literal {
	return &core.Literal{Value: &core.Literal_Map{Map: &core.LiteralMap{Literals: v}}}
}

func ofFile(uri, format string) *core.Literal {
	return scalar(&core.Scalar{Value: &core.Scalar_Blob{Blob: &core.Blob{Uri: uri, Metadata: &core.BlobMetadata{Type: &core.BlobType{Format: format}}}}})
}

func ofDataset(uri, format string) *core.Literal {
	return scalar(&core.Scalar{Value: &core.Scalar_StructuredDataset{StructuredDataset: &core.StructuredDataset{
		Uri: uri, Metadata: &core.StructuredDatasetMetadata{StructuredDatasetType: &core.StructuredDatasetType{Format: format}},
	}}})
}
