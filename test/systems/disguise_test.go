package systems

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/hosttest"
)

// disguise puts a server at every address of a domain: a proxy leads there what is asked of https://*.domain, under a
// certificate of its own. It gives the variables by which a client finds the proxy and trusts it.
func disguise(t *testing.T, domain, target string) map[string]any {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	certificate, file := hosttest.Certificate(t, "*."+domain)
	transport := &http.Transport{}
	inside := &tunnels{incoming: make(chan net.Conn), closed: make(chan struct{})}
	behind := &http.Server{
		Handler:           &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: transport},
		ReadHeaderTimeout: time.Minute,
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	secured := tls.NewListener(inside, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	running.Go(func() { _ = behind.Serve(secured) })
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { inside.open(conn, domain) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		behind.Close()
		running.Wait()
		transport.CloseIdleConnections()
	})
	proxy := "http://" + listener.Addr().String()
	return map[string]any{"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "REQUESTS_CA_BUNDLE": file, "SSL_CERT_FILE": file}
}

// tunnels is a listener of the connections that a proxy was asked to make.
type tunnels struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

// open takes a client's CONNECT.
func (l *tunnels) open(conn net.Conn, domain string) {
	reader := bufio.NewReader(conn)
	request, err := http.ReadRequest(reader)
	if err != nil || request.Method != http.MethodConnect || !strings.HasSuffix(request.URL.Hostname(), domain) {
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\n\r\n")
		conn.Close()
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connected\r\n\r\n")
	select {
	case l.incoming <- conn:
	case <-l.closed:
		conn.Close()
	}
}

func (l *tunnels) Accept() (net.Conn, error) {
	select {
	case conn := <-l.incoming:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *tunnels) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *tunnels) Addr() net.Addr { return &net.TCPAddr{} }
