package agent_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/plugins/opa/agent"
	"github.com/agenthost/agenthost/plugins/opa/opatest"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

const token = "t0p-secret-token"

// secret gives the plugin a secret, as the host does.
func secret(t *testing.T, name, value string) {
	t.Helper()
	t.Setenv("_FSEC_"+strings.ToUpper(name), value)
}

// always is a policy that allows.
func always(t *testing.T) string {
	t.Helper()
	return opatest.Write(t, map[string]string{"a.rego": "package a\n\nallow := true\n\nbroken if 1 / (count(input.inputs.dataset) * 0) > 0\n"})
}

// asked is how a task ends that the server in the configuration is to allow.
func asked(t *testing.T, server map[string]any) *agenttest.Result {
	t.Helper()
	client := run(t, map[string]any{"server": server, "timeout": "1m"})
	result, err := client.Execute(t.Context(), task(t, map[string]any{"policy": "a/allow"}, "x"))
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// way is one of asking a server, and what comes of it.
type way struct {
	server map[string]any
	phase  core.TaskExecution_Phase
	code   string
	// says is a part of the message: what to do about it.
	says string
}

func (w way) check(t *testing.T) {
	t.Helper()
	result := asked(t, w.server)
	if result.Phase != w.phase || codeOf(result) != w.code || !strings.Contains(result.Message, w.says) {
		t.Errorf("%v %s: %s; want %v %s: %s", result.Phase, codeOf(result), result.Message, w.phase, w.code, w.says)
	}
	checkSecrets(t, "the message", result.Resource.String())
}

// checkSecrets checks that a text holds no secret of the plugin's.
func checkSecrets(t *testing.T, where, text string) {
	t.Helper()
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "_FSEC_") {
			continue
		}
		// Of a key or certificate, a line is enough to know it by.
		lines := strings.Split(strings.TrimSpace(value), "\n")
		if shown := lines[len(lines)/2]; strings.Contains(text, shown) {
			t.Errorf("%s shows the secret %s:\n%s", where, name, text)
		}
	}
}

func TestAServerIsTrustedByItsAuthority(t *testing.T) {
	authority, stranger := opatest.NewAuthority(t), opatest.NewAuthority(t)
	opa := opatest.Start(t, append(authority.Serving(t), always(t))...)
	plain := opatest.Start(t, always(t))
	elsewhere := strings.Replace(opa.URL, "127.0.0.1", "localhost", 1)
	const says = "server.ca_file"
	for name, w := range map[string]way{
		"the right authority":  {map[string]any{"url": opa.URL, "ca_file": authority.File}, succeeded, "", "allowed"},
		"another authority":    {map[string]any{"url": opa.URL, "ca_file": stranger.File}, failed, "OPAUntrusted", says},
		"the system's":         {map[string]any{"url": opa.URL}, failed, "OPAUntrusted", says},
		"another machine":      {map[string]any{"url": elsewhere, "ca_file": authority.File}, failed, "OPAUntrusted", "localhost"},
		"a server without TLS": {map[string]any{"url": strings.Replace(plain.URL, "http", "https", 1)}, failed, "OPARefused", "server.url"},
	} {
		t.Run(name, w.check)
	}
}

func TestAServerThatWantsATokenGetsThePlugins(t *testing.T) {
	authority := opatest.NewAuthority(t)
	opa := opatest.Start(t, slices.Concat(authority.Serving(t), opatest.WithToken(t, token), []string{always(t)})...)
	secret(t, "opa_token", token)
	secret(t, "old_token", "t0ken-of-last-year")
	for name, w := range map[string]way{
		"the right token": {map[string]any{"token_secret": "opa_token"}, succeeded, "", "allowed"},
		"another token":   {map[string]any{"token_secret": "old_token"}, failed, "OPAUnauthorized", "server.token_secret"},
		"no token":        {map[string]any{}, failed, "OPAUnauthorized", "server.token_secret"},
	} {
		w.server["url"], w.server["ca_file"] = opa.URL, authority.File
		t.Run(name, w.check)
	}
}

func TestAServerThatWantsACertificateGetsThePlugins(t *testing.T) {
	authority, stranger := opatest.NewAuthority(t), opatest.NewAuthority(t)
	opa := opatest.Start(t, slices.Concat(authority.Serving(t), authority.Demanding(), []string{always(t)})...)
	for name, issuer := range map[string]*opatest.Authority{"our": authority, "their": stranger} {
		pair := issuer.Issue(t, "agenthost")
		secret(t, name+"_certificate", pair.Certificate)
		secret(t, name+"_key", pair.Key)
	}
	const says = "server.client_certificate_secret"
	for name, w := range map[string]way{
		"the right one":  {map[string]any{"client_certificate_secret": "our_certificate", "client_key_secret": "our_key"}, succeeded, "", "allowed"},
		"a stranger's":   {map[string]any{"client_certificate_secret": "their_certificate", "client_key_secret": "their_key"}, failed, "OPAUnauthorized", says},
		"no certificate": {map[string]any{}, failed, "OPAUnauthorized", says},
	} {
		w.server["url"], w.server["ca_file"] = opa.URL, authority.File
		t.Run(name, w.check)
	}
}

func TestACredentialThatCannotBeUsedIsToldByKey(t *testing.T) {
	pair, other := opatest.NewAuthority(t).Issue(t, "one"), opatest.NewAuthority(t).Issue(t, "other")
	secret(t, "certificate", pair.Certificate)
	secret(t, "key", pair.Key)
	secret(t, "other_key", other.Key)
	secret(t, "token", token)
	dir := opatest.Write(t, map[string]string{"empty.pem": "-----BEGIN NOTHING-----"})
	for _, c := range []struct {
		key, says string
		server    map[string]any
	}{
		{"server.ca_file", "gone.pem", map[string]any{"ca_file": dir + "/gone.pem"}},
		{"server.ca_file", "no PEM certificate", map[string]any{"ca_file": dir + "/empty.pem"}},
		{"server.ca_file", "absolute path", map[string]any{"ca_file": "ca.pem"}},
		{"server.token_secret", `no secret "missing"`, map[string]any{"token_secret": "missing"}},
		{"server.client_key_secret", "together", map[string]any{"client_certificate_secret": "certificate"}},
		{"server.client_key_secret", `no secret "missing"`, map[string]any{"client_certificate_secret": "certificate", "client_key_secret": "missing"}},
		{"server.client_certificate_secret", `no secret "missing"`, map[string]any{"client_certificate_secret": "missing", "client_key_secret": "key"}},
		{"server.client_certificate_secret", "PEM", map[string]any{"client_certificate_secret": "token", "client_key_secret": "key"}},
		{"server.client_certificate_secret", "does not match", map[string]any{"client_certificate_secret": "certificate", "client_key_secret": "other_key"}},
		{"server.url", "in clear", map[string]any{"url": "http://opa.policies:8181", "token_secret": "token"}},
		{"server.url", "token_secret", map[string]any{"url": "https://me:" + token + "@opa.policies", "token_secret": "token"}},
	} {
		if c.server["url"] == nil {
			c.server["url"] = "https://opa.policies:8181"
		}
		wrong := agenttest.Run(t, agent.Options()...).Configure(map[string]any{"server": c.server})
		if !slices.ContainsFunc(wrong, func(e sdk.ConfigError) bool { return e.Key == c.key && strings.Contains(e.Message, c.says) }) {
			t.Errorf("%v: %v; want %s: %s", c.server, wrong, c.key, c.says)
		}
		for _, e := range wrong {
			checkSecrets(t, "the error at "+e.Key, e.Message)
		}
	}
}

// As a program, with all that it writes, and whatever becomes of its tasks.
func TestNoLogHoldsASecret(t *testing.T) {
	authority := opatest.NewAuthority(t)
	opa := opatest.Start(t, slices.Concat(authority.Serving(t), opatest.WithToken(t, token),
		[]string{"--set", "decision_logs.console=true", always(t)})...)
	secret(t, "opa_token", token)
	pair := authority.Issue(t, "agenthost")
	secret(t, "certificate", pair.Certificate)
	secret(t, "key", pair.Key)
	client := agenttest.Command(t, agenttest.Build(t, ".."))
	if wrong := client.Configure(map[string]any{"mask": []string{}, "server": map[string]any{
		"url": opa.URL, "ca_file": authority.File, "token_secret": "opa_token", "client_certificate_secret": "certificate", "client_key_secret": "key",
		"attempts": 2,
	}}); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	ends := func(policy, code string) {
		t.Helper()
		result, err := client.Execute(t.Context(), task(t, map[string]any{"policy": policy}, "x"))
		if err != nil {
			t.Fatal(err)
		}
		if codeOf(result) != code {
			t.Errorf("%s: %v %s: %s; want %q", policy, result.Phase, codeOf(result), result.Message, code)
		}
		checkSecrets(t, "the answer about "+policy, result.Resource.String())
	}
	ends("a/allow", "")
	ends("a/missing", "AccessDenied")
	ends("a/broken", "PolicyError")
	opa.Stop()
	ends("a/allow", "OPAUnavailable")
	if err := client.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, policy := range []string{"a/allow", "a/missing"} {
		if !strings.Contains(client.Output(), policy) {
			t.Errorf("the log has no decision of %s:\n%s", policy, client.Output())
		}
	}
	checkSecrets(t, "the plugin's log", client.Output())
	checkSecrets(t, "the server's log", opa.Log.String())
}
