package plugin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// RemoteTLS says by which certificates a host and a remote plugin know each other. The files, all PEM, are read anew for
// each connection that is made: a certificate that was rotated is in use from the next connection on.
type RemoteTLS struct {
	// CA is the file of the certificates that the server's must come from; those of the system where empty.
	CA string `json:",omitempty"`
	// Cert and Key are the files of the host's own certificate and its key, for servers that ask for one.
	Cert string `json:",omitempty"`
	Key  string `json:",omitempty"`
	// ServerName is the name that the server's certificate must have; the host of its address where empty.
	ServerName string `json:",omitempty"`
}

// credentials are for connections to the servers of a remote plugin.
func (s Spec) credentials() credentials.TransportCredentials {
	if !s.TLS {
		return insecure.NewCredentials()
	}
	return &fileCredentials{TransportCredentials: credentials.NewTLS(&tls.Config{ServerName: s.RemoteTLS.ServerName, MinVersion: tls.VersionTLS12}), files: s.RemoteTLS}
}

// fileCredentials are TLS credentials whose certificates are read for each handshake.
type fileCredentials struct {
	credentials.TransportCredentials // for all that does not depend on the files

	files RemoteTLS
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *fileCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := c.files.load()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(config).ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (c *fileCredentials) Clone() credentials.TransportCredentials {
	return &fileCredentials{TransportCredentials: c.TransportCredentials.Clone(), files: c.files}
}

func (t RemoteTLS) load() (*tls.Config, error) {
	config := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		encoded, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, advise(fmt.Errorf("tls_ca: %w", err), "check that the file is mounted and that the host's user may read it")
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(encoded) {
			return nil, advise(fmt.Errorf("tls_ca: %s holds no certificate in PEM form", t.CA), "it is a file with -----BEGIN CERTIFICATE----- in it")
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, advise(fmt.Errorf("there is only one of tls_cert (%q) and tls_key (%q)", t.Cert, t.Key), "set both, or none")
	}
	if t.Cert != "" {
		own, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, advise(fmt.Errorf("tls_cert and tls_key: %w", err), "both are PEM files, the key without a passphrase and that of the certificate")
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
