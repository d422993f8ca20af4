package main

import (
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/bench/report"
	"github.com/agenthost/agenthost/test/published"
)

// measured is a result with a row of each kind.
func measured() report.Result {
	met, missed := true, false
	steady := func(name string, rate, host float64) report.Contender {
		return report.Contender{Name: name, CallsPerSecond: report.Exactly(rate), P50: report.Exactly(1), P99: report.Exactly(2), P999: report.Exactly(3),
			CPU: report.CPU{Client: 20, Host: host, Plugin: 30}}
	}
	comparison := func(name string, callers int) report.Comparison {
		return report.Comparison{Name: name, Call: "GetTask", Callers: callers, Rounds: 1,
			Contenders: []report.Contender{steady("direct", 1000, 0), steady("forwarded", 600, 40)}}
	}
	return report.Result{
		Format: report.Format, Taken: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC), Scale: "full", Seconds: 120,
		Machine:  report.Machine{CPU: "A processor", Cores: 2, MemoryMiB: 8192, Kernel: "6.18"},
		Versions: map[string]string{"agenthost": "v0.1.0", "odd": "a|b"},
		Rows: []report.Row{
			{Name: "get-64", What: "GetTask, forwarded / straight", Target: &report.Target{Value: 0.72}, Met: &missed,
				Measured: &report.Spread{Median: 0.6, Low: 0.5, High: 0.7}, Comparison: "get-64", Of: "forwarded", To: "direct"},
			{Name: "added-p99.9", What: "what the host adds", Unit: "ms", Target: &report.Target{Value: 1.2, AtMost: true}, Met: &met,
				Measured: &report.Spread{Median: 1, Low: 1, High: 1}, Detail: map[string]float64{"a detail, ms": 12.5}},
			{Name: "start-rust", What: "start of a plugin", Unit: "s", Error: "no such file"},
			{Name: "growth-jobs", What: "exponent", Measured: &report.Spread{Median: 0.98}, Series: "jobs"},
		},
		Comparisons: []report.Comparison{comparison("get-64", 64), comparison("get-1", 1)},
		Series: []report.Series{{Name: "jobs", X: "jobs", Y: "MiB of live data", Exponent: 0.98,
			Points: []report.Point{{X: 1000, Y: 0.5}, {X: 10000, Y: 4.7}}}},
	}
}

// write lays a folder as the page is made from.
func write(t *testing.T, r report.Result, notes string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "benchmarks")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := r.JSON(file); err != nil {
		t.Fatal(err)
	}
	if notes != "" {
		if err := os.WriteFile(filepath.Join(dir, "notes.md"), []byte(notes), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestThePageTellsOfEachRowWhatWasMeasured(t *testing.T) {
	dir := write(t, measured(), "## get-64\n\nMost of it is TLS.\n")
	if err := run(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(dir + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| [get-64](#get-64) | GetTask, forwarded / straight | 0.60 | 0.50 to 0.70 | ≥ 0.72 | not met |",
		"| [added-p99.9](#added-p999) | what the host adds | 1.00 ms |  | ≤ 1.2 | met |",
		"| failed: no such file |", `a\|b`, "1 of 2 targets met, 1 rows without a target, 1 rows FAILED.",
		"0.60, which misses ≥ 0.72 by 0.12.",
		"Forwarded: 600 calls/s; p50 1.00, p99 2.00, p99.9 3.00 ms; 90 µs of processor time a call (client 20, between 40, answering 30).",
		"The difference of +40 µs: client +0, between +40, answering +0.", "Most of it is TLS.",
		"A detail, ms: 12.5.", "Of MiB of live data, by jobs: 0.50 with 1000, 4.70 with 10000.", "2 cores of A processor",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	plots := regexp.MustCompile(`!\[.*\]\((benchmarks/[^)]*\.svg)\)`).FindAllStringSubmatch(string(text), -1)
	if len(plots) != 4 {
		t.Errorf("the page shows %d plots, want 3 of callers and one of growth", len(plots))
	}
	for _, plot := range plots {
		isXML(t, filepath.Join(filepath.Dir(dir), plot[1]))
	}
}

func isXML(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	decoder := xml.NewDecoder(file)
	lines := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "path" {
			lines++
		}
	}
	if lines == 0 {
		t.Errorf("%s shows nothing", path)
	}
}

// What is known of a row that is not there any more would go unnoticed.
func TestANoteAboutNoRowIsRefused(t *testing.T) {
	err := run(write(t, measured(), "## get-46\n\nMost of it is TLS.\n"))
	if err == nil || !strings.Contains(err.Error(), `"get-46"`) {
		t.Errorf("it says %v", err)
	}
}

func TestAResultOfAnotherFormatIsRefused(t *testing.T) {
	r := measured()
	r.Format++
	if err := run(write(t, r, "")); err == nil || !strings.Contains(err.Error(), "measure anew") {
		t.Errorf("it says %v", err)
	}
}

// The page and the result that it is made from are there together, or neither.
func TestTheBenchmarksPageIsUpToDate(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "docs", "benchmarks")
	if _, err := os.Stat(filepath.Join(dir, "result.json")); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir + ".md"); err == nil {
			t.Error("docs/benchmarks.md is there, and docs/benchmarks/result.json is not: `make bench-docs` measures both")
		}
		return
	}
	result, why, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	drawn, err := plots(result)
	if err != nil {
		t.Fatal(err)
	}
	text, err := page(result, drawn, why, "benchmarks")
	if err != nil {
		t.Fatal(err)
	}
	published.Check(t, "docs/benchmarks.md", text)
	for _, one := range drawn {
		if _, err := os.Stat(filepath.Join(dir, one.file)); err != nil {
			t.Error(err)
		}
	}
}
