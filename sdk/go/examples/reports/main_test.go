package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// service is what the reports are made by: a job is done when it is asked for a third time.
type service struct {
	mu   sync.Mutex
	jobs map[string]int
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := strings.TrimPrefix(r.URL.Path, "/jobs/")
	asked, known := s.jobs[id]
	switch {
	case r.Header.Get("Authorization") != "Bearer hush":
		w.WriteHeader(http.StatusForbidden)
	case r.Method == http.MethodPut:
		s.jobs[id] = asked
	case !known:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(s.jobs, id)
	default:
		s.jobs[id]++
		said := progress{State: "running", Rows: 4, Of: 10}
		if s.jobs[id] > 2 {
			said = progress{State: "done", Rows: 10, Of: 10}
		}
		_ = json.NewEncoder(w).Encode(said) // the test sees what came
	}
}

func start(t *testing.T, at string) *agenttest.Client {
	t.Helper()
	t.Setenv("_FSEC_REPORT_TOKEN", "hush") // as the host gives it a secret
	client := agenttest.Run(t, options(&reports{})...)
	if errs := client.Configure(map[string]any{"service": at, "token": "report_token", "patience": "5m"}); len(errs) > 0 {
		t.Fatal(errs)
	}
	return client
}

func TestAReportIsMadeAcrossARestart(t *testing.T) {
	made := &service{jobs: map[string]int{}}
	server := httptest.NewServer(made)
	defer server.Close()

	first := start(t, server.URL)
	task := agenttest.Task{Type: "report", Inputs: map[string]any{"statement": "select 1"}, OutputPrefix: "s3://outputs/0", IdempotencyKey: strings.Repeat("5", 64)}
	job, err := first.Create(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	if running, err := job.Get(t.Context()); err != nil || running.Message != "40%: 4 of 10 rows" {
		t.Fatalf("%+v, %v", running, err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	second := start(t, server.URL) // the next process has the job's metadata alone
	result, err := second.Job(agent.Category{Name: "report"}, job.Meta).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	table := agenttest.Output[agent.StructuredDataset](t, result, "table")
	if table.URI != "s3://outputs/0/report.parquet" || len(made.jobs) != 1 {
		t.Errorf("table %+v of jobs %v", table, made.jobs)
	}
	if again, err := second.Create(t.Context(), task); err != nil || len(made.jobs) != 1 {
		t.Errorf("the same attempt again: %v, %v, jobs %v", again, err, made.jobs)
	}
}

func TestAWrongConfigurationIsNamed(t *testing.T) {
	client := agenttest.Run(t, options(&reports{})...)
	errs := client.Configure(map[string]any{"service": "http://reports", "token": "absent", "patience": "5m"})
	if len(errs) != 1 || errs[0].Key != "token" {
		t.Errorf("errors = %v", errs)
	}
}
