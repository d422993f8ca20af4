package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agenthost/agenthost/host/config"
)

// write puts a file into a fresh folder and gives its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, sources config.Sources) *config.Config {
	t.Helper()
	c, err := config.Load(sources)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

func TestNothingAtAllIsTheDocumentedDefaults(t *testing.T) {
	got := load(t, config.Sources{Environ: []string{"XDG_RUNTIME_DIR=/run/user/7"}})
	want := config.Default()
	want.RunDir = filepath.Join("/run/user/7", filepath.Base(got.RunDir))
	want.StateDir = filepath.Join(want.RunDir, "state")
	want.Artifacts.Dir = filepath.Join(want.StateDir, "artifacts")
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Config{})); diff != "" {
		t.Errorf("not the defaults (-want +got):\n%s", diff)
	}
}

const everyKey = `
listen:
  grpc: "127.0.0.1:8001"
  admin: "unix:../run/admin.sock"
  admin_token: "file://./tokens"
  probe: "0.0.0.0:9091"
  pprof: on
  tls: {cert: ./tls/tls.crt, key: ./tls/tls.key, client_ca: /etc/tls/ca.crt, client_certificates: optional}
log: {level: debug, format: json, calls: off, slow_call: 5s}
run_dir: /run/agenthost
state_dir: ./state
ready: {plugins: all, give_up: 5m}
drain_delay: 7s
shutdown_timeout: 1m
max_message_size: 16MiB
limits: {memory: 128MiB, calls: 100, calls_per_connection: 10, connections: 20, connection_idle: 1h, task_types: 50}
create:
  on_record: on
  keys: file:///etc/agenthost/create-keys
  timeout: 1m
  max_wait: 1h
  record_max: 4KiB
  record_max_per_execution: 100KiB
  final_codes: [INVALID_ARGUMENT, PERMISSION_DENIED]
  unsigned_pins_until: "2026-01-01"
  orphan_grace: 0s
  removed_grace: 30s
artifacts: {dir: ./artifacts, max_size: 1GiB, max_files: 1000, plain_http: ["registry.local:5000"], ca: ./registry.pem, verify: {cosign_key: /etc/cosign.pub}}
plugins:
  pulled:
    image: registry.example.com/agents/bigquery:1.4@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    verify: {cosign_key: ./bigquery.pub}
    rollout: {steps: [{percent: 5, pause: 10m}, {percent: 50, pause: 1h}], abort_if: {error_rate: 0.01, latency_p99: 1.5, min_calls: 20}}
  pulled-too:
    image: registry.example.com/agents/bigquery:1.4
    command: [bin/bigquery, -v]
  duckdb:
    command: [./bin/duckdb, --verbose]
    dir: ../work
    sha256: {./bin/duckdb: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}
    env: {GOMEMLIMIT: 1GiB}
    inherit_env: [HTTPS_PROXY]
    secrets: {token: file://./token, other: "env:OTHER", third: file:///etc/secrets/third}
    config: {memory_limit: 1GiB, threads: 4, ratio: 0.5, nested: {list: [1, two, null], a.b: true}}
    sandbox:
      require: true
      preset: java
      read: [/data, ./certs]
      write: [../spill]
      connect: [443, 5432]
      bind: [4040]
      user: 70000-70999
      open_files: 4096
      file_size: 10GiB
      memory: 2GiB
      pids: 200
      cpu: 1.5
    tls: off
    start_timeout: 2m
    stop_timeout: 1s
    drain_timeout: 0s
    secrets_refresh: 90s
    restart: {initial_backoff: 1s, max_backoff: 1m, crash_loop: {failures: 3, window: 2m}}
    instances: 3
    limits: {concurrency: 256, wait: 10s, rate: 2.5, burst: 7}
    status: {min_interval: 5s, max_stale: 1h}
    task_types: [duckdb_query, 'spark@2']
    pin: always
    probation: 5m
    rollback: false
    rollout: {percent: 0}
  elsewhere:
    address: [agents.flyte.svc:8000, "[::1]:8001"]
    tls: on
    tls_ca: ./ca.pem
    tls_cert: /etc/tls/tls.crt
    tls_key: /etc/tls/tls.key
    tls_server_name: agents.example.com
routes:
  - {task: spark, version: 0, project: flytesnacks, domain: development, plugin: elsewhere}
  - {task: duckdb_query, plugin: duckdb}
access:
  issuers:
    - {issuer: "https://kubernetes.default.svc", audience: [agenthost], ca: ./ca.crt, token_file: /var/run/token}
    - {issuer: "http://127.0.0.1:5556/dex", audience: [agenthost, other]}
  clock_skew: 10s
  rules:
    - {anyone: true, may: [list]}
    - {certificate: "spiffe://cluster/*", may: [run, poll, delete], task_types: [spark, "duck*"], projects: [flytesnacks], domains: [development]}
    - {issuer: "https://kubernetes.default.svc", subject: "system:serviceaccount:flyte:*", group: ops, claims: {kubernetes.io/namespace: flyte}, may: [poll]}
`

func TestEveryKeyReachesItsField(t *testing.T) {
	path := write(t, "host.yaml", everyKey)
	got := load(t, config.Sources{Files: []string{path}})
	folder := filepath.Dir(path)
	elsewhere := config.DefaultPlugin()
	elsewhere.Address = []string{"agents.flyte.svc:8000", "[::1]:8001"}
	elsewhere.TLSCA, elsewhere.TLSCert, elsewhere.TLSKey = folder+"/ca.pem", "/etc/tls/tls.crt", "/etc/tls/tls.key"
	elsewhere.TLSServerName = "agents.example.com"
	pulled, pulledToo := config.DefaultPlugin(), config.DefaultPlugin()
	pulled.Image = "registry.example.com/agents/bigquery:1.4@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	pulled.Verify.CosignKey = folder + "/bigquery.pub"
	pulled.Rollout = config.Rollout{
		Percent: 100, Steps: []config.RolloutStep{{Percent: 5, Pause: 10 * time.Minute}, {Percent: 50, Pause: time.Hour}},
		AbortIf: config.AbortIf{ErrorRate: 0.01, LatencyP99: 1.5, MinCalls: 20},
	}
	pulledToo.Image, pulledToo.Command, pulledToo.Verify.CosignKey = "registry.example.com/agents/bigquery:1.4", []string{"bin/bigquery", "-v"}, "/etc/cosign.pub"
	want := &config.Config{
		Artifacts: config.Artifacts{
			Dir: folder + "/artifacts", MaxSize: config.GiB, MaxFiles: 1000, PlainHTTP: []string{"registry.local:5000"}, CA: folder + "/registry.pem",
			Verify: config.Verify{CosignKey: "/etc/cosign.pub"},
		},
		Listen: config.Listen{
			GRPC: "127.0.0.1:8001", Admin: "unix:" + filepath.Dir(folder) + "/run/admin.sock", AdminToken: "file://" + folder + "/tokens", Probe: "0.0.0.0:9091", Pprof: "on",
			TLS: config.ListenTLS{
				Cert: folder + "/tls/tls.crt", Key: folder + "/tls/tls.key", ClientCA: "/etc/tls/ca.crt", ClientCertificates: config.Optional,
			},
		},
		Log:      config.Log{Level: "debug", Format: "json", Calls: "off", SlowCall: 5 * time.Second},
		RunDir:   "/run/agenthost",
		StateDir: folder + "/state",
		Ready:    config.Ready{Plugins: config.ReadyAll, GiveUp: 5 * time.Minute}, DrainDelay: 7 * time.Second,
		ShutdownTimeout: time.Minute,
		MaxMessageSize:  16 * config.MiB,
		Limits: config.HostLimits{
			Memory: 128 * config.MiB, Calls: 100, CallsPerConnection: 10, Connections: 20, ConnectionIdle: time.Hour, TaskTypes: 50,
		},
		Create: config.Create{
			OnRecord: "on", Keys: "file:///etc/agenthost/create-keys", Timeout: time.Minute, MaxWait: time.Hour,
			RecordMax: 4 * config.KiB, RecordMaxPerExecution: 100 * config.KiB, FinalCodes: []string{"INVALID_ARGUMENT", "PERMISSION_DENIED"}, RemovedGrace: 30 * time.Second,
			UnsignedPinsUntil: "2026-01-01",
		},
		Plugins: map[string]config.Plugin{"duckdb": {
			Command:    []string{folder + "/bin/duckdb", "--verbose"},
			Dir:        filepath.Dir(folder) + "/work",
			SHA256:     map[string]string{folder + "/bin/duckdb": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
			Env:        map[string]string{"GOMEMLIMIT": "1GiB"},
			InheritEnv: []string{"HTTPS_PROXY"},
			Secrets:    map[string]string{"token": "file://" + folder + "/token", "other": "env:OTHER", "third": "file:///etc/secrets/third"},
			Config: map[string]any{"memory_limit": "1GiB", "threads": int64(4), "ratio": 0.5, "nested": map[string]any{
				"list": []any{int64(1), "two", nil}, "a.b": true,
			}},
			Sandbox: config.Sandbox{
				Mode: "on", Require: true, Preset: "java", Read: []string{"/data", folder + "/certs"}, Write: []string{filepath.Dir(folder) + "/spill"},
				Connect: []int{443, 5432}, Bind: []int{4040}, User: "70000-70999", OpenFiles: 4096, FileSize: 10 * config.GiB, Memory: 2 * config.GiB, Pids: 200, CPU: 1.5,
			},
			TLS:          "off",
			StartTimeout: 2 * time.Minute,
			StopTimeout:  time.Second,
			Restart: config.Restart{
				InitialBackoff: time.Second, MaxBackoff: time.Minute,
				CrashLoop: config.CrashLoop{Failures: 3, Window: 2 * time.Minute},
			},
			Instances:      3,
			Limits:         config.Limits{Concurrency: 256, Wait: 10 * time.Second, Rate: 2.5, Burst: 7},
			Status:         config.Status{MinInterval: 5 * time.Second, MaxStale: time.Hour},
			TaskTypes:      []string{"duckdb_query", "spark@2"},
			SecretsRefresh: 90 * time.Second,
			Pin:            config.PinAlways,
			Probation:      5 * time.Minute,
			Rollout:        config.Rollout{AbortIf: config.DefaultPlugin().Rollout.AbortIf},
		}, "elsewhere": elsewhere, "pulled": pulled, "pulled-too": pulledToo},
		Routes: []config.Route{
			{Task: "spark", Version: new(int32), Project: "flytesnacks", Domain: "development", Plugin: "elsewhere"},
			{Task: "duckdb_query", Plugin: "duckdb"},
		},
		Access: config.Access{
			Issuers: []config.Issuer{
				{Issuer: "https://kubernetes.default.svc", Audience: []string{"agenthost"}, CA: folder + "/ca.crt", TokenFile: "/var/run/token"},
				{Issuer: "http://127.0.0.1:5556/dex", Audience: []string{"agenthost", "other"}},
			},
			ClockSkew: 10 * time.Second,
			Rules: []config.AccessRule{
				{Anyone: true, May: []string{"list"}},
				{
					Certificate: "spiffe://cluster/*", May: []string{"run", "poll", "delete"}, TaskTypes: []string{"spark", "duck*"},
					Projects: []string{"flytesnacks"}, Domains: []string{"development"},
				},
				{
					Issuer: "https://kubernetes.default.svc", Subject: "system:serviceaccount:flyte:*", Group: "ops",
					Claims: map[string]string{"kubernetes.io/namespace": "flyte"}, May: []string{"poll"},
				},
			},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Config{})); diff != "" {
		t.Errorf("wrong (-want +got):\n%s", diff)
	}
}

func TestAStateDirectoryInTheRunDirectoryIsWarnedOf(t *testing.T) {
	for file, want := range map[string]bool{
		"":                                       true,
		"run_dir: /run/ah":                       true,
		"run_dir: /run/ah\nstate_dir: /run/ah/s": true,
		"run_dir: /run/ah\nstate_dir: /run/ahs":  false,
		"run_dir: /run/ah\nstate_dir: /var/lib/agenthost/state": false,
	} {
		c := load(t, config.Sources{Files: []string{write(t, "host.yaml", file+"\n")}})
		if got := c.StateWarning(); (got != "") != want || want && !strings.Contains(got, c.StateDir) {
			t.Errorf("%q: %q", file, got)
		}
	}
}

// Readers of YAML 1.1, such as Helm, hand true and false on for on and off.
func TestASwitchMayBeTrueOrFalse(t *testing.T) {
	of := func(on, off string) *config.Config {
		return load(t, config.Sources{Files: []string{write(t, "host.yaml", strings.NewReplacer("ON", on, "OFF", off).Replace(
			"create: {on_record: ON}\nlog: {calls: OFF}\nplugins: {a: {command: [a], tls: OFF, sandbox: OFF}, b: {command: [b], sandbox: {mode: ON}}}\n"))}})
	}
	truths, words := of("true", "false"), of("on", "off")
	if truths.Hash() != words.Hash() || truths.Create.OnRecord != "on" || truths.Plugins["a"].Sandbox.Mode != "off" {
		t.Errorf("not the same: %+v and %+v", truths, words)
	}
}
