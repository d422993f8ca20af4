package access

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/config"
)

// callerWith is a caller under rules, as if he had shown these.
func callerWith(rules []config.AccessRule, certificate *x509.Certificate, shown *token) Caller {
	p := &policy{on: true, seals: config.Access{Rules: rules}.Seals()}
	for _, r := range rules {
		p.rules = append(p.rules, newRule(r))
	}
	return Caller{policy: p, token: shown}.showing(certificate)
}

func certificateNamed(common string, dns ...string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: common}, DNSNames: dns}
}

func tokenOf(issuedBy, subject string, claims map[string]any) *token {
	return &token{issuer: &issuer{settings: config.Issuer{Issuer: issuedBy}}, subject: subject, claims: claims}
}

// globbed is pattern said in another way: what a * leaves between two texts.
func globbed(text, pattern string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return text == pattern
	}
	rest, ok := strings.CutPrefix(text, head)
	for i := 0; ok && i <= len(rest); i++ {
		if globbed(rest[i:], tail) {
			return true
		}
	}
	return false
}

func TestACallerMayWhatOneRuleAllowsHimAndNothingElse(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "ab", "ba", ""})
	patterns := rapid.SampledFrom([]string{"a", "b", "*", "a*", "*b", "a*b"})
	some := rapid.SliceOfN(patterns, 0, 2)
	operations := rapid.SampledFrom([]string{"run", "poll", "delete", "list"})
	rules := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) config.AccessRule {
		r := config.AccessRule{
			May: rapid.SliceOfN(operations, 1, 2).Draw(t, "may"), TaskTypes: some.Draw(t, "task types"),
			Projects: some.Draw(t, "projects"), Domains: some.Draw(t, "domains"),
		}
		if r.Anyone = rapid.Bool().Draw(t, "anyone"); !r.Anyone {
			r.Subject = patterns.Draw(t, "subject")
		}
		return r
	}), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		table := rules.Draw(t, "rules")
		var shown *token
		if rapid.Bool().Draw(t, "token") {
			shown = tokenOf("https://issuer", names.Draw(t, "subject"), nil)
		}
		operation := Operation(operations.Draw(t, "operation"))
		task := Task{Type: names.Draw(t, "type"), Project: names.Draw(t, "project"), Domain: names.Draw(t, "domain"), Unplaced: rapid.Bool().Draw(t, "unplaced")}
		within := func(patterns []string, text string) bool {
			return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return globbed(text, p) })
		}
		want := slices.ContainsFunc(table, func(r config.AccessRule) bool {
			placed := operation == List || within(r.Projects, task.Project) && within(r.Domains, task.Domain)
			if operation != List && task.Unplaced {
				placed = len(r.Projects) == 0 && len(r.Domains) == 0
			}
			return (r.Anyone || shown != nil && globbed(shown.subject, r.Subject)) && slices.Contains(r.May, string(operation)) && within(r.TaskTypes, task.Type) && placed
		})
		err := callerWith(table, nil, shown).May(operation, task)
		if (err == nil) != want {
			t.Fatalf("allowed: %v (%v), want %v", err == nil, err, want)
		}
		if code := status.Code(err); err != nil && (code == codes.Unauthenticated) != (shown == nil) {
			t.Fatalf("refused with %s", code)
		}
	})
}

func TestARuleIsForThoseOfWhomAllHolds(t *testing.T) {
	spiffe, err := url.Parse("spiffe://cluster/ns/flyte/sa/propeller")
	if err != nil {
		t.Fatal(err)
	}
	workload := &x509.Certificate{URIs: []*url.URL{spiffe}, DNSNames: []string{"Propeller.flyte.svc"}, Subject: pkix.Name{CommonName: "propeller"}}
	shown := tokenOf("https://one", "alice", map[string]any{
		"groups": []any{"dev", "ops"}, "email_verified": true, "tenant": "t1", "level": 3.0,
		"kubernetes.io":             map[string]any{"namespace": "flyte", "serviceaccount": map[string]any{"name": "propeller"}},
		"https://example.com/roles": []any{"runner"},
	})
	for name, test := range map[string]struct {
		rule config.AccessRule
		want bool
	}{
		"URI":                           {config.AccessRule{Certificate: "spiffe://cluster/ns/flyte/sa/propeller"}, true},
		"URI with a star":               {config.AccessRule{Certificate: "spiffe://cluster/ns/flyte/*"}, true},
		"other URI":                     {config.AccessRule{Certificate: "spiffe://other/ns/flyte/*"}, false},
		"DNS name":                      {config.AccessRule{Certificate: "propeller.FLYTE.svc"}, true},
		"common name":                   {config.AccessRule{Certificate: "CN=propeller"}, true},
		"common name as a DNS name":     {config.AccessRule{Certificate: "propeller"}, false},
		"any certificate":               {config.AccessRule{Certificate: "*"}, true},
		"subject":                       {config.AccessRule{Subject: "alice"}, true},
		"part of a subject":             {config.AccessRule{Subject: "ali"}, false},
		"subject and issuer":            {config.AccessRule{Subject: "alice", Issuer: "https://one"}, true},
		"subject of another issuer":     {config.AccessRule{Subject: "alice", Issuer: "https://two"}, false},
		"any of an issuer":              {config.AccessRule{Issuer: "https://one"}, true},
		"group":                         {config.AccessRule{Group: "ops"}, true},
		"no such group":                 {config.AccessRule{Group: "op"}, false},
		"claims":                        {config.AccessRule{Claims: map[string]string{"tenant": "t1", "email_verified": "true", "level": "3"}}, true},
		"one claim of two":              {config.AccessRule{Claims: map[string]string{"tenant": "t1", "other": "*"}}, false},
		"nested claim":                  {config.AccessRule{Claims: map[string]string{"kubernetes.io/serviceaccount/name": "propeller"}}, true},
		"nested claim that is not":      {config.AccessRule{Claims: map[string]string{"kubernetes.io/pod/name": "*"}}, false},
		"claim within a text":           {config.AccessRule{Claims: map[string]string{"tenant/x": "*"}}, false},
		"claim that is a URL":           {config.AccessRule{Claims: map[string]string{"https://example.com/roles": "runner"}}, true},
		"mapping as a text":             {config.AccessRule{Claims: map[string]string{"kubernetes.io": "*"}}, false},
		"certificate and token":         {config.AccessRule{Certificate: "CN=propeller", Subject: "alice"}, true},
		"certificate and another token": {config.AccessRule{Certificate: "CN=propeller", Subject: "bob"}, false},
		"nobody":                        {config.AccessRule{}, false},
		"anyone":                        {config.AccessRule{Anyone: true}, true},
	} {
		r := newRule(test.rule)
		if got := r.is(Caller{token: shown}.showing(workload)); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
		if got := r.is(Caller{}); got != test.rule.Anyone {
			t.Errorf("%s is for somebody who shows nothing: %v", name, got)
		}
	}
}

func TestARefusalNamesWhoAndWhatAndTheMissingRule(t *testing.T) {
	rules := []config.AccessRule{{Subject: "alice", May: []string{"run"}, Projects: []string{"finance"}}}
	task := Task{Type: "duckdb_query", Project: "sales", Domain: "production"}
	for want, err := range map[string]error{
		`subject "alice" of issuer https://one may not run task type "duckdb_query" in project "sales", domain "production": no rule of access.rules has ` +
			`{may: [run], task_types: [duckdb_query], projects: [sales], domains: [production]} for it`: callerWith(rules, nil, tokenOf("https://one", "alice", nil)).May(Run, task),
		`certificate "CN=bob" may not delete task type "duckdb_query" for a job that was not sealed with its project when it was made, for which only rules without ` +
			`projects and domains count: no rule of access.rules has {may: [delete], task_types: [duckdb_query]} for it`: callerWith(rules, certificateNamed("bob"), nil).May(Delete, Task{Type: "duckdb_query", Unplaced: true}),
		`a caller without certificate or token may not list what this host serves: no rule of access.rules has ` + "`may: [list]`" +
			` for it; it has shown no client certificate and no token`: callerWith(rules, nil, nil).MayList(),
	} {
		if got := status.Convert(err).Message(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	long := callerWith(rules, nil, tokenOf("https://one", strings.Repeat("x", 10_000), nil)).May(Run, task)
	if length := len(long.Error()); length > 1000 {
		t.Errorf("a long name makes a message of %d bytes", length)
	}
}
