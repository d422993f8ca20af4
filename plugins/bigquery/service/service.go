// Package service is BigQuery's REST API as the agent needs it: four calls, each made again for as long as that is safe and
// the caller waits, and errors that say what BigQuery said.
package service

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
	"google.golang.org/api/bigquery/v2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
)

// Scope is what credentials must be good for.
const Scope = bigquery.BigqueryScope

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
	jobs      *bigquery.JobsService
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
	client, err := signing(transport, options.Credentials)
	if err != nil {
		return nil, err
	}
	clientOptions := []option.ClientOption{option.WithHTTPClient(client)}
	if options.Endpoint != "" {
		endpoint, err := basePath(options.Endpoint)
		if err != nil {
			return nil, err
		}
		clientOptions = append(clientOptions, option.WithEndpoint(endpoint))
	}
	// Not a call's context: the service outlives it.
	api, err := bigquery.NewService(context.Background(), clientOptions...)
	if err != nil {
		return nil, err
	}
	return &Service{jobs: api.Jobs, retry: options.Retry, transport: transport}, nil
}

// Close lets go of the connections that no call uses.
func (s *Service) Close() { s.transport.CloseIdleConnections() }

// signing is a client that signs its calls, if there are credentials to sign them with.
func signing(transport *http.Transport, credentials *auth.Credentials) (*http.Client, error) {
	if credentials == nil {
		return &http.Client{Transport: transport}, nil
	}
	return httptransport.NewClient(&httptransport.Options{Credentials: credentials, BaseRoundTripper: transport, DisableTelemetry: true})
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

// Insert starts a job. Its id makes the call safe to repeat: a second one is answered with Duplicate.
func (s *Service) Insert(ctx context.Context, ref Ref, config *bigquery.JobConfiguration, userAgent string) (*bigquery.Job, error) {
	job := &bigquery.Job{
		Configuration: config,
		JobReference:  &bigquery.JobReference{ProjectId: ref.Project, Location: ref.Location, JobId: ref.ID},
	}
	return retried(ctx, s.retry, "start "+ref.String(), func(ctx context.Context) (*bigquery.Job, error) {
		call := s.jobs.Insert(ref.Project, job).Context(ctx)
		setUserAgent(call.Header(), userAgent)
		return call.Do()
	})
}

// Get gives a job as it is now; of everything in it, or of the fields that are named.
func (s *Service) Get(ctx context.Context, ref Ref, fields ...googleapi.Field) (*bigquery.Job, error) {
	return retried(ctx, s.retry, "look at "+ref.String(), func(ctx context.Context) (*bigquery.Job, error) {
		call := s.jobs.Get(ref.Project, ref.ID).Context(ctx)
		if ref.Location != "" {
			call = call.Location(ref.Location)
		}
		if len(fields) > 0 {
			call = call.Fields(fields...)
		}
		return call.Do()
	})
}

// Cancel asks BigQuery to stop a job, and does not wait until it has.
func (s *Service) Cancel(ctx context.Context, ref Ref) error {
	_, err := retried(ctx, s.retry, "cancel "+ref.String(), func(ctx context.Context) (*bigquery.JobCancelResponse, error) {
		call := s.jobs.Cancel(ref.Project, ref.ID).Context(ctx)
		if ref.Location != "" {
			call = call.Location(ref.Location)
		}
		return call.Do()
	})
	return err
}

// Rows is how many rows a finished query's result has.
func (s *Service) Rows(ctx context.Context, ref Ref) (uint64, error) {
	return retried(ctx, s.retry, "count the rows of "+ref.String(), func(ctx context.Context) (uint64, error) {
		call := s.jobs.GetQueryResults(ref.Project, ref.ID).Context(ctx).MaxResults(0).Fields("totalRows")
		if ref.Location != "" {
			call = call.Location(ref.Location)
		}
		result, err := call.Do()
		if err != nil {
			return 0, err
		}
		return result.TotalRows, nil
	})
}

func setUserAgent(header http.Header, userAgent string) {
	if userAgent != "" {
		header.Set("User-Agent", userAgent)
	}
}
