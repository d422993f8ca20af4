package alerts

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

// program is Prometheus or promtool, as Debian has them.
func program(t *testing.T, name string) string {
	t.Helper()
	var said strings.Builder
	script := exec.Command(hosttest.Root("scripts", "prometheus"))
	script.Stderr = &said
	folder, err := script.Output()
	if err != nil {
		t.Fatalf("scripts/prometheus: %v\n%s", err, said.String())
	}
	return filepath.Join(strings.TrimSpace(string(folder)), name)
}

// prometheus is a real one, with our rules and our job.
type prometheus struct {
	address string
	targets string // the file that lists them
	hosts   map[string]string
	since   time.Time // what was before does not count
}

// seconds is for how long it has counted, rounded up.
func (p *prometheus) seconds() int { return int(time.Since(p.since).Seconds()) + 1 }

// hurry is by how much the clock of the rules runs faster, so that what takes half an hour takes a minute.
const hurry = 30

var lengths = regexp.MustCompile(`(for: |\[|offset )(\d+)([mh])\b`)

// hurried shortens each `for`, range and offset of the rules.
func hurried(t *testing.T, rules string) string {
	t.Helper()
	return lengths.ReplaceAllStringFunc(rules, func(found string) string {
		parts := lengths.FindStringSubmatch(found)
		length, err := time.ParseDuration(parts[2] + parts[3])
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s%ds", parts[1], int(length.Seconds())/hurry)
	})
}

// startPrometheus runs one with configs/prometheus, but for its targets, which add names, and its intervals, which are hurried.
func startPrometheus(t *testing.T) *prometheus {
	t.Helper()
	dir := t.TempDir()
	p := &prometheus{address: hosttest.FreeAddress(t), targets: filepath.Join(dir, "targets.json"), hosts: map[string]string{}, since: time.Now()}
	rules, err := os.ReadFile(hosttest.Root("configs", "prometheus", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(hosttest.Root("configs", "prometheus", "prometheus.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ours := regexp.MustCompile(`(?s)    static_configs:\n      - targets: \[.*?\][^\n]*\n`).ReplaceAllString(string(config), "    file_sd_configs:\n      - files: ["+p.targets+"]\n")
	ours = strings.Replace(ours, "scrape_interval: 30s", "scrape_interval: 1s", 1)
	if strings.Contains(ours, "static_configs") || strings.Contains(ours, "30s") {
		t.Fatalf("configs/prometheus/prometheus.yaml is not as expected:\n%s", ours)
	}
	ours = "global: {evaluation_interval: 1s}\n" + ours
	for name, content := range map[string]string{"prometheus.yaml": ours, "alerts.yaml": hurried(t, string(rules)), "targets.json": "[]"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command := exec.Command(program(t, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.address)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // which says that it was killed
		if content, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("Prometheus:\n%s", content[max(0, len(content)-4<<10):])
		}
	})
	wait.Until(t, "Prometheus is ready", func() bool {
		response, err := client.Get("http://" + p.address + "/-/ready")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

// scrape has the address of a host read from now on, as an instance of that name.
func (p *prometheus) scrape(t *testing.T, instance, address string) {
	t.Helper()
	p.hosts[instance] = address
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	var groups []group
	for name, at := range p.hosts {
		groups = append(groups, group{Targets: []string{at}, Labels: map[string]string{"instance": name}})
	}
	content, err := json.Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	next := p.targets + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, p.targets); err != nil {
		t.Fatal(err)
	}
}

// until waits until a condition holds of what Prometheus knows, which changes once a second.
func (p *prometheus) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	wait.Until(t, what, func() bool { return wait.For(t.Context(), 500*time.Millisecond) && holds() })
}

var client = http.Client{Timeout: time.Minute}

// sample is one series at one moment.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

// query gives what an expression comes to now.
func (p *prometheus) query(t *testing.T, expression string) []sample {
	t.Helper()
	response, err := client.Get("http://" + p.address + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Error string
		Data  struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.Error != "" {
		t.Fatalf("%s: %s", expression, answer.Error)
	}
	var samples []sample
	if answer.Data.ResultType == "vector" {
		if err := json.Unmarshal(answer.Data.Result, &samples); err != nil {
			t.Fatal(err)
		}
	}
	return samples
}
