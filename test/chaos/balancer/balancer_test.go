package balancer_test

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/test/chaos/balancer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// greeter is a server that speaks first, as a gRPC server does, and then echoes.
func greeter(t *testing.T, greeting string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, greeting)
				io.Copy(conn, conn)
			}()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String()
}

// closed is an address at which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func open(t *testing.T, targets ...string) *balancer.Balancer {
	t.Helper()
	return openTo(t, func() []string { return targets })
}

func openTo(t *testing.T, targets func() []string) *balancer.Balancer {
	t.Helper()
	b, err := balancer.Listen(targets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func dial(t *testing.T, b *balancer.Balancer) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

func read(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func TestAConnectionGoesToTheFirstTargetAndBack(t *testing.T) {
	conn := dial(t, open(t, greeter(t, "first"), greeter(t, "second")))
	read(t, conn, "first")
	io.WriteString(conn, "echo")
	read(t, conn, "echo")
}

func TestATargetThatIsDownOrHangsUpIsPassedOver(t *testing.T) {
	hangsUp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hangsUp.Close()
	go func() {
		for {
			conn, err := hangsUp.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	conn := dial(t, open(t, closed(t), hangsUp.Addr().String(), greeter(t, "third")))
	read(t, conn, "third")
}

func TestConnectionsStayWithATargetUntilItIsGone(t *testing.T) {
	first, second := greeter(t, "first"), greeter(t, "second")
	var ready atomic.Pointer[[]string]
	ready.Store(&[]string{second})
	b := openTo(t, func() []string { return *ready.Load() })
	read(t, dial(t, b), "second")
	ready.Store(&[]string{first, second})
	read(t, dial(t, b), "second")
	ready.Store(&[]string{first})
	read(t, dial(t, b), "first")
}

func TestATargetThatIsReadyAndSlowKeepsItsClients(t *testing.T) {
	slow, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	var ready atomic.Pointer[[]string]
	ready.Store(&[]string{slow.Addr().String(), greeter(t, "second")})
	b := openTo(t, func() []string { return *ready.Load() })

	conn := dial(t, b)
	server, err := slow.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	time.Sleep(500 * time.Millisecond) // slow
	io.WriteString(server, "first")
	read(t, conn, "first")

	conn = dial(t, b)
	hung, err := slow.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	ready.Store(&[]string{(*ready.Load())[1]})
	read(t, conn, "second")
}

func TestAClientIsCutOffWhenNoTargetIsLeft(t *testing.T) {
	conn := dial(t, open(t, closed(t)))
	if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 {
		t.Errorf("read %d bytes, %v; want the end", n, err)
	}
}

func TestCloseCutsConnectionsAndWaitsForThem(t *testing.T) {
	b := open(t, greeter(t, "hello"))
	conn := dial(t, b)
	read(t, conn, "hello")
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 {
		t.Errorf("after Close read %d bytes, %v; want the end", n, err)
	}
}

func TestACutEndsTheConnectionsThatThereAreAndNoOthers(t *testing.T) {
	b := open(t, greeter(t, "hello"))
	conn := dial(t, b)
	read(t, conn, "hello")
	b.Cut()
	if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 {
		t.Errorf("after Cut read %d bytes, %v; want the end", n, err)
	}
	conn = dial(t, b)
	read(t, conn, "hello")
	io.WriteString(conn, "echo")
	read(t, conn, "echo")
}

func TestItIsKnownWhereAConnectionWent(t *testing.T) {
	target := greeter(t, "hello")
	b := open(t, closed(t), target)
	conn := dial(t, b)
	read(t, conn, "hello")
	client := conn.LocalAddr().String()
	if got := b.Target(client); got != target {
		t.Errorf("the connection went to %q, want %q", got, target)
	}
	conn.Close()
	if got := b.Target(client); got != target {
		t.Errorf("after its end the connection went to %q, want %q", got, target)
	}
	if got := b.Target("127.0.0.1:1"); got != "" {
		t.Errorf("a connection that there never was went to %q", got)
	}
}
