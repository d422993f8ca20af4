package artifact

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// Registries says how registries are reached. Credentials are those of docker: the config.json in $DOCKER_CONFIG or ~/.docker, with its
// credential helpers, read anew each time.
type Registries struct {
	// PlainHTTP are the registries, host or host:port, that are spoken to without TLS. One on the loopback needs no mention: it is where
	// it answers so.
	PlainHTTP []string
	// CA is a PEM file of authorities beside the system's; empty: none.
	CA string
}

const (
	dialTimeout = 10 * time.Second
	// answerTimeout is how long a registry may take until it begins to answer.
	answerTimeout = 30 * time.Second
	// metadataMax is the most that a manifest, an index or a list of referrers may have.
	metadataMax = 4 << 20
)

// Repository is the repository of a reference. done closes its connections.
func (r Registries) Repository(ctx context.Context, ref Reference) (repository *remote.Repository, done func(), err error) {
	repository, err = remote.NewRepository(ref.Name())
	if err != nil {
		return nil, nil, explain(ref, err)
	}
	transport, err := r.transport()
	if err != nil {
		return nil, nil, explain(ref, err)
	}
	local := isLoopback(repository.Reference.Host())
	repository.PlainHTTP = slices.Contains(r.PlainHTTP, ref.Registry) || local && !speaksTLS(ctx, ref.Registry)
	repository.MaxMetadataBytes = metadataMax
	repository.ReferrerListMaxPages, repository.TagListMaxPages = 16, 1024
	repository.SkipReferrersGC = true
	client := &auth.Client{
		Client: &http.Client{Transport: transport, CheckRedirect: stayPrivate}, Cache: auth.NewCache(), Credential: credentialsOfDocker,
	}
	if local {
		client.BlockedRealmPrefixes = []netip.Prefix{} // its tokens may come from here too
	}
	client.SetUserAgent("agenthost")
	repository.Client = client
	return repository, transport.CloseIdleConnections, nil
}

func (r Registries) transport() (*http.Transport, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSHandshakeTimeout: dialTimeout,
		ResponseHeaderTimeout: answerTimeout, ForceAttemptHTTP2: true, IdleConnTimeout: answerTimeout, DisableCompression: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if r.CA == "" {
		return transport, nil
	}
	pem, err := os.ReadFile(r.CA)
	if err != nil {
		return nil, fmt.Errorf("artifacts.ca: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("artifacts.ca: the system's authorities cannot be read: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("artifacts.ca: there is no certificate in %s", r.CA)
	}
	transport.TLSClientConfig.RootCAs = roots
	return transport, nil
}

// credentialsOfDocker are those for a registry; none where docker has none.
func credentialsOfDocker(ctx context.Context, registry string) (auth.Credential, error) {
	if os.Getenv("DOCKER_CONFIG") == "" && os.Getenv("HOME") == "" { // as of a service: there is nowhere to look
		return auth.EmptyCredential, nil
	}
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return auth.EmptyCredential, refuse("mend docker's config.json", "docker's credentials cannot be read: %w", err)
	}
	found, err := credentials.Credential(store)(ctx, registry)
	if err != nil {
		return auth.EmptyCredential, refuse("check the credential helper that docker's config.json names, which must be in the host's PATH",
			"docker's credentials for %s cannot be had: %w", registry, err)
	}
	return found, nil
}

// isLoopback says that nobody else can listen to what is said to a host.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// speaksTLS says whether a registry does. One that does not answer at all does, so that the error is about that.
func speaksTLS(ctx context.Context, registry string) bool {
	address := registry
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), "443")
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // nothing is said on this connection
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		conn.Close()
		return true
	}
	var other tls.RecordHeaderError
	return !errors.As(err, &other)
}

// isPlain says that a request failed because the registry speaks no TLS.
func isPlain(err error) bool {
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, new(tls.RecordHeaderError))
}

// stayPrivate refuses to be led from TLS to a place without it.
func stayPrivate(request *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 10:
		return errors.New("it redirects without end")
	case via[0].URL.Scheme == "https" && request.URL.Scheme != "https":
		return refuse("let the registry's storage serve TLS", "it redirects from TLS to %s, which has none", request.URL.Host)
	}
	return nil
}
