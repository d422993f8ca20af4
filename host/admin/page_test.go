package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// plainPage is a page that says little. What it shows names the visitor, and has a form for each path.
type plainPage struct{}

func (plainPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := VisitorOf(r)
	fmt.Fprintf(w, "name=%s operates=%v in=%v out=%s form=%s", v.Name, v.Operates, v.LoggedIn, v.LogoutForm(), v.Form(r.URL.Path))
}

func (plainPage) Login(w http.ResponseWriter, _ *http.Request, status int, problem string) {
	w.WriteHeader(status)
	fmt.Fprint(w, "log in ", problem)
}

func (plainPage) Refused(w http.ResponseWriter, _ *http.Request, status int, why string) {
	w.WriteHeader(status)
	fmt.Fprint(w, "refused: ", why)
}

func (plainPage) Operation(w http.ResponseWriter, _ *http.Request, plugin, operation string) (func(OperationLine), func()) {
	return func(line OperationLine) { fmt.Fprint(w, operation, " of ", plugin, " ", line.Report.Action) }, func() {}
}

func (plainPage) Reload(w http.ResponseWriter, _ *http.Request) (func(ReloadLine), func()) {
	return func(ReloadLine) { fmt.Fprint(w, "reloaded") }, func() {}
}

// browser keeps cookies, and says what browsers say.
type browser struct {
	*operated
	t      *testing.T
	cookie string
}

func (b *browser) ask(method, path, form string, headers ...string) (int, string, http.Header) {
	b.t.Helper()
	if b.cookie != "" {
		headers = append(headers, "Cookie", b.cookie)
	}
	if method == http.MethodPost {
		headers = append([]string{"Origin", "http://" + b.address, "Sec-Fetch-Site", "same-origin", "Content-Type", "application/x-www-form-urlencoded", "Body", form}, headers...)
	}
	code, text, header := b.operated.ask(b.t, method, path, headers...)
	if set := header.Get("Set-Cookie"); set != "" {
		b.cookie, _, _ = strings.Cut(set, ";")
	}
	return code, text, header
}

// form is what the page at a path has for the form that it shows.
func (b *browser) form(path string) string {
	b.t.Helper()
	_, text, _ := b.ask(http.MethodGet, path, "")
	_, form, ok := strings.Cut(text, "form=")
	if !ok {
		b.t.Fatalf("%s has no form: %s", path, text)
	}
	return "form=" + form
}

func (b *browser) login() {
	b.t.Helper()
	code, text, header := b.ask(http.MethodPost, "/ui/login", "token="+secret+"&next=/ui/plugins/a")
	if code != http.StatusSeeOther || header.Get("Location") != "/ui/plugins/a" {
		b.t.Fatalf("%d %s, to %q", code, text, header.Get("Location"))
	}
	set := header.Get("Set-Cookie")
	for _, part := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(set, part) {
			b.t.Errorf("the cookie has no %s: %s", part, set)
		}
	}
	if strings.Contains(set, secret) || strings.Contains(set, "Expires") || strings.Contains(set, "Max-Age") {
		b.t.Errorf("the cookie: %s", set)
	}
}

func TestABrowserThatShowedATokenOperates(t *testing.T) {
	o := serve(t, "tcp", "127.0.0.1:0")
	b := &browser{operated: o, t: t}
	if _, text, _ := b.ask(http.MethodGet, "/", ""); !strings.HasPrefix(text, "name= operates=false in=false") {
		t.Errorf("before: %s", text)
	}
	if code, text, header := b.ask(http.MethodPost, "/ui/login", "token=wrong"); code != http.StatusUnauthorized || !strings.Contains(text, "not known") || header.Get("Set-Cookie") != "" {
		t.Errorf("with a wrong token: %d %s", code, text)
	}
	b.login()
	if _, text, _ := b.ask(http.MethodGet, "/", ""); !strings.HasPrefix(text, "name=token ci operates=true in=true") {
		t.Errorf("after: %s", text)
	}
	if code, text, _ := b.ask(http.MethodPost, "/ui/plugins/a/restart", b.form("/ui/plugins/a/restart")); code != http.StatusOK || text != "restart of a done" {
		t.Errorf("a restart: %d %s", code, text)
	}
	if code, text, _ := b.ask(http.MethodPost, "/ui/reload", b.form("/ui/reload")); code != http.StatusOK || text != "reloaded" || o.reloads.Load() != 1 {
		t.Errorf("a reload: %d %s, %d", code, text, o.reloads.Load())
	}
	for _, path := range []string{"/reload", "/plugins/a/restart", "/upgrade"} { // what is no page knows no cookie
		if code, text, _ := o.ask(t, http.MethodPost, path, "Cookie", b.cookie); code != http.StatusUnauthorized {
			t.Errorf("%s with the cookie: %d %s", path, code, text)
		}
	}
	cookie := b.cookie
	if code, _, _ := b.ask(http.MethodPost, "/ui/logout", b.form("/")); code != http.StatusForbidden {
		t.Errorf("a logout by another form: %d", code)
	}
	_, text, _ := b.ask(http.MethodGet, "/", "")
	_, logout, _ := strings.Cut(text, "out=")
	logout, _, _ = strings.Cut(logout, " ")
	if code, text, _ := b.ask(http.MethodPost, "/ui/logout", "form="+logout); code != http.StatusSeeOther {
		t.Errorf("a logout: %d %s", code, text)
	}
	b.cookie = cookie
	if _, text, _ := b.ask(http.MethodGet, "/", ""); !strings.HasPrefix(text, "name= operates=false in=false") {
		t.Errorf("after the logout: %s", text)
	}
	var lines []string
	for _, line := range o.audited(t) {
		lines = append(lines, fmt.Sprint(line["operation"], " ", line["outcome"], " ", line["token"]))
	}
	want := "login refused <nil>, login done ci, restart done ci, reload done ci, reload refused <nil>, restart refused <nil>, upgrade refused <nil>, logout done ci"
	if got := strings.Join(lines, ", "); got != want {
		t.Errorf("the audit lines: %s", got)
	}
	if strings.Contains(o.log.String(), secret) {
		t.Error("the log has the token in it")
	}
}

func TestAFormIsGoodOnceForWhomAndWhatItWasShownFor(t *testing.T) {
	o := serve(t, "tcp", "127.0.0.1:0")
	b, other := &browser{operated: o, t: t}, &browser{operated: o, t: t}
	b.login()
	other.login()
	const path = "/ui/plugins/a/restart"
	good := b.form(path)
	for what, form := range map[string]string{
		"none": "", "an empty one": "form=", "garbage": "form=%00", "half": good[:len(good)/2], "another's": other.form(path), "of another plugin": b.form("/ui/plugins/b/restart"),
		"of another operation": b.form("/ui/plugins/a/stop"),
	} {
		if code, text, _ := b.ask(http.MethodPost, path, form); code != http.StatusForbidden {
			t.Errorf("%s: %d %s", what, code, text)
		}
	}
	if code, text, _ := b.ask(http.MethodPost, path+"?"+good, ""); code != http.StatusForbidden {
		t.Errorf("in the address: %d %s", code, text)
	}
	if code, text, _ := b.ask(http.MethodPost, path, good); code != http.StatusOK {
		t.Errorf("a good one: %d %s", code, text)
	}
	if code, text, _ := b.ask(http.MethodPost, path, good); code != http.StatusForbidden || !strings.Contains(text, "already") {
		t.Errorf("again: %d %s", code, text)
	}
	if got := o.operations.Load(); got != 1 {
		t.Errorf("%d operations", got)
	}
}

// What keeps pages of other sites out of the API does so here, for who is logged in too.
func TestPagesOfOtherSitesAreShownNothing(t *testing.T) {
	o := serve(t, "tcp", "127.0.0.1:0")
	b := &browser{operated: o, t: t}
	b.login()
	for _, headers := range [][]string{
		{"Host", "evil.example"}, {"Host", "127.0.0.1.evil.example"}, {"Origin", "http://evil.example"}, {"Origin", "null"}, {"Origin", "http://127.0.0.1:1"},
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "document"},
	} {
		for _, path := range []string{"/", "/ui/plugins/a", "/ui/live", "/ui/login", "/ui/assets/page.js"} {
			if code, text, _ := b.ask(http.MethodGet, path, "", headers...); code != http.StatusForbidden {
				t.Errorf("%s with %v: %d %s", path, headers, code, text)
			}
		}
		for _, path := range []string{"/ui/login", "/ui/logout", "/ui/reload", "/ui/plugins/a/stop"} {
			if code, text, _ := b.ask(http.MethodPost, path, "token="+secret, headers...); code != http.StatusForbidden {
				t.Errorf("POST %s with %v: %d %s", path, headers, code, text)
			}
		}
	}
	for _, kind := range []string{"text/plain", "multipart/form-data", "application/json", ""} {
		if code, text, _ := b.ask(http.MethodPost, "/ui/reload", b.form("/ui/reload"), "Content-Type", kind); code != http.StatusUnsupportedMediaType {
			t.Errorf("a body that is %q: %d %s", kind, code, text)
		}
	}
	if o.reloads.Load() != 0 || o.operations.Load() != 0 {
		t.Errorf("%d reloads, %d operations", o.reloads.Load(), o.operations.Load())
	}
	// A link elsewhere, such as in a runbook, leads here.
	if code, text, _ := b.ask(http.MethodGet, "/", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"); code != http.StatusOK {
		t.Errorf("by a link: %d %s", code, text)
	}
}

// Somebody may have a browser led to the socket, as ssh -L does: it operates, and pages with names of their own do not.
func TestOverAUnixSocketABrowserMustMeanTheHost(t *testing.T) {
	o := serve(t, "unix", t.TempDir()+"/admin.sock")
	if code, text, _ := o.ask(t, http.MethodGet, "/"); code != http.StatusForbidden { // the tests' host is any.example.com
		t.Errorf("%d %s", code, text)
	}
	_, text, _ := o.ask(t, http.MethodGet, "/ui/reload", "Host", "localhost:9090")
	if !strings.Contains(text, "operates=true in=false") {
		t.Errorf("%s", text)
	}
	_, form, _ := strings.Cut(text, "form=")
	headers := []string{"Content-Type", "application/x-www-form-urlencoded", "Body", "form=" + form}
	if code, text, _ := o.ask(t, http.MethodPost, "/ui/reload", headers...); code != http.StatusForbidden {
		t.Errorf("under another name: %d %s", code, text)
	}
	if code, text, _ := o.ask(t, http.MethodPost, "/ui/reload", append(headers, "Host", "localhost:9090")...); code != http.StatusOK {
		t.Errorf("%d %s", code, text)
	}
}

func TestASessionEndsWithItsTokenAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions("127.0.0.1:9090")
		hold := []Token{{Name: "a", Secret: "one"}, {Name: "b", Secret: "two"}}
		of := func(c *http.Cookie) *session {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.AddCookie(c)
			return s.of(r, tokensAre(&hold))
		}
		cookie := s.begin(hold[0])
		if cookie.Name != "agenthost-9090" || of(cookie) == nil || of(cookie).token != "a" {
			t.Fatalf("%v: %v", cookie, of(cookie))
		}
		hold[0].Secret = "another"
		if of(cookie) != nil {
			t.Error("it outlives its token")
		}
		cookie = s.begin(hold[0])
		time.Sleep(sessionLife - time.Second)
		if of(cookie) == nil {
			t.Error("it ends early")
		}
		form := s.sign("x", "/y", formLife)
		time.Sleep(2 * time.Second)
		if of(cookie) != nil {
			t.Error("it ends late")
		}
		time.Sleep(formLife)
		if problem := s.check("x", "/y", form); !strings.Contains(problem, "too old") {
			t.Errorf("an old form: %q", problem)
		}
		first := s.begin(hold[1])
		time.Sleep(time.Second)
		for range maxSessions {
			s.begin(hold[1])
			time.Sleep(time.Second)
		}
		if len(s.known) != maxSessions || of(first) != nil {
			t.Errorf("%d sessions, the first one among them: %v", len(s.known), of(first) != nil)
		}
	})
}

func tokensAre(tokens *[]Token) func(context.Context) []Token {
	return func(context.Context) []Token { return *tokens }
}

func TestALoginLeadsToNothingButThePage(t *testing.T) {
	for wanted, want := range map[string]string{
		"": "/", "/": "/", "/?q=a": "/?q=a", "/ui/plugins/a": "/ui/plugins/a", "//evil.example": "/", "/\\evil.example": "/", "https://evil.example": "/", "/ui/\\evil": "/",
		"/ui/\n": "/", "/status": "/", "javascript:alert(1)": "/", "ui/x": "/",
	} {
		if got := PathOnPage(wanted); got != want {
			t.Errorf("%q: %q", wanted, got)
		}
	}
	o := serve(t, "tcp", "127.0.0.1:0")
	o.remote.Store(true)
	if code, _, header := o.ask(t, http.MethodGet, "/ui/plugins/a?x=1"); code != http.StatusSeeOther || header.Get("Location") != "/ui/login?next="+url.QueryEscape("/ui/plugins/a?x=1") {
		t.Errorf("from another machine: %d to %q", code, header.Get("Location"))
	}
	if code, text, _ := o.ask(t, http.MethodGet, "/ui/live"); code != http.StatusUnauthorized {
		t.Errorf("what changes, from another machine: %d %s", code, text)
	}
	b := &browser{operated: o, t: t}
	b.login()
	if code, text, _ := b.ask(http.MethodGet, "/ui/live", ""); code != http.StatusOK {
		t.Errorf("logged in: %d %s", code, text)
	}
}
