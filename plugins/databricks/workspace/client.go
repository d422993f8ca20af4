// Package workspace calls the Jobs API of a Databricks workspace, through the client of Databricks' own SDK. It keeps
// connections, bounds the rate of calls, and repeats what may pass within the caller's deadline.
package workspace

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/databricks/databricks-sdk-go/httpclient"
	"github.com/databricks/databricks-sdk-go/service/jobs"
)

// A run is submitted as flytekit does it, by the version of the API that takes its form of a task, and looked at by the
// one that tells why a run ended.
const (
	submitPath = "/api/2.1/jobs/runs/submit"
	getPath    = "/api/2.2/jobs/runs/get"
	outputPath = "/api/2.2/jobs/runs/get-output"
	cancelPath = "/api/2.2/jobs/runs/cancel"
)

// Options say how workspaces are called.
type Options struct {
	// Roots are the certificate authorities that are trusted; nil for the system's.
	Roots *x509.CertPool
	// RequestsPerSecond bounds the calls to one workspace.
	RequestsPerSecond int
	// RequestTimeout bounds one request; what it takes with its repetitions is bounded by the caller's deadline.
	RequestTimeout time.Duration
}

// Pool holds the clients of all workspaces, which share one pool of connections.
type Pool struct {
	options   Options
	transport *http.Transport
	tokens    *tokens

	mu      sync.Mutex
	clients map[string]*httpclient.ApiClient
}

// NewPool makes a pool without clients.
func NewPool(options Options) *Pool {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	transport.TLSClientConfig = &tls.Config{RootCAs: options.Roots, MinVersion: tls.VersionTLS12}
	return &Pool{
		options:   options,
		transport: transport,
		tokens:    newTokens(&http.Client{Transport: transport, Timeout: options.RequestTimeout}),
		clients:   map[string]*httpclient.ApiClient{},
	}
}

// Close lets the connections go.
func (p *Pool) Close() { p.transport.CloseIdleConnections() }

// Workspace is one workspace, called as somebody.
type Workspace struct {
	pool       *Pool
	host       string
	credential Credential
	api        *httpclient.ApiClient
}

// Open returns the workspace of a host, such as "dbc-1234.cloud.databricks.com", to be called with a credential.
func (p *Pool) Open(host string, credential Credential) *Workspace {
	p.mu.Lock()
	defer p.mu.Unlock()
	api := p.clients[host]
	if api == nil {
		api = httpclient.NewApiClient(httpclient.ClientConfig{
			Transport:          p.transport,
			HTTPTimeout:        p.options.RequestTimeout,
			RateLimitPerSecond: p.options.RequestsPerSecond,
			ErrorMapper:        mapError,
			// Repetition is call's: the SDK's knows neither Retry-After nor deadlines.
			RetryTimeout:   time.Nanosecond,
			ErrorRetriable: func(context.Context, error) bool { return false },
		})
		p.clients[host] = api
	}
	return &Workspace{pool: p, host: host, credential: credential, api: api}
}

// Submit starts a run and returns its id. The body goes as it is: the SDK's own type would drop what it does not know.
func (w *Workspace) Submit(ctx context.Context, body []byte) (string, error) {
	var response struct {
		RunID int64 `json:"run_id"`
	}
	if err := w.call(ctx, "submit a run", http.MethodPost, submitPath, body, &response); err != nil {
		return "", err
	}
	if response.RunID == 0 {
		return "", &Error{Action: "submit a run", Host: w.host, Message: "the answer has no run_id"}
	}
	return strconv.FormatInt(response.RunID, 10), nil
}

// Run returns how a run is.
func (w *Workspace) Run(ctx context.Context, id string) (*jobs.Run, error) {
	run := &jobs.Run{}
	return run, w.call(ctx, "look at run "+id, http.MethodGet, getPath, map[string]any{"run_id": id}, run)
}

// Output returns what a run of one task has written, and why it failed.
func (w *Workspace) Output(ctx context.Context, id string) (*jobs.RunOutput, error) {
	output := &jobs.RunOutput{}
	return output, w.call(ctx, "get the output of run "+id, http.MethodGet, outputPath, map[string]any{"run_id": id}, output)
}

// Cancel asks a run to stop. A run that has ended is left as it is.
func (w *Workspace) Cancel(ctx context.Context, id string) error {
	body := fmt.Appendf(nil, `{"run_id": %s}`, id)
	return w.call(ctx, "cancel run "+id, http.MethodPost, cancelPath, body, nil)
}

// call makes a request, and makes it again after failures that may pass, for as long as the caller waits.
func (w *Workspace) call(ctx context.Context, action, method, path string, body, response any) error {
	pauses := &backoff.ExponentialBackOff{
		InitialInterval: 200 * time.Millisecond, Multiplier: 2, RandomizationFactor: 0.3, MaxInterval: 10 * time.Second,
	}
	refreshed := false
	for {
		err := w.attempt(ctx, action, method, path, body, response)
		if err == nil {
			return nil
		}
		// An OAuth token can be withdrawn before its time: the next one is asked for, once.
		if err.Unauthenticated() && !refreshed && w.credential.forget(w) {
			refreshed = true
			continue
		}
		pause := max(pauses.NextBackOff(), err.retryAfter)
		if !err.Transient() || !fits(ctx, pause) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// fits says whether there is time for a pause and another attempt before the caller gives up.
func fits(ctx context.Context, pause time.Duration) bool {
	const attempt = 100 * time.Millisecond
	deadline, limited := ctx.Deadline()
	return ctx.Err() == nil && (!limited || time.Until(deadline) > pause+attempt)
}

func (w *Workspace) attempt(ctx context.Context, action, method, path string, body, response any) *Error {
	var bearer string
	authorize := func(request *http.Request) (err error) {
		if bearer, err = w.credential.token(request.Context(), w); err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+bearer)
		if method == http.MethodPost {
			request.Header.Set("Content-Type", "application/json")
		}
		return nil
	}
	err := w.api.Do(ctx, method, "https://"+w.host+path, httpclient.WithRequestVisitor(authorize),
		httpclient.WithRequestData(body), httpclient.WithResponseUnmarshal(response))
	if err == nil {
		return nil
	}
	return describe(err, action, w.host, bearer, w.credential.secret())
}
