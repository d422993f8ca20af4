package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ListenTLS says by which certificates the host and its callers know each other. The files are read again while the host runs:
// what is rotated is in use from the next connection on.
type ListenTLS struct {
	// The certificate of listen.grpc, as a PEM file with those that lead to its authority. Callers then speak TLS; without
	// it they speak plain gRPC. It goes with key.
	Cert string `koanf:"cert" check:"file"`
	// The private key of cert, as a PEM file.
	Key string `koanf:"key" check:"file" private:"true"`
	// The certificates, as a PEM file, that callers' certificates must come from. Default: no caller is asked for one.
	ClientCA string `koanf:"client_ca" check:"file"`
	// Whether a caller must have a certificate of client_ca (require), or may (optional).
	ClientCertificates string `koanf:"client_certificates" check:"client_certificates"`
}

// The two values of ListenTLS.ClientCertificates.
const (
	Require  = "require"
	Optional = "optional"
)

// Access says who may call. Where it is left out, everybody may who reaches the port.
type Access struct {
	// Whose tokens are taken: callers send one as `authorization: Bearer …`.
	Issuers []Issuer `koanf:"issuers"`
	// How far the clocks of the host and of issuers may be apart.
	ClockSkew time.Duration `koanf:"clock_skew" check:"duration"`
	// What is allowed; what no rule allows is refused. Rules that name projects or domains have the host seal each resource_meta with
	// those of its task, since polls and deletions do not say them.
	Rules []AccessRule `koanf:"rules"`
}

// On says that there is anything that calls are judged by.
func (a Access) On() bool { return len(a.Rules)+len(a.Issuers) > 0 }

// Seals says that there is a rule for certain projects or domains.
func (a Access) Seals() bool {
	return slices.ContainsFunc(a.Rules, func(r AccessRule) bool { return len(r.Projects)+len(r.Domains) > 0 })
}

// Issuer is an OIDC issuer of tokens.
type Issuer struct {
	// The issuer's URL, as it stands in the tokens' iss. Its keys are found by OIDC discovery, and looked for again every few minutes
	// and where a token names another one.
	Issuer string `koanf:"issuer" check:"issuer" required:"true"`
	// Whom tokens must be for: their aud has one of these.
	Audience []string `koanf:"audience" check:"text" required:"true"`
	// The certificates, as a PEM file, by which the issuer's server is known. Default: those of the system.
	CA string `koanf:"ca" check:"file"`
	// A file with a token to show to the issuer's server, such as a Kubernetes API server that gives its keys to service accounts only.
	TokenFile string `koanf:"token_file" check:"file" private:"true"`
}

// AccessRule allows something to somebody. A key that is left out matches anything; a `*` in a text stands for any characters.
type AccessRule struct {
	// Whoever calls, known or not: Flyte 1 can show neither a certificate nor a token.
	Anyone bool `koanf:"anyone"`
	// A name in the caller's certificate: a URI such as spiffe://…, a DNS name, or CN=… for the common name.
	Certificate string `koanf:"certificate" check:"text"`
	// Who issued the caller's token, one of access.issuers. Required with several of them, where the rule is about tokens.
	Issuer string `koanf:"issuer" check:"issuer"`
	// The sub of the caller's token, such as system:serviceaccount:flyte:flytepropeller.
	Subject string `koanf:"subject" check:"text"`
	// One of the groups of the caller's token.
	Group string `koanf:"group" check:"text"`
	// Claims of the caller's token by name, a/b for b in a; of a list any element.
	Claims map[string]string `koanf:"claims" keys:"claim_name" check:"text"`
	// What they may: run (CreateTask, ExecuteTaskSync), poll (GetTask, its logs and metrics), delete, list (discovery and reflection).
	May []string `koanf:"may" check:"may" required:"true"`
	// The task types.
	TaskTypes []string `koanf:"task_types" check:"text"`
	// The Flyte projects of the tasks.
	Projects []string `koanf:"projects" check:"text"`
	// The Flyte domains of the tasks.
	Domains []string `koanf:"domains" check:"text"`
}

// AboutTokens says that the rule asks for something of a token.
func (r AccessRule) AboutTokens() bool {
	return r.Issuer != "" || r.Subject != "" || r.Group != "" || len(r.Claims) > 0
}

func checkIssuer(value string) error { return CheckProtected(value) }

// CheckProtected says what is wrong with a URL from which an issuer's keys come: whoever can change them on their way can be anybody.
func CheckProtected(value string) error {
	location, err := url.Parse(value)
	switch {
	case err != nil:
		return err
	case location.Scheme == "https":
		return nil
	case location.Scheme != "http":
		return errors.New("it is no https URL")
	}
	if ip := net.ParseIP(location.Hostname()); location.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return errors.New("keys that come over plain http could be anybody's; only on the loopback may it be http")
}

// checkAccess finds what would keep everybody out, or let in somebody who is not meant.
func (c *Config) checkAccess() Errors {
	errs := c.checkListenTLS()
	if !c.Access.On() {
		if c.isSet("access", "rules") || c.isSet("access", "issuers") {
			errs = append(errs, c.ErrorAt("allows nothing to anybody; give it rules, or remove it and everybody may call", "access"))
		}
		return errs
	}
	if len(c.Access.Rules) == 0 {
		errs = append(errs, c.ErrorAt("takes tokens and has no rules: nobody may call; give it rules, such as {subject: \"*\", may: [run, poll, delete, list]}", "access"))
	}
	for i, issuer := range c.Access.Issuers {
		at := func(key string) []string { return []string{"access", "issuers", strconv.Itoa(i), key} }
		if slices.ContainsFunc(c.Access.Issuers[:i], func(earlier Issuer) bool { return earlier.Issuer == issuer.Issuer }) {
			errs = append(errs, c.ErrorAt("is given twice; put the audiences of both into one", at("issuer")...))
		}
		if len(issuer.Audience) == 0 && c.isSet(at("audience")...) {
			errs = append(errs, c.ErrorAt("is empty: a token that is meant for somebody else would do; name what tokens for this host have as their aud", at("audience")...))
		}
	}
	for i, r := range c.Access.Rules {
		errs = append(errs, c.checkAccessRule(i, r)...)
	}
	return errs
}

func (c *Config) checkListenTLS() Errors {
	var errs Errors
	at := func(key string) []string { return []string{"listen", "tls", key} }
	for _, pair := range [][2]string{{"cert", "key"}, {"key", "cert"}, {"client_ca", "cert"}} {
		if c.isSet(at(pair[0])...) && !c.isSet(at(pair[1])...) {
			errs = append(errs, c.ErrorAt(fmt.Sprintf("is given without %s", pair[1]), at(pair[0])...))
		}
	}
	if c.isSet(at("client_certificates")...) && !c.isSet(at("client_ca")...) {
		errs = append(errs, c.ErrorAt("is given without client_ca", at("client_certificates")...))
	}
	return errs
}

func (c *Config) checkAccessRule(i int, r AccessRule) Errors {
	var errs Errors
	fail := func(message string, key ...string) {
		errs = append(errs, c.ErrorAt(message, append([]string{"access", "rules", strconv.Itoa(i)}, key...)...))
	}
	issuers := make([]string, len(c.Access.Issuers))
	for i := range issuers {
		issuers[i] = c.Access.Issuers[i].Issuer
	}
	named := r.Certificate != "" || r.AboutTokens()
	switch {
	case r.Anyone && named:
		fail("is given beside what only some callers have; remove one of the two", "anyone")
	case !r.Anyone && !named:
		fail("names nobody: give anyone, certificate, subject, group, claims or issuer")
	}
	if r.Certificate != "" && c.Listen.TLS.ClientCA == "" {
		fail("can match no caller: none is asked for a certificate; set listen.tls.client_ca", "certificate")
	}
	switch {
	case r.AboutTokens() && len(issuers) == 0:
		fail("is about tokens, and none are taken: set access.issuers")
	case r.Issuer != "" && !slices.Contains(issuers, r.Issuer):
		fail("is none of access.issuers: "+strings.Join(issuers, ", "), "issuer")
	case r.AboutTokens() && r.Issuer == "" && len(issuers) > 1:
		fail("does not say whose tokens it is about, and each of access.issuers could name anybody so: give issuer")
	}
	if len(r.May) == 0 && c.isSet("access", "rules", strconv.Itoa(i), "may") {
		fail("is empty: the rule allows nothing", "may")
	}
	for _, list := range []struct {
		key    string
		values []string
	}{{"task_types", r.TaskTypes}, {"projects", r.Projects}, {"domains", r.Domains}} {
		path := []string{"access", "rules", strconv.Itoa(i), list.key}
		if c.isSet(path...) && len(list.values) == 0 {
			errs = append(errs, c.ErrorAt("is empty: the rule allows nothing; remove the key if any will do", path...))
		}
	}
	for _, whose := range []struct{ key, value string }{{"certificate", r.Certificate}, {"subject", r.Subject}, {"group", r.Group}} {
		if c.isSet("access", "rules", strconv.Itoa(i), whose.key) && whose.value == "" {
			fail("is empty; remove the key if any will do", whose.key)
		}
	}
	return errs
}
