package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/host/config"
)

func sandboxOf(t *testing.T, text string, environ ...string) config.Sandbox {
	t.Helper()
	file := write(t, "host.yaml", "plugins: {a: {command: [x]"+text+"}}\n")
	return load(t, config.Sources{Files: []string{file}, Environ: environ}).Plugins["a"].Sandbox
}

func TestASandboxIsASwitchOrAMapping(t *testing.T) {
	on := config.Sandbox{Mode: config.On}
	for text, want := range map[string]config.Sandbox{
		"":                                       on,
		", sandbox: on":                          on,
		", sandbox: {}":                          on,
		", sandbox: off":                         {Mode: config.Off},
		", sandbox: {mode: off, read: [/data]}":  {Mode: config.Off},
		", sandbox: {read: [], bind: []}":        on,
		", sandbox: {connect: []}":               {Mode: config.On, Connect: []int{}},
		", sandbox: {read: [/data], user: 1000}": {Mode: config.On, Read: []string{"/data"}, User: "1000"},
	} {
		if diff := cmp.Diff(want, sandboxOf(t, text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestASandboxCanBeSetByVariables(t *testing.T) {
	const prefix = "AGENTHOST_PLUGINS__A__SANDBOX"
	for variable, want := range map[string]config.Sandbox{
		prefix + "=off":                      {Mode: config.Off},
		prefix + "__MODE=off":                {Mode: config.Off},
		prefix + "={write: [/spill]}":        {Mode: config.On, Read: []string{"/data"}, Write: []string{"/spill"}},
		prefix + "__CONNECT=443, 5432":       {Mode: config.On, Read: []string{"/data"}, Connect: []int{443, 5432}},
		prefix + "__CONNECT=[]":              {Mode: config.On, Read: []string{"/data"}, Connect: []int{}},
		prefix + "__USER=70000":              {Mode: config.On, Read: []string{"/data"}, User: "70000"},
		prefix + "__READ=/a,/b":              {Mode: config.On, Read: []string{"/a", "/b"}},
		"AGENTHOST_PLUGINS__A__SANDBOX__X=1": {},
	} {
		if strings.HasSuffix(variable, "__X=1") {
			if errs := loadErrors(t, config.Sources{Files: []string{write(t, "host.yaml", "plugins: {a: {command: [x]}}\n")}, Environ: []string{variable}}); len(errs) != 1 {
				t.Errorf("%s: %v", variable, errs)
			}
			continue
		}
		if diff := cmp.Diff(want, sandboxOf(t, ", sandbox: {read: [/data]}", variable)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", variable, diff)
		}
	}
}

func TestAChangeOfTheSandboxIsANewGeneration(t *testing.T) {
	before := "plugins: {a: {command: [x], sandbox: {read: [/data]}}}\n"
	for after, key := range map[string]string{
		"plugins: {a: {command: [x], sandbox: off}}\n":                          "sandbox.mode",
		"plugins: {a: {command: [x], sandbox: {read: [/data], connect: []}}}\n": "sandbox.connect",
		"plugins: {a: {command: [x], sandbox: {read: [/data], user: 1000}}}\n":  "sandbox.user",
	} {
		if lines := plan(t, before, after); !slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, "a: swapped: ") && strings.Contains(line, key)
		}) {
			t.Errorf("%s: %q", after, lines)
		}
	}
}

func TestAPluginKeepsItsUserOutOfARange(t *testing.T) {
	ranged := config.Sandbox{Mode: config.On, User: "70000-70999"}
	first, second := ranged.UserFor("duckdb"), ranged.UserFor("openai")
	if first == second || first != ranged.UserFor("duckdb") || first < "70000" || first > "70999" {
		t.Errorf("%s and %s", first, second)
	}
	for given, want := range map[string]string{"": "", "agent": "agent", "a-b": "a-b", "1000": "1000", "1000-1000": "1000"} {
		if got := (config.Sandbox{Mode: config.On, User: given}).UserFor("duckdb"); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

func TestTheHostsOwnFilesAreNoPluginsBusiness(t *testing.T) {
	file := write(t, "host.yaml", `run_dir: /run/ah
state_dir: /var/lib/ah/state
create: {keys: file:///etc/ah/keys}
listen: {admin_token: file:///etc/ah/token, tls: {cert: /etc/ah/crt, key: /etc/ah/key}}
access: {issuers: [{issuer: "https://issuer", audience: [ah], token_file: /etc/ah/issuer}], rules: [{anyone: true, may: [list]}]}
plugins:
  a: {command: [x], secrets: {token: file:///etc/secrets/token, other: "env:OTHER"}}
  b: {address: ["agents:8000"], tls_cert: /etc/tls/crt, tls_key: /etc/tls/key}
`)
	want := []string{"/etc/ah/issuer", "/etc/ah/key", "/etc/ah/keys", "/etc/ah/token", "/etc/secrets/token", "/etc/tls/key", "/run/ah", "/var/lib/ah/state", file}
	slices.Sort(want)
	if diff := cmp.Diff(want, load(t, config.Sources{Files: []string{file}}).Private()); diff != "" {
		t.Errorf("wrong (-want +got):\n%s", diff)
	}
}
