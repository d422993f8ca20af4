package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"time"
)

// callerName is whom the host's certificate rules know.
const callerName = "flyte"

// identity is one certificate for both ends, which is its own authority. Its files are the host's.
type identity struct {
	cert, key string // files
	pem       []byte
	pair      tls.Certificate
	pool      *x509.CertPool
}

func newIdentity(cert, key string) (*identity, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: callerName}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	i := &identity{cert: cert, key: key, pool: x509.NewCertPool(), pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}}
	i.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	i.pool.AppendCertsFromPEM(i.pem)
	return i, errors.Join(
		os.WriteFile(cert, i.pem, 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600),
	)
}

// client is TLS of a caller, who shows the certificate or nothing.
func (i *identity) client(shows bool) *tls.Config {
	c := &tls.Config{RootCAs: i.pool, MinVersion: tls.VersionTLS12}
	if shows {
		c.Certificates = []tls.Certificate{i.pair}
	}
	return c
}
