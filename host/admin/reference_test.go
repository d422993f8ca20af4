package admin

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/health"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/explain"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/series"
	"github.com/agenthost/agenthost/test/published"
)

func TestThePublishedAPIIsUpToDate(t *testing.T) {
	published.Check(t, "docs/reference/admin-api.md", apiReference(t))
}

func apiReference(t *testing.T) string {
	t.Helper()
	p := &page{t: t, docs: fieldDocs(t), told: map[reflect.Type]bool{}}
	p.print(`# Admin API

<!-- Generated from host/admin: go test ./host/admin -run TestThePublishedAPIIsUpToDate -update -->

HTTP on the host's admin address (` + "`listen.admin`" + `: TCP, or a unix socket), for operators. Nothing there holds configuration values,
environment or secrets. Fields are added without notice: ignore what you do not know. A path that is not listed is 404, another method 405.

Who may ask for what:

| access | over TCP | over the unix socket |
|---|---|---|
| open | whoever reaches the address | whoever may connect: the socket has mode 0600, unless systemd made it |
| read | from the host's own machine; else with a token | the same |
| operate | with a token | the host's user and root; others with a token |

A token comes as ` + "`Authorization: Bearer …`" + `. There are those of ` + "`listen.admin_token`" + `, and over TCP one of the host's own: a new one for each of
its lives, in ` + "`admin-PORT.token`" + ` below ` + "`run_dir`" + `, for nobody but its user (on its machine answers name the path in ` + "`Agenthost-Token-File`" + `, where the
command line finds it). Refused besides: requests of pages of other sites in a browser (` + "`Origin`, `Sec-Fetch-Site`" + `), names in ` + "`Host`" + ` that a
stranger can have lead here (403; not with a token), and bodies that are not ` + "`application/json`" + `, where nothing else is said (415). Each operation leaves a line in
the log, ` + "`operation`" + `, with who asked for it, its outcome and what changed.

| endpoint | access | parameters | answer | status |
|---|---|---|---|---|
`)
	server := New(Options{Metrics: prometheus.NewRegistry()})
	for _, e := range server.endpoints() {
		access := []string{"open", "read", "operate"}[e.access]
		if _, isOperation := e.handler.(operation); isOperation {
			access = "operate"
		}
		if e.profile {
			e.answer, e.status = "with `listen.pprof: on` "+e.answer, "200, 404"
		}
		p.print("| `%s` | %s | %s | %s | %s |\n", e.pattern, access, cell(e.parameters), cell(e.answer), e.status)
	}
	p.print(`
## The probe

What anybody may see, for the kubelet, Prometheus and hooks, at an address of its own (` + "`listen.probe`" + `): gRPC's health service
(` + "`grpc.health.v1.Health`" + `, without TLS) and, on the same port, over HTTP:

| endpoint | answer | status |
|---|---|---|
`)
	for _, e := range NewProbe(ProbeOptions{Metrics: prometheus.NewRegistry(), Health: health.NewServer()}).endpoints() {
		p.print("| `%s` | %s | %s |\n", e.pattern, cell(e.answer), e.status)
	}
	for _, root := range []any{Status{}, Event{}, LogLine{}, ReloadLine{}, UpgradeLine{}, OperationLine{}, PendingTasks{}, explain.TypeAnswer{}, explain.MetaAnswer{}, explain.TasksAnswer{}, ConfigState{}, series.Series{}} {
		p.describe(reflect.TypeOf(root))
	}
	return p.text.String()
}

// page is one being written.
type page struct {
	t    *testing.T
	text strings.Builder
	docs map[string]string // of types, "Status", and of their fields, "Status.Host"
	told map[reflect.Type]bool
}

func (p *page) print(format string, args ...any) { fmt.Fprintf(&p.text, format, args...) }

// describe tells of a struct, and then of those in it.
func (p *page) describe(t reflect.Type) {
	if p.told[t] {
		return
	}
	p.told[t] = true
	p.print("\n## %s\n\n%s\n\n| field | type | meaning |\n|---|---|---|\n", t.Name(), p.doc(t.Name()))
	var below []reflect.Type
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind, inner := jsonType(f.Type)
		if inner != nil {
			below = append(below, inner)
		}
		if strings.Contains(options, "omitempty") {
			kind += ", may be absent"
		}
		p.print("| `%s` | %s | %s |\n", name, kind, cell(p.doc(t.Name()+"."+f.Name)))
	}
	for _, inner := range below {
		p.describe(inner)
	}
}

func (p *page) doc(name string) string {
	if p.docs[name] == "" {
		p.t.Errorf("%s has no comment, so that the page cannot say what it means", name)
	}
	return p.docs[name]
}

// jsonType is what a Go type is in JSON, and the struct that is in it, if one is.
func jsonType(t reflect.Type) (kind string, inner reflect.Type) {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "time (RFC 3339)", nil
	case t.Kind() == reflect.Pointer:
		return jsonType(t.Elem())
	case t.Kind() == reflect.Slice:
		kind, inner = jsonType(t.Elem())
		return "list of " + kind, inner
	case t.Kind() == reflect.Struct:
		return "[" + t.Name() + "](#" + strings.ToLower(t.Name()) + ")", t
	case t.Kind() == reflect.String:
		return "text", nil
	case t.Kind() == reflect.Bool:
		return "bool", nil
	case t.Kind() == reflect.Map:
		return "object", nil
	}
	return "number", nil
}

var cell = strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace

// fieldDocs reads the comments of the types in the answers.
func fieldDocs(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, pattern := range []string{"*.go", "../config/plan.go", "../config/errors.go", "../explain/*.go", "../series/recorder.go", "../history/event.go", "../logging/tail.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v, no files", pattern, err)
		}
		for _, path := range paths {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range file.Decls {
				if decl, ok := decl.(*ast.GenDecl); ok && decl.Tok == token.TYPE {
					addDocs(docs, decl)
				}
			}
		}
	}
	return docs
}

func addDocs(docs map[string]string, decl *ast.GenDecl) {
	for _, spec := range decl.Specs {
		typed := spec.(*ast.TypeSpec)
		docs[typed.Name.Name] = oneParagraph(decl.Doc.Text())
		fields, ok := typed.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, field := range fields.Fields.List {
			about := field.Doc.Text()
			if about == "" {
				about = field.Comment.Text()
			}
			for _, name := range field.Names {
				docs[typed.Name.Name+"."+name.Name] = oneParagraph(about)
			}
		}
	}
}

func oneParagraph(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestTheCommentsNameEveryStateAndAction(t *testing.T) {
	docs := fieldDocs(t)
	for _, state := range fleet.States {
		if !strings.Contains(docs["PluginStatus.State"], string(state)) {
			t.Errorf("PluginStatus.State does not name %s", state)
		}
	}
	for _, action := range []config.Action{config.Added, config.Removed, config.Swapped, config.Updated, config.Unchanged, config.NeedsRestart} {
		if !strings.Contains(docs["Change.Action"], string(action)) {
			t.Errorf("Change.Action does not name %s", action)
		}
	}
}

func TestOtherMethodsAndPathsAreRefused(t *testing.T) {
	server := New(Options{Metrics: prometheus.NewRegistry(), Profiles: true, Page: plainPage{}})
	for _, e := range server.endpoints() {
		_, path, _ := strings.Cut(e.pattern, " ")
		path = strings.TrimSuffix(path, "{$}")
		for target, want := range map[string]int{path: http.StatusMethodNotAllowed, "/no" + path: http.StatusNotFound} {
			answer := httptest.NewRecorder()
			server.http.Handler.ServeHTTP(answer, httptest.NewRequest(http.MethodPut, target, nil))
			if answer.Code != want {
				t.Errorf("PUT %s: %d, want %d", target, answer.Code, want)
			}
		}
	}
}
