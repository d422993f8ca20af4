package plugin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/agenthost/agenthost/host/plugin"
)

func TestARemotePluginIsReachedWithTLS(t *testing.T) {
	ours, dir := newAuthority(t, "ours"), t.TempDir()
	ca := ours.writeCertificate(dir, "ca.pem")
	cert, key := ours.writePair(dir, "host", "agenthost")
	for _, test := range []struct {
		name   string
		server *tls.Config
		host   string // of the address
		tls    plugin.RemoteTLS
	}{
		{"by address", &tls.Config{Certificates: ours.issue("127.0.0.1")}, "127.0.0.1", plugin.RemoteTLS{CA: ca}},
		{"by name", &tls.Config{Certificates: ours.issue("localhost")}, "localhost", plugin.RemoteTLS{CA: ca}},
		{"by the name of another", &tls.Config{Certificates: ours.issue("agents.example.com")}, "127.0.0.1", plugin.RemoteTLS{CA: ca, ServerName: "agents.example.com"}},
		{"with a certificate of the host", &tls.Config{Certificates: ours.issue("localhost"), ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.pool()},
			"localhost", plugin.RemoteTLS{CA: ca, Cert: cert, Key: key}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := startTLSServer(t, test.server)
			spec := remoteSpec("safe", server)
			spec.Address[0] = net.JoinHostPort(test.host, port(t, server.address))
			spec.TLS, spec.RemoteTLS = true, test.tls
			wantAnswersFrom(t, connectTo(t, spec, plugin.Pace{}), server.address)
		})
	}
}

func TestEachOfSeveralServersIsKnownByItsOwnName(t *testing.T) {
	ours, dir := newAuthority(t, "ours"), t.TempDir()
	one := startTLSServer(t, &tls.Config{Certificates: ours.issue("127.0.0.1")})
	other := startTLSServer(t, &tls.Config{Certificates: ours.issue("localhost")})
	spec := remoteSpec("pair", one)
	spec.Address = append(spec.Address, net.JoinHostPort("localhost", port(t, other.address)))
	spec.TLS, spec.RemoteTLS.CA = true, ours.writeCertificate(dir, "ca.pem")
	wantAnswersFrom(t, connectTo(t, spec, plugin.Pace{}), one.address, other.address)
}

func TestTLSThatDoesNotFitSaysWhatToDo(t *testing.T) {
	ours, theirs, dir := newAuthority(t, "ours"), newAuthority(t, "theirs"), t.TempDir()
	ca := ours.writeCertificate(dir, "ca.pem")
	cert, key := theirs.writePair(dir, "stranger", "agenthost")
	missing := filepath.Join(dir, "missing.pem")
	server := &tls.Config{Certificates: ours.issue("127.0.0.1")}
	mutual := &tls.Config{Certificates: ours.issue("127.0.0.1"), ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.pool()}
	for _, test := range []struct {
		name   string
		server *tls.Config // nil: without TLS
		off    bool
		tls    plugin.RemoteTLS
		step   string
		parts  []string
	}{
		{"server without", nil, false, plugin.RemoteTLS{CA: ca}, plugin.StepConnect, []string{"does not look like a TLS handshake", "tls: off"}},
		{"host without", server, true, plugin.RemoteTLS{}, plugin.StepConnect, []string{"tls: on"}},
		{"authority of the system", server, false, plugin.RemoteTLS{}, plugin.StepConnect, []string{"unknown authority", "tls_ca"}},
		{"other name", server, false, plugin.RemoteTLS{CA: ca, ServerName: "agents.example.com"}, plugin.StepConnect, []string{"agents.example.com", "tls_server_name"}},
		{"no certificate of the host", mutual, false, plugin.RemoteTLS{CA: ca}, plugin.StepConnect, []string{"tls_cert"}},
		{"a stranger's", mutual, false, plugin.RemoteTLS{CA: ca, Cert: cert, Key: key}, plugin.StepConnect, []string{"tls_cert"}},
		{"expired", &tls.Config{Certificates: ours.issueUntil(time.Now().Add(-time.Minute), "127.0.0.1")}, false, plugin.RemoteTLS{CA: ca}, plugin.StepConnect, []string{"expired", "renew"}},
		{"no such CA file", server, false, plugin.RemoteTLS{CA: missing}, plugin.StepPrepare, []string{"tls_ca", missing, "mounted"}},
		{"no certificate in it", server, false, plugin.RemoteTLS{CA: key}, plugin.StepPrepare, []string{"tls_ca", "no certificate"}},
		{"no such key", server, false, plugin.RemoteTLS{CA: ca, Cert: cert, Key: missing}, plugin.StepPrepare, []string{"tls_cert and tls_key", missing}},
		{"no key", server, false, plugin.RemoteTLS{CA: ca, Cert: cert}, plugin.StepPrepare, []string{"only one of tls_cert", "both"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := startTLSServer(t, test.server)
			spec := remoteSpec("unsafe", server)
			spec.TLS, spec.RemoteTLS = !test.off, test.tls
			wantNoConnection(t, spec, test.step, test.parts...)
		})
	}
}

func TestCertificatesThatWereReplacedAreInUseFromTheNextConnectionOn(t *testing.T) {
	before, after, dir := newAuthority(t, "before"), newAuthority(t, "after"), t.TempDir()
	server := startTLSServer(t, &tls.Config{Certificates: before.issue("127.0.0.1"), ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: before.pool()})
	spec := remoteSpec("rotating", server)
	spec.TLS = true
	spec.RemoteTLS.CA = before.writeCertificate(dir, "ca.pem")
	spec.RemoteTLS.Cert, spec.RemoteTLS.Key = before.writePair(dir, "host", "agenthost")
	remote := connectTo(t, spec, plugin.Pace{Down: maxWait})
	wantAnswersFrom(t, remote, server.address)

	server.die()
	after.writeCertificate(dir, "ca.pem")
	after.writePair(dir, "host", "agenthost")
	server.options = tlsOptions(&tls.Config{Certificates: after.issue("127.0.0.1"), ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: after.pool()})
	server.start()
	wantAnswersFrom(t, remote, server.address)
}

func startTLSServer(t *testing.T, config *tls.Config) *agentServer {
	t.Helper()
	server := newAgentServer(t)
	if config != nil {
		server.options = tlsOptions(config)
	}
	server.start()
	return server
}

func tlsOptions(config *tls.Config) []grpc.ServerOption {
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(config))}
}

func port(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// authority is a certificate authority.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// issue makes a certificate for a name or an IP address.
func (a *authority) issue(name string) []tls.Certificate {
	return a.issueUntil(time.Now().Add(time.Hour), name)
}

func (a *authority) issueUntil(end time.Time, name string) []tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
}

func (a *authority) writeCertificate(dir, file string) string {
	return writePEM(a.t, filepath.Join(dir, file), "CERTIFICATE", a.certificate.Raw)
}

// writePair writes a certificate for a name, and its key.
func (a *authority) writePair(dir, file, name string) (cert, key string) {
	a.t.Helper()
	pair := a.issue(name)[0]
	encoded, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	return writePEM(a.t, filepath.Join(dir, file+".pem"), "CERTIFICATE", pair.Certificate[0]),
		writePEM(a.t, filepath.Join(dir, file+"-key.pem"), "PRIVATE KEY", encoded)
}

func writePEM(t *testing.T, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
