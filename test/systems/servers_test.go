package systems

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/wait"
)

// server runs a program that serves on a port until the test ends, from when it listens.
func server(t *testing.T, port int, command *exec.Cmd) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = command.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		<-ended
		log.Close()
		if t.Failed() {
			t.Logf("%s, at last:\n%s", command, tail(log.Name()))
		}
	})
	wait.Until(t, command.Path+" listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s has ended", command)
		default:
		}
		conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// tail is the end of a log.
func tail(file string) string {
	const most = 4 << 10
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-most):])
}

// held is a proxy in front of a system's API that says of every job that it is still running, until it is released.
type held struct {
	url      string
	released atomic.Bool
}

// hold starts one that changes, in answers for which about says so, one text into another.
func hold(t *testing.T, target string, about func(*http.Request) bool, done, running string) *held {
	t.Helper()
	h := &held{}
	h.url = rewriting(t, target, func(request *http.Request, body []byte) []byte {
		if h.released.Load() || !about(request) {
			return body
		}
		return bytes.ReplaceAll(body, []byte(done), []byte(running))
	})
	return h
}

// rewriting is the address of a proxy in front of a system, which gives change each answer's body and answers what that makes of it.
func rewriting(t *testing.T, target string, change func(request *http.Request, body []byte) []byte) string {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Header.Del("Accept-Encoding") // so that answers can be read
		},
		ModifyResponse: func(response *http.Response) error {
			body, err := io.ReadAll(response.Body)
			if err != nil {
				return err
			}
			changed := change(response.Request, body)
			response.Body = io.NopCloser(bytes.NewReader(changed))
			if len(changed) != len(body) {
				response.ContentLength = int64(len(changed))
				response.Header.Set("Content-Length", strconv.Itoa(len(changed)))
			}
			return nil
		},
		Transport: transport,
	})
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	return server.URL
}

// freePort finds a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens on tcp
}

// getJSON reads a JSON answer.
func getJSON(t *testing.T, url string, into any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		t.Fatalf("GET %s: %v\n%s", url, err, content)
	}
}

// privateKey is a new RSA key as PEM.
func privateKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// googleAccount is a service account whose tokens a local server hands out: its file, and what nobody may see of it.
func googleAccount(t *testing.T) (file string, secrets []string) {
	t.Helper()
	const token = "token-of-the-account"
	key := privateKey(t)
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Form.Get("assertion") == "" {
			http.Error(w, `{"error": "invalid_grant"}`, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token": "`+token+`", "expires_in": 3600, "token_type": "Bearer"}`)
	}))
	t.Cleanup(tokens.Close)
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "analytics", "private_key_id": "local", "private_key": key,
		"client_email": "connector@analytics.iam.gserviceaccount.com", "client_id": "1", "token_uri": tokens.URL + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(secretFile(t, string(account)), "file://"), append(lines(key), token)
}

// secretFile writes a secret to a file, and gives where a host's configuration says that it is.
func secretFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + file
}

// lines are lines of a key's base64.
func lines(pem string) []string { return strings.Split(pem, "\n")[2:4] }
