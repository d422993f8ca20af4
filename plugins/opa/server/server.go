// Package server asks an OPA server for decisions, over its REST API: POST /v1/data/<policy>.
package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/agenthost/agenthost/plugins/opa/policy"
)

// Options say where the server is and how it is asked.
type Options struct {
	URL string
	// Token gives the bearer token, anew for each decision; nil for none.
	Token func() (string, error)
	// Roots are the authorities to trust; nil for the system's.
	Roots *x509.CertPool
	// Certificate gives the client's own; nil for none.
	Certificate func() (*tls.Certificate, error)
	// Attempts is how often one question is put at most.
	Attempts uint
	// Lenient makes a built-in function that fails undefined, instead of an error.
	Lenient bool
	// DecisionLimit is the size of a decision at most. What OPA says around it is not part of that.
	DecisionLimit int64
}

// around bounds what an answer has besides the decision: its id, metrics and where the policies come from.
const around = 64 << 10

// Server is an OPA server.
type Server struct {
	options Options
	base    *url.URL
	client  *http.Client
}

// New does not call the server: one that is away must not keep a plugin from starting.
func New(options Options) (*Server, error) {
	base, err := url.Parse(options.URL)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 32
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: options.Roots}
	if options.Certificate != nil {
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return options.Certificate()
		}
	}
	client := &http.Client{
		Transport: transport,
		// A token goes to the server that was configured, not to where an answer points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Server{options, base, client}, nil
}

// Close ends idle connections.
func (s *Server) Close() { s.client.CloseIdleConnections() }

// Decide asks the server, and again after a failure that may pass, within the context's deadline.
func (s *Server) Decide(ctx context.Context, question policy.Question) (policy.Answer, error) {
	var token string
	if s.options.Token != nil {
		var err error
		if token, err = s.options.Token(); err != nil {
			return policy.Answer{}, &policy.Failure{Code: "OPAUnauthorized", Err: err}
		}
	}
	body, err := json.Marshal(map[string]json.RawMessage{"input": question.Input})
	if err != nil {
		return policy.Answer{}, policy.Broken("the input is no JSON: %w", err)
	}
	var last error
	ask := func() (policy.Answer, error) {
		answer, err := s.ask(ctx, question.Path, body, token)
		var failed *policy.Failure
		if errors.As(err, &failed) && !failed.Transient {
			return answer, backoff.Permanent(err)
		}
		if ctx.Err() == nil {
			last = err
		}
		return answer, err
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 50*time.Millisecond, 2*time.Second
	answer, err := backoff.Retry(ctx, ask, backoff.WithBackOff(wait), backoff.WithMaxTries(s.options.Attempts), backoff.WithMaxElapsedTime(untilDeadline(ctx)))
	if err == nil {
		return answer, nil
	}
	return answer, s.explain(question.Path, token, err, last)
}

// untilDeadline makes Retry give up at once where a wait, such as a long Retry-After, would outlast the deadline.
func untilDeadline(ctx context.Context) time.Duration {
	if deadline, bounded := ctx.Deadline(); bounded {
		return max(time.Until(deadline), time.Millisecond)
	}
	return time.Minute
}

// explain gives the failure that was, without the token, whatever the server or a proxy made of it.
func (s *Server) explain(path policy.Path, token string, err, last error) error {
	var failed *policy.Failure
	if !errors.As(err, &failed) && !errors.As(last, &failed) {
		return fmt.Errorf("asking %s for %s: %w", s.base, path, err)
	}
	message := fmt.Sprintf("asking %s for %s: %v", s.base, path, failed.Err)
	if token != "" {
		message = strings.ReplaceAll(message, token, "[secret]")
	}
	return &policy.Failure{Code: failed.Code, Transient: failed.Transient, User: failed.User, Err: errors.New(message)}
}

// ask asks once. A wait that the server asks for is a backoff.RetryAfterError beside the failure.
func (s *Server) ask(ctx context.Context, path policy.Path, body []byte, token string) (policy.Answer, error) {
	target := s.base.JoinPath(append([]string{"v1", "data"}, path...)...)
	query := url.Values{"metrics": {"true"}, "provenance": {"true"}}
	if !s.options.Lenient {
		query.Set("strict-builtin-errors", "true")
	}
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return policy.Answer{}, policy.Broken("%w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return policy.Answer{}, unreachable(err)
	}
	defer response.Body.Close()
	most := s.options.DecisionLimit + around
	text, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return policy.Answer{}, unreachable(err)
	}
	if response.StatusCode != http.StatusOK {
		return policy.Answer{}, refused(response, text)
	}
	if int64(len(text)) > most {
		return policy.Answer{}, policy.Broken("the decision is larger than %d bytes (the plugin's config key decision_limit)", s.options.DecisionLimit)
	}
	return read(text)
}

func unreachable(err error) error {
	// url.Error says the URL again, with its query.
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	var untrusted *tls.CertificateVerificationError
	var alert *net.OpError
	switch {
	case errors.As(err, &untrusted):
		return &policy.Failure{Code: "OPAUntrusted", Err: fmt.Errorf("its certificate is not trusted: %w (the plugin's config key server.ca_file)", err)}
	case errors.As(err, &alert) && alert.Op == "remote error" && strings.Contains(alert.Err.Error(), "certificate"):
		// With TLS 1.3 this comes only in place of an answer.
		return unauthorized("it does not accept the plugin's certificate: %w", err)
	case errors.Is(err, http.ErrSchemeMismatch):
		return &policy.Failure{Code: "OPARefused", Err: fmt.Errorf("%w (the plugin's config key server.url)", err)}
	}
	return &policy.Failure{Code: "OPAUnavailable", Transient: true, Err: err}
}

// unauthorized says that the server will not answer this plugin.
func unauthorized(format string, args ...any) *policy.Failure {
	return &policy.Failure{Code: "OPAUnauthorized", Err: fmt.Errorf(
		format+" (who the plugin is say its config keys server.token_secret and server.client_certificate_secret)", args...)}
}

// reply is the part of an answer of OPA's data API that counts here.
type reply struct {
	Result     json.RawMessage `json:"result"`
	DecisionID string          `json:"decision_id"`
	Metrics    map[string]any  `json:"metrics"`
	Provenance struct {
		Revision string `json:"revision"`
		Bundles  map[string]struct {
			Revision string `json:"revision"`
		} `json:"bundles"`
	} `json:"provenance"`
}

func read(text []byte) (policy.Answer, error) {
	var got reply
	if err := json.Unmarshal(text, &got); err != nil {
		return policy.Answer{}, &policy.Failure{Code: "OPAUnavailable", Transient: true, Err: fmt.Errorf("the answer is not OPA's: %w", err)}
	}
	revision := got.Provenance.Revision
	if len(got.Provenance.Bundles) > 0 {
		var all []string
		for name, bundle := range got.Provenance.Bundles {
			all = append(all, name+"="+bundle.Revision)
		}
		slices.Sort(all)
		revision = strings.Join(all, ",")
	}
	return policy.Answer{Result: got.Result, ID: got.DecisionID, Revision: revision, Metrics: got.Metrics}, nil
}

// complaint is OPA's error document.
type complaint struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Errors  []struct {
		Code     string `json:"code"`
		Message  string `json:"message"`
		Location struct {
			File string `json:"file"`
			Row  int    `json:"row"`
		} `json:"location"`
	} `json:"errors"`
}

// refused tells what an answer other than 200 means.
func refused(response *http.Response, text []byte) error {
	var said complaint
	_ = json.Unmarshal(text, &said) // A proxy's answer says what it says by its status.
	var details []string
	broken := false // the policy is
	for _, one := range said.Errors {
		detail := one.Code + ": " + one.Message
		if one.Location.File != "" || one.Location.Row > 0 {
			detail = fmt.Sprintf("%s:%d: %s", one.Location.File, one.Location.Row, detail)
		}
		details = append(details, detail)
		// An evaluation that was cancelled or broke inside OPA may work again.
		broken = broken || strings.HasPrefix(one.Code, "eval_") && one.Code != "eval_cancel_error" && one.Code != "eval_internal_error"
	}
	// OPA's errors about a path that cannot be compiled are a text of many lines.
	about, _, _ := strings.Cut(said.Message, "\n")
	broken = broken || said.Code == "internal_error" && strings.Contains(about, ": rego_")
	message := strings.TrimSpace(response.Status + " " + about)
	if len(details) > 0 {
		message += ": " + strings.Join(details, "; ")
	}
	failed := &policy.Failure{Err: errors.New(message)}
	switch code := response.StatusCode; {
	case broken:
		failed.Code, failed.User = "PolicyError", true
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return unauthorized("%s", message)
	case passes(code):
		failed.Code, failed.Transient = "OPAUnavailable", true
		if wait, asked := retryAfter(response.Header.Get("Retry-After")); asked {
			return errors.Join(failed, &backoff.RetryAfterError{Duration: wait})
		}
	default:
		failed.Code = "OPARefused"
	}
	return failed
}

// passes says whether a status may be another one the next time. That a server does not do something (501), or speaks no such
// HTTP (505), stays so.
func passes(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusLoopDetected, http.StatusNotExtended, http.StatusNetworkAuthenticationRequired:
		return false
	}
	return code >= http.StatusInternalServerError
}

// retryAfter reads the header: seconds or a date.
func retryAfter(header string) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(time.Until(at), 0), true
	}
	return 0, false
}
