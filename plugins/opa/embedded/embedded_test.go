package embedded_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/plugins/opa/embedded"
	"github.com/agenthost/agenthost/plugins/opa/opatest"
	"github.com/agenthost/agenthost/plugins/opa/policy"
)

const fileLimit = 1 << 20

func load(t *testing.T, options embedded.Options, files map[string]string) *embedded.Policies {
	t.Helper()
	options.Path, options.FileLimit = opatest.Write(t, files), fileLimit
	policies, err := embedded.Load(options)
	if err != nil {
		t.Fatal(err)
	}
	return policies
}

func ask(ctx context.Context, t *testing.T, policies *embedded.Policies, path, input string) (policy.Answer, error) {
	t.Helper()
	parsed, err := policy.ParsePath(path)
	if err != nil {
		t.Fatal(err)
	}
	return policies.Decide(ctx, policy.Question{Path: parsed, Input: []byte(input)})
}

func TestAPolicyGivesItsValue(t *testing.T) {
	policies := load(t, embedded.Options{}, map[string]string{
		"a/authz.rego":      "package a\nallow if input.n > data.limits.most\nsays contains x if some x in input.list\nbig := input.n\nno := false",
		"limits/data.yaml":  "most: 3",
		"a/authz_test.rego": "package a_test\ntest_broken if undefined_function(1)",
	})
	for path, want := range map[string]string{
		"a/allow": "true", "a/says": `["x","y"]`, "a/big": "9007199254740993", "a/no": "false", "a/missing": "", "nothing/here": "", "limits": `{"most":3}`,
	} {
		answer, err := ask(t.Context(), t, policies, path, `{"n": 9007199254740993, "list": ["y", "x"]}`)
		if err != nil || string(answer.Result) != want {
			t.Errorf("%s is %s, %v; want %s", path, answer.Result, err, want)
		}
		if answer.Metrics["timer_rego_query_eval_ns"] == nil || !strings.HasPrefix(answer.Revision, "sha256:") {
			t.Errorf("%s: revision %q, metrics %v", path, answer.Revision, answer.Metrics)
		}
	}
}

func TestBrokenRegoIsReportedByFileAndRow(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"does not parse":   {"package a\n\nallow if {", "a.rego:3"},
		"does not compile": {"package a\n\nallow if nothing(1)", "a.rego:3: rego_type_error: undefined function nothing"},
		"unsafe":           {"package a\n\nallow if x == y", "a.rego:3: rego_unsafe_var_error"},
		"network":          {"package a\nallow if http.send({\"url\": \"http://x\", \"method\": \"get\"}).status_code == 200", "allow_net"},
	} {
		_, err := embedded.Load(embedded.Options{Path: opatest.Write(t, map[string]string{"a.rego": c.text}), FileLimit: fileLimit})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
}

func TestADirectoryWithoutPoliciesOrWithTooLargeOnesIsRefused(t *testing.T) {
	empty := opatest.Write(t, map[string]string{"data.json": "{}"})
	if _, err := embedded.Load(embedded.Options{Path: empty, FileLimit: fileLimit}); err == nil || !strings.Contains(err.Error(), "there is no policy") {
		t.Errorf("no policy: %v", err)
	}
	if _, err := embedded.Load(embedded.Options{Path: filepath.Join(empty, "gone"), FileLimit: fileLimit}); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("no directory: %v", err)
	}
	large := opatest.Write(t, map[string]string{"a.rego": "package a\n", "data.json": `{"x": "` + strings.Repeat("x", 2000) + `"}`})
	if _, err := embedded.Load(embedded.Options{Path: large, FileLimit: 1000}); err == nil || !strings.Contains(err.Error(), "data.json") {
		t.Errorf("a large file: %v", err)
	}
}

func TestPoliciesCallAllowedHostsOnly(t *testing.T) {
	called := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ }))
	t.Cleanup(server.Close)
	text := map[string]string{"a.rego": "package a\nstatus := http.send({\"url\": input.url, \"method\": \"get\"}).status_code"}
	input := `{"url": "` + server.URL + `"}`

	answer, err := ask(t.Context(), t, load(t, embedded.Options{AllowNet: []string{"127.0.0.1"}}, text), "a/status", input)
	if err != nil || string(answer.Result) != "200" || called != 1 {
		t.Errorf("an allowed host: %s, %v", answer.Result, err)
	}
	_, err = ask(t.Context(), t, load(t, embedded.Options{AllowNet: []string{"example.org"}}, text), "a/status", input)
	if err == nil || !strings.Contains(err.Error(), "disallowed host: 127.0.0.1") || called != 1 {
		t.Errorf("another host: %v, called %d times", err, called)
	}
}

func TestAnEvaluationThatFailsNamesItsRow(t *testing.T) {
	text := map[string]string{"a.rego": "package a\n\nallow if 1 / input.n > 0\n\nv := 1 if input.n == 0\n\nv := 2 if input.n == 0\n"}
	strict := load(t, embedded.Options{}, text)
	for path, want := range map[string]string{"a/allow": "a.rego:3: eval_builtin_error", "a/v": "a.rego:7: eval_conflict_error"} {
		_, err := ask(t.Context(), t, strict, path, `{"n": 0}`)
		var failed *policy.Failure
		if !errors.As(err, &failed) || failed.Code != "PolicyError" || failed.Transient || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", path, err, want)
		}
	}
	answer, err := ask(t.Context(), t, load(t, embedded.Options{Lenient: true}, text), "a/allow", `{"n": 0}`)
	if err != nil || answer.Result != nil {
		t.Errorf("lenient: %s, %v", answer.Result, err)
	}
}

func TestAnEndlessEvaluationEndsWithItsContext(t *testing.T) {
	policies := load(t, embedded.Options{}, map[string]string{
		"a.rego": "package a\nallow if {\n\tsome x in numbers.range(1, 100000)\n\tsome y in numbers.range(1, 100000)\n\tx * y == -1\n}",
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := ask(ctx, t, policies, "a/allow", "{}")
	var failed *policy.Failure
	if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &failed) {
		t.Errorf("%v", err)
	}
}

func TestTheRevisionIsThatOfTheContents(t *testing.T) {
	files := map[string]string{"a.rego": "package a\nx := 1", "data.json": `{"n": 1}`}
	first, again := load(t, embedded.Options{}, files).Revision(), load(t, embedded.Options{}, files).Revision()
	if first != again {
		t.Errorf("the same policies in two places are %s and %s", first, again)
	}
	files["data.json"] = `{"n": 2}`
	if changed := load(t, embedded.Options{}, files).Revision(); changed == first {
		t.Errorf("other data, the same revision %s", changed)
	}
}

func TestABundleOfOPAsOwnMakingWorks(t *testing.T) {
	opa, err := opatest.Program()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	if said, err := exec.Command(opa, "build", "--bundle", "../examples", "--revision", "v7", "--output", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	policies, err := embedded.Load(embedded.Options{Path: file, FileLimit: fileLimit})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := ask(t.Context(), t, policies, "flyte/authz/allow",
		`{"inputs": {"dataset": "s3://lake/weather"}, "execution": {"project": "flights", "domain": "development"}}`)
	if err != nil || string(answer.Result) != "true" || answer.Revision != "v7" {
		t.Errorf("%s of revision %s, %v", answer.Result, answer.Revision, err)
	}
}

func TestAMountedConfigMapIsReadOnce(t *testing.T) {
	// Kubernetes mounts ..data -> ..2026, and each file as a link into ..data.
	dir := opatest.Write(t, map[string]string{"..2026/a.rego": "package a\nallow := true"})
	for link, target := range map[string]string{"..data": "..2026", "a.rego": "..data/a.rego"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	policies, err := embedded.Load(embedded.Options{Path: dir, FileLimit: fileLimit})
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := ask(t.Context(), t, policies, "a/allow", "{}"); err != nil || string(answer.Result) != "true" {
		t.Errorf("%s, %v", answer.Result, err)
	}
}

// The examples are what README.md shows: their own tests hold.
func TestTheExamplesPassOPAsTests(t *testing.T) {
	opa, err := opatest.Program()
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(opa, "test", "--bundle", "../examples", "--verbose").CombinedOutput()
	if err != nil || !strings.Contains(string(said), "PASS: 5/5") {
		t.Errorf("%v\n%s", err, said)
	}
	if said, err := exec.Command(opa, "fmt", "--fail", "--list", "../examples").CombinedOutput(); err != nil {
		t.Errorf("not formatted: %s", said)
	}
}
