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
	server := New(Options{Metrics: prometheus.NewRegistry(), Upgrade: func(_ context.Context, force bool, send func(UpgradeLine)) {
		if asked++; force {
			send(UpgradeLine{Report: &UpgradeReport{Version: "forced"}})
		}
	}})
	for from, allowed := range map[string]bool{
		"127.0.0.1:5000": true, "[::1]:5000": true, "10.0.0.7:5000": true, // its own address
		"10.0.0.8:5000": false, "[2001:db8::1]:5000": false, "nowhere": false,
	} {
		asked = 0
		request := httptest.NewRequest(http.MethodPost, "/upgrade?force=1", nil)
		request.RemoteAddr = from
		local := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 9090}
		answer := httptest.NewRecorder()
		server.http.Handler.ServeHTTP(answer, request.WithContext(context.WithValue(request.Context(), http.LocalAddrContextKey, local)))
		if got := answer.Code == http.StatusOK && asked == 1 && strings.Contains(answer.Body.String(), "forced"); got != allowed {
			t.Errorf("from %s: %d %s", from, answer.Code, answer.Body)
		}
		if !allowed && (answer.Code != http.StatusForbidden || asked > 0) {
			t.Errorf("from %s: %d, asked %d times", from, answer.Code, asked)
		}
	}
}
