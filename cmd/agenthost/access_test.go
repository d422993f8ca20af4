package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/identity"
	"github.com/agenthost/agenthost/test/wait"
)

// guardedHost is an `agenthost serve` with TLS whose callers an issuer knows.
type guardedHost struct {
	*program
	issuer        *identity.Issuer
	authority     *identity.Authority
	dir           string // with tls.crt and tls.key
	ca, token     string // what a client needs
	plugins, file string // of its configuration
	address       string
}

// policyOf is the file of the configuration that says who may call.
func (g *guardedHost) policyOf(rules string) string {
	return fmt.Sprintf("listen:\n  tls: {cert: %s/tls.crt, key: %s/tls.key}\naccess:\n  issuers: [{issuer: %q, audience: [agenthost], ca: %s}]\n  rules:\n%s",
		g.dir, g.dir, g.issuer.URL, g.issuer.CA, rules)
}

func serveGuarded(t *testing.T, rules string) *guardedHost {
	t.Helper()
	g := &guardedHost{issuer: identity.NewIssuer(t), authority: identity.NewAuthority(t), dir: t.TempDir()}
	g.authority.Issue(t, time.Now().Add(time.Hour), "127.0.0.1").Write(t, g.dir)
	g.ca = g.authority.File(t)
	g.token = writeFile(t, "token", g.issuer.Token(t, "alice", "agenthost", nil)+"\n")
	g.plugins = pluginsFile(t, map[string][]string{"echo": badplugin.Command("good")})
	g.file = writeFile(t, "access.yaml", g.policyOf(rules))
	g.program = startAgenthost(t, "serve", "-c", g.plugins, "-c", g.file)
	g.stderr.await(t, "agenthost is ready", 1)
	g.address = readyAddress.FindStringSubmatch(g.stderr.String())[1]
	return g
}

// run runs a task as somebody with these flags.
func (g *guardedHost) run(t *testing.T, flags ...string) outcome {
	t.Helper()
	return agenthost(t, append([]string{"task", "run", "-a", g.address, "-t", "echo_task", "--custom", "polls=1", "-i", "n=3", "--want", "n:int", "--project", "finance"}, flags...)...)
}

func TestTaskRunShowsTheHostWhoIsCalling(t *testing.T) {
	g := serveGuarded(t, "    - {subject: alice, may: [run, poll, delete, list], projects: [finance]}\n")
	for _, flyte := range []string{"1", "2"} {
		g.run(t, "--ca", g.ca, "--token-file", g.token, "--flyte", flyte).expect(t, 0, "n = 3\n", "SUCCEEDED after ")
	}
	g.run(t, "--ca", g.ca, "--token-file", g.token, "--project", "sales").expect(t, exitFailed, "",
		`subject "alice" of issuer `+g.issuer.URL+` may not run task type "echo_task" in project "sales", domain "development": no rule of access.rules has {may: [run]`)
	g.run(t, "--ca", g.ca).expect(t, exitFailed, "", "it has shown no client certificate and no token")
	g.run(t, "--ca", g.ca, "--token-file", writeFile(t, "token", g.issuer.Token(t, "alice", "vault", nil))).expect(t, exitFailed, "", `its aud is ["vault"]`)
	g.run(t, "--tls", "--token-file", g.token).expect(t, exitFailed, "", "certificate signed by unknown authority")
	g.run(t).expect(t, exitFailed, "", "Does the host at "+g.address+" speak TLS? Then give --tls, or --ca")
	agenthost(t, "__complete", "task", "run", "-a", g.address, "--ca", g.ca, "--token-file", g.token, "--type", "").expect(t, 0, "echo_sync_task\necho_task\n", "")

	for want, flags := range map[string][]string{
		"--token-file: a token is shown over TLS only": {"--token-file", g.token},
		"--ca: open /nowhere":                          {"--ca", "/nowhere"},
		"holds no certificate in PEM form":             {"--ca", g.token},
		"--cert and --key go together":                 {"--ca", g.ca, "--cert", g.ca},
		"does not hold one token":                      {"--ca", g.ca, "--token-file", g.ca},
	} {
		g.run(t, flags...).expect(t, exitUsage, "", want)
	}
	agenthost(t, "task", "run", "-t", "x", "--ca", g.ca, "--", "plugin").expect(t, exitUsage, "", "are for a running host")
	if text := g.stderr.String(); strings.Contains(text, g.issuer.Token(t, "alice", "agenthost", nil)[:60]) {
		t.Error("a token is in the log")
	}
}

func TestRulesAreTakenUpByARunningHost(t *testing.T) {
	g := serveGuarded(t, "    - {subject: bob, may: [run, poll, delete, list]}\n")
	g.run(t, "--ca", g.ca, "--token-file", g.token).expect(t, exitFailed, "", "PermissionDenied")
	if err := os.WriteFile(g.file, []byte(g.policyOf("    - {subject: ali*, may: [run, poll, delete, list]}\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "alice may", func() bool { return g.run(t, "--ca", g.ca, "--token-file", g.token).code == 0 })
	if err := os.WriteFile(g.file, []byte(g.policyOf("    - {subject: ali*, mya: [run]}\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	g.stderr.await(t, "the changed configuration has a mistake", 1)
	g.run(t, "--ca", g.ca, "--token-file", g.token).expect(t, 0, "", "")
}

func TestCheckAndServeNameACertificateThatCannotBeUsed(t *testing.T) {
	authority, dir := identity.NewAuthority(t), t.TempDir()
	cert, key := authority.Issue(t, time.Now().Add(time.Hour), "localhost").Write(t, dir)
	file := writeFile(t, "host.yaml", fmt.Sprintf("run_dir: %s/r\nlisten:\n  grpc: 127.0.0.1:0\n  admin: \"\"\n  tls: {cert: ./tls.crt, key: ./tls.key}\n", shortDir(t)))
	for name, path := range map[string]string{"tls.crt": cert, "tls.key": key} {
		if err := os.Rename(path, filepath.Join(filepath.Dir(file), name)); err != nil {
			t.Fatal(err)
		}
	}
	agenthost(t, "check", "-c", file).expect(t, 0, "ok", "")
	other := authority.Issue(t, time.Now().Add(time.Hour), "localhost")
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "tls.key"), other.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	agenthost(t, "check", "-c", file).expect(t, exitFailed, "", file+":5: listen.tls.cert: "+filepath.Dir(file)+"/tls.crt and the key in ")
	agenthost(t, "serve", "-c", file).expect(t, exitFailed, "", "listen.tls.cert: ")
	authority.Issue(t, time.Now().Add(-time.Minute), "localhost").Write(t, filepath.Dir(file))
	agenthost(t, "check", "-c", file).expect(t, exitFailed, "", "has expired, at ")
	if err := os.Remove(filepath.Join(filepath.Dir(file), "tls.key")); err != nil {
		t.Fatal(err)
	}
	agenthost(t, "check", "-c", file).expect(t, exitFailed, "", "listen.tls.key: cannot be read")
}

func TestAHostWithoutTheKeysOfItsIssuersStartsAndSaysSo(t *testing.T) {
	g := serveGuarded(t, "    - {subject: alice, may: [run, poll, delete, list]}\n")
	g.issuer.SetDown(true)
	if code := g.signal(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("it ended with %d", code)
	}
	agenthost(t, "check", "-c", g.plugins, "-c", g.file).expect(t, 0, "ok", "")
	agenthost(t, "check", "--start", "-c", g.plugins, "-c", g.file).expect(t, 0, "ok", "AWAY: "+g.file+":4: access.issuers.0.issuer: OIDC discovery: 503")
	agenthost(t, "check", "--start", "--strict", "-c", g.plugins, "-c", g.file).expect(t, exitAway, "ok", "AWAY: "+g.file)
	g.program = startAgenthost(t, "serve", "-c", g.plugins, "-c", g.file)
	g.stderr.await(t, "agenthost is ready", 1)
	g.address = readyAddress.FindStringSubmatch(g.stderr.String())[1]
	g.run(t, "--ca", g.ca, "--token-file", g.token).expect(t, exitFailed, "", "the keys of its issuer "+g.issuer.URL+" are not there: OIDC discovery: 503")
	g.issuer.SetDown(false)
	wait.Until(t, "the issuer is found", func() bool { return g.run(t, "--ca", g.ca, "--token-file", g.token).code == 0 })
}
