package plugin

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/host/lane"
)

// serverName is what plugins are called on connections to them: they are all on this machine, and so are their certificates.
const serverName = "localhost"

// openLane opens the way for polls, beside go-plugin's connection.
func (s *start) openLane() {
	address := s.client.ReattachConfig().Addr
	s.lane = OpenLane(address.Network(), address.String(), s.tls, s.log)
}

// OpenLane opens a way for polls to a plugin that has made its handshake. tlsConfig is nil for a plugin without TLS.
func OpenLane(network, address string, tlsConfig *tls.Config, log *slog.Logger) *lane.Lane {
	scheme, security := "http", insecure.NewCredentials()
	if tlsConfig != nil {
		scheme, security = "https", credentials.NewTLS(tlsConfig)
	}
	return lane.Open(lane.Options{
		Method: service.AsyncAgentService_GetTask_FullMethodName, Scheme: scheme, Authority: serverName, Log: log,
		Dial: func(ctx context.Context) (net.Conn, error) {
			raw, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			conn, _, err := security.ClientHandshake(ctx, serverName, raw)
			if err != nil {
				_ = raw.Close()
				return nil, err
			}
			return conn, nil
		},
	})
}
