package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/published"
	"github.com/agenthost/agenthost/test/security/hostile"
)

func TestMain(m *testing.M) {
	processes()
	hosttest.Main(m, "cmd/agenthost", "plugins/hello")
}

// The whole is `make security-test`. What takes a machine's memory, processors or connections is not for a machine that has other
// tests to run.
func TestInASandboxAnAttackerGetsNothing(t *testing.T) {
	out, err := exec.Command(hosttest.Root("scripts", "venv"), "flytekit").Output()
	if err != nil {
		t.Fatalf("scripts/venv flytekit: %v", err)
	}
	o := options{
		Host: hosttest.Program("agenthost"), Victim: hosttest.Program("hello"),
		Python: filepath.Join(strings.TrimSpace(string(out)), "python"), Source: ".", Places: []string{"user-on"}, Calls: 1000,
	}
	if os.Geteuid() == 0 {
		o.Places = []string{"root-on"}
	}
	for _, r := range table {
		if r.kind != memoryKind && r.kind != strangerKind {
			o.Only = append(o.Only, r.name)
		}
	}
	var said bytes.Buffer
	if err := start(t.Context(), &said, o); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	if last := said.String()[strings.LastIndex(strings.TrimSpace(said.String()), "\n")+1:]; !strings.HasPrefix(last, "security ok: ") {
		t.Errorf("the last line is %q", last)
	}
}

func TestThePublishedAttemptsAreUpToDate(t *testing.T) {
	published.Check(t, "docs/reference/attempts.md", page())
}

// An attempt that only one of the two knows would be called refused by the other.
func TestBothPluginsMakeEveryAttempt(t *testing.T) {
	out, err := exec.Command("python3", "-c", "import attempts; print(*sorted(attempts.ATTEMPTS))").Output()
	if err != nil {
		t.Fatalf("attempts.py: %v", err)
	}
	source, err := os.ReadFile("hostile.py")
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(out))
	for _, found := range regexp.MustCompile(`case "([a-z-]+)"`).FindAllSubmatch(source, -1) {
		names = append(names, string(found[1]))
	}
	slices.Sort(names)
	if diff := cmp.Diff(hostile.Names(), names); diff != "" {
		t.Errorf("the attempts of the plugins in Go (-) and in Python (+):\n%s", diff)
	}
	for _, r := range table {
		if r.who == plugin && r.try == nil && !slices.Contains(names, r.name) {
			t.Errorf("no plugin makes the attempt %s", r.name)
		}
	}
}

func TestEveryAttemptHasANameOfItsOwnAndNothingIsConcededInASandboxOfItsOwnUser(t *testing.T) {
	known := map[string]bool{}
	for _, r := range table {
		if known[r.name] || r.what == "" || !slices.Contains(kinds, r.kind) {
			t.Errorf("%s is there twice, or incomplete", r.name)
		}
		known[r.name] = true
		if reason, conceded := r.concededIn(place{root: true, sandbox: true}); conceded {
			t.Errorf("%s is conceded in a sandbox with a user of its own: %s", r.name, reason)
		}
	}
}

// A configuration that people copy has to be one.
func TestTheConfigurationForUntrustedPluginsIsAccepted(t *testing.T) {
	page, err := os.ReadFile(hosttest.Root("docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	if example == nil {
		t.Fatal("docs/security.md shows no configuration")
	}
	dir := t.TempDir()
	sum, err := fileSum(hosttest.Program("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newIdentity(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	text := string(example[1])
	for _, there := range [][2]string{ // what the page names, and what there is here
		{"/etc/agenthost/tls/ca.crt", dir + "/tls.crt"}, {"/etc/agenthost/tls", dir}, {"/etc/agenthost/secrets/theirs", dir + "/tls.key"},
		{"/plugins/theirs/theirs", hosttest.Program("hello")}, {"/run/agenthost", dir + "/run"}, {"/var/lib/agenthost/state", dir + "/state"},
		{regexp.MustCompile("[0-9a-f]{64}").FindString(text), sum},
	} {
		if !strings.Contains(text, there[0]) {
			t.Errorf("the configuration does not say %s", there[0])
		}
		text = strings.ReplaceAll(text, there[0], there[1])
	}
	file := filepath.Join(dir, "agenthost.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(hosttest.Program("agenthost"), "check", "--config", file).CombinedOutput(); err != nil {
		t.Errorf("agenthost check: %v\n%s", err, said)
	}
}

func fileSum(path string) (string, error) {
	content, err := os.ReadFile(path)
	return fmt.Sprintf("%x", sha256.Sum256(content)), err
}
