package access

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/maypok86/otter/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// token is what a caller's token says, which its issuer has signed.
type token struct {
	issuer  *issuer
	keys    *keySet // by which it was checked
	subject string
	expires time.Time
	claims  map[string]any
}

const (
	// maxToken is how long a token may be, in bytes.
	maxToken = 16 << 10
	// cachedTokens is how many tokens are remembered that were checked.
	cachedTokens = 1024
)

// algorithms are those that sign with a key which the issuer alone has.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
}

// tokenCache remembers tokens that were checked, by their sums.
type tokenCache struct {
	checked *otter.Cache[[sha256.Size]byte, *token]
}

func newTokenCache() *tokenCache {
	return &tokenCache{otter.Must(&otter.Options[[sha256.Size]byte, *token]{MaximumSize: cachedTokens})}
}

// verified is what a token says, if it is one for this host. An error is an answer to the caller; it never has the token in it.
func (c *tokenCache) verified(ctx context.Context, p *policy, raw string) (*token, error) {
	if len(raw) > maxToken {
		return nil, status.Errorf(codes.Unauthenticated, "the token has %d bytes, and at most %d are read", len(raw), maxToken)
	}
	sum := sha256.Sum256([]byte(raw))
	if known, ok := c.checked.GetIfPresent(sum); ok && known.holds(p) {
		return known, nil
	}
	checked, err := p.check(ctx, raw)
	if err == nil {
		c.checked.Set(sum, checked)
	}
	return checked, err
}

// holds says that what was checked before needs no check under this policy.
func (t *token) holds(p *policy) bool {
	return p.issuers[t.issuer.settings.Issuer] == t.issuer && t.issuer.keys.Load() == t.keys && time.Now().Before(t.expires.Add(p.skew))
}

// registered are the claims of a token that the host reads itself.
type registered struct {
	Issuer    string      `json:"iss"`
	Subject   string      `json:"sub"`
	NotBefore json.Number `json:"nbf"`
}

func (p *policy) check(ctx context.Context, raw string) (*token, error) {
	signed, err := jose.ParseSignedCompact(raw, algorithms)
	if wrong := (*jose.ErrUnexpectedSignatureAlgorithm)(nil); errors.As(err, &wrong) {
		return nil, refusedToken("it is signed by the algorithm %q, and only RSA, ECDSA and EdDSA signatures are taken", short(string(wrong.Got)))
	}
	if err != nil || len(signed.Signatures) != 1 {
		return nil, refusedToken("it is not a JWT")
	}
	var unchecked registered
	if err := json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &unchecked); err != nil {
		return nil, refusedToken("its claims cannot be read")
	}
	from := p.issuers[unchecked.Issuer]
	if from == nil {
		return nil, refusedToken("its issuer %q is none of access.issuers", short(unchecked.Issuer))
	}
	checked, keys, err := from.verify(ctx, raw, signed.Signatures[0].Header)
	if err != nil {
		return nil, err
	}
	return p.judge(from, keys, checked)
}

// judge looks at what an issuer has signed.
func (p *policy) judge(from *issuer, keys *keySet, checked *oidc.IDToken) (*token, error) {
	var claims registered
	all := map[string]any{}
	if err := errors.Join(checked.Claims(&claims), checked.Claims(&all)); err != nil {
		return nil, refusedToken("its claims cannot be read")
	}
	now := time.Now()
	starts := time.Time{}
	if claims.NotBefore != "" {
		seconds, err := claims.NotBefore.Float64()
		if err != nil {
			return nil, refusedToken("its nbf is no time")
		}
		starts = time.UnixMilli(int64(seconds * 1000))
	}
	switch {
	case checked.Subject == "":
		return nil, refusedToken("it has no sub")
	case !from.isFor(checked.Audience):
		return nil, refusedToken("its aud is %s, and issuer %s must have made it for %s", quoted(checked.Audience), from.settings.Issuer, quoted(from.settings.Audience))
	case checked.Expiry.Unix() <= 0:
		return nil, refusedToken("it has no exp: it would hold for ever")
	case !now.Before(checked.Expiry.Add(p.skew)):
		return nil, refusedToken("it has expired, at %s", checked.Expiry.UTC().Format(time.RFC3339))
	case now.Before(starts.Add(-p.skew)):
		return nil, refusedToken("it holds only from %s on", starts.UTC().Format(time.RFC3339))
	}
	return &token{issuer: from, keys: keys, subject: checked.Subject, expires: checked.Expiry, claims: all}, nil
}

func quoted(texts []string) string {
	parts := make([]string, 0, len(texts))
	for _, text := range texts[:min(len(texts), 5)] {
		parts = append(parts, strconv.Quote(short(text)))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func refusedToken(format string, args ...any) error {
	return status.Errorf(codes.Unauthenticated, "the caller's token is not taken: "+format, args...)
}

// verify checks a token's signature by the issuer's keys, which are looked for again where none of them can be meant.
func (i *issuer) verify(ctx context.Context, raw string, header jose.Header) (*oidc.IDToken, *keySet, error) {
	keys := i.keys.Load()
	candidates := keys.of(header)
	if len(candidates) == 0 {
		i.await(ctx)
		keys = i.keys.Load()
		candidates = keys.of(header)
	}
	switch {
	case keys == nil:
		return nil, nil, status.Errorf(codes.Unavailable, "the caller's token cannot be checked yet, since the keys of its issuer %s are not there: %s",
			i.settings.Issuer, i.why())
	case len(candidates) == 0 && i.why() != "":
		return nil, nil, status.Errorf(codes.Unavailable, "the caller's token cannot be checked: its key %q is not known, and issuer %s cannot be asked for its keys: %s",
			short(header.KeyID), i.settings.Issuer, i.why())
	case len(candidates) == 0:
		return nil, nil, refusedToken("its key %q is none of issuer %s for %s", short(header.KeyID), i.settings.Issuer, short(header.Algorithm))
	}
	verifier := oidc.NewVerifier(i.settings.Issuer, &oidc.StaticKeySet{PublicKeys: candidates},
		&oidc.Config{SupportedSigningAlgs: []string{header.Algorithm}, SkipClientIDCheck: true, SkipExpiryCheck: true}) // both are judge's
	checked, err := verifier.Verify(ctx, raw)
	if err != nil {
		return nil, nil, refusedToken("its signature is not that of issuer %s", i.settings.Issuer)
	}
	return checked, keys, nil
}

// keySet is the keys of an issuer at one time.
type keySet struct {
	text string // as they came
	keys []jose.JSONWebKey
}

// of are the keys by which a token with this header may be signed.
func (s *keySet) of(header jose.Header) []crypto.PublicKey {
	if s == nil {
		return nil
	}
	var found []crypto.PublicKey
	for _, key := range s.keys {
		if (header.KeyID == "" || key.KeyID == header.KeyID) && (key.Algorithm == "" || key.Algorithm == header.Algorithm) {
			found = append(found, key.Key)
		}
	}
	return found
}

// parseKeys reads a JWKS. Keys of unknown kinds, and those for other ends, are left out.
func parseKeys(text []byte) (*keySet, error) {
	var listed struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &listed); err != nil {
		return nil, fmt.Errorf("is not a JWKS: %w", err)
	}
	set := &keySet{text: string(text)}
	for _, one := range listed.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(one); err != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		set.keys = append(set.keys, key)
	}
	if len(set.keys) == 0 {
		return nil, errors.New("has no key that could sign a token")
	}
	return set, nil
}

// has says whether a claim, or a/b for b in a, has a value that matches, or is a list with one.
func (t *token) has(name string, wanted pattern) bool {
	value, ok := t.claims[name]
	for within := t.claims; !ok; {
		outer, inner, nested := strings.Cut(name, "/")
		if !nested {
			return false
		}
		if within, nested = within[outer].(map[string]any); !nested {
			return false
		}
		name = inner
		value, ok = within[name]
	}
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	for _, one := range list {
		if text, ok := textOf(one); ok && wanted.matches(text) {
			return true
		}
	}
	return false
}

func textOf(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}
