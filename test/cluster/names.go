package main

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// names is the cluster's DNS: the addresses of Services, and of pods behind headless ones, as CoreDNS gives them. The kubelet sends pods
// to the node's address.
type names struct {
	client kubernetes.Interface
	socket net.PacketConn
}

// clusterDomain is what the names of Services end in.
const clusterDomain = ".svc.cluster.local."

// serveNames answers until the socket is closed.
func serveNames(ctx context.Context, client kubernetes.Interface) (*names, error) {
	socket, err := net.ListenPacket("udp", net.JoinHostPort(nodeAddress, "53"))
	if err != nil {
		return nil, err
	}
	n := &names{client, socket}
	go func() {
		buffer := make([]byte, 1500)
		for {
			length, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			request := append([]byte{}, buffer[:length]...)
			go func() {
				if answer := n.answer(ctx, request); answer != nil {
					_, _ = socket.WriteTo(answer, from) // whoever has gone asks again
				}
			}()
		}
	}()
	return n, nil
}

func (n *names) close() { _ = n.socket.Close() } // nobody is left who asks

// answer makes the answer to a request; nil: it is none.
func (n *names) answer(ctx context.Context, request []byte) []byte {
	var message dnsmessage.Message
	if message.Unpack(request) != nil || len(message.Questions) != 1 {
		return nil
	}
	question := message.Questions[0]
	message.Response, message.Authoritative, message.Additionals = true, true, nil
	addresses, known := n.lookup(ctx, strings.ToLower(question.Name.String()))
	if !known {
		message.RCode = dnsmessage.RCodeNameError
	}
	for _, address := range addresses {
		if question.Type == dnsmessage.TypeA {
			message.Answers = append(message.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1},
				Body:   &dnsmessage.AResource{A: address.As4()},
			})
		}
	}
	packed, err := message.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// lookup finds the addresses behind the name of a Service.
func (n *names) lookup(ctx context.Context, name string) (addresses []netip.Addr, known bool) {
	below, ok := strings.CutSuffix(name, clusterDomain)
	service, namespace, two := strings.Cut(below, ".")
	if !ok || !two {
		return nil, false
	}
	found, err := n.client.CoreV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return nil, false
	}
	texts := []string{found.Spec.ClusterIP}
	if found.Spec.ClusterIP == "None" {
		texts = nil
		slices, err := n.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
		if err != nil {
			return nil, false
		}
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				if ready := endpoint.Conditions.Ready; ready == nil || *ready {
					texts = append(texts, endpoint.Addresses...)
				}
			}
		}
	}
	for _, text := range texts {
		if address, err := netip.ParseAddr(text); err == nil && address.Is4() {
			addresses = append(addresses, address)
		}
	}
	return addresses, len(addresses) > 0
}
