package systems

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/test/hosttest"
)

// bigquery is an emulator of BigQuery, and either plugin for it.
func bigquery(t *testing.T) (s sides, system *held, jobs func() int) {
	t.Helper()
	programs := venv(t, "bqemulator")
	port := freePort(t)
	emulator := exec.Command(filepath.Join(programs, "bqemulator"), "start",
		"--rest-port", strconv.Itoa(port), "--grpc-port", strconv.Itoa(freePort(t)), "--project", "analytics")
	emulator.Env = []string{"HOME=" + filepath.Join(filepath.Dir(programs), "home"), "PATH=/usr/bin:/bin"}
	server(t, port, emulator)
	emulated := fmt.Sprintf("http://127.0.0.1:%d", port)
	isPoll := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/jobs/")
	}
	system = hold(t, emulated, isPoll, `"DONE"`, `"RUNNING"`)

	account, secrets := googleAccount(t)
	s = sides{
		ours: map[string]any{
			"command": []string{hosttest.Program("bigquery")},
			"config":  map[string]any{"endpoint": system.url},
			"secrets": map[string]any{"google_credentials": "file://" + account},
		},
		theirs: map[string]any{
			"command": []string{filepath.Join(venv(t, "connectors"), "agenthost-flytekit"), "--task-types", "bigquery_query_job_task"},
			"env":     map[string]any{"BIGQUERY_EMULATOR_HOST": system.url, "GOOGLE_APPLICATION_CREDENTIALS": account},
		},
		secrets:  secrets,
		volatile: regexp.MustCompile(`agenthost-[0-9a-zA-Z_-]+|[0-9a-f]{8}-[0-9a-f-]{27}|_?anon[0-9a-zA-Z_.]+`),
		intended: map[string]string{},
	}
	jobs = func() int {
		var list struct {
			Jobs []struct{ ID string } `json:"jobs"`
		}
		getJSON(t, emulated+"/bigquery/v2/projects/analytics/jobs?allUsers=true&maxResults=1000", &list)
		return len(list.Jobs)
	}
	return s, system, jobs
}

func TestBigQueryTasksSeeNoDifference(t *testing.T) {
	s, system, _ := bigquery(t)
	system.released.Store(true)
	s.compare(t, compile(t, venv(t, "connectors"), "bigquery"))
}

func TestBigQueryJobsOfFlytekitsConnectorAreFinishedByOurs(t *testing.T) {
	s, system, jobs := bigquery(t)
	s.swap(t, succeeding(compile(t, venv(t, "connectors"), "bigquery")), 5, system, jobs)
}
