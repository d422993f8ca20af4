package agenttest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Command starts a built plugin as the host does, as a go-plugin subprocess with mutual TLS, and stops it when the test
// ends. It gets the test's environment. Its log is Client.Output, and is shown when the test fails.
func Command(t testing.TB, path string, args ...string) *Client {
	t.Helper()
	return Start(t, exec.Command(path, args...))
}

// Start is Command for a command with its own environment or folder. Streams of the command must not be set.
func Start(t testing.TB, command *exec.Cmd) *Client {
	t.Helper()
	certificate, certificatePEM, err := newCertificate()
	if err != nil {
		t.Fatalf("agenttest: %v", err)
	}
	command.Env = append(command.Environ(), "PLUGIN_CLIENT_CERT="+certificatePEM)
	output := &output{}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: pluginv1.ProtocolVersion,
			MagicCookieKey:  pluginv1.MagicCookieKey, MagicCookieValue: pluginv1.MagicCookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{pluginv1.ProtocolVersion: {"agent": rawPlugin{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              command,
		SkipHostEnv:      true, // command.Env holds all of it.
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{certificate}, ServerName: "localhost", MinVersion: tls.VersionTLS12,
		},
		StartTimeout:    maxWait,
		Stderr:          output,
		SyncStdout:      &prefixed{output, "stdout stream: "},
		SyncStderr:      &prefixed{output, "stderr stream: "},
		Logger:          hclog.NewNullLogger(),
		GRPCDialOptions: []grpc.DialOption{callOptions()},
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s:\n%s", command.Path, output)
		}
	})
	protocol, err := client.Client()
	if err != nil {
		client.Kill()
		t.Fatalf("agenttest: %s does not start as a plugin: %v\n%s", command.Path, err, output)
	}
	conn := protocol.(*plugin.GRPCClient).Conn
	made := newClient(t, conn, func(ctx context.Context) error {
		defer client.Kill()
		// A plugin cuts the connection on which it is asked to shut down: an error is its answer.
		_ = conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
		for !client.Exited() {
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s has not stopped in time: killed", command.Path)
			case <-time.After(5 * time.Millisecond):
			}
		}
		return nil
	})
	made.output, made.pid = output, command.Process.Pid
	return made
}

// Build compiles the main package in a folder, such as ".", and returns the path of the program. It is removed when the
// test ends.
func Build(t testing.TB, folder string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "plugin")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = folder
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("agenttest: go build in %s: %v\n%s", folder, err, said)
	}
	return program
}

// newCertificate makes what the host makes: a P-256 certificate that is no CA.
func newCertificate() (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(text), nil
}

// rawPlugin makes go-plugin's client hand out its connection.
type rawPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (rawPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("agenttest serves nothing")
}

func (rawPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// output keeps what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(data)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// prefixed writes with a mark, to tell what came by another way.
type prefixed struct {
	out    *output
	prefix string
}

func (p *prefixed) Write(data []byte) (int, error) {
	if _, err := p.out.Write(append([]byte(p.prefix), data...)); err != nil {
		return 0, err
	}
	return len(data), nil
}
