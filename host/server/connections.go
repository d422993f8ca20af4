package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/host/config"
)

const (
	// adminConnections is how many connections the admin API takes, and probeConnections the probe's: they are for operators and their
	// tools.
	adminConnections, probeConnections = 24, 16
	// refusals is how many callers are told at once that there is no connection for them; more are just cut off. Each takes a
	// descriptor while it is told, and has refusalTime to listen.
	refusals    = 8
	refusalTime = time.Second
	// activeWithin is how long ago a connection has received something that makes room only for another address.
	activeWithin = 5 * time.Second
	// greeted is how much a connection receives before its first call, in bytes: HTTP/2's preface and settings.
	greeted = 256
	// lookedFor is how often at most it is looked for connections that their callers have closed, and looks how often for one caller.
	lookedFor = 5 * time.Millisecond
	looks     = 10
	// leavingWithin is how long ago one has left where connections come and go.
	leavingWithin = time.Second
	// closeWait is Linux' TCP_CLOSE_WAIT.
	closeWait = 8
	// victimsFor is for how long the order is good in which connections make room.
	victimsFor = time.Second
)

// connections is a listener with a bound on how many of its connections are open. Where there are as many, the caller is refused and told
// why, or another connection makes room: first one that its caller has closed, then of the address that has the most, those that never
// carried a call before others, and of these the one that was silent for longest. So nobody keeps others out by connections that do nothing.
type connections struct {
	net.Listener
	farewell farewell
	refused  prometheus.Counter
	evicted  prometheus.Counter
	telling  chan struct{} // has an element for each that is being told

	mu      sync.Mutex // guards what follows
	max     int
	open    map[*connection]struct{}
	victims []*connection // in this order, as of ordered
	ordered time.Time
	left    time.Time // when one was closed last
}

// farewell tells a caller who is refused that there are as many connections as there may be.
type farewell func(conn net.Conn, most int)

// limited bounds a listener's connections.
func limited(listener net.Listener, name string, most int, farewell farewell, metrics prometheus.Registerer) *connections {
	c := &connections{Listener: listener, max: most, farewell: farewell, telling: make(chan struct{}, refusals), open: map[*connection]struct{}{}}
	counter := func(metric, help string) prometheus.Counter {
		counted := prometheus.NewCounter(prometheus.CounterOpts{Name: metric, Help: help, ConstLabels: prometheus.Labels{"listener": name}})
		metrics.MustRegister(counted)
		return counted
	}
	c.refused = counter("agenthost_connections_refused_total", "Connections that were refused because as many were open as there may be: limits.connections for Flyte, fewer for operators.")
	c.evicted = counter("agenthost_connections_evicted_total", "Connections that were closed to make room for others.")
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "agenthost_connections", Help: "Open connections.", ConstLabels: prometheus.Labels{"listener": name},
	}, func() float64 { c.mu.Lock(); defer c.mu.Unlock(); return float64(len(c.open)) }))
	return c
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	for {
		raw, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		admitted, victim := c.admit(raw)
		for range looks { // meanwhile those whose callers have gone are seen to be closed, and others wait in the kernel's queue
			if admitted != nil || !c.leaving() {
				break
			}
			time.Sleep(lookedFor)
			admitted, victim = c.admit(raw)
		}
		if victim != nil {
			c.evicted.Inc()
			_ = victim.TCPConn.Close() // whoever serves it hears of that
		}
		if admitted != nil {
			return admitted, nil
		}
		c.refused.Inc()
		c.refuse(raw)
	}
}

// leaving says that connections come and go. Where they only stay, to wait for one to leave would keep others waiting for nothing.
func (c *connections) leaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.left) < leavingWithin
}

// setMax changes how many connections may be open. Those that are stay.
func (c *connections) setMax(most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.max = most
}

func (c *connections) admit(raw net.Conn) (admitted net.Conn, victim *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := &connection{of: c, host: hostOf(raw)}
	tcp, ok := raw.(*net.TCPConn)
	if !ok { // a unix socket, which only operators reach
		return raw, nil
	}
	fresh.TCPConn = tcp
	if len(c.open) >= c.max {
		if victim = c.victim(fresh.host); victim == nil {
			return nil, nil
		}
		delete(c.open, victim)
	}
	c.open[fresh] = struct{}{}
	return fresh, victim
}

// victim is the connection that makes room for one from an address; nil where there is none.
func (c *connections) victim(newcomer string) *connection {
	byHost := map[string]int{}
	for other := range c.open {
		byHost[other.host]++
	}
	if now := time.Now(); len(c.victims) == 0 || !c.victims[0].gone && now.Sub(c.ordered) > lookedFor || now.Sub(c.ordered) > victimsFor {
		c.order(byHost)
		c.ordered = now
	}
	for i, other := range c.victims {
		if _, open := c.open[other]; !open {
			continue
		}
		heavier := byHost[other.host] > byHost[newcomer]+1
		if !other.gone && !heavier && (other.host != newcomer || other.silent < activeWithin) {
			continue
		}
		c.victims = slices.Delete(c.victims, i, i+1)
		return other
	}
	return nil
}

func (c *connections) order(byHost map[string]int) {
	c.victims = c.victims[:0]
	for other := range c.open {
		other.look()
		c.victims = append(c.victims, other)
	}
	slices.SortFunc(c.victims, func(a, b *connection) int {
		switch {
		case a.gone != b.gone && b.gone:
			return 1
		case a.gone != b.gone:
			return -1
		case byHost[a.host] != byHost[b.host]:
			return byHost[b.host] - byHost[a.host]
		case a.called != b.called && a.called:
			return 1
		case a.called != b.called:
			return -1
		}
		return int((b.silent - a.silent) / time.Millisecond)
	})
}

// refuse tells a caller why it gets no connection, where it listens.
func (c *connections) refuse(raw net.Conn) {
	select {
	case c.telling <- struct{}{}:
	default:
		_ = raw.Close()
		return
	}
	c.mu.Lock()
	most := c.max
	c.mu.Unlock()
	go func() {
		defer func() { <-c.telling }()
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(refusalTime))
		c.farewell(raw, most)
		if tcp, ok := raw.(*net.TCPConn); ok { // what it sends meanwhile must not have the words dropped
			_ = tcp.CloseWrite()
			_, _ = io.CopyN(io.Discard, raw, 64<<10)
		}
	}()
}

// connection is one that is counted. Its methods are the TCP connection's own, which cost nothing beyond.
type connection struct {
	*net.TCPConn
	of   *connections
	host string
	// As last looked at.
	gone   bool // its caller has closed it, and nobody here has seen that yet
	called bool
	silent time.Duration // for how long it has received nothing
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.left = time.Now()
	c.of.mu.Unlock()
	return c.TCPConn.Close()
}

// look asks the kernel what the connection is doing.
func (c *connection) look() {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // fails for a closed one, which is as good as silent
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			c.silent = time.Duration(info.Last_data_recv) * time.Millisecond
			c.called = info.Bytes_received > greeted
			c.gone = info.State == closeWait
		}
	})
}

func hostOf(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return host
}

// answerCall has a gRPC client's first call fail, with words: of a connection that is just closed its error says nothing.
func answerCall(conn net.Conn, most int) {
	if _, err := io.CopyN(io.Discard, conn, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	framer.SetMaxReadFrameSize(16 << 10)
	if err := framer.WriteSettings(); err != nil {
		return
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = framer.WriteSettingsAck() // the next write fails as well
			}
		case *http2.HeadersFrame:
			var block bytes.Buffer
			headers := hpack.NewEncoder(&block)
			for _, h := range []hpack.HeaderField{
				{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"}, {Name: "grpc-status", Value: strconv.Itoa(int(codes.ResourceExhausted))},
				{Name: "grpc-message", Value: fmt.Sprintf("agenthost has %d connections, as many as limits.connections and its limit of open files allow", most)},
			} {
				_ = headers.WriteField(h) // nothing that writes to memory fails
			}
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.StreamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
			_ = framer.WriteGoAway(frame.StreamID, http2.ErrCodeNo, nil)
			return
		}
	}
}

// unavailable is the same for a client of the admin API.
func unavailable(conn net.Conn, most int) {
	body := fmt.Sprintf("agenthost has %d connections for operators, as many as it takes\n", most)
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// accepting are the listeners of a host with the bounds on their connections. Admin and probe are nil where they are off.
type accepting struct{ grpc, admin, probe net.Listener }

// bounded bounds the connections of the host's listeners, now and after each reload.
func (h *host) bounded(metrics prometheus.Registerer) accepting {
	descriptors := DescriptorsOf(h.options.Config)
	farewell := answerCall
	if h.options.Config.Listen.TLS.Cert != "" { // who expects TLS understands no word
		farewell = func(net.Conn, int) {}
	}
	callers := limited(h.listeners.grpc, grpcName, descriptors.Connections, farewell, metrics)
	h.reloader.applied = func(settings *config.Config) {
		descriptors := DescriptorsOf(settings)
		descriptors.tell(h.options.Log)
		callers.setMax(descriptors.Connections)
	}
	accept := accepting{grpc: callers}
	if h.listeners.admin != nil {
		accept.admin = limited(h.listeners.admin, adminName, adminConnections, unavailable, metrics)
	}
	if h.listeners.probe != nil {
		accept.probe = limited(h.listeners.probe, probeName, probeConnections, unavailable, metrics)
	}
	return accept
}
