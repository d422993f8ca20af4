package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/test/chaos/ledger"
)

// nodeAddress is the node's, at which pods find what the cases serve.
const nodeAddress = "10.77.0.1"

// chaosType is the task type of the chaos plugin. Each case has an agent of its own in the ledger.
const chaosType = "chaos"

// jobTime is how long a job of the ledger's takes, unless its task's name ends in endless.
const jobTime = 4 * time.Second

// endless is how the names of tasks end whose jobs go on until the case is over.
const endless = "-endless"

// system is what stands for the systems outside of the cluster: the ledger, whose jobs no pod's end concerns.
type system struct {
	*ledger.Ledger
	url string
}

func startSystem() (*system, error) {
	l, err := ledger.ListenOn(net.JoinHostPort(nodeAddress, "0"), func(name string) (ledger.Plan, bool) {
		if strings.HasSuffix(name, endless) {
			return ledger.Plan{End: ledger.Running}, true
		}
		return ledger.Plan{End: ledger.Succeeded, Runs: jobTime}, true
	})
	if err != nil {
		return nil, err
	}
	return &system{Ledger: l, url: l.URL()}, nil
}

func (s *system) close() { _ = s.Close() } // its clients have gone with their pods

// chaosTask is a task for the chaos plugin.
func chaosTask() task {
	integer := &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_INTEGER}}
	text := &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}
	types := &core.VariableMap{Variables: map[string]*core.Variable{"number": {Type: integer}, "text": {Type: text}}}
	return task{
		template: &core.TaskTemplate{Type: chaosType, Interface: &core.TypedInterface{Inputs: types, Outputs: types}},
		inputs: &core.LiteralMap{Literals: map[string]*core.Literal{
			"number": primitive(&core.Primitive{Value: &core.Primitive_Integer{Integer: 7}}),
			"text":   primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: "cluster"}}),
		}},
	}
}

func primitive(p *core.Primitive) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: p}}}}
}

// madeOnce holds that one job was made for a task.
func (c *cell) madeOnce(name string) {
	made := c.system.Task(name).Jobs
	c.check(len(made) == 1, "%d jobs were made for %s", len(made), name)
}

// serveTLS serves at the node's address until the case is over. It gives where, and the certificate that clients are to trust.
func (c *cell) serveTLS(handler http.Handler) (address string, authority []byte) {
	certificate, authority, err := selfSigned()
	c.must(err)
	listener, err := tls.Listen("tcp", net.JoinHostPort(nodeAddress, "0"), &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	c.must(err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: callLimit}
	go func() { _ = server.Serve(listener) }() // it ends with Close
	c.cleanup(func() { _ = server.Close() })
	return listener.Addr().String(), authority
}

// selfSigned makes a certificate for the node's address.
func selfSigned() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: nodeAddress}, IPAddresses: []net.IP{net.ParseIP(nodeAddress)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// elsewhereType is the task type of the agent elsewhere.
const elsewhereType = "elsewhere"

// elsewhere is an agent server that no pod runs, and that can be away.
type elsewhere struct {
	service.UnimplementedAgentMetadataServiceServer
	service.UnimplementedAsyncAgentServiceServer
	address string
	server  *grpc.Server
}

// elsewhere gives one that is away at first.
func (c *cell) elsewhere() *elsewhere {
	listener, err := net.Listen("tcp", net.JoinHostPort(nodeAddress, "0"))
	c.must(err)
	e := &elsewhere{address: listener.Addr().String()}
	c.must(listener.Close())
	c.cleanup(e.shut)
	return e
}

func (e *elsewhere) open() error {
	listener, err := net.Listen("tcp", e.address)
	if err != nil {
		return err
	}
	e.server = grpc.NewServer()
	service.RegisterAgentMetadataServiceServer(e.server, e)
	service.RegisterAsyncAgentServiceServer(e.server, e)
	go func() { _ = e.server.Serve(listener) }() // it ends with shut
	return nil
}

func (e *elsewhere) shut() {
	if e.server != nil {
		e.server.Stop()
	}
}

// ListAgents names the one agent.
func (e *elsewhere) ListAgents(context.Context, *admin.ListAgentsRequest) (*admin.ListAgentsResponse, error) {
	return &admin.ListAgentsResponse{Agents: []*admin.Agent{{Name: elsewhereType, SupportedTaskCategories: []*admin.TaskCategory{{Name: elsewhereType}}}}}, nil
}

// readAll reads a log to its end.
func readAll(stream io.ReadCloser, err error) string {
	if err != nil {
		return err.Error()
	}
	defer stream.Close()
	content, err := io.ReadAll(stream)
	if err != nil {
		return string(content) + err.Error()
	}
	return string(content)
}
