package flyteconfig

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Flyte is a version of Flyte, as far as configurations differ.
type Flyte struct {
	major, minor, patch int
}

// The versions that people name: the last one with agents, with connectors, and Flyte 2.
var (
	FlyteAgents     = Flyte{1, 14, 1}
	FlyteConnectors = Flyte{1, 16, newest}
	Flyte2          = Flyte{2, 0, newest}
)

// newest stands for the newest patch release of a minor one.
const newest = 1 << 20

var flyteVersion = regexp.MustCompile(`^v?(\d{1,4})(?:\.(\d{1,4})(?:\.(\d{1,4}))?)?$`)

// ParseFlyte reads a version such as 1.14, 1.16.8 or 2. One without a patch release is the newest of them.
func ParseFlyte(text string) (Flyte, error) {
	match := flyteVersion.FindStringSubmatch(strings.TrimSpace(text))
	if match == nil {
		return Flyte{}, fmt.Errorf("expected a version of Flyte such as 1.14, 1.16.8 or 2, not %q", text)
	}
	number := func(digits string, otherwise int) int {
		if digits == "" {
			return otherwise
		}
		n, _ := strconv.Atoi(digits) // at most four digits
		return n
	}
	f := Flyte{number(match[1], 0), number(match[2], newest), number(match[3], newest)}
	switch {
	case f.major == 2, f.major == 1 && f.minor >= 13:
		return f, nil
	}
	return Flyte{}, fmt.Errorf("nothing is known of Flyte %s's configuration; 1.13 to 1.16 and 2 are", text)
}

func (f Flyte) String() string {
	switch {
	case f.minor == newest:
		return strconv.Itoa(f.major)
	case f.patch == newest:
		return fmt.Sprintf("%d.%d", f.major, f.minor)
	}
	return fmt.Sprintf("%d.%d.%d", f.major, f.minor, f.patch)
}

func (f Flyte) before(minor, patch int) bool {
	return f.major == 1 && (f.minor < minor || f.minor == minor && f.patch < patch)
}

// Two says whether it is Flyte 2, whose executor takes FlytePropeller's place.
func (f Flyte) Two() bool { return f.major == 2 }

// asker is what of Flyte calls the host.
func (f Flyte) asker() string {
	if f.Two() {
		return "Flyte's executor"
	}
	return "FlytePropeller"
}

// names are what a plugin of Flyte's calls its settings.
type names struct {
	plugin      string // also its section in Flyte's configuration
	byDefault   string
	deployments string
	forTypes    string
	list        string // the key of a timeout
}

var (
	agentNames     = names{"agent-service", "defaultAgent", "agents", "agentForTaskTypes", "ListAgents"}
	connectorNames = names{"connector-service", "defaultConnector", "connectors", "connectorForTaskTypes", "ListConnectors"}
)

// names are those of the plugin that calls the host: Flyte 1.15.1 was the first with a connector plugin. The agent plugin is still
// there in 1.16.8, and not in Flyte 2.
func (f Flyte) names() names {
	if f.before(15, 1) {
		return agentNames
	}
	return connectorNames
}

// Form is what the settings are written for.
type Form string

// The forms: a file of Flyte's own configuration, and values of its charts.
const (
	FormConfig Form = "config"
	FormBinary Form = "flyte-binary"
	FormCore   Form = "flyte-core"
)

// Forms are all of them.
var Forms = []Form{FormConfig, FormBinary, FormCore}

// place is where a key of Flyte's configuration stands in this form. Both charts have a key of their own for the plugin's section, and
// render it only where they also deploy a connector of flytekit's.
func (f Form) place(key []string) []string {
	switch {
	case f == FormBinary:
		return append([]string{"configuration", "inline"}, key...)
	case f == FormCore && key[0] == "tasks":
		return append([]string{"configmap", "enabled_plugins"}, key...)
	case f == FormCore:
		return append([]string{"configmap", "k8s"}, key...)
	}
	return key
}

// chartPlugins are the plugins that a chart enables by itself.
func (f Form) chartPlugins(flyte Flyte) []string {
	switch {
	case f == FormConfig || flyte.Two():
		return nil
	case flyte.before(16, 0): // its charts were renamed later than the plugin
		return []string{"container", "sidecar", "k8s-array", agentNames.plugin, "echo"}
	}
	return []string{"container", "sidecar", "k8s-array", connectorNames.plugin, "echo"}
}

// TaskType is one that the host serves.
type TaskType struct {
	Name string `json:"name"`
	// Sync says that its agent is a sync one, of which Flyte 2 knows nothing.
	Sync bool `json:"sync,omitempty"`
}

// Transport is how the host is spoken to.
type Transport int

// The transports.
const (
	TransportUnknown Transport = iota
	TransportPlain
	TransportTLS
)

// Target is a Flyte and the host that it is to be pointed at.
type Target struct {
	Flyte Flyte
	Form  Form
	// Endpoint is gRPC's target for the host. Empty in a check: it is not compared.
	Endpoint  string
	Transport Transport
	// Types are what the host serves. None in a check: they are not compared.
	Types []TaskType
	// Beside says that another connector stays Flyte's default, so that the host is one deployment of several.
	Beside bool
}

// Validate says what cannot be configured.
func (t Target) Validate() error {
	switch {
	case t.Form == FormCore && t.Flyte.Two():
		return errors.New("there is no chart flyte-core of Flyte 2; there is flyte-binary")
	case strings.HasPrefix(t.Endpoint, "k8s:") && t.Flyte.Two():
		return fmt.Errorf("%s: Flyte 2 does not know gRPC's targets of Kubernetes; give one such as dns:///agenthost.flyte.svc.cluster.local:8000", t.Endpoint)
	case t.Endpoint != "":
		if wrong := wrongEndpoint(t.Endpoint, t.Flyte); wrong != "" {
			return fmt.Errorf("%s: %s", t.Endpoint, wrong)
		}
	}
	if t.Form == FormConfig {
		return nil
	}
	for _, text := range append(t.types(), t.Endpoint) {
		if strings.Contains(text, "{{") {
			return fmt.Errorf("%q: the chart takes what is between braces for a template; write it for --form config", text)
		}
	}
	return nil
}

// types are the names of the task types that this Flyte can run here.
func (t Target) types() []string {
	var found []string
	for _, taskType := range t.Types {
		if !taskType.Sync || !t.Flyte.Two() {
			found = append(found, taskType.Name)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func (t Target) hasSync() bool {
	return !t.Flyte.Two() && slices.ContainsFunc(t.Types, func(taskType TaskType) bool { return taskType.Sync })
}
