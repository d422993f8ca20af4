package plugin

import (
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/go-plugin"
)

// BaseEnv are the variables of the host's environment that every plugin gets. They say where things are; nothing in
// them is secret or configures a service. Proxies are not among them: a plugin that calls out through one says so in
// its InheritEnv.
var BaseEnv = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LC_ALL",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
}

const (
	// envClientCert is where go-plugin's side in the plugin looks for the certificate of the host.
	envClientCert = "PLUGIN_CLIENT_CERT"
	// envSecretsDir is where agents that follow flytekit's convention look for files with secrets.
	envSecretsDir = "FLYTE_SECRETS_DEFAULT_DIR"
)

// Environ is the whole environment of the plugin's process. protocol is what go-plugin wants in it, and wins over
// everything: a plugin cannot be configured out of its own handshake.
func (s Spec) Environ(protocol []string, rundir, clientCert string) []string {
	env := map[string]string{}
	telemetry(env, s.Name)
	for _, name := range slices.Concat(BaseEnv, s.InheritEnv) {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
	maps.Copy(env, s.Env)
	env[envSecretsDir] = secretsDir(rundir)
	for _, entry := range protocol {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	// go-plugin makes a directory of its own for sockets; the run directory is as private, shorter, and the name by
	// which strays are found.
	env[plugin.EnvUnixSocketDir] = rundir
	if clientCert != "" {
		env[envClientCert] = clientCert
	} else {
		delete(env, envClientCert)
	}
	entries := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		entries = append(entries, name+"="+env[name])
	}
	return entries
}
