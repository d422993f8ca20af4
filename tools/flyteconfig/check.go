package flyteconfig

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Finding is what a configuration lacks or has wrong.
type Finding struct {
	Severity Severity `json:"severity"`
	// Where it is; of what is absent the key alone says where it belongs.
	Position
	// What is there, in YAML; absent where nothing is.
	Found string `json:"found,omitempty"`
	// What should be there, in YAML; absent where that is for the reader to say.
	Want string `json:"want,omitempty"`
	Why  string `json:"why"`
}

// Report is what was found in some files.
type Report struct {
	// OK says that there is nothing that keeps tasks from the host, or costs some when something is away.
	OK bool `json:"ok"`
	// Flyte is the version that they were read for, and Plugin the one of Flyte's plugins that calls the host.
	Flyte  string `json:"flyte"`
	Plugin string `json:"plugin"`
	// Form is what the files are.
	Form     Form      `json:"form"`
	Findings []Finding `json:"findings"`
}

// Check says what files lack or have wrong. A target without a version or a form is what the files look like.
func Check(target Target, sources []Source) Report {
	found, findings := configurations(sources, target.Form)
	report := Report{Findings: append([]Finding{}, findings...), Form: target.Form}
	if target.Flyte != (Flyte{}) {
		report.Flyte, report.Plugin = target.Flyte.String(), target.Flyte.names().plugin
	}
	if len(found) == 0 {
		report.Findings = append(report.Findings, Finding{
			Severity: SeverityError, Position: Position{File: sourceNames(sources)},
			Why: "there is no configuration of Flyte's in it: neither tasks.task-plugins nor plugins, nor values of its charts",
		})
	}
	for i, c := range found {
		checked := newChecker(target, c)
		checked.check()
		report.Findings = append(report.Findings, checked.findings...)
		if i == 0 {
			report.Flyte, report.Plugin, report.Form = checked.target.Flyte.String(), checked.names.plugin, checked.target.Form
		}
	}
	slices.SortStableFunc(report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	report.Findings = slices.Compact(report.Findings)
	report.OK = !slices.ContainsFunc(report.Findings, func(f Finding) bool { return f.Severity != SeverityNote })
	return report
}

func rank(s Severity) int {
	return slices.Index([]Severity{SeverityError, SeverityWarning, SeverityNote}, s)
}

func sourceNames(sources []Source) string {
	var all []string
	for _, s := range sources {
		all = append(all, s.Name)
	}
	return strings.Join(all, ", ")
}

// checker looks at one configuration.
type checker struct {
	target   Target
	names    names
	config   configuration
	root     *value
	enabled  []string // plugins; none: all
	findings []Finding
}

func newChecker(target Target, c configuration) *checker {
	if target.Flyte == (Flyte{}) {
		target.Flyte = c.flyte()
	}
	target.Form = c.form
	checked := &checker{target: target, names: target.Flyte.names(), config: c}
	if c.form != FormConfig {
		checked.render()
	}
	for _, l := range checked.config.layers {
		checked.root = merge(checked.root, undotted(l.value), func(there, lost *value) {
			checked.tell(SeverityError, lost, fmt.Sprintf("Flyte ignores it: %s has a mapping there, which only a mapping adds to", there.at.place()))
		})
	}
	checked.enabled = cleaned(checked.root.path("tasks", "task-plugins", "enabled-plugins").texts())
	return checked
}

// place is a position in a message.
func (p Position) place() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

func (c *checker) tell(severity Severity, v *value, why string) {
	c.findings = append(c.findings, Finding{Severity: severity, Position: v.at, Found: v.String(), Why: why})
}

// missing tells of a key that is not there.
func (c *checker) missing(severity Severity, key []string, want, why string) {
	file := ""
	switch {
	case c.config.name != "":
		file = "ConfigMap " + c.config.name
	case len(c.config.layers) > 0:
		file = c.config.layers[len(c.config.layers)-1].name
	}
	if c.target.Form != FormConfig {
		file = "values"
		if c.config.values != nil {
			file = c.config.values.at.File
		}
	}
	c.findings = append(c.findings, Finding{Severity: severity, Position: Position{File: file, Key: strings.Join(c.target.Form.place(key), ".")}, Want: want, Why: why})
}

func (c *checker) isEnabled(plugin string) bool {
	return c.target.Flyte.Two() && plugin == connectorNames.plugin || !c.target.Flyte.Two() && (len(c.enabled) == 0 || slices.Contains(c.enabled, plugin))
}

func (c *checker) check() {
	agents, connectors := c.root.path("plugins", agentNames.plugin), c.root.path("plugins", connectorNames.plugin)
	switch {
	case c.names == agentNames && connectors != nil:
		c.tell(SeverityError, connectors, fmt.Sprintf("Flyte %s has no connector plugin, which came with 1.15.1: it reads plugins.%s", c.target.Flyte, agentNames.plugin))
	case c.target.Flyte.Two() && agents != nil:
		c.tell(SeverityError, agents, "Flyte 2 has no agent plugin: it reads plugins."+connectorNames.plugin)
	case c.names == connectorNames && agents != nil && connectors == nil && c.isEnabled(agentNames.plugin):
		c.names = agentNames
		c.tell(SeverityNote, agents, fmt.Sprintf("deprecated: from Flyte 1.15.1 on this is plugins.%s, with %s, %s and %s, to be enabled under that name", connectorNames.plugin,
			connectorNames.byDefault, connectorNames.deployments, connectorNames.forTypes))
	case c.names == connectorNames && agents != nil && connectors != nil:
		c.both(agents, connectors)
	}
	rootOf(c.target.Flyte).conforms(c.root, c.target.Flyte.asker(), c.tell)
	for _, n := range []names{agentNames, connectorNames} {
		section := c.root.path("plugins", n.plugin)
		if section == nil || n == agentNames && c.target.Flyte.Two() || n == connectorNames && c.target.Flyte.names() == agentNames {
			continue
		}
		sectionOf(n, c.target.Flyte).conforms(section, c.target.Flyte.asker(), c.tell)
		if n == c.names {
			c.deployments(n, section)
		}
	}
	c.settings()
	c.defaults()
	c.rules()
	c.quotas()
}

// both tells what becomes of a configuration of both plugins.
func (c *checker) both(agents, connectors *value) {
	unused, n := agents, agentNames
	switch agentsToo, connectorsToo := c.isEnabled(agentNames.plugin), c.isEnabled(connectorNames.plugin); {
	case agentsToo && connectorsToo:
		if types := c.sharedTypes(agents, connectors); len(types) > 0 {
			c.tell(SeverityError, agents, fmt.Sprintf("%s and %s are both enabled and both claim %s: FlytePropeller does not start; take one of them out of tasks.task-plugins.enabled-plugins",
				agentNames.plugin, connectorNames.plugin, strings.Join(types, ", ")))
			return
		}
		c.tell(SeverityWarning, agents, fmt.Sprintf("both plugins are enabled: for a type that neither had when FlytePropeller started %s is asked first", connectorNames.plugin))
		return
	case agentsToo:
		unused, n = connectors, connectorNames
		c.names = agentNames
	}
	c.tell(SeverityWarning, unused, fmt.Sprintf("it has no effect: %s is not in tasks.task-plugins.enabled-plugins", n.plugin))
}

// sharedTypes are those that both plugins claim when FlytePropeller starts, and of which nothing says whose they are. Both ask the
// agent servers that they know for their types, so that two with an endpoint share what one server lists.
func (c *checker) sharedTypes(agents, connectors *value) []string {
	claimed := func(section *value, n names) []string {
		types := section.path("supportedTaskTypes").texts()
		for _, e := range section.path(n.forTypes).pairs() {
			types = append(types, e.name)
		}
		return types
	}
	ofAgents := claimed(agents, agentNames)
	ofConnectors := claimed(connectors, connectorNames)
	if endpoint := agents.path(agentNames.byDefault, "endpoint"); endpoint != nil && endpoint.text != "" {
		if other := connectors.path(connectorNames.byDefault, "endpoint"); other != nil && other.text == endpoint.text {
			ofAgents, ofConnectors = append(ofAgents, c.target.types()...), append(ofConnectors, c.target.types()...)
		}
	}
	decided := c.root.path("tasks", "task-plugins", "default-for-task-types").pairs()
	var shared []string
	for _, name := range ofAgents {
		if slices.Contains(ofConnectors, name) && !slices.ContainsFunc(decided, func(e *entry) bool { return e.name == name }) {
			shared = append(shared, name)
		}
	}
	slices.Sort(shared)
	return slices.Compact(shared)
}

// settings looks for each line of the table.
func (c *checker) settings() {
	target := c.target
	if !target.Beside { // unless the files say so
		section := c.root.path("plugins", c.names.plugin)
		if named := section.path(c.names.deployments, besideName); named != nil && section.path(c.names.byDefault, "endpoint") != nil {
			target.Beside = true
		}
	}
	told := map[string]bool{}
	for _, s := range target.settings(c.names) {
		v, mistaken := c.find(s)
		switch {
		case mistaken != "":
			if !told[mistaken+v.at.place()] {
				told[mistaken+v.at.place()] = true
				c.findings = append(c.findings, Finding{Severity: SeverityError, Position: v.at, Found: v.String(), Want: pairsOf(v), Why: mistaken})
			}
		case v == nil || v.kind == null:
			if s.absent != "" && !c.contested(s) {
				c.missing(s.severity, s.key, wanted(s), s.absent)
			}
		default:
			if severity, why := s.judge(v); why != "" {
				at := v.at
				if at.File == chartFile { // the values are to say otherwise
					at.Key = strings.Join(target.Form.place(s.key), ".")
				}
				c.findings = append(c.findings, Finding{Severity: severity, Position: at, Found: v.String(), Want: wanted(s), Why: why})
			}
		}
	}
}

// judge is what is wrong with another value.
func (s setting) judge(v *value) (Severity, string) {
	if s.wrong != nil {
		return s.wrong(v)
	}
	if text, ok := s.value.(string); ok && v.kind == scalar && v.text == text {
		return "", ""
	}
	return s.severity, s.absent
}

const lowerCase = "Flyte makes the keys of a mapping lower-case, and then does not find what it looks for; write a list of one mapping each"

// find looks a setting up. Names in a list of mappings keep their case; those in a mapping lose it, which matters where they have any.
func (c *checker) find(s setting) (found *value, mistaken string) {
	if !s.listed {
		return c.root.path(s.key...), ""
	}
	last := len(s.key) - 1
	pairs := c.root.path(s.key[:last]...)
	for _, e := range pairs.pairs() {
		switch {
		case pairs.kind == mapping && strings.EqualFold(e.name, s.key[last]) && strings.ToLower(s.key[last]) != s.key[last]:
			return pairs, lowerCase
		case e.name == s.key[last]:
			return e.value, ""
		}
	}
	return nil, ""
}

// pairsOf writes a mapping as the list that Flyte reads rightly.
func pairsOf(v *value) string {
	made := &value{kind: list}
	for _, e := range v.pairs() {
		made.items = append(made.items, &value{kind: mapping, entries: []*entry{e}})
	}
	return made.String()
}

// wanted is a setting's value as it is printed.
func wanted(s setting) string {
	v, err := (&reader{left: maxValues}).value(nodeOf(s.value), nil)
	if err != nil {
		return ""
	}
	if texts, isList := s.value.([]string); isList && len(texts) == 0 || s.value == "" {
		return ""
	}
	if s.listed {
		return fmt.Sprintf("[{%s: %s}]", s.key[len(s.key)-1], v)
	}
	return v.String()
}

// deployments looks at every agent server that a section names.
func (c *checker) deployments(n names, section *value) {
	deployments := section.path(n.deployments)
	named := deployments.pairs()
	for _, e := range named {
		if endpoint := e.value.path("endpoint"); endpoint == nil || endpoint.text == "" {
			c.tell(SeverityError, e.value, "it has no endpoint")
		} else if wrong := wrongEndpoint(endpoint.text, c.target.Flyte); wrong != "" {
			c.tell(SeverityError, endpoint, wrong)
		}
		if e.name == besideName { // which the table looks at
			continue
		}
		if e.value.path("insecure") == nil {
			c.tell(SeverityWarning, e.value, fmt.Sprintf("without insecure it is called over TLS: only %s is plain by itself", n.byDefault))
		}
		if e.value.path("defaultTimeout") == nil {
			c.tell(SeverityWarning, e.value, fmt.Sprintf("without defaultTimeout its calls never end: only %s has one by itself", n.byDefault))
		}
		if timeouts := e.value.path("timeouts"); timeouts != nil && timeouts.kind == mapping && len(timeouts.entries) > 0 {
			c.findings = append(c.findings, Finding{Severity: SeverityError, Position: timeouts.at, Found: timeouts.String(), Want: pairsOf(timeouts),
				Why: lowerCase})
		}
	}
	forTypes := section.path(n.forTypes)
	for _, e := range forTypes.pairs() {
		if forTypes.kind == mapping && (strings.ToLower(e.name) != e.name || strings.Contains(e.name, ".")) {
			c.tell(SeverityError, e.value, fmt.Sprintf("Flyte makes the keys of a mapping lower-case and takes dots for paths, so that it does not find %s; write a list of one mapping each", e.name))
		}
		to := e.value.text
		i := slices.IndexFunc(named, func(d *entry) bool {
			return deployments.kind == list && d.name == to || deployments.kind == mapping && strings.ToLower(d.name) == to
		})
		switch {
		case i < 0 && slices.ContainsFunc(named, func(d *entry) bool { return strings.EqualFold(d.name, to) }):
			c.tell(SeverityError, e.value, fmt.Sprintf("Flyte makes the names below %s lower-case, so that none is called %s, and ignores it", n.deployments, to))
		case i < 0:
			c.tell(SeverityError, e.value, fmt.Sprintf("there is no %s below %s, so that Flyte ignores it", to, n.deployments))
		}
		if slices.Contains(c.target.Types, TaskType{Name: e.name, Sync: true}) {
			c.tell(SeverityError, e.value, "a type that is mapped is async to Flyte, and this one is sync: CreateTask is refused")
		}
	}
	if timeouts := section.path(n.byDefault, "timeouts"); timeouts != nil {
		c.timeouts(n, timeouts)
	}
}

// timeouts looks for names of methods that Flyte does not have.
func (c *checker) timeouts(n names, timeouts *value) {
	known := []string{"CreateTask", "GetTask", "DeleteTask", n.list}
	if !c.target.Flyte.Two() {
		known = append(known, "ExecuteTaskSync")
	}
	for _, e := range timeouts.pairs() {
		exact := slices.Contains(known, e.name)
		i := slices.IndexFunc(known, func(name string) bool { return strings.EqualFold(name, e.name) })
		switch {
		case i < 0:
			c.tell(SeverityError, e.value, fmt.Sprintf("%s is none of %s: %s", e.name, strings.Join(known, ", "), noEffect))
		case !exact && timeouts.kind == list:
			c.tell(SeverityError, e.value, fmt.Sprintf("in a list case counts: write %s", known[i]))
		case timeouts.kind == mapping && known[i] != "CreateTask" && known[i] != "ExecuteTaskSync": // which the table looks for
			c.findings = append(c.findings, Finding{Severity: SeverityError, Position: timeouts.at, Found: timeouts.String(), Want: pairsOf(timeouts),
				Why: lowerCase})
			return
		}
	}
}

// defaults looks at whose Flyte says that types are.
func (c *checker) defaults() {
	byType := c.root.path("tasks", "task-plugins", "default-for-task-types")
	for _, e := range byType.pairs() {
		if e.value.kind != scalar { // which its shape tells of
			continue
		}
		plugin := cleaned([]string{e.value.text})[0]
		ours := plugin == c.names.plugin
		switch {
		case strings.Contains(e.name, ".") && c.target.Flyte.before(16, 7):
			c.tell(SeverityError, e.value, "Flyte before 1.16.7 takes the dot for a path, and FlytePropeller does not start; supportedTaskTypes takes such a name")
		case c.target.Flyte.Two() && plugin == agentNames.plugin:
			c.tell(SeverityError, e.value, "Flyte 2 has no such plugin, and ignores it")
		case !c.target.Flyte.Two() && !c.isEnabled(plugin):
			c.tell(SeverityError, e.value, fmt.Sprintf("%s is not in tasks.task-plugins.enabled-plugins: FlytePropeller does not start", plugin))
		case ours && strings.ToLower(e.name) != e.name:
			c.tell(SeverityError, e.value, "Flyte makes it lower-case, and then no task has that type; supportedTaskTypes takes such a name")
		case ours && !c.target.Flyte.Two() && !c.listed(e.name) && !slices.Contains(c.target.types(), e.name): // of the host's own the table tells
			c.tell(SeverityWarning, e.value, fmt.Sprintf("it only counts where %s has the type when FlytePropeller starts, and so the host must answer then: list it in plugins.%s.supportedTaskTypes", c.names.plugin, c.names.plugin))
		}
	}
	if c.target.Flyte.Two() || !c.isEnabled(c.names.plugin) {
		return
	}
	for _, name := range c.claimed() {
		rivals := c.rivals(name)
		if len(rivals) == 0 || slices.ContainsFunc(byType.pairs(), func(e *entry) bool { return strings.EqualFold(strings.TrimSpace(e.name), name) }) {
			continue
		}
		c.missing(SeverityError, []string{"tasks", "task-plugins", "default-for-task-types", name}, c.names.plugin,
			fmt.Sprintf("Flyte's own %s, enabled too, %s %s as well: FlytePropeller does not start unless this says whose it is", plugins(rivals), verb(len(rivals), "claims", "claim"), name))
	}
}

// rivals are the enabled plugins of Flyte's own that serve a type.
func (c *checker) rivals(name string) []string {
	return slices.DeleteFunc(c.target.Flyte.owners(name), func(owner string) bool { return !c.isEnabled(owner) })
}

// contested says whether a setting says whose a type is that another enabled plugin claims: defaults tells of it, as it is graver.
func (c *checker) contested(s setting) bool {
	last := len(s.key) - 1
	return s.key[last-1] == "default-for-task-types" && c.isEnabled(c.names.plugin) && len(c.rivals(s.key[last])) > 0
}

// claimed are the types that the plugin has when FlytePropeller starts.
func (c *checker) claimed() []string {
	section := c.root.path("plugins", c.names.plugin)
	types := append(c.target.types(), section.path("supportedTaskTypes").texts()...)
	for _, e := range section.path(c.names.forTypes).pairs() {
		types = append(types, e.name)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// listed says whether the files themselves give a type to the plugin.
func (c *checker) listed(name string) bool {
	section := c.root.path("plugins", c.names.plugin)
	return slices.Contains(section.path("supportedTaskTypes").texts(), name) ||
		slices.ContainsFunc(section.path(c.names.forTypes).pairs(), func(e *entry) bool { return e.name == name })
}

// rules looks whether Flyte may find the pods that k8s:// asks for.
func (c *checker) rules() {
	if c.target.Form != FormBinary {
		return
	}
	section := c.root.path("plugins", c.names.plugin)
	endpoint := section.path(c.names.byDefault, "endpoint")
	if endpoint == nil || !strings.HasPrefix(endpoint.text, "k8s:") || c.config.values.path("rbac", "create").isFalse() {
		return
	}
	for _, rule := range c.config.values.path("rbac", "extraRules").list() {
		has := func(key, wanted string) bool {
			return slices.ContainsFunc(rule.path(key).texts(), func(text string) bool { return text == "*" || text == wanted })
		}
		if has("resources", "endpoints") && has("verbs", "watch") {
			return
		}
	}
	c.findings = append(c.findings, Finding{Severity: SeverityError, Position: Position{File: c.config.values.at.File, Key: "rbac.extraRules"},
		Want: `[{apiGroups: [""], resources: [endpoints], verbs: [watch]}]`, Why: "the chart does not let Flyte watch endpoints, which k8s:// needs: no task reaches the host"})
}

func (v *value) list() []*value {
	if v == nil || v.kind != list {
		return nil
	}
	return v.items
}

func (v *value) isFalse() bool { return v != nil && v.kind == scalar && !truth(v) }

// quotas tells of limits that only some installations have.
func (c *checker) quotas() {
	if kind := c.root.path("resourcemanager", "type"); kind != nil && kind.text == "redis" {
		if c.root.path("plugins", c.names.plugin, "resourceConstraints") == nil {
			c.missing(SeverityNote, []string{"plugins", c.names.plugin, "resourceConstraints"}, "",
				"with a resource manager at most 100 tasks of a project and 50 of a namespace have a job at a time, those of all agents together")
		}
	}
}
