// Reports are tables that a service makes, reached by HTTP: what a plugin in Go looks like. The README of the SDK goes through it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/httpclient"
	"github.com/agenthost/agenthost/sdk/go/metrics"
)

func main() {
	agent.Serve(agent.Plugin{Name: "reports", Version: "1.0.0"}, options(&reports{})...)
}

// options are apart from main for the test.
func options(r *reports) []agent.Option {
	return []agent.Option{
		agent.Async("report", r, agent.IdempotentCreate()),
		agent.Configure(r.configure),
		metrics.From(prometheus.DefaultGatherer),
	}
}

// config is the plugin's `config:` in the host's file.
type config struct {
	Service  string          `json:"service" jsonschema:"required,description=Where the service is."`
	Token    agent.SecretRef `json:"token" jsonschema:"required"` // the name of a secret
	Patience agent.Duration  `json:"patience,omitempty"`          // "90s", "1h30m"
	MaxSize  agent.Size      `json:"max_size,omitempty"`          // "2GiB"
}

// SetDefaults is called before the block is read.
func (c *config) SetDefaults() { c.Patience, c.MaxSize = agent.Duration(time.Hour), 1<<30 }

type reports struct {
	config config
	client *http.Client
}

func (r *reports) configure(_ context.Context, c config) error {
	r.config, r.client = c, httpclient.New(nil)
	return nil
}

// job is what Flyte keeps between the calls, as JSON.
type job struct {
	ID    string    `json:"id"`
	Table string    `json:"table"`
	Until time.Time `json:"until"`
}

// Create starts a job and returns at once. The service makes one job of a name, however often it is told.
func (r *reports) Create(ctx context.Context, task *agent.Task) (job, error) {
	statement, err := agent.Input[string](task, "statement")
	if err != nil {
		return job{}, err
	}
	limit, err := agent.InputOr(task, "limit", 1000)
	if err != nil {
		return job{}, err
	}
	made := job{ID: task.IdempotencyKey, Table: task.OutputPrefix + "/report.parquet", Until: time.Now().Add(r.config.Patience.Std())}
	created.Inc()
	slog.InfoContext(ctx, "report begun", "job", made.ID, "limit", limit)
	return made, r.call(ctx, http.MethodPut, made.ID, order{statement, limit, r.config.MaxSize.Bytes(), made.Table}, nil)
}

var created = promauto.NewCounter(prometheus.CounterOpts{Name: "reports_begun_total", Help: "Reports that were asked for."})

// order is what the service is told of a job, and progress what it says.
type order struct {
	Statement string `json:"statement"`
	Limit     int    `json:"limit"`
	MaxBytes  int64  `json:"max_bytes"`
	To        string `json:"to"`
}

type progress struct {
	State   string `json:"state"`
	Problem string `json:"problem"`
	Rows    int    `json:"rows"`
	Of      int    `json:"of"`
}

// Get says how a job is. It may come to another process than the one that made the job.
func (r *reports) Get(ctx context.Context, j agent.Job[job]) (*agent.Resource, error) {
	var p progress
	if err := r.call(ctx, http.MethodGet, j.Meta.ID, nil, &p); err != nil {
		return nil, err
	}
	switch {
	case p.State == "done":
		return agent.Succeeded(agent.Outputs{"rows": p.Rows, "table": agent.StructuredDataset{URI: j.Meta.Table, Format: "parquet"}}), nil
	case p.State == "failed":
		return agent.Failed(agent.UserError("BadStatement", errors.New(p.Problem))), nil
	case time.Now().After(j.Meta.Until):
		return agent.RetryableFailed(agent.SystemError("TooSlow", errors.New("the service took too long"))), nil
	case p.State == "queued":
		return agent.Queued("the service is busy"), nil
	}
	return agent.Running("").WithProgress(float64(p.Rows)/float64(max(p.Of, 1)), fmt.Sprintf("%d of %d rows", p.Rows, p.Of)).
		WithLink("Report", r.config.Service+"/jobs/"+j.Meta.ID), nil
}

// Delete ends a job; it is fine if there is none.
func (r *reports) Delete(ctx context.Context, j agent.Job[job]) error {
	return r.call(ctx, http.MethodDelete, j.Meta.ID, nil, nil)
}

// call asks the service about a job.
func (r *reports) call(ctx context.Context, method, id string, body, into any) (err error) {
	token, err := r.config.Token.Get() // each time: it may change
	if err != nil {
		return err
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, r.config.Service+"/jobs/"+id, bytes.NewReader(data))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	response, err := r.client.Do(request) // again, where the service is busy
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	switch {
	case response.StatusCode == http.StatusNotFound:
		return agent.NotFound("the service has no job %s", id)
	case response.StatusCode >= http.StatusBadRequest:
		return agent.InvalidArgument("the service refuses the call: %s", response.Status)
	case into == nil:
		return nil
	}
	return json.NewDecoder(response.Body).Decode(into)
}
