package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/takeover"
)

// The names of listeners: for an upgrade, and in a socket unit as FileDescriptorName.
const (
	grpcName  = "grpc"
	adminName = "admin"
	probeName = "probe"
)

// listeners are where a host listens.
type listeners struct {
	grpc, admin, probe *takeover.Pausable // admin and probe are nil where they are off
	configured         config.Listen
	// lasting says that systemd has the socket for Flyte too, and keeps it when this host ends.
	lasting bool
}

// bind takes the listeners of the host before this one, else those that systemd has made, and makes the others.
func bind(addresses config.Listen, before *takeover.Predecessor) (listeners, error) {
	l := listeners{configured: addresses}
	sockets, err := socketsOf(addresses)
	l.lasting = sockets[grpcName] != nil || before.Lasting(grpcName)
	if err == nil {
		l.grpc, err = listen(grpcName, addresses.GRPC, before, sockets)
	}
	if err == nil && addresses.Admin != "" {
		l.admin, err = listen(adminName, addresses.Admin, before, sockets)
	}
	if err == nil && addresses.Probe != "" {
		l.probe, err = listen(probeName, addresses.Probe, before, sockets)
	}
	for _, unused := range sockets {
		unused.Close()
	}
	if err != nil {
		l.close()
		return listeners{}, err
	}
	return l, nil
}

// socketsOf are the listeners that systemd has made (LISTEN_FDS), by their names.
func socketsOf(addresses config.Listen) (map[string]net.Listener, error) {
	all, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("cannot use the sockets of systemd: %w", err)
	}
	sockets := map[string]net.Listener{}
	for _, given := range slices.Sorted(maps.Keys(all)) {
		for _, socket := range all[given] {
			name := nameOf(given, socket, addresses)
			if name == "" || sockets[name] != nil {
				err = errors.Join(err, fmt.Errorf("systemd passes the socket %s (%s), which is none of listen.grpc, listen.admin and listen.probe: "+
					"set FileDescriptorName= of its unit to %s, %s or %s", socket.Addr(), given, grpcName, adminName, probeName))
				socket.Close()
				continue
			}
			sockets[name] = socket
		}
	}
	if err != nil {
		for _, socket := range sockets {
			socket.Close()
		}
		return nil, err
	}
	return sockets, nil
}

// nameOf says what a socket is for: by the name that its unit gives it, else by its port.
func nameOf(given string, socket net.Listener, addresses config.Listen) string {
	if given == grpcName || given == adminName || given == probeName {
		return given
	}
	if path, isSocket := config.UnixPath(addresses.Admin); isSocket && socket.Addr().Network() == "unix" && socket.Addr().String() == path {
		return adminName
	}
	_, port, err := net.SplitHostPort(socket.Addr().String())
	switch {
	case err != nil:
		return ""
	case strings.HasSuffix(addresses.GRPC, ":"+port):
		return grpcName
	case strings.HasSuffix(addresses.Admin, ":"+port):
		return adminName
	case strings.HasSuffix(addresses.Probe, ":"+port):
		return probeName
	}
	return ""
}

// listen finds or opens a listener, and on failure says which key to change.
func listen(name, address string, before *takeover.Predecessor, sockets map[string]net.Listener) (*takeover.Pausable, error) {
	key := "listen." + name
	listener, ok := before.Listener(name, address)
	if !ok {
		if listener, ok = sockets[name]; ok {
			delete(sockets, name)
		}
	}
	if !ok {
		var err error
		if path, isSocket := config.UnixPath(address); isSocket {
			listener, err = listenUnix(path)
		} else {
			listener, err = net.Listen("tcp", address)
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%s: %s is in use by another process: stop that, or choose another (%s in the configuration)", key, address, key)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: cannot listen on %s: %w", key, address, err)
		}
	}
	pausable, err := takeover.NewPausable(listener)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", key, err), listener.Close())
	}
	return pausable, nil
}

// listenUnix makes a unix socket for nobody but this user. One that a host which has ended left there is replaced.
func listenUnix(path string) (net.Listener, error) {
	// The socket gets the mode of its descriptor: it is never there with another one.
	private := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if controlErr := raw.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); controlErr != nil {
			return controlErr
		}
		return err
	}}
	listener, err := private.Listen(context.Background(), "unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) || !isDeserted(path) {
		return listener, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return private.Listen(context.Background(), "unix", path)
}

// isDeserted says that a path is that of a unix socket which nobody listens on.
func isDeserted(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// addresses are those in use, for people.
func (l listeners) addresses() (grpc, admin, probe string) {
	return addressOf(l.grpc), addressOf(l.admin), addressOf(l.probe)
}

func addressOf(p *takeover.Pausable) string {
	switch {
	case p == nil:
		return "off"
	case p.Addr().Network() == "unix":
		return "unix:" + p.Addr().String()
	}
	return p.Addr().String()
}

// all are those there are, as they are handed over.
func (l listeners) all() []takeover.Listener {
	var all []takeover.Listener
	for _, one := range []struct {
		key, address string
		listener     *takeover.Pausable
	}{{grpcName, l.configured.GRPC, l.grpc}, {adminName, l.configured.Admin, l.admin}, {probeName, l.configured.Probe, l.probe}} {
		if one.listener != nil {
			all = append(all, takeover.Listener{Key: one.key, Address: one.address, Lasting: l.lasting && one.key == grpcName, Listener: one.listener})
		}
	}
	return all
}

func (l listeners) each(do func(*takeover.Pausable) error) error {
	var errs []error
	for _, p := range []*takeover.Pausable{l.grpc, l.admin, l.probe} {
		if p != nil {
			errs = append(errs, do(p))
		}
	}
	return errors.Join(errs...)
}

// leaveToNext has new connections for Flyte wait for the next host, where systemd keeps the socket: what this one would still
// accept it would only close.
func (l listeners) leaveToNext(log *slog.Logger) {
	if !l.lasting {
		return
	}
	if err := l.grpc.Pause(); err != nil {
		log.Warn("connections that come while the host stops may be closed unanswered", "error", err)
		return
	}
	time.Sleep(acceptGrace)
}

func (l listeners) close() {
	_ = l.each((*takeover.Pausable).Close) // whoever serves has closed it already
}
