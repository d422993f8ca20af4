package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// certificate writes a self-signed certificate for loopback and its key, and returns what trusts it.
func certificate(t *testing.T, directory string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{"cert.pem": public, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(filepath.Join(directory, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(public)
	return roots
}

// serve runs the command. stop ends its input, and waits until it has stopped by itself.
func serve(t *testing.T, arguments ...string) (host string, stop func()) {
	t.Helper()
	command := exec.Command(agenttest.Build(t, "."), arguments...)
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { input.Close() })
	var ready struct{ Host, URL string }
	if err := json.NewDecoder(output).Decode(&ready); err != nil {
		t.Fatal(err)
	}
	if ready.URL != "https://"+ready.Host {
		t.Errorf("the url of %s is %s", ready.Host, ready.URL)
	}
	return ready.Host, func() {
		input.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("it did not stop by itself: %v", err)
		}
	}
}

// caller makes calls of one who trusts the roots.
func caller(t *testing.T, host string, roots *x509.CertPool) func(method, path, body string) string {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return func(method, path, body string) string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "https://"+host+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer dapi-a")
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		data, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
}

// submit makes a run, and returns its id.
func submit(t *testing.T, call func(method, path, body string) string, body string) string {
	t.Helper()
	made := call(http.MethodPost, "/api/2.1/jobs/runs/submit", body)
	var run struct {
		ID json.Number `json:"run_id"`
	}
	if err := json.Unmarshal([]byte(made), &run); err != nil || run.ID == "" {
		t.Fatalf("%s: %v", made, err)
	}
	return run.ID.String()
}

const odd = `{"run_name": "odd", "existing_cluster_id": "1", "notebook_task": {"notebook_path": "/n"}}`

func TestTheCommandServesScriptedLivesAndStopsWithItsInput(t *testing.T) {
	directory := t.TempDir()
	roots := certificate(t, directory)
	lives := filepath.Join(directory, "lives.json")
	if err := os.WriteFile(lives, []byte(`{"odd": [{"state": {"life_cycle_state": "BLOCKED"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	host, stop := serve(t, "-token", "dapi-a=ada", "-lives", lives,
		"-cert", filepath.Join(directory, "cert.pem"), "-key", filepath.Join(directory, "key.pem"))
	call := caller(t, host, roots)
	run := submit(t, call, odd)
	if seen := call(http.MethodGet, "/api/2.1/jobs/runs/get?run_id="+run, ""); !strings.Contains(seen, "BLOCKED") {
		t.Errorf("got %s", seen)
	}
	stop()
}

func TestRunsWriteTheOutputsThatTheirArgumentsAskFor(t *testing.T) {
	directory := t.TempDir()
	authority, folder := filepath.Join(directory, "authority.pem"), filepath.Join(directory, "n0", "0")
	host, stop := serve(t, "-token", "dapi-a=ada", "-authority", authority, "-work")
	content, err := os.ReadFile(authority)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(content)
	call := caller(t, host, roots)
	submit(t, call, odd)
	run := submit(t, call, `{"existing_cluster_id": "1", "git_source": {"git_url": "https://example.com/x", "git_provider": "gitHub", "git_commit": "1"},
		"spark_python_task": {"python_file": "x.py", "source": "GIT",
		"parameters": ["--output-prefix", "`+folder+`", "--number", "7", "--text", "für"]}}`)
	if got, want := strings.TrimSpace(call(http.MethodGet, "/answers", "")), `{"`+run+`":["50","rüf"]}`; got != want {
		t.Errorf("the runs answered %s, want %s", got, want)
	}
	if content, err = os.ReadFile(filepath.Join(folder, "outputs.pb")); err != nil {
		t.Fatal(err)
	}
	var outputs core.LiteralMap
	if err := proto.Unmarshal(content, &outputs); err != nil {
		t.Fatal(err)
	}
	primitive := func(name string) *core.Primitive { return outputs.GetLiterals()[name].GetScalar().GetPrimitive() }
	if number, text := primitive("number").GetInteger(), primitive("text").GetStringValue(); number != 50 || text != "rüf" {
		t.Errorf("the outputs are %d and %q", number, text)
	}
	stop()
}
