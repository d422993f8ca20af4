package adminclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
)

const (
	// maxAnswer is the largest answer that is read, in bytes.
	maxAnswer = 64 << 20
	// silence is for how long a stream may be silent of a host that does not say how often a line comes: one from before it did.
	silence = 10 * time.Minute
	// beats is how many of the lines that a host says will come may be missing.
	beats = 6
)

// limitError is why a request ends that has reached a limit.
type limitError struct {
	what  string
	after time.Duration
}

func (e limitError) Error() string { return fmt.Sprintf("%s %v", e.what, e.after) }

const (
	notAnswered = "it has not answered for"
	notEnded    = "it has not come to an end within"
)

// limited bounds a request that has one answer.
func (c Client) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := c.beginning()
	return context.WithTimeoutCause(ctx, limit, limitError{notAnswered, limit})
}

// bounded bounds a stream that ends, where there is a limit.
func (c Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.Limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, c.Limit, limitError{notEnded, c.Limit})
}

// beginning is how long an answer may take to begin.
func (c Client) beginning() time.Duration {
	if c.Limit > 0 {
		return c.Limit
	}
	return DefaultLimit
}

// ask sends a request. The caller closes the answer's body.
//
// What changes anything takes a token over TCP. So as not to be refused first, which the host would log, the client asks before
// where there is one.
func (c Client) ask(ctx context.Context, method, path string) (*http.Response, error) {
	if _, isSocket := config.UnixPath(c.Address); method == http.MethodPost && c.Token == "" && !isSocket {
		token, err := c.findToken(ctx)
		if err != nil {
			return nil, err
		}
		c.Token = token
	}
	return c.send(ctx, method, path, c.Token)
}

// findToken reads the token that a host on this machine has written for its user; empty: there is none.
func (c Client) findToken(ctx context.Context) (string, error) {
	isHere := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { isHere = isOfThisMachine(info.Conn) }})
	response, err := c.send(ctx, http.MethodGet, "/healthz", "")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if !isHere {
		return "", nil
	}
	return tokenIn(c.Address, response.Header.Get(admin.TokenFileHeader)), nil
}

// isOfThisMachine says that a connection does not leave the machine.
func isOfThisMachine(conn net.Conn) bool {
	from, local := conn.LocalAddr().(*net.TCPAddr)
	to, remote := conn.RemoteAddr().(*net.TCPAddr)
	return local && remote && (to.IP.IsLoopback() || to.IP.Equal(from.IP))
}

func (c Client) send(ctx context.Context, method, path, token string) (*http.Response, error) {
	base, dial := "http://"+c.Address, net.Dialer{Timeout: c.beginning()}
	// A connection for each request: what was asked leaves none behind.
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, ResponseHeaderTimeout: c.beginning()}
	if socket, ok := config.UnixPath(c.Address); ok {
		base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial.DialContext(ctx, "unix", socket) }
	} else {
		transport.DialContext = dial.DialContext // and no proxy
	}
	var body io.Reader
	if c.body != nil && method == http.MethodPost {
		body = bytes.NewReader(c.body)
	}
	request, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/octet-stream")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	switch {
	case err == nil:
		return response, nil
	case isSilence(ctx, err):
		return nil, fmt.Errorf("what listens at %s does not answer: nothing came within %v\nIs it an agenthost, and is it stuck? Its log may say; more time is given with --timeout", c.Address, c.beginning())
	}
	return nil, fmt.Errorf("no host answers at %s: %w\nIs it running, and is this its listen.admin? Another address is given with --admin host:port", c.Address, rootCause(err))
}

// isSilence says that a request ended because nothing came.
func isSilence(ctx context.Context, err error) bool {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return false
	}
	var limit limitError
	var timeout net.Error
	return errors.As(context.Cause(ctx), &limit) || errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(ctx.Err(), context.Canceled)
}

// rootCause is the end of a chain of errors: without the method and URL that net/http puts before it.
func rootCause(err error) error {
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Err
	}
	return err
}

// whole reads an answer to its end.
func (c Client) whole(ctx context.Context, response *http.Response) (json.RawMessage, error) {
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("the host at %s does not end its answer: %w", c.Address, context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("the host at %s broke off its answer: %w", c.Address, err)
	case len(raw) > maxAnswer:
		return nil, fmt.Errorf("the answer of the host at %s is larger than %d MiB", c.Address, maxAnswer>>20)
	}
	return raw, nil
}

// stream is an answer that comes line by line. Reading fails when nothing comes for too long.
type stream struct {
	response *http.Response
	ctx      context.Context //nolint:containedctx // it is the stream's own
	watchdog *time.Timer
	silence  time.Duration
	cancel   context.CancelCauseFunc
}

// stream sends a request whose answer is a stream, which ends by close.
func (c Client) stream(ctx context.Context, method, path string) (*stream, error) {
	s := &stream{silence: silence}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	response, err := c.ask(s.ctx, method, path) //nolint:bodyclose // close does
	if err != nil {
		s.cancel(nil)
		return nil, err
	}
	s.response = response
	if seconds, err := strconv.Atoi(response.Header.Get(admin.KeepAliveHeader)); err == nil && seconds > 0 {
		s.silence = min(beats*time.Duration(seconds)*time.Second, silence)
	}
	s.watchdog = time.AfterFunc(s.silence, func() { s.cancel(limitError{notAnswered, s.silence}) })
	return s, nil
}

// Read implements io.Reader.
func (s *stream) Read(into []byte) (int, error) {
	n, err := s.response.Body.Read(into)
	if n > 0 {
		s.watchdog.Reset(s.silence)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(s.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

func (s *stream) close() {
	s.watchdog.Stop()
	s.cancel(nil)
	s.response.Body.Close()
}
