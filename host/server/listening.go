package server

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/takeover"
)

// The names of listeners: for an upgrade, and in a socket unit as FileDescriptorName.
const (
	grpcName  = "grpc"
	adminName = "admin"
)

// listeners are where a host listens.
type listeners struct {
	grpc, admin *takeover.Pausable // admin is nil where it is off
	configured  config.Listen
}

// bind takes the listeners of the host before this one, else those that systemd has made, and makes the others.
func bind(addresses config.Listen, before *takeover.Predecessor) (listeners, error) {
	l := listeners{configured: addresses}
	sockets, err := socketsOf(addresses)
	if err == nil {
		l.grpc, err = listen(grpcName, addresses.GRPC, before, sockets)
	}
	if err == nil && addresses.Admin != "" {
		l.admin, err = listen(adminName, addresses.Admin, before, sockets)
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
				err = errors.Join(err, fmt.Errorf("systemd passes the socket %s (%s), which is neither listen.grpc nor listen.admin: "+
					"set FileDescriptorName= of its unit to %s or %s", socket.Addr(), given, grpcName, adminName))
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
	if given == grpcName || given == adminName {
		return given
	}
	_, port, err := net.SplitHostPort(socket.Addr().String())
	switch {
	case err != nil:
		return ""
	case strings.HasSuffix(addresses.GRPC, ":"+port):
		return grpcName
	case strings.HasSuffix(addresses.Admin, ":"+port):
		return adminName
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
		listener, err = net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%s: %s is in use by another process: stop that, or choose another port (%s in the configuration)", key, address, key)
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

// addresses are those in use, for people.
func (l listeners) addresses() (grpc, admin string) {
	if l.admin == nil {
		return l.grpc.Addr().String(), "off"
	}
	return l.grpc.Addr().String(), l.admin.Addr().String()
}

// all are those there are, as they are handed over.
func (l listeners) all() []takeover.Listener {
	all := []takeover.Listener{{Key: grpcName, Address: l.configured.GRPC, Listener: l.grpc}}
	if l.admin != nil {
		all = append(all, takeover.Listener{Key: adminName, Address: l.configured.Admin, Listener: l.admin})
	}
	return all
}

func (l listeners) each(do func(*takeover.Pausable) error) error {
	var errs []error
	for _, p := range []*takeover.Pausable{l.grpc, l.admin} {
		if p != nil {
			errs = append(errs, do(p))
		}
	}
	return errors.Join(errs...)
}

func (l listeners) close() {
	_ = l.each((*takeover.Pausable).Close) // whoever serves has closed it already
}
