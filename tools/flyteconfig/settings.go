package flyteconfig

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Severity is what a finding costs.
type Severity string

// The severities.
const (
	// SeverityError is of what keeps tasks from the host, or Flyte from starting.
	SeverityError Severity = "error"
	// SeverityWarning is of what costs tasks when something is away.
	SeverityWarning Severity = "warning"
	// SeverityNote is of what can be left as it is.
	SeverityNote Severity = "note"
)

// setting is one line of what Flyte is to be told, which is both printed and looked for.
type setting struct {
	// key is where it stands in Flyte's configuration; the last part may be a name in a list of pairs.
	key []string
	// value is text, a truth, a number, or a list of texts.
	value any
	why   string
	// listed says that the key's last part is an element of a list of mappings, in which Flyte keeps the case of names.
	listed bool

	// severity is that of its absence, and absent what Flyte does then. Where absent is empty, Flyte does the same anyway.
	severity Severity
	absent   string
	// wrong says why another value does not do; it is nil where only the printed one does.
	wrong func(v *value) (Severity, string)
	// onlyChecked says that a chart has it by itself.
	onlyChecked bool
}

// The values that are printed. Those of calls leave room for a plugin that restarts (restart.max_backoff, limits.wait: 30s).
const (
	defaultTimeout = 10 * time.Second
	createTimeout  = 30 * time.Second
	syncTimeout    = time.Minute
	resyncInterval = 10 * time.Second
	fewestFailures = 100
	mostFailures   = 1000
	pollRate       = 100
	pollBurst      = 1000
	serviceConfig  = `{"loadBalancingConfig":[{"round_robin":{}}],"methodConfig":[{"name":[{}],"waitForReady":true}]}`
)

// besideName is what the host is called among the deployments of a plugin. Flyte keeps names of deployments in lower case only.
const besideName = "agenthost"

// settings is the table: all that a Flyte is to be told, in the order of its configuration.
func (t Target) settings(n names) []setting {
	section := func(key ...string) []string { return append([]string{"plugins", n.plugin}, key...) }
	table := t.pluginSettings(n)
	if s, needed := t.taskTypesSetting(n); needed {
		table = append(table, s)
	}
	if t.Beside {
		for _, name := range t.asyncTypes() {
			table = append(table, setting{
				key: section(n.forTypes, name), value: besideName, listed: true, severity: SeverityError,
				why:    "These types go to the host, and all others to the default: also while the host is away, and where both list a type.",
				absent: "its tasks go to the default while the host is away, and to either where both list it",
			})
		}
	}
	table = append(table, t.deploymentSettings(n, section)...)
	return append(table, t.pollSettings(section)...)
}

// asyncTypes are those that a mapping of types to deployments may name: what is mapped is async to Flyte.
func (t Target) asyncTypes() []string {
	var found []string
	for _, name := range t.types() {
		if !slices.Contains(t.Types, TaskType{Name: name, Sync: true}) {
			found = append(found, name)
		}
	}
	return found
}

// pluginSettings have the plugin loaded, and say which types are its own. Flyte 2 loads it always, and lets it have what it lists.
func (t Target) pluginSettings(n names) []setting {
	if t.Flyte.Two() {
		return nil
	}
	enabled := []string{"container", "sidecar", "k8s-array", n.plugin}
	if chart := t.Form.chartPlugins(t.Flyte); chart != nil {
		enabled = append(slices.DeleteFunc(slices.Clone(chart), func(p string) bool { return p == agentNames.plugin || p == connectorNames.plugin }), n.plugin)
	}
	table := []setting{{
		key: []string{"tasks", "task-plugins", "enabled-plugins"}, value: enabled, severity: SeverityError,
		why:    "A list takes the place of the one in files and values before it: add what else is enabled.",
		absent: "all of Flyte's plugins are enabled, of which pod and container both claim container tasks: FlytePropeller does not start",
		wrong: func(v *value) (Severity, string) {
			if slices.Contains(cleaned(v.texts()), n.plugin) {
				return "", ""
			}
			return SeverityError, fmt.Sprintf("without %s the plugin is not loaded, and its tasks go to the container plugin", n.plugin)
		},
		onlyChecked: slices.Contains(t.Form.chartPlugins(t.Flyte), n.plugin),
	}}
	for _, name := range t.types() {
		owners := t.Flyte.owners(name)
		if len(owners) == 0 || strings.ToLower(name) != name || strings.Contains(name, ".") { // Flyte cannot read such names here
			continue
		}
		table = append(table, setting{
			key: []string{"tasks", "task-plugins", "default-for-task-types", name}, value: n.plugin, severity: SeverityNote,
			why: fmt.Sprintf("Flyte's own %s %s %s, too: where %s enabled FlytePropeller does not start unless this says whose it is. "+
				"With this line all of its tasks go to the host.", plugins(owners), verb(len(owners), "claims", "claim"), name, verb(len(owners), "it is", "one of them is")),
			absent: fmt.Sprintf("FlytePropeller does not start any more when Flyte's own %s %s enabled", strings.Replace(plugins(owners), " and ", " or ", 1), verb(len(owners), "is", "are")),
			wrong: func(v *value) (Severity, string) {
				if strings.EqualFold(strings.TrimSpace(v.text), n.plugin) {
					return "", ""
				}
				return SeverityWarning, "its tasks do not go to the host"
			},
		})
	}
	return table
}

func plugins(owners []string) string {
	if len(owners) == 1 {
		return "plugin " + owners[0]
	}
	return "plugins " + strings.Join(owners[:len(owners)-1], ", ") + " and " + owners[len(owners)-1]
}

// cleaned are names of plugins as Flyte compares them.
func cleaned(plugins []string) []string {
	made := make([]string, len(plugins))
	for i, name := range plugins {
		made[i] = strings.ToLower(strings.TrimSpace(name))
	}
	return made
}

// taskTypesSetting lists the types, which Flyte 1 only discovers while the host answers and Flyte 2 does not route by discovery.
// Beside another default, Flyte 1 would give them to that one.
func (t Target) taskTypesSetting(n names) (setting, bool) {
	if t.Beside && !t.Flyte.Two() {
		return setting{}, false
	}
	s := setting{
		key: []string{"plugins", n.plugin, "supportedTaskTypes"}, severity: SeverityWarning,
		why: "Types that are not here are only known while the host answers. FlytePropeller hands the tasks of one that it did not know when it " +
			"started to its container plugin as soon as the host is away: 20 of 20 in flight were lost, and none with this line.",
		absent: "the tasks of a type that was not listed when FlytePropeller started go to the container plugin when the host is away: 20 of 20 in flight were lost",
	}
	if t.Flyte.Two() {
		s.severity = SeverityError
		s.why = "Flyte 2 gives the host the types that are here and no others, and reads them when its executor starts."
		s.absent = "Flyte 2 does not route by discovery: nothing reaches the host"
		for _, name := range t.types() {
			if owners := t.Flyte.owners(name); len(owners) > 0 {
				s.why += fmt.Sprintf(" %s is taken from Flyte's own %s.", name, plugins(owners))
			}
		}
	}
	wanted := t.types()
	s.value = wanted
	s.wrong = func(v *value) (Severity, string) {
		listed := v.texts()
		if len(listed) == 0 || v.kind == list && len(v.items) == 0 {
			if t.Flyte.Two() {
				return SeverityError, t.Flyte.asker() + " does not start with an empty list"
			}
			return SeverityError, "with an empty list FlytePropeller does not start while the host is away"
		}
		for _, name := range listed {
			if strings.TrimSpace(name) != name {
				return SeverityError, fmt.Sprintf("%q is not the type that is meant: Flyte keeps the spaces", name)
			}
		}
		var missing []string
		for _, name := range wanted {
			if !slices.Contains(listed, name) {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			return "", ""
		}
		return s.severity, fmt.Sprintf("%s %s missing, which the host serves: %s", strings.Join(missing, ", "), verb(len(missing), "is", "are"), s.absent)
	}
	return s, true
}

func verb(n int, one, several string) string {
	if n == 1 {
		return one
	}
	return several
}

// deploymentSettings are how the host is reached and called.
func (t Target) deploymentSettings(n names, section func(...string) []string) []setting {
	where := []string{n.byDefault}
	why := "The host as the default: Flyte sends it what it cannot place, such as versions of a type that it has forgotten, and the host routes them."
	if t.Beside {
		where = []string{n.deployments, besideName}
		why = "The host beside the default. What is left out here is not what the default has: without insecure it is called over TLS, without a timeout a call never ends."
	}
	deployment := func(key ...string) []string { return section(append(slices.Clone(where), key...)...) }
	switch {
	case strings.HasPrefix(t.Endpoint, "k8s:"):
		why += " k8s:// reaches every ready pod of a Service, at this port of the pod; " + t.Flyte.asker() + "'s account must be allowed to watch endpoints in its namespace."
	case strings.HasPrefix(t.Endpoint, "dns:"):
		why += " A Service's own address leads all calls of a connection to one of its pods; a headless Service, or k8s:///agenthost.flyte:8000 in Flyte 1, to all of them."
		if t.Flyte.Two() {
			why = strings.Replace(why, ", or k8s:///agenthost.flyte:8000 in Flyte 1,", "", 1)
		}
	}
	table := []setting{{
		key: deployment("endpoint"), value: t.Endpoint, why: why, severity: SeverityError,
		absent: "no task reaches the host",
		wrong:  t.endpointDiffers,
	}}
	if t.Transport != TransportUnknown {
		s := setting{
			key: deployment("insecure"), value: t.Transport == TransportPlain, severity: SeverityError,
			why: "Plain gRPC, as the host listens without listen.tls.",
			wrong: func(v *value) (Severity, string) {
				if truth(v) == (t.Transport == TransportPlain) {
					return "", ""
				}
				return SeverityError, "the host does not listen so: no call succeeds"
			},
		}
		if t.Transport == TransportTLS {
			s.why = "TLS: " + t.Flyte.asker() + " trusts the authorities of its own system only (SSL_CERT_FILE, SSL_CERT_DIR), and shows no certificate."
		}
		if t.Beside == (t.Transport == TransportPlain) { // plain is what the default connector has, and no other
			s.absent = "the host does not listen so: no call succeeds"
		}
		table = append(table, s)
	}
	timeouts := func(method string, limit time.Duration, severity Severity, why string) setting {
		return setting{
			key: deployment("timeouts", method), value: plain(limit), listed: true, severity: severity, why: why,
			absent: "it has defaultTimeout",
			wrong: func(v *value) (Severity, string) {
				if d, ok := v.duration(); ok && (d == 0 || d >= defaultTimeout) {
					return "", ""
				}
				return SeverityWarning, "a plugin that is restarting may need longer"
			},
		}
	}
	without := "" // it is Flyte's own default
	switch {
	case t.Beside:
		without = "a call never ends"
	case n == agentNames && !t.Flyte.before(15, 1):
		without = "calls end after 3s, and a plugin's restart may take longer"
	}
	table = append(table, setting{
		key: deployment("defaultTimeout"), value: plain(defaultTimeout), severity: SeverityWarning, absent: without,
		why: "The host keeps a call whose plugin is restarting until just before this.",
		wrong: func(v *value) (Severity, string) {
			switch d, ok := v.duration(); {
			case ok && d == 0:
				return SeverityWarning, "a call never ends, and holds one of Flyte's workers meanwhile"
			case ok && d < defaultTimeout:
				return SeverityWarning, "a plugin's restart may take longer"
			}
			return "", ""
		},
	})
	held := ""
	if !t.Flyte.Two() {
		held = " A creation that waits for a plugin holds one of FlytePropeller's workers (20, in the chart flyte-core 4); the host lets five of a plugin wait longer than a second."
	}
	table = append(table, timeouts("CreateTask", createTimeout, SeverityNote, "A list: Flyte makes all keys of a mapping lower-case, and then does not find them."+held))
	if t.hasSync() {
		table = append(table, timeouts("ExecuteTaskSync", syncTimeout, SeverityWarning, "A sync agent does its whole work within this call."))
	}
	return append(table, setting{
		key: deployment("defaultServiceConfig"), value: serviceConfig, severity: SeverityWarning,
		why: "waitForReady: a call waits for a connection instead of failing at once. A host that was away for 8 s cost 1 attempt of 120 instead of 18, " +
			"one away for 25 s 38 instead of 51. round_robin: all addresses of the endpoint get calls.",
		absent: "calls fail at once while the host is away: 8 s cost 18 attempts of 120 instead of 1",
		wrong:  serviceConfigDiffers,
	})
}

// pollSettings are how often jobs are polled, and what Flyte makes of polls that fail.
func (t Target) pollSettings(section func(...string) []string) []setting {
	return []setting{
		{
			key: section("webApi", "readRateLimiter", "qps"), value: pollRate, severity: SeverityNote,
			why:    "How many polls a second, of all jobs together: with the default of 10, a thousand jobs are polled every 100 s. The host answers polls in close succession from memory (limits.rate, status.min_interval).",
			absent: "10 polls a second, of all jobs together",
			wrong: func(v *value) (Severity, string) {
				if n, ok := v.number(); ok && n < 10 {
					return SeverityNote, fmt.Sprintf("at most %v jobs are polled each second", n)
				}
				return "", ""
			},
		},
		{
			key: section("webApi", "readRateLimiter", "burst"), value: pollBurst, severity: SeverityNote,
			why:    "How many at once after a quiet time.",
			absent: "100 at once",
			wrong:  func(*value) (Severity, string) { return "", "" },
		},
		{
			key: section("webApi", "caching", "resyncInterval"), value: plain(resyncInterval), severity: SeverityNote,
			why:    "How often a job is polled (5s to 1h): a query of a second takes 16 to 31 s at the default of 30s. Polls bridge an absence of the host of about five times this unless maxSystemFailures is raised.",
			absent: "30s: a query of a second takes 16 to 31 s",
			wrong:  func(*value) (Severity, string) { return "", "" },
		},
		{
			key: section("webApi", "caching", "maxSystemFailures"), value: mostFailures, severity: SeverityWarning,
			why: "How many polls of a task may fail in its whole life; one more, and it is RUNNING for ever. With the default of 5 a host that was away for 105 s left 19 of 20 tasks so, " +
				"until this was raised and FlytePropeller restarted; with 1000 none.",
			absent: "5: after the sixth failed poll in its life a task is RUNNING for ever (19 of 20 when the host was away for 105 s)",
			wrong: func(v *value) (Severity, string) {
				if n, ok := v.number(); ok && n < fewestFailures {
					return SeverityWarning, fmt.Sprintf("after %v failed polls in its life a task is RUNNING for ever; the host away for a few minutes is enough for that", n)
				}
				return "", ""
			},
		},
	}
}

// plain writes a duration as people do: 1m instead of 1m0s.
func plain(d time.Duration) string {
	text := d.String()
	if d%time.Minute == 0 {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}

func truth(v *value) bool {
	return v.kind == scalar && slices.Contains([]string{"1", "t", "T", "true", "TRUE", "True"}, v.text)
}

func (t Target) endpointDiffers(v *value) (Severity, string) {
	switch {
	case v.kind != scalar || v.text == "":
		return SeverityError, "no task reaches the host"
	case wrongEndpoint(v.text, t.Flyte) != "":
		return SeverityError, wrongEndpoint(v.text, t.Flyte)
	case t.Endpoint != "" && v.text != t.Endpoint:
		return SeverityWarning, "this is not the endpoint that was asked for"
	}
	return "", ""
}

// wrongEndpoint says what gRPC, as Flyte uses it, makes of a target that leads nowhere.
func wrongEndpoint(endpoint string, flyte Flyte) string {
	scheme, rest, hasScheme := strings.Cut(endpoint, ":")
	switch scheme {
	case "http", "https":
		return fmt.Sprintf("gRPC has no targets with %s://; write dns:///host:port, and choose between plain and TLS by insecure", scheme)
	case "dns", "k8s":
	default:
		if !hasScheme || !strings.HasPrefix(rest, "/") { // which is called as it stands
			return wrongPort(endpoint, "")
		}
		return "" // another of gRPC's schemes, such as unix
	}
	target, err := url.Parse(endpoint)
	if err != nil {
		return "it is no target of gRPC's: " + err.Error()
	}
	name := strings.TrimPrefix(target.Path, "/")
	if target.Opaque != "" {
		name = target.Opaque
	}
	if scheme == "k8s" {
		if flyte.Two() {
			return "Flyte 2 does not know targets of Kubernetes; write dns:///host:port"
		}
		if name == "" { // k8s://service.namespace:port
			name = target.Host
		} else if target.Host != "" { // k8s://namespace/service:port
			return wrongPort(name, "")
		}
		if wrong := wrongPort(name, ""); wrong != "" {
			return wrong
		}
		if host, _, _ := strings.Cut(name, ":"); !strings.Contains(host, ".") {
			return "it has no namespace; write k8s:///service.namespace:port"
		}
		return ""
	}
	if name == "" {
		return fmt.Sprintf("after two slashes %s is the DNS server to ask, and no host is left; write dns:///%s", target.Host, target.Host)
	}
	return wrongPort(name, ", so that 443 is called")
}

// wrongPort says what an address lacks; without is what is done without a port.
func wrongPort(address, without string) string {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil || port == "":
		return "it has no port" + without + "; write one, such as :8000"
	case host == "":
		return "it has no host"
	}
	return ""
}

// serviceConfigDiffers looks for the two things in it that matter here.
func serviceConfigDiffers(v *value) (Severity, string) {
	if v.kind != scalar {
		return SeverityError, "expected JSON as text, in quotes"
	}
	if v.text == "" {
		return SeverityWarning, "calls fail at once while the host is away, and only one address gets them"
	}
	conn, err := grpc.NewClient("passthrough:///nowhere", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(v.text))
	if err != nil {
		return SeverityError, "gRPC refuses it, so that no task reaches the host: " + err.Error()
	}
	conn.Close()
	var config struct {
		LoadBalancingConfig []map[string]json.RawMessage `json:"loadBalancingConfig"`
		LoadBalancingPolicy string                       `json:"loadBalancingPolicy"`
		MethodConfig        []struct {
			Name         []map[string]string `json:"name"`
			WaitForReady bool                `json:"waitForReady"`
		} `json:"methodConfig"`
	}
	if err := json.Unmarshal([]byte(v.text), &config); err != nil {
		return SeverityError, "it is not the JSON of a service config: " + err.Error()
	}
	waits := slices.ContainsFunc(config.MethodConfig, func(m struct {
		Name         []map[string]string `json:"name"`
		WaitForReady bool                `json:"waitForReady"`
	}) bool {
		return m.WaitForReady && slices.ContainsFunc(m.Name, func(name map[string]string) bool { return name["method"] == "" })
	})
	if !waits {
		return SeverityWarning, "without waitForReady calls fail at once while the host is away: 8 s cost 18 attempts of 120 instead of 1"
	}
	balanced := strings.EqualFold(config.LoadBalancingPolicy, "round_robin")
	for _, policy := range config.LoadBalancingConfig {
		if _, has := policy["round_robin"]; has {
			balanced = true
		}
	}
	if !balanced {
		return SeverityNote, "without round_robin only one address of the endpoint gets calls"
	}
	return "", ""
}
