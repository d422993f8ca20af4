package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// duckdb is a plugin that keeps its jobs in a directory: 400 MiB a query, two of them.
const duckdb = `config:
  plugins:
    duckdb:
      command: [/plugins/duckdb/duckdb]
      config: {state_dir: /var/lib/agenthost/duckdb, memory_limit: 400MiB, max_concurrent: 2}
      sandbox: {write: [/var/lib/agenthost/duckdb]}
`

// over is YAML over other YAML, of constants.
func over(texts ...string) string { return merged(panicking{}, texts...) }

// panicking fails where there is no test.
type panicking struct{}

func (panicking) Helper()                           {}
func (panicking) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// refusal is what is said of values that do not fit together.
type refusal struct {
	name, values string
	kubernetes   string
	says         []string
}

// refusals are values that do not fit together, and what is said of them.
var refusals = []refusal{
	{name: "no plugin", values: "{}", says: []string{"config.plugins names no plugin", "such as plugins: {duckdb:"}},
	{name: "no plugin in the file", values: "configFile: 'listen: {probe: \"0.0.0.0:9091\"}'", says: []string{"configFile.plugins names no plugin"}},
	{name: "a file that is no YAML", values: "configFile: '{{'", says: []string{"configFile is no YAML"}},
	{name: "Flyte's image, kept from its release", values: over(hello, "image: {repository: ghcr.io/flyteorg/flyte-connectors}"), says: []string{"image.repository is ghcr.io/flyteorg/flyte-connectors, Flyte's own image", "--reset-values"}},
	{name: "Flyte's older image", values: over(hello, "image: {repository: cr.flyte.org/flyteorg/flyteagent}"), says: []string{"Flyte's own image"}},
	{name: "both Secrets", values: over(hello, "{connectorSecret: {secretData: {stringData: {a: b}}}, agentSecret: {secretData: {stringData: {a: b}}}}"), says: []string{"connectorSecret.secretData and agentSecret.secretData are both set"}},
	{name: "another port", values: over(hello, "config: {listen: {grpc: '0.0.0.0:8001'}}"), says: []string{"config.listen.grpc is 0.0.0.0:8001 and ports.containerPort is 8000"}},
	{name: "another port of the container", values: over(hello, "ports: {containerPort: 8002}"), says: []string{"config.listen.grpc is 0.0.0.0:8000 and ports.containerPort is 8002"}},
	{name: "no probe", values: over(hello, "config: {listen: {probe: ''}}"), says: []string{"config.listen.probe is not set", "0.0.0.0:9091"}},
	{name: "no probe in the file", values: "configFile: 'plugins: {a: {command: [a]}}'", says: []string{"configFile.listen.probe is not set"}},
	{name: "Flyte's port on loopback", values: over(hello, "config: {listen: {grpc: '127.0.0.1:8000'}}"), says: []string{"config.listen.grpc is 127.0.0.1:8000, which only the pod itself reaches"}},
	{name: "the probe on loopback", values: over(hello, "config: {listen: {probe: 'localhost:9091'}}"), says: []string{"config.listen.probe is localhost:9091, which only the pod itself reaches"}},
	{name: "the probe on IPv6's loopback", values: over(hello, "config: {listen: {probe: '[::1]:9091'}}"), says: []string{"config.listen.probe is [::1]:9091, which only"}},
	{name: "the probe's port is Flyte's", values: over(hello, "config: {listen: {probe: '0.0.0.0:8000'}}"), says: []string{"config.listen.grpc and listen.probe have the same port, 8000"}},
	{name: "TLS that the file does not have", values: "{tls: {secretName: cert}, configFile: '{listen: {probe: \"0.0.0.0:9091\"}, plugins: {a: {command: [a]}}}'}", says: []string{"tls.secretName is set and configFile has no listen.tls", "/etc/agenthost-tls/tls.crt"}},
	{name: "callers' certificates without TLS", values: over(hello, "tls: {clientCA: true}"), says: []string{"tls.clientCA is set without tls.secretName"}},
	{name: "a probe by gRPC where there is TLS", values: over(hello, "{tls: {secretName: cert}, readinessProbe: {grpc: {port: 8000}}}"), says: []string{"readinessProbe.grpc.port is 8000, where the host speaks TLS and the kubelet does not"}},
	{name: "a state_dir outside of volumes", values: over(hello, "config: {state_dir: /state}"), says: []string{"config.state_dir is /state, which cannot be written", "/run, /tmp, /var/lib/agenthost"}},
	{name: "a state_dir beside the volume", values: over(hello, "config: {state_dir: /var/lib/agenthost-state}"), says: []string{"config.state_dir is /var/lib/agenthost-state, which cannot be written"}},
	{name: "a run_dir outside of volumes", values: over(hello, "config: {run_dir: /srv/run}"), says: []string{"config.run_dir is /srv/run, which cannot be written"}},
	{name: "a plugin's state_dir outside of volumes", values: over(duckdb, "config: {plugins: {duckdb: {config: {state_dir: /jobs}}}}"), says: []string{"config.plugins.duckdb.config.state_dir is /jobs, which cannot be written"}},
	{name: "a grace period that is too short", values: over(hello, "terminationGracePeriodSeconds: 45"), says: []string{"terminationGracePeriodSeconds is 45, and the host may take 45 to stop", "Set it to 46 or more"}},
	{name: "a grace period that a plugin outlasts", values: over(hello, "{terminationGracePeriodSeconds: 60, config: {plugins: {slow: {command: [x], stop_timeout: 1m}}}}"), says: []string{"is 60, and the host may take 95 to stop"}},

	{name: "replicas without a volume", values: over(duckdb, "replicaCount: 2"), says: []string{"2 replicas, and the plugins duckdb keep jobs in a directory", "persistence.enabled is false"}},
	{name: "replicas whose jobs are in a directory", values: over(duckdb, "{replicaCount: 2, config: {plugins: {duckdb: {config: {jobs: 'file:///var/lib/agenthost/jobs'}}}}}"), says: []string{"2 replicas, and the plugins duckdb keep jobs"}},
	{name: "jobs outside of volumes", values: over(duckdb, "config: {plugins: {duckdb: {config: {jobs: 'file:///jobs'}}}}"), says: []string{"config.plugins.duckdb.config.jobs is /jobs, which cannot be written"}},
	{name: "scratch outside of volumes", values: over(duckdb, "config: {plugins: {duckdb: {config: {scratch_dir: /scratch}}}}"), says: []string{"config.plugins.duckdb.config.scratch_dir is /scratch, which cannot be written"}},
	{name: "replicas with a volume of one node", values: over(duckdb, "{replicaCount: 2, persistence: {enabled: true}}"), says: []string{"2 replicas, and the plugins duckdb keep jobs", "accessMode ReadWriteOnce"}},
	{name: "an autoscaler without a volume", values: over(duckdb, "autoscaling: {enabled: true, maxReplicas: 4}"), says: []string{"4 replicas, and the plugins duckdb keep jobs"}},
	{name: "a user's own plugin that keeps jobs", values: "{replicaCount: 2, config: {plugins: {mine: {command: [/plugins/mine/mine], config: {state_dir: /var/lib/agenthost/mine}}}}}", says: []string{"2 replicas, and the plugins mine keep jobs"}},
	{name: "duckdb without a state_dir", values: "{replicaCount: 2, memory: {check: false}, config: {plugins: {sql: {command: [/plugins/duckdb/duckdb]}}}}", says: []string{"2 replicas, and the plugins sql keep jobs"}},
	{name: "replicas that keep nothing, on a volume of one node", values: over(hello, "{replicaCount: 2, persistence: {enabled: true}}"), says: []string{"2 replicas mount one volume with accessMode ReadWriteOnce"}},
	{name: "a volume of one pod", values: over(duckdb, "persistence: {enabled: true, accessMode: ReadWriteOncePod}"), says: []string{"ReadWriteOncePod lets no second pod mount the volume", "Recreate"}},
	{name: "an autoscaler that cannot", values: over(hello, "autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 2}"), says: []string{"autoscaling.minReplicas is 5 and maxReplicas 2"}},

	{name: "too little memory for duckdb", values: over(duckdb, "resources: {limits: {memory: 900Mi}}"), says: []string{"resources.limits.memory is 900Mi", "need 992Mi: 128Mi for the host, 864Mi for duckdb (max_concurrent 2 times memory_limit 400Mi, and 64Mi)"}},
	{name: "Flyte's memory limit, kept from its release", values: over(duckdb, "resources: {limits: {memory: 300Mi}}"), says: []string{"resources.limits.memory is 300Mi", "need 992Mi"}},
	{name: "duckdb's own defaults", values: "config: {plugins: {duckdb: {command: [/plugins/duckdb/duckdb]}}}", says: []string{"resources.limits.memory is 1Gi", "need 4288Mi: 128Mi for the host, 4160Mi for duckdb (max_concurrent 4 times memory_limit 1024Mi, and 64Mi)"}},
	{name: "too little for sandboxes", values: "config: {plugins: {a: {command: [a], sandbox: {memory: 300MiB}, instances: 3}, b: {command: [b]}, c: {address: ['c:1']}}}", says: []string{"need 1092Mi: 128Mi for the host, 900Mi for a (sandbox.memory; 3 instances), 64Mi for b (no limit of its own)"}},
	{name: "a limit in other units", values: "{config: {plugins: {a: {command: [a], sandbox: {memory: 1GB}}}}, resources: {limits: {memory: 1000000000}}}", says: []string{"need 1082Mi: 128Mi for the host, 954Mi for a"}},

	{name: "a sleep that an older cluster does not know", values: over(hello, "preStopSeconds: 5"), kubernetes: "v1.29.8", says: []string{"preStopSeconds needs Kubernetes 1.30, and this is v1.29.8"}},
	{name: "image volumes that an older cluster does not know", values: over(hello, "pluginImages: [{name: a, image: a:1}]"), kubernetes: "v1.30.2", says: []string{"pluginImages needs image volumes", "this is v1.30.2"}},
	{name: "a path in an image that an older cluster does not know", values: over(hello, "pluginImages: [{name: a, image: a:1, subPath: x}]"), kubernetes: "v1.32.0", says: []string{"subPath of a needs Kubernetes 1.33, and this is v1.32.0"}},

	// The schema's.
	{name: "a mistake in the configuration", values: over(hello, "config: {lisen: {}}"), says: []string{"at '/config': additional properties 'lisen' not allowed"}},
	{name: "a mistake in a plugin", values: "config: {plugins: {a: {comand: [x]}}}", says: []string{"at '/config/plugins/a'"}},
	{name: "a number of replicas that is none", values: over(hello, "replicaCount: two"), says: []string{"at '/replicaCount': got string, want integer"}},
	{name: "a generation that there is not", values: over(hello, "generation: flyte3"), says: []string{"at '/generation': value must be one of"}},
	{name: "a port's name that is too long", values: over(hello, "ports: {name: a-name-of-sixteen}"), says: []string{"at '/ports/name'"}},
	{name: "a quantity that is none", values: over(hello, "resources: {limits: {memory: plenty}}"), says: []string{"at '/resources/limits/memory'"}},
}

func TestWhatDoesNotFitTogetherIsRefused(t *testing.T) {
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			_, err := rendering{values: r.values, kubernetes: r.kubernetes}.render()
			if err == nil {
				t.Fatalf("rendered:\n%s", r.values)
			}
			for _, says := range r.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("it does not say %q, but: %v", says, err)
				}
			}
		})
	}
}

// What is just enough is taken.
func TestWhatJustFitsIsTaken(t *testing.T) {
	for name, values := range map[string]string{
		"memory to the last MiB":                           over(duckdb, "resources: {limits: {memory: 992Mi}}"),
		"no limit of memory":                               over(duckdb, "resources: {limits: null}"),
		"replicas on a shared volume":                      over(duckdb, "{replicaCount: 3, persistence: {enabled: true, accessMode: ReadWriteMany}}"),
		"replicas whose jobs are elsewhere":                over(duckdb, "{replicaCount: 3, persistence: {notNeededBy: [duckdb]}}"),
		"replicas whose jobs are in a bucket":              over(duckdb, "{replicaCount: 3, config: {plugins: {duckdb: {config: {jobs: 's3://bucket/duckdb'}}}}}"),
		"replicas whose jobs are on a volume of one's own": over(duckdb, "{replicaCount: 3, config: {plugins: {duckdb: {config: {jobs: /mnt/duckdb}}}}, additionalVolumes: [{name: jobs, nfs: {server: nfs, path: /jobs}}], additionalVolumeMounts: [{name: jobs, mountPath: /mnt}]}"),
		"replicas that keep nothing":                       over(hello, "replicaCount: 3"),
		"duckdb elsewhere":                                 "{replicaCount: 3, config: {plugins: {duckdb: {address: ['duckdb:8000']}}}}",
		"a grace period to the second":                     over(hello, "terminationGracePeriodSeconds: 46"),
		"a volume of one pod, and none beside it":          over(duckdb, "{persistence: {enabled: true, accessMode: ReadWriteOncePod}, strategy: {type: Recreate, rollingUpdate: null}}"),
		"IPv6":                                       over(hello, "config: {listen: {grpc: '[::]:8000', probe: '[::]:9091'}}"),
		"a directory on a volume of one's own":       over(duckdb, "{config: {plugins: {duckdb: {config: {state_dir: /jobs}}}}, additionalVolumes: [{name: jobs, emptyDir: {}}], additionalVolumeMounts: [{name: jobs, mountPath: /jobs}]}"),
		"a root file system that can be written":     over(hello, "{config: {state_dir: /state}, securityContext: {readOnlyRootFilesystem: false}}"),
		"on and off as Helm reads them":              over(hello, "config: {create: {on_record: on}, log: {calls: off}, plugins: {hello: {tls: on, sandbox: off}}}"),
		"a probe of one's own":                       over(hello, "readinessProbe: {httpGet: {path: /readyz, port: probe}}"),
		"values of Flyte's chart that do nothing":    over(hello, "{configPath: /etc/x, fullnameOverride: other, extraArgs: {}, podEnv: {}}"),
		"an image of one's own with a similar name":  over(hello, "image: {repository: registry.example.com/flyteorg/flyteagent-ours}"),
		"a plugin whose configuration is not Helm's": over(hello, "config: {plugins: {hello: {config: {n: 20000000, f: 0.5, t: '2026-01-01', e: ''}}}}"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := (rendering{values: values}).render(); err != nil {
				t.Errorf("%v\n%s", err, values)
			}
		})
	}
}

// Each way to fail has its refusal above.
func TestEveryRefusalIsTried(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chartFolder, "templates", "_checks.tpl"))
	if err != nil {
		t.Fatal(err)
	}
	verbs := regexp.MustCompile(`%[a-z]|\\`)
	failures := regexp.MustCompile(`fail (?:\(printf )?"((?:[^"\\]|\\.)*)"`).FindAllStringSubmatch(string(content), -1)
	if len(failures) < 15 {
		t.Fatalf("only %d ways to fail were found", len(failures))
	}
	var all []string
	for _, r := range refusals {
		if _, err := (rendering{values: r.values, kubernetes: r.kubernetes}).render(); err != nil {
			all = append(all, err.Error())
		}
	}
	for _, failure := range failures {
		// The longest part of the message that no value is in.
		parts := verbs.Split(failure[1], -1)
		longest := slices.MaxFunc(parts, func(a, b string) int { return len(a) - len(b) })
		if !slices.ContainsFunc(all, func(said string) bool { return strings.Contains(said, longest) }) {
			t.Errorf("nothing is refused with %q", failure[1])
		}
	}
}
