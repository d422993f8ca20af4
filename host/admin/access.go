package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// access is what an endpoint asks of who calls it.
type access int

const (
	// open is for whoever reaches the address, as probes and Prometheus do.
	open access = iota
	// read is for the host's own machine, and for whoever shows a token.
	read
	// operate is for the host's own user and root over a unix socket, and for whoever shows a token.
	operate
)

// Token lets whoever shows it operate the host.
type Token struct {
	// Name is what the audit lines call it.
	Name string
	// Secret is what is shown, as a bearer token.
	Secret string
}

// caller is who made a request, as far as the host knows.
type caller struct {
	// cause is what an operation comes from that was not asked for by a request; empty otherwise.
	cause string
	// remote is the address that the request comes from; empty over a unix socket.
	remote string
	// peer is the process at the other end of a unix socket; nil over TCP.
	peer *unix.Ucred
	// own says that the host runs that process, as it does plugins with all that they start.
	own bool
	// token is the name of the token that it showed; empty where it showed none that is known.
	token string
	// session is that of a browser, where the token was shown by a form; nil otherwise.
	session *session
	// showed says that it showed a token, whether known or not.
	showed bool
}

// String is for the audit lines.
func (c caller) String() string {
	var who string
	switch {
	case c.cause != "":
		who = c.cause
	case c.peer != nil:
		who = fmt.Sprintf("process %d of user %d", c.peer.Pid, c.peer.Uid)
	case c.remote != "":
		who = c.remote
	default:
		who = "nobody known"
	}
	if c.token != "" {
		who += fmt.Sprintf(" with token %q", c.token)
	}
	return who
}

type peerKey struct{}

// peer is the process at the other end of a unix socket.
type peer struct {
	*unix.Ucred
	own bool
}

// withPeer puts the process at the other end of a unix socket into the context of the requests that come from it.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return ctx
	}
	var credentials *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) { credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); controlErr != nil || err != nil {
		return ctx // nobody who may operate
	}
	return context.WithValue(ctx, peerKey{}, peer{credentials, isOwn(credentials)})
}

// isOwn says that the host runs a process, or may: one that has ended after it connected may have left the connection to anybody.
// Nothing gets out from below the host, to which what loses its parent falls.
func isOwn(process *unix.Ucred) bool {
	if process.Pid == 0 || process.Uid == 0 && os.Geteuid() != 0 { // in another PID namespace; root, whom hosts of users do not run
		return false
	}
	for pid := int(process.Pid); pid != os.Getpid(); {
		proc, err := procfs.NewProc(pid)
		if err != nil {
			return true
		}
		stat, err := proc.Stat()
		if err != nil {
			return true
		}
		if pid = stat.PPID; pid <= 1 && pid != os.Getpid() {
			return false
		}
	}
	return int(process.Pid) != os.Getpid()
}

func (s *Server) callerOf(r *http.Request, e endpoint) caller {
	c := caller{}
	if isUnix(r) {
		if p, known := r.Context().Value(peerKey{}).(peer); known {
			c.peer, c.own = p.Ucred, p.own
		}
	} else {
		c.remote = r.RemoteAddr
	}
	if kind, shown, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(kind, "Bearer") {
		c.showed = true
		c.token = nameOf(strings.TrimSpace(shown), s.options.Tokens(r.Context()))
	} else if e.page {
		if c.session = s.sessions.of(r, s.options.Tokens); c.session != nil {
			c.token = c.session.token
		}
	}
	return c
}

// nameOf is the name of the token that was shown; empty where none of them is it. It takes the same time whichever is.
func nameOf(shown string, tokens []Token) (name string) {
	digest := sha256.Sum256([]byte(shown))
	for _, t := range tokens {
		if known := sha256.Sum256([]byte(t.Secret)); t.Secret != "" && subtle.ConstantTimeCompare(digest[:], known[:]) == 1 {
			name = t.Name
		}
	}
	return name
}

// refusal is why a request is not answered.
type refusal struct {
	status int
	text   string
}

// refuse says why a request is not answered, if it is not.
func (s *Server) refuse(r *http.Request, e endpoint, c caller) *refusal {
	wanted := e.access
	// Who shows a token is no page in a browser that was led here, unless the browser shows it. What is for browsers is so over a unix socket
	// too, where somebody has one lead there.
	switch {
	case (c.token == "" || c.session != nil) && (e.page || !isUnix(r)) && !s.isOwnName(r.Host):
		return &refusal{http.StatusForbidden, fmt.Sprintf("the host is not called %q here: ask for it by its IP address or as listen.admin names it, or show a token", r.Host)}
	case isForeign(r) && (!e.page || !isNavigation(r)):
		return &refusal{http.StatusForbidden, "the host answers no pages of other sites"}
	case !e.body.is(r):
		return &refusal{http.StatusUnsupportedMediaType, "a body is to be " + e.body.kind()}
	case wanted == open || c.token != "":
		return nil
	case c.showed:
		return &refusal{http.StatusUnauthorized, "the token is not known to this host"}
	case c.own: // a plugin can be of the host's user, and reach the socket
		return &refusal{http.StatusForbidden, "processes that this host runs, as plugins, may not ask it"}
	}
	switch {
	case c.peer != nil && c.peer.Uid != 0 && int(c.peer.Uid) != os.Geteuid() && wanted == operate:
		return &refusal{http.StatusForbidden, fmt.Sprintf("user %d may not operate this host, which runs as user %d", c.peer.Uid, os.Geteuid())}
	case c.peer != nil, wanted == read && fromThisMachine(r):
		return nil
	case wanted == read:
		return &refusal{http.StatusUnauthorized, "from another machine this takes a token: see listen.admin_token"}
	}
	return &refusal{http.StatusUnauthorized, "to operate the host takes a token: see listen.admin_token"}
}

// isOwnName says whether a Host header can only come from somebody who means this host. A page in a browser can have a name
// of its own lead to this machine; its requests come with that name, which has a dot and a public domain.
func (s *Server) isOwnName(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = hostPort
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if configured, _, err := net.SplitHostPort(s.options.Configured); err == nil && host != "" && host == strings.ToLower(configured) {
		return true
	}
	if own, err := os.Hostname(); err == nil && host == strings.ToLower(own) {
		return true
	}
	for _, private := range []string{".localhost", ".internal", ".svc", ".cluster.local"} {
		if strings.HasSuffix(host, private) {
			return true
		}
	}
	return host != "" && !strings.Contains(host, ".")
}

// isForeign says whether a browser made the request for a page of another site.
func isForeign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	from, err := url.Parse(origin)
	return err != nil || from.Host == "" || !strings.EqualFold(from.Host, r.Host)
}

// body is a kind of body, by its media type.
type body string

const (
	asJSON body = "" // or none, which is what most requests have
	octets body = "application/octet-stream"
	form   body = "application/x-www-form-urlencoded"
)

func (b body) kind() string {
	if b == asJSON {
		return "application/json"
	}
	return string(b)
}

// is says that a request's body says that it is of this kind. Only a form has to be there.
func (b body) is(r *http.Request) bool {
	said := r.Header.Get("Content-Type")
	if said == "" && b != form {
		return r.ContentLength == 0
	}
	kind, _, err := mime.ParseMediaType(said)
	return err == nil && kind == b.kind()
}

// isUnix says that a request comes over a unix socket.
func isUnix(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local.Network() == "unix"
}

// fromThisMachine says that a request comes over a unix socket, over the loopback, or from the address that it came to.
func fromThisMachine(r *http.Request) bool {
	if isUnix(r) {
		return true
	}
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	if ip := net.ParseIP(from); ip != nil && ip.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	to, _, err := net.SplitHostPort(local.String())
	return err == nil && from == to
}

// TokenFileHeader says to callers on the host's machine where it has written a token, for those who may read it.
const TokenFileHeader = "Agenthost-Token-File"

// tellTokenFile tells callers on the host's machine where there is a token.
func (s *Server) tellTokenFile(w http.ResponseWriter, r *http.Request) {
	if s.options.TokenFile != "" && fromThisMachine(r) {
		w.Header().Set(TokenFileHeader, s.options.TokenFile)
	}
}

// TokenFileName is what the file is called with the token of the host whose admin address has this port.
func TokenFileName(port int) string { return fmt.Sprintf("admin-%d.token", port) }
