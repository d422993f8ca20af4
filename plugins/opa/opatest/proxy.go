package opatest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// Proxy stands between the plugin and the server, and remembers what came by.
type Proxy struct {
	// URL is its address.
	URL string

	mu       sync.Mutex
	requests []Request
	opened   int
}

// Request is one that came by.
type Request struct {
	At     time.Time
	Path   string
	Header http.Header
}

// StartProxy starts one for the rest of the test. For the n-th request, from 1 on, answer may answer by itself and say so;
// all others go to the server.
func StartProxy(t testing.TB, server string, answer func(n int, w http.ResponseWriter, r *http.Request) bool) *Proxy {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{}
	transport := &http.Transport{}
	forward := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	listening := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests = append(p.requests, Request{time.Now(), r.URL.Path, r.Header.Clone()})
		n := len(p.requests)
		p.mu.Unlock()
		if answer == nil || !answer(n, w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	listening.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if state == http.StateNew {
			p.opened++
		}
	}
	listening.Start()
	t.Cleanup(func() {
		listening.Close()
		transport.CloseIdleConnections()
	})
	p.URL = listening.URL
	return p
}

// Requests are those that came so far.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Opened is how many connections came so far.
func (p *Proxy) Opened() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened
}
