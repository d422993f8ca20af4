package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/host/takeover"
	"github.com/agenthost/agenthost/test/badplugin"
)

// actAsAgenthost makes the test binary the program itself, for tests that need a process to send signals to.
const actAsAgenthost = "TEST_ACT_AS_AGENTHOST"

func TestMain(m *testing.M) {
	badplugin.Main()
	if len(os.Args) == 3 && os.Args[1] == pry {
		pryInto(os.Args[2])
		os.Exit(0)
	}
	if os.Getenv(actAsAgenthost) != "" || os.Getenv("AGENTHOST_ENVIRONMENT") != "" || takeover.BringsEnvironment() {
		if os.Getpid() != 1 { // who runs itself once more
			os.Unsetenv(actAsAgenthost)
		}
		main()
	}
	for _, assignment := range os.Environ() { // the developer's own settings are none of the tests'
		if name, _, _ := strings.Cut(assignment, "="); strings.HasPrefix(name, "AGENTHOST_") {
			os.Unsetenv(name)
		}
	}
	goleak.VerifyTestMain(m)
}

// outcome is what a command line came to.
type outcome struct {
	code           int
	stdout, stderr string
}

func agenthost(t *testing.T, args ...string) outcome {
	t.Helper()
	return agenthostIn(t, t.Context(), "", args...)
}

func agenthostIn(t *testing.T, ctx context.Context, stdin string, args ...string) outcome { //nolint:revive // t first, as everywhere in tests
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// expect holds an outcome to a code, and to texts in stdout and stderr.
func (o outcome) expect(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if o.code != code || !strings.Contains(o.stdout, stdout) || !strings.Contains(o.stderr, stderr) {
		t.Errorf("code %d, want %d\nstdout, want %q in it:\n%s\nstderr, want %q in it:\n%s", o.code, code, stdout, o.stdout, stderr, o.stderr)
	}
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMistakesOnTheCommandLineAreUsageErrors(t *testing.T) {
	for _, test := range []struct{ line, stderr string }{
		{"statsu", `unknown command "statsu"; did you mean status?`},
		{"task rnu", `unknown command "rnu"; did you mean run?`},
		{"check extra", `unknown command "extra"`},
		{"check --begin", "unknown flag: --begin"},
		{"check -o xml", "expected text, json or yaml"},
		{"schema extra", "See 'agenthost schema --help'."},
		{"check --set novalue", "expected key=value"},
		{"status --admin nowhere", "expected host:port"},
		{"task run", "which task? Give its type with --type"},
		{"task run stray", `unexpected argument "stray"; a plugin command comes after --`},
		{"task run -t x --flyte 3", "--flyte 3: expected 1 or 2"},
		{"task run -t x --flyte 2 -- plugin", "--flyte 2 are for a running host"},
		{"task run -t x --plugin-config {}", "--plugin-config, --secret and --env are for a plugin command after --"},
		{"task run -t x --sql a --sql-file b", "only one of them can be given"},
		{"task run -t x -i novalue", "expected name=value"},
		{"task run -t x --want rows", "expected name:TYPE"},
		{"task run -t x --output rows", "expected text, json or yaml; a wanted output is given with --want"},
		{"task run -t x --want rows:tabel", `unknown type "tabel"`},
		{"task run -t x --template missing.pb", "no such file"},
	} {
		t.Run(test.line, func(t *testing.T) {
			agenthost(t, strings.Fields(test.line)...).expect(t, exitUsage, "", test.stderr)
		})
	}
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	for _, line := range []string{"", "serve", "check", "status", "reload", "task run", "schema", "version"} {
		got := agenthost(t, append(strings.Fields(line), "--help")...)
		got.expect(t, 0, "Examples:", "")
		got.expect(t, 0, "agenthost "+line, "")
	}
}

func TestCompletionKnowsTheFlags(t *testing.T) {
	agenthost(t, "completion", "bash").expect(t, 0, "agenthost", "")
	agenthost(t, "__complete", "check", "--log-level", "").expect(t, 0, "debug\ninfo\nwarn\nerror\n", "")
	agenthost(t, "__complete", "status", "--output", "").expect(t, 0, "table\njson\nyaml\n", "")
}

func TestVersionSaysWhatTheBinaryIsBuiltFrom(t *testing.T) {
	agenthost(t, "version").expect(t, 0, "agenthost "+version(), "")
	agenthost(t, "--version").expect(t, 0, "agenthost "+version(), "")
	got := agenthost(t, "version", "-o", "json")
	var report buildReport
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || report.Version == "" || !strings.HasPrefix(report.Go, "go") {
		t.Errorf("got %+v, %v from %s", report, err, got.stdout)
	}
}

func TestSchemaPrintsASchema(t *testing.T) {
	got := agenthost(t, "schema")
	var schema struct {
		Schema     string         `json:"$schema"`
		Properties map[string]any `json:"properties"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &schema); err != nil || schema.Properties["plugins"] == nil || !strings.Contains(schema.Schema, "2020-12") {
		t.Errorf("got %v from %s", err, got.stdout)
	}
}
