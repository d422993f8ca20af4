package agent_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/plugins/bigquery/agent"
	"github.com/agenthost/agenthost/plugins/bigquery/bqtest"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

func TestTheSameAttemptTwiceIsOneJob(t *testing.T) {
	client, proxy := serve(t, nil)
	query := task("select 1 as n", nil)
	query.IdempotencyKey = strings.Repeat("0f", 32)
	first, second := create(t, client, query), create(t, client, query)
	if string(first.Meta) != string(second.Meta) || metaOf(t, first)["job_id"] != "agenthost-"+query.IdempotencyKey {
		t.Errorf("metadata = %s and %s", first.Meta, second.Meta)
	}
	if result := get(t, second); result.Phase != sdk.PhaseSucceeded {
		t.Errorf("%s: %s", result.Phase, result.Message)
	}
	calls := proxy.Calls(bqtest.Insert)
	if len(calls) != 2 || calls[0].Job != calls[1].Job {
		t.Errorf("BigQuery was asked for %d jobs: %v", len(calls), calls)
	}
	query.IdempotencyKey = strings.Repeat("1f", 32)
	if other := create(t, client, query); string(other.Meta) == string(first.Meta) {
		t.Error("another attempt got the same job")
	}
}

// Flyte gives the tasks of a subworkflow that is used twice equal ids: they differ in output prefix and inputs only.
func TestTheTasksOfASubworkflowThatIsUsedTwiceAreTwoJobs(t *testing.T) {
	client, proxy := serve(t, nil)
	var jobs []*agenttest.Job
	for n, prefix := range []string{"s3://b/f1-n0-0-n0-0", "s3://b/f1-n1-0-n0-0", "s3://b/f1-n0-1-n0-0"} { // the last: the first use, repeated
		query := task("select @n as n", nil)
		query.OutputPrefix, query.Inputs = prefix, map[string]any{"n": n}
		query.InputTypes = sdk.OutputTypes{"n": {Type: &core.LiteralType_Simple{Simple: core.SimpleType_INTEGER}}}
		query.ExecutionID = &core.TaskExecutionIdentifier{NodeExecutionId: &core.NodeExecutionIdentifier{
			NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: "f1"},
		}}
		job, again := create(t, client, query), create(t, client, query)
		if string(job.Meta) != string(again.Meta) {
			t.Errorf("%s is two jobs: %s and %s", prefix, job.Meta, again.Meta)
		}
		if result := get(t, job); result.Phase != sdk.PhaseSucceeded {
			t.Errorf("%s is %s: %s", prefix, result.Phase, result.Message)
		}
		jobs = append(jobs, job)
	}
	asked := map[string]string{} // the parameter that a job was made with
	for _, call := range proxy.Calls(bqtest.Insert) {
		if _, known := asked[call.Job]; !known { // later ones are refused
			asked[call.Job] = fmt.Sprint(call.Configuration("query", "queryParameters"))
		}
	}
	for n, job := range jobs {
		if got := asked[fmt.Sprint(metaOf(t, job)["job_id"])]; !strings.Contains(got, fmt.Sprintf("value:%d", n)) {
			t.Errorf("the job of input %d has the parameters %s", n, got)
		}
	}
	proxy.Change(func(job map[string]any) { job["status"] = map[string]any{"state": "RUNNING"} })
	if err := jobs[0].Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if calls := proxy.Calls(bqtest.Cancel); len(calls) != 1 || calls[0].Job != metaOf(t, jobs[0])["job_id"] {
		t.Errorf("cancelled: %v", calls)
	}
}

func TestAJobWhoseAnswerWasLostIsFoundAgain(t *testing.T) {
	client, proxy := serve(t, nil)
	proxy.Lose()
	job := create(t, client, task("select 1 as n", nil))
	if n := len(proxy.Calls(bqtest.Insert)); n != 2 {
		t.Errorf("%d calls", n)
	}
	if result := get(t, job); result.Phase != sdk.PhaseSucceeded {
		t.Errorf("%s: %s", result.Phase, result.Message)
	}
}

func TestEveryStateOfBigQueryHasAPhase(t *testing.T) {
	failure := func(reason string) map[string]any {
		e := map[string]any{"reason": reason, "message": "no luck", "location": "here"}
		return map[string]any{"state": "DONE", "errorResult": e, "errors": []any{e}}
	}
	for name, c := range map[string]struct {
		status  map[string]any
		stats   map[string]any
		phase   sdk.Phase
		message string
	}{
		"pending":       {map[string]any{"state": "PENDING"}, nil, sdk.PhaseQueued, "PENDING"},
		"quota":         {map[string]any{"state": "PENDING"}, map[string]any{"quotaDeferments": []any{"slots"}}, sdk.PhaseWaitingForResources, "waits for quota: slots"},
		"running":       {map[string]any{"state": "RUNNING"}, nil, sdk.PhaseRunning, "RUNNING"},
		"a warning":     {map[string]any{"state": "RUNNING", "errors": []any{map[string]any{"reason": "invalid"}}}, nil, sdk.PhaseRunning, "RUNNING"},
		"unknown":       {map[string]any{"state": "HIBERNATING"}, nil, sdk.PhaseRunning, "HIBERNATING"},
		"done":          {map[string]any{"state": "DONE"}, nil, sdk.PhaseSucceeded, "DONE"},
		"warnings":      {map[string]any{"state": "DONE", "errors": []any{map[string]any{"reason": "invalid"}}}, nil, sdk.PhaseSucceeded, "DONE"},
		"invalidQuery":  {failure("invalidQuery"), nil, sdk.PhaseFailed, "invalidQuery: no luck (at here)"},
		"accessDenied":  {failure("accessDenied"), nil, sdk.PhaseFailed, "accessDenied: no luck"},
		"timeout":       {failure("timeout"), nil, sdk.PhaseFailed, "timeout: no luck"},
		"resources":     {failure("resourcesExceeded"), nil, sdk.PhaseFailed, "resourcesExceeded: no luck"},
		"backendError":  {failure("backendError"), nil, sdk.PhaseRetryableFailed, "backendError: no luck"},
		"internalError": {failure("internalError"), nil, sdk.PhaseRetryableFailed, "internalError: no luck"},
		"rateLimit":     {failure("rateLimitExceeded"), nil, sdk.PhaseRetryableFailed, "rateLimitExceeded: no luck"},
		"jobRateLimit":  {failure("jobRateLimitExceeded"), nil, sdk.PhaseRetryableFailed, "jobRateLimitExceeded: no luck"},
		"quotaExceeded": {failure("quotaExceeded"), nil, sdk.PhaseRetryableFailed, "quotaExceeded: no luck"},
		"stopped":       {failure("stopped"), nil, sdk.PhaseAborted, "cancelled: stopped: no luck"},
	} {
		t.Run(name, func(t *testing.T) {
			client, proxy := serve(t, nil)
			job := create(t, client, task("select 1 as n", nil))
			proxy.Change(func(job map[string]any) {
				job["status"] = c.status
				for key, value := range c.stats {
					job["statistics"].(map[string]any)[key] = value
				}
			})
			result := get(t, job)
			if result.Phase != c.phase || !strings.Contains(result.Message, c.message) {
				t.Errorf("%s %q, want %s %q", result.Phase, result.Message, c.phase, c.message)
			}
		})
	}
}

func TestAFailedQuerySaysWhatBigQuerySays(t *testing.T) {
	client, _ := serve(t, nil)
	result := get(t, create(t, client, task("select no_such_column", nil)))
	if result.Phase != sdk.PhaseFailed || !strings.Contains(result.Message, "no_such_column") || !strings.Contains(result.Message, "invalidQuery") {
		t.Errorf("%s: %s", result.Phase, result.Message)
	}
	if e := result.Resource.GetAgentError(); e.GetCode() != "invalidQuery" {
		t.Errorf("agent error = %v", e)
	}
}

func TestProgressStatisticsLogsAndMetricsComeFromThePlan(t *testing.T) {
	client, proxy := serve(t, map[string]any{"price_per_tib": 6.25})
	job := create(t, client, task("select 1 as n", nil))
	state := "RUNNING"
	proxy.Change(func(job map[string]any) {
		job["status"] = map[string]any{"state": state}
		statistics := job["statistics"].(map[string]any)
		statistics["creationTime"], statistics["startTime"], statistics["totalSlotMs"] = "1000000", "1002000", "240000"
		statistics["query"] = map[string]any{
			"statementType": "SELECT", "totalBytesProcessed": "1288490188", "totalBytesBilled": "1099511627776",
			"queryPlan": []any{
				map[string]any{"name": "S00: Input", "status": "COMPLETE", "startMs": "1002100", "endMs": "1003000", "recordsRead": "100", "recordsWritten": "7", "slotMs": "1500"},
				map[string]any{"name": "S01: Output", "status": "RUNNING", "startMs": "1003000"},
			},
			"timeline": []any{
				map[string]any{"elapsedMs": "1000", "totalSlotMs": "2000", "completedUnits": "10", "activeUnits": "10", "pendingUnits": "100"},
				map[string]any{"elapsedMs": "2000", "totalSlotMs": "6000", "completedUnits": "41", "activeUnits": "20", "pendingUnits": "59"},
			},
		}
	})
	result := get(t, job)
	if want := "RUNNING, 1 of 2 stages, 41 of 120 units, 1.2 GiB processed, slot time 4m0s, "; !strings.HasPrefix(result.Message, want) {
		t.Errorf("message = %q, want %q", result.Message, want)
	}
	state = "DONE"
	if got := info(get(t, job)); got["cost_estimate"] != 6.25 || got["bytes_billed"] != float64(1<<40) || got["slot_ms"] != 240000.0 || got["queued_ms"] != 2000.0 {
		t.Errorf("custom info = %v", got)
	}
	lines, token, err := job.Logs(t.Context(), sdk.LogQuery{Lines: 3})
	if err != nil || len(lines) != 3 || lines[2].Message != "stage S00: Input runs" {
		t.Errorf("log = %v, %v", lines, err)
	}
	rest, _, err := job.Logs(t.Context(), sdk.LogQuery{Token: token})
	if err != nil || len(rest) < 2 || !strings.Contains(rest[0].Message, "S00: Input is COMPLETE: 100 rows read, 7 written, slot time 1.5s") {
		t.Errorf("the rest of the log = %v, %v", rest, err)
	}
	measured, err := job.Metrics(t.Context(), sdk.MetricsQuery{Queries: []string{"bigquery_slots"}})
	if err != nil || len(measured) != 1 || !strings.Contains(fmt.Sprint(measured[0].GetData().AsMap()), "[[1003 2] [1004 4]]") {
		t.Errorf("metrics = %v, %v", measured, err)
	}
}

func TestPassingFailuresOfCallsAreTriedAgain(t *testing.T) {
	for name, spoil := range map[string]func(*bqtest.Proxy, string){
		"HTTP 503":   func(p *bqtest.Proxy, kind string) { p.Fail(kind, 2, 503, "backendError", "try later") },
		"rate limit": func(p *bqtest.Proxy, kind string) { p.Fail(kind, 2, 403, "rateLimitExceeded", "slow down") },
		"a cut line": func(p *bqtest.Proxy, kind string) { p.Cut(kind, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			client, proxy := serve(t, nil)
			spoil(proxy, bqtest.Insert)
			job := create(t, client, task("select 1 as n", nil))
			spoil(proxy, bqtest.Get)
			if result := get(t, job); result.Phase != sdk.PhaseSucceeded {
				t.Errorf("%s: %s", result.Phase, result.Message)
			}
			// The library repeats a POST by itself where a kept connection was cut before it was used.
			if n := len(proxy.Calls(bqtest.Insert)); n < 3 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

func TestLastingFailuresOfCallsAreToldWithTheirCode(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		reason string
		code   codes.Code
		calls  int
	}{
		"denied":  {403, "accessDenied", codes.PermissionDenied, 1},
		"quota":   {403, "quotaExceeded", codes.Unavailable, 1},
		"backend": {503, "backendError", codes.Unavailable, 5},
	} {
		t.Run(name, func(t *testing.T) {
			client, proxy := serve(t, nil)
			proxy.Fail(bqtest.Insert, 100, c.status, c.reason, "told so")
			_, err := client.Create(t.Context(), task("select 1", nil))
			if status.Code(err) != c.code || !strings.Contains(err.Error(), "told so ("+c.reason) {
				t.Errorf("error = %v, want %s", err, c.code)
			}
			if n := len(proxy.Calls(bqtest.Insert)); n != c.calls {
				t.Errorf("%d calls, want %d", n, c.calls)
			}
		})
	}
}

// wantRefused wants a task to have FAILED, and no job to be made of it. An error of Create would be repeated by Flyte for each
// retry.
func wantRefused(t *testing.T, client *agenttest.Client, task agenttest.Task, want string) {
	t.Helper()
	job := create(t, client, task)
	if result := get(t, job); result.Phase != sdk.PhaseFailed || !strings.Contains(result.Message, want) {
		t.Errorf("%s: %s, want %q", result.Phase, result.Message, want)
	}
	if err := job.Delete(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestATaskThatBigQueryRefusesForGoodFails(t *testing.T) {
	client, proxy := serve(t, nil)
	proxy.Fail(bqtest.Insert, 100, 400, "invalidQuery", strings.Repeat("ü", 5000))
	wantRefused(t, client, task("selec 1", nil), "üü")
	if n := len(proxy.Calls(bqtest.Insert)); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestRetryAfterIsHeeded(t *testing.T) {
	client, proxy := serve(t, nil)
	proxy.Fail(bqtest.Insert, 1, 429, "rateLimitExceeded", "slow down", "Retry-After", "1")
	create(t, client, task("select 1 as n", nil))
	if n := len(proxy.Calls(bqtest.Insert)); n != 2 {
		t.Errorf("%d calls", n)
	}
	// One that is longer than the caller waits is not waited for.
	proxy.Fail(bqtest.Insert, 1, 503, "backendError", "away", "Retry-After", "86400")
	_, err := client.Create(boundedContext(t), task("select 1 as n", nil))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "away") {
		t.Errorf("error = %v", err)
	}
}

func TestDeleteCancelsWhatRunsAndLeavesAloneWhatEnded(t *testing.T) {
	client, proxy := serve(t, nil)
	job := create(t, client, task("select 1 as n", nil))
	if err := job.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(proxy.Calls(bqtest.Cancel)); n != 0 {
		t.Errorf("an ended job was cancelled %d times", n)
	}
	proxy.Change(func(job map[string]any) { job["status"] = map[string]any{"state": "RUNNING"} })
	for range 2 {
		if err := job.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}
	proxy.Change(func(job map[string]any) { job["status"] = map[string]any{"state": "HIBERNATING"} })
	if err := job.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	calls := proxy.Calls(bqtest.Cancel)
	if len(calls) != 3 || calls[0].Job != metaOf(t, job)["job_id"] || calls[0].Query.Get("location") != "EU" {
		t.Errorf("cancelled: %v", calls)
	}
	unknown := client.Job(sdk.Category{Name: agent.TaskType}, []byte(`{"job_id": "never-made", "project": "warehouse", "location": null}`))
	if err := unknown.Delete(t.Context()); err != nil {
		t.Errorf("an unknown job: %v", err)
	}
	if _, err := unknown.Get(t.Context()); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown job: %v", err)
	}
}

func TestSettingsThatTheAPILacksAreNamedAndTheOthersKept(t *testing.T) {
	client, proxy := serve(t, nil)
	result := get(t, create(t, client, task("select 1 as n", map[string]any{
		"fancyMode": true, "maximumBytesBilled": 1000, "jobTimeoutMs": "5000", "labels": map[string]any{"team": "a"},
		"timePartitioning": map[string]any{"type": "DAY", "colour": "red"},
	})))
	if !strings.Contains(result.Message, "ignored: fancymode, timepartitioning_colour") {
		t.Errorf("message = %q", result.Message)
	}
	call := proxy.Calls(bqtest.Insert)[0]
	for _, c := range []struct {
		want any
		path []string
	}{
		{"1000", []string{"query", "maximumBytesBilled"}},
		{"DAY", []string{"query", "timePartitioning", "type"}},
		{nil, []string{"query", "timePartitioning", "colour"}},
		{nil, []string{"query", "fancyMode"}},
		{"5000", []string{"jobTimeoutMs"}},
		{"a", []string{"labels", "team"}},
		{"test", []string{"labels", "flyte_project"}},
		{false, []string{"query", "useLegacySql"}},
	} {
		if got := call.Configuration(c.path...); got != c.want {
			t.Errorf("%v = %v, want %v", c.path, got, c.want)
		}
	}
	for want, custom := range map[string]map[string]any{
		"destinationTable":                 {"destinationTable": 3},
		"maximumBytesBilled is 1152921504": {"maximumBytesBilled": 1 << 60},
		"rangePartitioning.range.end is 9": {"rangePartitioning": map[string]any{"range": map[string]any{"end": 1 << 53}}},
	} {
		wantRefused(t, client, task("select 1", custom), want)
	}
}

func TestSettingsReachBigQueryAsTheyCame(t *testing.T) {
	client, proxy := serve(t, nil)
	empty := map[string]any{"name": "z", "parameterType": map[string]any{"type": "STRING"}, "parameterValue": map[string]any{"value": ""}}
	settings := map[string]any{
		// The client knows nothing of these.
		"scriptOptions":                map[string]any{"keyResultStatement": "LAST", "statementTimeoutMs": "1000"},
		"userDefinedFunctionResources": []any{map[string]any{"inlineCode": "x"}},
		"preserveNulls":                true,
		"writeIncrementalResults":      true,
		"useQueryCache":                true,
		// These say as much as nothing, but explicitly.
		"allowLargeResults":  false,
		"createSession":      false,
		"maximumBytesBilled": "0",
		"queryParameters":    []any{empty},
		"parameterMode":      "NAMED",
		"tableDefinitions": map[string]any{"t": map[string]any{
			"sourceFormat": "CSV", "autodetect": false, "csvOptions": map[string]any{"quote": "", "allowQuotedNewlines": false},
		}},
	}
	custom := maps.Clone(settings)
	custom["jobTimeoutMs"], custom["dryRun"] = "0", false
	create(t, client, task("select 1 as n", custom))
	call := proxy.Calls(bqtest.Insert)[0]
	settings["query"], settings["useLegacySql"] = "select 1 as n", false
	if diff := cmp.Diff(settings, call.Configuration("query")); diff != "" {
		t.Error(diff)
	}
	if timeout, dry := call.Configuration("jobTimeoutMs"), call.Configuration("dryRun"); timeout != "0" || dry != false {
		t.Errorf("jobTimeoutMs = %v, dryRun = %v", timeout, dry)
	}
}

// BigQuery gives a query's parameters back, and others write them otherwise than Google's client for Go does.
func TestParametersThatTheClientCannotReadDoNotHideTheResult(t *testing.T) {
	client, proxy := serve(t, nil)
	job := create(t, client, task("select 1 as n", nil))
	proxy.Change(func(job map[string]any) {
		job["configuration"].(map[string]any)["query"].(map[string]any)["queryParameters"] = []any{map[string]any{
			"name": "t", "parameterType": map[string]any{"type": "DATETIME"}, "parameterValue": map[string]any{"value": "2024-02-29T12:30:15"},
		}}
	})
	if result := get(t, job); result.Phase != sdk.PhaseSucceeded || len(result.Outputs) != 1 {
		t.Errorf("%s with %v: %s", result.Phase, result.Outputs, result.Message)
	}
}

func TestADryRunSaysWhatTheQueryWouldRead(t *testing.T) {
	client, proxy := serve(t, nil)
	dry := task("select 1 as n", map[string]any{"dryRun": true})
	wantRefused(t, client, dry, "dryRun, which gives no result")
	dry.OutputTypes = nil
	job := create(t, client, dry)
	looks := len(proxy.Calls(bqtest.Get)) // whether the attempt was abandoned
	if result := get(t, job); result.Phase != sdk.PhaseSucceeded || !strings.Contains(result.Message, "would process 0 B") {
		t.Errorf("%s: %s", result.Phase, result.Message)
	}
	if err := job.Delete(t.Context()); err != nil || len(proxy.Calls(bqtest.Insert)) != 1 || len(proxy.Calls(bqtest.Get)) != looks {
		t.Errorf("%v, calls: %v", err, proxy.Calls(bqtest.Get))
	}
}

func TestATaskThatDeclaresAnOutputFailsWhereThereIsNone(t *testing.T) {
	client, proxy := serve(t, nil)
	withOutput := create(t, client, task("select 1 as n", nil))
	without := task("select 1 as n", nil)
	without.OutputTypes = nil
	withoutOutput := create(t, client, without)
	proxy.Change(func(job map[string]any) {
		delete(job["configuration"].(map[string]any)["query"].(map[string]any), "destinationTable")
		job["statistics"].(map[string]any)["query"].(map[string]any)["statementType"] = "SCRIPT"
	})
	if result := get(t, withOutput); result.Phase != sdk.PhaseFailed || !strings.Contains(result.Message, "a script has no result table") {
		t.Errorf("%s: %s", result.Phase, result.Message)
	}
	if result := get(t, withoutOutput); result.Phase != sdk.PhaseSucceeded || len(result.Outputs) != 0 {
		t.Errorf("%s: %s", result.Phase, result.Message)
	}
}

func TestBytesAreAParameter(t *testing.T) {
	client, proxy := serve(t, nil)
	query := task("select @raw as raw", nil)
	query.InputTypes = sdk.OutputTypes{"raw": {Type: &core.LiteralType_Simple{Simple: core.SimpleType_BINARY}}}
	query.Inputs = map[string]any{"raw": []byte{0, 255}}
	create(t, client, query)
	if got := fmt.Sprint(proxy.Calls(bqtest.Insert)[0].Configuration("query", "queryParameters")); !strings.Contains(got, "type:BYTES") || !strings.Contains(got, "value:AP8=") {
		t.Errorf("parameters = %s", got)
	}
}

func TestWrongConfigurationIsNamed(t *testing.T) {
	for block, want := range map[string]string{
		`{"anonymous": true}`:                                        "anonymous: needs endpoint",
		`{"endpoint": "ftp://x"}`:                                    "endpoint: \"ftp://x\" is no http or https URL",
		`{"credentials": [{"project": "a"}]}`:                        "credentials[0].name: is required",
		`{"credentials": [{"secret": "a"}, {"secret": "a"}]}`:        `credentials[1].name: "a" is the name of credentials[0] already`,
		`{"credentials": [{"secret": "a", "delegates": ["x@y.z"]}]}`: "credentials[0].delegates: need impersonate",
		`{"retry": {"first_pause": "0s"}}`:                           "retry.first_pause: must be more than 0s",
		`{"default_projekt": "x"}`:                                   `default_projekt: unknown key: did you mean "default_project"?`,
	} {
		client := agenttest.Run(t, agent.Options()...)
		if wrong := fmt.Sprint(client.Configure(block)); !strings.Contains(wrong, want) {
			t.Errorf("%s: %s, want %q", block, wrong, want)
		}
	}
}

// The real program, replaced by another process while the job is in flight.
func TestTheProgramRunsFlytekitsTasksAndItsSuccessorKnowsTheJob(t *testing.T) {
	proxy := bqtest.NewProxy(t, emulator)
	program := agenttest.Build(t, "..")
	before := agenttest.Command(t, program)
	configure(t, before, proxy, nil)
	job := create(t, before, flytekitTask(t, "scalars"))
	if err := before.Stop(); err != nil {
		t.Fatal(err)
	}
	after := agenttest.Command(t, program)
	configure(t, after, proxy, nil)
	result, err := after.Job(job.Category, job.Meta).Wait(boundedContext(t))
	if err != nil || result.Phase != sdk.PhaseSucceeded || len(result.Outputs) != 1 {
		t.Errorf("%+v, %v", result, err)
	}
	if described := after.Describe(); described.GetName() != "bigquery" || !strings.Contains(described.GetConfigSchema(), "price_per_tib") {
		t.Errorf("describes itself as %v", described)
	}
}

// The real program: credentials from the plugin's secrets, by domain, sign the calls and show nowhere else.
func TestTheProgramSignsWithTheSecretOfTheDomainAndKeepsItSecret(t *testing.T) {
	tokens := newTokenServer(t)
	common, production := serviceAccount(t, tokens.URL, "common"), serviceAccount(t, tokens.URL, "production")
	t.Setenv("_FSEC_GOOGLE_CREDENTIALS", common.json)
	t.Setenv("_FSEC_PRODUCTION_KEY", production.json)
	proxy := bqtest.NewProxy(t, emulator)
	client := agenttest.Command(t, agenttest.Build(t, ".."))
	configure(t, client, proxy, map[string]any{
		"anonymous": false, "credentials": []any{map[string]any{"domain": "production", "secret": "production_key"}},
	})
	shown := ""
	for domain, account := range map[string]string{"development": "common", "production": "production"} {
		query := task("select 1 as n", nil)
		query.ExecutionID = &core.TaskExecutionIdentifier{
			TaskId: &core.Identifier{Name: "t"},
			NodeExecutionId: &core.NodeExecutionIdentifier{
				NodeId: "n", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "p", Domain: domain, Name: "e"},
			},
		}
		before := len(proxy.Calls(bqtest.Get))
		job := create(t, client, query)
		result := get(t, job)
		if result.Phase != sdk.PhaseSucceeded {
			t.Fatalf("%s: %s", result.Phase, result.Message)
		}
		for _, call := range proxy.Calls(bqtest.Get)[before:] {
			if got := call.Header.Get("Authorization"); got != "Bearer token-of-"+account {
				t.Errorf("%s: signed with %q", domain, got)
			}
		}
		shown += string(job.Meta) + result.Resource.String()
	}
	proxy.Fail(bqtest.Insert, 1, 403, "accessDenied", "not you")
	_, err := client.Create(t.Context(), task("select 1 as n", nil))
	shown += fmt.Sprint(err) + client.Output()
	for _, secret := range []string{"token-of-", common.key, production.key, "PRIVATE KEY"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%.20s… shows in: %s", secret, shown)
		}
	}
	if n := tokens.asked(); n != 2 {
		t.Errorf("%d tokens were asked for: each credential needs one", n)
	}
}

// Or the plugin could not declare that it rereads them.
func TestASecretWhoseFileIsReplacedSignsTheNextCall(t *testing.T) {
	tokens, folder := newTokenServer(t), t.TempDir()
	t.Setenv("FLYTE_SECRETS_DEFAULT_DIR", folder)
	proxy := bqtest.NewProxy(t, emulator)
	client := agenttest.Run(t, agent.Options()...)
	configure(t, client, proxy, map[string]any{"anonymous": false})
	if promised := client.Describe().GetCapabilities(); !slices.Contains(promised, "rereads_secrets") {
		t.Errorf("its capabilities are %v", promised)
	}
	for _, account := range []string{"former", "next"} {
		fresh, file := filepath.Join(folder, ".new"), filepath.Join(folder, "google_credentials")
		if err := errors.Join(os.WriteFile(fresh, []byte(serviceAccount(t, tokens.URL, account).json), 0o600), os.Rename(fresh, file)); err != nil {
			t.Fatal(err)
		}
		before := len(proxy.Calls(bqtest.Get))
		if result := get(t, create(t, client, task("select 1 as n", nil))); result.Phase != sdk.PhaseSucceeded {
			t.Fatalf("%s: %s", result.Phase, result.Message)
		}
		for _, call := range proxy.Calls(bqtest.Get)[before:] {
			if got := call.Header.Get("Authorization"); got != "Bearer token-of-"+account {
				t.Errorf("with the credentials of %s in the file: signed with %q", account, got)
			}
		}
	}
}

func TestApplicationDefaultCredentialsSignWhereThereIsNoSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, []byte(serviceAccount(t, newTokenServer(t).URL, "default").json), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	client, proxy := serve(t, map[string]any{"anonymous": false})
	create(t, client, task("select 1 as n", nil))
	if got := proxy.Calls(bqtest.Insert)[0].Header.Get("Authorization"); got != "Bearer token-of-default" {
		t.Errorf("signed with %q", got)
	}
}

func TestAConnectionOfFlyte2BringsItsOwnCredentials(t *testing.T) {
	tokens := newTokenServer(t)
	t.Setenv("_FSEC_GOOGLE_CREDENTIALS", serviceAccount(t, tokens.URL, "plugin").json)
	client, proxy := serve(t, map[string]any{"anonymous": false})
	query := task("select 1 as n", nil)
	query.Connection = &agenttest.Connection{Secrets: map[string]string{"google_credentials": serviceAccount(t, tokens.URL, "connection").json}}
	get(t, create(t, client, query))
	for _, kind := range []string{bqtest.Insert, bqtest.Get} {
		if got := proxy.Calls(kind)[0].Header.Get("Authorization"); got != "Bearer token-of-connection" {
			t.Errorf("%s: signed with %q", kind, got)
		}
	}
}

func TestCallsShareAConnection(t *testing.T) {
	client, proxy := serve(t, nil)
	job := create(t, client, task("select 1 as n", nil))
	for range 10 {
		get(t, job)
	}
	if n := proxy.Connections(); n != 1 {
		t.Errorf("%d connections for calls one after another", n)
	}
}

func TestACredentialThatIsConfiguredNoMoreIsNamed(t *testing.T) {
	client, _ := serve(t, nil)
	meta := fmt.Sprintf(`{"job_id": "agenthost-%s-old_key", "project": "warehouse", "location": "EU"}`, strings.Repeat("0", 64))
	_, err := client.Job(sdk.Category{Name: agent.TaskType}, []byte(meta)).Get(t.Context())
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), `"old_key"`) {
		t.Errorf("error = %v", err)
	}
}

func TestASecretThatIsNoKeyIsNotQuoted(t *testing.T) {
	t.Setenv("_FSEC_GOOGLE_CREDENTIALS", "hunter2 {")
	client, _ := serve(t, map[string]any{"anonymous": false})
	_, err := client.Create(t.Context(), task("select 1", nil))
	if status.Code(err) != codes.FailedPrecondition || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error = %v", err)
	}
}

type account struct{ json, key string }

// serviceAccount is a service account's key file, as Google makes them.
func serviceAccount(t *testing.T, tokenURL, name string) account {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	file, err := json.Marshal(map[string]any{
		"type": "service_account", "project_id": "warehouse", "private_key_id": "1", "private_key": text,
		"client_email": name + "@warehouse.iam.gserviceaccount.com", "client_id": "1", "token_uri": tokenURL + "/" + name,
	})
	if err != nil {
		t.Fatal(err)
	}
	return account{string(file), strings.Split(text, "\n")[1]}
}

// tokenServer gives tokens as Google's does, one for each account.
type tokenServer struct {
	*httptest.Server
	mu    sync.Mutex
	count int
}

func newTokenServer(t *testing.T) *tokenServer {
	s := &tokenServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.count++
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": "token-of-%s", "token_type": "Bearer", "expires_in": 3600}`, r.URL.Path[1:])
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *tokenServer) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}
