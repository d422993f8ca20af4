package verify

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// handshake is a handshake line taken apart: core version, application version, network, address, protocol, certificate.
type handshake struct {
	version          string
	network, address string
	certificate      string
}

const rightLine = "1|1|unix|<socket>|grpc|<certificate>"

// parseHandshake reads a line, or says which field is wrong.
func parseHandshake(line string) (*handshake, error) {
	fields := strings.Split(line, "|")
	for len(fields) < 6 {
		fields = append(fields, "")
	}
	switch {
	case fields[0] != "1":
		return nil, fmt.Errorf("its first field, go-plugin's core protocol version, is %q and not 1", fields[0])
	case fields[1] != fmt.Sprint(pluginv1.ProtocolVersion):
		return nil, fmt.Errorf("its second field, the version of the plugin protocol, is %q, though %d was all that was offered", fields[1], pluginv1.ProtocolVersion)
	case fields[2] != "unix" && fields[2] != "tcp":
		return nil, fmt.Errorf("its third field, the network, is %q and not unix or tcp", fields[2])
	case fields[3] == "":
		return nil, errors.New("its fourth field, the address, is empty")
	case fields[4] != "grpc":
		return nil, fmt.Errorf("its fifth field, the protocol, is %q and not grpc", fields[4])
	}
	return &handshake{version: fields[1], network: fields[2], address: fields[3], certificate: fields[5]}, nil
}

// parseCertificate reads the sixth field as go-plugin does: one certificate, DER, standard base64 without padding.
func (h *handshake) parseCertificate() (*x509.Certificate, error) {
	if h.certificate == "" {
		return nil, errors.New("the handshake line has no certificate, though PLUGIN_CLIENT_CERT asked for mutual TLS")
	}
	der, err := base64.RawStdEncoding.DecodeString(h.certificate)
	if err != nil {
		return nil, fmt.Errorf("the certificate is not standard base64 without padding%s: %w", guessEncoding(h.certificate), err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate is not the DER form of one X.509 certificate: %w", err)
	}
	return certificate, nil
}

func guessEncoding(text string) string {
	if _, err := base64.StdEncoding.DecodeString(text); err == nil {
		return " (it has padding)"
	}
	if strings.ContainsAny(text, "-_") {
		return " (it looks like the URL-safe alphabet)"
	}
	return ""
}

// checkCertificate says what of a certificate the host's TLS would not take.
func checkCertificate(certificate *x509.Certificate, now time.Time) error {
	if err := certificate.VerifyHostname("localhost"); err != nil {
		return fmt.Errorf("the certificate is not for localhost: %w", err)
	}
	if now.Before(certificate.NotBefore) || now.After(certificate.NotAfter) {
		return fmt.Errorf("the certificate is valid from %s to %s only", certificate.NotBefore.Format(time.RFC3339), certificate.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// trusted is the host's side of TLS, which trusts the certificate of the handshake line and nothing else; nil without TLS.
func (i *instance) trusted() (*tls.Config, error) {
	if i.identity == nil {
		return nil, nil
	}
	certificate, err := i.shake.parseCertificate()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	trusted := i.identity.Clone()
	trusted.RootCAs = pool
	return trusted, nil
}
