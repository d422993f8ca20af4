package plugin_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc/resolver/dns"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/test/wait"
)

func TestANameStandsForAllItsAddressesAsTheyComeAndGo(t *testing.T) {
	zone := startNameServer(t)
	one := newAgentServer(t)
	one.address = "127.0.0.2:0"
	one.start()
	other := newAgentServer(t)
	other.address = net.JoinHostPort("127.0.0.3", port(t, one.address))
	other.start()
	zone.set("127.0.0.2", "127.0.0.3")
	spec := plugin.Spec{Name: "named", Address: []string{net.JoinHostPort("agents.test", port(t, one.address))}, StartTimeout: maxWait}
	remote := connectTo(t, spec, quick)
	wantAnswersFrom(t, remote, one.address, other.address)

	zone.set("127.0.0.2")
	wait.Until(t, "the one that left is left alone", func() bool {
		before := other.calls.Load()
		for range 10 {
			poll(t, remote)
		}
		return other.calls.Load() == before
	})
	zone.set("127.0.0.3", "127.0.0.2") // no connection breaks, but the new one is found
	wantAnswersFrom(t, remote, one.address, other.address)
	if remote.Err() != nil {
		t.Error(remote.Err())
	}
}

func TestANameThatDoesNotExistIsNamed(t *testing.T) {
	startNameServer(t)
	spec := plugin.Spec{Name: "lost", Address: []string{"nowhere.test:8000"}, StartTimeout: maxWait}
	wantNoConnection(t, spec, plugin.StepConnect, "nowhere.test:8000", "the name nowhere.test", "check address")

	// Where another address works it is used.
	server := startAgentServer(t)
	spec.Address = append(spec.Address, server.address)
	wantAnswersFrom(t, connectTo(t, spec, plugin.Pace{}), server.address)
}

// nameServer knows the addresses of agents.test.
type nameServer struct {
	conn net.PacketConn

	mu        sync.Mutex
	addresses []string
}

// startNameServer makes this process look names up at a server of its own, until the test has ended.
func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	zone := &nameServer{conn: conn}
	var serving sync.WaitGroup
	serving.Go(func() { zone.serve(t) })
	usual := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	dns.SetMinResolutionInterval(10 * time.Millisecond)
	t.Cleanup(func() {
		net.DefaultResolver = usual
		dns.SetMinResolutionInterval(30 * time.Second)
		conn.Close()
		serving.Wait()
	})
	return zone
}

func (z *nameServer) set(addresses ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addresses = addresses
}

func (z *nameServer) serve(t *testing.T) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := z.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if err := message.Unpack(buffer[:n]); err != nil {
			t.Error(err)
			return
		}
		z.answer(&message)
		packed, err := message.Pack()
		if err != nil {
			t.Error(err)
			return
		}
		z.conn.WriteTo(packed, from)
	}
}

func (z *nameServer) answer(message *dnsmessage.Message) {
	z.mu.Lock()
	defer z.mu.Unlock()
	question := message.Questions[0]
	message.Response, message.Authoritative, message.Additionals = true, true, nil
	if !strings.HasPrefix(question.Name.String(), "agents.test.") {
		message.RCode = dnsmessage.RCodeNameError
		return
	}
	if question.Type != dnsmessage.TypeA {
		return
	}
	for _, address := range z.addresses {
		message.Answers = append(message.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()},
		})
	}
}
