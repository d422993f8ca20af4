// Package registry runs a real registry of artifacts in a test: docker's, as Debian packages it (scripts/registry).
package registry

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

// Registry is one that runs until the test ends.
type Registry struct {
	// Host is its host:port.
	Host string
	// Folder is where it keeps what it has.
	Folder string

	program string
	config  string
	process *exec.Cmd
	ended   <-chan struct{}
}

// Options are how it runs.
type Options struct {
	// User and Password, if there are any, are asked of everybody.
	User, Password string
	// Cert and Key have it speak TLS.
	Cert, Key string
}

// Start runs a registry on a free port of the loopback.
func Start(t testing.TB, options Options) *Registry {
	t.Helper()
	r := &Registry{Host: hosttest.FreeAddress(t), Folder: t.TempDir(), program: program(t)}
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q%s}\n", r.Folder, r.Host, options.tls())
	if options.User != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(options.Password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		users := filepath.Join(t.TempDir(), "users")
		if err := os.WriteFile(users, fmt.Appendf(nil, "%s:%s\n", options.User, hash), 0o600); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", users)
	}
	r.config = filepath.Join(t.TempDir(), "registry.yaml")
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Start(t)
	t.Cleanup(func() { r.Stop(t) })
	return r
}

func (o Options) tls() string {
	if o.Cert == "" {
		return ""
	}
	return fmt.Sprintf(", tls: {certificate: %q, key: %q}", o.Cert, o.Key)
}

// Start starts it again after Stop, with what it had.
func (r *Registry) Start(t testing.TB) {
	t.Helper()
	r.process = exec.Command(r.program, "serve", r.config)
	r.process.Env = []string{"OTEL_TRACES_EXPORTER=none"}
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func(process *exec.Cmd) {
		defer close(ended)
		_ = process.Wait() // Stop kills it
	}(r.process)
	r.ended = ended
	wait.Until(t, "the registry listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("the registry ended at once: somebody else may have taken %s", r.Host)
		default:
		}
		conn, err := net.DialTimeout("tcp", r.Host, time.Second)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// Stop ends it; what it has stays.
func (r *Registry) Stop(t testing.TB) {
	t.Helper()
	if r.process == nil {
		return
	}
	if err := r.process.Process.Kill(); err != nil {
		t.Error(err)
	}
	<-r.ended
	r.process = nil
}

// program makes the registry's, once in a test's process.
var program = func() func(testing.TB) string {
	made := sync.OnceValues(func() (string, error) {
		top, err := exec.Command("go", "env", "GOWORK").Output()
		if err != nil {
			return "", err
		}
		script := exec.Command(filepath.Join(filepath.Dir(strings.TrimSpace(string(top))), "scripts", "registry"))
		script.Stderr = os.Stderr
		path, err := script.Output()
		return strings.TrimSpace(string(path)), err
	})
	return func(t testing.TB) string {
		t.Helper()
		path, err := made()
		if err != nil {
			t.Fatalf("scripts/registry: %v", err)
		}
		return path
	}
}()

// Proxy stands before a registry and does with its answers what change says, until the test ends. It gives its host:port.
func (r *Registry) Proxy(t testing.TB, change func(*http.Response) error) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.Host})
	proxy.ModifyResponse = change
	proxy.FlushInterval = -1
	transport := &http.Transport{}
	proxy.Transport = transport
	server := &http.Server{Handler: proxy, ErrorLog: nil, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
		<-ended //nolint:errcheck // it was closed
		transport.CloseIdleConnections()
	})
	return listener.Addr().String()
}

// IsBlob says that an answer has the content of a blob.
func IsBlob(answer *http.Response) bool {
	return answer.Request.Method == http.MethodGet && strings.Contains(answer.Request.URL.Path, "/blobs/") && answer.StatusCode < 300
}

// Break lets so many bytes of an answer pass and then breaks the connection.
func Break(answer *http.Response, after int64) {
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(answer.Body, after), broken{}), answer.Body}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { panic(http.ErrAbortHandler) }
