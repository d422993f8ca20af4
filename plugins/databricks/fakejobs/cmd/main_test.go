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

func TestTheCommandServesScriptedLivesAndStopsWithItsInput(t *testing.T) {
	directory := t.TempDir()
	roots := certificate(t, directory)
	lives := filepath.Join(directory, "lives.json")
	if err := os.WriteFile(lives, []byte(`{"odd": [{"state": {"life_cycle_state": "BLOCKED"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(agenttest.Build(t, "."), "-token", "dapi-a=ada", "-lives", lives,
		"-cert", filepath.Join(directory, "cert.pem"), "-key", filepath.Join(directory, "key.pem"))
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
	defer input.Close()
	var ready struct{ Host string }
	if err := json.NewDecoder(output).Decode(&ready); err != nil {
		t.Fatal(err)
	}

	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	call := func(method, path, body string) string {
		request, err := http.NewRequestWithContext(t.Context(), method, "https://"+ready.Host+path, strings.NewReader(body))
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
	made := call(http.MethodPost, "/api/2.1/jobs/runs/submit", `{"run_name": "odd", "existing_cluster_id": "1", "notebook_task": {"notebook_path": "/n"}}`)
	var run struct {
		ID json.Number `json:"run_id"`
	}
	if err := json.Unmarshal([]byte(made), &run); err != nil || run.ID == "" {
		t.Fatalf("%s: %v", made, err)
	}
	if seen := call(http.MethodGet, "/api/2.1/jobs/runs/get?run_id="+run.ID.String(), ""); !strings.Contains(seen, "BLOCKED") {
		t.Errorf("got %s", seen)
	}

	input.Close()
	if err := command.Wait(); err != nil {
		t.Errorf("it did not stop by itself: %v", err)
	}
}
