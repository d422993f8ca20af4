package admin

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestAnUpgradeIsAskedForOnTheHostsOwnMachine(t *testing.T) {
	asked := 0
	server := New(Options{
		Metrics: prometheus.NewRegistry(), Tokens: func(context.Context) []Token { return []Token{{Name: "ci", Secret: secret}} },
		Upgrade: func(_ context.Context, force bool, send func(UpgradeLine)) {
			if asked++; force {
				send(UpgradeLine{Report: &UpgradeReport{Version: "forced"}})
			}
		},
	})
	for from, allowed := range map[string]bool{
		"127.0.0.1:5000": true, "[::1]:5000": true, "10.0.0.7:5000": true, // its own address
		"10.0.0.8:5000": false, "[2001:db8::1]:5000": false, "nowhere": false,
	} {
		answer := fromAddress(server, from, http.MethodPost, "/upgrade?force=1", secret)
		if got := answer.Code == http.StatusOK && asked == 1 && strings.Contains(answer.Body.String(), "forced"); got != allowed {
			t.Errorf("from %s: %d %s", from, answer.Code, answer.Body)
		}
		if !allowed && (answer.Code != http.StatusForbidden || asked > 0) {
			t.Errorf("from %s: %d, asked %d times", from, answer.Code, asked)
		}
		asked = 0
	}
}

// Probes and Prometheus have no token, and others need to see no plugin's last words.
func TestFromAnotherMachineTheStatusTakesAToken(t *testing.T) {
	o := serve(t, "tcp", "127.0.0.1:0")
	for _, e := range o.endpoints() {
		method, path, _ := strings.Cut(e.pattern, " ")
		if method != http.MethodGet || e.profile || path == "/events" || strings.Contains(path, "{") { // which does not end
			continue
		}
		switch path { // what must be asked with something
		case "/explain":
			path += "?type=x"
		case "/tasks":
			path += "?execution=f1"
		}
		path = strings.TrimSuffix(path, "{$}")
		isOpen := path == "/healthz" || path == "/readyz" || path == "/metrics" || path == "/ui/login" || path == "/ui/assets/{file}"
		refused := http.StatusUnauthorized
		if e.page && path != "/ui/live" {
			refused = http.StatusSeeOther // to where a token can be shown
		}
		for _, from := range []string{"10.0.0.8:5000", "[2001:db8::1]:5000", "nowhere"} {
			if answer := fromAddress(o.Server, from, method, path, ""); answer.Code == http.StatusOK != isOpen || !isOpen && answer.Code != refused {
				t.Errorf("%s from %s: %d %s", path, from, answer.Code, answer.Body)
			} else if told := answer.Header().Get(TokenFileHeader); told != "" {
				t.Errorf("%s from %s tells of the host's files: %s", path, from, told)
			}
			if answer := fromAddress(o.Server, from, method, path, secret); answer.Code != http.StatusOK {
				t.Errorf("%s from %s with a token: %d %s", path, from, answer.Code, answer.Body)
			}
		}
		if answer := fromAddress(o.Server, "127.0.0.1:5000", method, path, ""); answer.Code != http.StatusOK {
			t.Errorf("%s from the host's machine: %d %s", path, answer.Code, answer.Body)
		}
	}
}

// fromAddress asks a server as if from an address, with a token if it is not empty.
func fromAddress(server *Server, from, method, path, token string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, "http://10.0.0.7:9090"+path, nil)
	request.RemoteAddr = from
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	local := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 9090}
	answer := httptest.NewRecorder()
	server.http.Handler.ServeHTTP(answer, request.WithContext(context.WithValue(request.Context(), http.LocalAddrContextKey, local)))
	return answer
}
