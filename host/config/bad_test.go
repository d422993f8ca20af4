package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/host/config"
)

// badFiles is every kind of mistake a file can have. Each error is given as "line: key: message", the message cut where
// the rest does not matter.
var badFiles = []struct {
	name, content string
	errors        []string
}{
	{"unknown key at the top", "lisen: {}\n", []string{"1: lisen: unknown key; did you mean listen?"}},
	{"unknown key inside", "listen:\n  gprc: 127.0.0.1:1\n", []string{"2: listen.gprc: unknown key; did you mean grpc?"}},
	{"unknown plugin key", "plugins:\n  a:\n    comand: [x]\n    command: [x]\n", []string{"3: plugins.a.comand: unknown key; did you mean command?"}},
	{"key on the wrong level", "grpc: 127.0.0.1:1\n", []string{"1: grpc: unknown key; did you mean listen.grpc?"}},
	{"plugin key on the wrong level", "start_timeout: 1s\n", []string{"1: start_timeout: unknown key; did you mean plugins.<name>.start_timeout?"}},
	{"key like nothing", "listen: {zzzzzzzzzz: 1}\n", []string{"1: listen.zzzzzzzzzz: unknown key; the keys of listen are grpc, tls, admin"}},
	{"neither a switch nor a mapping", "plugins: {a: {command: [x], sandbox: of}}\n", []string{`1: plugins.a.sandbox: expected on or off, got "of"; did you mean on?`}},
	{"a number in the place of a sandbox", "plugins: {a: {command: [x], sandbox: 1}}\n", []string{"1: plugins.a.sandbox: expected on, off or a mapping, got the number 1"}},
	{"unknown key of a sandbox", "plugins: {a: {command: [x], sandbox: {raed: [/x]}}}\n", []string{"1: plugins.a.sandbox.raed: unknown key; did you mean read?"}},
	{"unknown preset", "plugins: {a: {command: [x], sandbox: {preset: rut}}}\n", []string{`1: plugins.a.sandbox.preset: expected none, go, java, python or rust, got "rut"; did you mean rust?`}},
	{"no port", "plugins: {a: {command: [x], sandbox: {connect: [https]}}}\n", []string{"1: plugins.a.sandbox.connect.0: expected a TCP port from 1 to 65535, got the text \"https\""}},
	{"a port that is none", "plugins: {a: {command: [x], sandbox: {bind: [70000]}}}\n", []string{"1: plugins.a.sandbox.bind.0: expected a TCP port from 1 to 65535, got 70000"}},
	{"a single port", "plugins: {a: {command: [x], sandbox: {connect: 443}}}\n", []string{"1: plugins.a.sandbox.connect: expected a list of whole numbers, got the number 443"}},
	{"root as a plugin's user", "plugins: {a: {command: [x], sandbox: {user: 0}}}\n", []string{"1: plugins.a.sandbox.user: expected a user's name, an id, or a range of ids such as 70000-70999, got \"0\": user 0 is root"}},
	{"no user", "plugins: {a: {command: [x], sandbox: {user: Über}}}\n", []string{"1: plugins.a.sandbox.user: expected a user's name"}},
	{"an empty range of users", "plugins: {a: {command: [x], sandbox: {user: 2000-1000}}}\n", []string{"1: plugins.a.sandbox.user: expected a user's name, an id, or a range of ids such as 70000-70999, got \"2000-1000\": the range ends before it begins"}},
	{"a user for two", "plugins:\n  a: {command: [x], sandbox: {user: 70000-70001}}\n  b: {command: [x], sandbox: {user: 70000-70001}}\n  c: {command: [x], sandbox: {user: 70000-70001}}\n", []string{"4: plugins.c.sandbox.user: gives c the user 7000"}},
	{"the run directory for writing", "run_dir: /run/ah\nplugins: {a: {command: [x], sandbox: {write: [/run]}}}\n", []string{"2: plugins.a.sandbox.write: /run holds run_dir (/run/ah), which is the host's own"}},
	{"the state directory for reading", "state_dir: /var/ah\nplugins: {a: {command: [x], sandbox: {read: [/var/ah/keys]}}}\n", []string{"2: plugins.a.sandbox.read: /var/ah/keys is in state_dir (/var/ah), which is the host's own"}},
	{"no memory", "plugins: {a: {command: [x], sandbox: {memory: 1024}}}\n", []string{"1: plugins.a.sandbox.memory: expected a size of at least 4MiB, such as 2GiB"}},
	{"no processes", "plugins: {a: {command: [x], sandbox: {pids: 1}}}\n", []string{"1: plugins.a.sandbox.pids: expected a whole number of at least 8"}},
	{"no processor", "plugins: {a: {command: [x], sandbox: {cpu: -1}}}\n", []string{"1: plugins.a.sandbox.cpu: expected a number of processors such as 0.5, or 0 (no limit)"}},
	{"a sandbox elsewhere", "plugins: {a: {address: [\"agents:8000\"], sandbox: off}}\n", []string{"1: plugins.a.sandbox: is for a plugin with a command"}},
	{"an image without a registry", "plugins: {a: {image: bigquery:1}}\n", []string{"1: plugins.a.image: expected registry/repository:tag@sha256:…, with a tag, a digest or both, got \"bigquery:1\""}},
	{"an image of a registry that none is", "plugins: {a: {image: agents/bigquery:1}}\n", []string{"1: plugins.a.image: expected registry/repository:tag@sha256:…, with a tag, a digest or both, got \"agents/bigquery:1\": it names no registry"}},
	{"an image without a tag", "plugins: {a: {image: r.example.com/bigquery}}\n", []string{"1: plugins.a.image: expected registry/repository:tag@sha256:…, with a tag, a digest or both, got \"r.example.com/bigquery\": it has neither a tag nor a digest"}},
	{"an image with half a digest", "plugins: {a: {image: 'r.example.com/bigquery@sha256:abc'}}\n", []string{"1: plugins.a.image: expected registry/repository"}},
	{"an image elsewhere", "plugins: {a: {address: [\"agents:8000\"], image: 'r.example.com/b:1'}}\n", []string{"1: plugins.a.image: is for a plugin with a command"}},
	{"a program outside of its image", "plugins: {a: {image: 'r.example.com/b:1', command: [a/../../b]}}\n", []string{"1: plugins.a.command: a/../../b leads out of the image"}},
	{"a key without an image", "plugins: {a: {command: [x], verify: {cosign_key: /k}}}\n", []string{"1: plugins.a.verify: is for a plugin with an image"}},
	{"an image that its user cannot reach", "plugins: {a: {image: 'r.example.com/b:1', sandbox: {user: 70000}}}\n", []string{"1: plugins.a.sandbox.user: the plugin's image is in "}},
	{"a registry with a scheme", "artifacts: {plain_http: ['http://r:5000']}\n", []string{"1: artifacts.plain_http.0: expected a registry's host"}},
	{"an artifact without a size", "artifacts: {max_size: 0}\n", []string{"1: artifacts.max_size: expected a size from 1KiB"}},
	{"several at once", "log:\n  level: loud\n  format: xml\nlisten: {grpc: nowhere}\n", []string{
		`2: log.level: expected debug, info, warn or error, got "loud"`,
		`3: log.format: expected text or json, got "xml"`,
		`4: listen.grpc: expected host:port such as 0.0.0.0:8000, got "nowhere"`,
	}},
	{"near miss of a value", "log: {level: inf}\n", []string{`1: log.level: expected debug, info, warn or error, got "inf"; did you mean info?`}},
	{"key twice", "log:\n  level: info\n  level: warn\n", []string{"3: log.level: the key is given twice, first on line 2"}},
	{"plugin twice", "plugins:\n  a: {command: [x]}\n  a: {command: [y]}\n", []string{"3: plugins.a: the key is given twice, first on line 2"}},
	{"key twice in a plugin's config", "plugins:\n  a:\n    command: [x]\n    config: {k: 1, k: 2}\n", []string{"4: plugins.a.config.k: the key is given twice"}},
	{"port alone", "listen: {grpc: \"8000\"}\n", []string{"1: listen.grpc: expected host:port"}},
	{"port as a number", "listen: {grpc: 8000}\n", []string{"1: listen.grpc: expected host:port such as 0.0.0.0:8000, got the number 8000; quote it"}},
	{"port too large", "listen: {grpc: \"127.0.0.1:70000\"}\n", []string{"1: listen.grpc: expected host:port such as 0.0.0.0:8000, got \"127.0.0.1:70000\": a port is at most 65535"}},
	{"address with a scheme", "listen: {admin: \"http://127.0.0.1:9090\"}\n", []string{"1: listen.admin: expected host:port"}},
	{"bare IPv6 address", "listen: {grpc: \"::1:8000\"}\n", []string{"1: listen.grpc: expected host:port such as 0.0.0.0:8000, got \"::1:8000\": too many colons"}},
	{"one port for two listeners", "listen: {grpc: \"0.0.0.0:9090\"}\n", []string{"1: listen.admin: is 127.0.0.1:9090, as listen.grpc"}},
	{"one port for the probe and another listener", "listen: {admin: \"127.0.0.1:9091\", probe: \"0.0.0.0:9091\"}\n", []string{"1: listen.probe: is 0.0.0.0:9091, as listen.admin"}},
	{"a socket that depends on where the host is started", "listen: {admin: \"unix:admin.sock\"}\n", []string{`1: listen.admin: expected host:port such as 127.0.0.1:9090, unix:/path for a socket, or "" for none, got "unix:admin.sock"`}},
	{"a socket with a long path", "listen: {admin: \"unix:/" + strings.Repeat("x", 107) + "\"}\n", []string{"1: listen.admin: expected host:port such as 127.0.0.1:9090, unix:/path for a socket, or \"\" for none, got \"unix:/" + strings.Repeat("x", 107) + "\": the path of a socket has at most 107 bytes, and this has 108"}},
	{"a token in the place of where it is", "listen: {admin_token: 0123456789abcdef0123}\n", []string{"1: listen.admin_token: expected where to read the secret"}},
	{"a day that is far away", "create: {unsigned_pins_until: 9999-12-31}\n", []string{`1: create.unsigned_pins_until: expected a day within 90 days, such as 2026-12-31, got "9999-12-31": it is more than 90 days ahead`}},
	{"a day that is none", "create: {unsigned_pins_until: 2026-02-30}\n", []string{`1: create.unsigned_pins_until: expected a day within 90 days, such as 2026-12-31, got "2026-02-30": there is no such day`}},
	{"duration without unit", "shutdown_timeout: 30\n", []string{"1: shutdown_timeout: expected a duration of 0s or more, such as 30s or 5m, got 30 without a unit; write 30s"}},
	{"negative duration", "shutdown_timeout: -1s\n", []string{`1: shutdown_timeout: expected a duration of 0s or more, such as 30s or 5m, got "-1s"`}},
	{"no duration", "shutdown_timeout: soon\n", []string{`1: shutdown_timeout: expected a duration`}},
	{"ready somehow", "ready: some\n", []string{`1: ready: expected all or any, got "some"`}},
	{"ready without giving up", "ready: {plugins: all, give_up: never}\n", []string{`1: ready.give_up: expected a duration of 0s or more`}},
	{"a delay without unit", "drain_delay: 5\n", []string{"1: drain_delay: expected a duration of 0s or more, such as 30s or 5m, got 5 without a unit; write 5s"}},
	{"no time to start", "plugins: {a: {command: [x], start_timeout: 0s}}\n", []string{"1: plugins.a.start_timeout: expected a duration of at least 1ms, such as 30s or 5m, got 0s"}},
	{"a negative grace", "create: {removed_grace: -1s}\n", []string{`1: create.removed_grace: expected a duration of 0s or more`}},
	{"a state directory that is no path", "state_dir: \"a\\0b\"\n", []string{"1: state_dir: expected a path"}},
	{"a state directory as a mapping", "state_dir: {path: /var/lib/agenthost}\n", []string{"1: state_dir: expected a path, got a mapping"}},
	{"no code", "create: {final_codes: [INVALID_ARGUMENT, Aborted]}\n", []string{"1: create.final_codes.1: expected INVALID_ARGUMENT, "}},
	{"a record that Flyte cannot keep", "create: {record_max: 2MiB}\n", []string{"1: create.record_max: expected a size from 1KiB to 1MiB, such as 8KiB, got 2MiB"}},
	{"a key in the place of its source", "create: {keys: c2VjcmV0}\n", []string{"1: create.keys: expected where to read the secret, as "}},
	{"a certificate without its key", "listen:\n  tls: {cert: a.pem}\n", []string{"2: listen.tls.cert: is given without key"}},
	{"an authority without a certificate", "listen:\n  tls: {client_ca: a.pem}\n", []string{"2: listen.tls.client_ca: is given without cert"}},
	{"asking for certificates of nobody", "listen:\n  tls: {cert: a.pem, key: b.pem, client_certificates: optional}\n", []string{"2: listen.tls.client_certificates: is given without client_ca"}},
	{"certificates now and then", "listen: {tls: {client_certificates: maybe}}\n", []string{"1: listen.tls.client_certificates: expected require or optional"}},
	{"rules that allow nothing", "access: {rules: []}\n", []string{"1: access: allows nothing to anybody"}},
	{"tokens without rules", "access:\n  issuers:\n    - {issuer: \"https://a\", audience: [h]}\n", []string{"1: access: takes tokens and has no rules"}},
	{"a rule for nobody", "access: {rules: [{may: [run]}]}\n", []string{"1: access.rules.0: names nobody"}},
	{"a rule without what it allows", "access: {rules: [{anyone: true}]}\n", []string{"1: access.rules.0.may: the key is missing"}},
	{"an unknown operation", "access: {rules: [{anyone: true, may: [create]}]}\n", []string{"1: access.rules.0.may.0: expected run, poll, delete or list"}},
	{"no operation", "access: {rules: [{anyone: true, may: []}]}\n", []string{"1: access.rules.0.may: is empty"}},
	{"no project", "access: {rules: [{anyone: true, may: [run], projects: []}]}\n", []string{"1: access.rules.0.projects: is empty"}},
	{"anyone and somebody", "access: {rules: [{anyone: true, certificate: x, may: [run]}]}\nlisten: {tls: {cert: a, key: b, client_ca: c}}\n", []string{"1: access.rules.0.anyone: is given beside what only some callers have"}},
	{"a certificate that nobody is asked for", "access: {rules: [{certificate: x, may: [run]}]}\n", []string{"1: access.rules.0.certificate: can match no caller"}},
	{"an empty subject", "access: {rules: [{subject: \"\", may: [run]}]}\n", []string{"1: access.rules.0: names nobody", "1: access.rules.0.subject: is empty"}},
	{"a subject of no issuer", "access: {rules: [{subject: x, may: [run]}]}\n", []string{"1: access.rules.0: is about tokens, and none are taken"}},
	{"a subject of an unknown issuer", "access:\n  issuers: [{issuer: \"https://a\", audience: [h]}]\n  rules: [{subject: x, issuer: \"https://b\", may: [run]}]\n",
		[]string{"3: access.rules.0.issuer: is none of access.issuers: https://a"}},
	{"a subject of any issuer", "access:\n  issuers: [{issuer: \"https://a\", audience: [h]}, {issuer: \"https://b\", audience: [h]}]\n  rules: [{subject: x, may: [run]}]\n",
		[]string{"3: access.rules.0: does not say whose tokens it is about"}},
	{"an issuer twice", "access:\n  issuers: [{issuer: \"https://a\", audience: [h]}, {issuer: \"https://a\", audience: [i]}]\n  rules: [{anyone: true, may: [run]}]\n",
		[]string{"2: access.issuers.1.issuer: is given twice"}},
	{"tokens for anybody", "access:\n  issuers: [{issuer: \"https://a\"}]\n  rules: [{anyone: true, may: [run]}]\n", []string{"2: access.issuers.0.audience: the key is missing"}},
	{"tokens for nobody", "access:\n  issuers: [{issuer: \"https://a\", audience: []}]\n  rules: [{anyone: true, may: [run]}]\n",
		[]string{"2: access.issuers.0.audience: is empty"}},
	{"an unprotected issuer", "access:\n  issuers: [{issuer: \"http://dex.auth.svc\", audience: [h]}]\n  rules: [{anyone: true, may: [run]}]\n",
		[]string{"2: access.issuers.0.issuer: expected the issuer's URL, such as https://accounts.example.com, got \"http://dex.auth.svc\": keys that come over plain http could be anybody's"}},
	{"an issuer that is no URL", "access: {issuers: [{issuer: accounts.example.com, audience: [h]}]}\n", []string{"1: access.issuers.0.issuer: expected the issuer's URL"}},
	{"no size", "max_message_size: big\n", []string{`1: max_message_size: expected a size such as 64MiB, got "big"`}},
	{"no memory", "limits: {memory: 1000}\n", []string{"1: limits.memory: expected a size of at least 1MiB, such as 256MiB, got 1000"}},
	{"no connections", "limits: {connections: 0}\n", []string{"1: limits.connections: expected a whole number of at least 1, got 0"}},
	{"size too small", "max_message_size: 10\n", []string{"1: max_message_size: expected a size from 1KiB to 2047MiB, such as 64MiB, got 10"}},
	{"size too large", "max_message_size: 3GiB\n", []string{"1: max_message_size: expected a size from 1KiB"}},
	{"size beyond numbers", "max_message_size: 99999999999TiB\n", []string{"1: max_message_size: size \"99999999999TiB\" is too large"}},
	{"text where a mapping belongs", "plugins: duckdb\n", []string{"1: plugins: expected a mapping, got the text \"duckdb\""}},
	{"list where a mapping belongs", "plugins: [duckdb]\n", []string{"1: plugins: expected a mapping, got a list"}},
	{"list at the top", "- a\n", []string{"1: expected a mapping, got a list"}},
	{"nothing where a mapping belongs", "plugins:\n", []string{"1: plugins: expected a mapping, got nothing; remove the key"}},
	{"truth where a text belongs", "plugins: {a: {command: [x], dir: false}}\n", []string{"1: plugins.a.dir: expected a path, got false; quote it"}},
	{"truth where one of three belongs", "plugins: {a: {command: [x], pin: true}}\n", []string{"1: plugins.a.pin: expected auto, always or never, got true; quote it"}},
	{"text where a list belongs", "plugins: {a: {command: x --flag}}\n", []string{"1: plugins.a.command: expected a list: the program and its arguments, got the text \"x --flag\"; write [x --flag]"}},
	{"number in a list of texts", "plugins: {a: {command: [x, 1]}}\n", []string{"1: plugins.a.command.1: expected a text, got the number 1; quote it"}},
	{"no command", "plugins:\n  b: {command: [x]}\n  a: {dir: /tmp}\n", []string{"3: plugins.a.command: the key is missing: expected a list"}},
	{"empty command", "plugins: {a: {command: []}}\n", []string{"1: plugins.a.command: the command is empty"}},
	{"empty program", "plugins: {a: {command: [\"\"]}}\n", []string{"1: plugins.a.command: the command is empty"}},
	{"plugin name with capitals", "plugins: {DuckDB: {command: [x]}}\n", []string{`1: plugins.DuckDB: expected a plugin name of 1 to 63 lower-case letters, digits and inner dashes, got "DuckDB"`}},
	{"plugin name with a dot", "plugins: {a.b: {command: [x]}}\n", []string{`1: plugins."a.b": expected a plugin name`}},
	{"environment name", "plugins: {a: {command: [x], env: {A-B: c}}}\n", []string{"1: plugins.a.env.A-B: expected the name of an environment variable"}},
	{"environment value", "plugins: {a: {command: [x], env: {A: 1}}}\n", []string{"1: plugins.a.env.A: expected a text without zero bytes, got the number 1; quote it"}},
	{"environment the contract needs", "plugins: {a: {command: [x], env: {AGENTHOST_PLUGIN: x}}}\n", []string{"1: plugins.a.env.AGENTHOST_PLUGIN: expected the name of an environment variable: letters, digits and underscores, got \"AGENTHOST_PLUGIN\": the host itself sets this variable"}},
	{"inherited name", "plugins: {a: {command: [x], inherit_env: [\"A=b\"]}}\n", []string{"1: plugins.a.inherit_env.0: expected the name of an environment variable"}},
	{"short checksum", "plugins: {a: {command: [x], sha256: {/x: abc}}}\n", []string{"1: plugins.a.sha256./x: expected a SHA-256 sum of 64 hex digits, got \"abc\""}},
	{"secret without scheme", "plugins: {a: {command: [x], secrets: {k: /etc/k}}}\n", []string{"1: plugins.a.secrets.k: expected where to read the secret, as file:///path, env:NAME, awssecretsmanager://NAME, awsparamstore://NAME, gcpsecretmanager://projects/PROJECT/secrets/NAME, azurekeyvault://VAULT/NAME, vault://MOUNT/PATH#KEY or kubernetes://NAMESPACE/NAME#KEY"}},
	{"secret of an unknown scheme", "plugins: {a: {command: [x], secrets: {k: \"vault:x\"}}}\n", []string{"1: plugins.a.secrets.k: expected where to read"}},
	{"secret with a host", "plugins: {a: {command: [x], secrets: {k: file://etc/k}}}\n", []string{`1: plugins.a.secrets.k: expected where to read the secret, as file:///path, env:NAME, awssecretsmanager://NAME, awsparamstore://NAME, gcpsecretmanager://projects/PROJECT/secrets/NAME, azurekeyvault://VAULT/NAME, vault://MOUNT/PATH#KEY or kubernetes://NAMESPACE/NAME#KEY, got "file://etc/k": a path after file:// starts with /, ./ or ../`}},
	{"secret name with a slash", "plugins: {a: {command: [x], secrets: {\"../k\": env:K}}}\n", []string{"1: plugins.a.secrets.\"../k\": expected a secret name"}},
	{"backoffs the wrong way round", "plugins:\n  a:\n    command: [x]\n    restart:\n      initial_backoff: 1m\n", []string{"5: plugins.a.restart.initial_backoff: is 1m0s, more than restart.max_backoff, which is 30s"}},
	{"command and address", "plugins:\n  a:\n    command: [x]\n    address: [\"h:1\"]\n", []string{"4: plugins.a.address: is given beside command (FILE:3); a plugin has one of the two"}},
	{"empty address", "plugins: {a: {address: []}}\n", []string{"1: plugins.a.address: the list is empty: expected where the agent server runs"}},
	{"address as a text", "plugins: {a: {address: \"h:1\"}}\n", []string{"1: plugins.a.address: expected a list of host:port, such as [agents.example.com:8000], got the text \"h:1\"; write [h:1]"}},
	{"address without a host", "plugins: {a: {address: [\":1\"]}}\n", []string{"1: plugins.a.address.0: expected host:port such as agents.example.com:8000, got \":1\""}},
	{"address with port 0", "plugins: {a: {address: [\"h:0\"]}}\n", []string{"1: plugins.a.address.0: expected host:port such as agents.example.com:8000, got \"h:0\": nobody can be reached at port 0"}},
	{"address twice", "plugins: {a: {address: [\"h:1\", \"h:1\"]}}\n", []string{"1: plugins.a.address: h:1 is given twice"}},
	{"a process's keys for an address", "plugins:\n  a:\n    address: [\"h:1\"]\n    dir: /\n    env: {A: b}\n    stop_timeout: 1s\n    instances: 2\n", []string{
		"4: plugins.a.dir: is for a plugin with a command; it has no meaning for a, which runs elsewhere (address)",
		"5: plugins.a.env: is for a plugin with a command",
		"7: plugins.a.instances: is for a plugin with a command; it has no meaning for a, which runs elsewhere (address); give several addresses instead",
		"6: plugins.a.stop_timeout: is for a plugin with a command",
	}},
	{"an address's keys for a process", "plugins:\n  a:\n    command: [x]\n    tls_ca: /ca\n", []string{"4: plugins.a.tls_ca: is for a plugin with an address; it has no meaning for a, which the host starts by a command"}},
	{"no task types", "plugins: {a: {command: [x], task_types: []}}\n", []string{"1: plugins.a.task_types: the list is empty: expected the task types that the plugin may serve; without task_types it may serve all that it lists"}},
	{"a task type twice", "plugins: {a: {command: [x], task_types: [t, t]}}\n", []string{"1: plugins.a.task_types: t is given twice"}},
	{"a task type of two plugins", "plugins:\n  a: {command: [x], task_types: [t]}\n  b: {command: [x], task_types: [u, t]}\n", []string{"3: plugins.b.task_types.1: is t, as in plugins.a.task_types; say in routes: which project or domain goes to which of the two"}},
	{"certificates without TLS", "plugins: {a: {address: [\"h:1\"], tls: off, tls_ca: /ca}}\n", []string{"1: plugins.a.tls_ca: has no meaning with tls: off; remove one of the two"}},
	{"certificate without key", "plugins: {a: {address: [\"h:1\"], tls_cert: /c}}\n", []string{"1: plugins.a.tls_cert: is given without tls_key; a certificate and its key go together"}},
	{"key without certificate", "plugins: {a: {address: [\"h:1\"], tls_key: /k}}\n", []string{"1: plugins.a.tls_key: is given without tls_cert"}},
	{"server name with a port", "plugins: {a: {address: [\"h:1\"], tls_server_name: \"h:1\"}}\n", []string{"1: plugins.a.tls_server_name: expected a host's name"}},
	{"no instances", "plugins: {a: {command: [x], instances: 0}}\n", []string{"1: plugins.a.instances: expected a whole number of at least 1, got 0"}},
	{"negative limits", "plugins: {a: {command: [x], limits: {concurrency: -1, rate: -0.5, burst: 0}}}\n", []string{
		"1: plugins.a.limits.concurrency: expected a whole number of 0 (no limit) or more, got -1",
		"1: plugins.a.limits.rate: expected a number of calls per second, 0 (no limit) or more, got -0.5",
		"1: plugins.a.limits.burst: expected a whole number of at least 1, got 0",
	}},
	{"text as a rate", "plugins: {a: {command: [x], limits: {rate: 1/s}}}\n", []string{"1: plugins.a.limits.rate: expected a number of calls per second, 0 (no limit) or more, got the text \"1/s\""}},
	{"unknown way to pin", "plugins: {a: {command: [x], pin: alway}}\n", []string{`1: plugins.a.pin: expected auto, always or never, got "alway"; did you mean always?`}},
	{"a word for a truth", "plugins: {a: {command: [x], rollback: off}}\n", []string{`1: plugins.a.rollback: expected true or false, got the text "off"`}},
	{"a truth for a number", "plugins: {a: {command: [x], instances: true}}\n", []string{`1: plugins.a.instances: expected a whole number of at least 1, got true`}},
	{"more than all", "plugins: {a: {command: [x], rollout: {percent: 101}}}\n", []string{"1: plugins.a.rollout.percent: expected a whole number from 0 to 100, got 101"}},
	{"part of a percent", "plugins: {a: {command: [x], rollout: {percent: 0.5}}}\n", []string{"1: plugins.a.rollout.percent: expected a whole number from 0 to 100, got the number 0.5"}},
	{"a share and steps", "plugins: {a: {command: [x], rollout: {percent: 10, steps: [{percent: 5, pause: 10m}]}}}\n", []string{
		"1: plugins.a.rollout.percent: is given beside steps (FILE:1); a rollout has one of the two",
	}},
	{"a step of all", "plugins: {a: {command: [x], rollout: {steps: [{percent: 100, pause: 10m}]}}}\n", []string{
		"1: plugins.a.rollout.steps.0.percent: expected a whole number from 1 to 99, got 100",
	}},
	{"a step back", "plugins: {a: {command: [x], rollout: {steps: [{percent: 5, pause: 1m}, {percent: 5, pause: 1m}]}}}\n", []string{
		"1: plugins.a.rollout.steps.1.percent: is 5, not more than the 5 of the step before it",
	}},
	{"steps without their keys", "plugins: {a: {command: [x], rollout: {steps: [{percent: 5}, {pause: 1m}]}}}\n", []string{
		"1: plugins.a.rollout.steps.0.pause: the key is missing: expected a duration of at least 1ms, such as 30s or 5m",
		"1: plugins.a.rollout.steps.1.percent: the key is missing: expected a whole number from 1 to 99",
	}},
	{"a step that does not wait", "plugins: {a: {command: [x], rollout: {steps: [{percent: 5, pause: 0s}]}}}\n", []string{
		"1: plugins.a.rollout.steps.0.pause: expected a duration of at least 1ms, such as 30s or 5m, got 0s",
	}},
	{"an end of no steps", "plugins: {a: {command: [x], rollout: {abort_if: {error_rate: 0.1}}}}\n", []string{
		"1: plugins.a.rollout.abort_if: is given without steps, during which it acts",
	}},
	{"rates and calls that there are not", "plugins: {a: {command: [x], rollout: {steps: [{percent: 5, pause: 1m}], abort_if: {error_rate: 5, latency_p99: -2, min_calls: -1}}}}\n", []string{
		"1: plugins.a.rollout.abort_if.error_rate: expected a part of the calls from 0 to 1, such as 0.05, got 5",
		"1: plugins.a.rollout.abort_if.latency_p99: expected 0, or a number of at least 1, such as 2, got -2",
		"1: plugins.a.rollout.abort_if.min_calls: expected a whole number of 0 or more, got -1",
	}},
	{"less than as long", "plugins: {a: {command: [x], rollout: {steps: [{percent: 5, pause: 1m}], abort_if: {latency_p99: 0.5}}}}\n", []string{
		"1: plugins.a.rollout.abort_if.latency_p99: expected 0, or a number of at least 1, such as 2, got 0.5",
	}},
	{"one route", "routes: {task: t, plugin: a}\n", []string{"1: routes: expected a list of mappings, got a mapping"}},
	{"text as a route", "routes: [t]\n", []string{"1: routes.0: expected a mapping, got the text \"t\""}},
	{"text as all routes", "routes: t\n", []string{"1: routes: expected a list of mappings, got the text \"t\""}},
	{"route without ends", "plugins: {a: {command: [x]}}\nroutes:\n  - {domain: d}\n", []string{
		"3: routes.0.task: the key is missing: expected the name of a task type",
		"3: routes.0.plugin: the key is missing: expected a plugin name",
	}},
	{"route with an unknown key", "plugins: {a: {command: [x]}}\nroutes:\n  - {type: t, plugin: a}\n", []string{
		"3: routes.0.type: unknown key; the keys of routes.0 are task, version, project, domain, plugin",
		"3: routes.0.task: the key is missing",
	}},
	{"route to nobody", "plugins: {duckdb: {command: [x]}, hello: {command: [x]}}\nroutes:\n  - {task: t, plugin: dukdb}\n  - {task: u, plugin: completely-other}\n", []string{
		"3: routes.0.plugin: no plugin is called dukdb; did you mean duckdb?",
		"4: routes.1.plugin: no plugin is called completely-other; the plugins are duckdb, hello",
	}},
	{"route without any plugin", "routes: [{task: t, plugin: a}]\n", []string{"1: routes.0.plugin: no plugin is called a; none is configured"}},
	{"route twice", "plugins: {a: {command: [x]}}\nroutes:\n  - {task: t, version: 1, plugin: a}\n  - {task: t, plugin: a}\n  - {task: t, version: 1, plugin: a}\n", []string{
		"5: routes.2: says the same as routes.0 (FILE:3); remove one of the two"}},
	{"routes that contradict", "plugins: {a: {command: [x]}, b: {command: [x]}}\nroutes:\n  - {task: t, domain: d, plugin: a}\n  - {task: t, domain: d, plugin: b}\n", []string{
		"4: routes.1: contradicts routes.0 (FILE:3): the same calls go to plugin a there and to b here; remove one of the two"}},
	{"route behind a wider one", "plugins: {a: {command: [x]}, b: {command: [x]}}\nroutes:\n  - {task: t, plugin: a}\n  - {task: t, domain: d, plugin: b}\n", []string{
		"4: routes.1: is never reached: routes.0 (FILE:3) comes before it and takes all of its calls; put the narrower route first"}},
	{"version of a route as a text", "plugins: {a: {command: [x]}}\nroutes: [{task: t, version: v1, plugin: a}]\n", []string{"2: routes.0.version: expected a task type's version, a whole number, got the text \"v1\""}},
	{"version of a route too large", "plugins: {a: {command: [x]}}\nroutes: [{task: t, version: 2147483648, plugin: a}]\n", []string{"2: routes.0.version: expected a task type's version, a whole number, got 2147483648"}},
	{"no failures", "plugins: {a: {command: [x], restart: {crash_loop: {failures: 0}}}}\n", []string{"1: plugins.a.restart.crash_loop.failures: expected a whole number of at least 1, got 0"}},
	{"part of a failure", "plugins: {a: {command: [x], restart: {crash_loop: {failures: 1.5}}}}\n", []string{"1: plugins.a.restart.crash_loop.failures: expected a whole number of at least 1, got the number 1.5"}},
	{"a number that JSON does not have", "plugins: {a: {command: [x], config: {k: .nan}}}\n", []string{"1: plugins.a.config.k: .nan is not a number that a configuration can carry"}},
	{"zero byte in a key", "plugins: {a: {command: [x], config: {\"k\\0l\": 1}}}\n", []string{"1: plugins.a.config.\"k\\x00l\": a key cannot have a zero byte in it"}},
	{"foreign tag", "plugins: {a: {command: [x], config: {k: !vault x}}}\n", []string{"1: plugins.a.config.k: the YAML tag !vault is not understood"}},
	{"mapping as a key", "plugins: {a: {command: [x], config: {{b: c}: 1}}}\n", []string{"1: plugins.a.config: a key must be a plain word"}},
	{"not YAML", "listen: [\n", []string{"1: not valid YAML: did not find expected node content"}},
	{"two documents", "log: {}\n---\nlog: {}\n", []string{"2: a second YAML document"}},
}

// laughs asks for ten million copies in few lines.
const laughs = `a: &a [x, x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]
e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]
f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]
g: &g [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]
`

func TestAnchorsThatMultiplyAreRefusedBeforeTheyFillTheMemory(t *testing.T) {
	path := write(t, "host.yaml", laughs)
	if got := loadErrors(t, config.Sources{Files: []string{path}}).Error(); !strings.Contains(got, "more than 100000 values") {
		t.Errorf("got %s", got)
	}
}

func TestEveryKindOfBadKeyIsNamedWithFileAndLine(t *testing.T) {
	for _, test := range badFiles {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, "host.yaml", test.content)
			errs := loadErrors(t, config.Sources{Files: []string{path}})
			if len(errs) != len(test.errors) {
				t.Fatalf("got %d errors, want %d:\n%v", len(errs), len(test.errors), errs)
			}
			for i, e := range errs {
				line, want, _ := strings.Cut(test.errors[i], ": ")
				want = fmt.Sprintf("%s:%s: %s", path, line, strings.ReplaceAll(want, "FILE", path))
				if !strings.HasPrefix(e.Error(), want) {
					t.Errorf("error %d:\n got %s\nwant %s", i, e.Error(), want)
				}
			}
		})
	}
}

func loadErrors(t *testing.T, sources config.Sources) config.Errors {
	t.Helper()
	c, err := config.Load(sources)
	if err == nil {
		t.Fatalf("Load took it:\n%+v", c)
	}
	var errs config.Errors
	if !errors.As(err, &errs) || len(errs) == 0 {
		t.Fatalf("Load failed with %T %v, want Errors", err, err)
	}
	return errs
}

func TestABadFileDoesNotHideTheMistakesOfTheNext(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	broken := write(t, "broken.toml", "a = [\n")
	unknown := write(t, "odd.ini", "a=1")
	wrong := write(t, "wrong.json", "{\n \"log\": {\"level\": \"loud\"}\n}")
	got := loadErrors(t, config.Sources{
		Files:   []string{missing, broken, unknown, wrong},
		Environ: []string{"AGENTHOST_LISTEN__GRPC=nowhere"},
		Flags:   map[string]any{"log.format": "xml"},
	})
	var sources []string
	for _, e := range got {
		sources = append(sources, e.Source)
	}
	want := []string{missing, broken, unknown, wrong, "environment variable AGENTHOST_LISTEN__GRPC", "command line"}
	if diff := cmp.Diff(want, sources); diff != "" {
		t.Errorf("sources (-want +got):\n%s\n%v", diff, got)
	}
	if got[3].Line != 2 {
		t.Errorf("the JSON mistake is on line %d, want 2", got[3].Line)
	}
}

func TestJSONMistakesHaveLines(t *testing.T) {
	for content, want := range map[string]string{
		"{\n\"log\": {},\n\"log\": {}}":       ":3: log: the key is given twice, first on line 2",
		"{\n\"log\": {\"level\": \"info\",}}": ":2: not valid JSON: ",
		"{} {}":                               ":1: not valid JSON: expected the end of the file",
		"":                                    ":1: not valid JSON: expected a JSON object, got nothing",
		"[]":                                  ":1: expected a mapping, got a list",
	} {
		path := write(t, "host.json", content)
		errs := loadErrors(t, config.Sources{Files: []string{path}})
		if !strings.HasPrefix(errs[0].Error(), path+want) {
			t.Errorf("%q:\n got %s\nwant %s%s", content, errs[0].Error(), path, want)
		}
	}
}

func TestAFileThatIsNoFileIsRefused(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "folder.yaml")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	huge := write(t, "huge.yaml", strings.Repeat("# filler\n", 1<<20))
	for path, want := range map[string]string{folder: "is a directory", huge: "larger than 8MiB"} {
		if got := loadErrors(t, config.Sources{Files: []string{path}}).Error(); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
}

func TestNumbersThatJSONDoesNotHaveAreRefusedInTOMLToo(t *testing.T) {
	path := write(t, "host.toml", "[plugins.a]\ncommand = [\"x\"]\nconfig = {k = inf}\n[plugins.a.limits]\nrate = nan\n")
	got := loadErrors(t, config.Sources{Files: []string{path}}).Error()
	for _, want := range []string{"plugins.a.config.k: +Inf is not a number", "plugins.a.limits.rate: expected a number of calls per second, 0 (no limit) or more, got NaN"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}
