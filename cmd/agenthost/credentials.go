package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// hostCredentials are by which a client of listen.grpc and the host know each other.
type hostCredentials struct {
	tls                                  bool
	ca, cert, key, serverName, tokenFile string
}

func (c *hostCredentials) bind(flags *pflag.FlagSet) {
	flags.BoolVar(&c.tls, "tls", false, "speak TLS with the host, as any of the next four does too")
	flags.StringVar(&c.ca, "ca", "", "PEM `file` with the certificates by which the host is known (default: those of the system)")
	flags.StringVar(&c.cert, "cert", "", "PEM `file` with a certificate to show to the host; it goes with --key")
	flags.StringVar(&c.key, "key", "", "PEM `file` with the key of --cert")
	flags.StringVar(&c.serverName, "server-name", "", "`name` that the host's certificate has (default: that of --address)")
	flags.StringVar(&c.tokenFile, "token-file", "", "`file` with a token to show to the host, over TLS only")
}

// overTLS says whether the host is spoken to over TLS.
func (c *hostCredentials) overTLS() bool {
	return c.tls || c.ca != "" || c.cert != "" || c.key != "" || c.serverName != ""
}

// given says whether there are any.
func (c *hostCredentials) given() bool { return c.overTLS() || c.tokenFile != "" }

// options are for the connection to the host.
func (c *hostCredentials) options() ([]grpc.DialOption, error) {
	if !c.overTLS() {
		if c.tokenFile != "" {
			return nil, errors.New("--token-file: a token is shown over TLS only, since others could read it: give --tls or --ca")
		}
		return []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, nil
	}
	settings := &tls.Config{ServerName: c.serverName, MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		encoded, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(encoded) {
			return nil, fmt.Errorf("--ca: %s holds no certificate in PEM form", c.ca)
		}
	}
	if (c.cert == "") != (c.key == "") {
		return nil, errors.New("--cert and --key go together")
	}
	if c.cert != "" {
		own, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("--cert and --key: %w", err)
		}
		settings.Certificates = []tls.Certificate{own}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(settings))}
	if c.tokenFile != "" {
		if _, err := tokenOf(c.tokenFile); err != nil {
			return nil, err
		}
		options = append(options, grpc.WithPerRPCCredentials(tokenInFile(c.tokenFile)))
	}
	return options, nil
}

// tokenInFile is a file with a token, which may be replaced while a task runs.
type tokenInFile string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (f tokenInFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := tokenOf(string(f))
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (tokenInFile) RequireTransportSecurity() bool { return true }

func tokenOf(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("--token-file: %s does not hold one token", file)
	}
	return token, nil
}
