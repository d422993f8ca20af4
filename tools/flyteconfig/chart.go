package flyteconfig

import (
	"fmt"
	"maps"
	"slices"
)

// chartValues are what the charts have by themselves, as far as it matters here.
const (
	chartPluginsYAML = `
enabled_plugins:
  tasks:
    task-plugins:
      enabled-plugins: [container, sidecar, k8s-array, %s, echo]
      default-for-task-types: {container: container, sidecar: sidecar, container_array: k8s-array}
`
	chart2PluginsYAML = `
enabled_plugins:
  tasks:
    task-plugins:
      default-for-task-types: {container: container, sidecar: sidecar, container_array: k8s-array}
`
	// The section of a connector of flytekit's, which the charts can deploy, too.
	agentSectionYAML     = "defaultAgent: {endpoint: 'dns:///flyteagent.flyte.svc.cluster.local:8000', insecure: true, defaultTimeout: 10s, timeouts: {GetTask: 10s}}"
	connectorSectionYAML = "defaultConnector: {endpoint: 'k8s://flyteconnector.flyte:8000', insecure: true, defaultTimeout: 10s, timeouts: {GetTask: 10s, ListAgents: 3s}}"
	agentCoreYAML        = "plugins: {agent-service: {supportedTaskTypes: [], defaultAgent: {endpoint: 'dns:///flyteagent.flyte.svc.cluster.local:8000', insecure: true}}}"
	connectorCoreYAML    = "plugins: {connector-service: {supportedTaskTypes: [], defaultConnector: {endpoint: 'k8s://flyteconnector.flyte:8000', insecure: true}}}"
)

// coreFiles are the files of FlytePropeller's ConfigMap that flyte-core makes of the values of the same names.
var coreFiles = []string{"admin", "catalog", "catalog_cache", "copilot", "core", "enabled_plugins", "k8s", "logger", "otel", "qubole", "resource_manager", "task_logs"}

// bundle is the connector that the charts can deploy, by its names there.
type bundle struct {
	plugin  string // of Flyte's that calls it
	chart   string // its values
	section string // where flyte-binary has the plugin's section
	file    string // that flyte-core makes of its values
	binary  string // the section of flyte-binary, and what flyte-core has, by themselves
	core    string
}

func (f Flyte) bundle() bundle {
	if f.before(16, 0) {
		return bundle{agentNames.plugin, "flyteagent", "agentService", "agent_service", agentSectionYAML, agentCoreYAML}
	}
	return bundle{connectorNames.plugin, "flyteconnector", "connectorService", "connector_service", connectorSectionYAML, connectorCoreYAML}
}

// chartFile is the file of what stands in none that was given.
const chartFile = "the chart's own values"

func chartValue(content string) *value {
	read, _ := documents(Source{chartFile, []byte(content)})
	read[0].value.unnumbered()
	return read[0].value
}

// unnumbered takes the lines away, which are of no file.
func (v *value) unnumbered() {
	v.at.Line = 0
	for _, item := range v.items {
		item.unnumbered()
	}
	for _, e := range v.entries {
		e.value.unnumbered()
	}
}

// render makes of values the files that a chart makes of them.
func (c *checker) render() {
	bundled, values := c.target.Flyte.bundle(), c.config.values
	deployed := isTrue(values.exactly(bundled.chart).exactly("enabled")) && !c.target.Flyte.Two()
	defaults := chartValue(chart2PluginsYAML)
	if !c.target.Flyte.Two() {
		defaults = chartValue(fmt.Sprintf(chartPluginsYAML, bundled.plugin))
	}
	add := func(name string, v *value) {
		if v != nil && v.kind == mapping {
			c.config.layers = append(c.config.layers, layer{name, v})
		}
	}
	unused := func(v *value, instead string) {
		if v != nil && v.kind != null && !deployed {
			c.tell(SeverityError, v, fmt.Sprintf("the chart leaves it out unless %s.enabled, with which it deploys a connector of flytekit's, too; write it below %s.plugins.%s", bundled.chart, instead, bundled.plugin))
		}
	}
	if c.target.Form == FormBinary {
		add("001-plugins.yaml", under("tasks", overlay(defaults, values).path("enabled_plugins", "tasks")))
		section := values.exactly("configuration").exactly(bundled.section)
		if unused(section, "configuration.inline"); deployed {
			add("001-plugins.yaml", under("plugins", under(bundled.plugin, overlay(chartValue(bundled.binary), orEmpty(section)))))
		}
		add("100-inline-config.yaml", values.exactly("configuration").exactly("inline"))
		return
	}
	files := overlay(defaults, orEmpty(values.exactly("configmap"))).byName()
	for name := range files {
		if !slices.Contains(coreFiles, name) {
			delete(files, name)
		}
	}
	section := values.exactly(bundled.chart).exactly("plugin_config")
	if unused(section, "configmap.k8s"); deployed {
		files[bundled.file] = overlay(chartValue(bundled.core), orEmpty(section))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		add(name+".yaml", files[name])
	}
}

// under puts a value below a key.
func under(key string, v *value) *value {
	if v == nil {
		return nil
	}
	return &value{kind: mapping, at: v.at, entries: []*entry{{key, v}}}
}

func orEmpty(v *value) *value {
	if v == nil || v.kind != mapping {
		return &value{kind: mapping}
	}
	return v
}

func isTrue(v *value) bool { return v != nil && truth(v) }
