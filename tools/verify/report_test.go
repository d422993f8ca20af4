package verify_test

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/tools/verify"
)

// reported has one check of each status.
var reported = &verify.Report{
	Command: []string{"./hello"}, Name: "hello", Version: "1.0.0", Seconds: 1.25,
	Checks: []verify.Result{
		{Name: "a/passes", Status: verify.Passed, Detail: "seen <this>", Reason: "why a"},
		{Name: "b/fails", Status: verify.Failed, Detail: "a & b", Reason: "why b", Advice: "do b"},
		{Name: "c/warns", Status: verify.Warned, Detail: "odd", Reason: "why c", Advice: "do c"},
		{Name: "d/skips", Status: verify.Skipped, Detail: "needs b/fails", Reason: "why d"},
	},
}

func TestTheTableSaysWhatIsWrongWhyItMattersAndWhatToDo(t *testing.T) {
	var out strings.Builder
	reported.Table(&out)
	for _, want := range []string{
		"fail b/fails: a & b\n  why:  why b\n  what to do: do b\n", "warn c/warns: odd\n  why:  why c\n  what to do: do c\n",
		"needs b/fails", "hello 1.0.0: 1 passed, 1 failed, 1 warnings, 1 skipped in 1.2 s\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	if reported.OK() {
		t.Error("a report with a failure is OK")
	}
}

func TestJUnitHasAFailureForEachFailedCheckAndNoneForWarnings(t *testing.T) {
	var out strings.Builder
	if err := reported.JUnit(&out); err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Class   string `xml:"classname,attr"`
			Name    string `xml:"name,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal([]byte(out.String()), &suite); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if suite.Tests != 4 || suite.Failures != 1 || suite.Skipped != 1 {
		t.Errorf("tests %d, failures %d, skipped %d", suite.Tests, suite.Failures, suite.Skipped)
	}
	if failed := suite.Cases[1]; failed.Class != "b" || failed.Name != "fails" || failed.Failure == nil || failed.Failure.Message != "a & b" {
		t.Errorf("the failed check is %+v", failed)
	}
	if suite.Cases[2].Failure != nil || suite.Cases[3].Skipped == nil {
		t.Errorf("the warning is %+v, the skipped check %+v", suite.Cases[2], suite.Cases[3])
	}
}

func TestJSONHasStableKeys(t *testing.T) {
	encoded, err := json.Marshal(reported.Checks[1])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"b/fails","status":"fail","detail":"a \u0026 b","reason":"why b","advice":"do b","seconds":0}`
	if string(encoded) != want {
		t.Errorf("got  %s\nwant %s", encoded, want)
	}
}

func TestEveryCheckHasAUniqueNameAReasonAndAdviceAndIsDocumented(t *testing.T) {
	documented, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	form := regexp.MustCompile(`^[a-z0-9-]+/[a-z0-9-]+$`)
	for _, check := range verify.Checks() {
		if seen[check.Name] || !form.MatchString(check.Name) || check.Reason == "" || check.Advice == "" {
			t.Errorf("check %+v", check)
		}
		seen[check.Name] = true
		if !strings.Contains(string(documented), "`"+check.Name+"`") {
			t.Errorf("docs/verify.md does not tell of %s", check.Name)
		}
	}
}

func TestASpecIsReadStrictlyWithItsFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	subject, err := verify.ReadSpec(write("verify.yaml", `
command: [./plugin, "${DIR}/x"]
config: {state: "${WORK}/state"}
start_timeout: 90s
tasks: [{template: task.pb}, {type: t, inputs: {"n:int": 3}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"./plugin", dir + "/x"}; !cmp.Equal(subject.Command, want) || subject.Dir != dir {
		t.Errorf("command %v in %s", subject.Command, subject.Dir)
	}
	if subject.Tasks[0].Template != filepath.Join(dir, "task.pb") || subject.Config["state"] != "${WORK}/state" {
		t.Errorf("%+v", subject)
	}
	for content, says := range map[string]string{
		"command: [x]\ncomand: [y]": "comand", "config: {}": "command: is missing", "command: [x]\nstart_timeout: soon": "soon",
	} {
		if _, err := verify.ReadSpec(write("bad.yaml", content)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestATaskFileIsASampleOrATemplate(t *testing.T) {
	sample := filepath.Join(t.TempDir(), "sample.yaml")
	if err := os.WriteFile(sample, []byte("type: hello\ninputs: {name: Ada}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	task, err := verify.ReadTask(sample)
	if err != nil || task.Type != "hello" || task.Inputs["name"] != "Ada" || task.Name != "sample" {
		t.Errorf("%+v, %v", task, err)
	}
	template := "../../demo/task.yaml" // a whole TaskTemplate
	if task, err = verify.ReadTask(template); err != nil || task.Template != template {
		t.Errorf("%+v, %v", task, err)
	}
	if err := os.WriteFile(sample, []byte("type: hello\ninput: {name: Ada}\nexpect: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.ReadTask(sample); err == nil || !strings.Contains(err.Error(), "input") {
		t.Errorf("a misspelt key: %v", err)
	}
}
