package takeover_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/host/takeover"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == newHost {
		if err := actAsNewHost(os.Args[2]); err != nil {
			os.Exit(3)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const (
	// newHost makes the test binary the host that takes over, in the way that its next argument says.
	newHost = "new-host"
	// secret is a variable of the old host.
	secret = "TAKEOVER_TEST_SECRET"
)

// actAsNewHost is the test binary run again.
func actAsNewHost(as string) error {
	if as == "has not begun" {
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM)
		<-ended
		return nil
	}
	before, err := takeover.Inherit()
	if err != nil || before == nil {
		return errors.Join(err, errors.New("nothing was handed over"))
	}
	switch as {
	case "fails":
		before.Fail(errors.New("the configuration has a mistake\n")) //nolint:revive // as a program's last words come
		return nil
	case "dies":
		return errors.New("and says nothing")
	case "hangs":
		select {}
	}
	taken, ok := before.Listener("grpc", "127.0.0.1:0")
	_, twice := before.Listener("grpc", "127.0.0.1:0")
	_, other := before.Listener("admin", "127.0.0.1:9091")
	shown, err := os.ReadFile("/proc/self/environ")
	if err != nil || strings.Contains(string(shown), secret) {
		return fmt.Errorf("its environment shows %q, %w", shown, err)
	}
	report := takeover.Report{Version: os.Getenv(secret), Plugins: []takeover.Plugin{{Name: fmt.Sprint(ok, twice, other), Running: true}}}
	if err := before.Ready(context.Background(), report); err != nil {
		return err
	}
	if as == "dies late" {
		return errors.New("and says nothing")
	}
	before.Accepts()
	for {
		conn, err := taken.Accept()
		if err != nil {
			return err
		}
		fmt.Fprint(conn, "new")
		conn.Close()
	}
}

func listen(t *testing.T) *takeover.Pausable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := takeover.NewPausable(listener)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// answers serves as the old host.
func answers(t *testing.T, l net.Listener) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "old")
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

// asked is who answers at an address.
func asked(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	who, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(who)
}

func start(t *testing.T, as string, grpc *takeover.Pausable) *takeover.Successor {
	t.Helper()
	t.Setenv(secret, "2")
	s, err := takeover.Start(os.Args[0], []string{newHost, as}, []takeover.Listener{
		{Key: "grpc", Address: "127.0.0.1:0", Listener: grpc}, {Key: "admin", Address: "127.0.0.1:9090", Listener: listen(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheNewHostAcceptsWhenItIsToldToAndNoConnectionIsRefused(t *testing.T) {
	grpc := listen(t)
	answers(t, grpc)
	s := start(t, "serves", grpc)
	report, err := s.Await(t.Context())
	if err != nil || report.Version != "2" || len(report.Plugins) != 1 || report.Plugins[0].Name != "true false false" {
		t.Errorf("the new host says %+v: %v; want the grpc listener taken, once, and no listener of another address", report, err)
	}
	for range 50 {
		if who := asked(t, grpc.Addr().String()); who != "old" {
			t.Fatalf("%q answers before the new host is told to", who)
		}
	}
	if err := grpc.Pause(); err != nil {
		t.Fatal(err)
	}
	waiting, err := net.Dial("tcp", grpc.Addr().String())
	if err != nil {
		t.Fatalf("a connection is refused between the two: %v", err)
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if who, err := io.ReadAll(waiting); err != nil || string(who) != "new" {
		t.Errorf("the connection between the two got %q: %v", who, err)
	}
	grpc.Close()
	for range 50 {
		if who := asked(t, grpc.Addr().String()); who != "new" {
			t.Fatalf("%q answers after the new host was told to", who)
		}
	}
	s.Abandon() // as nobody will
}

func TestAnOldHostThatDoesNotHandOverServesOn(t *testing.T) {
	for as, want := range map[string]string{
		"fails": "the new host cannot start: the configuration has a mistake",
		"dies":  "ended before it was ready (exit status 3)",
		"hangs": "the new host is not ready: too late",
	} {
		t.Run(as, func(t *testing.T) {
			grpc := listen(t)
			answers(t, grpc)
			s := start(t, as, grpc)
			ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("never"))
			defer cancel()
			if as == "hangs" {
				ctx, cancel = context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("too late"))
				defer cancel()
			}
			if _, err := s.Await(ctx); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v", err)
			}
			s.Abandon()
			if who := asked(t, grpc.Addr().String()); who != "old" {
				t.Errorf("%q answers", who)
			}
		})
	}
	t.Run("not wanted", func(t *testing.T) {
		grpc := listen(t)
		answers(t, grpc)
		s := start(t, "serves", grpc)
		if _, err := s.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Abandon()
		for range 50 {
			if who := asked(t, grpc.Addr().String()); who != "old" {
				t.Fatalf("%q answers", who)
			}
		}
	})
	t.Run("dies late", func(t *testing.T) {
		grpc := listen(t)
		answers(t, grpc)
		s := start(t, "dies late", grpc)
		if _, err := s.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context()); err == nil || !strings.Contains(err.Error(), "does not accept connections") {
			t.Errorf("the error is %v", err)
		}
		s.Abandon()
		if who := asked(t, grpc.Addr().String()); who != "old" {
			t.Errorf("%q answers", who)
		}
	})
	t.Run("no program", func(t *testing.T) {
		if _, err := takeover.Start("/nowhere/agenthost", nil, nil); err == nil || !strings.Contains(err.Error(), "cannot start /nowhere/agenthost") {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestAPausedListenerAcceptsAgain(t *testing.T) {
	l := listen(t)
	answers(t, l)
	for range 3 {
		if err := l.Pause(); err != nil {
			t.Fatal(err)
		}
		waiting, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := waiting.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := waiting.Read(make([]byte, 3)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a paused listener answers: %v", err)
		}
		if err := l.Resume(); err != nil {
			t.Fatal(err)
		}
		if err := waiting.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if who, err := io.ReadAll(waiting); err != nil || string(who) != "old" {
			t.Errorf("it answers %q: %v", who, err)
		}
		waiting.Close()
	}
	if err := l.Pause(); err != nil {
		t.Fatal(err)
	}
	l.Close() // ends Accept, which the cleanup waits for
}

// The listeners of both hosts are one to the kernel. If it has an Accept of the old host wait inside of it, no deadline ends that, and the
// old host neither hands over nor serves.
func TestAListenerThatIsHandedOverCanBePausedBeforeTheNewHostHasIt(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "s")
		}
		listener, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		l, err := takeover.NewPausable(listener)
		if err != nil {
			t.Fatal(err)
		}
		answers(t, l)
		s := start(t, "has not begun", l)
		conn, err := net.Dial(network, l.Addr().String()) // after it the old host asks for the next
		if err != nil {
			t.Fatal(err)
		}
		if who, err := io.ReadAll(conn); err != nil || string(who) != "old" {
			t.Errorf("%s: it answers %q: %v", network, who, err)
		}
		conn.Close()
		paused := make(chan error, 1)
		go func() { paused <- l.Pause() }()
		select {
		case err := <-paused:
			if err != nil {
				t.Errorf("%s: %v", network, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: the listener is not paused", network)
			if conn, err := net.Dial(network, l.Addr().String()); err == nil { // which ends the Accept
				conn.Close()
			}
			<-paused
		}
		s.Abandon()
	}
}

func TestAHostThatWasStartedByNobodyInheritsNothing(t *testing.T) {
	before, err := takeover.Inherit()
	if before != nil || err != nil {
		t.Errorf("%v, %v", before, err)
	}
	if _, ok := before.Listener("grpc", "127.0.0.1:0"); ok {
		t.Error("it has a listener")
	}
	before.Fail(errors.New("of no interest"))
}
