package flyteconfig

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sound is a configuration without a fault, of which the cases change something.
func sound(t *testing.T, version string, form Form, types ...TaskType) (Target, string) {
	t.Helper()
	target := Target{Flyte: flyte(t, version), Form: form, Endpoint: "dns:///agenthost.flyte.svc.cluster.local:8000", Transport: TransportPlain, Types: types}
	if form == FormBinary && !target.Flyte.Two() {
		target.Endpoint = "k8s:///agenthost.flyte:8000"
	}
	return target, string(print(t, target))
}

// What real Flytes make of these was seen: 1.14.1, 1.15.3, 1.16.8 and 2.0.43 reading the same files.
func TestMistakesAreFoundWhereTheyAre(t *testing.T) {
	duckdb := TaskType{Name: "duckdb_query"}
	for name, c := range map[string]struct {
		flyte    string // 1.16
		form     Form   // config
		old, new string // in what is printed; an empty old: after it
		severity Severity
		key, why string
		noLine   bool // of what is absent
		more     int  // findings that follow from it
	}{
		"a key that nobody knows":     {old: "endpoint: ", new: "endpiont: ", severity: SeverityError, key: "plugins.connector-service.defaultConnector.endpiont", why: "did you mean endpoint?", more: 1},
		"a list that was a mapping":   {old: "- CreateTask: 30s", new: "  CreateTask: 30s", severity: SeverityError, key: "plugins.connector-service.defaultConnector.timeouts", why: "lower-case"},
		"a method that is none":       {old: "- CreateTask: 30s", new: "- CreateTask: 30s\n        - ListAgents: 3s", severity: SeverityError, key: "plugins.connector-service.defaultConnector.timeouts.1.ListAgents", why: "ListConnectors"},
		"a method in another case":    {old: "- CreateTask: 30s", new: "- CreateTask: 30s\n        - gettask: 3s", severity: SeverityError, key: "plugins.connector-service.defaultConnector.timeouts.1.gettask", why: "write GetTask"},
		"a timeout that is too short": {old: "- CreateTask: 30s", new: "- CreateTask: 3s", severity: SeverityWarning, key: "plugins.connector-service.defaultConnector.timeouts.0.CreateTask", why: "restarting"},
		"a duration without a unit":   {old: "defaultTimeout: 10s", new: "defaultTimeout: 10", severity: SeverityError, key: "plugins.connector-service.defaultConnector.defaultTimeout", why: "nanoseconds", more: 1},
		"a duration of parts":         {old: "defaultTimeout: 10s", new: "defaultTimeout: {seconds: 10}", severity: SeverityError, key: "plugins.connector-service.defaultConnector.defaultTimeout", why: "Flyte ignores it"},
		"plugins that are text":       {old: "[container, sidecar, k8s-array, connector-service]", new: "[{connector-service: on}]", severity: SeverityError, key: "tasks.task-plugins.enabled-plugins", why: "a list of names", more: 1},
		"types that are text":         {old: "connector-service]", new: "connector-service]\n    default-for-task-types: spark", severity: SeverityError, key: "tasks.task-plugins.default-for-task-types", why: "a list of one mapping each"},
		"servers that are text":       {new: "    connectors: [other]\n", severity: SeverityError, key: "plugins.connector-service.connectors", why: "a mapping of names"},
		"a duration of words":         {old: "defaultTimeout: 10s", new: "defaultTimeout: 10 sec", severity: SeverityError, key: "plugins.connector-service.defaultConnector.defaultTimeout", why: "does not start"},
		"a timeout of 0":              {old: "defaultTimeout: 10s", new: "defaultTimeout: 0s", severity: SeverityWarning, key: "plugins.connector-service.defaultConnector.defaultTimeout", why: "never ends"},
		"a truth of YAML 1.1":         {old: "insecure: true", new: "insecure: yes", severity: SeverityError, key: "plugins.connector-service.defaultConnector.insecure", why: "true or false", more: 1},
		"TLS":                         {old: "insecure: true", new: "insecure: false", severity: SeverityError, key: "plugins.connector-service.defaultConnector.insecure", why: "does not listen so"},
		"a number of words":           {old: "maxSystemFailures: 1000", new: "maxSystemFailures: many", severity: SeverityError, key: "plugins.connector-service.webApi.caching.maxSystemFailures", why: "a number"},
		"too few failures":            {old: "maxSystemFailures: 1000", new: "maxSystemFailures: 20", severity: SeverityWarning, key: "plugins.connector-service.webApi.caching.maxSystemFailures", why: "RUNNING for ever"},
		"polls too often":             {old: "resyncInterval: 10s", new: "resyncInterval: 1s", severity: SeverityError, key: "plugins.connector-service.webApi.caching.resyncInterval", why: "5 to 3600 s"},
		"polls of none":               {old: "qps: 100", new: "qps: 0", severity: SeverityError, key: "plugins.connector-service.webApi.readRateLimiter.qps", why: "1 to 100000", more: 1},
		"a scheme of the web's":       {old: "endpoint: dns:///", new: "endpoint: http://", severity: SeverityError, key: "plugins.connector-service.defaultConnector.endpoint", why: "insecure"},
		"two slashes":                 {old: "endpoint: dns:///", new: "endpoint: dns://", severity: SeverityError, key: "plugins.connector-service.defaultConnector.endpoint", why: "DNS server"},
		"no port":                     {old: "cluster.local:8000", new: "cluster.local", severity: SeverityError, key: "plugins.connector-service.defaultConnector.endpoint", why: "443"},
		"no namespace":                {old: "dns:///agenthost.flyte.svc.cluster.local:8000", new: "k8s:///agenthost:8000", severity: SeverityError, key: "plugins.connector-service.defaultConnector.endpoint", why: "namespace"},
		"another endpoint":            {old: "agenthost.flyte.svc", new: "agenthost.other.svc", severity: SeverityWarning, key: "plugins.connector-service.defaultConnector.endpoint", why: "asked for"},
		"k8s in Flyte 2":              {flyte: "2", old: "dns:///agenthost.flyte.svc.cluster.local:8000", new: "k8s:///agenthost.flyte:8000", severity: SeverityError, key: "plugins.connector-service.defaultConnector.endpoint", why: "Flyte 2 does not know"},
		"no JSON":                     {old: `'{"load`, new: `'{load`, severity: SeverityError, key: "plugins.connector-service.defaultConnector.defaultServiceConfig", why: "gRPC refuses it"},
		"no text":                     {old: "'{\"loadBalancingConfig\":[{\"round_robin\":{}}],\"methodConfig\":[{\"name\":[{}],\"waitForReady\":true}]}'", new: "{a: b}", severity: SeverityError, key: "plugins.connector-service.defaultConnector.defaultServiceConfig", why: "in quotes", more: 1},
		"calls that do not wait":      {old: `"waitForReady":true`, new: `"waitForReady":false`, severity: SeverityWarning, key: "plugins.connector-service.defaultConnector.defaultServiceConfig", why: "waitForReady"},
		"one address":                 {old: `"round_robin"`, new: `"pick_first"`, severity: SeverityNote, key: "plugins.connector-service.defaultConnector.defaultServiceConfig", why: "round_robin"},
		"no types":                    {old: "[duckdb_query]", new: "[]", severity: SeverityError, key: "plugins.connector-service.supportedTaskTypes", why: "does not start while the host is away"},
		"types with spaces":           {old: "[duckdb_query]", new: "other, duckdb_query", severity: SeverityError, key: "plugins.connector-service.supportedTaskTypes", why: "spaces"},
		"types as a mapping":          {old: "[duckdb_query]", new: "{duckdb_query: agent}", severity: SeverityError, key: "plugins.connector-service.supportedTaskTypes", why: "a list of names", more: 1},
		"a plugin that is not there":  {old: ", connector-service]", new: "]", severity: SeverityError, key: "tasks.task-plugins.enabled-plugins", why: "is not loaded"},
		"a rival":                     {old: "[duckdb_query]", new: "[duckdb_query, container]", severity: SeverityError, key: "tasks.task-plugins.default-for-task-types.container", why: "container, enabled too, claims container", noLine: true},
		"a type of nobody's": {old: "connector-service]", new: "connector-service]\n    default-for-task-types: {a: spark}", severity: SeverityError, key: "tasks.task-plugins.default-for-task-types.a",
			why: "spark is not in tasks.task-plugins.enabled-plugins"},
		"a type with capitals": {old: "connector-service]", new: "connector-service]\n    default-for-task-types: {Some: connector-service}", severity: SeverityError, key: "tasks.task-plugins.default-for-task-types.Some", why: "lower-case"},
		"a type that is not listed": {old: "connector-service]", new: "connector-service]\n    default-for-task-types: {some: connector-service}", severity: SeverityWarning, key: "tasks.task-plugins.default-for-task-types.some",
			why: "when FlytePropeller starts"},
		"a dot in a type":                       {flyte: "1.16.6", old: "connector-service]", new: "connector-service]\n    default-for-task-types: {a.b: connector-service}", severity: SeverityError, key: "tasks.task-plugins.default-for-task-types.a.b", why: "before 1.16.7"},
		"the plugin of before":                  {flyte: "1.14", old: "  agent-service:\n", new: "  connector-service: {}\n  agent-service:\n", severity: SeverityError, key: "plugins.connector-service", why: "came with 1.15.1"},
		"the plugin of Flyte 1":                 {flyte: "2", old: "  connector-service:\n", new: "  agent-service: {}\n  connector-service:\n", severity: SeverityError, key: "plugins.agent-service", why: "Flyte 2 has no agent plugin"},
		"both, of which one is enabled":         {old: "  connector-service:\n", new: "  agent-service: {}\n  connector-service:\n", severity: SeverityWarning, key: "plugins.agent-service", why: "no effect"},
		"both with a type":                      {old: "connector-service]", new: "connector-service, agent-service]\nplugins.agent-service: {supportedTaskTypes: [duckdb_query]}", severity: SeverityError, key: "plugins.agent-service", why: "both claim duckdb_query"},
		"both without":                          {old: "connector-service]", new: "connector-service, agent-service]\nplugins.agent-service: {}", severity: SeverityWarning, key: "plugins.agent-service", why: "is asked first"},
		"a key twice":                           {old: "    supportedTaskTypes:", new: "    supportedTaskTypes: []\n    supportedTaskTypes:", severity: SeverityError, key: "plugins.connector-service.supportedTaskTypes", why: "is there already", more: 1},
		"a key twice in another case":           {old: "    supportedTaskTypes:", new: "    supportedtasktypes: [a]\n    supportedTaskTypes:", severity: SeverityError, key: "plugins.connector-service.supportedTaskTypes", why: "Flyte takes either", more: 1},
		"a second document":                     {new: "---\nplugins: {}\n", severity: SeverityError, key: "", why: "first document"},
		"a section without anything":            {old: "    webApi:\n", new: "    resourceConstraints: 5\n    webApi:\n", severity: SeverityError, key: "plugins.connector-service.resourceConstraints", why: "a mapping"},
		"another server without TLS said":       {new: "    connectors: {other: {endpoint: 'a:1', defaultTimeout: 5s}}\n", severity: SeverityWarning, key: "plugins.connector-service.connectors.other", why: "called over TLS"},
		"another server without a timeout":      {new: "    connectors: {other: {endpoint: 'a:1', insecure: true}}\n", severity: SeverityWarning, key: "plugins.connector-service.connectors.other", why: "never end"},
		"another server without an end":         {new: "    connectors: {other: {insecure: true, defaultTimeout: 5s}}\n", severity: SeverityError, key: "plugins.connector-service.connectors.other", why: "no endpoint"},
		"a type for a server that is not there": {new: "    connectorForTaskTypes: {a: other}\n", severity: SeverityError, key: "plugins.connector-service.connectorForTaskTypes.a", why: "there is no other"},
		"a server with capitals": {new: "    connectors: {oTher: {endpoint: 'a:1', insecure: true, defaultTimeout: 5s}}\n    connectorForTaskTypes: {a: oTher}\n", severity: SeverityError,
			key: "plugins.connector-service.connectorForTaskTypes.a", why: "none is called oTher"},
		"a type with capitals for a server": {new: "    connectors: {other: {endpoint: 'a:1', insecure: true, defaultTimeout: 5s}}\n    connectorForTaskTypes: {aB: other}\n", severity: SeverityError,
			key: "plugins.connector-service.connectorForTaskTypes.aB", why: "write a list"},
		"quotas": {new: "resourcemanager: {type: redis}\n", severity: SeverityNote, key: "plugins.connector-service.resourceConstraints", why: "50 of a namespace", noLine: true},

		"values below a key that the chart leaves out": {form: FormBinary, old: "configuration:\n", new: "configuration:\n  connectorService: {defaultConnector: {insecure: true}}\n", severity: SeverityError,
			key: "configuration.connectorService", why: "write it below configuration.inline.plugins.connector-service"},
		"values of flyte-core likewise":    {form: FormCore, new: "flyteconnector: {plugin_config: {plugins: {connector-service: {}}}}\n", severity: SeverityError, key: "flyteconnector.plugin_config", why: "configmap.k8s.plugins.connector-service"},
		"values without the right to look": {form: FormBinary, old: "rbac:", new: "other:", severity: SeverityError, key: "rbac.extraRules", why: "watch endpoints", noLine: true},
	} {
		t.Run(name, func(t *testing.T) {
			version, form := "1.16", FormConfig
			if c.flyte != "" {
				version = c.flyte
			}
			if c.form != "" {
				form = c.form
			}
			target, text := sound(t, version, form, duckdb)
			if report := Check(target, []Source{{"a.yaml", []byte(text)}}); len(report.Findings) > 0 {
				t.Fatalf("without the mistake:\n%s", describe(report.Findings))
			}
			changed := text + c.new
			if c.old != "" {
				changed = strings.Replace(text, c.old, c.new, 1)
			}
			if changed == text {
				t.Fatalf("there is no %q in\n%s", c.old, text)
			}
			report := Check(target, []Source{{"a.yaml", []byte(changed)}})
			i := slices.IndexFunc(report.Findings, func(f Finding) bool { return f.Key == c.key && strings.Contains(f.Why, c.why) })
			if i < 0 || len(report.Findings) != 1+c.more {
				t.Fatalf("found\n%sin\n%s", describe(report.Findings), changed)
			}
			f := report.Findings[i]
			if f.Severity != c.severity || f.File != "a.yaml" || (f.Line == 0) != c.noLine {
				t.Errorf("found %+v", f)
			}
			if lines := strings.Split(changed, "\n"); f.Line > 0 {
				last := f.Key[strings.LastIndex(f.Key, ".")+1:]
				if around := strings.Join(lines[max(0, f.Line-2):f.Line], "\n"); !strings.Contains(around, last) {
					t.Errorf("line %d is told, which is %q", f.Line, lines[f.Line-1])
				}
			}
			if report.OK != (c.severity == SeverityNote) {
				t.Errorf("ok is %v", report.OK)
			}
		})
	}
}

// What Flyte reads all the same is no mistake.
func TestWhatFlyteReadsIsNoMistake(t *testing.T) {
	for name, c := range map[string][2]string{
		"keys of another case":     {"defaultConnector:", "DEFAULTconnector:"},
		"a truth as a number":      {"insecure: true", "insecure: 1"},
		"a number as text":         {"maxSystemFailures: 1000", `maxSystemFailures: "1000"`},
		"a truth as text":          {"insecure: true", `insecure: "true"`},
		"a list as text":           {"[duckdb_query]", `"duckdb_query,other"`},
		"plugins as text":          {"[container, sidecar, k8s-array, connector-service]", `container, sidecar, Connector-Service`},
		"longer":                   {"CreateTask: 30s", "CreateTask: 1m30s"},
		"longer polls":             {"resyncInterval: 10s", "resyncInterval: 30s"},
		"more waiting":             {`"waitForReady":true`, `"waitForReady":true,"timeout":"20s"`},
		"services by name":         {`{"name":[{}]`, `{"name":[{"service":"flyteidl.service.AsyncAgentService"}]`},
		"an anchor":                {"[duckdb_query]", "&a [duckdb_query]\n    connectorForTaskTypes: &b {}"},
		"another section":          {"\nplugins:\n", "\nlogger: {level: 5}\nplugins:\n  k8s: {default-cpus: 1}\n"},
		"one's own choice":         {"connector-service]", "connector-service, spark]\n    default-for-task-types: {spark: spark}"},
		"more of the rate limiter": {"burst: 1000", "burst: 5"},
	} {
		t.Run(name, func(t *testing.T) {
			target, text := sound(t, "1.16", FormConfig, TaskType{Name: "duckdb_query"})
			changed := strings.Replace(text, c[0], c[1], 1)
			if changed == text {
				t.Fatalf("there is no %q in\n%s", c[0], text)
			}
			if report := Check(target, []Source{{"a.yaml", []byte(changed)}}); len(report.Findings) > 0 {
				t.Errorf("found\n%sin\n%s", describe(report.Findings), changed)
			}
		})
	}
}

// Files are merged as Flyte merges them: lists are replaced, mappings become one, and what is no mapping does not replace one.
func TestFilesAreMergedAsFlyteDoes(t *testing.T) {
	target, text := sound(t, "1.16", FormConfig, TaskType{Name: "duckdb_query"})
	check := func(others ...string) []Finding {
		sources := []Source{{"0.yaml", []byte(text)}}
		for _, other := range others {
			sources = append(sources, Source{"1.yaml", []byte(other)})
		}
		return Check(target, sources).Findings
	}
	if found := check("plugins: {connector-service: {webApi: {caching: {workers: 20}}}}", "plugins.connector-service.pollInterval: 5s"); len(found) > 0 {
		t.Errorf("what adds something: %s", describe(found))
	}
	found := check("tasks: {task-plugins: {enabled-plugins: [container]}}")
	if len(found) != 1 || found[0].File != "1.yaml" || found[0].Line != 1 || !strings.Contains(found[0].Why, "is not loaded") {
		t.Errorf("a list that replaces one: %s", describe(found))
	}
	found = check("plugins: {connector-service: {defaultConnector: }}")
	if len(found) != 1 || !strings.Contains(found[0].Why, "Flyte ignores it: 0.yaml:") {
		t.Errorf("nothing in the place of a mapping: %s", describe(found))
	}
}

const configMapsOfACluster = `apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: flytepropeller}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: flyte-admin-base-config}
  data:
    server.yaml: |
      server: {httpPort: 8088}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: flyte-propeller-config}
  data:
    z.yaml: "plugins: {connector-service: {webApi: {caching: {maxSystemFailures: 7}}}}"
    note.txt: 'this is no YAML, but: [see'
    enabled_plugins.yaml: |
      tasks:
        task-plugins:
          enabled-plugins: [container, connector-service]
      plugins:
        connector-service:
          supportedTaskTypes: []
`

func TestConfigMapsAreReadAsDirectories(t *testing.T) {
	report := Check(Target{}, []Source{{"-", []byte(configMapsOfACluster)}})
	if report.Flyte != "1.16" || report.Plugin != "connector-service" {
		t.Errorf("it is taken for %+v", report)
	}
	at := map[string]int{}
	for _, f := range report.Findings {
		at[f.Key] = f.Line
	}
	for key, line := range map[string]int{
		"items.2.data.enabled_plugins.yaml.plugins.connector-service.supportedTaskTypes": 25,
		"items.2.data.z.yaml.plugins.connector-service.webApi.caching.maxSystemFailures": 17,
		"plugins.connector-service.defaultConnector.endpoint":                            0,
	} {
		if got, found := at[key]; !found || got != line {
			t.Errorf("%s is told in line %d (%v), not %d:\n%s", key, got, found, line, describe(report.Findings))
		}
	}
	if strings.Contains(describe(report.Findings), "admin") {
		t.Errorf("another ConfigMap is looked at:\n%s", describe(report.Findings))
	}
}

// A chart's own values count, and those of a chart that has Flyte's as a part are below its name.
func TestValuesAreReadAsTheChartDoes(t *testing.T) {
	for _, version := range []string{"1.14", "1.15", "1.16", "2"} {
		target, text := sound(t, version, FormBinary, TaskType{Name: "duckdb_query"})
		wrapped := "flyte-binary:\n  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
		asked := target
		asked.Form = ""
		if report := Check(asked, []Source{{"v.yaml", []byte(wrapped)}}); len(report.Findings) > 0 || report.Form != FormBinary {
			t.Errorf("Flyte %s: %+v\n%s", version, report, describe(report.Findings))
		}
	}
	// With the chart's own connector its section counts, mistakes and all.
	report := Check(Target{Flyte: FlyteConnectors}, []Source{{"v.yaml", []byte("flyteconnector: {enabled: true}\nconfiguration: {inline: {plugins: {connector-service: {supportedTaskTypes: [a]}}}}\nrbac: {create: false}")}})
	if text := describe(report.Findings); !strings.Contains(text, "the chart's own values: error: defaultConnector.timeouts") || strings.Contains(text, "no task reaches") {
		t.Errorf("%s", text)
	}
}

// A file that is nothing of Flyte's is told as such, and so is one that is no YAML.
func TestWhatIsNoConfigurationIsTold(t *testing.T) {
	for text, why := range map[string]string{
		"":                             "no configuration of Flyte's",
		"- a\n- b":                     "expected a mapping",
		"a: [":                         "cannot be read as YAML",
		"kind: Pod\napiVersion: v1":    "no configuration of Flyte's",
		"a: &a [*a]":                   "aliases that contain themselves",
		"{a: b}\n---\n{plugins: {}}\n": "first document",
	} {
		report := Check(Target{}, []Source{{"a.yaml", []byte(text)}})
		if report.OK || !strings.Contains(describe(report.Findings), why) {
			t.Errorf("%q: %s", text, describe(report.Findings))
		}
	}
}

// A few lines of aliases stand for more values than there is memory.
func TestAliasesThatMultiplyAreRefused(t *testing.T) {
	text := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 30 {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	if report := Check(Target{}, []Source{{"a.yaml", []byte(text + "plugins: *a30\n")}}); !strings.Contains(describe(report.Findings), "more values than a configuration") {
		t.Errorf("%s", describe(report.Findings))
	}
}

func FuzzCheck(f *testing.F) {
	for _, form := range Forms {
		target := Target{Flyte: FlyteConnectors, Form: form, Endpoint: "dns:///a:8000", Transport: TransportPlain, Types: []TaskType{{Name: "spark"}}}
		f.Add(print(f, target), "", "")
	}
	f.Add([]byte(configMapsOfACluster), "1.14", "")
	f.Add([]byte("a: &a {<<: *a, b: [*a, *a]}\nplugins: *a\n.: {..: 1}\ntasks.task-plugins: []"), "2", "flyte-binary")
	f.Add([]byte("flyteconnector: {enabled: true, plugin_config: }\nconfigmap: \nrbac: {extraRules: [1, {verbs: }]}"), "1.15", "flyte-core")
	f.Fuzz(func(t *testing.T, text []byte, version, form string) {
		target := Target{Types: []TaskType{{Name: "spark"}, {Name: "a", Sync: true}}}
		target.Flyte, _ = ParseFlyte(version) // none: what the file looks like
		if slices.Contains(Forms, Form(form)) {
			target.Form = Form(form)
		}
		report := Check(target, []Source{{"a.yaml", text}, {"b.yaml", text}})
		for _, finding := range report.Findings {
			if finding.Why == "" || finding.Severity == "" || len(finding.Found) > 1000 {
				t.Errorf("%+v", finding)
			}
		}
	})
}
