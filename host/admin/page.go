package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/fleet"
)

// Page shows the host in a browser: package page. What it is asked for has been judged before, as all of the API has.
type Page interface {
	// ServeHTTP answers whoever may read.
	http.Handler
	// Login shows the form for a token, and what is wrong with the one that was sent, if one was.
	Login(w http.ResponseWriter, r *http.Request, status int, problem string)
	// Refused shows why a request is not answered.
	Refused(w http.ResponseWriter, r *http.Request, status int, why string)
	// Operation shows what happens during an operation on a plugin, as it is told line by line, until end.
	Operation(w http.ResponseWriter, r *http.Request, plugin, operation string) (tell func(OperationLine), end func())
	// Reload does so for a reload.
	Reload(w http.ResponseWriter, r *http.Request) (tell func(ReloadLine), end func())
}

// Visitor is who looks at the page.
type Visitor struct {
	// Name is what audit lines call who may operate the host; empty for others.
	Name string
	// Operates says that he may, LoggedIn that it is because he has shown a token by a form.
	Operates, LoggedIn bool

	sign func(action string, life time.Duration) string
}

// FormField is the field of forms that has what Visitor.Form makes.
const FormField = "form"

// Form makes what a form that is posted to path has to carry. It is good once, for a quarter of an hour.
func (v Visitor) Form(path string) string { return v.signed(path, formLife) }

// LogoutForm is the same for the end of a session.
func (v Visitor) LogoutForm() string { return v.signed("/ui/logout", sessionLife) }

func (v Visitor) signed(path string, life time.Duration) string {
	if v.sign == nil {
		return ""
	}
	return v.sign(path, life)
}

type visitorKey struct{}

// VisitorOf is who makes a request that is answered by a Page.
func VisitorOf(r *http.Request) Visitor {
	v, _ := r.Context().Value(visitorKey{}).(Visitor)
	return v
}

// visitor is a caller as the page knows him.
func (s *Server) visitor(r *http.Request, e endpoint, c caller) Visitor {
	e.access = operate
	v := Visitor{LoggedIn: c.session != nil, Operates: s.refuse(r, e, c) == nil}
	v.sign = func(action string, life time.Duration) string { return s.sessions.sign(c.visitor(), action, life) }
	if v.Operates {
		v.Name = c.String()
		if c.token != "" {
			v.Name = "token " + c.token
		} else if c.peer != nil {
			v.Name = fmt.Sprintf("user %d", c.peer.Uid)
		}
	}
	return v
}

// visitor tells browsers apart, for their forms.
func (c caller) visitor() string {
	switch {
	case c.session != nil:
		return fmt.Sprintf("session %x", c.session.id)
	case c.token != "":
		return "token " + c.token
	case c.peer != nil:
		return fmt.Sprintf("user %d", c.peer.Uid)
	}
	return "anybody"
}

// pageEndpoints are those of the page.
func (s *Server) pageEndpoints() []endpoint {
	shown := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.streams, cancel)()
		s.options.Page.ServeHTTP(w, r.WithContext(ctx))
	})
	row := func(pattern, parameters, answer string) endpoint {
		return endpoint{pattern: pattern, handler: shown, access: read, page: true, parameters: parameters, answer: answer, status: "200"}
	}
	endpoints := []endpoint{
		row("GET /{$}", "`q`: part of a name; `state`: a state, or `trouble`; `page`: from 1", "the overview, for a browser, as HTML: see [operating.md](../operating.md#the-page)"),
		row("GET /ui/plugins/{plugin}", "`plugin`: its name", "a plugin, for a browser, as HTML"),
		row("GET /ui/plugins/{plugin}/{operation}", "`plugin`: its name; `operation`: as below", "a form that asks whether the operation is meant"),
		row("GET /ui/reload", "", "a form that asks whether a reload is meant"),
		row("GET /ui/explain", "as `GET /explain`", "the same as HTML, with forms"),
		{
			pattern: "POST /ui/explain", handler: shown, access: read, page: true, body: form,
			parameters: "a form: `meta`, a resource_meta in base64", answer: "as `POST /explain/meta`, as HTML", status: "200",
		},
		row("GET /ui/tasks", "`execution`: its name", "as `GET /tasks`, as HTML"),
		row("GET /ui/tasks/{project}/{domain}/{execution}", "", "the same"),
		row("GET /ui/live", "`of`: a path of the page; `since`: what it holds", "what has changed of a page since, as server-sent events; 503 where enough are looking"),
		{
			pattern: "GET /ui/assets/{file}", handler: shown, page: true, parameters: "`file`: one that the page names", answer: "the page's style and script", status: "200, 404",
		},
		{
			pattern: "GET /ui/login", handler: http.HandlerFunc(s.serveLogin), page: true,
			parameters: "`next`: the path to be led to", answer: "a form for a token", status: "200",
		},
		{
			pattern: "POST /ui/login", handler: http.HandlerFunc(s.login), page: true, body: form,
			parameters: "a form: `token`, `next`", answer: "a cookie, by which the browser is known to the page until the host ends, or for 12 hours", status: "303, 401",
		},
		{
			pattern: "POST /ui/logout", handler: http.HandlerFunc(s.logout), page: true, body: form, signed: true,
			parameters: "a form: `form`", answer: "the end of that", status: "303",
		},
		{
			pattern: "POST /ui/reload", handler: s.operation("reload", s.showReload), page: true, body: form, signed: true,
			parameters: "a form: `form`, from `GET /ui/reload`", answer: "as `POST /reload`, as HTML", status: "200",
		},
	}
	for _, what := range fleet.Operations {
		endpoints = append(endpoints, endpoint{
			pattern: "POST /ui/plugins/{plugin}/" + string(what), handler: s.operation(string(what), s.showOperation(what)), page: true, body: form, signed: true,
			parameters: "`plugin`: its name; a form: `form`, from `GET` of the same path", answer: "as `POST /plugins/{plugin}/" + string(what) + "`, as HTML", status: "200",
		})
	}
	return endpoints
}

func (s *Server) showOperation(what fleet.Operation) func(http.ResponseWriter, *http.Request) Outcome {
	return func(w http.ResponseWriter, r *http.Request) Outcome {
		name := r.PathValue("plugin")
		tell, end := s.options.Page.Operation(w, r, name, string(what))
		defer end()
		return s.operate(r.Context(), name, what, tell)
	}
}

func (s *Server) showReload(w http.ResponseWriter, r *http.Request) Outcome {
	tell, end := s.options.Page.Reload(w, r)
	defer end()
	return s.reload(r.Context(), false, tell)
}

// refusePage shows why a request for the page is not answered, or where to show a token.
func (s *Server) refusePage(w http.ResponseWriter, r *http.Request, refused *refusal) {
	if refused.status == http.StatusUnauthorized && slices.Contains([]string{http.MethodGet, http.MethodHead}, r.Method) && r.URL.Path != "/ui/live" {
		http.Redirect(w, r, "/ui/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		return
	}
	s.options.Page.Refused(w, r, refused.status, refused.text)
}

// readForm reads the form that a request brings, and says what is wrong with it.
func (s *Server) readForm(w http.ResponseWriter, r *http.Request, e endpoint, c caller) *refusal {
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	if err := r.ParseForm(); err != nil {
		return &refusal{http.StatusBadRequest, "the form cannot be read"}
	}
	if !e.signed {
		return nil
	}
	if problem := s.sessions.check(c.visitor(), r.URL.Path, r.PostForm.Get(FormField)); problem != "" {
		return &refusal{http.StatusForbidden, problem}
	}
	return nil
}

func withVisitor(ctx context.Context, v Visitor) context.Context {
	return context.WithValue(ctx, visitorKey{}, v)
}

// isNavigation says that a browser asks for a page to show it by itself, such as by a link from a runbook: whoever linked learns
// nothing of it.
func isNavigation(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}
