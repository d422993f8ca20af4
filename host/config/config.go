// Package config turns files, environment variables and command-line flags into one typed [Config].
//
// The layers, each overriding the one before it:
//
//  1. the defaults, as documented on the fields below;
//  2. the files of [Sources.Files], in order: YAML, JSON or TOML, told apart by extension. Mappings merge key by key,
//     anything else (lists too) is replaced as a whole;
//  3. environment variables: AGENTHOST_ followed by the key in upper case, two underscores between levels, as in
//     AGENTHOST_LISTEN__GRPC or AGENTHOST_PLUGINS__DUCKDB_DEV__STOP_TIMEOUT for plugins.duckdb-dev.stop_timeout;
//  4. flags, as dotted keys.
//
// Reading is strict. A key that nobody knows, a value of the wrong type, a key given twice, a list of commands that is
// empty: each is an error that names the file and line (or variable, or flag) and the key, says what was expected and
// what was found, and proposes the nearest known name. [Load] reports all of them at once, as [Errors], so that a file
// is mended in one round.
//
// A value that comes as text (from a variable or --set) is read by the type of its key: "30s", "64MiB", "5", a list as
// a,b,c or [a, b, c], a mapping as {a: b}. Below a plugin's own `config:`, whose types the host does not know, it is read
// as YAML would read it, unless a file gives that key a string, which then stays one.
//
// A path that starts with ./ or ../ (in command, dir, the keys of sha256 and after file://) is relative to the folder
// of the file it stands in, so that a configuration and its programs can be moved together; from a variable or a flag it
// is relative to the working directory. A bare program name such as python3 is looked up in the PATH that the plugin gets;
// any other relative path is relative to its dir. There is no ${VAR} interpolation: variables override keys instead.
//
// What the struct tags say (key names, rules) is what [Load] checks and what [Schema] publishes.
package config

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Config is everything the host can be told. The zero value is not useful: start from [Default] or [Load]. The tag `live`
// marks the keys that a running host takes up when they change; the others need a restart of the host.
type Config struct {
	// Where the host listens.
	Listen Listen `koanf:"listen"`
	// The host's own log, into which the plugins' logs are merged.
	Log Log `koanf:"log"`
	// A private directory for the plugins' sockets and secrets; made if it is missing, swept when the host starts. Default:
	// agenthost-<uid> in $XDG_RUNTIME_DIR or else in the system's temporary directory. Keep it short: a unix socket's path
	// may have 107 bytes.
	RunDir string `koanf:"run_dir" check:"directory"`
	// A private directory for what must outlive the host, such as its keys and what its plugins last served; made if it is
	// missing. It belongs on a disk or volume that outlives the machine's or the container's restart. Hosts on one machine may
	// share it. Default: state in run_dir, which the host warns of.
	StateDir string `koanf:"state_dir" check:"directory"`
	// When a host that has been started gets its first calls: all or any, in the place of plugins.
	Ready Ready `koanf:"ready" short:"plugins"`
	// For how long a host that was asked to stop goes on taking calls while its health says NOT_SERVING, so that those who look
	// there before they call have gone elsewhere when it stops listening. Set it where calls are spread by readiness, as in
	// Kubernetes. Elsewhere nobody looks, and a restart would only take longer.
	DrainDelay time.Duration `koanf:"drain_delay" check:"duration"`
	// How long a host that was asked to stop waits, after drain_delay, for calls in flight before it stops its plugins anyway.
	ShutdownTimeout time.Duration `koanf:"shutdown_timeout" check:"duration"`
	// The largest message, in bytes, that the host takes from Flyte. What plugins answer is bounded by what Flyte takes (operating.md, Limits of the host).
	MaxMessageSize Size `koanf:"max_message_size" check:"message_size"`
	// What callers and plugins can make the host spend.
	Limits HostLimits `koanf:"limits"`
	// What becomes of tasks whose job cannot be made at once.
	Create Create `koanf:"create" live:"true"`
	// The plugins by name. A name is what logs, metrics and routes call the plugin: lower-case letters, digits and dashes.
	Plugins map[string]Plugin `koanf:"plugins" keys:"plugin_name" live:"true"`
	// How plugins that are images come from their registries, and where they are kept.
	Artifacts Artifacts `koanf:"artifacts"`
	// Which plugin gets a new job, where several serve one task type or one is kept for certain projects or domains. The first
	// route that matches decides. What none matches goes to the plugin that serves the task type and that no route names for it.
	Routes []Route `koanf:"routes" live:"true"`
	// Who may call listen.grpc, and what. Left out: whoever reaches the port may do anything.
	Access Access `koanf:"access" live:"true"`

	origins origins
	// own is what the files held that the configuration was read from; contents what those of WatchedFiles held, if a Watcher
	// has looked.
	own, contents map[string]content
	// snapshot is what it was read from.
	snapshot Snapshot
	// digests are what images without a digest are now, by plugin: see SetDigest.
	digests map[string]digest.Digest
	// read counts what one Watcher has read.
	read uint64
}

// OlderThan says that c was read before other, by the same [Watcher]: whoever takes configurations from several goroutines
// (from Run and from Reload) must not put an older one in the place of a newer.
func (c *Config) OlderThan(other *Config) bool { return c.read < other.read }

// StopsWithin is how long a host with this configuration may take from SIGTERM to its end.
func (c *Config) StopsWithin() time.Duration {
	var stop time.Duration
	for _, p := range c.Plugins {
		if !p.Remote() {
			stop = max(stop, p.StopTimeout)
		}
	}
	return c.DrainDelay + c.ShutdownTimeout + stop
}

// StateWarning says why what the host keeps in StateDir may not outlive it; empty where it does.
func (c *Config) StateWarning() string {
	below, err := filepath.Rel(c.RunDir, c.StateDir)
	if err != nil || !filepath.IsLocal(below) {
		return ""
	}
	return fmt.Sprintf("state_dir (%s) is in run_dir, which is for what need not outlive the host: set state_dir to a directory on a disk or volume that stays", c.StateDir)
}

// Listen says where the host listens.
type Listen struct {
	// The host:port that FlytePropeller talks to, in gRPC: plain, or over TLS where tls says so.
	GRPC string `koanf:"grpc" check:"address"`
	// The certificates of listen.grpc.
	TLS ListenTLS `koanf:"tls"`
	// Where operators ask for the status, and operate the host: host:port, or unix:/path for a socket of the host's user. Over
	// TCP whoever shows a token operates it; over the socket the host's user and root do, but nothing that the host runs. Empty:
	// nobody can ask.
	Admin string `koanf:"admin" check:"admin_address"`
	// Where to read the tokens that operate the host over listen.admin, beside the one that the host makes for its own user on its
	// machine: lines of a token of 16 characters or more, or of its name and a token. They are read again while the host runs.
	AdminToken string `koanf:"admin_token" check:"secret_url"`
	// The host:port of what anybody may see: gRPC and HTTP health, /metrics and the configuration's hash, in plain text, for the
	// kubelet, Prometheus and hooks. Nothing there changes anything. Empty: it is off.
	Probe string `koanf:"probe" check:"address_or_off"`
	// Whether Go's profiles of the host are served at listen.admin, below /debug/pprof.
	Pprof string `koanf:"pprof" check:"switch"`
}

// UnixPath is the path of an address that is a unix socket's.
func UnixPath(address string) (path string, ok bool) { return strings.CutPrefix(address, unixScheme) }

const unixScheme = "unix:"

// Ready says when a host that has been started is ready for the first time. What becomes of its plugins later does not change that.
type Ready struct {
	// all: when every plugin runs as configured; any: when each has been started or has failed once, and one runs, or what one served is
	// known from before. A plugin that an operator stopped or disabled does not count. all is for rollouts by readiness, as in
	// Kubernetes, which then stop at a configuration that a plugin refuses.
	Plugins string `koanf:"plugins" check:"ready"`
	// With all: after how long the host is ready with those plugins that run, loudly, for one that is broken not to keep the others
	// out. It is to be longer than whoever rolls out waits: Kubernetes' progressDeadlineSeconds is 10 minutes.
	GiveUp time.Duration `koanf:"give_up" check:"duration"`
}

// The values of Ready.Plugins.
const (
	ReadyAll = "all"
	ReadyAny = "any"
)

// Log says what the host logs and how.
type Log struct {
	// The least level that is logged.
	Level string `koanf:"level" check:"log_level"`
	// text for people, json for collectors.
	Format string `koanf:"format" check:"log_format"`
	// Whether it tells of each call on listen.grpc that was refused, that failed or that was slow: caller, method, task type,
	// plugin, code and time, and nothing of requests and answers. Lines beyond one a second are left out and counted.
	Calls string `koanf:"calls" check:"switch"`
	// How long a call takes that is slow. 0s: none is.
	SlowCall time.Duration `koanf:"slow_call" check:"duration"`
}

// Create says what becomes of a task whose plugin cannot make its job at once: it starts, crashes, hangs, drains, or is over its
// limits. Flyte gives up an attempt at the first CreateTask that fails, and has no back-off between attempts.
type Create struct {
	// Whether a task is accepted whose plugin cannot make its job now, but finds jobs by their key (find_by_key): what the creation
	// needs travels with the task, and its job is made once the plugin can. Where create.keys is not set, tasks of other plugins
	// are accepted too, as far as one host alone can. Switch it on when every replica is of a version that has this key.
	OnRecord string `koanf:"on_record" check:"switch"`
	// Where to read the keys that accepted tasks are sealed with: lines of 32 bytes in base64, of which the first seals and all
	// open. Replicas need the same. They are read again while the host runs, so that keys can be replaced. Default: a key of this host's
	// own in state_dir, which no other replica has.
	Keys string `koanf:"keys" check:"secret_url"`
	// How long one CreateTask call of an accepted task may take.
	Timeout time.Duration `koanf:"timeout" check:"positive_duration"`
	// How long an accepted task may wait for its job; then it ends RETRYABLE_FAILED, with what it waited for.
	MaxWait time.Duration `koanf:"max_wait" check:"positive_duration"`
	// The most that one accepted task may add to what Flyte stores of its execution. A larger one waits with its CreateTask call.
	RecordMax Size `koanf:"record_max" check:"record_size"`
	// The most that the accepted tasks of one execution may add. Flyte 1 keeps all nodes in flight of a workflow in one object of
	// at most 1.5 MiB, and a workflow that outgrows it fails.
	RecordMaxPerExecution Size `koanf:"record_max_per_execution" check:"record_size"`
	// Codes with which agents refuse tasks for good. From retry 1 on a task that can be accepted ends FAILED with one of them,
	// instead of using up the retries left.
	FinalCodes []string `koanf:"final_codes" check:"status_code"`
	// The first day (UTC), at most 90 days from now, on which a pin is not believed any more that is not signed with create.keys. A host
	// of before signatures, or one without these keys, makes such pins, and so can a caller: set it for as long as jobs of such
	// hosts run. Without create.keys the plugin in such a pin is believed, and never its generation.
	UnsignedPinsUntil string `koanf:"unsigned_pins_until" check:"near_day"`
	// For how long a job may wait for somebody to ask for it whose CreateTask was answered when nobody waited any more; then it is
	// deleted. It is not where the plugin finds its jobs by their key, or declares keep_unclaimed. 0s: never.
	OrphanGrace time.Duration `koanf:"orphan_grace" check:"duration"`
	// For how long after a plugin was taken out of the configuration its task types stay listed, and new tasks for it wait for its
	// return, on record or, as few may, until just before their callers' deadlines, instead of failing at once.
	RemovedGrace time.Duration `koanf:"removed_grace" check:"duration"`
}

// Plugin is one configured plugin. It has either a command, a process that the host starts, keeps and stops; or an
// address, an agent server that runs elsewhere. The tag `only` marks the keys that mean something for one of the two alone,
// `spec` those that define what runs: a change of one of them is a new generation.
type Plugin struct {
	// The program and its arguments. There is no shell in between.
	Command []string `koanf:"command" check:"command" only:"command" spec:"true"`
	// An OCI artifact, or an image's file system, that has the program: registry/repository:tag@sha256:…. It is pulled, checked and
	// kept by content. command then names the program in it, relative to its root, and its arguments; default: what the artifact says
	// itself. Without a digest it is what the tag leads to whenever the configuration is read.
	Image string `koanf:"image" check:"image" only:"command" spec:"true"`
	// How the image is verified. Default: artifacts.verify.
	Verify Verify `koanf:"verify" only:"command" spec:"true"`
	// Where an agent server runs that the host does not start: host:port, several for several equal ones. Instead of command.
	Address []string `koanf:"address" check:"addresses" only:"address" spec:"true"`
	// The working directory of the process. Default: the host's.
	Dir string `koanf:"dir" check:"directory" only:"command" spec:"true"`
	// SHA-256 sums, in hex, of the files that make up the plugin, by path. A file that differs keeps the plugin from starting.
	// A relative path is taken from the working directory of the process.
	SHA256 map[string]string `koanf:"sha256" keys:"path" check:"sha256" only:"command" spec:"true"`
	// Environment variables of the process. It gets these, those of inherit_env and a few that every program needs, never the
	// host's whole environment.
	Env map[string]string `koanf:"env" keys:"plugin_env" check:"text" only:"command" spec:"true"`
	// Names of variables that the process gets from the host's environment, where they are set.
	InheritEnv []string `koanf:"inherit_env" check:"env_name" only:"command" spec:"true"`
	// Secrets by name; the plugin finds each as a file in the directory that FLYTE_SECRETS_DEFAULT_DIR names. A value says where
	// the host reads the secret: file:///path, env:NAME for a variable of the host, or a secret in AWS's Secrets Manager or Parameter
	// Store, Google's Secret Manager, Azure's Key Vault, HashiCorp Vault or OpenBao, or a Secret of Kubernetes, which is read whenever
	// a process of the plugin starts, and every secrets_refresh (operating.md, Where secrets come from).
	Secrets map[string]string `koanf:"secrets" keys:"secret_name" check:"secret_url" only:"command" spec:"true"`
	// How often secrets in stores are read again while the plugin runs. A new value goes to its processes if it rereads them, else to a
	// new generation. 0s: only when a process starts.
	SecretsRefresh time.Duration `koanf:"secrets_refresh" check:"duration" only:"command"`
	// What the process may do.
	Sandbox Sandbox `koanf:"sandbox" short:"mode" only:"command" spec:"true"`
	// The plugin's own configuration, which the plugin checks.
	Config map[string]any `koanf:"config" only:"command" spec:"true"`
	// Whether the host and the plugin speak TLS: for a command mutual TLS on their private socket, where off is for stacks that
	// cannot; for an address TLS, where off is for servers without it.
	TLS string `koanf:"tls" check:"switch" spec:"true"`
	// The certificates, as a PEM file, by which the server at address is known. Default: those of the system.
	TLSCA string `koanf:"tls_ca" check:"file" only:"address" spec:"true"`
	// The host's own certificate, as a PEM file, for servers that ask for one. It goes with tls_key.
	TLSCert string `koanf:"tls_cert" check:"file" only:"address" spec:"true"`
	// The private key of tls_cert, as a PEM file.
	TLSKey string `koanf:"tls_key" check:"file" private:"true" only:"address" spec:"true"`
	// The name that the server's certificate must have. Default: the host of its address.
	TLSServerName string `koanf:"tls_server_name" check:"host_name" only:"address" spec:"true"`
	// The task types that the plugin may serve of what it lists, each as a name or name@version. Default: all. What is left out is not
	// served, and a task type that is named here goes to no plugin that does not name it.
	TaskTypes []string `koanf:"task_types" check:"task_types"`
	// How many processes of the plugin run side by side. A call goes to the one with the fewest calls in flight.
	Instances int `koanf:"instances" check:"positive" only:"command"`
	// How many calls the plugin gets, at once and in a second.
	Limits Limits `koanf:"limits"`
	// How the states of jobs are remembered.
	Status Status `koanf:"status"`
	// Whether a job is polled by the generation of the plugin that made it, while that lives: always, never, or auto, which is
	// only where routes or a rollout need it.
	Pin string `koanf:"pin" check:"pin"`
	// How long the plugin may take from the start of its process until it takes tasks.
	StartTimeout time.Duration `koanf:"start_timeout" check:"positive_duration" only:"command" spec:"true"`
	// How long the process may take to end by itself once asked, before it is killed.
	StopTimeout time.Duration `koanf:"stop_timeout" check:"duration" only:"command" spec:"true"`
	// How long calls in flight may take to end before the process that serves them is stopped.
	DrainTimeout time.Duration `koanf:"drain_timeout" check:"duration"`
	// What happens after the process ended by itself or, with an address, after no server could be reached.
	Restart Restart `koanf:"restart"`
	// How long a new generation is watched after the swap. A crash loop within that time brings the one before it back.
	Probation time.Duration `koanf:"probation" check:"duration"`
	// Whether a generation that fails its probation is swapped back for the one before it. Otherwise it stays, and goes on restarting.
	Rollback bool `koanf:"rollback"`
	// How new jobs move to a new generation.
	Rollout Rollout `koanf:"rollout"`
}

// Remote says that the host does not start the plugin but finds it at an address.
func (p Plugin) Remote() bool { return len(p.Address) > 0 }

// Limits is how much a plugin gets to do. What exceeds it waits.
type Limits struct {
	// How many calls that begin a task (CreateTask, ExecuteTaskSync) the plugin gets at once. 0: no limit.
	Concurrency int `koanf:"concurrency" check:"count"`
	// How long such a call waits for its turn, at most until just before its caller's deadline; then it fails.
	Wait time.Duration `koanf:"wait" check:"duration"`
	// How many calls of any kind the plugin gets in a second, fractions allowed: for the quota of a service behind it. 0: no limit.
	Rate float64 `koanf:"rate" check:"rate"`
	// How many calls may come at once after a quiet time, within rate. Default: rate, rounded up.
	Burst int `koanf:"burst" check:"positive"`
}

// Status is how the host remembers the last state of a job.
type Status struct {
	// For how long after a state was read from the plugin the same question is answered from memory. 0s: never.
	MinInterval time.Duration `koanf:"min_interval" check:"duration"`
	// For how long the last state is given while the plugin cannot be asked; then the job fails with the reason.
	MaxStale time.Duration `koanf:"max_stale" check:"duration"`
}

// Rollout is how new jobs move to a new generation of a plugin. Jobs that exist stay where they are.
type Rollout struct {
	// The share of new jobs, in percent, that a new generation gets while the one before it lives on beside it, until it is changed.
	Percent int `koanf:"percent" check:"percent"`
	// The shares that it gets one after the other by itself; after the last one it gets all calls. Instead of percent.
	Steps []RolloutStep `koanf:"steps"`
	// When it is withdrawn instead, during these steps.
	AbortIf AbortIf `koanf:"abort_if"`
}

// RolloutStep is a share of new jobs, and for how long it is kept.
type RolloutStep struct {
	// The share of new jobs, in percent; larger than that of the step before.
	Percent int `koanf:"percent" check:"step_percent" required:"true"`
	// How long the step takes at least: until then, and until there were abort_if.min_calls, the next one waits.
	Pause time.Duration `koanf:"pause" check:"positive_duration" required:"true"`
}

// AbortIf is what a canary is withdrawn for, as soon as it has had min_calls in a step. It is compared with what the current generation
// does during the same step, kind of call by kind of call.
type AbortIf struct {
	// How much larger the part of its calls that fail by the plugin's fault is than of the current generation's: 0.05 is five of a
	// hundred more.
	ErrorRate float64 `koanf:"error_rate" check:"error_rate"`
	// How many times as long as on the current generation 99 of 100 calls take at most (and at least 10 ms longer). 0: whatever they take.
	LatencyP99 float64 `koanf:"latency_p99" check:"times"`
	// How many calls it has to have had in a step before it is judged, and before the next step begins. 0: any number.
	MinCalls int `koanf:"min_calls" check:"calls"`
}

// Route sends the calls of one task type to a plugin. A key that is left out matches anything.
type Route struct {
	// The name of the task type.
	Task string `koanf:"task" check:"task_name" required:"true"`
	// The version of the task type.
	Version *int32 `koanf:"version" check:"task_version"`
	// The Flyte project that the task runs in.
	Project string `koanf:"project" check:"flyte_name"`
	// The Flyte domain that the task runs in.
	Domain string `koanf:"domain" check:"flyte_name"`
	// The plugin that gets the calls.
	Plugin string `koanf:"plugin" check:"plugin_name" required:"true"`
}

// Covers says that r matches every call that other matches.
func (r Route) Covers(other Route) bool {
	return r.Task == other.Task && (r.Version == nil || other.Version != nil && *r.Version == *other.Version) &&
		(r.Project == "" || r.Project == other.Project) && (r.Domain == "" || r.Domain == other.Domain)
}

// Restart says how a plugin that ended by itself is started again. It always is: a crash loop slows down and is
// reported, but never gives up.
type Restart struct {
	// The wait before the first restart. It doubles with each further start that fails. A call that waits for a plugin which had
	// answered others ends it at once.
	InitialBackoff time.Duration `koanf:"initial_backoff" check:"positive_duration"`
	// The longest wait between two restarts.
	MaxBackoff time.Duration `koanf:"max_backoff" check:"positive_duration"`
	// When failures are reported as a crash loop.
	CrashLoop CrashLoop `koanf:"crash_loop"`
}

// CrashLoop is the rule by which repeated failures become a crash loop: so many within so long.
type CrashLoop struct {
	// How many failures make a crash loop.
	Failures int `koanf:"failures" check:"positive"`
	// The time within which they count together.
	Window time.Duration `koanf:"window" check:"positive_duration"`
}

// What holds where a plugin's entry says nothing, and where there is no entry to say it.
const (
	DefaultStartTimeout = time.Minute
	DefaultStopTimeout  = 10 * time.Second
	DefaultMaxStale     = 10 * time.Minute
)

// The two values of Plugin.TLS.
const (
	TLSOn  = "on"
	TLSOff = "off"
)

// The two values of every switch: Create.OnRecord, Sandbox.Mode, Listen.Pprof, Log.Calls.
const (
	On  = "on"
	Off = "off"
)

// The three values of Plugin.Pin.
const (
	PinAuto   = "auto"
	PinAlways = "always"
	PinNever  = "never"
)

// Default is the configuration before any layer is read: no plugins, and RunDir and StateDir still empty, because they
// depend on the environment that [Load] is given.
func Default() *Config {
	return &Config{
		Listen:          Listen{GRPC: "0.0.0.0:8000", Admin: "127.0.0.1:9090", Pprof: Off, TLS: ListenTLS{ClientCertificates: Require}},
		Log:             Log{Level: "info", Format: "text", Calls: On, SlowCall: 30 * time.Second},
		Ready:           Ready{Plugins: ReadyAny, GiveUp: 11 * time.Minute},
		ShutdownTimeout: 30 * time.Second,
		MaxMessageSize:  64 * MiB,
		Limits:          defaultHostLimits(),
		Create: Create{
			OnRecord: Off, Timeout: 5 * time.Minute, MaxWait: 30 * time.Minute,
			RecordMax: 8 * KiB, RecordMaxPerExecution: 256 * KiB, OrphanGrace: 15 * time.Minute, RemovedGrace: 2 * time.Minute,
		},
		Artifacts: Artifacts{MaxSize: 4096 * MiB, MaxFiles: 100_000},
		Plugins:   map[string]Plugin{},
		Access:    Access{ClockSkew: 30 * time.Second},
	}
}

// DefaultPlugin is what a plugin's entry starts from: everything but the command or address.
func DefaultPlugin() Plugin {
	return Plugin{
		Sandbox:   Sandbox{Mode: On},
		TLS:       TLSOn,
		Instances: 1,

		SecretsRefresh: 5 * time.Minute,
		Limits:         Limits{Wait: 30 * time.Second},
		Status:         Status{MaxStale: DefaultMaxStale},
		Pin:            PinAuto,
		StartTimeout:   DefaultStartTimeout,
		StopTimeout:    DefaultStopTimeout,
		DrainTimeout:   30 * time.Second,
		Restart: Restart{
			InitialBackoff: 200 * time.Millisecond,
			MaxBackoff:     30 * time.Second,
			CrashLoop:      CrashLoop{Failures: 5, Window: time.Minute},
		},
		Probation: time.Minute,
		Rollback:  true,
		Rollout:   Rollout{Percent: 100, AbortIf: AbortIf{ErrorRate: 0.05, MinCalls: 100}},
	}
}

// derive fills in the defaults that follow from other keys. What is given and empty becomes what is left out, so that the
// two make the same process.
func (p *Plugin) derive() {
	for _, texts := range []*map[string]string{&p.SHA256, &p.Env, &p.Secrets} {
		if len(*texts) == 0 {
			*texts = nil
		}
	}
	if len(p.Config) == 0 {
		p.Config = nil
	}
	for _, texts := range []*[]string{&p.InheritEnv, &p.Sandbox.Read, &p.Sandbox.Write} {
		if len(*texts) == 0 {
			*texts = nil
		}
	}
	if len(p.Sandbox.Bind) == 0 {
		p.Sandbox.Bind = nil
	}
	if !p.Sandbox.On() {
		p.Sandbox = Sandbox{Mode: p.Sandbox.Mode}
	}
	if p.Limits.Burst == 0 {
		p.Limits.Burst = int(min(math.Ceil(p.Limits.Rate), math.MaxInt32))
	}
}
