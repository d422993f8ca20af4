// Everything that the Go SDK offers, in one plugin. A job does what its input "do" says. test/languages/features asks it, as it
// asks the same example in the other languages.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/httpclient"
	"github.com/agenthost/agenthost/sdk/go/jobstore"
	"github.com/agenthost/agenthost/sdk/go/literal"
	"github.com/agenthost/agenthost/sdk/go/metrics"
	"github.com/agenthost/agenthost/sdk/go/storage"
)

func main() {
	ledger := &ledger{attempts: map[string]*meta{}}
	agent.Serve(agent.Plugin{Name: "features", Version: "1.0.0"},
		agent.Async("features_job", jobs{ledger}, agent.Named("Features"), agent.Also(agent.Category{Name: "features_job", Version: 2}), agent.IdempotentCreate()),
		agent.Async("features_plain", jobs{ledger}, agent.Named("Plain")),
		agent.Sync("features_echo", inCall(echo)),
		agent.Sync("features_custom", inCall(custom)),
		agent.Sync("features_together", inCall(together)),
		agent.Sync("features_refers", inCall(refers)),
		agent.Sync("features_writes", inContext(writes)),
		agent.Sync("features_fetches", inContext(fetches)),
		agent.Async("features_blocks", jobs{ledger}, agent.Named("Blocks")),
		agent.Async("features_stored", stored{openStore()}),
		agent.Sync("features_point", inCall(movePoint)),
		agent.Configure(func(context.Context, config) error { return nil }),
		metrics.From(prometheus.DefaultGatherer),
	)
}

var created = promauto.NewCounterVec(prometheus.CounterOpts{Name: "features_jobs_total", Help: "Jobs, by what they do."}, []string{"do"})

type config struct {
	Region  string         `json:"region" jsonschema:"description=Where jobs run.,required,enum=eu,enum=us"`
	Grace   agent.Duration `json:"grace,omitempty"`
	Memory  agent.Size     `json:"memory,omitempty"`
	Hosts   []string       `json:"hosts,omitempty"`
	Weights map[string]int `json:"weights,omitempty"`
	Limits  *struct {
		CPU int `json:"cpu,omitempty"`
	} `json:"limits,omitempty"`
}

// meta is what Flyte keeps of a job.
type meta struct {
	Do          string            `json:"do"`
	Key         string            `json:"key,omitempty"`
	Prefix      string            `json:"prefix,omitempty"`
	SecondsLeft float64           `json:"seconds_left,omitempty"`
	Types       agent.OutputTypes `json:"types,omitempty"`
}

// ledger has what became of the attempts, by their keys: a job, or nil where the attempt was abandoned.
type ledger struct {
	mu       sync.Mutex
	attempts map[string]*meta
}

func (l *ledger) find(key string) (meta, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch made, known := l.attempts[key]; {
	case !known:
		return meta{}, agent.NotFound("the attempt has no job")
	case made == nil:
		return meta{}, agent.Abandoned("the attempt was abandoned")
	default:
		return *made, nil
	}
}

func (l *ledger) keep(key string, made *meta) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts[key] = made
}

type jobs struct{ ledger *ledger }

func (j jobs) Find(_ context.Context, task *agent.Task) (meta, error) {
	return j.ledger.find(task.IdempotencyKey)
}

func (j jobs) Abandon(_ context.Context, task *agent.Task) error { //nolint:unparam // as agent.Finder has it
	j.ledger.keep(task.IdempotencyKey, nil)
	return nil
}

func (j jobs) Create(ctx context.Context, task *agent.Task) (meta, error) {
	if _, err := j.ledger.find(task.IdempotencyKey); status.Code(err) == codes.Aborted {
		return meta{}, err
	}
	do, err := agent.Input[string](task, "do")
	if err != nil {
		return meta{}, err
	}
	switch do {
	case "unavailable":
		return meta{}, agent.Unavailable("the warehouse is closed")
	case "panic":
		panic("out of order")
	case "print":
		fmt.Println("printed to stdout")
		slog.WarnContext(ctx, "logged", "rows", 3)
	case "block":
		slog.Info("blocks")
		select {}
	case "watch":
		go watch(agent.UntilReplaced(ctx))
	case "hold":
		if err := hold(ctx, filepath.Join(task.OutputPrefix, "begun")); err != nil {
			return meta{}, err
		}
	}
	made := meta{Do: do, Key: task.IdempotencyKey, Prefix: task.OutputPrefix, Types: task.OutputTypes()}
	if deadline, ok := ctx.Deadline(); ok {
		made.SecondsLeft = time.Until(deadline).Seconds()
	}
	j.ledger.keep(task.IdempotencyKey, &made)
	created.WithLabelValues(do).Inc()
	return made, nil
}

// watch is what goes on behind the calls.
func watch(ctx context.Context) {
	<-ctx.Done()
	slog.Info("replaced")
}

// hold waits until the file that it makes is gone.
func hold(ctx context.Context, file string) error {
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (jobs) Get(_ context.Context, job agent.Job[meta]) (*agent.Resource, error) {
	switch job.Meta.Do {
	case "running":
		running := agent.Running("half way").WithLink("Console", "https://example.com/1").WithInfo("rows", 3)
		running.Links = append(running.Links, agent.Link{Name: "Queue", URI: "https://example.com/2", ShowWhilePending: true, HideOnceFinished: true})
		return running, nil
	case "progress":
		return agent.Running("").WithProgress(0.4, "4 of 10 files"), nil
	case "user-error":
		return agent.Failed(agent.UserError("BadSQL", errors.New("no such table"))), nil
	case "system-error":
		return agent.RetryableFailed(agent.SystemError("Quota", errors.New("no more slots"))), nil
	case "typed":
		return agent.Succeeded(agent.Outputs{"ratio": 1}).WithOutputTypes(job.Meta.Types), nil
	}
	variable, err := job.Secret("from_variable")
	if err != nil {
		return nil, err
	}
	file, err := job.Secret("from_file")
	if err != nil {
		return nil, err
	}
	outputs := agent.Outputs{
		"key": job.Meta.Key, "created_prefix": job.Meta.Prefix, "polled_prefix": job.OutputPrefix, "seconds_left": job.Meta.SecondsLeft,
		"variable": variable.Reveal(), "file": file.Reveal(), "printed": fmt.Sprint(variable),
	}
	if job.Connection != nil {
		outputs["host"] = job.Connection.Configs["host"]
	}
	return agent.Succeeded(outputs), nil
}

func (jobs) Delete(context.Context, agent.Job[meta]) error { return nil }

func (jobs) Logs(_ context.Context, _ agent.Job[meta], _ agent.LogQuery, out *agent.LogStream) error {
	if err := out.Send(
		agent.LogLine{Time: time.Unix(1e9, 0), Message: "first", Originator: agent.OriginatorUser},
		agent.LogLine{Message: "second", Originator: agent.OriginatorSystem},
	); err != nil {
		return err
	}
	return out.NextToken("2")
}

func (jobs) Metrics(_ context.Context, _ agent.Job[meta], query agent.MetricsQuery) ([]*core.ExecutionMetricResult, error) {
	var results []*core.ExecutionMetricResult
	for _, name := range query.Queries {
		data, err := structpb.NewStruct(map[string]any{"span": query.End.Sub(query.Start).Seconds(), "step": query.Step.Seconds()})
		if err != nil {
			return nil, err
		}
		results = append(results, &core.ExecutionMetricResult{Metric: name, Data: data})
	}
	return results, nil
}

func (jobs) EncodeMeta(m meta) ([]byte, error) { return json.Marshal(m) }

// DecodeMeta also reads what another program has written: "legacy:" and what the job does.
func (jobs) DecodeMeta(data []byte) (m meta, err error) {
	if do, ok := strings.CutPrefix(string(data), "legacy:"); ok {
		return meta{Do: do}, nil
	}
	return m, json.Unmarshal(data, &m)
}

func (jobs) Close(context.Context) error {
	slog.Info("closed")
	return nil
}

// stored keeps its jobs in files, by the attempts' keys, which are all that Flyte keeps.
type stored struct{ jobs *jobstore.Store[meta] }

func openStore() *jobstore.Store[meta] {
	dir := os.Getenv("FEATURES_STORE")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "features")
	}
	store, err := jobstore.Open[meta](dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return store
}

func (s stored) Create(_ context.Context, task *agent.Task) (string, error) {
	do, err := agent.Input[string](task, "do")
	if err != nil {
		return "", err
	}
	_, _, err = s.jobs.Add(task.IdempotencyKey, meta{Do: do, Key: task.IdempotencyKey})
	return task.IdempotencyKey, err
}

func (s stored) Get(_ context.Context, job agent.Job[string]) (*agent.Resource, error) {
	kept, err := s.jobs.Get(job.Meta)
	return agent.Succeeded(agent.Outputs{"do": kept.Do, "key": kept.Key}), err
}

func (s stored) Delete(_ context.Context, job agent.Job[string]) error {
	return s.jobs.Delete(job.Meta)
}

// inContext makes a synchronous agent of a function that calls others.
type inContext func(context.Context, *agent.Task) (agent.Outputs, error)

func (s inContext) Execute(ctx context.Context, task *agent.Task) (*agent.Resource, error) {
	outputs, err := s(ctx, task)
	return agent.Succeeded(outputs), err
}

func writes(ctx context.Context, task *agent.Task) (agent.Outputs, error) {
	text, err := agent.Input[string](task, "text")
	if err != nil {
		return nil, err
	}
	file, err := storage.Write(ctx, task.OutputPrefix, "report.txt", strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return agent.Outputs{"file": file}, storage.WriteDeck(ctx, task.OutputPrefix, "<h1>Report</h1><p>"+html.EscapeString(text)+"</p>")
}

var client = httpclient.New(nil)

func fetches(ctx context.Context, task *agent.Task) (outputs agent.Outputs, err error) {
	url, err := agent.Input[string](task, "url")
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return nil, agent.InvalidArgument("%s answers %s", url, response.Status)
	}
	return agent.Outputs{"body": string(body)}, err
}

func refers(task *agent.Task) (agent.Outputs, error) {
	var in struct {
		File      agent.File              `json:"file"`
		Directory agent.Directory         `json:"directory"`
		Table     agent.StructuredDataset `json:"table"`
	}
	if err := task.DecodeInputs(&in); err != nil {
		return nil, err
	}
	said := fmt.Sprintf("file %s %s, directory %s, table %s %s", in.File.URI, in.File.Format, in.Directory.URI, in.Table.URI, in.Table.Format)
	for _, column := range in.Table.Columns {
		said += " " + column.Name
	}
	return agent.Outputs{
		"said": said, "file": agent.File{URI: in.File.URI + ".out", Format: "json"}, "directory": agent.Directory{URI: in.Directory.URI + ".out"},
		"table": agent.StructuredDataset{
			URI: in.Table.URI + ".out", Format: "parquet", Columns: []literal.Column{{Name: "n", Type: literal.Simple(core.SimpleType_INTEGER)}},
		},
	}, nil
}

// inCall makes a synchronous agent of a function.
type inCall func(*agent.Task) (agent.Outputs, error)

func (s inCall) Execute(_ context.Context, task *agent.Task) (*agent.Resource, error) {
	outputs, err := s(task)
	return agent.Succeeded(outputs), err
}

func echo(task *agent.Task) (agent.Outputs, error) {
	values, err := task.InputValues()
	return values, err
}

type counted struct {
	Count int    `json:"count"`
	Label string `json:"label"`
}

func custom(task *agent.Task) (agent.Outputs, error) {
	var c counted
	err := task.Custom(&c)
	return agent.Outputs{"count": c.Count, "label": c.Label}, err
}

func together(task *agent.Task) (agent.Outputs, error) {
	var c counted
	err := task.DecodeInputs(&c)
	return agent.Outputs{"count": c.Count, "label": c.Label}, err
}

type point struct {
	X     int    `json:"x"`
	Label string `json:"label"`
}

func movePoint(task *agent.Task) (agent.Outputs, error) {
	p, err := agent.Input[point](task, "point")
	p.X++
	return agent.Outputs{"point": p}, err
}
