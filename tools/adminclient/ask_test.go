package adminclient

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
)

// Whoever listens there and never answers costs a person the limit, and no more.
func TestAHostThatNeverAnswersEndsEveryRequestWithWhatToDo(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the system accepts connections, nobody reads them
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	beginning := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // it begins to answer and stops
		if r.URL.Path == "/healthz" {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer beginning.Close()
	for _, address := range []string{silent.Addr().String(), beginning.Listener.Addr().String()} {
		host := Client{Address: address, Limit: 200 * time.Millisecond}
		for name, ask := range map[string]func() error{
			"status":  func() error { _, _, err := host.Status(t.Context()); return err },
			"pending": func() error { _, _, err := host.Pending(t.Context()); return err },
			"reload":  func() error { _, err := host.Reload(t.Context(), false, func(admin.ReloadLine) {}); return err },
			"upgrade": func() error { _, err := host.Upgrade(t.Context(), false, func(admin.UpgradeLine) {}); return err },
			"cancel":  func() error { return host.CancelPending(t.Context(), "x") },
			"events":  func() error { return host.Events(t.Context(), EventsOf{}, func(admin.Event) {}) },
		} {
			if address != silent.Addr().String() && (name == "cancel" || name == "events") {
				continue // what begins an answer has given it; a stream of events may be silent for long
			}
			began := time.Now()
			err := ask()
			if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "200ms") || time.Since(began) > 10*time.Second {
				t.Errorf("%s at %s: %v after %v", name, address, err, time.Since(began))
			}
		}
	}
}

// A host that is there says so, even while nothing happens; one that says it will and does not is gone.
func TestAStreamThatIsSilentForLongerThanTheHostSaysHasEnded(t *testing.T) {
	stuck := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			return
		}
		w.Header().Set(admin.KeepAliveHeader, "1")
		_, _ = io.WriteString(w, "\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer stuck.Close()
	began := time.Now()
	_, err := Client{Address: stuck.Listener.Addr().String()}.Reload(t.Context(), false, func(admin.ReloadLine) {})
	if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "has not answered for 6s") || took > 30*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
}

func TestAUnixSocketIsAnAddress(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "a.sock"))
	if err != nil {
		t.Fatal(err)
	}
	host := hostOn(t, listener, admin.Options{Version: "1.2.3"})
	if status, _, err := host.Status(t.Context()); err != nil || status.Host.Version != "1.2.3" {
		t.Errorf("%v, %v", status, err)
	}
	if _, err := host.Reload(t.Context(), false, func(admin.ReloadLine) {}); err != nil {
		t.Error(err)
	}
	if _, ok := config.UnixPath(host.Address); !ok {
		t.Error(host.Address)
	}
}

// The file is named by whoever answers, who may be no host: it is read only where it can only be this host's.
func TestTheTokenOfTheHostsUserIsFoundAndNoOtherFileIsShown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right := file(admin.TokenFileName(port), 0o600)
	link := filepath.Join(dir, "link", admin.TokenFileName(port))
	if err := os.Mkdir(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(right, link); err != nil {
		t.Fatal(err)
	}
	for path, found := range map[string]bool{
		right: true, file("id_rsa", 0o600): false, file(admin.TokenFileName(port+1), 0o600): false, file("open/"+admin.TokenFileName(port), 0o644): false,
		link: false, filepath.Join(dir, "none", admin.TokenFileName(port)): false, admin.TokenFileName(port): false, dir: false, "": false,
	} {
		got := tokenIn(listener.Addr().String(), path)
		if (got == token) != found || !found && got != "" {
			t.Errorf("%s: %q", path, got)
		}
	}
	host := hostOn(t, listener, admin.Options{
		TokenFile: right, Reload: func(_ context.Context, _ bool, send func(admin.ReloadLine)) {
			send(admin.ReloadLine{Report: &admin.ReloadReport{}})
		},
	})
	if _, err := host.Reload(t.Context(), false, func(admin.ReloadLine) {}); err != nil {
		t.Errorf("with the host's own token: %v", err)
	}
	host.Token = "wrong"
	if _, err := host.Reload(t.Context(), false, func(admin.ReloadLine) {}); err == nil || !strings.Contains(err.Error(), "listen.admin_token") {
		t.Errorf("with a wrong token: %v", err)
	}
}

// Another machine may name a file of this one, too.
func TestTheTokenOfThisMachineGoesToNoOther(t *testing.T) {
	here, there := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 40000}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 8), Port: 9090}
	for _, test := range []struct {
		local, remote net.Addr
		isHere        bool
	}{
		{here, there, false}, {here, &net.TCPAddr{IP: here.IP, Port: 9090}, true}, {&net.TCPAddr{IP: net.IPv6loopback}, &net.TCPAddr{IP: net.IPv6loopback, Port: 9090}, true},
		{here, &net.UnixAddr{Name: "/x"}, false},
	} {
		if got := isOfThisMachine(addressed{local: test.local, remote: test.remote}); got != test.isHere {
			t.Errorf("from %v to %v: %v", test.local, test.remote, got)
		}
	}
}

// addressed is a connection of which only the addresses are known.
type addressed struct {
	net.Conn
	local, remote net.Addr
}

func (a addressed) LocalAddr() net.Addr  { return a.local }
func (a addressed) RemoteAddr() net.Addr { return a.remote }
