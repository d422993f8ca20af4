// Package access says who may call the host, and what: it knows callers by their client certificates and bearer tokens, and has
// a table of rules for what they may do. The gateway asks it about each call.
package access

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/config"
)

// Guard judges calls by the policy of the moment. A nil Guard lets everybody do anything.
type Guard struct {
	log    *slog.Logger
	policy atomic.Pointer[policy]
	tokens *tokenCache

	mu sync.Mutex // held to change the policy
}

// policy is what the configuration says of access. It does not change.
type policy struct {
	on      bool
	seals   bool
	rules   []rule
	issuers map[string]*issuer
	skew    time.Duration
}

// New returns a Guard for a policy. It looks for the keys of the policy's issuers until Close.
func New(settings config.Access, log *slog.Logger) *Guard {
	g := &Guard{log: log, tokens: newTokenCache()}
	g.policy.Store(&policy{})
	g.Apply(settings)
	return g
}

// Apply puts another policy in the place of the one before. An issuer that is in both keeps its keys.
func (g *Guard) Apply(settings config.Access) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.policy.Load()
	now := &policy{on: settings.On(), seals: settings.Seals(), skew: settings.ClockSkew, issuers: map[string]*issuer{}}
	for _, r := range settings.Rules {
		now.rules = append(now.rules, newRule(r))
	}
	for _, wanted := range settings.Issuers {
		if known := before.issuers[wanted.Issuer]; known != nil && known.is(wanted) {
			now.issuers[wanted.Issuer] = known
		} else {
			now.issuers[wanted.Issuer] = newIssuer(wanted, g.log)
		}
	}
	g.policy.Store(now)
	for name, known := range before.issuers {
		if now.issuers[name] != known {
			known.close()
		}
	}
}

// Close ends the looks for keys.
func (g *Guard) Close() { g.Apply(config.Access{}) }

// Tried waits until each issuer's keys were looked for once, whatever came of it, or until ctx ends. The error says what is missing.
func (g *Guard) Tried(ctx context.Context) error {
	for name, i := range g.policy.Load().issuers {
		select {
		case <-i.tried:
		case <-ctx.Done():
		}
		if i.keys.Load() == nil {
			return fmt.Errorf("the keys of issuer %s are not there: %s", name, i.why())
		}
	}
	return nil
}

// Seals says whether each resource_meta is to be sealed with the project and domain of its task.
func (g *Guard) Seals() bool { return g != nil && g.policy.Load().seals }

// TakesTokens says whether callers' tokens are for the host, and nobody behind it is to see them.
func (g *Guard) TakesTokens() bool { return g != nil && len(g.policy.Load().issuers) > 0 }

// Caller is who makes a call.
type Caller struct {
	policy      *policy // nil: whoever it is may do anything
	certificate *x509.Certificate
	names       []string // in the certificate
	token       *token
}

// Caller says who makes a call. An error is an answer to him.
func (g *Guard) Caller(ctx context.Context) (Caller, error) {
	if g == nil {
		return Caller{}, nil
	}
	p := g.policy.Load()
	if !p.on {
		return Caller{}, nil
	}
	c := Caller{policy: p}.showing(certificateOf(ctx))
	if c.certificate != nil && time.Now().After(c.certificate.NotAfter) {
		return Caller{}, status.Errorf(codes.Unauthenticated, "the certificate of %s has expired since it connected", c)
	}
	if len(p.issuers) == 0 {
		return c, nil
	}
	raw, err := bearer(ctx)
	if err == nil && raw != "" {
		c.token, err = g.tokens.verified(ctx, p, raw)
	}
	return c, err
}

// showing is the caller with a certificate; nil: none.
func (c Caller) showing(certificate *x509.Certificate) Caller {
	if certificate != nil {
		c.certificate, c.names = certificate, namesOf(certificate)
	}
	return c
}

// certificateOf is the certificate that a caller has shown and that comes from an authority of the host's; nil without one.
func certificateOf(ctx context.Context) *x509.Certificate {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return nil
	}
	return info.State.VerifiedChains[0][0]
}

// bearer is the token that comes with a call; empty without one.
func bearer(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) == 0 {
		return "", nil
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if raw = strings.TrimSpace(raw); len(values) > 1 || !strings.EqualFold(scheme, "bearer") || raw == "" {
		return "", status.Error(codes.Unauthenticated, "the call's authorization is not one bearer token, as in `authorization: Bearer …`")
	}
	return raw, nil
}

// Identity names the caller; empty where he is not known.
func (c Caller) Identity() string {
	var parts []string
	if c.certificate != nil {
		parts = append(parts, fmt.Sprintf("certificate %q", short(c.name())))
	}
	if c.token != nil {
		parts = append(parts, fmt.Sprintf("subject %q of issuer %s", short(c.token.subject), c.token.issuer.settings.Issuer))
	}
	return strings.Join(parts, ", ")
}

// String names the caller, for messages.
func (c Caller) String() string { return cmp.Or(c.Identity(), "a caller without certificate or token") }

// known says that the caller has shown who he is.
func (c Caller) known() bool { return c.certificate != nil || c.token != nil }

// name is the name in the caller's certificate that says most.
func (c Caller) name() string {
	if len(c.names) == 0 {
		return "without a name"
	}
	return c.names[0]
}

// namesOf are the names in a certificate, as rules have them.
func namesOf(certificate *x509.Certificate) []string {
	names := make([]string, 0, 4)
	for _, uri := range certificate.URIs {
		names = append(names, uri.String())
	}
	for _, name := range certificate.DNSNames {
		names = append(names, strings.ToLower(name))
	}
	if name := certificate.Subject.CommonName; name != "" {
		names = append(names, "CN="+name)
	}
	return names
}

// maxName is how much of a name that comes from outside goes into a message, in bytes.
const maxName = 200

func short(name string) string {
	if len(name) > maxName {
		return name[:maxName] + "…"
	}
	return name
}

// issuerDescs are what Guard tells of each issuer.
var (
	issuerKnown = prometheus.NewDesc("agenthost_issuer_keys_known",
		"1 while the issuer's keys are known; 0 while its tokens cannot be checked and calls with them are refused.", []string{"issuer"}, nil)
	issuerRead = prometheus.NewDesc("agenthost_issuer_keys_read_timestamp_seconds",
		"When the issuer's keys were read last, as Unix time; 0 if never.", []string{"issuer"}, nil)
)

// Describe implements prometheus.Collector.
func (g *Guard) Describe(descs chan<- *prometheus.Desc) { descs <- issuerKnown; descs <- issuerRead }

// Collect implements prometheus.Collector.
func (g *Guard) Collect(metrics chan<- prometheus.Metric) {
	for name, i := range g.policy.Load().issuers {
		known, read := 0.0, 0.0
		if i.keys.Load() != nil {
			known = 1
		}
		if at := i.read.Load(); at != nil {
			read = float64(at.UnixMilli()) / 1000
		}
		metrics <- prometheus.MustNewConstMetric(issuerKnown, prometheus.GaugeValue, known, name)
		metrics <- prometheus.MustNewConstMetric(issuerRead, prometheus.GaugeValue, read, name)
	}
}
