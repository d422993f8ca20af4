package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agenthost/agenthost/host/config"
)

// Issuer is an OIDC issuer on a socket, over TLS, with discovery and keys.
type Issuer struct {
	// URL is its name, CA the file by which its server is known.
	URL, CA string

	mu     sync.Mutex
	down   bool
	token  string // that it asks of who reads its keys
	keys   []jose.JSONWebKey
	made   int
	looked int
}

// NewIssuer starts an issuer with one key.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(i.serve))
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	i.URL, i.CA = server.URL, filepath.Join(t.TempDir(), "issuer.pem")
	if err := os.WriteFile(i.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	i.Rotate(t)
	return i
}

// Settings are the configuration of the issuer, for an audience.
func (i *Issuer) Settings(audience ...string) config.Issuer {
	return config.Issuer{Issuer: i.URL, Audience: audience, CA: i.CA}
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.looked++
	var answer any
	switch {
	case i.down:
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	case i.token != "" && r.Header.Get("Authorization") != "Bearer "+i.token:
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	case r.URL.Path == "/.well-known/openid-configuration":
		answer = map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"}
	case r.URL.Path == "/keys":
		public := make([]any, 0, len(i.keys)+1)
		for _, key := range i.keys {
			public = append(public, key.Public())
		}
		answer = map[string]any{"keys": append(public, map[string]any{"kty": "of tomorrow", "kid": "new"})}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // who has gone needs no answer
}

// Rotate adds a key, with which tokens are signed from now on.
func (i *Issuer) Rotate(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.made++
	i.keys = append([]jose.JSONWebKey{{Key: key, KeyID: fmt.Sprint("key-", i.made), Algorithm: "ES256", Use: "sig"}}, i.keys...)
}

// Withdraw takes all keys but the newest out.
func (i *Issuer) Withdraw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = i.keys[:1]
}

// SetDown says whether its server answers with errors.
func (i *Issuer) SetDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// AskFor has its server ask for a token.
func (i *Issuer) AskFor(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.token = token
}

// Looked is how often its server was asked for anything.
func (i *Issuer) Looked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.looked
}

// Key is the newest key, with its private half.
func (i *Issuer) Key() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[0]
}

// Claims are those of a sound token for a subject and an audience, with others put over them; nil takes one out.
func (i *Issuer) Claims(subject, audience string, others map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{"iss": i.URL, "sub": subject, "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(claims, others)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

// Token makes a sound token for a subject and an audience, with other claims.
func (i *Issuer) Token(t testing.TB, subject, audience string, others map[string]any) string {
	t.Helper()
	key := i.Key()
	return Sign(t, jose.ES256, key.Key, key.KeyID, i.Claims(subject, audience, others))
}

// Sign signs claims.
func Sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, id string, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
