// Package service is Google's client of BigQuery as the agent needs it: four calls, each made again for as long as that is
// safe and the caller waits, and errors that say what BigQuery said.
package service

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/bigquery"
	"google.golang.org/api/option"
)

// Scope is what credentials must be good for.
const Scope = bigquery.Scope

// Options say how to reach BigQuery.
type Options struct {
	// Endpoint is where another than Google's own service is, such as an emulator: http://host:port. Empty for Google's.
	Endpoint string
	// Credentials sign the calls; nil: they are not signed.
	Credentials *auth.Credentials
	Retry       Retry
}

// Service makes the calls, over connections that it keeps. It is for any number of goroutines.
type Service struct {
	options   []option.ClientOption
	retry     Retry
	transport *http.Transport
}

// Ref says which job is meant. Location may be empty for jobs in the US and the EU, which BigQuery finds by itself.
type Ref struct{ Project, Location, ID string }

func (r Ref) String() string {
	if r.Location == "" {
		return fmt.Sprintf("job %s in project %s", r.ID, r.Project)
	}
	return fmt.Sprintf("job %s in project %s, location %s", r.ID, r.Project, r.Location)
}

// New connects to nothing yet.
func New(options Options) (*Service, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// The default of two would open a connection for almost every one of many polls at a time.
	transport.MaxIdleConnsPerHost = transport.MaxIdleConns
	signed, err := signing(transport, options.Credentials)
	if err != nil {
		return nil, err
	}
	s := &Service{retry: options.Retry, transport: transport}
	s.options = append(s.options, option.WithHTTPClient(&http.Client{Transport: wire{signed}}))
	if options.Endpoint != "" {
		endpoint, err := basePath(options.Endpoint)
		if err != nil {
			return nil, err
		}
		s.options = append(s.options, option.WithEndpoint(endpoint))
	}
	return s, nil
}

// Close lets go of the connections that no call uses.
func (s *Service) Close() { s.transport.CloseIdleConnections() }

// signing is a transport that signs its calls, if there are credentials to sign them with.
func signing(transport *http.Transport, credentials *auth.Credentials) (http.RoundTripper, error) {
	if credentials == nil {
		return transport, nil
	}
	client, err := httptransport.NewClient(&httptransport.Options{Credentials: credentials, BaseRoundTripper: transport, DisableTelemetry: true})
	if err != nil {
		return nil, err
	}
	return client.Transport, nil
}

// CheckEndpoint says what is wrong with an endpoint; the empty one is Google's.
func CheckEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	_, err := basePath(endpoint)
	return err
}

// basePath is where the API is at an endpoint that names no path of its own.
func basePath(endpoint string) (string, error) {
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return "", fmt.Errorf("%q is no http or https URL", endpoint)
	}
	if strings.Trim(parsed.Path, "/") == "" {
		parsed.Path = "/bigquery/v2/"
	}
	return parsed.String(), nil
}

// client is one for the jobs of a project: a client starts jobs in its own only. What is worth keeping are the connections
// beneath, and those are the service's.
func (s *Service) client(project string) (*bigquery.Client, error) {
	// Not a call's context: a job keeps its client.
	client, err := bigquery.NewClient(context.Background(), project, s.options...)
	if err != nil {
		return nil, fmt.Errorf("BigQuery: cannot make a client for project %s: %w", project, err)
	}
	return client, nil
}

// Query is a query to run.
type Query struct {
	bigquery.QueryConfig
	// Settings are what else the job's configuration has, in the JSON of BigQuery's REST API: see the wire.
	Settings map[string]any
	// UserAgent is whom the call is made for.
	UserAgent string
}

// Insert starts a job. Its id makes the call safe to repeat: a second one is answered with Duplicate.
func (s *Service) Insert(ctx context.Context, ref Ref, query Query) (*Job, error) {
	client, err := s.client(ref.Project)
	if err != nil {
		return nil, err
	}
	x := &exchange{userAgent: query.UserAgent, settings: query.Settings}
	made, err := retried(ctx, s.retry, "start "+ref.String(), x, func(ctx context.Context) (*bigquery.Job, error) {
		run := client.Query(query.Q)
		run.QueryConfig = query.QueryConfig
		run.JobIDConfig = bigquery.JobIDConfig{JobID: ref.ID, Location: ref.Location, ProjectID: ref.Project}
		return run.Run(ctx)
	})
	if err != nil {
		return nil, err
	}
	return newJob(ref, made, x.said), nil
}

// Get gives a job as it is now.
func (s *Service) Get(ctx context.Context, ref Ref) (*Job, error) {
	client, err := s.client(ref.Project)
	if err != nil {
		return nil, err
	}
	x := &exchange{}
	found, err := retried(ctx, s.retry, "look at "+ref.String(), x, func(ctx context.Context) (*bigquery.Job, error) {
		return client.JobFromProject(ctx, ref.Project, ref.ID, ref.Location)
	})
	if err != nil {
		return nil, err
	}
	return newJob(ref, found, x.said), nil
}

// Cancel asks BigQuery to stop a job, and does not wait until it has.
func (s *Service) Cancel(ctx context.Context, job *Job) error {
	_, err := retried(ctx, s.retry, "cancel "+job.Ref.String(), &exchange{}, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, job.handle.Cancel(ctx)
	})
	return err
}

// Rows is how many rows a finished query's result has. It reads none of them.
func (s *Service) Rows(ctx context.Context, job *Job) (uint64, error) {
	return retried(ctx, s.retry, "count the rows of "+job.Ref.String(), &exchange{}, func(ctx context.Context) (uint64, error) {
		rows, err := job.handle.Read(ctx)
		if err != nil {
			return 0, err
		}
		return rows.TotalRows, nil
	})
}
