package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/config"
)

func TestLaterFilesOverrideKeyByKeyAndListsAsAWhole(t *testing.T) {
	first := write(t, "first.yaml", `
log: {level: debug}
plugins:
  duckdb: {command: [duckdb, -a, -b], env: {A: one, B: two}, config: {limits: {memory: 1GiB, threads: 2}}}
  hello: {command: [hello]}
`)
	second := write(t, "second.json", `{"log": {"format": "json"},
		"plugins": {"duckdb": {"command": ["duckdb"], "env": {"B": "deux"}, "config": {"limits": {"threads": 8}}}}}`)
	third := write(t, "third.toml", `
[plugins.duckdb.env]
C = "three"
`)
	got := load(t, config.Sources{Files: []string{first, second, third}})
	if want := (config.Log{Level: "debug", Format: "json", Calls: "on", SlowCall: 30 * time.Second}); got.Log != want {
		t.Errorf("log %+v, want %+v", got.Log, want)
	}
	duckdb := got.Plugins["duckdb"]
	if diff := cmp.Diff([]string{"duckdb"}, duckdb.Command); diff != "" {
		t.Errorf("command: %s", diff)
	}
	if diff := cmp.Diff(map[string]string{"A": "one", "B": "deux", "C": "three"}, duckdb.Env); diff != "" {
		t.Errorf("env: %s", diff)
	}
	if diff := cmp.Diff(map[string]any{"limits": map[string]any{"memory": "1GiB", "threads": int64(8)}}, duckdb.Config); diff != "" {
		t.Errorf("config: %s", diff)
	}
	if len(got.Plugins["hello"].Command) != 1 {
		t.Error("the first file's other plugin is gone")
	}
}

func TestFilesThenEnvironmentThenFlags(t *testing.T) {
	file := write(t, "host.yaml", "listen: {grpc: \"127.0.0.1:1\", admin: \"127.0.0.1:2\"}\nlog: {level: warn}\n")
	got := load(t, config.Sources{
		Files:   []string{file},
		Environ: []string{"AGENTHOST_LISTEN__ADMIN=127.0.0.1:3", "AGENTHOST_LOG__LEVEL=error"},
		Flags:   map[string]any{"log.level": "debug"},
	})
	if want := (config.Listen{GRPC: "127.0.0.1:1", Admin: "127.0.0.1:3", Pprof: "off", TLS: config.Default().Listen.TLS}); got.Listen != want {
		t.Errorf("listen %+v, want %+v", got.Listen, want)
	}
	if got.Log.Level != "debug" {
		t.Errorf("level %s, want the flag's", got.Log.Level)
	}
	for path, want := range map[string]config.Origin{
		"listen.grpc":      {Source: file, Line: 1},
		"listen.admin":     {Source: "environment variable AGENTHOST_LISTEN__ADMIN"},
		"log.level":        {Source: "command line"},
		"shutdown_timeout": {Source: "default"},
	} {
		if origin := got.Origin(strings.Split(path, ".")...); origin != want {
			t.Errorf("%s is from %+v, want %+v", path, origin, want)
		}
	}
}

func TestVariablesReachEveryKindOfKey(t *testing.T) {
	file := write(t, "host.yaml", `
plugins:
  duckdb-dev:
    command: [duckdb]
    env: {Mixed_Case: one}
    secrets: {google-credentials: env:A}
    sha256: {/plugins/duckdb: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}
    config: {version: "1", limits: {max-memory: 1GiB, threads: 2}}
`)
	ones := strings.Repeat("1", 64)
	got := load(t, config.Sources{Files: []string{file}, Environ: []string{
		"AGENTHOST_SHUTDOWN_TIMEOUT=1m",
		"AGENTHOST_MAX_MESSAGE_SIZE=1MiB",
		"AGENTHOST_LISTEN__ADMIN=",
		"AGENTHOST_PLUGINS__DUCKDB_DEV__COMMAND=/bin/duckdb, --fast",
		"AGENTHOST_PLUGINS__DUCKDB_DEV__INHERIT_ENV=[A, B]",
		"AGENTHOST_PLUGINS__DUCKDB_DEV__ENV__MIXED_CASE=two",
		"AGENTHOST_PLUGINS__DUCKDB_DEV__ENV__NEW=3",
		"AGENTHOST_PLUGINS__DUCKDB_DEV__SECRETS__GOOGLE_CREDENTIALS=env:B",
		"AGENTHOST_PLUGINS__DUCKDB_DEV__SHA256___PLUGINS_DUCKDB=" + ones,
		"AGENTHOST_PLUGINS__DUCKDB_DEV__CONFIG__LIMITS__MAX_MEMORY=2GiB",
		"AGENTHOST_PLUGINS__DUCKDB_DEV__CONFIG__LIMITS__THREADS=4",
		"AGENTHOST_PLUGINS__DUCKDB_DEV__CONFIG__VERSION=2",
		"AGENTHOST_PLUGINS__DUCKDB_DEV__CONFIG__LIST=[1, a]",
		"AGENTHOST_PLUGINS__DUCKDB_DEV__RESTART__CRASH_LOOP__FAILURES=9",
		"AGENTHOST_PLUGINS__OTHER_ONE={command: [other], stop_timeout: 3s}",
		"PATH=/bin", "NOT_OURS=1",
	}})
	if got.ShutdownTimeout != time.Minute || got.MaxMessageSize != config.MiB || got.Listen.Admin != "" {
		t.Errorf("top level: %+v", got)
	}
	want := config.DefaultPlugin()
	want.Command = []string{"/bin/duckdb", "--fast"}
	want.InheritEnv = []string{"A", "B"}
	want.Env = map[string]string{"Mixed_Case": "two", "NEW": "3"}
	want.Secrets = map[string]string{"google-credentials": "env:B"}
	want.SHA256 = map[string]string{"/plugins/duckdb": ones}
	want.Config = map[string]any{
		"version": "2", // the file has a text there, so it stays one
		"limits":  map[string]any{"max-memory": "2GiB", "threads": int64(4)},
		"list":    []any{int64(1), "a"},
	}
	want.Restart.CrashLoop.Failures = 9
	if diff := cmp.Diff(want, got.Plugins["duckdb-dev"]); diff != "" {
		t.Errorf("duckdb-dev (-want +got):\n%s", diff)
	}
	if other := got.Plugins["other-one"]; other.StopTimeout != 3*time.Second || len(other.Command) != 1 {
		t.Errorf("other-one: %+v", other)
	}
}

func TestVariablesThatAreNoKeysAreRefusedWithTheNearestName(t *testing.T) {
	file := write(t, "host.yaml", "plugins: {a-b: {command: [x], config: {k-l: 1, k.l: 2}}}\n")
	for variable, want := range map[string]string{
		"AGENTHOST_LOG_LEVEL=info":                                   "did you mean AGENTHOST_LOG__LEVEL?",
		"AGENTHOST_LISTEN__GPRC=x:1":                                 "did you mean AGENTHOST_LISTEN__GRPC?",
		"AGENTHOST_PLUGINS__A_B__STOPTIMEOUT=1s":                     "did you mean AGENTHOST_PLUGINS__A_B__STOP_TIMEOUT?",
		"AGENTHOST_LOG__LEVEL__MORE=1":                               "did you mean AGENTHOST_LOG__LEVEL?",
		"AGENTHOST_PLUGINS__A_B__CONFIG__K_L=1":                      `means both plugins.a-b.config.k-l and plugins.a-b.config."k.l"`,
		"AGENTHOST_PLUGINS__C__DIR=/":                                "plugins.c.command: the key is missing",
		"AGENTHOST_SHUTDOWN_TIMEOUT=30":                              `shutdown_timeout: expected a duration of 0s or more, such as 30s or 5m, got "30"`,
		"AGENTHOST_PLUGINS=x":                                        "plugins: expected a mapping, got the text",
		"AGENTHOST_PLUGINS={":                                        "plugins: expected a mapping, got \"{\": not valid YAML",
		"AGENTHOST_PLUGINS__A_B__RESTART__CRASH_LOOP__FAILURES=many": `expected a whole number of at least 1, got "many"`,
	} {
		got := loadErrors(t, config.Sources{Files: []string{file}, Environ: []string{variable}})
		name, _, _ := strings.Cut(variable, "=")
		if e := got[0]; e.Source != "environment variable "+name || !strings.Contains(e.Error(), want) || len(got) != 1 {
			t.Errorf("%s:\n got %v\nwant %s", variable, got, want)
		}
	}
}

func TestVariablesThatOthersSetDoNotKeepTheHostFromStarting(t *testing.T) {
	load(t, config.Sources{Environ: []string{
		"AGENTHOST_CONFIG=/etc/agenthost.yaml", "AGENTHOST_PLUGIN=flyte-agent-plugin", "AGENTHOST_ADDRESS=127.0.0.1:8000",
		// what Kubernetes sets for Services that are called agenthost and agenthost-admin
		"AGENTHOST_SERVICE_HOST=10.0.0.1", "AGENTHOST_SERVICE_PORT=8000", "AGENTHOST_SERVICE_PORT_AGENT_GRPC=8000",
		"AGENTHOST_PORT=tcp://10.0.0.1:8000", "AGENTHOST_PORT_8000_TCP=tcp://10.0.0.1:8000", "AGENTHOST_PORT_8000_TCP_ADDR=10.0.0.1",
		"AGENTHOST_PORT_8000_TCP_PORT=8000", "AGENTHOST_PORT_8000_TCP_PROTO=tcp", "AGENTHOST_ADMIN_SERVICE_HOST=10.0.0.2",
	}})
}

func TestVariablesCarryRoutesTruthsAndFractions(t *testing.T) {
	file := write(t, "host.yaml", "plugins: {a: {command: [x], limits: {burst: 9}}}\nroutes: [{task: t, plugin: a}, {task: u, plugin: a}]\n")
	got := load(t, config.Sources{Files: []string{file}, Environ: []string{
		"AGENTHOST_ROUTES=[{task: v, version: 3, plugin: b}]",
		"AGENTHOST_PLUGINS__B__ADDRESS=one:1, two:2",
		"AGENTHOST_PLUGINS__B__LIMITS__RATE=0.5",
		"AGENTHOST_PLUGINS__A__ROLLBACK=false",
		"AGENTHOST_PLUGINS__A__LIMITS__RATE=3",
	}})
	three := int32(3)
	if diff := cmp.Diff([]config.Route{{Task: "v", Version: &three, Plugin: "b"}}, got.Routes); diff != "" {
		t.Errorf("routes: %s", diff)
	}
	a, b := got.Plugins["a"], got.Plugins["b"]
	if a.Rollback || a.Limits.Rate != 3 || a.Limits.Burst != 9 {
		t.Errorf("a: %+v", a)
	}
	if len(b.Address) != 2 || b.Address[1] != "two:2" || !b.Rollback || b.Limits.Rate != 0.5 || b.Limits.Burst != 1 {
		t.Errorf("b: %+v", b)
	}
	if origin := got.Origin("routes", "1", "task"); origin.Source == file {
		t.Errorf("the file's second route is still known, though the variable replaced the list")
	}
	for variable, want := range map[string]string{
		"AGENTHOST_ROUTES=t":                      `routes: expected a list of mappings, got the text "t"`,
		"AGENTHOST_ROUTES__0__TASK=t":             "routes is a list, which is set as a whole: AGENTHOST_ROUTES=[…]",
		"AGENTHOST_PLUGINS__A__ROLLBACK=no":       `plugins.a.rollback: expected true or false, got the text "no"`,
		"AGENTHOST_PLUGINS__A__LIMITS__RATE=fast": `plugins.a.limits.rate: expected a number of calls per second, 0 (no limit) or more, got the text "fast"`,
		"AGENTHOST_PLUGINS__A__LIMITS__RATE=.inf": ".inf is not a number that a configuration can carry",
	} {
		if errs := loadErrors(t, config.Sources{Files: []string{file}, Environ: []string{variable}}); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", variable, errs, want)
		}
	}
}

func TestFlagsTakeDottedKeysWithQuotedParts(t *testing.T) {
	ones := strings.Repeat("1", 64)
	got := load(t, config.Sources{Flags: map[string]any{
		"plugins.a.command":              []string{"x", "a,b"},
		`plugins.a.sha256."/opt/a.b"`:    ones,
		"plugins.a.config.threads":       "4",
		"plugins.a.config.ratio":         0.5,
		"plugins.a.stop_timeout":         3 * time.Second,
		"plugins.a.restart.crash_loop":   "{failures: 2}",
		"max_message_size":               "1MiB",
		`plugins.a.env.LIST`:             "a,b",
		`plugins.a.secrets."tls.key"`:    "env:KEY",
		"plugins.a.config.nested.deeper": "true",
	}})
	a := got.Plugins["a"]
	if diff := cmp.Diff(map[string]any{"threads": int64(4), "ratio": 0.5, "nested": map[string]any{"deeper": true}}, a.Config); diff != "" {
		t.Errorf("config: %s", diff)
	}
	if diff := cmp.Diff([]string{"x", "a,b"}, a.Command); diff != "" {
		t.Errorf("command: %s", diff)
	}
	if a.SHA256["/opt/a.b"] != ones || a.StopTimeout != 3*time.Second || a.Restart.CrashLoop.Failures != 2 || a.Env["LIST"] != "a,b" || a.Secrets["tls.key"] != "env:KEY" {
		t.Errorf("got %+v", a)
	}
	for key, want := range map[string]string{
		"log..level":   "a part of the key is empty",
		"log.levle":    "unknown key; did you mean level?",
		`log."level`:   "a quote in the key is not closed",
		`"log"level`:   "expected a dot after the quoted part",
		"":             "a part of the key is empty",
		"log.level.of": "log.level: expected debug, info, warn or error, got a mapping",
	} {
		if errs := loadErrors(t, config.Sources{Flags: map[string]any{key: "info"}}); !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%q: got %v, want %s", key, errs, want)
		}
	}
}

func TestPathsAreRelativeToTheFileThatNamesThem(t *testing.T) {
	file := write(t, "host.yaml", "plugins: {a: {command: [../bin/a, ./script.py, plain/path, ...], dir: ., secrets: {k: file://../k}}}\n")
	got := load(t, config.Sources{Files: []string{file}, Flags: map[string]any{"plugins.b.command": "./b"}})
	folder := filepath.Dir(file)
	if diff := cmp.Diff([]string{filepath.Dir(folder) + "/bin/a", folder + "/script.py", "plain/path", "..."}, got.Plugins["a"].Command); diff != "" {
		t.Errorf("command: %s", diff)
	}
	if got.Plugins["a"].Dir != folder || got.Plugins["a"].Secrets["k"] != "file://"+filepath.Dir(folder)+"/k" {
		t.Errorf("got %+v", got.Plugins["a"])
	}
	here, _ := filepath.Abs("b")
	if got.Plugins["b"].Command[0] != here {
		t.Errorf("from a flag: %v, want %s", got.Plugins["b"].Command, here)
	}
}

func TestAnchorsAndMergeKeysWork(t *testing.T) {
	file := write(t, "host.yaml", `
plugins:
  a: &a
    command: [x]
    stop_timeout: 3s
    config: {when: 2024-01-02}
  b:
    <<: *a
    stop_timeout: 4s
  c:
    <<: [{dir: /c}, *a]
`)
	got := load(t, config.Sources{Files: []string{file}})
	if b := got.Plugins["b"]; b.StopTimeout != 4*time.Second || b.Command[0] != "x" || b.Config["when"] != "2024-01-02" {
		t.Errorf("b: %+v", b)
	}
	if c := got.Plugins["c"]; c.Dir != "/c" || c.StopTimeout != 3*time.Second {
		t.Errorf("c: %+v", c)
	}
}

func TestAnEmptyFileIsNoConfigurationAndNoMistake(t *testing.T) {
	for _, content := range []string{"", "# nothing\n", "---\n"} {
		load(t, config.Sources{Files: []string{write(t, "host.yaml", content)}})
	}
}

func TestErrorsAreAlsoData(t *testing.T) {
	errs := loadErrors(t, config.Sources{Flags: map[string]any{"log.level": "loud", "log.format": "xml"}})
	text, err := json.Marshal(errs)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"source":"command line","key":"log.format","message":"expected text or json, got \"xml\""},` +
		`{"source":"command line","key":"log.level","message":"expected debug, info, warn or error, got \"loud\""}]`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if lines := strings.Split(errs.Error(), "\n"); len(lines) != 3 || lines[0] != "2 errors in the configuration:" {
		t.Errorf("got %q", errs.Error())
	}
}

func TestASizeReadsWhatItWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := config.Size(rapid.Int64Range(0, 1<<52).Draw(t, "bytes"))
		got, err := config.ParseSize(want.String())
		if err != nil || got != want {
			t.Fatalf("%s came back as %v, %v", want, got, err)
		}
	})
	for text, want := range map[string]config.Size{"0": 0, "12": 12, "1.5KiB": 1536, "2K": 2000, "2kB": 2000, "3 MB": 3e6, "4Gi": 4 << 30, "1T": 1e12, "7B": 7} {
		if got, err := config.ParseSize(text); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "MiB", "1 2", "1XiB", "1kiB", fmt.Sprint(1e300)} {
		if got, err := config.ParseSize(text); err == nil {
			t.Errorf("%q was taken as %d", text, got)
		}
	}
}

// The host must hand a plugin's configuration over as it was written, whatever it is.
func TestAPluginsOwnConfigurationArrivesAsItWasWritten(t *testing.T) {
	folder := t.TempDir()
	key := rapid.OneOf(rapid.SampledFrom([]string{"", ".", "a.b", "A", "a", "0", "<<", "ä ö", "-", "null", "true"}), rapid.StringMatching(`[a-z"'\\/.\[\]:#{} ]{0,8}`))
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Map(rapid.Bool(), toAny), rapid.Map(rapid.Int64(), toAny), rapid.Map(rapid.Float64Range(-1e6, 1e6).Filter(isFraction), toAny),
		rapid.Map(rapid.StringN(0, 10, -1), toAny), rapid.Map(key, toAny),
	)
	var grow func(depth int) *rapid.Generator[any]
	grow = func(depth int) *rapid.Generator[any] {
		if depth == 0 {
			return scalar
		}
		return rapid.OneOf(scalar,
			rapid.Map(rapid.SliceOfN(grow(depth-1), 0, 3), toAny),
			rapid.Map(rapid.MapOfN(key, grow(depth-1), 0, 3), toAny))
	}
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOfN(key, grow(3), 0, 4).Draw(t, "config")
		content, err := json.Marshal(map[string]any{"plugins": map[string]any{"a": map[string]any{"command": []string{"x"}, "config": want}}})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(folder, "host.json")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Sources{Files: []string{file}})
		if err != nil {
			t.Fatalf("%s\n%v", content, err)
		}
		if len(want) == 0 {
			want = nil // nothing at all is the same as leaving the key out
		}
		if diff := cmp.Diff(want, c.Plugins["a"].Config); diff != "" {
			t.Fatalf("%s\n%s", content, diff)
		}
	})
}

func toAny[T any](value T) any { return value }

// isFraction keeps whole numbers out of floats: JSON does not tell them from integers.
func isFraction(f float64) bool { return f != float64(int64(f)) }

func TestKeysListsWhatCanBeSet(t *testing.T) {
	keys := config.Keys([]string{"a-b"})
	for _, want := range []string{"listen.grpc", "max_message_size", "plugins.a-b.command", "plugins.a-b.restart.crash_loop.window"} {
		if !slices.Contains(keys, want) {
			t.Errorf("%s is not in %v", want, keys)
		}
	}
}
