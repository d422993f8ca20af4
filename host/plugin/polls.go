package plugin

import (
	"context"
	"net"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/host/lane"
)

// serverName is what plugins are called on connections to them: they are all on this machine, and so are their certificates.
const serverName = "localhost"

// openLane opens the way for polls, beside go-plugin's connection and like it.
func (s *start) openLane() {
	address := s.client.ReattachConfig().Addr
	scheme, security := "http", insecure.NewCredentials()
	if s.tls != nil {
		scheme, security = "https", credentials.NewTLS(s.tls)
	}
	s.lane = lane.Open(lane.Options{
		Method: service.AsyncAgentService_GetTask_FullMethodName, Scheme: scheme, Authority: serverName, Log: s.log,
		Dial: func(ctx context.Context) (net.Conn, error) {
			raw, err := new(net.Dialer).DialContext(ctx, address.Network(), address.String())
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
