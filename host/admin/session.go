package admin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// sessionLife is for how long a browser is logged in, if nobody ends that, and formLife for how long a form is good.
	sessionLife = 12 * time.Hour
	formLife    = 15 * time.Minute
	// maxSessions and maxForms are how many of them are remembered: the oldest session makes room for a new one, and a form that finds none
	// is refused.
	maxSessions, maxForms = 64, 1024
)

// session is a browser in which somebody has shown a token.
type session struct {
	id    digest
	token string // its name
	// secret is the token's own digest: a session ends with its token.
	secret digest
	ends   time.Time
}

type digest = [sha256.Size]byte

// sessions are the browsers that are logged in. They end with the host.
type sessions struct {
	// cookie is what the cookie is called: cookies are not kept apart by port, and hosts are.
	cookie string
	key    []byte // of forms

	mu    sync.Mutex
	known map[digest]*session
	used  map[[16]byte]time.Time // forms that were sent, until when they would be good
}

func newSessions(address string) *sessions {
	s := &sessions{cookie: "agenthost", key: make([]byte, 32), known: map[digest]*session{}, used: map[[16]byte]time.Time{}}
	_, _ = rand.Read(s.key) // it never fails
	if _, port, err := net.SplitHostPort(address); err == nil {
		s.cookie += "-" + port
	}
	return s
}

// begin logs a browser in, and returns the cookie that it is known by from now on.
func (s *sessions) begin(shown Token) *http.Cookie {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var oldest *session
	for id, known := range s.known {
		if now.After(known.ends) {
			delete(s.known, id)
		} else if oldest == nil || known.ends.Before(oldest.ends) {
			oldest = known
		}
	}
	if len(s.known) >= maxSessions {
		delete(s.known, oldest.id)
	}
	value := rand.Text()
	fresh := &session{id: sha256.Sum256([]byte(value)), token: shown.Name, secret: sha256.Sum256([]byte(shown.Secret)), ends: now.Add(sessionLife)}
	s.known[fresh.id] = fresh
	return s.newCookie(value, 0)
}

func (s *sessions) newCookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: s.cookie, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// of is the session that a request belongs to, while its token is one of those that hold; nil: none.
func (s *sessions) of(r *http.Request, tokens func(context.Context) []Token) *session {
	shown, err := r.Cookie(s.cookie)
	if err != nil {
		return nil
	}
	id := sha256.Sum256([]byte(shown.Value))
	s.mu.Lock()
	known := s.known[id]
	s.mu.Unlock()
	if known == nil || time.Now().After(known.ends) {
		return nil
	}
	for _, token := range tokens(r.Context()) {
		if secret := sha256.Sum256([]byte(token.Secret)); token.Name == known.token && subtle.ConstantTimeCompare(secret[:], known.secret[:]) == 1 {
			return known
		}
	}
	s.end(known)
	return nil
}

func (s *sessions) end(known *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, known.id)
}

// sign makes what a form for an action carries, by which it is known for one that this host has shown to the same visitor.
func (s *sessions) sign(visitor, action string, life time.Duration) string {
	form := make([]byte, 16, 16+sha256.Size)
	_, _ = rand.Read(form[:8])
	binary.BigEndian.PutUint64(form[8:], uint64(time.Now().Add(life).Unix()))
	return base64.RawURLEncoding.EncodeToString(append(form, s.mac(visitor, action, form)...))
}

func (s *sessions) mac(visitor, action string, form []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "%q %q %x", visitor, action, form)
	return mac.Sum(nil)
}

// check says what is wrong with what a form has carried; empty: nothing. A form is good once.
func (s *sessions) check(visitor, action, carried string) string {
	raw, err := base64.RawURLEncoding.DecodeString(carried)
	if err != nil || len(raw) != 16+sha256.Size || !hmac.Equal(raw[16:], s.mac(visitor, action, raw[:16])) {
		return "the form is none that this host has shown you for this"
	}
	form := [16]byte(raw)
	now, ends := time.Now(), time.Unix(int64(binary.BigEndian.Uint64(form[8:])), 0)
	if now.After(ends) {
		return "the form is too old: open it again"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, until := range s.used {
		if now.After(until) {
			delete(s.used, other)
		}
	}
	switch _, sent := s.used[form]; {
	case sent:
		return "the form has been sent already: open it again to do the same once more"
	case len(s.used) >= maxForms:
		return "too many forms were sent in the last minutes"
	}
	s.used[form] = ends
	return ""
}

// serveLogin shows the form by which a browser logs in.
func (s *Server) serveLogin(w http.ResponseWriter, r *http.Request) {
	s.options.Page.Login(w, r, http.StatusOK, "")
}

// login logs a browser in that has sent a token by a form.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	c := callerIn(r.Context())
	shown := strings.TrimSpace(r.PostForm.Get("token"))
	tokens := s.options.Tokens(r.Context())
	name := nameOf(shown, tokens)
	if c.own {
		name = ""
	}
	if name == "" {
		s.audit.refused(r.Context(), "login", c, "the token is not known to this host")
		s.options.Page.Login(w, r, http.StatusUnauthorized, "The token is not known to this host.")
		return
	}
	http.SetCookie(w, s.sessions.begin(Token{Name: name, Secret: shown}))
	c.token = name
	s.audit.done(r.Context(), "login", c, Outcome{}, 0)
	http.Redirect(w, r, PathOnPage(r.PostForm.Get("next")), http.StatusSeeOther)
}

// logout ends the session.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if c := callerIn(r.Context()); c.session != nil {
		s.sessions.end(c.session)
		s.audit.done(r.Context(), "logout", c, Outcome{}, 0)
	}
	http.SetCookie(w, s.sessions.newCookie("", -1))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// PathOnPage is a path of this host's own page, which somebody wants to be led to; the overview's for any other.
func PathOnPage(wanted string) string {
	if strings.HasPrefix(wanted, "/ui/") && !strings.ContainsFunc(wanted, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) ||
		strings.HasPrefix(wanted, "/?") {
		return wanted
	}
	return "/"
}
