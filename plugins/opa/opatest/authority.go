package opatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// Authority issues certificates.
type Authority struct {
	// File has its own certificate, PEM.
	File string

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Pair is a certificate with its key, PEM.
type Pair struct{ Certificate, Key string }

// NewAuthority makes one for the rest of the test.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{}
	a.certificate = &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	pair, key := sign(t, a.certificate, a.certificate, nil)
	a.key = key
	a.File = write(t, "authority.pem", pair.Certificate)
	return a
}

// Issue makes a certificate for clients and, on this machine, for servers.
func (a *Authority) Issue(t testing.TB, name string) Pair {
	t.Helper()
	pair, _ := sign(t, &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.certificate, a.key)
	return pair
}

// Serving are the arguments of a server with a certificate of this authority.
func (a *Authority) Serving(t testing.TB) []string {
	t.Helper()
	pair := a.Issue(t, "opa")
	return []string{
		"--tls-cert-file=" + write(t, "server.pem", pair.Certificate),
		"--tls-private-key-file=" + write(t, "server.key", pair.Key),
	}
}

// Demanding are the arguments of a server that answers only who has a certificate of this authority.
func (a *Authority) Demanding() []string {
	return []string{"--authentication=tls", "--tls-ca-cert-file=" + a.File}
}

// sign makes a certificate with a new key. Without the parent's key it is signed by its own.
func sign(t testing.TB, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (Pair, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	certificate, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return Pair{text("CERTIFICATE", certificate), text("PRIVATE KEY", secret)}, key
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	return filepath.Join(Write(t, map[string]string{name: text}), name)
}
