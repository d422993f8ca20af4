package verify_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/tools/verify"
)

// configSchema is that of the strict plugin.
const configSchema = `{"type":"object","additionalProperties":false,"properties":{"threads":{"type":"number"}}}`

// good is the plugin that has nothing wrong, with a task for each of its agents.
func good(mode string, args ...string) verify.Subject {
	args = append([]string{"-strict", "-schema", configSchema}, args...)
	custom := map[string]any{"stateless": true, "polls": 1}
	return verify.Subject{
		Command:      badplugin.Command(mode, args...),
		Config:       map[string]any{"threads": 2},
		StartTimeout: verify.Duration(time.Minute),
		Tasks: []verify.Task{
			{Type: "echo_task", Custom: custom, Inputs: map[string]any{"n": 41}, Outputs: map[string]string{"n": "int"}, Expect: verify.Expectation{Outputs: map[string]any{"n": 41}}},
			{Type: "echo_sync_task", Custom: custom, Inputs: map[string]any{"text": "abc"}, Outputs: map[string]string{"text": "str"}},
		},
	}
}

// fast makes the kit give up early, and look for leaks with few calls: the plugins that leak do so at once.
var fast = verify.Options{CallTimeout: 8 * time.Second, StopTimeout: 5 * time.Second, LeakCalls: 400}

func run(t *testing.T, subject verify.Subject, options verify.Options) *verify.Report {
	t.Helper()
	report, err := verify.Run(t.Context(), subject, options)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func named(report *verify.Report, status verify.Status) []string {
	names := []string{}
	for _, check := range report.Checks {
		if check.Status == status {
			names = append(names, check.Name)
		}
	}
	slices.Sort(names)
	return names
}

func TestAGoodPluginPassesEveryCheck(t *testing.T) {
	report := run(t, good("good"), verify.Options{Quick: true})
	for _, check := range report.Checks {
		if check.Status == verify.Failed || check.Status == verify.Warned {
			t.Errorf("%s %s: %s", check.Status, check.Name, check.Detail)
		}
	}
	if want := []string{
		"exchange/end", "exchange/errors", "exchange/greeting", "exchange/not-protobuf", "exchange/oversize", "exchange/polls", "exchange/unknown-method",
		"load/metrics", "metrics/bounds", "metrics/counters", "metrics/duplicates", "metrics/text",
		"tasks/abandon", "tasks/attempts", "tasks/find", "tasks/idempotent-create",
	}; !slices.Equal(named(report, verify.Skipped), want) {
		t.Errorf("skipped: %v, want %v", named(report, verify.Skipped), want)
	}
}

func TestAfterAFatalFailureNoLoadIsPutOnThePlugin(t *testing.T) {
	for name, c := range map[string]struct {
		subject verify.Subject
		fatal   string
	}{
		"a call ends the process":      {good("panics-on-unknown-task"), "unknown/create"},
		"the configuration is refused": {good("configure-errors"), "configure/accepts"},
		"no task completes":            {good("good", "-script", `{"phase":"UNDEFINED"}`), "tasks/completes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := run(t, c.subject, fast)
			for _, check := range report.Checks {
				if says := "needs " + c.fatal; strings.HasPrefix(check.Name, "load/") && (check.Status != verify.Skipped || !strings.HasPrefix(check.Detail, says)) {
					t.Errorf("%s %s: %s; want it skipped, and %q", check.Status, check.Name, check.Detail, says)
				}
			}
			options := fast
			options.KeepGoing = true
			options.Select = regexp.MustCompile("^load/concurrent$|^" + c.fatal + "$")
			if report := run(t, c.subject, options); strings.Contains(report.Checks[1].Detail, "--keep-going") {
				t.Errorf("to be kept going, it gives up: %+v", report.Checks[1])
			}
		})
	}
}

func TestTheWaitForAJobAfterARestartHasALimit(t *testing.T) {
	subject := good("good", "-script", `{"polls":100000}`)
	subject.TaskTimeout = verify.Duration(300 * time.Millisecond)
	options := fast
	options.Select = regexp.MustCompile("^tasks/completes$")
	if report := run(t, subject, options); report.OK() || !strings.Contains(report.Checks[0].Detail, "after 300ms, the limit of --task-timeout") {
		t.Errorf("got %+v", report.Checks)
	}
}

func TestAPluginThatFindsAndAbandonsPasses(t *testing.T) {
	options := fast
	options.Select = regexp.MustCompile("^tasks/")
	report := run(t, good("finds", "-capabilities", "find_by_key,idempotent_create"), options)
	for _, check := range report.Checks {
		if check.Status != verify.Passed {
			t.Errorf("%s %s: %s", check.Status, check.Name, check.Detail)
		}
	}
}

func TestAPluginThatTakesManyCallsInOneMessagePasses(t *testing.T) {
	options := fast
	options.Select = near["exchange"]
	report := run(t, good("exchanges"), options)
	for _, check := range report.Checks {
		if check.Status != verify.Passed {
			t.Errorf("%s %s: %s", check.Status, check.Name, check.Detail)
		}
	}
}

func TestAPluginWithMetricsAndOneWithoutDrainPass(t *testing.T) {
	options := fast
	options.Select = regexp.MustCompile("^metrics/|^load/metrics$|^drain/")
	for mode, skipped := range map[string][]string{
		"counts":        {},
		"drain-missing": {"drain/answers", "drain/calls", "drain/shutdown", "load/metrics", "metrics/bounds", "metrics/counters", "metrics/duplicates", "metrics/text"},
	} {
		report := run(t, good(mode), options)
		if !report.OK() || report.Count(verify.Warned) > 0 || !slices.Equal(named(report, verify.Skipped), skipped) {
			t.Errorf("%s: got %+v", mode, report.Checks)
		}
	}
}

func TestTheHelloPluginPassesWithItsOwnSpec(t *testing.T) {
	subject, err := verify.ReadSpec("../../plugins/hello/verify.yaml")
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("sh", "-c", subject.Build)
	build.Dir = subject.Dir
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", subject.Build, err, said)
	}
	report := run(t, *subject, verify.Options{Quick: true})
	if !report.OK() || report.Count(verify.Warned) > 0 || report.Count(verify.Passed) < 50 || report.Name != "hello" {
		var table strings.Builder
		report.Table(&table)
		t.Error(table.String())
	}
}

func TestEachWrongPluginFailsTheCheckThatIsAboutItAndNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		subject verify.Subject
		fails   []string
		warns   []string
		says    string // in the detail of the first one
	}{
		"starts by hand":               {good("any-cookie"), []string{"handshake/cookie", "handshake/wrong-cookie"}, nil, "made its handshake all the same"},
		"says nothing to people":       {good("wordless-cookie"), []string{"handshake/cookie", "handshake/wrong-cookie"}, nil, "without a word"},
		"exits with 0 by hand":         {good("polite-cookie"), []string{"handshake/cookie", "handshake/wrong-cookie"}, nil, "code 0"},
		"has another cookie":           {good("wrong-cookie"), []string{"handshake/line"}, nil, "This binary is a plugin"},
		"dies at once":                 {good("dies"), []string{"handshake/line"}, nil, "cannot find libduckdb.so"},
		"speaks another version":       {good("wrong-version"), []string{"handshake/line"}, nil, `is "99"`},
		"speaks another core version":  {good("wrong-core"), []string{"handshake/line", "handshake/cookie", "handshake/wrong-cookie"}, nil, "made its handshake"},
		"prints before the handshake":  {good("prints-first"), []string{"handshake/stdout-before"}, nil, "Picked up JAVA_TOOL_OPTIONS"},
		"prints what is like one":      {good("prints-like-a-handshake"), []string{"handshake/stdout-before"}, nil, "1|2|3|4"},
		"prints after the handshake":   {good("prints-later", "-text", "Loading…"), nil, []string{"logs/stdout-after"}, "Loading…"},
		"claims any version":           {good("any-version"), []string{"handshake/unknown-versions", "handshake/versions"}, nil, "99"},
		"listens elsewhere":            {good("socket-elsewhere"), []string{"handshake/address"}, nil, "is not in PLUGIN_UNIX_SOCKET_DIR"},
		"pads its certificate":         {good("padded-certificate"), []string{"handshake/certificate"}, nil, "it has padding"},
		"ignores the certificate":      {good("no-cert"), []string{"handshake/certificate"}, nil, "no certificate"},
		"lets strangers in":            {good("accepts-strangers"), []string{"tls/no-certificate", "tls/stranger"}, nil, "gets an answer"},
		"has no server":                {good("dead-address"), []string{"handshake/address", "handshake/certificate", "handshake/cookie", "handshake/wrong-cookie", "tls/off"}, nil, "no certificate"},
		"serves no health":             {good("no-health"), []string{"health/serving"}, nil, "does not serve grpc.health.v1.Health"},
		"is nobody":                    {good("describe-nameless"), []string{"describe/answers"}, nil, `name ""`},
		"has a broken schema":          {good("good", "-schema", `{"type": 5}`), []string{"describe/schema"}, nil, "no JSON Schema"},
		"takes any configuration":      {good("good", "-strict=false"), append([]string{"configure/malformed", "configure/unknown-key", "configure/wrong-type"}, unknownTasks...), nil, "it accepts"},
		"refuses the configuration":    {good("configure-errors"), []string{"configure/accepts"}, nil, "limits.memory"},
		"serves no list":               {good("list-missing"), []string{"agents/list"}, nil, "does not serve"},
		"lists nothing":                {good("list-empty"), []string{"agents/list"}, nil, "no agents"},
		"lists only task types":        {good("list-deprecated"), nil, []string{"agents/categories"}, "deprecated"},
		"gives a category to two":      {withoutTasks(good("list-clash")), []string{"agents/duplicates", "agents/get"}, nil, "both claim"},
		"mixes sync and async":         {withoutTasks(good("list-mixed")), []string{"agents/get", "agents/sync-and-async"}, nil, ""},
		"panics on an unknown task":    {good("panics-on-unknown-task"), []string{"requests/empty", "unknown/create"}, nil, "panic: no agent for"},
		"panics on garbage":            {good("panics-on-garbage"), []string{"requests/resource-meta"}, nil, "panic: cannot decode"},
		"routes by task_type":          {good("routes-by-task-type"), []string{"tasks/flyte2"}, nil, "KeyError"},
		"ends in no phase":             {good("good", "-script", `{"phase":"UNDEFINED"}`), []string{"sync/terminal", "tasks/completes"}, nil, "UNDEFINED"},
		"declares idempotence only":    {good("good", "-capabilities", "idempotent_create"), []string{"tasks/idempotent-create"}, nil, "different jobs"},
		"declares it for one category": {good("good", "-capabilities", "echo_task=idempotent_create"), []string{"tasks/idempotent-create"}, nil, "different jobs"},
		"names jobs by execution id":   {good("names-jobs-by-execution-id", "-capabilities", "idempotent_create"), []string{"tasks/attempts"}, nil, "get one job"},
		"declares finding only":        {good("good", "-capabilities", "find_by_key"), []string{"tasks/abandon", "tasks/find"}, nil, "not NOT_FOUND"},
		"finds in memory":              {good("finds-in-memory", "-capabilities", "find_by_key"), []string{"tasks/abandon", "tasks/find"}, nil, "of the next process"},
		"forgets what was abandoned":   {good("forgets-abandoned", "-capabilities", "find_by_key"), []string{"tasks/abandon"}, nil, "not ABORTED"},
		"promises for no category":     {good("good", "-capabilities", "echo_tsak=idempotent_create"), []string{"agents/capabilities"}, nil, "echo_tsak"},
		"fails a second deletion":      {good("good", "-script", `{"second_delete":"INTERNAL"}`), []string{"tasks/delete"}, nil, "the second DeleteTask"},
		"forgets its jobs":             {good("good", "-script", `{"stateless":false}`), []string{"tasks/restart"}, nil, "NOT_FOUND"},
		"answers a sync call RUNNING":  {onlySync(good("good", "-script", `{"phase":"RUNNING"}`)), []string{"sync/terminal"}, nil, "RUNNING"},
		"answers a sync call twice":    {good("good", "-script", `{"sync_parts":2}`), []string{"sync/one-message"}, nil, "2 messages"},
		"takes small messages only":    {good("small-messages"), []string{"load/large-message"}, nil, "RESOURCE_EXHAUSTED"},
		"takes few calls at a time":    {good("few-at-a-time"), []string{"load/concurrent"}, nil, "too many calls at once"},
		"names no methods":             {good("exchange-names-nothing"), []string{"exchange/greeting"}, nil, "names no methods"},
		"answers nobody":               {good("exchange-answers-nobody"), []string{"exchange/end", "exchange/errors", "exchange/not-protobuf", "exchange/oversize", "exchange/polls", "exchange/unknown-method"}, nil, "which was not made"},
		"hides errors":                 {good("exchange-hides-errors"), []string{"exchange/errors", "exchange/unknown-method"}, nil, "something went wrong"},
		"ends on garbage":              {good("exchange-ends-on-garbage"), []string{"exchange/not-protobuf"}, nil, "cannot decode a call"},
		"sends any size":               {good("exchange-sends-anything"), []string{"exchange/oversize"}, nil, "where max_answer is"},
		"cuts the stream":              {good("exchange-ends-at-once"), []string{"exchange/end"}, nil, "after Shutdown the stream ends with"},
		"is wedged by a deadline":      {good("wedged-by-deadline"), []string{"load/deadline"}, nil, "ListAgents: DEADLINE_EXCEEDED"},
		"is wedged by a cancellation":  {good("wedged-by-cancellation"), []string{"load/cancellation"}, nil, "ListAgents: DEADLINE_EXCEEDED"},
		"leaks memory":                 {good("leaks-memory"), []string{"load/leak"}, nil, "it grows with every"},
		"leaks files":                  {good("leaks-files"), []string{"load/leak"}, nil, "files"},
		"fails Metrics":                {good("metrics-fail"), []string{"metrics/text"}, nil, "Metrics fails: INTERNAL"},
		"writes metrics as it likes":   {measured("jobs=3"), []string{"metrics/text"}, nil, "not in Prometheus' text format"},
		"has too much to measure":      {good("with-metrics", "-block", "300000"), []string{"metrics/text"}, nil, "more than 262144"},
		"has too many series":          {good("has-many-series"), []string{"metrics/bounds"}, nil, "501 series, more than 500"},
		"has too many labels":          {measured("jobs{" + manyLabels + "} 3"), []string{"metrics/bounds"}, nil, "17 labels, more than 16"},
		"has long labels":              {measured(`jobs{sql="` + strings.Repeat("x", 129) + `"} 3`), []string{"metrics/bounds"}, nil, "the label sql has a value of 129 bytes"},
		"measures one thing twice":     {measured("jobs{a=\"1\",b=\"2\"} 3\njobs{b=\"2\",a=\"1\"} 4"), []string{"metrics/duplicates"}, nil, `jobs{a="1", b="2"} is there twice`},
		"counts down":                  {good("counts-down"), []string{"metrics/counters"}, nil, `calls_total{of="all"} falls from`},
		"measures between calls":       {good("measures-between-calls"), []string{"load/metrics"}, nil, "not within 1s"},
		"fails Drain":                  {good("drain-fails"), []string{"drain/answers"}, nil, "Drain fails: INTERNAL"},
		"is slow to hear of Drain":     {good("drain-hangs"), nil, []string{"drain/answers"}, "the host goes on after 1s"},
		"ends at Drain":                {good("drain-ends-it"), []string{"drain/calls"}, nil, "drained, bye"},
		"refuses calls after Drain":    {good("refuses-when-drained"), []string{"drain/calls"}, nil, "UNAVAILABLE: the plugin is being replaced"},
		"makes no jobs after Drain":    {good("creates-nothing-when-drained"), []string{"drain/calls"}, nil, "CreateTask after Drain fails: FAILED_PRECONDITION"},
		"is deaf after Drain":          {good("deaf-when-drained"), []string{"drain/shutdown"}, nil, "Shutdown: DEADLINE_EXCEEDED"},
		"serves no Shutdown":           {good("no-shutdown"), []string{"stop/shutdown"}, nil, "does not serve plugin.GRPCController"},
		"runs on after Shutdown":       {good("deaf"), []string{"stop/shutdown"}, nil, "it still runs"},
		"exits with another code":      {good("exits-with-3"), nil, []string{"stop/shutdown", "stop/socket"}, "code 3"},
		"ignores SIGTERM":              {good("ignores-sigterm"), []string{"stop/sigterm"}, nil, "had to be killed"},
		"leaves a child in its group":  {good("forks"), []string{"stop/death"}, nil, "there are still"},
		"leaves a child out of it":     {good("forks", "-setsid"), []string{"stop/death"}, nil, "there are still"},
		"logs what go-plugin trips on": {good("bad-logs"), []string{"logs/format"}, nil, "go-plugin itself panics"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := fast
			options.Select = near[strings.Split(slices.Concat(c.fails, c.warns)[0], "/")[0]]
			report := run(t, c.subject, options)
			slices.Sort(c.fails)
			if diff := cmp.Diff(append([]string{}, c.fails...), named(report, verify.Failed)); diff != "" {
				t.Errorf("failed checks (-want +got):\n%s", diff)
			}
			for _, warns := range c.warns {
				if !slices.Contains(named(report, verify.Warned), warns) {
					t.Errorf("%s does not warn; those that do: %v", warns, named(report, verify.Warned))
				}
			}
			said := ""
			for _, check := range report.Checks {
				if check.Status == verify.Failed || check.Status == verify.Warned {
					said += check.Name + ": " + check.Detail + "\n"
					if check.Advice == "" {
						t.Errorf("%s gives no advice", check.Name)
					}
				}
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("nothing says %q:\n%s", c.says, said)
			}
			if t.Failed() {
				t.Log(said)
			}
		})
	}
}

// near are the checks that what is wrong with an optional RPC could fail, by the group that is about it. Other groups: all of them.
var near = map[string]*regexp.Regexp{
	"exchange": regexp.MustCompile("^exchange/|^tasks/completes$"),
	"metrics":  regexp.MustCompile("^(metrics|describe|logs)/|^load/metrics$"),
	"drain":    regexp.MustCompile("^(drain|stop|logs)/|^tasks/completes$"),
}

// measured is a plugin with these metrics.
func measured(text string) verify.Subject { return good("with-metrics", "-block", "0", "-text", text) }

// manyLabels are one more than a metric may have.
var manyLabels = func() string {
	var labels []string
	for n := range 17 {
		labels = append(labels, fmt.Sprintf("l%d=%q", n, "x"))
	}
	return strings.Join(labels, ",")
}()

// unknownTasks fail in a plugin that does not look at task categories: its polls and deletions miss the job instead.
var unknownTasks = []string{"requests/empty", "unknown/create", "unknown/sync"}

func withoutTasks(s verify.Subject) verify.Subject {
	s.Tasks = nil
	return s
}

func onlySync(s verify.Subject) verify.Subject {
	s.Tasks = s.Tasks[1:]
	return s
}
