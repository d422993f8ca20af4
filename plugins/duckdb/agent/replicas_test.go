package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/plugins/duckdb/agent"
	"github.com/agenthost/agenthost/plugins/duckdb/mototest"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/sdk/go/literal"
)

// eachStore runs the test with the stores that replicas can share.
func eachStore(t *testing.T, test func(t *testing.T, config func() map[string]any)) {
	t.Helper()
	t.Run("bucket", func(t *testing.T) {
		moto := mototest.Start(t)
		test(t, func() map[string]any {
			// Each replica has a machine of its own for all else.
			return map[string]any{"state_dir": t.TempDir(), "jobs": "s3://bucket/some/prefix", "storage": moto.Parameters(), "lease": "2s", "max_concurrent": 2}
		})
	})
	t.Run("volume", func(t *testing.T) {
		shared := t.TempDir()
		test(t, func() map[string]any {
			return map[string]any{"state_dir": t.TempDir(), "jobs": "file://" + shared, "lease": "2s", "max_concurrent": 2}
		})
	})
}

// gated is a query that takes for ever until its gate is opened, and a dataset of 7 rows then.
type gated struct {
	t    *testing.T
	file string
}

func newGate(t *testing.T) gated {
	t.Helper()
	g := gated{t, filepath.Join(t.TempDir(), "gate.csv")}
	g.write(1_000_000_000_000)
	return g
}

func (g gated) write(rows int) {
	g.t.Helper()
	if err := os.WriteFile(g.file, fmt.Appendf(nil, "rows\n%d\n", rows), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g gated) open() { g.write(7) }

func (g gated) task(name string) agenttest.Task {
	query := task("select range as n from range((select rows from gate)) where hash(range) % 1000000 < 1000000", sdk.OutputTypes{"out": dataset})
	query.Inputs = map[string]any{"gate": sdk.File{URI: g.file, Format: "csv"}}
	query.ExecutionID = execution(name)
	return query
}

// at is a job as another replica sees it.
func at(client *agenttest.Client, job *agenttest.Job) *agenttest.Job {
	return client.Job(job.Category, job.Meta)
}

func sevenRows(t *testing.T, client *agenttest.Client, result *agenttest.Result) sdk.StructuredDataset {
	t.Helper()
	if result.Phase != sdk.PhaseSucceeded {
		t.Fatalf("%s: %s", result.Phase, result.Message)
	}
	out := agenttest.Output[sdk.StructuredDataset](t, result, "out")
	read := task("select count(*) as n from data", sdk.OutputTypes{"n": literal.Simple(core.SimpleType_INTEGER)})
	read.Inputs = map[string]any{"data": out}
	if n := agenttest.Output[int64](t, client.RunTask(t.Context(), read), "n"); n != 7 {
		t.Errorf("its dataset %s has %d rows, want 7", out.URI, n)
	}
	return out
}

func TestReplicasShareTheirJobs(t *testing.T) {
	program := plugin(t)
	eachStore(t, func(t *testing.T, config func() map[string]any) {
		var replicas []*agenttest.Client
		for range 2 {
			replica := agenttest.Command(t, program)
			configure(t, replica, config())
			replicas = append(replicas, replica)
		}
		one, other := replicas[0], replicas[1]

		// Polls of every job at either, and no one of them fails or goes back.
		var polls, jobs int
		for n := range 6 {
			query := task("select $n as n", sdk.OutputTypes{"n": literal.Simple(core.SimpleType_INTEGER)})
			query.Inputs, query.ExecutionID = map[string]any{"n": n}, execution(fmt.Sprint("f", n))
			job := create(t, replicas[n%2], query)
			if again := create(t, replicas[(n+1)%2], query); string(again.Meta) != string(job.Meta) {
				t.Errorf("the other replica made %s of the same attempt, not %s", again.Meta, job.Meta)
			}
			jobs++
			ended := 0
			for poll := 0; ended < 4; poll++ {
				result, err := at(replicas[poll%2], job).Get(t.Context())
				polls++
				switch {
				case err != nil, result.Phase == sdk.PhaseFailed, result.Phase == sdk.PhaseRetryableFailed:
					t.Fatalf("poll %d of job %d: %+v, %v", poll, n, result, err)
				case result.Phase == sdk.PhaseSucceeded:
					if got := agenttest.Output[int](t, result, "n"); got != n {
						t.Fatalf("job %d gave %d", n, got)
					}
					ended++
				case ended > 0:
					t.Fatalf("after its end job %d was %s", n, result.Phase)
				}
			}
		}
		t.Logf("%d polls of %d jobs over both replicas", polls, jobs)

		// Deleted at the replica that does not run it.
		gate := newGate(t)
		job := create(t, one, gate.task("deleted"))
		until(t, at(other, job), "runs", func(r *agenttest.Result) bool { return r.Phase == sdk.PhaseRunning })
		if err := at(other, job).Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, replica := range replicas {
			if result, err := at(replica, job).Get(t.Context()); err != nil || result.Phase != sdk.PhaseAborted {
				t.Errorf("after its deletion the job is %+v, %v", result, err)
			}
		}
		untilLog(t, at(other, job), "cancelled")
		untilOutput(t, one, "the end of the job was decided elsewhere")

		// Abandoned there, too.
		if err := other.Abandon(t.Context(), gate.task("never")); err != nil {
			t.Fatal(err)
		}
		_, err := one.Create(t.Context(), gate.task("never"))
		wantCode(t, "Create of what was abandoned at the other", err, codes.Aborted)

		// Killed while it runs.
		job = create(t, one, gate.task("killed"))
		until(t, at(other, job), "runs", func(r *agenttest.Result) bool { return r.Phase == sdk.PhaseRunning })
		until(t, job, "runs its statement", running)
		if err := syscall.Kill(one.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		gate.open()
		result, err := at(other, job).Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sevenRows(t, other, result)
		if attempts := result.Resource.GetCustomInfo().AsMap()["attempts"]; attempts != 2.0 {
			t.Errorf("it took %v attempts", attempts)
		}
	})
}

// A replica that is stopped, as a machine that hangs or is cut off, is taken for dead, and does not know it when it goes on.
func TestAStoppedReplicaThatGoesOnOverwritesNothing(t *testing.T) {
	program := plugin(t)
	eachStore(t, func(t *testing.T, config func() map[string]any) {
		one, other := agenttest.Command(t, program), agenttest.Command(t, program)
		configure(t, one, config())
		configure(t, other, config())
		gate := newGate(t)
		query := gate.task("stopped")
		query.OutputPrefix = t.TempDir()
		job := create(t, one, query)
		until(t, job, "runs its statement", running)
		if err := syscall.Kill(one.PID(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		gate.open()
		result, err := at(other, job).Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out := sevenRows(t, other, result)
		if !strings.HasSuffix(out.URI, ".run2") {
			t.Errorf("the second run's dataset is %s, where the first one writes too", out.URI)
		}
		if err := syscall.Kill(one.PID(), syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		// It says what the other says from its first word on, and lets go of the query.
		for range 20 {
			result, err := at(one, job).Get(t.Context())
			if err != nil || result.Phase != sdk.PhaseSucceeded {
				t.Fatalf("the replica that goes on says %+v, %v", result, err)
			}
			if got := agenttest.Output[sdk.StructuredDataset](t, result, "out"); got.URI != out.URI {
				t.Fatalf("it names %s, not %s", got.URI, out.URI)
			}
		}
		// It hears of it while it works, or when it is done, which it was perhaps about to be.
		untilOutput(t, one, "this one has no say in it any more", "the end of the job was decided elsewhere")
		sevenRows(t, one, must(at(one, job).Get(t.Context())))
	})
}

func must(result *agenttest.Result, err error) *agenttest.Result {
	if err != nil {
		panic(err)
	}
	return result
}

func untilOutput(t *testing.T, client *agenttest.Client, wanted ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !slices.ContainsFunc(wanted, func(want string) bool { return strings.Contains(client.Output(), want) }) {
		select {
		case <-ctx.Done():
			t.Fatalf("it never says any of %q", wanted)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func untilLog(t *testing.T, job *agenttest.Job, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		lines, _, err := job.Logs(ctx, sdk.LogQuery{})
		for _, line := range lines {
			if strings.Contains(line.Message, want) {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("its log never says %q: %v, %v", want, lines, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Replicas with a directory each, as with an emptyDir, know only their own jobs. None fails for that; but one whose store nobody has
// ends one day.
func TestAReplicaDoesNotFailTheJobsOfAnotherStore(t *testing.T) {
	one, other := serve(t, nil), serve(t, map[string]any{"store_gone_after": "2s"})
	gate := newGate(t)
	job := create(t, one, gate.task("f1"))
	first := time.Now()
	result, err := at(other, job).Get(t.Context())
	if err != nil || result.Phase != sdk.PhaseRunning || !strings.Contains(result.Message, "another store") {
		t.Fatalf("the other replica says %+v, %v", result, err)
	}
	wantCode(t, "Delete", at(other, job).Delete(t.Context()), codes.Unavailable)
	if _, _, err := at(other, job).Logs(t.Context(), sdk.LogQuery{}); err == nil {
		t.Error("it has the log of a job that it cannot know")
	}
	gate.open()
	if result, err := job.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded {
		t.Fatalf("%+v, %v", result, err)
	}
	gone := until(t, at(other, job), "was given up", func(r *agenttest.Result) bool { return r.Phase != sdk.PhaseRunning })
	if gone.Phase != sdk.PhaseRetryableFailed || !strings.Contains(gone.Message, "store_gone_after") {
		t.Errorf("it ends as %s: %s", gone.Phase, gone.Message)
	}
	if took := time.Since(first); took < 2*time.Second {
		t.Errorf("it was given up after %s", took)
	}
	if err := at(other, job).Delete(t.Context()); err != nil {
		t.Errorf("then nobody can delete it: %v", err)
	}
	// A job of a store that this plugin has is its to know.
	mine := strings.Replace(string(create(t, other, task("select 1", nil)).Meta), `"job":"`, `"job":"not`, 1)
	_, err = other.Job(job.Category, []byte(mine)).Get(t.Context())
	wantCode(t, "Get of a job that is not in the plugin's own store", err, codes.NotFound)
}

// Jobs that are under way when the operator names another store are gone on with.
func TestJobsGoOnWhenTheyAreToBeKeptElsewhere(t *testing.T) {
	moto := mototest.Start(t)
	program := plugin(t)
	dir := t.TempDir()
	before := agenttest.Command(t, program)
	configure(t, before, map[string]any{"state_dir": dir})
	done := create(t, before, task("select 1", nil))
	if result, err := done.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded {
		t.Fatalf("%+v, %v", result, err)
	}
	gate := newGate(t)
	job := create(t, before, gate.task("f1"))
	until(t, job, "runs its statement", running)
	after := agenttest.Command(t, program)
	configure(t, after, map[string]any{"state_dir": dir, "jobs": "s3://bucket/jobs", "storage": moto.Parameters()})
	gate.open()
	if err := before.Stop(); err != nil {
		t.Fatal(err)
	}
	if again := create(t, after, gate.task("f1")); string(again.Meta) != string(job.Meta) {
		t.Errorf("the attempt got another job: %s, not %s", again.Meta, job.Meta)
	}
	result, err := at(after, job).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sevenRows(t, after, result)
	for _, meta := range []string{string(done.Meta), strings.Split(string(done.Meta), `,"store"`)[0] + "}"} { // the latter as an older version wrote it
		if result, err := after.Job(done.Category, []byte(meta)).Get(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded {
			t.Errorf("%s is %+v, %v", meta, result, err)
		}
	}
	if next := create(t, after, gate.task("f2")); string(next.Meta)[40:] == string(job.Meta)[40:] {
		t.Errorf("a new job is in the store before: %s", next.Meta)
	}
}

// Tasks name what they read and write; where the plugin keeps jobs is not among it.
func TestTheStoreOfJobsIsNotForTasks(t *testing.T) {
	moto := mototest.Start(t)
	client := serve(t, map[string]any{"jobs": "s3://bucket/some/jobs", "storage": moto.Parameters()})
	job := create(t, client, task("select 1", nil))
	if result, err := job.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded {
		t.Fatalf("%+v, %v", result, err)
	}
	for _, uri := range []string{"s3://bucket/some/jobs/jobs", "s3://bucket/some", "s3a://bucket", "s3://bucket/some/jobs/store"} {
		query := task("from data", nil)
		query.Inputs = map[string]any{"data": sdk.File{URI: uri, Format: "json"}}
		if result := client.RunTask(t.Context(), query); result.Phase != sdk.PhaseFailed || !strings.Contains(result.Message, "not for tasks") {
			t.Errorf("reading %s: %s: %s", uri, result.Phase, result.Message)
		}
		query = task("select 1 as n", sdk.OutputTypes{"out": dataset})
		query.OutputPrefix = uri
		if result := client.RunTask(t.Context(), query); result.Phase != sdk.PhaseFailed || !strings.Contains(result.Message, "not for tasks") {
			t.Errorf("writing to %s: %s: %s", uri, result.Phase, result.Message)
		}
	}
}

func TestAStoreThatCannotBeUsedIsRefusedByItsKey(t *testing.T) {
	moto := mototest.Start(t)
	refused := func(block map[string]any) string {
		t.Helper()
		block["state_dir"] = t.TempDir()
		wrong := agenttest.Run(t, agent.Options()...).Configure(block)
		if len(wrong) != 1 || wrong[0].Key != "jobs" {
			t.Fatalf("%v gave %v", block["jobs"], wrong)
		}
		return wrong[0].Message
	}
	for uri, want := range map[string]string{
		"relative":                  "absolute path",
		"ftp://host/x":              "ftp://",
		"s3://":                     "no bucket",
		"s3://absent/jobs":          "no such bucket",
		"s3://bucket/a b":           "prefix",
		"s3://bucket/../x":          "prefix",
		"/proc/version/not/a/place": "/proc/version",
	} {
		if got := refused(map[string]any{"jobs": uri, "storage": moto.Parameters()}); !strings.Contains(got, want) {
			t.Errorf("%s: %s", uri, got)
		}
	}
	moto.Stop()
	block, err := json.Marshal(map[string]any{"jobs": "s3://bucket/jobs", "storage": moto.Parameters(), "state_dir": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = pluginv1.NewPluginServiceClient(agenttest.Run(t, agent.Options()...).Conn()).Configure(t.Context(), &pluginv1.ConfigureRequest{Config: string(block)})
	wantCode(t, "a store that is away", err, codes.Unavailable)
	if err == nil || !strings.Contains(err.Error(), "cannot keep jobs in s3://bucket/jobs") {
		t.Errorf("a store that is away: %v", err)
	}
}
