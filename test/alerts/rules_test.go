package alerts

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/agenthost/agenthost/test/hosttest"
)

// A series is a metric with labels, and its value in each minute: before the incident and during it. "+6" is a counter that gains six
// a minute, "_" is no sample.
type series struct{ name, before, during string }

const (
	quietMinutes    = 20
	incidentMinutes = 60
)

// quiet are the series of a host with nothing amiss, a plugin with traffic and a canary.
var quiet = []series{
	{"up", "1", "1"},
	{"process_start_time_seconds", "1", "1"},
	{"process_open_fds", "80", "80"},
	{"process_max_fds", "1024", "1024"},
	{"agenthost_ready", "1", "1"},
	{"agenthost_ready_without_plugins", "0", "0"},
	{"agenthost_config_valid", "1", "1"},
	{"agenthost_config_last_sound", "0", "0"},
	{"agenthost_config_watched", "1", "1"},
	{"agenthost_log_lines_lost_total", "+0", "+0"},
	{"agenthost_image_pull_failures_total", "+0", "+0"},
	{"agenthost_rollbacks_total", "+0", "+0"},
	{`agenthost_plugin_state{plugin="hello",state="starting"}`, "0", "0"},
	{`agenthost_plugin_state{plugin="hello",state="running"}`, "1", "1"},
	{`agenthost_plugin_state{plugin="hello",state="restarting"}`, "0", "0"},
	{`agenthost_plugin_state{plugin="hello",state="crash-looping"}`, "0", "0"},
	{`agenthost_plugin_state{plugin="hello",state="refused"}`, "0", "0"},
	{`agenthost_plugin_standing{plugin="hello",standing="as configured"}`, "1", "1"},
	{`agenthost_plugin_standing{plugin="hello",standing="pending"}`, "0", "0"},
	{`agenthost_plugin_standing{plugin="hello",standing="failing"}`, "0", "0"},
	{`agenthost_plugin_standing{plugin="hello",standing="refused"}`, "0", "0"},
	{`agenthost_plugin_swap_failed{plugin="hello"}`, "0", "0"},
	{`agenthost_plugin_restarts_total{plugin="hello"}`, "+0", "+0"},
	{`agenthost_plugin_memory_restarts_total{plugin="hello"}`, "+0", "+0"},
	{`agenthost_plugin_state{plugin="hello",state="unresponsive"}`, "0", "0"},
	{`agenthost_plugin_oom_kills_total{plugin="hello"}`, "+0", "+0"},
	{`agenthost_plugin_draining_calls{plugin="hello"}`, "0", "0"},
	{`agenthost_calls_waiting_oldest_seconds{plugin="hello",on="plugin"}`, "2", "2"},
	{`agenthost_calls_waiting_oldest_seconds{plugin="hello",on="rate"}`, "90", "90"}, // by design
	{`agenthost_telemetry_total{signal="traces",outcome="sent"}`, "+60", "+60"},
	{`agenthost_telemetry_total{signal="traces",outcome="failed"}`, "+0", "+0"},
	{`agenthost_plugin_sandbox_degraded{plugin="hello"}`, "0", "0"},
	{`agenthost_plugin_secrets_unread{plugin="hello"}`, "0", "0"},
	{`agenthost_plugin_calls_in_flight{plugin="hello"}`, "1", "1"},
	{`agenthost_plugin_processes{plugin="hello"}`, "2", "2"},
	{`agenthost_plugin_memory_bytes{plugin="hello"}`, "1000", "1000"}, // of two processes: more than the limit of one
	{`agenthost_plugin_memory_limit_bytes{plugin="hello"}`, "800", "800"},
	{`agenthost_creations_on_record{plugin="hello"}`, "0", "0"},
	{`agenthost_calls_total{plugin="hello",task_type="hello",method="CreateTask",code="OK"}`, "+60", "+60"},
	{`agenthost_calls_total{plugin="hello",task_type="hello",method="CreateTask",code="InvalidArgument"}`, "+20", "+20"}, // the user's mistakes
	{`agenthost_calls_total{plugin="hello",task_type="hello",method="GetTask",code="OK"}`, "+600", "+600"},
	{`agenthost_calls_total{plugin="hello",task_type="hello",method="GetTask",code="Unavailable"}`, "+6", "+6"}, // one in a hundred
	{`agenthost_calls_total{plugin="",task_type="",method="ListAgents",code="OK"}`, "+1", "+1"},
	{`agenthost_guarantee_total{plugin="hello",task_type="hello",guarantee="G5"}`, "+6", "+6"},
	{`agenthost_guarantee_total{plugin="hello",task_type="hello",guarantee="G12"}`, "+600", "+600"},
	{`agenthost_guarantee_total{plugin="hello",task_type="hello",guarantee="G14"}`, "+300", "+300"},
	{`agenthost_generation_info{plugin="hello",generation="old",version="1.0.0",role="current"}`, "1", "1"},
	{`agenthost_generation_info{plugin="hello",generation="new",version="1.1.0",role="canary"}`, "1", "1"},
	{`agenthost_generation_calls_total{plugin="hello",generation="old",outcome="ok"}`, "+600", "+600"},
	{`agenthost_generation_calls_total{plugin="hello",generation="old",outcome="error"}`, "+6", "+6"},
	{`agenthost_generation_calls_total{plugin="hello",generation="old",outcome="canceled"}`, "+60", "+60"},
	{`agenthost_generation_calls_total{plugin="hello",generation="new",outcome="ok"}`, "+60", "+60"},
	{`agenthost_generation_calls_total{plugin="hello",generation="new",outcome="error"}`, "+1", "+1"},
	{`agenthost_generation_calls_total{plugin="hello",generation="new",outcome="canceled"}`, "+60", "+60"},
	{`agenthost_generation_call_duration_seconds_sum{plugin="hello",generation="old"}`, "+60", "+60"}, // a tenth of a second each
	{`agenthost_generation_call_duration_seconds_count{plugin="hello",generation="old"}`, "+600", "+600"},
	{`agenthost_generation_call_duration_seconds_sum{plugin="hello",generation="new"}`, "+10", "+10"},
	{`agenthost_generation_call_duration_seconds_count{plugin="hello",generation="new"}`, "+60", "+60"},
	{`agenthost_limited_total{plugin="hello",limit="rate",outcome="refused"}`, "+300", "+300"}, // of polls, by design
	{`agenthost_memory_under_way_bytes{of="requests"}`, "10", "10"},
	{`agenthost_memory_limit_bytes{of="requests"}`, "100", "100"},
	{`agenthost_memory_under_way_bytes{of="answers"}`, "10", "10"},
	{`agenthost_memory_limit_bytes{of="answers"}`, "100", "100"},
	{`agenthost_connections_refused_total{listener="grpc"}`, "+0", "+0"},
	{`agenthost_connections_evicted_total{listener="grpc"}`, "+0", "+0"},
	{`agenthost_connections_refused_total{listener="admin"}`, "+0", "+0"},
	{`agenthost_connections_evicted_total{listener="admin"}`, "+0", "+0"},
	// promtool's time begins in 1970: a certificate of a day, with half of its time left, that will be replaced in time.
	{"agenthost_tls_certificate_begin_timestamp_seconds", "0", "0"},
	{"agenthost_tls_certificate_expiry_timestamp_seconds", "86400", "86400"},
	{"agenthost_tls_certificate_stale", "0", "0"},
	{`agenthost_issuer_keys_known{issuer="https://issuer"}`, "1", "1"},
	{`agenthost_issuer_keys_read_timestamp_seconds{issuer="https://issuer"}`, "+60", "+60"},
}

// incidents are what becomes of these series, and which alerts fire then, with their plugin if they have one. Each rule has one.
var incidents = []struct {
	name   string
	series []series
	fire   []string
}{
	{"no host is ready", []series{{"agenthost_ready", "1", "0"}}, []string{"AgenthostAway", "AgenthostIsNotReady"}},
	{"the host is gone", gone(), []string{"AgenthostAway", "AgenthostIsNotScraped"}},
	{"one of two hosts is gone", []series{{`up{instance="b"}`, "1", "0"}}, []string{"AgenthostIsNotScraped"}},
	{"one of two hosts is not ready", []series{{`agenthost_ready{instance="b"}`, "1", "0"}}, []string{"AgenthostIsNotReady"}},
	{"ready.give_up", []series{{"agenthost_ready_without_plugins", "0", "1"}}, []string{"AgenthostIsReadyWithoutPlugins"}},
	{"the host ends again and again", []series{{"process_start_time_seconds", "1", "+300"}}, []string{"AgenthostHostRestarts"}},
	{"descriptors", []series{{"process_open_fds", "80", "1000"}}, []string{"AgenthostRunsOutOfDescriptors"}},
	{"nobody reads the log", []series{{"agenthost_log_lines_lost_total", "+0", "+5"}}, []string{"AgenthostLogLinesAreLost"}},
	{"the registry is away", []series{{"agenthost_image_pull_failures_total", "+0", "+1"}}, []string{"AgenthostImagePullsFail"}},

	{"wrong config", []series{{"agenthost_config_valid", "1", "0"}}, []string{"AgenthostConfigurationIsNotInEffect"}},
	{"started with a wrong config", []series{{"agenthost_config_valid", "1", "0"}, {"agenthost_config_last_sound", "0", "1"}}, []string{"AgenthostRunsTheLastSoundConfiguration"}},
	{"no inotify", []series{{"agenthost_config_watched", "1", "0"}}, []string{"AgenthostConfigurationIsNotWatched"}},
	{"failed swap", append(standing("failing"), series{`agenthost_plugin_swap_failed{plugin="hello"}`, "0", "1"}), []string{"AgenthostSwapFailed hello"}},
	{"failed swap, refused", append(standing("refused"), series{`agenthost_plugin_swap_failed{plugin="hello"}`, "0", "1"}), []string{"AgenthostSwapFailed hello"}},
	{"its configuration is refused", append(standing("refused"), state("restarting")...), []string{"AgenthostPluginIsRefused hello"}},
	{"its configuration is refused again and again", append(standing("refused"), state("crash-looping")...), []string{"AgenthostPluginIsRefused hello"}},
	{"an operator rolled it back", standing("refused"), nil},
	{"its task types are others'", append(standing("refused"), state("refused")...), []string{"AgenthostPluginIsRefused hello"}},
	{"a pull that takes an hour", standing("pending"), []string{"AgenthostSwapTakesLong hello"}},
	{"a rollback", []series{{"agenthost_rollbacks_total", "+0", "0 1x60"}}, []string{"AgenthostRolledBack"}},

	{"canary worse", []series{{`agenthost_generation_calls_total{plugin="hello",generation="new",outcome="error"}`, "+1", "+15"}}, []string{"AgenthostCanaryIsWorse hello"}},
	{"a canary with a call that fails", []series{
		{`agenthost_generation_calls_total{plugin="hello",generation="new",outcome="ok"}`, "+60", "+0"},
		{`agenthost_generation_calls_total{plugin="hello",generation="new",outcome="error"}`, "+1", "+1"},
	}, nil},
	{"both generations fail", []series{
		{`agenthost_generation_calls_total{plugin="hello",generation="new",outcome="error"}`, "+1", "+15"},
		{`agenthost_generation_calls_total{plugin="hello",generation="old",outcome="error"}`, "+6", "+150"},
	}, nil},
	{"canary slower", []series{{`agenthost_generation_call_duration_seconds_sum{plugin="hello",generation="new"}`, "+10", "+30"}}, []string{"AgenthostCanaryIsSlower hello"}},

	{"crash loop", append(state("crash-looping"), series{`agenthost_plugin_restarts_total{plugin="hello"}`, "+0", "+2"}), []string{"AgenthostPluginCrashLoops hello"}},
	{"crash loop that runs in between", []series{{`agenthost_plugin_state{plugin="hello",state="crash-looping"}`, "0", "1 0 1 0 0 1 0 1 0 0 1 0 1 0 0 1 0 1 0 0 1 0 1 0 0 1 0 1 0 0 1 0 1 0 0 1 0 1 0 0 1 0 1 0 0 1 0 1 0 0 1 0 1 0 0 1 0 1 0 0 1"}}, []string{"AgenthostPluginCrashLoops hello"}},
	{"restarts now and then", []series{{`agenthost_plugin_restarts_total{plugin="hello"}`, "+0", "+1"}}, []string{"AgenthostPluginRestarts hello"}},
	{"its service is away", append(standing("failing"), state("restarting")...), []string{"AgenthostPluginIsNotServing hello"}},
	{"it hangs as it starts", append(standing("pending"), state("starting")...), []string{"AgenthostPluginIsNotServing hello"}},
	{"an old kernel", []series{{`agenthost_plugin_sandbox_degraded{plugin="hello"}`, "0", "1"}}, []string{"AgenthostSandboxIsDegraded hello"}},
	{"out of memory", []series{{`agenthost_plugin_memory_restarts_total{plugin="hello"}`, "+0", "0x30 1x30"}, {`agenthost_plugin_restarts_total{plugin="hello"}`, "+0", "0x30 1x30"}}, []string{"AgenthostPluginIsOutOfMemory hello"}},
	{"OOM kills", []series{{`agenthost_plugin_oom_kills_total{plugin="hello"}`, "+0", "+1"}, {`agenthost_plugin_restarts_total{plugin="hello"}`, "+0", "+1"}}, []string{"AgenthostPluginIsOutOfMemory hello"}},
	{"hang", append(state("unresponsive"), standing("failing")...), []string{"AgenthostPluginHangs hello"}},
	{"hang, restarted every other minute", []series{{`agenthost_plugin_state{plugin="hello",state="unresponsive"}`, "0", "1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1"}}, []string{"AgenthostPluginHangs hello"}},
	{"nearly out of memory", []series{{`agenthost_plugin_memory_bytes{plugin="hello"}`, "1000", "1500"}}, []string{"AgenthostPluginMemoryIsNearlyUsedUp hello"}},
	{"the store of secrets is away", []series{{`agenthost_plugin_secrets_unread{plugin="hello"}`, "0", "2"}}, []string{"AgenthostSecretsAreUnread hello"}},

	{"calls fail", []series{{`agenthost_calls_total{plugin="hello",task_type="hello",method="GetTask",code="Unavailable"}`, "+6", "+300"}}, []string{"AgenthostCallsFail hello"}},
	{"calls do not end", []series{
		{`agenthost_calls_total{plugin="hello",task_type="hello",method="CreateTask",code="OK"}`, "+60", "+0"},
		{`agenthost_calls_total{plugin="hello",task_type="hello",method="CreateTask",code="InvalidArgument"}`, "+20", "+0"},
		{`agenthost_calls_total{plugin="hello",task_type="hello",method="GetTask",code="OK"}`, "+600", "+0"},
		{`agenthost_calls_total{plugin="hello",task_type="hello",method="GetTask",code="Unavailable"}`, "+6", "+0"},
		{`agenthost_guarantee_total{plugin="hello",task_type="hello",guarantee="G5"}`, "+6", "+0"},
	}, []string{"AgenthostCallsDoNotEnd hello"}},
	{"nobody calls", []series{
		{`agenthost_plugin_calls_in_flight{plugin="hello"}`, "1", "0"},
		{`agenthost_calls_total{plugin="hello",task_type="hello",method="CreateTask",code="OK"}`, "+60", "+0"},
		{`agenthost_calls_total{plugin="hello",task_type="hello",method="CreateTask",code="InvalidArgument"}`, "+20", "+0"},
		{`agenthost_calls_total{plugin="hello",task_type="hello",method="GetTask",code="OK"}`, "+600", "+0"},
		{`agenthost_calls_total{plugin="hello",task_type="hello",method="GetTask",code="Unavailable"}`, "+6", "+0"},
		{`agenthost_guarantee_total{plugin="hello",task_type="hello",guarantee="G5"}`, "+6", "+0"},
	}, nil},
	{"calls wait", []series{{`agenthost_calls_waiting_oldest_seconds{plugin="hello",on="plugin"}`, "2", "80"}}, []string{"AgenthostCallsWait hello"}},
	{"a drain without an end", []series{{`agenthost_plugin_draining_calls{plugin="hello"}`, "0", "1"}}, []string{"AgenthostDrainTakesLong hello"}},
	{"the collector is away", []series{{`agenthost_telemetry_total{signal="traces",outcome="sent"}`, "+60", "+0"}, {`agenthost_telemetry_total{signal="traces",outcome="failed"}`, "+0", "+60"}}, []string{"AgenthostTelemetryIsLost"}},
	{"a plugin was taken out", []series{{`agenthost_calls_total{plugin="",task_type="",method="GetTask",code="NotFound"}`, "_", "+6"}}, []string{"AgenthostCallsHaveNoPlugin"}},
	{"no rule for Flyte", []series{{`agenthost_calls_total{plugin="",task_type="",method="CreateTask",code="PermissionDenied"}`, "_", "+6"}}, []string{"AgenthostCallersAreRefused"}},
	{"a limit of the host", []series{{`agenthost_refused_total{limit="memory"}`, "_", "+1"}}, []string{"AgenthostRefusesCalls"}},
	{"one message that is too large", []series{{`agenthost_refused_total{limit="message_size"}`, "_", "1"}}, nil},
	{"large messages", []series{{`agenthost_memory_under_way_bytes{of="answers"}`, "10", "95"}}, []string{"AgenthostMessageMemoryIsNearlyUsedUp"}},
	{"a flood of connections", []series{{`agenthost_connections_evicted_total{listener="grpc"}`, "+0", "+10"}}, []string{"AgenthostConnectionsAreRefused"}},
	{"limits.concurrency refuses", []series{{`agenthost_limited_total{plugin="hello",limit="concurrency",outcome="refused"}`, "_", "+1"}}, []string{"AgenthostPluginLimitRefusesCalls hello"}},
	{"limits.concurrency is reached", []series{{`agenthost_limited_total{plugin="hello",limit="concurrency",outcome="waited"}`, "_", "+1"}}, []string{"AgenthostPluginLimitIsReached hello"}},
	{"waiting creations", []series{{`agenthost_creations_on_record{plugin="hello"}`, "0", "3"}}, []string{"AgenthostTasksWaitOnRecord hello"}},
	{"tasks are turned away", []series{{`agenthost_guarantee_total{plugin="hello",task_type="hello",guarantee="G17"}`, "_", "+1"}}, []string{"AgenthostTasksAreTurnedAway hello"}},
	{"masked polls", []series{{`agenthost_guarantee_total{plugin="hello",task_type="hello",guarantee="G5"}`, "+6", "+120"}}, []string{"AgenthostPollsAreMasked hello"}},
	{"jobs are given up", []series{{`agenthost_guarantee_total{plugin="hello",task_type="hello",guarantee="G6"}`, "_", "+1"}}, []string{"AgenthostJobsAreGivenUp hello"}},
	{"jobs are unknown", []series{{`agenthost_guarantee_total{plugin="hello",task_type="hello",guarantee="G7"}`, "+0", "+1"}}, []string{"AgenthostJobsAreUnknown hello"}},

	{"a certificate that nobody renews", []series{{"agenthost_tls_certificate_expiry_timestamp_seconds", "86400", "3600"}}, []string{"AgenthostCertificateExpires"}},
	{"a certificate of two weeks in its last days", []series{{"agenthost_tls_certificate_begin_timestamp_seconds", "0", "-1100000"}, {"agenthost_tls_certificate_expiry_timestamp_seconds", "86400", "90000"}}, []string{"AgenthostCertificateExpires"}},
	{"a certificate of a year with two weeks left", []series{{"agenthost_tls_certificate_begin_timestamp_seconds", "0", "-30000000"}, {"agenthost_tls_certificate_expiry_timestamp_seconds", "86400", "1209600"}}, nil},
	{"a certificate of another key", []series{{"agenthost_tls_certificate_stale", "0", "1"}}, []string{"AgenthostCertificateIsStale"}},
	{"the issuer was never there", []series{{`agenthost_issuer_keys_known{issuer="https://issuer"}`, "1", "0"}, {`agenthost_issuer_keys_read_timestamp_seconds{issuer="https://issuer"}`, "+60", "0"}}, []string{"AgenthostIssuerKeysAreUnknown"}},
	{"the issuer is away", []series{{`agenthost_issuer_keys_read_timestamp_seconds{issuer="https://issuer"}`, "1", "1"}}, []string{"AgenthostIssuerKeysAreOld"}},
}

// state is a plugin that runs, and then is in another one.
func state(other string) []series {
	return []series{{`agenthost_plugin_state{plugin="hello",state="running"}`, "1", "0"}, {fmt.Sprintf(`agenthost_plugin_state{plugin="hello",state=%q}`, other), "0", "1"}}
}

// standing is a plugin that is as configured, and then is not.
func standing(other string) []series {
	return []series{{`agenthost_plugin_standing{plugin="hello",standing="as configured"}`, "1", "0"}, {fmt.Sprintf(`agenthost_plugin_standing{plugin="hello",standing=%q}`, other), "0", "1"}}
}

// gone is a host of which nothing is left but that it is not there.
func gone() []series {
	all := slices.Clone(quiet)
	for i := range all {
		all[i].during = "_"
	}
	all[0].during = "0"
	return all
}

// notation is promtool's: an expansion for each of the two parts.
func (s series) notation() map[string]string {
	name, labels, _ := strings.Cut(strings.TrimSuffix(s.name, "}"), "{")
	all := []string{`job="agenthost"`}
	if !strings.Contains(labels, "instance=") {
		all = append(all, `instance="a"`)
	}
	if labels != "" {
		all = append(all, labels)
	}
	before, reached := expanded(s.before, 0, quietMinutes-1)
	during, _ := expanded(s.during, reached, incidentMinutes)
	return map[string]string{"series": name + "{" + strings.Join(all, ",") + "}", "values": before + " " + during}
}

// expanded is a part, and what a counter has reached in it.
func expanded(part string, from, steps int) (values string, reached int) {
	if gain, counts := strings.CutPrefix(part, "+"); counts {
		var each int
		fmt.Sscan(gain, &each)
		return fmt.Sprintf("%d+%dx%d", from+each, each, steps), from + each*(steps+1)
	}
	if strings.Contains(part, " ") {
		return part, 0
	}
	if negative, is := strings.CutPrefix(part, "-"); is {
		return fmt.Sprintf("-%s+0x%d", negative, steps), 0
	}
	if part == "_" { // which promtool repeats itself so often, and anything else once more
		steps++
	}
	return fmt.Sprintf("%sx%d", part, steps), 0
}

type promtoolTest struct {
	Name        string              `yaml:"name"`
	Interval    string              `yaml:"interval"`
	InputSeries []map[string]string `yaml:"input_series"`
	Expressions []expression        `yaml:"promql_expr_test"`
}

type expression struct {
	Expr    string           `yaml:"expr"`
	At      string           `yaml:"eval_time"`
	Samples []map[string]any `yaml:"exp_samples"`
}

// firing is which alerts fire at a minute: all of them.
func firing(minute int, alerts []string) expression {
	e := expression{Expr: `count by (alertname, plugin) (ALERTS{alertstate="firing"})`, At: fmt.Sprintf("%dm", minute)}
	for _, alert := range alerts {
		name, plugin, has := strings.Cut(alert, " ")
		labels := fmt.Sprintf(`{alertname=%q}`, name)
		if has {
			labels = fmt.Sprintf(`{alertname=%q, plugin=%q}`, name, plugin)
		}
		e.Samples = append(e.Samples, map[string]any{"labels": labels, "value": 1})
	}
	return e
}

// runPromtool tests rules on what becomes of the quiet series.
func runPromtool(t *testing.T, tests []promtoolTest) {
	t.Helper()
	content, err := yaml.Marshal(map[string]any{
		"rule_files":          []string{hosttest.Root("charts", "agenthost", "monitoring", "alerts.yaml")},
		"evaluation_interval": "2m", "tests": tests,
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tests.yaml")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program(t, "promtool"), "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}

// with are the quiet series with those of an incident in their place.
func with(incident []series) []map[string]string {
	all := map[string]series{}
	for _, s := range slices.Concat(quiet, incident) {
		all[s.name] = s
	}
	var notations []map[string]string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		notations = append(notations, all[name].notation())
	}
	return notations
}

func TestNoAlertFiresInAQuietHour(t *testing.T) {
	test := promtoolTest{Name: "quiet", Interval: "1m", InputSeries: with(nil)}
	for minute := range quietMinutes + incidentMinutes {
		test.Expressions = append(test.Expressions, firing(minute, nil))
	}
	runPromtool(t, []promtoolTest{test})
}

func TestEachRuleFiresInItsIncidentAndInNoOther(t *testing.T) {
	var tests []promtoolTest
	for _, incident := range incidents {
		tests = append(tests, promtoolTest{Name: incident.name, Interval: "1m", InputSeries: with(incident.series), Expressions: []expression{
			firing(quietMinutes-2, nil), firing(quietMinutes+56, incident.fire),
		}})
	}
	runPromtool(t, tests)
}

func TestEachRuleHasAnIncident(t *testing.T) {
	content, err := os.ReadFile(hosttest.Root("charts", "agenthost", "monitoring", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for _, incident := range incidents {
		for _, alert := range incident.fire {
			name, _, _ := strings.Cut(alert, " ")
			covered[name] = true
		}
	}
	rules := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(string(content), -1)
	for _, rule := range rules {
		if !covered[rule[1]] {
			t.Errorf("%s has no incident", rule[1])
		}
	}
	if len(rules) != len(covered) {
		t.Errorf("%d rules, and incidents of %d", len(rules), len(covered))
	}
}
