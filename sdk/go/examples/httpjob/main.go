// Jobs of a service that is reached by HTTP and JSON, as most are: here one that counts words. It takes jobs under a key of the
// client's, asks busy clients to come back later, and wants a token.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/httpclient"
)

func main() {
	w := &words{client: httpclient.New(nil)} // which asks again when a busy service says so (Retry-After)
	agent.Serve(agent.Plugin{Name: "httpjob", Version: "1.0.0"},
		agent.Async("http_job", w, agent.IdempotentCreate()), agent.Configure(w.configure))
}

type config struct {
	URL   string          `json:"url" jsonschema:"required,description=Where the service is."`
	Token agent.SecretRef `json:"token" jsonschema:"required,description=The name of the secret with the service's token."`
}

type words struct {
	config config
	client *http.Client
}

func (w *words) configure(_ context.Context, c config) error {
	w.config = c
	return nil
}

// meta is what Flyte keeps: the service has everything else, so any process of the plugin can go on with the job.
type meta struct{ ID string }

// job is what the service says of one. A deleted one is remembered, for its key.
type job struct {
	ID      string `json:"id"`
	State   string `json:"state"` // queued, running, done, failed or deleted
	Words   int    `json:"words"`
	Problem string `json:"problem"`
}

// Create can be called again for an attempt whose answer was lost. The key is the same then, and so the service's job.
func (w *words) Create(ctx context.Context, task *agent.Task) (meta, error) {
	text, err := agent.Input[string](task, "text")
	if err != nil {
		return meta{}, err
	}
	var made job
	err = w.call(ctx, http.MethodPost, "/jobs", task.IdempotencyKey, map[string]string{"text": text}, &made)
	return made.attempt(err)
}

// attempt refuses a job that was deleted before its attempt got an answer: see Abandon.
func (j job) attempt(err error) (meta, error) {
	if err == nil && j.State == "deleted" {
		err = agent.Abandoned("job %s was given up", j.ID)
	}
	return meta{j.ID}, err
}

// Find lets the host accept a task while the service is busy or away, and learn later whether it has a job.
func (w *words) Find(ctx context.Context, task *agent.Task) (meta, error) {
	var found job
	err := w.call(ctx, http.MethodGet, "/keys/"+task.IdempotencyKey, "", nil, &found)
	return found.attempt(err)
}

// Abandon leaves a deleted job under the attempt's key, which keeps a Create that is still on its way from making one.
func (w *words) Abandon(ctx context.Context, task *agent.Task) error {
	var made job
	if err := w.call(ctx, http.MethodPost, "/jobs", task.IdempotencyKey, map[string]string{"text": ""}, &made); err != nil {
		return err
	}
	return w.call(ctx, http.MethodDelete, "/jobs/"+made.ID, "", nil, nil)
}

// Get says how a job is: that it failed is an answer, too, and no error.
func (w *words) Get(ctx context.Context, j agent.Job[meta]) (*agent.Resource, error) {
	var now job
	if err := w.call(ctx, http.MethodGet, "/jobs/"+j.Meta.ID, "", nil, &now); err != nil {
		return nil, err
	}
	switch now.State {
	case "queued":
		return agent.Queued("the service is busy"), nil
	case "running":
		return agent.Running("").WithLink("Job", w.config.URL+"/jobs/"+now.ID), nil
	case "done":
		return agent.Succeeded(agent.Outputs{"words": now.Words}), nil
	case "failed":
		return agent.Failed(agent.UserError("BadText", errors.New(now.Problem))), nil
	case "deleted":
		return nil, agent.NotFound("job %s was deleted", now.ID)
	}
	return nil, fmt.Errorf("the service says that job %s is %q, which this plugin does not know", now.ID, now.State)
}

// Delete is fine with a job that has ended, or is gone: Flyte repeats it until it works.
func (w *words) Delete(ctx context.Context, j agent.Job[meta]) error {
	return w.call(ctx, http.MethodDelete, "/jobs/"+j.Meta.ID, "", nil, nil)
}

func (w *words) call(ctx context.Context, method, path, key string, body, into any) (err error) {
	token, err := w.config.Token.Get() // each time: it may have been renewed
	if err != nil {
		return err
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, w.config.URL+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	request.Header.Set("Idempotency-Key", key) // by which net/http, too, sends a POST again where a connection broke
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	said, err := io.ReadAll(response.Body)
	problem := fmt.Errorf("%s %s answers %s: %.200s", method, path, response.Status, said)
	switch code := response.StatusCode; {
	case err != nil || code >= 500 || code == http.StatusUnauthorized || code == http.StatusForbidden:
		return agent.Unavailable("%w", errors.Join(err, problem)) // not the task's fault: Flyte and the host repeat it
	case code == http.StatusNotFound:
		return agent.NotFound("%w", problem)
	case code >= 400:
		return agent.InvalidArgument("%w", problem)
	case into == nil:
		return nil
	}
	return json.Unmarshal(said, into)
}
