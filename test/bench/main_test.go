package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/test/bench/report"
	"github.com/agenthost/agenthost/test/hosttest"
)

func TestMain(m *testing.M) {
	hosttest.Main(m, "cmd/agenthost", "plugins/hello", "test/bench/plugin", "test/bench/proxy")
}

// built are the programs as `make bench` would leave them.
func built(t *testing.T) programs {
	t.Helper()
	bin := t.TempDir()
	for from, to := range map[string]string{"agenthost": "agenthost", "hello": "plugins/hello/hello"} {
		to = filepath.Join(bin, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(hosttest.Program(from), to); err != nil {
			t.Fatal(err)
		}
	}
	venv := exec.CommandContext(t.Context(), hosttest.Root("scripts/venv"), "flytekit")
	venv.Stderr = os.Stderr
	flytekit, err := venv.Output()
	if err != nil {
		t.Fatal("scripts/venv flytekit: ", err)
	}
	return programs{bin: bin, against: bin, helpers: hosttest.Bin(), flytekit: strings.TrimSpace(string(flytekit)), root: hosttest.Root()}
}

// Every row that needs no toolchain but Go's and Python's is measured, a moment each: the figures mean nothing, but that there are
// some says that the harness works.
func TestEveryRowIsMeasured(t *testing.T) {
	o := options{programs: built(t), scaleName: "smoke", output: "json", growth: true, overTLS: true, traced: true}
	selected, err := o.selected()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := regexp.MustCompile(`^start-(rust|java)$`)
	var names []string
	for _, row := range selected {
		if !elsewhere.MatchString(row.name) {
			names = append(names, regexp.QuoteMeta(row.name))
		}
	}
	o.only = "^(" + strings.Join(names, "|") + ")$"
	var said, progress bytes.Buffer
	if err := run(t.Context(), o, &said, &progress); err != nil {
		t.Errorf("%v\n%s", err, &progress)
	}
	result, err := report.Read(&said)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Rows) != len(names) || len(names) < len(rows) {
		t.Errorf("%d rows of %d", len(result.Rows), len(names))
	}
	for _, row := range result.Rows {
		if row.Error == "" && (row.Measured == nil || (row.Target == nil) != (row.Met == nil)) {
			t.Errorf("%s says %+v", row.Name, row)
		}
		if _, ok := result.Comparison(row.Comparison); row.Comparison != "" && !ok {
			t.Errorf("%s is made of the comparison %s, which is not there", row.Name, row.Comparison)
		}
	}
	for _, one := range result.Comparisons {
		for _, contender := range one.Contenders {
			if contender.CallsPerSecond.Low <= 0 || contender.P50.Low <= 0 {
				t.Errorf("%s of %s made no calls", contender.Name, one.Name)
			}
		}
	}
	if result.Versions["flytekit"] == "" || result.Machine.Cores == 0 {
		t.Errorf("it says of where it ran %v, %v", result.Machine, result.Versions)
	}
}

// A row that cannot be measured says why, and those after it are measured.
func TestARowThatFailsIsToldAndTheOthersAreMeasured(t *testing.T) {
	o := options{programs: built(t), scaleName: "smoke", output: "text", only: "^(proxy-get-64|start-go)$"}
	o.helpers = t.TempDir()
	var said bytes.Buffer
	err := run(t.Context(), o, &said, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "proxy-get-64") || !strings.Contains(err.Error(), "`make bench` builds it") {
		t.Errorf("it ends with %v", err)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "bench: 0 of 0 targets met, 1 rows without a target, 1 rows FAILED") {
		t.Errorf("it says at last %q", last)
	}
}

func TestRowsAreChosenByName(t *testing.T) {
	names := func(o options) string {
		t.Helper()
		found, err := o.selected()
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, row := range found {
			all = append(all, row.name)
		}
		return strings.Join(all, " ")
	}
	if got := names(options{only: "^get-"}); got != "get-1 get-16 get-64 get-256" {
		t.Errorf("^get- chooses %s", got)
	}
	if got := names(options{only: "growth-jobs"}); got != "growth-jobs-cpu growth-jobs-memory" {
		t.Errorf("growth-jobs chooses %s", got)
	}
	if got := names(options{}); strings.Contains(got, "growth") || strings.Contains(got, "against") {
		t.Errorf("all rows are %s", got)
	}
	if got := names(options{programs: programs{against: "before"}}); !strings.Contains(got, "against-get-64") {
		t.Errorf("beside another host the rows are %s", got)
	}
	if _, err := (options{only: "nothing"}).selected(); err == nil || !strings.Contains(err.Error(), "-list") {
		t.Errorf("for no row it says %v", err)
	}
}

func TestEveryRowHasANameOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range append(rows, growthRows...) {
		if seen[row.name] || row.what == "" {
			t.Errorf("row %q, %q", row.name, row.what)
		}
		seen[row.name] = true
	}
}

func TestTheSteepestStepIsWhatGrowthIsJudgedBy(t *testing.T) {
	for name, test := range map[string]struct {
		y    func(float64) float64
		want float64
	}{
		"linear":           {func(x float64) float64 { return 3 * x }, 1},
		"constant":         {func(float64) float64 { return 7 }, 0},
		"quadratic at end": {func(x float64) float64 { return max(x, x*x/100) }, 2},
		"not measured":     {func(float64) float64 { return 0 }, 0},
	} {
		var points []report.Point
		for _, x := range []float64{1, 10, 100, 1000} {
			points = append(points, report.Point{X: x, Y: test.y(x)})
		}
		if got := steepest(points); got < test.want-0.01 || got > test.want+0.01 {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestTheCommandLine(t *testing.T) {
	o, err := parse([]string{"-rows", "x", "-o", "json", "-rounds", "2", "plugins/hello"}, "1")
	if err != nil || o.scaleName != "quick" || o.scale().rounds != 2 || len(o.folders) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parse(nil, ""); err != nil || o.scaleName != "full" || o.scale().rounds != 9 {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := parse([]string{"-o", "yaml"}, ""); err == nil || !strings.Contains(err.Error(), "yaml") {
		t.Errorf("-o yaml: %v", err)
	}
}
