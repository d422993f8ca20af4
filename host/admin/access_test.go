package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/test/wait"
)

const secret = "0123456789abcdef"

// operated is a server on a real listener, that counts what it is made to do.
type operated struct {
	*Server
	log       *logged
	address   string
	reloads   atomic.Int32
	cancelled atomic.Int32

	operations atomic.Int32
	remote     atomic.Bool // requests seem to come from another machine
}

// far is a connection that seems to come from another machine while it should.
type far struct {
	net.Conn
	is *atomic.Bool
}

func (f far) RemoteAddr() net.Addr {
	if f.is.Load() {
		return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	}
	return f.Conn.RemoteAddr()
}

type farListener struct {
	net.Listener
	is *atomic.Bool
}

func (l farListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if _, isTCP := conn.(*net.TCPConn); err == nil && isTCP {
		conn = far{conn, l.is}
	}
	return conn, err
}

// logged is what was logged so far.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func serve(t *testing.T, network, address string) *operated {
	t.Helper()
	o := &operated{log: &logged{}}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	o.address = listener.Addr().String()
	none := func() string { return "" }
	o.Server = New(Options{
		Explain: explaining{}, Metrics: prometheus.NewRegistry(), Ready: func() bool { return true }, Plugins: func() []fleet.Status { return nil },
		WatchError: none, Rollbacks: func() int64 { return 0 }, Pending: func() []gateway.Pending { return nil },
		Log:    slog.New(slog.NewJSONHandler(o.log, &slog.HandlerOptions{Level: slog.LevelError})), // audit lines are written all the same
		Tokens: func(context.Context) []Token { return []Token{{Name: "ci", Secret: secret}, {Name: "none"}} }, TokenFile: "/somewhere/admin-1.token",
		Page: plainPage{},
		Operate: func(_ context.Context, _ string, _ fleet.Operation, send func(OperationLine)) {
			o.operations.Add(1)
			send(OperationLine{Report: &OperationReport{Action: "done"}})
		},
		Reload: func(_ context.Context, _ bool, send func(ReloadLine)) {
			o.reloads.Add(1)
			send(ReloadLine{Report: &ReloadReport{}})
		},
		CancelPending: func(_ context.Context, id string) error {
			if id == "panic" {
				panic(http.ErrAbortHandler)
			}
			if id != "known" {
				return errors.New("no such task")
			}
			o.cancelled.Add(1)
			return nil
		},
	})
	ended := make(chan error, 1)
	go func() { ended <- o.Serve(farListener{listener, &o.remote}) }()
	t.Cleanup(func() {
		if err := o.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return o
}

// ask sends a request, with headers as pairs; "Host" is one of them.
func (o *operated) ask(t *testing.T, method, path string, headers ...string) (int, string, http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+o.address+path, nil)
	transport := &http.Transport{DisableKeepAlives: true}
	if strings.HasPrefix(o.address, "/") {
		request, err = http.NewRequestWithContext(t.Context(), method, "http://any.example.com"+path, nil)
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", o.address)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		switch headers[i] {
		case "Host":
			request.Host = headers[i+1]
		case "Body":
			request.Body, request.ContentLength = io.NopCloser(strings.NewReader(headers[i+1])), int64(len(headers[i+1]))
		default:
			request.Header.Set(headers[i], headers[i+1])
		}
	}
	response, err := (&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(request)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body), response.Header
}

// audited are the audit lines so far.
func (o *operated) audited(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range bytes.Lines([]byte(o.log.String())) {
		var entry map[string]any
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if entry["msg"] == "operation" {
			lines = append(lines, entry)
		}
	}
	return lines
}

// Every operation there is, and every one that there will be, takes a token over TCP, on the host's own machine too: a plugin
// is there.
func TestOperatingOverTCPTakesAToken(t *testing.T) {
	o := serve(t, "tcp", "127.0.0.1:0")
	operations := 0
	for _, e := range o.endpoints() {
		method, path, _ := strings.Cut(e.pattern, " ")
		_, isOperation := e.handler.(operation)
		isQuestion := path == "/explain/meta" // which is bytes, and changes nothing
		if isOperation != (method == http.MethodPost) && !isQuestion && path != "/ui/login" && path != "/ui/logout" && path != "/ui/explain" {
			t.Errorf("%s: what is posted is an operation, and nothing else is", e.pattern)
		}
		if !isOperation {
			continue
		}
		operations++
		path = strings.ReplaceAll(path, "{id}", "known")
		for _, wrong := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Bearer " + secret[1:], "Bearer " + secret + "0", "Basic " + secret, secret} {
			headers := []string{"Authorization", wrong}
			if e.body == form {
				headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
			}
			code, text, header := o.ask(t, method, path, headers...)
			if code != http.StatusUnauthorized || header.Get("WWW-Authenticate") == "" || header.Get(TokenFileHeader) != "/somewhere/admin-1.token" {
				t.Errorf("%s with %q: %d %s", e.pattern, wrong, code, text)
			}
		}
	}
	if operations < 18 || o.reloads.Load() > 0 || o.cancelled.Load() > 0 {
		t.Errorf("of %d operations some were done: %d reloads, %d", operations, o.reloads.Load(), o.cancelled.Load())
	}
	for _, path := range []string{"/reload", "/pending/known/cancel"} {
		if code, text, _ := o.ask(t, http.MethodPost, path, "Authorization", "bearer "+secret); code >= 300 {
			t.Errorf("%s with the token: %d %s", path, code, text)
		}
	}
	if o.reloads.Load() != 1 || o.cancelled.Load() != 1 {
		t.Errorf("%d reloads, %d", o.reloads.Load(), o.cancelled.Load())
	}
}

func TestAnAuditLineTellsWhoDidWhatWithWhichOutcome(t *testing.T) {
	o := serve(t, "tcp", "127.0.0.1:0")
	for i, task := range []string{"known", "gone%0a", "panic", "known"} {
		var headers []string
		if i < 3 {
			headers = []string{"Authorization", "Bearer " + secret}
		}
		o.ask(t, http.MethodPost, "/pending/"+task+"/cancel", headers...)
		wait.Until(t, "there is a line of it", func() bool { return len(o.audited(t)) == i+1 })
	}
	lines := o.audited(t)
	for i, want := range []struct{ outcome, key, value string }{
		{"done", "changed", "task known is given up"}, {"failed", "error", "no such task"}, {"failed", "error", "it broke off"}, {"refused", "error", "takes a token"},
	} {
		line := lines[i]
		if line["outcome"] != want.outcome || line["operation"] != "cancel" || !strings.Contains(fmt.Sprint(line[want.key]), want.value) ||
			!strings.HasPrefix(fmt.Sprint(line["remote"]), "127.0.0.1:") || (line["token"] == "ci") != (i < 3) {
			t.Errorf("line %d: %v", i, line)
		}
	}
	if strings.Contains(o.log.String(), secret) {
		t.Error("the log has the token in it")
	}
}

func TestRefusedOperationsDoNotFillTheLog(t *testing.T) {
	o := serve(t, "tcp", "127.0.0.1:0")
	for range 10 * refusedBurst {
		o.ask(t, http.MethodPost, "/reload")
	}
	if lines := len(o.audited(t)); lines < refusedBurst || lines > 3*refusedBurst {
		t.Errorf("%d lines for %d refused operations", lines, 10*refusedBurst)
	}
}

// A page can have a name of its own lead here, and then asks under that name; or it asks from another site.
func TestPagesInBrowsersAreAnsweredNothing(t *testing.T) {
	o := serve(t, "tcp", "127.0.0.1:0")
	_, port, err := net.SplitHostPort(o.address)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/status", "/metrics", "/healthz", "/pending"} {
		for _, headers := range [][]string{
			{"Host", "evil.example"}, {"Host", "evil.example:" + port}, {"Host", "127.0.0.1.evil.example:" + port}, {"Host", "localhost.evil.example"},
			{"Origin", "http://evil.example"}, {"Origin", "null"}, {"Origin", "http://127.0.0.1:1"}, {"Origin", "%"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
		} {
			if code, text, _ := o.ask(t, http.MethodGet, path, headers...); code != http.StatusForbidden {
				t.Errorf("%s with %v: %d %s", path, headers, code, text)
			}
		}
		for _, headers := range [][]string{
			{"Host", "localhost:" + port}, {"Host", "agenthost:" + port}, {"Host", "[::1]:" + port}, {"Host", "agenthost.flyte.svc:" + port},
			{"Origin", "http://" + o.address}, {"Sec-Fetch-Site", "same-origin"}, {"Host", "host.example.com", "Authorization", "Bearer " + secret},
		} {
			if code, text, header := o.ask(t, http.MethodGet, path, headers...); code != http.StatusOK || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s with %v: %d %s %v", path, headers, code, text, header)
			}
		}
	}
	for _, headers := range [][]string{
		{"Origin", "http://evil.example"}, {"Sec-Fetch-Site", "cross-site"},
		{"Content-Type", "text/plain"}, {"Content-Type", "application/x-www-form-urlencoded", "Body", "a=b"}, {"Body", "a=b"}, {"Content-Type", "multipart/form-data"},
		{"Content-Type", "application/octet-stream", "Body", "{}"},
	} {
		if code, text, _ := o.ask(t, http.MethodPost, "/reload", append(headers, "Authorization", "Bearer "+secret)...); code != http.StatusForbidden && code != http.StatusUnsupportedMediaType {
			t.Errorf("a reload with %v: %d %s", headers, code, text)
		}
	}
	for _, kind := range []string{"application/json", "text/plain", "application/x-www-form-urlencoded"} {
		if code, text, _ := o.ask(t, http.MethodPost, "/explain/meta", "Authorization", "Bearer "+secret, "Content-Type", kind, "Body", "{}"); code != http.StatusUnsupportedMediaType || !strings.Contains(text, "application/octet-stream") {
			t.Errorf("bytes that are called %s: %d %s", kind, code, text)
		}
	}
	if code, text, _ := o.ask(t, http.MethodPost, "/reload", "Authorization", "Bearer "+secret, "Content-Type", "application/json; charset=utf-8", "Body", "{}"); code != http.StatusOK {
		t.Errorf("a reload with JSON: %d %s", code, text)
	}
	if o.reloads.Load() != 1 {
		t.Errorf("%d reloads", o.reloads.Load())
	}
}

func TestOverAUnixSocketTheProcessAtItsOtherEndSaysWhoItIs(t *testing.T) {
	o := serve(t, "unix", filepath.Join(t.TempDir(), "admin.sock"))
	if code, text, _ := o.ask(t, http.MethodPost, "/reload"); code != http.StatusOK || o.reloads.Load() != 1 {
		t.Fatalf("%d %s", code, text)
	}
	wait.Until(t, "there is a line of it", func() bool { return len(o.audited(t)) > 0 })
	lines := o.audited(t)
	if len(lines) != 1 || lines[0]["uid"] != float64(os.Geteuid()) || lines[0]["pid"] != float64(os.Getpid()) || lines[0]["outcome"] != "done" {
		t.Errorf("%v", lines)
	}
	if code, text, _ := o.ask(t, http.MethodGet, "/status"); code != http.StatusOK {
		t.Errorf("status: %d %s", code, text)
	}
	if code, text, _ := o.ask(t, http.MethodPost, "/reload", "Origin", "http://evil.example"); code != http.StatusForbidden {
		t.Errorf("for a page: %d %s", code, text)
	}
}

// A plugin can be of the host's user and reach its socket, in a sandbox too: the kernel's know nothing of sockets by their paths.
func TestWhatTheHostRunsMayNotAskIt(t *testing.T) {
	o := serve(t, "unix", filepath.Join(t.TempDir(), "admin.sock"))
	for _, detached := range []string{"", "-detached"} {
		child := exec.Command(os.Args[0], askMarker+detached, o.address)
		said, err := child.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(said), "HTTP/1.1 403 ") {
			t.Errorf("a child%s got %q, %v", detached, said, err)
		}
	}
	if o.reloads.Load() != 0 {
		t.Errorf("%d reloads", o.reloads.Load())
	}
}

const askMarker = "agenthost-ask"

// TestMain runs the tests, or asks a host as what it runs would: over a connection of its own, or detached over one that a child
// made, which is gone.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) < 3 || !strings.HasPrefix(os.Args[1], askMarker):
		os.Exit(m.Run())
	case os.Args[1] == askMarker:
		askOver(unixConnection(os.Args[2]))
	case os.Args[1] == askMarker+"-connect":
		unixConnection(os.Args[2]) // on a descriptor that the parent has too
	default:
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			panic(err)
		}
		shared := os.NewFile(uintptr(fd), "socket")
		child := exec.Command(os.Args[0], askMarker+"-connect", os.Args[2])
		child.ExtraFiles = []*os.File{shared}
		if said, err := child.CombinedOutput(); err != nil {
			panic(string(said))
		}
		askOver(fd)
	}
}

// unixConnection connects the descriptor that was handed down, or a new one.
func unixConnection(path string) (fd int) {
	fd = 3
	if os.Args[1] == askMarker {
		var err error
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); err != nil {
			panic(err)
		}
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		panic(err)
	}
	return fd
}

func askOver(fd int) {
	connection := os.NewFile(uintptr(fd), "connection")
	if _, err := connection.WriteString("POST /reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"); err != nil {
		panic(err)
	}
	if _, err := io.Copy(os.Stdout, connection); err != nil {
		panic(err)
	}
}

func TestProfilesAreServedOnRequestOnly(t *testing.T) {
	o := serve(t, "tcp", "127.0.0.1:0")
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1"} {
		if code, text, _ := o.ask(t, http.MethodGet, path, "Authorization", "Bearer "+secret); code != http.StatusNotFound {
			t.Errorf("%s: %d %.80s", path, code, text)
		}
	}
}
