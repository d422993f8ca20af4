package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/plugins/opa/opatest"
	"github.com/agenthost/agenthost/plugins/opa/policy"
	"github.com/agenthost/agenthost/plugins/opa/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "t0p-secret-token"

const rules = "package a\n\nallow if input.n > 1\n\nbroken if 1 / input.zero > 0\n"

func open(t *testing.T, url string, change func(*server.Options)) *server.Server {
	t.Helper()
	options := server.Options{URL: url, Attempts: 4, DecisionLimit: 1 << 20, Token: func() (string, error) { return token, nil }}
	if change != nil {
		change(&options)
	}
	s, err := server.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func decide(t *testing.T, s *server.Server, limit time.Duration, path policy.Path) (policy.Answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return s.Decide(ctx, policy.Question{Path: path, Input: []byte(`{"n": 2, "zero": 0}`)})
}

var allow = policy.Path{"a", "allow"}

// guarded is an OPA server that wants the token.
func guarded(t *testing.T) *opatest.Server {
	t.Helper()
	args := append(opatest.WithToken(t, token), opatest.Write(t, map[string]string{"a.rego": rules}))
	return opatest.Start(t, append(args, "--set", "decision_logs.console=true")...)
}

func failureOf(t *testing.T, err error) *policy.Failure {
	t.Helper()
	var failed *policy.Failure
	if !errors.As(err, &failed) {
		t.Fatalf("%v is no failure", err)
	}
	if strings.Contains(err.Error(), token) {
		t.Errorf("the token is in %q", err)
	}
	return failed
}

func TestAServerDecidesForWhoHasTheToken(t *testing.T) {
	opa := guarded(t)
	answer, err := decide(t, open(t, opa.URL, nil), time.Minute, allow)
	if err != nil || string(answer.Result) != "true" || answer.ID == "" || answer.Metrics["timer_rego_query_eval_ns"] == nil {
		t.Errorf("%+v, %v", answer, err)
	}
	if answer, err = decide(t, open(t, opa.URL, nil), time.Minute, policy.Path{"no", "such"}); err != nil || answer.Result != nil {
		t.Errorf("an undefined policy: %s, %v", answer.Result, err)
	}

	stranger := open(t, opa.URL, func(o *server.Options) { o.Token = nil })
	_, err = decide(t, stranger, time.Minute, allow)
	if failed := failureOf(t, err); failed.Code != "OPAUnauthorized" || failed.Transient || !strings.Contains(err.Error(), "401") {
		t.Errorf("without a token: %+v", failed)
	}
}

func TestTheServersRevisionIsThatOfItsBundles(t *testing.T) {
	opa := opatest.Start(t, "--bundle", opatest.Write(t, map[string]string{"a.rego": rules, ".manifest": `{"revision": "v3"}`}))
	answer, err := decide(t, open(t, opa.URL, nil), time.Minute, allow)
	if err != nil || !strings.HasSuffix(answer.Revision, "=v3") {
		t.Errorf("revision %q, %v", answer.Revision, err)
	}
}

func TestAPolicyThatBreaksIsNotAskedAgain(t *testing.T) {
	proxy := opatest.StartProxy(t, guarded(t).URL, nil)
	_, err := decide(t, open(t, proxy.URL, nil), time.Minute, policy.Path{"a", "broken"})
	failed := failureOf(t, err)
	if failed.Code != "PolicyError" || failed.Transient || !strings.Contains(err.Error(), "a.rego:5: eval_builtin_error") {
		t.Errorf("%+v", failed)
	}
	if asked := len(proxy.Requests()); asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	answer, err := decide(t, open(t, proxy.URL, func(o *server.Options) { o.Lenient = true }), time.Minute, policy.Path{"a", "broken"})
	if err != nil || answer.Result != nil {
		t.Errorf("lenient: %s, %v", answer.Result, err)
	}
}

func TestAServerThatStumblesIsAskedAgain(t *testing.T) {
	proxy := opatest.StartProxy(t, guarded(t).URL, func(n int, w http.ResponseWriter, _ *http.Request) bool {
		switch n {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case 3:
			panic(http.ErrAbortHandler) // the connection breaks
		}
		return n < 4
	})
	answer, err := decide(t, open(t, proxy.URL, nil), time.Minute, allow)
	if err != nil || string(answer.Result) != "true" {
		t.Fatalf("%s, %v", answer.Result, err)
	}
	requests := proxy.Requests()
	if len(requests) != 4 {
		t.Fatalf("asked %d times", len(requests))
	}
	if waited := requests[2].At.Sub(requests[1].At); waited < time.Second {
		t.Errorf("came back %s after being told to wait for 1s", waited)
	}
}

func TestAServerThatStaysAwayIsATransientFailure(t *testing.T) {
	for name, status := range map[string]int{"overloaded": 503, "throttled": 429, "broken": 500, "behind a gateway": 502} {
		proxy := opatest.StartProxy(t, "http://127.0.0.1:1", func(_ int, w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"message": "you sent ` + r.Header.Get("Authorization") + `"}`))
			return true
		})
		_, err := decide(t, open(t, proxy.URL, nil), time.Minute, allow)
		failed := failureOf(t, err)
		if failed.Code != "OPAUnavailable" || !failed.Transient || !strings.Contains(err.Error(), "Bearer [secret]") {
			t.Errorf("%s: %+v", name, failed)
		}
		if asked := len(proxy.Requests()); asked != 4 {
			t.Errorf("%s: asked %d times", name, asked)
		}
	}
	opa := guarded(t)
	opa.Stop()
	_, err := decide(t, open(t, opa.URL, nil), time.Minute, allow)
	if failed := failureOf(t, err); !failed.Transient || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a server that is gone: %+v", failed)
	}
}

func TestAWaitBeyondTheDeadlineIsNotBegun(t *testing.T) {
	proxy := opatest.StartProxy(t, "http://127.0.0.1:1", func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	// The deadline is so far away that the test would time out if it were waited for.
	_, err := decide(t, open(t, proxy.URL, nil), 50*time.Minute, allow)
	if failed := failureOf(t, err); !failed.Transient || !strings.Contains(err.Error(), "429") {
		t.Errorf("%+v", failed)
	}
}

func TestASilentServerEndsWithTheDeadline(t *testing.T) {
	proxy := opatest.StartProxy(t, "http://127.0.0.1:1", func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body) // the server sees that a caller is gone only when it has read what it sent
		<-r.Context().Done()
		return true
	})
	_, err := decide(t, open(t, proxy.URL, nil), 200*time.Millisecond, allow)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestARefusalIsFinal(t *testing.T) {
	for _, status := range []int{400, 403, 404, 302} {
		proxy := opatest.StartProxy(t, "http://127.0.0.1:1", func(n int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			return true
		})
		_, err := decide(t, open(t, proxy.URL, nil), time.Minute, allow)
		if failed := failureOf(t, err); failed.Transient {
			t.Errorf("%d: %+v", status, failed)
		}
		if asked := len(proxy.Requests()); asked != 1 {
			t.Errorf("%d: asked %d times", status, asked)
		}
	}
}

func TestAnAnswerThatIsNotOPAsIsNoDecision(t *testing.T) {
	for name, text := range map[string]string{"a page": "<html>", "too large": `{"result": "` + strings.Repeat("x", 2<<20) + `"}`} {
		proxy := opatest.StartProxy(t, "http://127.0.0.1:1", func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte(text))
			return true
		})
		answer, err := decide(t, open(t, proxy.URL, nil), time.Minute, allow)
		failureOf(t, err)
		if answer.Result != nil {
			t.Errorf("%s: %s", name, answer.Result)
		}
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	proxy := opatest.StartProxy(t, guarded(t).URL, nil)
	s := open(t, proxy.URL, nil)
	for range 20 {
		if _, err := decide(t, s, time.Minute, allow); err != nil {
			t.Fatal(err)
		}
	}
	if opened := proxy.Opened(); opened != 1 {
		t.Errorf("%d connections for 20 decisions", opened)
	}
}
