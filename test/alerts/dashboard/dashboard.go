// Package dashboard is the source of the dashboard for Grafana that comes with the host, charts/agenthost/monitoring/dashboard.json. It is
// written with Grafana's own types, so that what it says is what Grafana reads.
package dashboard

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Query is an expression with how its series are called. In it, {host} and {plugin} stand for what the variables of the dashboard select.
type Query struct {
	Expr, Legend string
	// Only says what it takes for the expression to find anything; empty: a host with a plugin that has calls.
	Only string
}

// Expanded is the expression as Grafana gets it.
func (q Query) Expanded() string {
	return strings.NewReplacer("{host}", `job=~"$job", instance=~"$instance"`, "{plugin}", `job=~"$job", instance=~"$instance", plugin=~"$plugin"`).Replace(q.Expr)
}

// Panel is what one shows.
type Panel struct {
	Title, Description, Unit string
	Kind                     Kind
	Width                    uint32 // of 24; 0: 8
	Queries                  []Query
}

// Kind is how a panel shows it.
type Kind int

// The kinds.
const (
	Lines Kind = iota // over time
	Number
	States // of plugins, over time
	Table  // a table of what is now
)

// Row is a group of panels.
type Row struct {
	Title  string
	Panels []Panel
}

// PluginStates are the states of a plugin with their colors. Their order is what the timeline's numbers mean.
var PluginStates = []struct{ Name, Color string }{
	{"running", "green"}, {"starting", "blue"}, {"unresponsive", "red"}, {"restarting", "orange"}, {"crash-looping", "dark-red"}, {"refused", "purple"},
	{"draining", "light-blue"}, {"stopped", "text"}, {"disabled", "text"},
}

func stateOverTime() string {
	numbers := make([]string, len(PluginStates))
	for i, state := range PluginStates {
		numbers[i] = fmt.Sprintf(`%d * agenthost_plugin_state{{plugin}, state=%q}`, i+1, state.Name)
	}
	return "max by (instance, plugin) (" + strings.Join(numbers, " or ") + ")"
}

// ofGeneration is a rate of generations with what they are for.
func ofGeneration(metric, matchers, by string) string {
	return fmt.Sprintf(`sum by (plugin, role%s) (rate(%s{{plugin}%s}[$__rate_interval]) * on (instance, plugin, generation) group_left (role) agenthost_generation_info{{plugin}})`, by, metric, matchers)
}

const (
	onlyWaiting = "calls that wait"
	onlyFailure = "calls that fail"
	onlyCanary  = "a rollout"
	onlyLimit   = "a limit that was reached"
	onlyAlert   = "an alert that fires"
	onlyMemory  = "sandbox.memory"
	onlySecrets = "secrets in stores"
	onlyTLS     = "listen.tls"
	onlyIssuer  = "access.issuers"
	onlyRefused = "what the host refused"
	onlySaved   = "a guarantee that acted"
)

// Rows are all of it, from the first look to the last detail.
var Rows = []Row{
	{"Overview", []Panel{
		{Title: "Hosts ready", Kind: Number, Width: 3, Queries: []Query{{Expr: `sum(agenthost_ready{{host}})`}}},
		{Title: "Plugins running", Kind: Number, Width: 3, Queries: []Query{{Expr: `sum(agenthost_plugin_state{{plugin}, state="running"})`}}},
		{Title: "Not as configured", Description: "Plugins that are failing or refused; a host's status says why.", Kind: Number, Width: 3, Queries: []Query{{Expr: `sum(agenthost_plugin_standing{{plugin}, standing=~"failing|refused"})`}}},
		{Title: "Calls a second", Kind: Number, Unit: "reqps", Width: 3, Queries: []Query{{Expr: `sum(rate(agenthost_calls_total{{plugin}}[$__rate_interval]))`}}},
		{Title: "Calls that fail", Kind: Number, Unit: "percentunit", Width: 3, Queries: []Query{{Expr: `(sum(rate(agenthost_calls_total{{plugin}, code!="OK"}[$__rate_interval])) or vector(0)) / sum(rate(agenthost_calls_total{{plugin}}[$__rate_interval]))`}}},
		{Title: "Saved by a guarantee", Description: "Calls a second that a guarantee saved from what Flyte would not forgive (agenthost_guarantee_total).", Kind: Number, Unit: "reqps", Width: 3, Queries: []Query{{Expr: `sum(rate(agenthost_guarantee_total{{plugin}}[$__rate_interval])) or vector(0)`}}},
		{Title: "Tasks on record", Description: "Accepted, and without a job yet: agenthost pending.", Kind: Number, Width: 3, Queries: []Query{{Expr: `sum(agenthost_creations_on_record{{plugin}})`}}},
		{Title: "Versions", Kind: Number, Width: 3, Queries: []Query{{Expr: `count by (version) (agenthost_build_info{{host}})`, Legend: "{{version}}"}}},
		{Title: "Plugins", Kind: States, Width: 16, Queries: []Query{{Expr: stateOverTime(), Legend: "{{plugin}} at {{instance}}"}}},
		{Title: "Alerts", Description: "Each has its section in docs/operating.md.", Kind: Table, Queries: []Query{{Expr: `count by (alertname, severity, plugin, instance) (ALERTS{alertstate="firing", alertname=~"Agenthost.*"})`, Only: onlyAlert}}},
	}},
	{"Calls", []Panel{
		{Title: "Calls by plugin", Unit: "reqps", Queries: []Query{{Expr: `sum by (plugin) (rate(agenthost_calls_total{{plugin}}[$__rate_interval]))`, Legend: "{{plugin}}"}}},
		{Title: "Calls by method", Unit: "reqps", Queries: []Query{{Expr: `sum by (method) (rate(agenthost_calls_total{{plugin}}[$__rate_interval]))`, Legend: "{{method}}"}}},
		{Title: "Calls that fail", Unit: "reqps", Queries: []Query{{Expr: `sum by (plugin, method, code) (rate(agenthost_calls_total{{plugin}, code!="OK"}[$__rate_interval]))`, Legend: "{{plugin}} {{method}} {{code}}", Only: onlyFailure}}},
		{Title: "Time of polls, 99 of 100", Unit: "s", Queries: []Query{{Expr: `histogram_quantile(0.99, sum by (le, plugin) (rate(agenthost_call_duration_seconds_bucket{{plugin}, method="GetTask"}[$__rate_interval])))`, Legend: "{{plugin}}"}}},
		{Title: "Time of creations, 99 of 100", Description: "The wait for a plugin that restarts is in it.", Unit: "s", Queries: []Query{{Expr: `histogram_quantile(0.99, sum by (le, plugin) (rate(agenthost_call_duration_seconds_bucket{{plugin}, method=~"CreateTask|ExecuteTaskSync"}[$__rate_interval])))`, Legend: "{{plugin}}"}}},
		{Title: "Calls under way at plugins", Queries: []Query{{Expr: `sum by (plugin) (agenthost_plugin_calls_in_flight{{plugin}})`, Legend: "{{plugin}}"}}},
		{Title: "Calls that no plugin serves, or that are not allowed", Unit: "reqps", Width: 24, Queries: []Query{{Expr: `sum by (method, code) (rate(agenthost_calls_total{{host}, plugin="", code!="OK"}[$__rate_interval]))`, Legend: "{{method}} {{code}}", Only: onlyFailure}}},
	}},
	{"Plugins", []Panel{
		{Title: "Starts after the first", Description: "In the time that a point stands for.", Queries: []Query{{Expr: `sum by (instance, plugin) (increase(agenthost_plugin_restarts_total{{plugin}}[$__rate_interval]))`, Legend: "{{plugin}} at {{instance}}"}, {Expr: `sum by (instance, plugin) (increase(agenthost_plugin_memory_restarts_total{{plugin}}[$__rate_interval]))`, Legend: "{{plugin}} at {{instance}}, for its memory"}, {Expr: `sum by (instance, plugin) (increase(agenthost_plugin_oom_kills_total{{plugin}}[$__rate_interval]))`, Legend: "{{plugin}} at {{instance}}, OOM kills"}}},
		{Title: "Memory", Unit: "bytes", Queries: []Query{{Expr: `sum by (instance, plugin) (agenthost_plugin_memory_bytes{{plugin}})`, Legend: "{{plugin}} at {{instance}}"}, {Expr: `sum by (instance, plugin) (agenthost_plugin_memory_limit_bytes{{plugin}} * agenthost_plugin_processes{{plugin}})`, Legend: "limit of {{plugin}} at {{instance}}", Only: onlyMemory}}},
		{Title: "Processors", Queries: []Query{{Expr: `sum by (instance, plugin) (rate(agenthost_plugin_cpu_seconds_total{{plugin}}[$__rate_interval]))`, Legend: "{{plugin}} at {{instance}}"}}},
		{Title: "What runs", Kind: Table, Width: 12, Queries: []Query{{Expr: `count by (plugin, version, sdk) (agenthost_plugin_info{{plugin}})`}}},
		{Title: "Not as it should be", Description: "Swaps that failed, less than the sandbox, secrets that cannot be read.", Width: 12, Queries: []Query{
			{Expr: `sum by (plugin) (agenthost_plugin_swap_failed{{plugin}})`, Legend: "{{plugin}}: swap failed"},
			{Expr: `sum by (plugin) (agenthost_plugin_sandbox_degraded{{plugin}})`, Legend: "{{plugin}}: sandbox degraded"},
			{Expr: `sum by (plugin) (agenthost_plugin_secrets_unread{{plugin}})`, Legend: "{{plugin}}: secrets unread", Only: onlySecrets},
		}},
	}},
	{"Canary beside current", []Panel{
		{Title: "Calls", Unit: "reqps", Width: 6, Queries: []Query{{Expr: ofGeneration("agenthost_generation_calls_total", "", ""), Legend: "{{plugin}} {{role}}"}}},
		{Title: "Share that fails", Description: "As the plugin answered, whatever Flyte heard.", Unit: "percentunit", Width: 6, Queries: []Query{{Expr: ofGeneration("agenthost_generation_calls_total", `, outcome="error"`, "") + " / " + ofGeneration("agenthost_generation_calls_total", `, outcome!="canceled"`, ""), Legend: "{{plugin}} {{role}}"}}},
		{Title: "Time of a call, 99 of 100", Unit: "s", Width: 6, Queries: []Query{{Expr: "histogram_quantile(0.99, " + ofGeneration("agenthost_generation_call_duration_seconds_bucket", "", ", le") + ")", Legend: "{{plugin}} {{role}}"}}},
		{Title: "Time of a call on the canary less that on the current", Description: "The mean, in seconds.", Unit: "s", Width: 6, Queries: []Query{{Expr: mean("canary") + " - " + mean("current"), Legend: "{{plugin}}", Only: onlyCanary}}},
		{Title: "Generations", Kind: Table, Width: 24, Queries: []Query{{Expr: `count by (plugin, generation, version, role) (agenthost_generation_info{{plugin}})`}}},
	}},
	{"Guarantees", []Panel{
		{Title: "How often each saved a call", Description: "docs/reference/guarantees.md says what each is.", Unit: "reqps", Width: 12, Queries: []Query{{Expr: `sum by (guarantee) (rate(agenthost_guarantee_total{{plugin}}[$__rate_interval]))`, Legend: "{{guarantee}}", Only: onlySaved}}},
		{Title: "Share of polls answered with the last known status (G5)", Unit: "percentunit", Width: 12, Queries: []Query{{Expr: `sum by (plugin) (rate(agenthost_guarantee_total{{plugin}, guarantee="G5"}[$__rate_interval])) / sum by (plugin) (rate(agenthost_calls_total{{plugin}, method="GetTask"}[$__rate_interval]))`, Legend: "{{plugin}}", Only: onlySaved}}},
	}},
	{"Waiting", []Panel{
		{Title: "Calls that wait", Description: "Each by what it waits for.", Queries: []Query{{Expr: `sum by (plugin, on) (agenthost_calls_waiting{{plugin}})`, Legend: "{{plugin}} on {{on}}", Only: onlyWaiting}}},
		{Title: "The call that has waited for longest", Unit: "s", Queries: []Query{{Expr: `max by (plugin, on) (agenthost_calls_waiting_oldest_seconds{{plugin}})`, Legend: "{{plugin}} on {{on}}", Only: onlyWaiting}}},
		{Title: "Calls on generations that are to go", Queries: []Query{{Expr: `sum by (plugin) (agenthost_plugin_draining_calls{{plugin}})`, Legend: "{{plugin}}"}}},
		{Title: "Jobs that run", Queries: []Query{{Expr: `sum by (plugin) (agenthost_plugin_jobs{{plugin}})`, Legend: "{{plugin}}"}}},
		{Title: "Tasks on record without a job", Queries: []Query{{Expr: `sum by (plugin) (agenthost_creations_on_record{{plugin}})`, Legend: "{{plugin}}"}}},
		{Title: "Calls that met a limit of their plugin", Unit: "reqps", Queries: []Query{{Expr: `sum by (plugin, limit, outcome) (rate(agenthost_limited_total{{plugin}}[$__rate_interval]))`, Legend: "{{plugin}} {{limit}} {{outcome}}", Only: onlyLimit}}},
		{Title: "Tasks turned away (G17), jobs given up (G6) or unknown (G7)", Unit: "reqps", Queries: []Query{{Expr: `sum by (plugin, guarantee) (rate(agenthost_guarantee_total{{plugin}, guarantee=~"G6|G7|G17"}[$__rate_interval]))`, Legend: "{{plugin}} {{guarantee}}", Only: onlySaved}}},
	}},
	{"Host", []Panel{
		{Title: "Memory of the host itself", Unit: "bytes", Queries: []Query{{Expr: `process_resident_memory_bytes{{host}}`, Legend: "{{instance}}"}, {Expr: `go_memstats_heap_inuse_bytes{{host}}`, Legend: "heap of {{instance}}"}}},
		{Title: "Processors of the host itself", Queries: []Query{{Expr: `rate(process_cpu_seconds_total{{host}}[$__rate_interval])`, Legend: "{{instance}}"}}},
		{Title: "Up since", Unit: "dateTimeAsIso", Kind: Number, Queries: []Query{{Expr: `1000 * process_start_time_seconds{{host}}`, Legend: "{{instance}}"}}},
		{Title: "Open files", Unit: "percentunit", Queries: []Query{{Expr: `process_open_fds{{host}} / process_max_fds{{host}}`, Legend: "{{instance}}"}}},
		{Title: "Connections", Queries: []Query{{Expr: `agenthost_connections{{host}}`, Legend: "{{listener}} of {{instance}}"}}},
		{Title: "Connections refused or evicted", Unit: "cps", Queries: []Query{{Expr: `rate(agenthost_connections_refused_total{{host}}[$__rate_interval])`, Legend: "{{listener}} of {{instance}}, refused"}, {Expr: `rate(agenthost_connections_evicted_total{{host}}[$__rate_interval])`, Legend: "{{listener}} of {{instance}}, evicted"}}},
		{Title: "Memory for large messages", Unit: "percentunit", Queries: []Query{{Expr: `agenthost_memory_under_way_bytes{{host}} / agenthost_memory_limit_bytes{{host}}`, Legend: "{{of}} at {{instance}}"}}},
		{Title: "Refused by limits of the host", Unit: "reqps", Queries: []Query{{Expr: `sum by (instance, limit) (rate(agenthost_refused_total{{host}}[$__rate_interval]))`, Legend: "{{limit}} at {{instance}}", Only: onlyRefused}}},
		{Title: "Log lines lost, pulls that fail, rollbacks", Description: "In the time that a point stands for.", Queries: []Query{
			{Expr: `increase(agenthost_log_lines_lost_total{{host}}[$__rate_interval])`, Legend: "{{instance}}: log lines"},
			{Expr: `increase(agenthost_image_pull_failures_total{{host}}[$__rate_interval])`, Legend: "{{instance}}: pulls"},
			{Expr: `increase(agenthost_rollbacks_total{{host}}[$__rate_interval])`, Legend: "{{instance}}: rollbacks"},
		}},
		{Title: "Configuration", Description: "1: the files are sound; and: they are watched.", Queries: []Query{{Expr: `agenthost_config_valid{{host}}`, Legend: "{{instance}}: sound"}, {Expr: `agenthost_config_watched{{host}}`, Legend: "{{instance}}: watched"}, {Expr: `agenthost_config_last_sound{{host}}`, Legend: "{{instance}}: runs the last sound one"}}},
		{Title: "Time left of certificates", Unit: "s", Queries: []Query{{Expr: `agenthost_tls_certificate_expiry_timestamp_seconds{{host}} - time()`, Legend: "{{instance}}", Only: onlyTLS}}},
		{Title: "Age of issuers' keys", Unit: "s", Queries: []Query{{Expr: `time() - (agenthost_issuer_keys_read_timestamp_seconds{{host}} > 0)`, Legend: "{{issuer}} at {{instance}}", Only: onlyIssuer}}},
	}},
}

// mean is the mean time of a call on the generations of a role.
func mean(role string) string {
	of := func(metric string) string {
		return fmt.Sprintf(`sum by (plugin) (rate(%s{{plugin}}[$__rate_interval]) * on (instance, plugin, generation) group_left () agenthost_generation_info{{plugin}, role=%q})`, metric, role)
	}
	return of("agenthost_generation_call_duration_seconds_sum") + " / " + of("agenthost_generation_call_duration_seconds_count")
}

// New is the dashboard.
//
//nolint:staticcheck // Grafana reads the second form from version 12 on, and many have an older one
func New() (dashboard.Dashboard, error) {
	built := dashboard.NewDashboardBuilder("agenthost").
		Uid("agenthost").
		Description("Flyte's agents behind agenthost: what serves, what waits, and what was saved. Generated from test/alerts/dashboard.").
		Tags([]string{"flyte", "agenthost"}).
		Time("now-3h", "now").
		Refresh("30s").
		Timezone(common.TimeZoneBrowser).
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("What to do").Type(dashboard.DashboardLinkTypeLink).Url("https://github.com/agenthost/agenthost/blob/main/docs/operating.md").TargetBlank(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(variable("job", "Job", "label_values(agenthost_build_info, job)")).
		WithVariable(variable("instance", "Host", `label_values(agenthost_build_info{job=~"$job"}, instance)`)).
		WithVariable(variable("plugin", "Plugin", `label_values(agenthost_plugin_state{job=~"$job", instance=~"$instance"}, plugin)`)).
		Annotation(dashboard.NewAnnotationQueryBuilder().Name("Alerts").Datasource(source()).Enable(true).IconColor("red").
			Expr(`ALERTS{alertstate="firing", alertname=~"Agenthost.*"}`))
	var id uint32
	for _, row := range Rows {
		built.WithRow(dashboard.NewRowBuilder(row.Title))
		for _, panel := range row.Panels {
			id++
			built.WithPanel(panel.build(id))
		}
	}
	return built.Build()
}

func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

func variable(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source()).Query(dashboard.StringOrMap{String: &query}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(".+").
		Current(dashboard.VariableOption{Selected: cog.ToPtr(true), Text: dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}}, Value: dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}}})
}

func (p Panel) build(id uint32) cog.Builder[dashboard.Panel] {
	width, height := p.Width, uint32(8)
	if width == 0 {
		width = 8
	}
	switch p.Kind {
	case Number:
		height = 4
		if width >= 8 {
			height = 8
		}
		of := stat.NewPanelBuilder().Id(id).Title(p.Title).Description(p.Description).Datasource(source()).Unit(p.Unit).Span(width).Height(height).
			GraphMode(common.BigValueGraphModeNone).ColorMode(common.BigValueColorModeNone)
		for i, q := range p.Queries {
			of.WithTarget(q.build(i).Instant())
		}
		return of
	case States:
		of := statetimeline.NewPanelBuilder().Id(id).Title(p.Title).Description(p.Description).Datasource(source()).Span(width).Height(height).
			Mappings([]dashboard.ValueMapping{stateNames()}).ShowValue(common.VisibilityModeNever)
		for i, q := range p.Queries {
			of.WithTarget(q.build(i))
		}
		return of
	case Table:
		of := table.NewPanelBuilder().Id(id).Title(p.Title).Description(p.Description).Datasource(source()).Span(width).Height(height).
			WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{"excludeByName": map[string]bool{"Time": true, "Value": true}}})
		for i, q := range p.Queries {
			of.WithTarget(q.build(i).Instant().Format(prometheus.PromQueryFormatTable))
		}
		return of
	default:
		of := timeseries.NewPanelBuilder().Id(id).Title(p.Title).Description(p.Description).Datasource(source()).Unit(p.Unit).Span(width).Height(height).
			Min(0).FillOpacity(8).ShowPoints(common.VisibilityModeNever)
		if p.Queries[0].Only == onlyCanary {
			of.Min(-1)
		}
		for i, q := range p.Queries {
			of.WithTarget(q.build(i))
		}
		return of
	}
}

func (q Query) build(n int) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(string(rune('A' + n))).Datasource(source()).Expr(q.Expanded()).LegendFormat(q.Legend).Range()
}

func stateNames() dashboard.ValueMapping {
	names := map[string]dashboard.ValueMappingResult{}
	for i, state := range PluginStates {
		names[strconv.Itoa(i+1)] = dashboard.ValueMappingResult{Text: cog.ToPtr(state.Name), Color: cog.ToPtr(state.Color), Index: cog.ToPtr(int32(i))}
	}
	return dashboard.ValueMapping{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: names}}
}
