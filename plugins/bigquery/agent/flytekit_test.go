package agent_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/agenthost/agenthost/plugins/bigquery/agent"
	"github.com/agenthost/agenthost/plugins/bigquery/bqtest"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

func TestAFlytekitTaskRunsWithItsInputsAsParameters(t *testing.T) {
	client, proxy := serve(t, nil)
	job := create(t, client, flytekitTask(t, "scalars"))
	result := get(t, job)
	if result.Phase != sdk.PhaseSucceeded {
		t.Fatalf("%s: %s", result.Phase, result.Message)
	}
	id := metaOf(t, job)["job_id"].(string)
	if diff := cmp.Diff(map[string]any{"job_id": id, "project": "warehouse", "location": "EU"}, metaOf(t, job)); diff != "" {
		t.Error("metadata:", diff)
	}
	table := agenttest.Output[sdk.StructuredDataset](t, result, "results")
	if !strings.HasPrefix(table.URI, "bq://warehouse:") || strings.Count(table.URI, ".") != 1 || table.Format != "" {
		t.Errorf("results = %+v", table)
	}
	// i, f, s, b, t
	want := []any{[]any{"9007199254740993", "0.25", "it's", "true", "2024-02-29T12:30:15.123456"}}
	if diff := cmp.Diff(want, rows(t, "warehouse", id)); diff != "" {
		t.Error("rows:", diff)
	}
	links := result.Resource.GetLogLinks()
	console := "https://console.cloud.google.com/bigquery?project=warehouse&j=bq:EU:" + id + "&page=queryresults"
	if len(links) != 1 || links[0].GetName() != "BigQuery Console" || links[0].GetUri() != console {
		t.Errorf("links = %v", links)
	}
	if agents := proxy.Calls(bqtest.Insert)[0].Header.Get("User-Agent"); !strings.HasPrefix(agents, "Flytekit/1.16.31 (GPN:Union;production)") {
		t.Errorf("user agent = %q", agents)
	}
	if info(result)["rows"] != 1.0 || info(result)["statement_type"] != "SELECT" || info(result)["cache_hit"] != false {
		t.Errorf("custom info = %v", info(result))
	}
}

func TestListsOptionalsDatesDurationsAndEnumsAreParametersToo(t *testing.T) {
	client, _ := serve(t, nil)
	job := create(t, client, flytekitTask(t, "more_inputs"))
	if result := get(t, job); result.Phase != sdk.PhaseSucceeded {
		t.Fatalf("%s: %s", result.Phase, result.Message)
	}
	item := func(values ...string) []any {
		list := []any{}
		for _, value := range values {
			list = append(list, map[string]any{"v": value})
		}
		return list
	}
	want := []any{[]any{
		item("1", "2", "3"), item("a", "it's"), nil, "x", "0-0 1 2:0:3.5", "2024-02-29T00:00:00", "blue", item(), "",
	}}
	if diff := cmp.Diff(want, rows(t, "warehouse", metaOf(t, job)["job_id"].(string))); diff != "" {
		t.Error(diff)
	}
}

func TestAnInputThatCannotBeAParameterIsNamed(t *testing.T) {
	client, proxy := serve(t, nil)
	for name, want := range map[string]string{
		"a_struct":     `input "d" cannot be a query parameter: it is a STRUCT; int, float`,
		"nested_lists": `input "n" cannot be a query parameter: BigQuery has no arrays of arrays`,
	} {
		wantRefused(t, client, flytekitTask(t, name), want)
	}
	if calls := proxy.Calls(bqtest.Insert); len(calls) > 0 {
		t.Errorf("jobs were made all the same: %v", calls)
	}
}

func TestEverySettingOfAQueryJobConfigIsHonoured(t *testing.T) {
	client, proxy := serve(t, nil)
	result := get(t, create(t, client, flytekitTask(t, "every_setting")))
	if result.Phase != sdk.PhaseSucceeded || strings.Contains(result.Message, "ignored") {
		t.Fatalf("%s: %s", result.Phase, result.Message)
	}
	if table := agenttest.Output[sdk.StructuredDataset](t, result, "results"); table.URI != "bq://warehouse:lake.target" {
		t.Errorf("results = %+v", table)
	}
	number := func(name, value string) any {
		return map[string]any{"name": name, "parameterType": map[string]any{"type": "INT64"}, "parameterValue": map[string]any{"value": value}}
	}
	want := map[string]any{
		"query":              "select @z as z, @i as i",
		"destinationTable":   map[string]any{"projectId": "warehouse", "datasetId": "lake", "tableId": "target"},
		"createDisposition":  "CREATE_IF_NEEDED",
		"writeDisposition":   "WRITE_TRUNCATE",
		"useLegacySql":       false,
		"priority":           "BATCH",
		"maximumBytesBilled": "1000000000000",
		"defaultDataset":     map[string]any{"projectId": "warehouse", "datasetId": "lake"},
		"useQueryCache":      false,
		"clustering":         map[string]any{"fields": []any{"z"}},
		"timePartitioning":   map[string]any{"type": "DAY", "expirationMs": "86400000"},
		"parameterMode":      "NAMED",
		"queryParameters":    []any{number("z", "7"), number("i", "2")},
	}
	if diff := cmp.Diff(want, proxy.Calls(bqtest.Insert)[0].Configuration("query")); diff != "" {
		t.Error(diff)
	}
}

func TestATaskWithoutALocationGetsTheOneThatBigQueryChose(t *testing.T) {
	client, proxy := serve(t, nil)
	first := flytekitTask(t, "no_location")
	first.IdempotencyKey = strings.Repeat("ab", 32)
	job := create(t, client, first)
	if location := metaOf(t, job)["location"]; location != "US" {
		t.Errorf("location = %v", location)
	}
	// Also where the job is there already: BigQuery says where when it refuses the id.
	again := create(t, client, first)
	if string(again.Meta) != string(job.Meta) {
		t.Errorf("metadata = %s, at first %s", again.Meta, job.Meta)
	}
	proxy.Fail(bqtest.Insert, 1, 409, "duplicate", "Already Exists")
	if again = create(t, client, first); string(again.Meta) != string(job.Meta) {
		t.Errorf("metadata = %s, at first %s", again.Meta, job.Meta)
	}
}

// What flytekit's own connector says of the same tasks on the same emulator; each reads the other's metadata.
func TestSideBySideWithFlytekitsConnector(t *testing.T) {
	client, proxy := serve(t, nil)
	names := []string{"scalars", "no_location", "fails"}
	ours := map[string]*agenttest.Job{}
	for _, name := range names {
		ours[name] = create(t, client, flytekitTask(t, name))
	}
	metadata := filepath.Join(t.TempDir(), "metadata.json")
	if err := os.WriteFile(metadata, ours["scalars"].Meta, 0o600); err != nil {
		t.Fatal(err)
	}
	folder, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	printed, err := python("connector.py", append([]string{proxy.URL, folder, metadata}, names...)...)
	if err != nil {
		t.Fatal(err)
	}
	var theirs map[string]said
	if err := json.Unmarshal(printed, &theirs); err != nil {
		t.Fatalf("connector.py printed no JSON: %v\n%s", err, printed)
	}

	if diff := cmp.Diff(theirs["ours"], sayingOf(t, get(t, ours["scalars"]))); diff != "" {
		t.Error("of our job, flytekit's connector (-) and ours (+) say:", diff)
	}
	for _, name := range names {
		adopted := client.Job(sdk.Category{Name: agent.TaskType}, []byte(theirs[name].Metadata))
		result := get(t, adopted)
		want := theirs[name]
		want.Metadata = ""
		got := sayingOf(t, result)
		if name == "no_location" {
			// Intended: flytekit's link has no location, "bq:None:", and leads nowhere.
			want.Links[0][1] = strings.Replace(want.Links[0][1], "bq:None:", "bq:US:", 1)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("of flytekit's job %s, flytekit's connector (-) and ours (+) say: %s", name, diff)
		}
		own := get(t, ours[name])
		if own.Phase != result.Phase || len(own.Outputs) != len(result.Outputs) {
			t.Errorf("%s is %s with %v, flytekit's job %s with %v", name, own.Phase, own.Outputs, result.Phase, result.Outputs)
		}
		if err := adopted.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// said is what an implementation says of a job.
type said struct {
	Metadata string            `json:"metadata"`
	Phase    int               `json:"phase"`
	Outputs  map[string]string `json:"outputs"`
	Links    [][]string        `json:"links"`
}

func sayingOf(t *testing.T, result *agenttest.Result) said {
	t.Helper()
	s := said{Phase: int(result.Phase)}
	for name, value := range result.Outputs {
		if s.Outputs == nil {
			s.Outputs = map[string]string{}
		}
		table, ok := value.(sdk.StructuredDataset)
		if !ok {
			t.Fatalf("output %s is %v", name, value)
		}
		s.Outputs[name] = table.URI
	}
	for _, link := range result.Resource.GetLogLinks() {
		s.Links = append(s.Links, []string{link.GetName(), link.GetUri()})
	}
	return s
}

// What BigQuery has of a parameter is what was put in, also at the edges of each type.
func TestValuesAtTheEdgesOfTheirTypesReachBigQuery(t *testing.T) {
	client, _ := serve(t, nil)
	long := &durationpb.Duration{Seconds: 500 * 365 * 86400}
	for name, c := range map[string]struct {
		value any
		kind  core.SimpleType
		want  string
	}{
		"smallest int":   {int64(math.MinInt64), core.SimpleType_INTEGER, "-9223372036854775808"},
		"largest int":    {int64(math.MaxInt64), core.SimpleType_INTEGER, "9223372036854775807"},
		"tenth":          {0.1, core.SimpleType_FLOAT, "0.1"},
		"largest float":  {math.MaxFloat64, core.SimpleType_FLOAT, "1.7976931348623157e+308"},
		"smallest float": {5e-324, core.SimpleType_FLOAT, "5e-324"},
		"NaN":            {math.NaN(), core.SimpleType_FLOAT, "nan"},
		"infinity":       {math.Inf(-1), core.SimpleType_FLOAT, "-inf"},
		"empty text":     {"", core.SimpleType_STRING, ""},
		"text":           {"it's \\n @x -- ☃\U0001F600", core.SimpleType_STRING, "it's \\n @x -- ☃\U0001F600"},
		"code":           {"01234", core.SimpleType_STRING, "01234"},
		"bytes":          {[]byte{0, 255}, core.SimpleType_BINARY, "AP8="},
		"first year":     {time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), core.SimpleType_DATETIME, "0001-01-01T00:00:00.000001"},
		"last year":      {time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC), core.SimpleType_DATETIME, "9999-12-31T23:59:59.999999"},
		"500 years":      {&core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_Duration{Duration: long}}}}}}, core.SimpleType_DURATION, "0-0 182500 0:0:0"},
	} {
		query := task("select @x as x", nil)
		query.InputTypes = sdk.OutputTypes{"x": {Type: &core.LiteralType_Simple{Simple: c.kind}}}
		query.Inputs = map[string]any{"x": c.value}
		job := create(t, client, query)
		if result := get(t, job); result.Phase != sdk.PhaseSucceeded {
			t.Errorf("%s: %s: %s", name, result.Phase, result.Message)
			continue
		}
		got := rows(t, "warehouse", metaOf(t, job)["job_id"].(string))
		if diff := cmp.Diff([]any{[]any{c.want}}, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
