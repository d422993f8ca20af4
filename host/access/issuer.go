package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/agenthost/agenthost/host/config"
)

const (
	// keysReread is how often an issuer's keys are read again: one that it has withdrawn is taken no longer than that.
	keysReread = 5 * time.Minute
	// lookPause is how far apart two looks for keys are at least: anybody can send tokens that name keys which do not exist.
	lookPause = 2 * time.Second
	// lookTimeout bounds a look, and lookWait how long a call waits for one.
	lookTimeout = 10 * time.Second
	lookWait    = 5 * time.Second
	// maxDocument is how much is read of what an issuer's server answers, in bytes.
	maxDocument = 1 << 20
)

// issuer looks for the keys of an issuer of tokens. Where that fails those it has found before stay.
type issuer struct {
	settings config.Issuer
	log      *slog.Logger

	keys    atomic.Pointer[keySet] // nil: never found
	read    atomic.Pointer[time.Time]
	trouble atomic.Pointer[string] // why the last look failed; empty where it did not
	tried   chan struct{}          // closed after the first look

	ctx    context.Context //nolint:containedctx // the looks' own, ended by close
	cancel context.CancelFunc
	looks  sync.WaitGroup

	mu    sync.Mutex
	look  chan struct{} // the last one, closed when it has ended; nil: none
	begun time.Time
}

func newIssuer(settings config.Issuer, log *slog.Logger) *issuer {
	i := &issuer{settings: settings, log: log.With("issuer", settings.Issuer), tried: make(chan struct{})}
	i.ctx, i.cancel = context.WithCancel(context.Background())
	i.looks.Go(i.run)
	return i
}

// is says that these are the issuer's settings.
func (i *issuer) is(settings config.Issuer) bool { return reflect.DeepEqual(i.settings, settings) }

func (i *issuer) close() {
	i.mu.Lock()
	i.cancel()
	i.mu.Unlock()
	i.looks.Wait()
}

// why is why the last look failed; empty where it did not.
func (i *issuer) why() string {
	if why := i.trouble.Load(); why != nil {
		return *why
	}
	return "nobody has looked yet"
}

func (i *issuer) isFor(audience []string) bool {
	return slices.ContainsFunc(audience, func(one string) bool { return slices.Contains(i.settings.Audience, one) })
}

// run looks for the keys again and again.
func (i *issuer) run() {
	pause := backoff.ExponentialBackOff{InitialInterval: lookPause, Multiplier: 2, RandomizationFactor: 0.1, MaxInterval: 30 * time.Second}
	pause.Reset()
	for first := true; ; first = false {
		select {
		case <-i.lookAgain():
		case <-i.ctx.Done():
		}
		if first {
			close(i.tried)
		}
		wait := keysReread
		if i.why() != "" {
			wait = pause.NextBackOff()
		} else {
			pause.Reset()
		}
		select {
		case <-time.After(wait):
		case <-i.ctx.Done():
			return
		}
	}
}

// await looks again, unless that was done just now, and waits for the end.
func (i *issuer) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	select {
	case <-i.lookAgain():
	case <-ctx.Done():
	}
}

// lookAgain begins a look, unless one is under way or was begun just now, and returns what is closed when it has ended.
func (i *issuer) lookAgain() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.look != nil && (isOpen(i.look) || time.Since(i.begun) < lookPause) {
		return i.look
	}
	ended := make(chan struct{})
	i.look, i.begun = ended, time.Now()
	if i.ctx.Err() != nil {
		close(ended)
		return ended
	}
	i.looks.Go(func() {
		defer close(ended)
		i.found(i.find(i.ctx))
	})
	return ended
}

func isOpen(look <-chan struct{}) bool {
	select {
	case <-look:
		return false
	default:
		return true
	}
}

// found takes up what came of a look.
func (i *issuer) found(keys *keySet, err error) {
	before := i.trouble.Load()
	if err != nil {
		if i.ctx.Err() != nil {
			return
		}
		why := err.Error()
		if i.trouble.Store(&why); before == nil || *before != why {
			i.log.Warn("the keys of an issuer of tokens cannot be read; those known before stay", "known", i.keys.Load() != nil, "error", err)
		}
		return
	}
	none := ""
	i.trouble.Store(&none)
	now := time.Now()
	i.read.Store(&now)
	known := i.keys.Load()
	if known == nil || known.text != keys.text { // else what was checked by them stays checked
		i.keys.Store(keys)
		i.log.Info("the keys of an issuer of tokens are there", "keys", len(keys.keys))
	} else if before != nil && *before != "" {
		i.log.Info("the keys of an issuer of tokens can be read again")
	}
}

// CheckIssuer looks for an issuer's keys once, and says why they are not there.
func CheckIssuer(ctx context.Context, settings config.Issuer) error {
	_, err := (&issuer{settings: settings}).find(ctx)
	return err
}

// find reads the issuer's keys, where its discovery document says that they are.
func (i *issuer) find(ctx context.Context) (*keySet, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	transport, err := i.transport()
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	client, err := i.client(transport)
	if err != nil {
		return nil, err
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), i.settings.Issuer)
	if err != nil {
		return nil, fmt.Errorf("OIDC discovery: %w", err)
	}
	var document struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil {
		return nil, fmt.Errorf("OIDC discovery: %w", err)
	}
	if err := config.CheckProtected(document.Keys); err != nil {
		return nil, fmt.Errorf("OIDC discovery: jwks_uri %q: %w", document.Keys, err)
	}
	text, err := get(ctx, client, document.Keys)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", document.Keys, err)
	}
	return keys, nil
}

func get(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxDocument))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", address, response.Status)
	}
	return text, err
}

// transport is for the issuer's server. Its files are read each time: they may have been rotated.
func (i *issuer) transport() (*http.Transport, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if i.settings.CA == "" {
		return transport, nil
	}
	encoded, err := os.ReadFile(i.settings.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(encoded) {
		return nil, fmt.Errorf("ca: %s holds no certificate in PEM form", i.settings.CA)
	}
	return transport, nil
}

func (i *issuer) client(transport http.RoundTripper) (*http.Client, error) {
	if i.settings.TokenFile != "" {
		text, err := os.ReadFile(i.settings.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("token_file: %w", err)
		}
		shown := &oauth2.Token{AccessToken: strings.TrimSpace(string(text))}
		transport = &oauth2.Transport{Source: oauth2.StaticTokenSource(shown), Base: transport}
	}
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(request *http.Request, before []*http.Request) error {
			return mayFollow(request.URL, before[0].URL, len(before))
		},
	}, nil
}

// mayFollow keeps an issuer's server from sending the host, and the token that it shows, elsewhere.
func mayFollow(to, from *url.URL, redirects int) error {
	switch {
	case redirects > 3:
		return errors.New("it redirects too often")
	case to.Host != from.Host || to.Scheme != from.Scheme:
		return errors.New("it redirects to another server")
	}
	return nil
}
