package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/test/identity"
	"github.com/agenthost/agenthost/test/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// anybody lets whoever has a sound token do anything.
func anybody(issuers ...config.Issuer) config.Access {
	return config.Access{Issuers: issuers, ClockSkew: 30 * time.Second, Rules: []config.AccessRule{{Subject: "*", May: []string{"run"}}}}
}

// guarding starts a guard, and waits until it has looked for keys.
func guarding(t *testing.T, settings config.Access) *Guard {
	t.Helper()
	g := New(settings, slog.New(slog.DiscardHandler))
	t.Cleanup(g.Close)
	_ = g.Tried(t.Context()) // some tests want it to fail
	return g
}

func withToken(t *testing.T, raw string) context.Context {
	t.Helper()
	return metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+raw))
}

// runs says how a call with a token is answered.
func runs(t *testing.T, g *Guard, raw string) error {
	t.Helper()
	caller, err := g.Caller(withToken(t, raw))
	if err == nil {
		err = caller.May(Run, Task{})
	}
	return err
}

func TestOnlySoundTokensAreTakenAndOthersAreRefusedByName(t *testing.T) {
	one, two := identity.NewIssuer(t), identity.NewIssuer(t)
	g := guarding(t, anybody(one.Settings("agenthost", "agenthost.test"), two.Settings("other")))
	key := one.Key()
	private, ok := key.Key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("the issuer signs with a %T", key.Key)
	}
	encoded, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded})
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token := func(others map[string]any) string { return one.Token(t, "alice", "agenthost", others) }
	sound := token(nil)
	parts := strings.Split(sound, ".")
	for name, test := range map[string]struct{ raw, want string }{
		"sound":                    {sound, ""},
		"one audience of several":  {token(map[string]any{"aud": []string{"x", "agenthost.test"}}), ""},
		"expired within the skew":  {token(map[string]any{"exp": now.Add(-10 * time.Second).Unix()}), ""},
		"not yet, within the skew": {token(map[string]any{"nbf": now.Add(10 * time.Second).Unix()}), ""},
		"fractions of seconds":     {token(map[string]any{"nbf": float64(now.UnixMilli()) / 1000}), ""},
		"no key id":                {identity.Sign(t, jose.ES256, private, "", one.Claims("alice", "agenthost", nil)), ""},

		"expired":                     {token(map[string]any{"exp": now.Add(-time.Minute).Unix()}), "it has expired, at "},
		"not yet":                     {token(map[string]any{"nbf": now.Add(time.Minute).Unix()}), "it holds only from "},
		"for ever":                    {token(map[string]any{"exp": nil}), "it has no exp"},
		"without a subject":           {token(map[string]any{"sub": nil}), "it has no sub"},
		"for somebody else":           {token(map[string]any{"aud": "vault"}), `its aud is ["vault"], and issuer ` + one.URL + ` must have made it for ["agenthost", "agenthost.test"]`},
		"for nobody":                  {token(map[string]any{"aud": nil}), "its aud is []"},
		"for another issuer's":        {two.Token(t, "alice", "agenthost", nil), `its aud is ["agenthost"], and issuer ` + two.URL},
		"of an unknown issuer":        {token(map[string]any{"iss": "https://evil.example"}), `its issuer "https://evil.example" is none of access.issuers`},
		"of one in another's name":    {identity.Sign(t, jose.ES256, two.Key().Key, two.Key().KeyID, one.Claims("alice", "agenthost", nil)), "its signature is not that of issuer " + one.URL},
		"with a foreign key":          {identity.Sign(t, jose.ES256, foreign, key.KeyID, one.Claims("alice", "agenthost", nil)), "its signature is not that of issuer"},
		"with a foreign key, unnamed": {identity.Sign(t, jose.ES256, foreign, "", one.Claims("alice", "agenthost", nil)), "its signature is not that of issuer"},
		"with an unknown key":         {identity.Sign(t, jose.ES256, foreign, "key-99", one.Claims("alice", "agenthost", nil)), `its key "key-99" is none of issuer`},
		"signed by the public key":    {identity.Sign(t, jose.HS256, public, key.KeyID, one.Claims("alice", "agenthost", nil)), `it is signed by the algorithm "HS256"`},
		"unsigned":                    {unsigned(t, one.Claims("alice", "agenthost", nil)), `it is signed by the algorithm "none"`},
		"changed":                     {parts[0] + "." + base64.RawURLEncoding.EncodeToString(encode(t, one.Claims("root", "agenthost", nil))) + "." + parts[2], "its signature is not that of issuer"},
		"cut":                         {sound[:len(sound)-8], "its signature is not that of issuer"},
		"without a signature":         {parts[0] + "." + parts[1] + ".", "its signature is not that of issuer"},
		"no JWT":                      {"opensesame", "it is not a JWT"},
		"as JSON":                     {`{"payload":"","signatures":[]}`, "it is not a JWT"},
		"too long":                    {strings.Repeat("a", maxToken+1), "and at most 16384 are read"},
	} {
		for _, round := range []string{"first", "again"} {
			err := runs(t, g, test.raw)
			if test.want == "" {
				if err != nil {
					t.Errorf("%s, %s: %v", name, round, err)
				}
				continue
			}
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %s: %v, want %s", name, round, err, test.want)
			}
			if err != nil && len(test.raw) > 20 && strings.Contains(err.Error(), test.raw[len(test.raw)-20:]) {
				t.Errorf("%s: the token is in %v", name, err)
			}
		}
	}
}

func encode(t *testing.T, claims map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func unsigned(t *testing.T, claims map[string]any) string {
	t.Helper()
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(encode(t, claims)) + "."
}

func TestAnAuthorizationThatIsNoBearerTokenIsRefused(t *testing.T) {
	one := identity.NewIssuer(t)
	g := guarding(t, anybody(one.Settings("agenthost")))
	sound := one.Token(t, "alice", "agenthost", nil)
	for _, values := range [][]string{{"Basic YTpi"}, {"Bearer"}, {"Bearer "}, {sound}, {"Bearer " + sound, "Bearer " + sound}} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.MD{"authorization": values})
		if _, err := g.Caller(ctx); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "not one bearer token") {
			t.Errorf("%d of %.10s: %v", len(values), values[0], err)
		}
	}
	if _, err := g.Caller(metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "bearer "+sound))); err != nil {
		t.Errorf("in small letters: %v", err)
	}
}

func TestKeysRotateAndAreTakenBack(t *testing.T) {
	one := identity.NewIssuer(t)
	g := guarding(t, anybody(one.Settings("agenthost")))
	old := one.Token(t, "alice", "agenthost", nil)
	if err := runs(t, g, old); err != nil {
		t.Fatal(err)
	}
	one.Rotate(t)
	fresh := one.Token(t, "alice", "agenthost", nil)
	wait.Until(t, "the new key is found", func() bool { return runs(t, g, fresh) == nil }) // not in the first moments after another look
	if err := runs(t, g, old); err != nil {
		t.Errorf("the old key is still the issuer's: %v", err)
	}
	one.Withdraw()
	i := g.policy.Load().issuers[one.URL]
	wait.Until(t, "the keys are read again", func() bool { <-i.lookAgain(); return runs(t, g, old) != nil })
	if err := runs(t, g, old); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), `its key "key-1" is none of issuer`) {
		t.Errorf("a token that was checked before its key was withdrawn: %v", err)
	}
	if err := runs(t, g, fresh); err != nil {
		t.Errorf("the key that is left: %v", err)
	}
}

func TestKeysStayWhileTheIssuerIsAway(t *testing.T) {
	one := identity.NewIssuer(t)
	g := guarding(t, anybody(one.Settings("agenthost")))
	one.SetDown(true)
	i := g.policy.Load().issuers[one.URL]
	wait.Until(t, "a look has failed", func() bool { <-i.lookAgain(); return i.why() != "" })
	if err := runs(t, g, one.Token(t, "alice", "agenthost", nil)); err != nil {
		t.Errorf("a token never seen before: %v", err)
	}
	one.Rotate(t)
	err := runs(t, g, one.Token(t, "alice", "agenthost", nil))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "cannot be asked for its keys: OIDC discovery: 503") {
		t.Errorf("a key that cannot be known: %v", err)
	}
}

func TestAnIssuerThatIsNotThereKeepsNobodyFromStartingAndIsWaitedFor(t *testing.T) {
	one := identity.NewIssuer(t)
	one.SetDown(true)
	g := guarding(t, anybody(one.Settings("agenthost")))
	if err := g.Tried(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("Tried says %v", err)
	}
	raw := one.Token(t, "alice", "agenthost", nil)
	if err := runs(t, g, raw); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the keys of its issuer "+one.URL+" are not there: OIDC discovery: 503") {
		t.Errorf("meanwhile: %v", err)
	}
	one.SetDown(false)
	wait.Until(t, "it is found", func() bool { return runs(t, g, raw) == nil })
}

// Anybody can send tokens with keys that do not exist: the issuer must not be asked for each.
func TestTokensWithUnknownKeysDoNotFloodTheIssuer(t *testing.T) {
	one := identity.NewIssuer(t)
	g := guarding(t, anybody(one.Settings("agenthost")))
	key := one.Key()
	began := time.Now()
	for range 200 {
		if err := runs(t, g, identity.Sign(t, jose.ES256, key.Key, "unknown", one.Claims("alice", "agenthost", nil))); status.Code(err) != codes.Unauthenticated {
			t.Fatal(err)
		}
	}
	most := 2 * (2 + int(time.Since(began)/lookPause)) // a look is two requests
	if looked := one.Looked(); looked > most {
		t.Errorf("the issuer was asked %d times, want at most %d", looked, most)
	}
}

func TestAnIssuersServerIsShownATokenAndNobodyElseIs(t *testing.T) {
	one := identity.NewIssuer(t)
	one.AskFor("of the pod")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("of the pod\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := one.Settings("agenthost")
	if err := guarding(t, anybody(settings)).Tried(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without the token: %v", err)
	}
	settings.TokenFile = file
	if err := runs(t, guarding(t, anybody(settings)), one.Token(t, "alice", "agenthost", nil)); err != nil {
		t.Errorf("with the token: %v", err)
	}
	settings.CA = ""
	if err := guarding(t, anybody(settings)).Tried(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with the system's authorities: %v", err)
	}
}

func TestAPolicyIsReplacedAndWhatItTakesBackIsGone(t *testing.T) {
	one, two := identity.NewIssuer(t), identity.NewIssuer(t)
	g := guarding(t, anybody(one.Settings("agenthost"), two.Settings("agenthost")))
	first, second := one.Token(t, "alice", "agenthost", nil), two.Token(t, "alice", "agenthost", nil)
	for _, raw := range []string{first, second} {
		if err := runs(t, g, raw); err != nil {
			t.Fatal(err)
		}
	}
	known := g.policy.Load().issuers[one.URL]
	one.SetDown(true) // an issuer that stays keeps its keys
	g.Apply(anybody(one.Settings("agenthost")))
	if err := runs(t, g, first); err != nil || g.policy.Load().issuers[one.URL] != known {
		t.Errorf("of the issuer that stays: %v", err)
	}
	if err := runs(t, g, second); status.Code(err) != codes.Unauthenticated {
		t.Errorf("of the one that was taken out: %v", err)
	}
	one.SetDown(false)
	g.Apply(anybody(one.Settings("another audience")))
	if err := g.Tried(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := runs(t, g, first); !strings.Contains(err.Error(), "its aud is") {
		t.Errorf("of another audience: %v", err)
	}
	g.Apply(config.Access{})
	if err := runs(t, g, "whatever"); err != nil {
		t.Errorf("without a policy: %v", err)
	}
}

func BenchmarkCallerWithToken(b *testing.B) {
	one := identity.NewIssuer(b)
	g := New(anybody(one.Settings("agenthost")), slog.New(slog.DiscardHandler))
	defer g.Close()
	if err := g.Tried(b.Context()); err != nil {
		b.Fatal(err)
	}
	ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs("authorization", "Bearer "+one.Token(b, "alice", "agenthost", nil)))
	for b.Loop() {
		caller, err := g.Caller(ctx)
		if err == nil {
			err = caller.May(Run, Task{})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
