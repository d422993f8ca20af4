package access

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/config"
)

// Operation is what a caller may do, as rules call it.
type Operation string

// The operations.
const (
	Run    Operation = "run"
	Poll   Operation = "poll"
	Delete Operation = "delete"
	List   Operation = "list"
)

// Task is what a call is about.
type Task struct {
	Type            string
	Project, Domain string
	// Unplaced says that nobody knows the project and domain: the job's resource_meta is not sealed with them.
	Unplaced bool
}

// rule is a rule of the configuration, made ready.
type rule struct {
	anyone                              bool
	certificate, issuer, subject, group pattern
	aboutCertificate, aboutToken        bool
	claims                              map[string]pattern
	may                                 []string
	taskTypes, projects, domains        []pattern
}

func newRule(from config.AccessRule) rule {
	r := rule{
		anyone: from.Anyone, certificate: newPattern(certificateName(from.Certificate)), issuer: newPattern(from.Issuer), subject: newPattern(from.Subject), group: newPattern(from.Group),
		aboutCertificate: from.Certificate != "", aboutToken: from.AboutTokens(), claims: map[string]pattern{}, may: from.May,
		taskTypes: newPatterns(from.TaskTypes), projects: newPatterns(from.Projects), domains: newPatterns(from.Domains),
	}
	for name, value := range from.Claims {
		r.claims[name] = newPattern(value)
	}
	return r
}

// certificateName is a name in a certificate as namesOf gives it.
func certificateName(name string) string {
	if strings.Contains(name, "://") || strings.HasPrefix(name, "CN=") {
		return name
	}
	return strings.ToLower(name) // DNS
}

// is says whether the rule is about a caller.
func (r *rule) is(c Caller) bool {
	switch {
	case r.anyone:
		return true
	case !r.aboutCertificate && !r.aboutToken:
		return false
	case r.aboutCertificate && (c.certificate == nil || !slices.ContainsFunc(c.names, r.certificate.matches)):
		return false
	case !r.aboutToken:
		return true
	case c.token == nil || r.issuer.given && !r.issuer.matches(c.token.issuer.settings.Issuer):
		return false
	case r.subject.given && !r.subject.matches(c.token.subject):
		return false
	case r.group.given && !c.token.has("groups", r.group):
		return false
	}
	for name, wanted := range r.claims {
		if !c.token.has(name, wanted) {
			return false
		}
	}
	return true
}

// allows says whether the rule allows to do something.
func (r *rule) allows(operation Operation, task Task) bool {
	if !slices.Contains(r.may, string(operation)) || !oneOf(r.taskTypes, task.Type) {
		return false
	}
	if operation == List { // what there is has no project
		return true
	}
	if task.Unplaced {
		return len(r.projects)+len(r.domains) == 0
	}
	return oneOf(r.projects, task.Project) && oneOf(r.domains, task.Domain)
}

// oneOf says whether a text matches one of the patterns; none at all match anything.
func oneOf(patterns []pattern, text string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p pattern) bool { return p.matches(text) })
}

// May says whether the caller may do something. An error is an answer to him.
func (c Caller) May(operation Operation, task Task) error {
	if c.may(operation, task) {
		return nil
	}
	return c.refused(operation, task)
}

func (c Caller) may(operation Operation, task Task) bool {
	return c.policy == nil || slices.ContainsFunc(c.policy.rules, func(r rule) bool { return r.is(c) && r.allows(operation, task) })
}

// MaySomewhere says whether the caller may do something with tasks of a type, in whatever project and domain.
func (c Caller) MaySomewhere(operation Operation, taskType string) error {
	if c.policy == nil || slices.ContainsFunc(c.policy.rules, func(r rule) bool {
		return r.is(c) && slices.Contains(r.may, string(operation)) && oneOf(r.taskTypes, taskType)
	}) {
		return nil
	}
	return c.refused(operation, Task{Type: taskType, Unplaced: true})
}

// Lists says whether the caller may see that there is a task type.
func (c Caller) Lists(taskType string) bool { return c.may(List, Task{Type: taskType}) }

// MayList says whether the caller may list at all. An error is an answer to him.
func (c Caller) MayList() error {
	if c.policy == nil || slices.ContainsFunc(c.policy.rules, func(r rule) bool { return r.is(c) && slices.Contains(r.may, string(List)) }) {
		return nil
	}
	return status.Errorf(c.code(), "%s may not list what this host serves: no rule of access.rules has `may: [list]` for it%s", c, c.hint())
}

// Sealed says whether a policy is in force under which the project and domain of a task count.
func (c Caller) Sealed() bool { return c.policy != nil && c.policy.seals }

// Judged says whether there is a policy at all.
func (c Caller) Judged() bool { return c.policy != nil }

// refused is what a caller hears who may not do something: who, what, and the rule that is missing.
func (c Caller) refused(operation Operation, task Task) error {
	about := fmt.Sprintf("task type %q", short(task.Type))
	missing := fmt.Sprintf("may: [%s], task_types: [%s]", operation, short(task.Type))
	switch {
	case !task.Unplaced:
		about += fmt.Sprintf(" in project %q, domain %q", short(task.Project), short(task.Domain))
		missing += fmt.Sprintf(", projects: [%s], domains: [%s]", short(task.Project), short(task.Domain))
	case c.Sealed():
		about += " for a job that was not sealed with its project when it was made, for which only rules without projects and domains count"
	}
	return status.Errorf(c.code(), "%s may not %s %s: no rule of access.rules has {%s} for it%s", c, operation, about, missing, c.hint())
}

func (c Caller) code() codes.Code {
	if c.known() {
		return codes.PermissionDenied
	}
	return codes.Unauthenticated
}

// hint is what may help a caller whom nobody knows.
func (c Caller) hint() string {
	if c.known() {
		return ""
	}
	return "; it has shown no client certificate and no token"
}

// pattern is a text in which * stands for any characters. The zero value matches nothing but the empty text.
type pattern struct {
	given bool
	text  string
	glob  *regexp.Regexp // nil without a *
}

func newPattern(text string) pattern {
	p := pattern{given: text != "", text: text}
	if strings.Contains(text, "*") {
		p.glob = regexp.MustCompile(`(?s)\A` + strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, `.*`) + `\z`)
	}
	return p
}

func newPatterns(texts []string) []pattern {
	patterns := make([]pattern, len(texts))
	for i, text := range texts {
		patterns[i] = newPattern(text)
	}
	return patterns
}

func (p pattern) matches(text string) bool {
	if p.glob != nil {
		return p.glob.MatchString(text)
	}
	return p.text == text
}
