package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/test/wait"
)

func listenTo(t *testing.T, most int, farewell farewell) *connections {
	t.Helper()
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return limited(listener, "grpc", most, farewell, prometheus.NewRegistry())
}

// dialFrom connects from one of the many addresses that loopback has.
func dialFrom(t *testing.T, host string, to *connections) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
	_, port, _ := net.SplitHostPort(to.Addr().String())
	conn, err := dialer.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func healthOf(t *testing.T, to *connections) error {
	t.Helper()
	_, port, _ := net.SplitHostPort(to.Addr().String())
	conn, err := grpc.NewClient("passthrough:///127.0.0.1:"+port, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

func serveHealth(t *testing.T, on *connections) {
	t.Helper()
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(on) }()
	t.Cleanup(server.Stop)
}

func TestConnectionsThatDoNothingMakeRoomForAnotherAddress(t *testing.T) {
	on := listenTo(t, 20, answerCall)
	serveHealth(t, on)
	for range 60 {
		dialFrom(t, "127.0.0.2", on)
	}
	for range 30 {
		if err := healthOf(t, on); err != nil {
			t.Fatalf("from another address: %v", err)
		}
	}
	if testutil.ToFloat64(on.evicted) == 0 {
		t.Error("no connection has made room")
	}
	on.mu.Lock()
	open := len(on.open)
	on.mu.Unlock()
	if open > 20 {
		t.Errorf("%d connections are open", open)
	}
}

// Those of one address make room for each other, too, once they have been silent for a while.
func TestConnectionsThatDoNothingMakeRoomForTheSameAddressAfterAWhile(t *testing.T) {
	on := listenTo(t, 20, answerCall)
	serveHealth(t, on)
	for range 20 {
		dialFrom(t, "127.0.0.1", on)
	}
	wait.Until(t, "a call finds a connection", func() bool { return healthOf(t, on) == nil })
}

func TestWhoGetsNoConnectionIsToldWhy(t *testing.T) {
	on := listenTo(t, 2, answerCall)
	serveHealth(t, on)
	for range 2 {
		dialFrom(t, "127.0.0.1", on)
	}
	wait.Until(t, "both are open", func() bool { on.mu.Lock(); defer on.mu.Unlock(); return len(on.open) == 2 })
	if err := healthOf(t, on); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "limits.connections") {
		t.Errorf("a gRPC client: %v", err)
	}

	operators := listenTo(t, 1, unavailable)
	go func() { _ = http.Serve(operators, http.NotFoundHandler()) }() //nolint:gosec // it is a test's
	dialFrom(t, "127.0.0.1", operators)
	conn := dialFrom(t, "127.0.0.1", operators)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("an HTTP client: %v, %v", answer, err)
	}
	defer answer.Body.Close()
	if n := testutil.ToFloat64(on.refused); n < 1 {
		t.Errorf("%v refusals are counted", n)
	}
}

// Callers that connect and leave at once can be faster than whoever serves sees that they have gone.
func TestAConnectionThatItsCallerHasClosedMakesRoomForTheSameAddress(t *testing.T) {
	on := listenTo(t, 3, answerCall)
	accept := func() net.Conn {
		t.Helper()
		accepted := make(chan net.Conn, 1)
		go func() { conn, _ := on.Accept(); accepted <- conn }()
		select {
		case conn := <-accepted:
			t.Cleanup(func() { _ = conn.Close() })
			return conn
		case <-time.After(10 * time.Second):
			t.Fatal("nobody is let in")
			return nil
		}
	}
	var callers []net.Conn
	for range 3 {
		callers = append(callers, dialFrom(t, "127.0.0.1", on))
		accept()
	}
	for _, caller := range callers[:2] {
		_ = caller.Close()
	}
	for range 2 {
		newcomer := dialFrom(t, "127.0.0.1", on)
		if got := accept().RemoteAddr().String(); got != newcomer.LocalAddr().String() {
			t.Errorf("%s is let in, and %s came", got, newcomer.LocalAddr())
		}
	}
	if evicted, refused := testutil.ToFloat64(on.evicted), testutil.ToFloat64(on.refused); evicted != 2 || refused != 0 {
		t.Errorf("%v made room, %v were refused", evicted, refused)
	}
}

func TestAClosedConnectionMakesRoom(t *testing.T) {
	on := listenTo(t, 1, answerCall)
	for range 5 {
		client := dialFrom(t, "127.0.0.1", on)
		server, err := on.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = client.Close()
		_ = server.Close()
		_ = server.Close()
	}
	on.setMax(3)
	for i := range 3 {
		dialFrom(t, fmt.Sprintf("127.0.0.%d", i+1), on)
		if _, err := on.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	if refused, evicted := testutil.ToFloat64(on.refused), testutil.ToFloat64(on.evicted); refused+evicted != 0 {
		t.Errorf("%v were refused, %v closed", refused, evicted)
	}
}
