// Package page shows a host in a browser: what it and its plugins do, live, and forms for the operations on it. All of it is made here, by
// templates that are part of the program (templates, assets), and works without scripts.
//
// Who may see and do what has been judged before: package admin asks for a page only for who may read, and carries out operations itself,
// as those of its API. A page is made of parts (part.go), which a view (view.go) makes anew only where what they show has changed, once for
// all who look at it (live.go).
package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/history"
	"github.com/agenthost/agenthost/host/series"
)

//go:embed templates assets
var files embed.FS

// Options are where a Page learns what it shows.
type Options struct {
	// Status is what the host and its plugins are doing.
	Status func() admin.Status
	// Events are what has happened since Past, and then what happens, until the context ends or the host stops.
	Events func(context.Context) iter.Seq[history.Event]
	// Explain answers questions about tasks; nil: nobody does.
	Explain admin.Explainer
	// Lines are the last lines that a plugin has printed, at most so many.
	Lines func(plugin string, last int) []admin.LogLine
	// Series is the last hour of the plugins.
	Series *series.Recorder
	// Keys are the keys of a plugin that the configuration in effect sets, without what may be secret.
	Keys func(plugin string) []config.ShownKey
	// Pending is how many tasks are accepted and have no job yet, by plugin.
	Pending func() map[string]int
}

// Page shows a host. It implements admin.Page.
type Page struct {
	options   Options
	templates *template.Template
	mux       *http.ServeMux
	live      *live
	happened  happened
}

var _ admin.Page = (*Page)(nil)

// New returns a page of a host.
func New(options Options) *Page {
	p := &Page{options: options, templates: template.Must(template.New("").Funcs(functions).ParseFS(files, "templates/*.html")), mux: http.NewServeMux()}
	p.live = newLive(p)
	p.happened.more = make(chan struct{}, 1)
	p.mux.HandleFunc("GET /{$}", p.serveView)
	p.mux.HandleFunc("GET /ui/plugins/{plugin}", p.serveView)
	p.mux.HandleFunc("GET /ui/plugins/{plugin}/{operation}", p.serveConfirm)
	p.mux.HandleFunc("GET /ui/reload", p.serveConfirm)
	p.mux.HandleFunc("GET /ui/explain", p.serveExplain)
	p.mux.HandleFunc("POST /ui/explain", p.serveExplain)
	p.mux.HandleFunc("GET /ui/tasks", p.serveTasks)
	p.mux.HandleFunc("GET /ui/tasks/{project}/{domain}/{execution}", p.serveTasks)
	p.mux.HandleFunc("GET /ui/live", p.live.serve)
	p.mux.HandleFunc("GET /ui/assets/{file}", serveAsset)
	return p
}

// policy is what a browser may do with a page: nothing from elsewhere, no script but the one file, no frame around it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types page"

// ServeHTTP implements admin.Page.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

// protect sets the headers of everything that is shown.
func protect(w http.ResponseWriter) {
	for name, value := range map[string]string{
		"Content-Security-Policy": policy, "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin", "Permissions-Policy": "camera=(), geolocation=(), microphone=()", "Cache-Control": "no-store",
		"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff",
	} {
		w.Header().Set(name, value)
	}
}

// frame is what is around the content of every page.
type frame struct {
	Title string
	// Current is the path of the link in the header that leads here.
	Current string
	Visitor admin.Visitor
	// Next is where a login leads.
	Next string
	// Live is what the script asks to be told of; empty: the page does not change. Since is what the page has of it.
	Live  string
	Since uint64
	Host  hostName
	Body  any
}

// hostName tells hosts apart.
type hostName struct{ Name, Version string }

// show writes a page.
func (p *Page) show(w http.ResponseWriter, r *http.Request, status int, name string, f frame) {
	f.Visitor = admin.VisitorOf(r)
	if f.Next == "" {
		f.Next = r.URL.RequestURI()
	}
	var whole bytes.Buffer
	if err := p.templates.ExecuteTemplate(&whole, name, f); err != nil {
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	protect(w)
	w.WriteHeader(status)
	_, _ = w.Write(whole.Bytes()) // a reader that went away needs no answer
}

// serveView shows a view as it is now.
func (p *Page) serveView(w http.ResponseWriter, r *http.Request) {
	v, err := p.live.view(r.URL)
	if err != nil {
		p.Refused(w, r, http.StatusNotFound, err.Error())
		return
	}
	content := p.live.content(v)
	status := http.StatusOK
	if content.missing {
		status = http.StatusNotFound
	}
	p.show(w, r, status, content.template, frame{
		Title: content.title, Current: content.current, Live: v.key, Since: content.seq, Host: content.host, Body: content.body(admin.VisitorOf(r)),
	})
}

// Refused implements admin.Page.
func (p *Page) Refused(w http.ResponseWriter, r *http.Request, status int, why string) {
	p.show(w, r, status, "refused.html", frame{Title: http.StatusText(status), Host: p.hostName(), Body: why})
}

// Login implements admin.Page.
func (p *Page) Login(w http.ResponseWriter, r *http.Request, status int, problem string) {
	next := r.URL.Query().Get("next")
	if r.Method == http.MethodPost {
		next = r.PostForm.Get("next")
	}
	p.show(w, r, status, "login.html", frame{Title: "Log in", Host: p.hostName(), Next: admin.PathOnPage(next), Body: problem})
}

func (p *Page) hostName() hostName { return nameOf(p.live.snapshot(nil).status.Host) }

func nameOf(h admin.HostStatus) hostName { return hostName{Name: h.Admin, Version: h.Version} }

// confirm asks whether an operation is meant.
type confirm struct {
	Plugin, Operation, Path, Back, Form, Does string
	State                                     string
	InFlight                                  int
	// Not is why it cannot be asked for.
	Not string
}

// does says what operations do, for who is about to ask for one.
var does = map[string]string{
	string(fleet.Restart):  "A new process takes its place, as in a swap: no call is lost. A stopped plugin is started.",
	string(fleet.Stop):     "Its processes end after the calls under way. Its task types stay listed; calls wait, then fail, until it is started.",
	string(fleet.Kill):     "Its processes end at once, and calls under way are cut off. Its task types stay listed.",
	string(fleet.Start):    "It is started again.",
	string(fleet.Disable):  "It is taken out, as if it were not in the configuration: Flyte no longer sees its task types.",
	string(fleet.Enable):   "It is put back.",
	string(fleet.Rollback): "The generation before the current one comes back, until its configuration changes.",
}

func (p *Page) serveConfirm(w http.ResponseWriter, r *http.Request) {
	visitor := admin.VisitorOf(r)
	if !visitor.Operates {
		http.Redirect(w, r, "/ui/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		return
	}
	s := p.live.snapshot(nil)
	c := confirm{Path: r.URL.EscapedPath(), Form: visitor.Form(r.URL.Path), Back: "/", Operation: "reload", Does: "The configuration is read again, and what changed takes effect. A mistake in it changes nothing."}
	title := "Reload the configuration?"
	if name := r.PathValue("plugin"); name != "" {
		c.Plugin, c.Operation, c.Back = name, r.PathValue("operation"), pluginPath(name)
		title = sentence(c.Operation) + " " + name + "?"
		status := s.plugin(name)
		if c.Does = does[c.Operation]; c.Does == "" || status == nil {
			p.Refused(w, r, http.StatusNotFound, "There is no such plugin or operation.")
			return
		}
		c.State, c.InFlight = status.State, status.InFlight
	}
	p.show(w, r, http.StatusOK, "confirm.html", frame{Title: title, Host: nameOf(s.status.Host), Body: c})
}

func pluginPath(name string) string { return "/ui/plugins/" + url.PathEscape(name) }

// progress is an operation while it goes on.
type progress struct {
	Title, Back string
}

// Operation implements admin.Page.
func (p *Page) Operation(w http.ResponseWriter, r *http.Request, plugin, operation string) (tell func(admin.OperationLine), end func()) {
	write, end := p.progress(w, r, progress{Title: sentence(operation) + " " + plugin, Back: pluginPath(plugin)})
	return func(line admin.OperationLine) {
		switch {
		case line.Event != nil:
			write("event", eventOf(*line.Event))
		case line.Report != nil:
			write("operated", line.Report)
		}
	}, end
}

// Reload implements admin.Page.
func (p *Page) Reload(w http.ResponseWriter, r *http.Request) (tell func(admin.ReloadLine), end func()) {
	write, end := p.progress(w, r, progress{Title: "Reload of the configuration", Back: "/"})
	return func(line admin.ReloadLine) {
		switch {
		case line.Event != nil:
			write("event", eventOf(*line.Event))
		case line.Report != nil:
			write("reloaded", line.Report)
		}
	}, end
}

// progress begins a page that grows line by line.
func (p *Page) progress(w http.ResponseWriter, r *http.Request, about progress) (write func(template string, data any), end func()) {
	protect(w)
	flush := http.NewResponseController(w).Flush
	lines := &lockedWriter{to: w}
	write = func(name string, data any) {
		var line bytes.Buffer
		if err := p.templates.ExecuteTemplate(&line, "line-"+name, data); err == nil {
			lines.write(line.Bytes(), func() { _ = flush() }) // a reader that went away ends the request's context
		}
	}
	var head, tail bytes.Buffer
	f := frame{Title: about.Title, Visitor: admin.VisitorOf(r), Host: p.hostName(), Next: about.Back, Body: about}
	if p.templates.ExecuteTemplate(&head, "progress-begin", f) == nil {
		lines.write(head.Bytes(), func() { _ = flush() })
	}
	return write, func() {
		if p.templates.ExecuteTemplate(&tail, "progress-end", f) == nil {
			lines.write(tail.Bytes(), func() {})
		}
	}
}

// assetVersion is in the addresses of assets, which browsers keep.
var assetVersion = func() string {
	sum := sha256.New()
	for _, name := range []string{"assets/page.css", "assets/page.js", "assets/icon.svg"} {
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is in the program
		}
		sum.Write(content)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}()

var assetTypes = map[string]string{"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	kind, known := assetTypes[name]
	if !known {
		http.NotFound(w, r)
		return
	}
	content, err := files.ReadFile("assets/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	protect(w)
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == assetVersion {
		w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
}

// sentence has a first letter that is a capital.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// lockedWriter writes whole lines, one at a time.
type lockedWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lockedWriter) write(line []byte, then func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.to.Write(line)
	then()
}
