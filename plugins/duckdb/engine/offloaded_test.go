package engine_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/mototest"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

// offload puts a literal where FlytePropeller would, and returns what it would hand on.
func (b *bench) offload(name string, whole *core.Literal) *core.Literal {
	b.t.Helper()
	data := packed(b.t, whole)
	return offloaded(b.file(name, string(data)), len(data), whole.GetHash())
}

func packed(t *testing.T, literal *core.Literal) []byte {
	t.Helper()
	data, err := proto.Marshal(literal)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func offloaded(uri string, size int, hash string) *core.Literal {
	return &core.Literal{Hash: hash, Value: &core.Literal_OffloadedMetadata{OffloadedMetadata: &core.LiteralOffloadedMetadata{
		Uri: uri, SizeBytes: uint64(size), InferredType: str,
	}}}
}

func TestValuesThatFlyteHasPutIntoStorageAreRead(t *testing.T) {
	b := newBench(t)
	csv := []*core.Literal{ofFile(b.file("a.csv", "n\n1\n"), "csv"), ofFile(b.file("b.csv", "n\n2\n"), "csv")}
	hashed := ofList(ofInt(9007199254740993))
	hashed.Hash = "of the author's"
	for name, c := range map[string]struct {
		input    *core.Literal
		declared *core.LiteralType
		sql      string
		want     string
	}{
		"text":                    {b.offload("text.pb", ofString(strings.Repeat("ü", 1<<20))), str, "length($x)", "1048576"},
		"list":                    {b.offload("list.pb", ofList(ofInt(1), ofInt(2))), listOf(whole), "list_sum($x)", "3"},
		"with a hash":             {b.offload("hash.pb", hashed), listOf(whole), "$x[1]", "9007199254740993"},
		"dict":                    {b.offload("dict.pb", ofMap(literals{"a": ofFloat(0.1)})), mapOf(real), "$x['a']", "0.1"},
		"optional":                {b.offload("union.pb", ofUnion(ofInt(4), whole)), unionOf(whole, nothing), "$x + 1", "5"},
		"within a union":          {ofUnion(b.offload("within.pb", ofInt(4)), whole), unionOf(whole, nothing), "$x + 1", "5"},
		"elements of a list":      {ofList(b.offload("one.pb", ofString("a")), ofString("b")), listOf(str), "array_to_string($x, '')", "ab"},
		"entries of a dict":       {ofMap(literals{"k": b.offload("entry.pb", ofInt(7))}), mapOf(whole), "$x['k']", "7"},
		"one within another":      {b.offload("outer.pb", ofList(b.offload("inner.pb", ofInt(8)))), listOf(whole), "$x[1]", "8"},
		"files of a map task":     {b.offload("files.pb", ofList(csv...)), listOf(&core.LiteralType{Type: &core.LiteralType_Blob{}}), "SELECT sum(n) FROM x", "3"},
		"a size that is not told": {offloaded(b.file("sizeless.pb", string(packed(t, ofInt(3)))), 0, ""), whole, "$x", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := b.run(engine.Query{
				Statement: "SELECT (" + c.sql + ")::VARCHAR", Inputs: literals{"x": c.input}, InputTypes: types{"x": c.declared}, Outputs: types{"out": str},
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := result.Outputs.GetLiterals()["out"].GetScalar().GetPrimitive().GetStringValue(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestRemoteValuesAreReadWithTheParametersOfStorage(t *testing.T) {
	moto := mototest.Start(t)
	data := packed(t, ofInt(42))
	moto.Put(t, "metadata/o0.pb", data)
	store, err := storage.New(moto.Parameters())
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Limits{Scratch: filepath.Join(t.TempDir(), "scratch"), Memory: 1 << 30}, store)
	if err != nil {
		t.Fatal(err)
	}
	run := func(uri string) (engine.Result, error) {
		return e.Run(t.Context(), engine.Query{ID: "q", Statement: "SELECT $x", Inputs: literals{"x": offloaded(uri, len(data), "")}, Outputs: types{"out": whole}}, &recorder{})
	}
	result, err := run("s3://bucket/metadata/o0.pb")
	if got := result.Outputs.GetLiterals()["out"].GetScalar().GetPrimitive().GetInteger(); err != nil || got != 42 {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := run("s3://bucket/metadata/absent.pb"); err == nil || fault.IsRetryable(err) || !strings.Contains(err.Error(), `input "x": cannot read s3://bucket/metadata/absent.pb`) {
		t.Errorf("got %v", err)
	}
	moto.Stop()
	if _, err := run("s3://bucket/metadata/o0.pb"); err == nil || !fault.IsRetryable(err) || !strings.Contains(err.Error(), `input "x": `) {
		t.Errorf("storage that is away: %v", err)
	}
}

func TestValuesInStorageThatAreNotWhatFlyteWroteAreRefusedByName(t *testing.T) {
	const limit = 1000
	b := newBench(t, func(l *engine.Limits) { l.Offloaded = limit })
	large := strings.Repeat("x", limit)
	fits := ofString(large[:limit/2])
	grown := ofString("grown")
	grown.Hash = "new"
	for want, input := range map[string]*core.Literal{
		"no such file or directory":                offloaded(filepath.Join(b.dir, "absent.pb"), 10, ""),
		"wrote a value of 11 bytes there":          offloaded(b.file("short.pb", "0123456789"), 11, ""),
		"it is no literal":                         offloaded(b.file("garbage.pb", "0123456789"), 10, ""),
		"a literal without a value":                offloaded(b.file("empty.pb", ""), 0, ""),
		"with the hash new, and Flyte wrote":       offloaded(b.file("grown.pb", string(packed(t, grown))), 0, "old"),
		"may have 1000 bytes together":             b.offload("large.pb", ofString(large)),
		"1000 bytes together (the plugin's config": offloaded(b.file("liar.pb", string(packed(t, ofString(large)))), 0, ""),
		"the plugin's config key offloaded_limit":  ofList(b.offload("first.pb", fits), b.offload("second.pb", fits)),
		"may not be an input: /proc":               offloaded("/proc/self/environ", 0, ""),
		"is not a regular file":                    offloaded(b.dir, 0, ""),
		"is no storage this plugin reads":          offloaded("http://host/o.pb", 0, ""),
	} {
		b.fails(engine.Query{Statement: "SELECT $x", Inputs: literals{"x": input}, Outputs: types{"out": str}}, `input "x": `, want)
	}
	// One that names itself ends long before a limit by which its reader's stack would end the process.
	b = newBench(t)
	self := filepath.Join(b.dir, "self.pb")
	b.file("self.pb", string(packed(t, offloaded(self, 0, ""))))
	b.fails(engine.Query{Statement: "SELECT $x", Inputs: literals{"x": offloaded(self, 0, "")}, Outputs: types{"out": str}}, `input "x": `, "self.pb", "name itself")
	locked := newBench(t, func(l *engine.Limits) { l.LocalInputs = false })
	locked.fails(engine.Query{Statement: "SELECT $x", Inputs: literals{"x": locked.offload("x.pb", ofInt(1))}, Outputs: types{"out": whole}}, "local_inputs")
}

func TestValuesInStorageThatTheSQLDoesNotUseAreLeftAlone(t *testing.T) {
	b := newBench(t)
	absent := offloaded(filepath.Join(b.dir, "absent.pb"), 10, "")
	for _, declared := range []*core.LiteralType{str, listOf(whole), nil} {
		inputs := literals{"x": absent}
		if _, err := b.run(engine.Query{Statement: "SELECT 1", Inputs: inputs, InputTypes: types{"x": declared}}); err != nil {
			t.Errorf("%v: %v", declared, err)
		}
	}
	// A column that is called as the input, which can be no table.
	if _, err := b.run(engine.Query{Statement: "SELECT x FROM (SELECT 1 AS x)", Inputs: literals{"x": absent}, InputTypes: types{"x": str}}); err != nil {
		t.Error(fmt.Errorf("a value that no parameter asks for: %w", err))
	}
}
