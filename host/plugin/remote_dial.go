package plugin

import (
	"context"
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// remoteServiceConfig spreads the calls over all connected servers. When the one that has a call is lost, those that may
// be made twice are made again on another one.
const remoteServiceConfig = `{
	"loadBalancingConfig": [{"round_robin": {}}],
	"methodConfig": [{
		"name": [
			{"service": "flyteidl.service.AsyncAgentService", "method": "GetTask"},
			{"service": "flyteidl.service.AsyncAgentService", "method": "DeleteTask"},
			{"service": "flyteidl.service.AsyncAgentService", "method": "GetTaskMetrics"}
		],
		"retryPolicy": {
			"maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 3,
			"retryableStatusCodes": ["UNAVAILABLE"]
		}
	}]
}`

const (
	// connectTimeout bounds one attempt to connect to one server, TLS included.
	connectTimeout = 5 * time.Second
	// silenceTimeout is how long a server's kernel may leave what was sent to it without an acknowledgement.
	silenceTimeout = 20 * time.Second
)

// remoteOptions are for every connection to a server of a remote plugin.
func (s Spec) remoteOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(s.credentials()),
		grpc.WithNoProxy(),
		grpc.WithContextDialer(dialRemote),
		grpc.WithIdleTimeout(0), // a connection dropped for idleness would have to be made again, by a call
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithMaxHeaderListSize(maxAnswerHeaders),
		grpc.WithStaticStreamWindowSize(64 << 10), // of an answer that there is no room for yet, no more comes
		grpc.WithStaticConnWindowSize(4 << 20),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxAnswer), grpc.MaxCallSendMsgSize(math.MaxInt32)),
	}
}

// dialRemote leaves it to the two kernels to find out that a server has vanished. HTTP/2's own pings would cut the host
// off from servers with default settings: gRPC's allow one in five minutes.
func dialRemote(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silenceTimeout.Milliseconds()))
			})
			if err != nil {
				return err
			}
			return failed
		},
	}
	return dialer.DialContext(ctx, "tcp", address)
}
