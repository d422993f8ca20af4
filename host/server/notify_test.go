package server

import (
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/takeover"
)

// withPort is a host that has a port for Flyte, behind which somebody does what the test says with each connection.
func withPort(t *testing.T, do func(net.Conn)) *host {
	t.Helper()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pausable, err := takeover.NewPausable(port)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for do != nil {
			conn, err := pausable.Accept()
			if err != nil {
				return
			}
			do(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { pausable.Close(); <-done })
	return &host{
		listeners: listeners{grpc: pausable}, reloader: &reloader{},
		plugins: fleet.New(fleet.Options{Routes: &route.Current{}, Log: slog.New(slog.DiscardHandler)}),
	}
}

func TestAHostLivesThatAnswersAndNoOther(t *testing.T) {
	const long, short = 20 * time.Second, 100 * time.Millisecond
	for name, c := range map[string]struct {
		do     func(net.Conn)
		within time.Duration
		want   string
	}{
		"it answers":                     {func(c net.Conn) { _, _ = c.Write([]byte{0}) }, long, ""},
		"it turns the connection away":   {func(net.Conn) {}, long, ""},
		"nobody accepts":                 {nil, short, "listen.grpc does not answer"},
		"it accepts, and answers nobody": {func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<10)); _, _ = c.Read(make([]byte, 1)) }, short, "listen.grpc does not answer"},
	} {
		err := withPort(t, c.do).lives(c.within)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}

	h := withPort(t, func(c net.Conn) { _, _ = c.Write([]byte{0}) })
	h.reloader.mu.Lock() // as by a reload that hangs
	if err := h.lives(short); err == nil || !strings.Contains(err.Error(), "nothing is heard of the plugins and the configuration") {
		t.Errorf("with its configuration held: %v", err)
	}
	h.reloader.mu.Unlock()

	h = withPort(t, nil)
	h.listeners.grpc.Close()
	if err := h.lives(long); err == nil || !strings.Contains(err.Error(), "listen.grpc takes no connection") {
		t.Errorf("with its port closed: %v", err)
	}
}
