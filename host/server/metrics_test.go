package server

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/sandbox"
	"github.com/agenthost/agenthost/host/tracing"
	"github.com/agenthost/agenthost/test/identity"
	"github.com/agenthost/agenthost/test/published"
)

func TestThePublishedMetricsAreUpToDate(t *testing.T) {
	published.Check(t, "docs/reference/metrics.md", metricsReference(t))
}

// noting is a registry that notes the types of vectors, which show in nothing else while they have no series.
type noting struct {
	*prometheus.Registry
	types map[string]string // by name
}

func (n *noting) MustRegister(collectors ...prometheus.Collector) {
	n.Registry.MustRegister(collectors...)
	for _, collector := range collectors {
		var kind string
		switch collector.(type) {
		case *prometheus.CounterVec:
			kind = "counter"
		case *prometheus.GaugeVec:
			kind = "gauge"
		case *prometheus.HistogramVec:
			kind = "histogram"
		case *prometheus.SummaryVec:
			kind = "summary"
		default:
			continue
		}
		for name := range describedBy(collector) {
			n.types[name] = kind
		}
	}
}

type described struct {
	help   string
	labels []string
}

// A Desc tells what it is in its text only.
var descText = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: ("(?:[^"\\]|\\.)*"), unit: "[^"]*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

func describedBy(collector prometheus.Collector) map[string]described {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		collector.Describe(descs)
	}()
	all := map[string]described{}
	for desc := range descs {
		parts := descText.FindStringSubmatch(desc.String())
		if parts == nil {
			panic("a metric is not described as expected: " + desc.String())
		}
		var d described
		if _, err := fmt.Sscanf(parts[2], "%q", &d.help); err != nil {
			panic(err)
		}
		for label := range strings.SplitSeq(parts[3], ",") {
			if name, _, ok := strings.Cut(label, "="); ok {
				d.labels = append(d.labels, name)
			}
		}
		d.labels = append(d.labels, strings.FieldsFunc(parts[4], func(r rune) bool { return r == ',' })...)
		all[parts[1]] = d
	}
	return all
}

// registered are the metrics of a host with a plugin.
func registered(t *testing.T) (all map[string]described, types map[string]string) {
	t.Helper()
	registry := &noting{Registry: prometheus.NewRegistry(), types: map[string]string{}}
	log := slog.New(slog.DiscardHandler)
	limited(nil, grpcName, 1, answerCall, registry)
	front := gateway.New(gateway.Options{Routes: &route.Current{}, MaxMessageSize: 1 << 20, Log: log, Metrics: registry})
	t.Cleanup(func() { front.Shutdown(t.Context()) })
	issuer, certificate := identity.NewIssuer(t), identity.NewAuthority(t).Issue(t, time.Now().Add(time.Hour), "localhost")
	cert, key := certificate.Write(t, t.TempDir())
	known, err := openCallers(&config.Config{
		Listen: config.Listen{TLS: config.ListenTLS{Cert: cert, Key: key}},
		Access: config.Access{Issuers: []config.Issuer{issuer.Settings("agenthost")}, Rules: []config.AccessRule{{Anyone: true, May: []string{"list"}}}},
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(known.guard.Close)
	known.register(registry)
	traces, err := tracing.Open(t.Context(), tracing.FromEnvironment([]string{"OTEL_TRACES_EXPORTER=console"}), "1.2.3", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { traces.Close(time.Second) })
	traces.Register(registry)
	none := func() string { return "" }
	admin.New(admin.Options{Artifacts: func() artifact.Stats { return artifact.Stats{} },
		Version: "1.2.3", Ready: func() bool { return true }, WatchError: none, Rollbacks: func() int64 { return 0 }, Metrics: registry.Registry,
		Config:     admin.Config{Standings: func() []fleet.Standing { return []fleet.Standing{{Plugin: "hello", Stand: fleet.AsConfigured}} }},
		OwnMetrics: func() []fleet.OwnMetrics { return []fleet.OwnMetrics{{Plugin: "hello"}} },
		Limits:     func() []gateway.InEffect { return []gateway.InEffect{{Plugin: "hello", Concurrency: 1, Rate: 1}} },
		Plugins: func() []fleet.Status {
			return []fleet.Status{{
				Name: "hello", State: fleet.Running, MemoryLimit: 1, PID: 1, Started: time.Now(), SecretsRead: time.Now(), Sandbox: &sandbox.Granted{}, Manifest: &plugin.Manifest{Version: "1"},
				Generations: []fleet.GenerationStatus{{ID: "1", Role: fleet.RoleCurrent, Instances: []fleet.InstanceStatus{{HealthAt: time.Now(), NextStart: time.Now()}}}},
				Rollout:     &fleet.RolloutStatus{Step: &fleet.StepStatus{Number: 1}},
			}}
		},
	})
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range gathered {
		registry.types[family.GetName()] = strings.ToLower(family.GetType().String())
	}
	return describedBy(registry.Registry), registry.types
}

// alertsByMetric are the alerts that ask for each metric, as links to what to do.
func alertsByMetric(t *testing.T) map[string][]string {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join("..", "..", "charts", "agenthost", "monitoring", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for rule := range strings.SplitSeq(string(rules), "- alert: ") {
		alert, expression, _ := strings.Cut(rule, "\n")
		expression, _, _ = strings.Cut(expression, "labels:")
		link := fmt.Sprintf("[%s](../operating.md#%s)", strings.TrimPrefix(alert, "Agenthost"), strings.ToLower(alert))
		for _, metric := range regexp.MustCompile(`\b(\w+?)(?:_sum|_count|_bucket)?\{`).FindAllStringSubmatch(expression, -1) {
			if !slices.Contains(all[metric[1]], link) {
				all[metric[1]] = append(all[metric[1]], link)
			}
		}
	}
	return all
}

func metricsReference(t *testing.T) string {
	t.Helper()
	all, types := registered(t)
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Generated from what the host registers: go test ./host/server -run TestThePublishedMetricsAreUpToDate -update -->

What ` + "`GET /metrics`" + ` on the admin address answers. Labels take their values from the configuration and the plugins' lists of
agents, never from requests. Their units are in their names: seconds, bytes, and else counts; a name ends in ` + "`_total`" + `
where it only grows. The alerts are those that come with the host: [operating.md](../operating.md#alerts). Besides, there are Go's usual metrics of the
host's own process (` + "`go_…`, `process_…`" + `) and of the endpoint itself (` + "`promhttp_…`" + `).

| metric | type | labels | meaning | alerts |
|---|---|---|---|---|
`)
	alerts := alertsByMetric(t)
	cell := strings.NewReplacer("|", `\|`, "<", "&lt;").Replace
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "promhttp_") {
			continue
		}
		if types[name] == "" {
			t.Errorf("the type of %s is not known", name)
		}
		labels := make([]string, len(all[name].labels))
		for i, label := range all[name].labels {
			labels[i] = "`" + label + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", name, types[name], strings.Join(labels, ", "), cell(all[name].help), strings.Join(alerts[name], ", "))
	}
	return b.String()
}
