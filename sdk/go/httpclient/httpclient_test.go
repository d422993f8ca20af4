package httpclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/sdk/go/httpclient"
)

// service answers with one status after the other, the last one again and again; 0 is no answer.
type service struct {
	statuses []int
	after    string
	calls    int
	last     *http.Request
}

func (s *service) RoundTrip(request *http.Request) (*http.Response, error) {
	code := s.statuses[min(s.calls, len(s.statuses)-1)]
	s.calls++
	s.last = request
	if code == 0 {
		return nil, errors.New("the connection broke")
	}
	recorder := httptest.NewRecorder()
	if s.after != "" {
		recorder.Header().Set("Retry-After", s.after)
	}
	recorder.WriteHeader(code)
	fmt.Fprint(recorder, "said")
	response := recorder.Result()
	response.Request = request
	return response, nil
}

// call returns the answer's code and what it says.
func call(ctx context.Context, t *testing.T, s *service, method string) (code int, said string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, "http://service.test/jobs", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := httpclient.New(s).Do(request)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), errors.Join(err, response.Body.Close())
}

func TestAServiceIsAskedAgainWhereThatDoesNoHarm(t *testing.T) {
	for name, c := range map[string]struct {
		service service
		method  string
		status  int // 0: an error
		calls   int
		waits   time.Duration
	}{
		"it answers":                          {service{statuses: []int{200}}, "GET", 200, 1, 0},
		"busy, and says for how long":         {service{statuses: []int{429, 200}, after: "7"}, "POST", 200, 2, 7 * time.Second},
		"busy, and does not say":              {service{statuses: []int{503, 503, 200}}, "POST", 200, 3, 750 * time.Millisecond},
		"a failed GET":                        {service{statuses: []int{500, 0, 200}}, "GET", 200, 3, 750 * time.Millisecond},
		"a failed POST may have begun a job":  {service{statuses: []int{500}}, "POST", 500, 1, 0},
		"an unanswered POST, too":             {service{statuses: []int{0, 200}}, "POST", 0, 1, 0},
		"what is not there will not be there": {service{statuses: []int{404}}, "GET", 404, 1, 0},
		"never":                               {service{statuses: []int{502}}, "GET", 0, 7, 15750 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				code, said, err := call(t.Context(), t, &c.service, c.method)
				if c.status == 0 {
					if status.Code(err) != codes.Unavailable {
						t.Errorf("error = %v", err)
					}
				} else if err != nil || code != c.status || said != "said" {
					t.Errorf("%d %q, %v", code, said, err)
				}
				if took := time.Since(began); c.service.calls != c.calls || took != c.waits {
					t.Errorf("%d calls within %s, want %d within %s", c.service.calls, took, c.calls, c.waits)
				}
			})
		})
	}
}

func TestNobodyWaitsForATryThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		busy := &service{statuses: []int{503}, after: "60"}
		_, _, err := call(ctx, t, busy, "GET")
		if status.Code(err) != codes.Unavailable || time.Since(began) != 0 || !strings.Contains(err.Error(), "GET http://service.test/jobs answers 503 Service Unavailable, and to be asked again after 60: said") {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		down := &service{statuses: []int{500}}
		if _, _, err := call(ctx, t, down, "GET"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v", err)
		}
	})
}

func TestAServiceThatIsNotThereWasNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
		})
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://service.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := httpclient.New(refused).Do(request)
		if err == nil {
			t.Fatal(response.Status, response.Body.Close())
		}
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "after 7 tries") {
			t.Errorf("error = %v", err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func TestAServiceIsToldTheTraceOfTheCall(t *testing.T) {
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", trace, "tracestate", "a=b"))
	s := &service{statuses: []int{200}}
	if _, _, err := call(ctx, t, s, "GET"); err != nil || s.last.Header.Get("traceparent") != trace || s.last.Header.Get("tracestate") != "a=b" {
		t.Errorf("headers = %v, %v", s.last.Header, err)
	}
	if _, _, err := call(t.Context(), t, s, "GET"); err != nil || s.last.Header.Get("traceparent") != "" {
		t.Errorf("headers = %v, %v", s.last.Header, err)
	}
}
