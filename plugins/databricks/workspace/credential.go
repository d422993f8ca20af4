package workspace

import (
	"context"
	"net/http"
	"sync"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	sdk "github.com/agenthost/agenthost/sdk/go"
)

// Credential is how a workspace knows who calls.
type Credential interface {
	// token returns what goes into the Authorization header.
	token(ctx context.Context, w *Workspace) (string, error)
	// forget drops a token that was refused, and says whether another can be had.
	forget(w *Workspace) bool
	// secret is what must never be shown, besides the token.
	secret() string
}

// Token is a personal access token, or any other token that Databricks takes as it is.
type Token struct{ Secret sdk.SecretValue }

// token cannot fail, but other credentials' can.
func (t Token) token(context.Context, *Workspace) (string, error) { return t.Secret.Reveal(), nil } //nolint:unparam // see above

func (t Token) forget(*Workspace) bool { return false }
func (t Token) secret() string         { return t.Secret.Reveal() }

// OAuth is a service principal that gets short-lived tokens from the workspace (OAuth M2M).
type OAuth struct {
	ClientID string
	Secret   sdk.SecretValue
}

func (o OAuth) token(ctx context.Context, w *Workspace) (string, error) {
	return w.pool.tokens.of(w.host, o).get(ctx)
}

func (o OAuth) forget(w *Workspace) bool {
	w.pool.tokens.of(w.host, o).drop()
	return true
}

func (o OAuth) secret() string { return o.Secret.Reveal() }

// tokens are the OAuth tokens in use, by workspace and service principal.
type tokens struct {
	client *http.Client

	mu      sync.Mutex
	sources map[tokenKey]*tokenSource
}

// tokenKey has the secret in it so that a new one is not answered with the token of an old one.
type tokenKey struct{ host, id, secret string }

func newTokens(client *http.Client) *tokens {
	return &tokens{client: client, sources: map[tokenKey]*tokenSource{}}
}

func (t *tokens) of(host string, principal OAuth) *tokenSource {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := tokenKey{host, principal.ClientID, principal.Secret.Reveal()}
	source := t.sources[key]
	if source == nil {
		source = &tokenSource{client: t.client, turn: make(chan struct{}, 1), config: clientcredentials.Config{
			ClientID: key.id, ClientSecret: key.secret, Scopes: []string{"all-apis"},
			TokenURL: "https://" + host + "/oidc/v1/token", AuthStyle: oauth2.AuthStyleInHeader,
		}}
		t.sources[key] = source
	}
	return source
}

// tokenSource keeps one token until shortly before its end. It asks for the next one within the deadline of whoever needs
// it, which the sources of package oauth2 do not.
type tokenSource struct {
	config clientcredentials.Config
	client *http.Client
	// turn is held by the one who asks; the others wait for what comes of it.
	turn  chan struct{}
	mu    sync.Mutex
	token *oauth2.Token
}

func (s *tokenSource) get(ctx context.Context) (string, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if token := s.current(); token.Valid() {
		return token.AccessToken, nil
	}
	token, err := s.config.Token(context.WithValue(ctx, oauth2.HTTPClient, s.client))
	if err != nil {
		return "", err
	}
	s.set(token)
	return token.AccessToken, nil
}

func (s *tokenSource) current() *oauth2.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

func (s *tokenSource) set(token *oauth2.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

func (s *tokenSource) drop() { s.set(nil) }
