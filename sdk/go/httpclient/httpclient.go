// Package httpclient is for an agent's calls to a service:
//
//	client := httpclient.New(nil) // one for the plugin
//
//	request, err := http.NewRequestWithContext(ctx, "GET", url, nil) // with the call's context
//	response, err := client.Do(request)
//
// A service that is busy (429, 503) is asked again when it says so (Retry-After), or else after 250 ms, 500 ms, …, and so is one that
// cannot be reached or fails (5xx) where asking again does no harm: GET, HEAD, OPTIONS, PUT and DELETE. All that is within the
// deadline of the context: where the next try would come too late, there is none. Requests carry the trace that the agent's call
// belongs to (W3C Trace Context). What is left is UNAVAILABLE, which says that it is the service's fault, and Flyte's to repeat.
package httpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agent "github.com/agenthost/agenthost/sdk/go"
)

const (
	tries     = 6 // besides the first
	firstWait = 250 * time.Millisecond
	longest   = 10 * time.Second // between two tries, where the service does not say how long
	rejected  = 4 << 10          // of the body of a last answer, for the error
)

// harmless are the methods that may be called again whatever became of the first call.
var harmless = []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete}

// New returns a client. The transport is for authentication and the like; nil is http.DefaultTransport, or one with its own pool.
func New(transport http.RoundTripper) *http.Client {
	client := retryablehttp.NewClient()
	client.Logger = nil
	if transport != nil {
		client.HTTPClient.Transport = transport
	}
	client.HTTPClient.Transport = traced{client.HTTPClient.Transport}
	client.RetryMax, client.RetryWaitMin, client.RetryWaitMax = tries, firstWait, longest
	client.CheckRetry = again
	client.ErrorHandler = givenUp
	return client.StandardClient()
}

// again says whether a request is to be made once more.
func again(ctx context.Context, response *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	retry, reason := retryablehttp.DefaultRetryPolicy(ctx, response, err)
	if !retry {
		return false, reason
	}
	if response == nil {
		return unbegun(err), nil
	}
	busy := response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable
	if !busy && !slices.Contains(harmless, response.Request.Method) {
		return false, nil
	}
	wait := retryablehttp.DefaultBackoff(0, 0, 0, response) // what Retry-After says
	if end, bounded := ctx.Deadline(); bounded && time.Until(end) < wait {
		return false, unavailable(response)
	}
	return true, nil
}

// unbegun says whether a request without an answer may be made again: it does no harm, or there was no connection to send it on.
func unbegun(err error) bool {
	var sending *url.Error
	var connecting *net.OpError
	return errors.As(err, &connecting) && connecting.Op == "dial" ||
		errors.As(err, &sending) && slices.ContainsFunc(harmless, func(method string) bool { return strings.EqualFold(method, sending.Op) })
}

// unavailable is the error of a service's last answer, which it closes.
func unavailable(response *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(response.Body, rejected)) // the status is what counts
	_ = response.Body.Close()
	later := ""
	if after := response.Header.Get("Retry-After"); after != "" {
		later = ", and to be asked again after " + after
	}
	return agent.Unavailable("%s %s answers %s%s: %s", response.Request.Method, response.Request.URL.Redacted(), response.Status, later, said)
}

// givenUp is the error of a request that is not made any more.
func givenUp(response *http.Response, err error, tries int) (*http.Response, error) {
	switch {
	case status.Code(err) == codes.Unavailable, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, err
	case err != nil:
		return nil, agent.Unavailable("after %d tries: %w", tries, err)
	}
	return nil, fmt.Errorf("after %d tries: %w", tries, unavailable(response))
}

// traced tells services which trace a request belongs to.
type traced struct{ next http.RoundTripper }

func (t traced) RoundTrip(request *http.Request) (*http.Response, error) {
	trace := agent.TraceContext(request.Context())
	if len(trace) == 0 {
		return t.next.RoundTrip(request)
	}
	request = request.Clone(request.Context())
	for name, value := range trace {
		if request.Header.Get(name) == "" { // or instrumentation did it, with a span of its own
			request.Header.Set(name, value)
		}
	}
	return t.next.RoundTrip(request)
}
