package agent_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/plugins/duckdb/agent"
	"github.com/agenthost/agenthost/plugins/duckdb/mototest"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if programs != "" {
			_ = os.RemoveAll(programs)
		}
		os.Exit(code)
	}))
}

// programs is where the plugin is built, once for all tests.
var (
	programs string
	built    = sync.OnceValues(func() (string, error) {
		var err error
		if programs, err = os.MkdirTemp("", "duckdb-plugin-*"); err != nil {
			return "", err
		}
		program := filepath.Join(programs, "duckdb")
		said, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("the plugin cannot be built: %w\n%s", err, said)
		}
		return program, nil
	})
)

// plugin is the built program.
func plugin(t *testing.T) string {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

var dataset = &core.LiteralType{Type: &core.LiteralType_StructuredDatasetType{StructuredDatasetType: &core.StructuredDatasetType{}}}

// forever is a query that nobody waits for.
const forever = "select count(*) as n from range(10000000) a, range(10000000) b where hash(a.range, b.range) % 7 = 3"

// serve serves the agent in process, with a state directory of its own unless config names one.
func serve(t *testing.T, config map[string]any) *agenttest.Client {
	t.Helper()
	// Made first, the directory is removed last, when nothing works in it any more.
	block := map[string]any{"state_dir": t.TempDir()}
	maps.Copy(block, config)
	client := agenttest.Run(t, agent.Options()...)
	configure(t, client, block)
	return client
}

func configure(t *testing.T, client *agenttest.Client, config map[string]any) {
	t.Helper()
	if wrong := client.Configure(config); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}

func task(sql string, outputs sdk.OutputTypes) agenttest.Task {
	return agenttest.Task{Type: agent.TaskType, SQL: sql, OutputTypes: outputs}
}

func create(t *testing.T, client *agenttest.Client, task agenttest.Task) *agenttest.Job {
	t.Helper()
	job, err := client.Create(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func execution(name string) *core.TaskExecutionIdentifier {
	return &core.TaskExecutionIdentifier{
		TaskId: &core.Identifier{Name: "t"},
		NodeExecutionId: &core.NodeExecutionIdentifier{
			NodeId: "n", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: name},
		},
	}
}

// until polls the job until it is as wanted.
func until(t *testing.T, job *agenttest.Job, what string, wanted func(*agenttest.Result) bool) *agenttest.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		result, err := job.Get(ctx)
		if err == nil && wanted(result) {
			return result
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the job never %s: %+v, %v", what, result, err)
		}
	}
}

func running(r *agenttest.Result) bool {
	return r.Phase == sdk.PhaseRunning && strings.HasPrefix(r.Message, "running statement")
}

func TestATaskGivesADatasetWithItsStatistics(t *testing.T) {
	client := serve(t, nil)
	prefix := t.TempDir()
	csv := filepath.Join(t.TempDir(), "in.csv")
	if err := os.WriteFile(csv, []byte("k,v\na,1\nb,2\na,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	query := task("select k, sum(v) as total from points where v >= $least group by k order by k", sdk.OutputTypes{"results": dataset})
	query.OutputPrefix = prefix
	query.Inputs = map[string]any{"points": sdk.File{URI: csv, Format: "csv"}, "least": 1, "unused": []string{"x"}}
	result := client.RunTask(t.Context(), query)
	if result.Phase != sdk.PhaseSucceeded {
		t.Fatalf("%s: %s", result.Phase, result.Message)
	}
	got := agenttest.Output[sdk.StructuredDataset](t, result, "results")
	if got.URI != prefix+"/results" || got.Format != "parquet" || len(got.Columns) != 2 || got.Columns[0].Name != "k" {
		t.Errorf("got %+v", got)
	}
	info := result.Resource.GetCustomInfo().AsMap()
	if info["rows"] != 2.0 || info["bytes_written"].(float64) < 100 || info["attempts"] != 1.0 || info["job"] == "" {
		t.Errorf("its statistics are %v", info)
	}

	query = task("select string_agg(k || total::int::varchar, ',' order by k) as out from data", sdk.OutputTypes{"out": literal.Simple(core.SimpleType_STRING)})
	query.Inputs = map[string]any{"data": got}
	if out := agenttest.Output[string](t, client.RunTask(t.Context(), query), "out"); out != "a4,b2" {
		t.Errorf("read back %q", out)
	}
}

func TestRunningJobsTellTheirProgressAndDeleteInterruptsThem(t *testing.T) {
	client := serve(t, map[string]any{"max_concurrent": 1})
	job := create(t, client, task(forever, nil))
	until(t, job, "ran", running)
	waiting := create(t, client, task("select 1", nil))
	until(t, waiting, "was queued", func(r *agenttest.Result) bool {
		return r.Phase == sdk.PhaseQueued && strings.Contains(r.Message, "waiting for one of 1")
	})
	for range 2 {
		if err := job.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if result, err := job.Get(t.Context()); err != nil || result.Phase != sdk.PhaseAborted {
		t.Errorf("a deleted job is %+v, %v", result, err)
	}
	// The slot is free only once the query has stopped.
	until(t, waiting, "got its turn", func(r *agenttest.Result) bool { return r.Phase == sdk.PhaseSucceeded })
}

func TestTheSameAttemptIsOneJob(t *testing.T) {
	client := serve(t, nil)
	query := task("select 1", nil)
	query.ExecutionID = execution("e")
	first, second := create(t, client, query), create(t, client, query)
	if string(first.Meta) != string(second.Meta) {
		t.Errorf("two jobs: %s and %s", first.Meta, second.Meta)
	}
	query.ExecutionID.RetryAttempt = 1
	if third := create(t, client, query); string(third.Meta) == string(first.Meta) {
		t.Error("another attempt is the same job")
	}
	if promises := client.Describe().GetCapabilities(); !slices.Equal(promises, []string{"idempotent_create", "find_by_key"}) {
		t.Errorf("it promises %v", promises)
	}
}

// Flyte gives the tasks of a subworkflow that is used twice equal ids.
func TestTheTasksOfASubworkflowThatIsUsedTwiceAreTwoJobs(t *testing.T) {
	client := serve(t, map[string]any{"max_concurrent": 4})
	bucket := t.TempDir()
	used := func(sql, prefix string, n int) agenttest.Task {
		query := task(sql, sdk.OutputTypes{"n": literal.Simple(core.SimpleType_INTEGER)})
		query.ExecutionID, query.OutputPrefix, query.Inputs = execution("f1"), filepath.Join(bucket, prefix), map[string]any{"n": n}
		return query
	}
	for n, prefix := range []string{"f1-n0-0-n0-0", "f1-n1-0-n0-0", "f1-n0-1-n0-0"} { // the last: the first use, repeated
		query := used("select $n as n", prefix, n)
		job, again := create(t, client, query), create(t, client, query)
		if string(job.Meta) != string(again.Meta) {
			t.Errorf("%s is two jobs: %s and %s", prefix, job.Meta, again.Meta)
		}
		result, err := job.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := agenttest.Output[int](t, result, "n"); got != n {
			t.Errorf("%s answers %d, want %d", prefix, got, n)
		}
	}

	first, second := create(t, client, used(forever, "f2-n0-0-n0-0", 0)), create(t, client, used(forever, "f2-n1-0-n0-0", 0))
	until(t, second, "ran", running)
	if err := first.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, first, "ended", func(r *agenttest.Result) bool { return r.Phase == sdk.PhaseAborted })
	if result, err := second.Get(t.Context()); err != nil || !running(result) {
		t.Errorf("the deletion of one made the other %+v, %v", result, err)
	}
	if err := second.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The former key named both of the two attempts; the job on disk has the output prefix of one.
func TestAJobOfBeforeIsFoundByItsFormerKeyForItsOwnAttemptOnly(t *testing.T) {
	client := serve(t, nil)
	query := task("select 1", nil)
	query.ExecutionID, query.OutputPrefix = execution("f1"), filepath.Join(t.TempDir(), "f1-n0-0-n0-0")
	before := query
	before.IdempotencyKey = (&sdk.Task{ExecutionID: query.ExecutionID}).FormerIdempotencyKey() // as an older host says
	former := create(t, client, before)
	if again := create(t, client, query); string(again.Meta) != string(former.Meta) {
		t.Errorf("the attempt whose job is %s got %s", former.Meta, again.Meta)
	}
	query.OutputPrefix = filepath.Join(t.TempDir(), "f1-n1-0-n0-0")
	if other := create(t, client, query); string(other.Meta) == string(former.Meta) {
		t.Errorf("another attempt got the job %s", other.Meta)
	}
}

func TestWhatTheAuthorGotWrongIsAFailureAndNoErrorOfCreate(t *testing.T) {
	client := serve(t, map[string]any{"query_timeout": "20s"})
	noPrefix := task("select 1", sdk.OutputTypes{"r": dataset})
	noPrefix.OutputPrefix = "relative"
	missing := task("from data", nil)
	missing.Inputs = map[string]any{"data": sdk.File{URI: "/nowhere/x.csv", Format: "csv"}}
	notSQL := task("", nil)
	notSQL.Change = func(request *admin.CreateTaskRequest) {
		request.GetTemplate().Target = &core.TaskTemplate_Container{Container: &core.Container{Image: "x"}}
	}
	noInterface := task("select $x", nil)
	noInterface.Change = func(request *admin.CreateTaskRequest) { request.GetTemplate().Interface = nil }
	for want, query := range map[string]agenttest.Task{
		"no statement":        task(" ; ", nil),
		"needs sql.statement": task("", nil),
		"sql.statement":       notSQL,
		"Parser Error":        task("selec 1", nil),
		"relative":            noPrefix,
		`input "data"`:        missing,
		"$x":                  noInterface,
		"several rows":        task("from range(2)", sdk.OutputTypes{"r": literal.Simple(core.SimpleType_INTEGER)}),
	} {
		result := client.RunTask(t.Context(), query)
		if result.Phase != sdk.PhaseFailed || !strings.Contains(result.Message, want) {
			t.Errorf("want a failure with %q, got %s: %s", want, result.Phase, result.Message)
		}
		if code := result.Resource.GetAgentError().GetCode(); code != "QueryFailed" {
			t.Errorf("its code is %q", code)
		}
	}
}

func TestAnUnknownJobIsNotFoundAndCanBeDeleted(t *testing.T) {
	client := serve(t, nil)
	for _, meta := range []string{`{"job":"0123456789abcdef"}`, `{"job":""}`, `{}`, `{"job":"../../../etc"}`} {
		job := client.Job(sdk.Category{Name: agent.TaskType}, []byte(meta))
		result, err := job.Get(t.Context())
		if status.Code(err) != codes.NotFound {
			t.Errorf("%s: got %+v, %v", meta, result, err)
		}
		if err := job.Delete(t.Context()); err != nil {
			t.Errorf("%s: %v", meta, err)
		}
	}
}

func TestAJobsLogTellsItsLife(t *testing.T) {
	client := serve(t, nil)
	job := create(t, client, task("create table t as select 1 as a; from t", sdk.OutputTypes{"r": dataset}))
	if result, err := job.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded {
		t.Fatalf("%+v, %v", result, err)
	}
	lines, next, err := job.Logs(t.Context(), sdk.LogQuery{})
	if err != nil || next != fmt.Sprint(len(lines)) {
		t.Fatalf("next %q of %d lines, %v", next, len(lines), err)
	}
	var texts []string
	for _, line := range lines {
		texts = append(texts, line.Message)
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{"queued", "running statement 1 of 2", "running statement 2 of 2", "writing 1 rows", "succeeded"} {
		if !strings.Contains(all, want) {
			t.Errorf("the log lacks %q:\n%s", want, all)
		}
	}
	page, next, err := job.Logs(t.Context(), sdk.LogQuery{Lines: 2, Token: "1"})
	if err != nil || len(page) != 2 || page[0].Message != texts[1] || next != "3" {
		t.Errorf("a page holds %v, next %q, %v", page, next, err)
	}
}

func TestBadConfigurationIsRefusedByKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]any{
		"memory_limit": "1B", "state_dir": "relative", "max_concurrent": 0, "query_timeout": "-1s", "threads": -1, "nonsense": 1,
	} {
		wrong := agenttest.Run(t, agent.Options()...).Configure(map[string]any{key: value})
		if len(wrong) != 1 || wrong[0].Key != key {
			t.Errorf("%s: %v gave %v", key, value, wrong)
		}
	}
	for key, block := range map[string]map[string]any{
		"state_dir":     {"state_dir": file},
		"scratch_dir":   {"state_dir": t.TempDir(), "scratch_dir": file},
		"storage":       {"state_dir": t.TempDir(), "storage": map[string]any{"ftp": map[string]string{}}},
		"allow_paths.0": {"allow_paths": []string{"x"}},
	} {
		wrong := agenttest.Run(t, agent.Options()...).Configure(block)
		if len(wrong) != 1 || wrong[0].Key != key {
			t.Errorf("%s: %v", key, wrong)
		}
	}
}

func TestRemoteInputsAreQueriedAndRemoteResultsWritten(t *testing.T) {
	moto := mototest.Start(t)
	client := serve(t, map[string]any{"storage": moto.Parameters(), "local_inputs": false})
	moto.Put(t, "in/people.csv", []byte("name,age\nAda,36\nGrace,85\n"))
	moto.Put(t, "in/parts/year=2020/a.json", []byte(`[{"n": 1}]`))
	moto.Put(t, "in/parts/year=2021/b.json", []byte(`[{"n": 2}]`))
	query := task("select name, age, (select sum(n * year) from parts)::bigint as sum from people order by age", sdk.OutputTypes{"results": dataset})
	query.OutputPrefix = "s3://bucket/metadata/run/0"
	query.Inputs = map[string]any{
		"people": sdk.File{URI: "s3://bucket/in/people.csv", Format: "csv"},
		"parts":  sdk.StructuredDataset{URI: "s3://bucket/in/parts", Format: "json"},
	}
	result := client.RunTask(t.Context(), query)
	if result.Phase != sdk.PhaseSucceeded {
		t.Fatalf("%s: %s", result.Phase, result.Message)
	}
	got := agenttest.Output[sdk.StructuredDataset](t, result, "results")
	if got.URI != "s3://bucket/metadata/run/0/results" {
		t.Errorf("got %+v", got)
	}
	if content := moto.Get(t, "metadata/run/0/results/00000"); !strings.HasPrefix(string(content), "PAR1") {
		t.Errorf("what was written begins with %q", content[:4])
	}

	query = task("select string_agg(name || sum, ' ') as out from again", sdk.OutputTypes{"out": literal.Simple(core.SimpleType_STRING)})
	query.Inputs = map[string]any{"again": got}
	if out := agenttest.Output[string](t, client.RunTask(t.Context(), query), "out"); out != "Ada6062 Grace6062" {
		t.Errorf("read back %q", out)
	}

	query.Inputs = map[string]any{"again": sdk.StructuredDataset{URI: "s3://bucket/absent"}}
	if result := client.RunTask(t.Context(), query); result.Phase != sdk.PhaseFailed || !strings.Contains(result.Message, "s3://bucket/absent") {
		t.Errorf("an absent input: %s: %s", result.Phase, result.Message)
	}
	moto.Stop()
	if result := client.RunTask(t.Context(), query); result.Phase != sdk.PhaseRetryableFailed {
		t.Errorf("an absent server: %s: %s", result.Phase, result.Message)
	}
}

// The built program, killed as the kernel kills what needs too much memory.
func TestAKilledPluginLosesNoJob(t *testing.T) {
	program := plugin(t)
	config := map[string]any{"state_dir": t.TempDir(), "max_concurrent": 1}
	before := agenttest.Command(t, program)
	configure(t, before, config)

	gate := filepath.Join(t.TempDir(), "gate.csv")
	if err := os.WriteFile(gate, []byte("rows\n1000000000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Far too much while the file says so, and done at once when it says something else.
	long := task("select count(*) as n from range((select rows from gate)) where hash(range) % 7 = 3", sdk.OutputTypes{"n": literal.Simple(core.SimpleType_INTEGER)})
	long.Inputs = map[string]any{"gate": sdk.File{URI: gate, Format: "csv"}}
	first := create(t, before, long)
	until(t, first, "ran", running)
	second := create(t, before, task("select 42 as n", long.OutputTypes))

	if err := syscall.Kill(before.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(gate, []byte("rows\n0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	after := agenttest.Command(t, program)
	configure(t, after, config)
	for job, want := range map[*agenttest.Job]int64{first: 0, second: 42} {
		result, err := after.Job(job.Category, job.Meta).Wait(t.Context())
		if err != nil || result.Phase != sdk.PhaseSucceeded {
			t.Fatalf("after the restart: %+v, %v", result, err)
		}
		if got := agenttest.Output[int64](t, result, "n"); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	if result, _ := after.Job(first.Category, first.Meta).Get(t.Context()); result.Resource.GetCustomInfo().AsMap()["attempts"] != 2.0 {
		t.Errorf("got %v", result.Resource.GetCustomInfo())
	}

	// A plugin that is replaced in good order hands a running job over to its successor.
	if err := os.WriteFile(gate, []byte("rows\n1000000000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long.ExecutionID = execution("another")
	third := create(t, after, long)
	until(t, third, "ran", running)
	successor := agenttest.Command(t, program)
	configure(t, successor, config)
	seen := successor.Job(third.Category, third.Meta)
	until(t, seen, "was seen by the successor", running)
	if err := os.WriteFile(gate, []byte("rows\n0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := after.Stop(); err != nil {
		t.Fatal(err)
	}
	if result, err := seen.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded {
		t.Errorf("after the hand-over: %+v, %v", result, err)
	}
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s gave %s, want %s: %v", what, got, want, err)
	}
}

func TestPluginsThatShareAStateDirFindAndAbandonEachOthersJobs(t *testing.T) {
	dir := t.TempDir()
	one, other := serve(t, map[string]any{"state_dir": dir}), serve(t, map[string]any{"state_dir": dir})
	query := task(forever, nil)
	query.ExecutionID = execution("f1")
	for range 2 {
		_, err := other.Find(t.Context(), query)
		wantCode(t, "Find before Create", err, codes.NotFound)
	}
	job := create(t, one, query)
	for range 2 {
		if found, err := other.Find(t.Context(), query); err != nil || string(found.Meta) != string(job.Meta) {
			t.Errorf("Find gave %v, %v, want %s", found, err, job.Meta)
		}
	}
	until(t, job, "runs", running)
	for range 2 {
		if err := other.Abandon(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	until(t, job, "is aborted", func(r *agenttest.Result) bool { return r.Phase == sdk.PhaseAborted })
	never := query
	never.ExecutionID = execution("f2")
	if err := one.Abandon(t.Context(), never); err != nil {
		t.Fatal(err)
	}
	for _, query := range []agenttest.Task{query, never} {
		for _, client := range []*agenttest.Client{one, other} {
			_, err := client.Create(t.Context(), query)
			wantCode(t, "Create", err, codes.Aborted)
			_, err = client.Find(t.Context(), query)
			wantCode(t, "Find", err, codes.Aborted)
		}
	}
}

// DeleteTask is about a job, not its attempt: what finds the job says what CreateTask says.
func TestAJobThatWasDeletedIsFoundForAsLongAsCreateReturnsIt(t *testing.T) {
	client := serve(t, nil)
	query := task(forever, nil)
	query.ExecutionID = execution("f1")
	job := create(t, client, query)
	if err := job.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := create(t, client, query)
	found, err := client.Find(t.Context(), query)
	if err != nil || string(found.Meta) != string(again.Meta) || string(again.Meta) != string(job.Meta) {
		t.Errorf("Find gave %v, %v, Create %s, want both %s", found, err, again.Meta, job.Meta)
	}
	until(t, found, "is aborted", func(r *agenttest.Result) bool { return r.Phase == sdk.PhaseAborted })
}

func TestAJobOfBeforeIsAbandonedForItsOwnAttemptOnly(t *testing.T) {
	client := serve(t, nil)
	query := task("select 1", nil)
	query.ExecutionID, query.OutputPrefix = execution("f1"), filepath.Join(t.TempDir(), "f1-n0-0-n0-0")
	before := query
	before.IdempotencyKey = (&sdk.Task{ExecutionID: query.ExecutionID}).FormerIdempotencyKey()
	former := create(t, client, before)
	other := query
	other.OutputPrefix = filepath.Join(t.TempDir(), "f1-n1-0-n0-0")
	if err := client.Abandon(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if found, err := client.Find(t.Context(), query); err != nil || string(found.Meta) != string(former.Meta) {
		t.Errorf("after another attempt was abandoned Find gave %v, %v, want %s", found, err, former.Meta)
	}
	if err := client.Abandon(t.Context(), query); err != nil {
		t.Fatal(err)
	}
	_, err := client.Create(t.Context(), query)
	wantCode(t, "Create", err, codes.Aborted)
	_, err = client.Find(t.Context(), query)
	wantCode(t, "Find", err, codes.Aborted)
}
